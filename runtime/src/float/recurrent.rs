//! Recurrent cells as ONNX defines them, given the products of their inputs.

use super::canonical;
use crate::function::Function;
use crate::ops::field::choice;

/// Cells that are computed at the same time.
const LANES: usize = 16;

choice! {
    /// A recurrent cell. Gates stand in the order of ONNX.
    pub enum RecurrentKind {
        /// `h = f(x + h R)`.
        Rnn = 1 "rnn",
        /// Gates z, r, h; the reset gate before the product (`linear_before_reset` 0).
        Gru = 2 "gru",
        /// Gates z, r, h; the reset gate behind the product (`linear_before_reset` 1).
        GruLinear = 3 "gru_linear",
        /// Gates i, o, f, c.
        Lstm = 4 "lstm",
        /// Gates i, o, f, c; the forget gate is `1 - i` (`input_forget` 1).
        LstmCoupled = 5 "lstm_coupled",
    }
}

impl RecurrentKind {
    /// Number of gates.
    pub fn gates(self) -> usize {
        match self {
            RecurrentKind::Rnn => 1,
            RecurrentKind::Gru | RecurrentKind::GruLinear => 3,
            RecurrentKind::Lstm | RecurrentKind::LstmCoupled => 4,
        }
    }

    /// Number of functions: f, then g, then h.
    pub fn functions(self) -> usize {
        match self {
            RecurrentKind::Rnn => 1,
            RecurrentKind::Gru | RecurrentKind::GruLinear => 2,
            RecurrentKind::Lstm | RecurrentKind::LstmCoupled => 3,
        }
    }

    /// Vectors of `batch * hidden` values that lie behind the hidden states of all steps in a
    /// result.
    pub fn extra_states(self) -> usize {
        match self {
            RecurrentKind::Rnn => 0,
            _ => 1,
        }
    }

    /// States that can be given at the beginning: h, then c.
    pub fn initial_states(self) -> usize {
        match self {
            RecurrentKind::Lstm | RecurrentKind::LstmCoupled => 2,
            _ => 1,
        }
    }
}

/// One direction of a recurrent layer.
#[derive(Clone, Copy, Debug)]
pub struct Recurrent<'a> {
    /// Cell.
    pub kind: RecurrentKind,
    /// Whether the last step comes first.
    pub reverse: bool,
    /// Number of steps.
    pub steps: usize,
    /// Sequences beside each other.
    pub batch: usize,
    /// Cells.
    pub hidden: usize,
    /// Functions f, g and h of ONNX, as many as [`RecurrentKind::functions`] says.
    pub functions: &'a [Function],
    /// What goes into f and g is clamped to `-clip..=clip`; infinite where it is not.
    pub clip: f32,
    /// `[gates][hidden before][hidden]`: the matrices R of ONNX, each transposed.
    pub weights: &'a [f32],
    /// `[gates][hidden]`: the second half of B of ONNX.
    pub biases: &'a [f32],
    /// `[3][hidden]`: P of ONNX, for the gates i, o and f; empty where there are none.
    pub peepholes: &'a [f32],
}

/// All steps of a layer. `x` is `[steps][batch][gates][hidden]`, the products of its input with W
/// and their biases; `initial` the states h and c, `[batch][hidden]` each, 0 where they are not
/// given. `y` is `[steps][batch][hidden]`, the hidden states, and behind them, but for
/// [`RecurrentKind::Rnn`], `[batch][hidden]`: the last c of an LSTM, of a GRU the last state behind
/// its reset gate.
///
/// Sums in f64: what comes from `x`, the bias, the products in ascending order, what comes through
/// a peephole. They are rounded to f32 in front of f, g and h, and so are states and what f, g and
/// h yield; between those, each new state is one expression in f64.
pub fn recurrent(cell: Recurrent, x: &[f32], initial: [Option<&[f32]>; 2], y: &mut [f32]) {
    let Recurrent { kind, steps, batch, hidden, .. } = cell;
    let state = batch * hidden;
    let (states, extra) = y.split_at_mut(steps * state);
    let begin = |state: &mut [f32], given: Option<&[f32]>| match given {
        Some(given) => state.copy_from_slice(given),
        None => state.fill(0.0),
    };
    begin(extra, initial[1].filter(|_| kind.initial_states() == 2));
    for step in 0..steps {
        // The state before lies in the row of the step before, or is given, or 0.
        let (before, now) = if cell.reverse {
            let (now, before) = states.split_at_mut((steps - step) * state);
            (before.get(..state), &mut now[(steps - step - 1) * state..])
        } else {
            let (before, now) = states.split_at_mut(step * state);
            (before.rchunks_exact(state).next(), &mut now[..state])
        };
        let before = if step == 0 { initial[0] } else { before };
        let at = if cell.reverse { steps - 1 - step } else { step };
        for row in 0..batch {
            let x = &x[(at * batch + row) * kind.gates() * hidden..][..kind.gates() * hidden];
            let cells = row * hidden..(row + 1) * hidden;
            let before = before.map_or(&[] as &[f32], |before| &before[cells.clone()]);
            let extra = extra.get_mut(cells.clone()).unwrap_or_default();
            Step { cell, x, before }.run(extra, &mut now[cells]);
        }
    }
}

/// One step of one sequence.
struct Step<'a> {
    cell: Recurrent<'a>,
    /// `[gates][hidden]`.
    x: &'a [f32],
    /// The hidden state before; empty for 0.
    before: &'a [f32],
}

/// Sums of some neighbouring cells.
type Sums = [f64; LANES];

impl Step<'_> {
    fn run(&self, extra: &mut [f32], now: &mut [f32]) {
        let hidden = self.cell.hidden;
        let firsts = || (0..hidden).step_by(LANES);
        match self.cell.kind {
            RecurrentKind::Rnn => {
                firsts().for_each(|first| self.rnn(first, now));
            }
            RecurrentKind::Gru => {
                for first in firsts() {
                    let [sums] = self.sums([1], self.before, first);
                    for (lane, i) in (first..hidden).take(LANES).enumerate() {
                        let r = self.gate(0, self.biased(1, i) + sums[lane]);
                        extra[i] = canonical(r * self.state(i));
                    }
                }
                firsts().for_each(|first| self.gru(extra, first, now));
            }
            RecurrentKind::GruLinear => firsts().for_each(|first| self.gru_linear(extra, first, now)),
            RecurrentKind::Lstm | RecurrentKind::LstmCoupled => {
                firsts().for_each(|first| self.lstm(extra, first, now));
            }
        }
    }

    fn rnn(&self, first: usize, now: &mut [f32]) {
        let [sums] = self.sums([0], self.before, first);
        for (lane, i) in (first..now.len()).take(LANES).enumerate() {
            now[i] = self.gate(0, self.biased(0, i) + sums[lane]);
        }
    }

    fn gru(&self, reset: &[f32], first: usize, now: &mut [f32]) {
        let [z_sums] = self.sums([0], self.before, first);
        let [h_sums] = self.sums([2], reset, first);
        for (lane, i) in (first..now.len()).take(LANES).enumerate() {
            let z = self.gate(0, self.biased(0, i) + z_sums[lane]);
            let h = self.gate(1, self.biased(2, i) + h_sums[lane]);
            now[i] = mixed(z, h, self.state(i));
        }
    }

    fn gru_linear(&self, reset: &mut [f32], first: usize, now: &mut [f32]) {
        let [z_sums, r_sums, h_sums] = self.sums([0, 1, 2], self.before, first);
        for (lane, i) in (first..now.len()).take(LANES).enumerate() {
            let z = self.gate(0, self.biased(0, i) + z_sums[lane]);
            let r = self.gate(0, self.biased(1, i) + r_sums[lane]);
            let product = f64::from(r) * (self.bias(2, i) + h_sums[lane]);
            reset[i] = canonical(product as f32);
            let h = self.gate(1, self.projection(2, i) + product);
            now[i] = mixed(z, h, self.state(i));
        }
    }

    fn lstm(&self, c: &mut [f32], first: usize, now: &mut [f32]) {
        let [i_sums, o_sums, f_sums, c_sums] = self.sums([0, 1, 2, 3], self.before, first);
        let is_coupled = self.cell.kind == RecurrentKind::LstmCoupled;
        for (lane, at) in (first..now.len()).take(LANES).enumerate() {
            let through = |peephole: usize, c: f32| match self.cell.peepholes.get(peephole * now.len() + at) {
                Some(&weight) => f64::from(weight) * f64::from(c),
                None => 0.0,
            };
            let before = c[at];
            let i = self.gate(0, self.biased(0, at) + i_sums[lane] + through(0, before));
            let f =
                if is_coupled { 1.0 - i } else { self.gate(0, self.biased(2, at) + f_sums[lane] + through(2, before)) };
            let candidate = self.gate(1, self.biased(3, at) + c_sums[lane]);
            let kept = f64::from(f) * f64::from(before);
            c[at] = canonical((kept + f64::from(i) * f64::from(candidate)) as f32);
            let o = self.gate(0, self.biased(1, at) + o_sums[lane] + through(1, c[at]));
            now[at] = canonical(o * self.cell.functions[2].eval(c[at]));
        }
    }

    /// `function` f or g of a sum.
    fn gate(&self, function: usize, sum: f64) -> f32 {
        let (sum, clip) = (sum as f32, self.cell.clip);
        let clamped = if sum > clip {
            clip
        } else if sum < -clip {
            -clip
        } else {
            sum
        };
        self.cell.functions[function].eval(clamped)
    }

    fn projection(&self, gate: usize, i: usize) -> f64 {
        f64::from(self.x[gate * self.cell.hidden + i])
    }

    fn bias(&self, gate: usize, i: usize) -> f64 {
        f64::from(self.cell.biases[gate * self.cell.hidden + i])
    }

    fn biased(&self, gate: usize, i: usize) -> f64 {
        self.projection(gate, i) + self.bias(gate, i)
    }

    /// Hidden state `i` before this step.
    fn state(&self, i: usize) -> f32 {
        self.before.get(i).copied().unwrap_or(0.0)
    }

    /// Products of `state` with the matrices of some gates, for [`LANES`] cells or as many as there
    /// are, from `first`.
    #[inline(always)]
    fn sums<const G: usize>(&self, gates: [usize; G], state: &[f32], first: usize) -> [Sums; G] {
        let hidden = self.cell.hidden;
        let matrices = gates.map(|gate| &self.cell.weights[gate * hidden * hidden..][..hidden * hidden]);
        let mut sums = [[0.0; LANES]; G];
        let width = LANES.min(hidden - first);
        for (k, &v) in state.iter().enumerate() {
            for (sums, matrix) in sums.iter_mut().zip(matrices) {
                let weights = &matrix[k * hidden + first..][..width];
                if let Ok(weights) = <&[f32; LANES]>::try_from(weights) {
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum += f64::from(v) * f64::from(weight);
                    }
                } else {
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum += f64::from(v) * f64::from(weight);
                    }
                }
            }
        }
        sums
    }
}

/// `(1 - z) * h + z * before`.
fn mixed(z: f32, h: f32, before: f32) -> f32 {
    let (z, h, before) = (f64::from(z), f64::from(h), f64::from(before));
    canonical(((1.0 - z) * h + z * before) as f32)
}
