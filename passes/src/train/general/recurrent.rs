//! Back-propagation through time: the gradients of a recurrent layer's inputs and states.
//!
//! Equations are those of ONNX (as in `releqc_runtime::float::recurrent`), in f64; the layer's own matrices stay as they are.

use crate::ir::{Function, Recurrent, RecurrentKind, Shape};

/// One direction of a recurrent layer.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    kind: RecurrentKind,
    reverse: bool,
    functions: Vec<Function>,
    clip: f64,
    steps: usize,
    batch: usize,
    hidden: usize,
    /// `[gates][hidden][hidden before]`.
    weights: Vec<f64>,
    /// `[gates][hidden]`.
    bias: Vec<f64>,
    /// Of the gates i, o and f; zeros where there are none.
    peepholes: Vec<f64>,
}

/// A function of a sum: its value, and its slope there.
#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    value: f64,
    slope: f64,
}

/// What a step of one sequence has computed.
#[derive(Clone, Debug)]
struct Step {
    /// Where the step lies in the sequence.
    at: usize,
    /// The states before.
    h: Vec<f64>,
    c: Vec<f64>,
    /// `[gates][hidden]`.
    gates: Vec<Gate>,
    /// What the reset gate multiplies, of a GRU: the state, or its product.
    reset: Vec<f64>,
    /// `h(c)` of an LSTM.
    out: Vec<Gate>,
}

/// Place of a gate in ONNX's order.
mod gate {
    /// Of a GRU.
    pub(super) const Z: usize = 0;
    pub(super) const R: usize = 1;
    pub(super) const H: usize = 2;
    /// Of an LSTM.
    pub(super) const I: usize = 0;
    pub(super) const O: usize = 1;
    pub(super) const F: usize = 2;
    pub(super) const C: usize = 3;
}

impl Cell {
    pub(super) fn new(recurrent: &Recurrent, result: &Shape) -> Self {
        let [rows, batch, hidden] = [0, 1, 2].map(|axis| result.dims().get(axis).copied().unwrap_or(0));
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let mut peepholes = wide(&recurrent.peepholes);
        peepholes.resize(3 * hidden, 0.0);
        Cell {
            kind: recurrent.kind,
            reverse: recurrent.reverse,
            functions: recurrent.functions.clone(),
            clip: f64::from(recurrent.clip),
            steps: rows - recurrent.kind.extra_states(),
            batch,
            hidden,
            weights: wide(recurrent.weight.data()),
            bias: wide(&recurrent.bias),
            peepholes,
        }
    }

    /// The gradients of the products `[steps][batch][gates * hidden]` and of the states at the beginning.
    pub(super) fn adjoint(&self, x: &[&[f32]], dy: &[f32]) -> Vec<Vec<f32>> {
        let mut made: Vec<Vec<f32>> = x.iter().map(|x| vec![0.0; x.len()]).collect();
        for row in 0..self.batch {
            self.sequence(row, x, dy, &mut made);
        }
        made
    }

    fn act(&self, function: usize, sum: f64) -> Gate {
        let function = self.functions[function];
        let value = f64::from(function.eval(sum.clamp(-self.clip, self.clip) as f32));
        let slope = if sum.abs() > self.clip { 0.0 } else { f64::from(function.derivative(sum as f32)) };
        Gate { value, slope: if slope.is_finite() { slope } else { 0.0 } }
    }

    /// The product of a gate's matrix with a state, for one cell.
    fn product(&self, gate: usize, i: usize, state: &[f64]) -> f64 {
        let row = &self.weights[(gate * self.hidden + i) * self.hidden..][..self.hidden];
        row.iter().zip(state).map(|(w, v)| w * v).sum()
    }

    /// Adds the product of a gate's transposed matrix with `from`.
    fn add_transposed(&self, gate: usize, from: &[f64], to: &mut [f64]) {
        for (i, &v) in from.iter().enumerate() {
            let row = &self.weights[(gate * self.hidden + i) * self.hidden..][..self.hidden];
            to.iter_mut().zip(row).for_each(|(to, w)| *to += w * v);
        }
    }

    /// Runs a step; returns it with the states behind it.
    fn step(&self, at: usize, x: &[f32], h: Vec<f64>, c: Vec<f64>) -> (Step, Vec<f64>, Vec<f64>) {
        let hidden = self.hidden;
        let input = |gate: usize, i: usize| f64::from(x[gate * hidden + i]);
        let sum = |gate: usize, i: usize, state: &[f64]| {
            input(gate, i) + self.bias[gate * hidden + i] + self.product(gate, i, state)
        };
        let mut gates = vec![Gate::default(); self.kind.gates() * hidden];
        let (mut reset, mut out) = (vec![0.0; hidden], vec![Gate::default(); hidden]);
        let (mut next_h, mut next_c) = (vec![0.0; hidden], c.clone());
        match self.kind {
            RecurrentKind::Rnn => {
                for i in 0..hidden {
                    gates[i] = self.act(0, sum(0, i, &h));
                    next_h[i] = gates[i].value;
                }
            }
            RecurrentKind::Gru | RecurrentKind::GruLinear => {
                let is_linear = self.kind == RecurrentKind::GruLinear;
                for i in 0..hidden {
                    gates[gate::Z * hidden + i] = self.act(0, sum(gate::Z, i, &h));
                    gates[gate::R * hidden + i] = self.act(0, sum(gate::R, i, &h));
                    let product = || self.bias[gate::H * hidden + i] + self.product(gate::H, i, &h);
                    reset[i] = if is_linear { product() } else { h[i] };
                }
                let kept: Vec<f64> = (0..hidden).map(|i| gates[gate::R * hidden + i].value * reset[i]).collect();
                for i in 0..hidden {
                    let before = if is_linear { input(gate::H, i) + kept[i] } else { sum(gate::H, i, &kept) };
                    gates[gate::H * hidden + i] = self.act(1, before);
                    let (z, n) = (gates[gate::Z * hidden + i].value, gates[gate::H * hidden + i].value);
                    next_h[i] = (1.0 - z) * n + z * h[i];
                }
                next_c = kept;
            }
            RecurrentKind::Lstm | RecurrentKind::LstmCoupled => {
                for i in 0..hidden {
                    let through = |peephole: usize, c: f64| self.peepholes[peephole * hidden + i] * c;
                    let enter = self.act(0, sum(gate::I, i, &h) + through(0, c[i]));
                    let forget = match self.kind {
                        RecurrentKind::LstmCoupled => Gate { value: 1.0 - enter.value, slope: 0.0 },
                        _ => self.act(0, sum(gate::F, i, &h) + through(2, c[i])),
                    };
                    let candidate = self.act(1, sum(gate::C, i, &h));
                    next_c[i] = forget.value * c[i] + enter.value * candidate.value;
                    let leave = self.act(0, sum(gate::O, i, &h) + through(1, next_c[i]));
                    let function = self.functions[2];
                    let slope = f64::from(function.derivative(next_c[i] as f32));
                    out[i] = Gate { value: f64::from(function.eval(next_c[i] as f32)), slope };
                    next_h[i] = leave.value * out[i].value;
                    for (place, gate) in [(gate::I, enter), (gate::O, leave), (gate::F, forget), (gate::C, candidate)] {
                        gates[place * hidden + i] = gate;
                    }
                }
            }
        }
        (Step { at, h, c, gates, reset, out }, next_h, next_c)
    }

    fn sequence(&self, row: usize, x: &[&[f32]], dy: &[f32], made: &mut [Vec<f32>]) {
        let (hidden, width) = (self.hidden, self.kind.gates() * self.hidden);
        let initial = |operand: usize| match x.get(operand).filter(|_| operand <= self.kind.initial_states()) {
            Some(state) => state[row * hidden..][..hidden].iter().map(|&v| f64::from(v)).collect(),
            None => vec![0.0; hidden],
        };
        let (mut h, mut c): (Vec<f64>, Vec<f64>) = (initial(1), initial(2));
        let mut done = Vec::with_capacity(self.steps);
        for step in 0..self.steps {
            let at = if self.reverse { self.steps - 1 - step } else { step };
            let own = &x[0][(at * self.batch + row) * width..][..width];
            let (step, next_h, next_c) = self.step(at, own, h, c);
            done.push(step);
            (h, c) = (next_h, next_c);
        }
        let wide = |at: usize| dy[(at * self.batch + row) * hidden..][..hidden].iter().map(|&v| f64::from(v));
        // What the extra state behind all steps asks for.
        let mut of_extra: Vec<f64> =
            if self.kind.extra_states() == 1 { wide(self.steps).collect() } else { vec![0.0; hidden] };
        let mut of_h = vec![0.0; hidden];
        for step in done.iter().rev() {
            of_h.iter_mut().zip(wide(step.at)).for_each(|(of_h, dy)| *of_h += dy);
            let sums;
            (sums, of_h, of_extra) = self.back(step, &of_h, &of_extra);
            let own = &mut made[0][(step.at * self.batch + row) * width..][..width];
            own.iter_mut().zip(&sums).for_each(|(own, &sum)| *own = sum as f32);
        }
        for (operand, state) in [(1, &of_h), (2, &of_extra)] {
            if let Some(made) = made.get_mut(operand) {
                let own = &mut made[row * hidden..][..hidden];
                own.iter_mut().zip(state).for_each(|(own, &v)| *own = v as f32);
            }
        }
    }

    /// The gradients of a step's input, and of the states before it.
    fn back(&self, step: &Step, of_h: &[f64], of_extra: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let hidden = self.hidden;
        let gate = |gate: usize, i: usize| step.gates[gate * hidden + i];
        let mut sums = vec![0.0; step.gates.len()];
        let (mut before_h, mut before_c) = (vec![0.0; hidden], vec![0.0; hidden]);
        match self.kind {
            RecurrentKind::Rnn => {
                for i in 0..hidden {
                    sums[i] = of_h[i] * gate(0, i).slope;
                }
                self.add_transposed(0, &sums, &mut before_h);
            }
            RecurrentKind::Gru | RecurrentKind::GruLinear => {
                for i in 0..hidden {
                    let (z, n) = (gate(gate::Z, i), gate(gate::H, i));
                    sums[gate::Z * hidden + i] = of_h[i] * (step.h[i] - n.value) * z.slope;
                    sums[gate::H * hidden + i] = of_h[i] * (1.0 - z.value) * n.slope;
                    before_h[i] = of_h[i] * z.value;
                }
                // Of what the reset gate yields; the last step's is a result of the layer.
                let mut of_kept = of_extra.to_vec();
                let candidate = sums[gate::H * hidden..][..hidden].to_vec();
                match self.kind {
                    RecurrentKind::GruLinear => of_kept.iter_mut().zip(&candidate).for_each(|(k, s)| *k += s),
                    _ => self.add_transposed(gate::H, &candidate, &mut of_kept),
                }
                let mut of_reset = vec![0.0; hidden];
                for i in 0..hidden {
                    let r = gate(gate::R, i);
                    sums[gate::R * hidden + i] = of_kept[i] * step.reset[i] * r.slope;
                    of_reset[i] = of_kept[i] * r.value;
                }
                match self.kind {
                    RecurrentKind::GruLinear => self.add_transposed(gate::H, &of_reset, &mut before_h),
                    _ => before_h.iter_mut().zip(&of_reset).for_each(|(h, r)| *h += r),
                }
                for gate in [gate::Z, gate::R] {
                    self.add_transposed(gate, &sums[gate * hidden..][..hidden], &mut before_h);
                }
            }
            RecurrentKind::Lstm | RecurrentKind::LstmCoupled => {
                let is_coupled = self.kind == RecurrentKind::LstmCoupled;
                for i in 0..hidden {
                    let [enter, leave, forget, candidate] =
                        [gate::I, gate::O, gate::F, gate::C].map(|place| gate(place, i));
                    let [to_i, to_o, to_f] = [0, 1, 2].map(|peephole| self.peepholes[peephole * hidden + i]);
                    let of_leave = of_h[i] * step.out[i].value * leave.slope;
                    let of_c = of_extra[i] + of_h[i] * leave.value * step.out[i].slope + to_o * of_leave;
                    let shared = if is_coupled { step.c[i] } else { 0.0 };
                    let of_enter = of_c * (candidate.value - shared) * enter.slope;
                    let of_forget = of_c * step.c[i] * forget.slope;
                    before_c[i] = of_c * forget.value + to_i * of_enter + to_f * of_forget;
                    for (place, value) in [
                        (gate::I, of_enter),
                        (gate::O, of_leave),
                        (gate::F, of_forget),
                        (gate::C, of_c * enter.value * candidate.slope),
                    ] {
                        sums[place * hidden + i] = value;
                    }
                }
                for gate in [gate::I, gate::O, gate::F, gate::C] {
                    self.add_transposed(gate, &sums[gate * hidden..][..hidden], &mut before_h);
                }
            }
        }
        (sums, before_h, before_c)
    }
}
