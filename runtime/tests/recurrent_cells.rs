//! Recurrent cells against what onnxruntime 1.32 yields, and against the formulas of ONNX in f64
//! for sizes that fill no block.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the message")]

use releqc_runtime::float::{Recurrent, RecurrentKind, canonical, recurrent};
use releqc_runtime::function::Function;

/// onnxruntime approximates tanh and the logistic function.
const TOLERANCE: f64 = 3e-6;

const PLAIN: &[Function] = &[Function::Sigmoid, Function::Tanh, Function::Tanh];
const RELU: Function = Function::Clip { min: 0.0, max: f32::INFINITY };

/// `n` exact values that differ by `seed`; the vectors below were made from the same.
fn ramp(n: usize, seed: usize, scale: f32) -> Vec<f32> {
    let value = |i: usize| ((i * i * 7 + i * 13 + seed * 29 + i * seed) % 31) as f32 - 15.0;
    (0..n).map(|i| value(i) / 16.0 * scale).collect()
}

/// A layer in the terms of ONNX, one direction.
#[derive(Clone, Debug)]
struct Layer {
    kind: RecurrentKind,
    reverse: bool,
    functions: Vec<Function>,
    clip: f32,
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    r: Vec<f32>,
    /// Of the input, then of the state.
    b: Vec<f32>,
    p: Vec<f32>,
    initial: Option<[Vec<f32>; 2]>,
}

impl Layer {
    /// The layer of the vectors; `direction` is its place in a layer of two directions.
    fn new(kind: RecurrentKind, functions: &[Function], direction: usize) -> Self {
        let (steps, batch, inputs, hidden, gates) = (3, 2, 2, 3, kind.gates());
        let part = |len: usize, seed, scale| ramp((direction + 1) * len, seed, scale)[direction * len..].to_vec();
        Layer {
            kind,
            reverse: direction == 1,
            functions: functions[..kind.functions()].to_vec(),
            clip: f32::INFINITY,
            steps,
            batch,
            inputs,
            hidden,
            x: ramp(steps * batch * inputs, 1, 2.0),
            w: part(gates * hidden * inputs, 2, 1.0),
            r: part(gates * hidden * hidden, 3, 1.0),
            b: part(2 * gates * hidden, 4, 0.5),
            p: vec![],
            initial: Some([part(batch * hidden, 5, 1.0), part(batch * hidden, 6, 1.0)]),
        }
    }

    fn with_peepholes(mut self, direction: usize) -> Self {
        self.p = ramp((direction + 1) * 3 * self.hidden, 7, 1.0)[direction * 3 * self.hidden..].to_vec();
        self
    }

    /// Hidden states, then what lies behind them.
    fn run(&self) -> (Vec<f32>, Vec<f32>) {
        let (gates, hidden, inputs) = (self.kind.gates(), self.hidden, self.inputs);
        let mut projections = Vec::new();
        for x in self.x.chunks_exact(inputs) {
            for (w, &b) in self.w.chunks_exact(inputs).zip(&self.b) {
                projections.push(canonical(b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()));
            }
        }
        let mut weights = Vec::new();
        for matrix in self.r.chunks_exact(hidden * hidden) {
            (0..hidden * hidden).for_each(|i| weights.push(matrix[i % hidden * hidden + i / hidden]));
        }
        let cell = Recurrent {
            kind: self.kind,
            reverse: self.reverse,
            steps: self.steps,
            batch: self.batch,
            hidden,
            functions: &self.functions,
            clip: self.clip,
            weights: &weights,
            biases: &self.b[gates * hidden..],
            peepholes: &self.p,
        };
        let state = self.batch * hidden;
        let mut y = vec![7.0; (self.steps + self.kind.extra_states()) * state];
        let initial = match &self.initial {
            Some([h, c]) => [Some(&h[..]), Some(&c[..])],
            None => [None, None],
        };
        recurrent(cell, &projections, initial, &mut y);
        assert!(y.iter().all(|&v| canonical(v).to_bits() == v.to_bits()));
        let extra = y.split_off(self.steps * state);
        (y, extra)
    }

    /// The formulas of ONNX, in f64: hidden states and the last cells.
    fn naive(&self) -> (Vec<f64>, Vec<f64>) {
        let (hidden, gates, state) = (self.hidden, self.kind.gates(), self.batch * self.hidden);
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let initial = |i: usize| self.initial.as_ref().map_or(vec![0.0; state], |states| wide(&states[i]));
        let (mut h, mut c) = (initial(0), initial(1));
        let mut all = vec![0.0; self.steps * state];
        let apply = |f: usize, v: f64| f64::from(self.functions[f].eval(v as f32));
        let gate = |f: usize, v: f64| apply(f, v.clamp(-f64::from(self.clip), f64::from(self.clip)));
        for step in 0..self.steps {
            let at = if self.reverse { self.steps - 1 - step } else { step };
            let (before, before_c) = (h.clone(), c.clone());
            for (row, i) in (0..self.batch).flat_map(|row| (0..hidden).map(move |i| (row, i))) {
                let from_x = |g: usize, i: usize| -> f64 {
                    let x = &self.x[(at * self.batch + row) * self.inputs..][..self.inputs];
                    let w = &self.w[(g * hidden + i) * self.inputs..][..self.inputs];
                    f64::from(self.b[g * hidden + i])
                        + x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum::<f64>()
                };
                let product = |g: usize, i: usize, state: &dyn Fn(usize) -> f64| -> f64 {
                    let r = &self.r[(g * hidden + i) * hidden..][..hidden];
                    r.iter().enumerate().map(|(k, &r)| f64::from(r) * state(k)).sum()
                };
                let bias = |g: usize, i: usize| f64::from(self.b[(gates + g) * hidden + i]);
                let old = |k: usize| before[row * hidden + k];
                let sum = |g: usize, i: usize| from_x(g, i) + bias(g, i) + product(g, i, &old);
                let through = |p: usize, c: f64| self.p.get(p * hidden + i).map_or(0.0, |&p| f64::from(p) * c);
                let cell = row * hidden + i;
                h[cell] = match self.kind {
                    RecurrentKind::Rnn => gate(0, sum(0, i)),
                    RecurrentKind::Gru | RecurrentKind::GruLinear => {
                        let z = gate(0, sum(0, i));
                        let r = |i: usize| gate(0, sum(1, i));
                        let candidate = if self.kind == RecurrentKind::Gru {
                            from_x(2, i) + bias(2, i) + product(2, i, &|k| r(k) * old(k))
                        } else {
                            from_x(2, i) + r(i) * (bias(2, i) + product(2, i, &old))
                        };
                        (1.0 - z) * gate(1, candidate) + z * old(i)
                    }
                    RecurrentKind::Lstm | RecurrentKind::LstmCoupled => {
                        let input = gate(0, sum(0, i) + through(0, before_c[cell]));
                        let forget = match self.kind {
                            RecurrentKind::Lstm => gate(0, sum(2, i) + through(2, before_c[cell])),
                            _ => 1.0 - input,
                        };
                        c[cell] = forget * before_c[cell] + input * gate(1, sum(3, i));
                        gate(0, sum(1, i) + through(1, c[cell])) * apply(2, c[cell])
                    }
                };
            }
            all[at * state..][..state].copy_from_slice(&h);
        }
        (all, c)
    }
}

fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&y, &e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(y) - e).abs() <= TOLERANCE, "{what}: {y} instead of {e} at {i}");
    }
}

/// Checks a layer against all hidden states and, of an LSTM, its last cells, and against the
/// formulas.
fn check(layer: &Layer, states: &[f64], cells: &[f64]) {
    let (y, extra) = layer.run();
    near(&y, states, &format!("{layer:?}"));
    if layer.kind.initial_states() == 2 {
        near(&extra, cells, &format!("cells of {layer:?}"));
    }
    let (states, cells) = layer.naive();
    near(&y, &states, "formulas");
    if layer.kind.initial_states() == 2 {
        near(&extra, &cells, "cells of formulas");
    }
}

#[test]
fn lstm_of_onnxruntime() {
    use RecurrentKind::*;
    check(
        &Layer::new(Lstm, PLAIN, 0),
        &[
            0.6428685,
            0.07914985,
            0.1691485,
            0.3461962,
            0.2244009,
            0.02856145,
            0.2974242,
            0.136177,
            0.04392872,
            0.5658069,
            0.1876671,
            0.06355866,
            0.1262359,
            -0.1254137,
            -0.1576721,
            0.1431107,
            -0.1059818,
            -0.05853062,
        ],
        &[0.4595334, -0.1748474, -0.2930498, 0.4115722, -0.1497503, -0.1100224],
    );
    check(
        &Layer { reverse: true, initial: None, b: vec![0.0; 24], ..Layer::new(Lstm, PLAIN, 0) },
        &[
            0.3870319,
            0.09724705,
            0.08804834,
            0.2029229,
            0.141215,
            0.08247788,
            -0.01677588,
            -0.165772,
            -0.1878207,
            0.1073355,
            0.03355222,
            0.009901343,
            -0.02985795,
            -0.2103166,
            -0.2041052,
            -0.03534377,
            -0.2209743,
            -0.1665468,
        ],
        &[0.5673667, 0.3627933, 0.3085413, 0.2794519, 0.4176446, 0.2096417],
    );
    check(
        &Layer { clip: 0.5, ..Layer::new(LstmCoupled, PLAIN, 0) },
        &[
            0.2268695,
            0.06662547,
            0.1681269,
            0.1742697,
            0.1606572,
            0.02193931,
            0.1642361,
            0.05859194,
            -0.01603851,
            0.2345018,
            0.1589894,
            0.0783842,
            0.05509949,
            -0.06779219,
            -0.1237803,
            0.04635325,
            0.06514859,
            -0.0292774,
        ],
        &[0.1469928, -0.109344, -0.2347393, 0.1233994, 0.1050479, -0.0531005],
    );
    check(
        &Layer::new(LstmCoupled, PLAIN, 0).with_peepholes(0),
        &[
            0.6345321,
            0.0961223,
            0.1676852,
            0.3494514,
            0.208065,
            0.009303971,
            0.2731557,
            0.1800924,
            0.0006692581,
            0.5234433,
            0.1886515,
            0.05556982,
            0.08956967,
            0.02490077,
            -0.1918354,
            0.09758285,
            0.1503614,
            -0.06467766,
        ],
        &[0.3182057, 0.03393441, -0.3525516, 0.2739605, 0.2078125, -0.1205022],
    );
    check(
        &Layer { clip: 0.25, ..Layer::new(Lstm, PLAIN, 0) },
        &[
            0.1361769,
            0.03377663,
            0.1494652,
            0.07691921,
            0.1466918,
            -0.008588647,
            0.105539,
            0.01318336,
            0.008416355,
            0.1098627,
            0.1365319,
            0.04275513,
            0.0135699,
            -0.05431078,
            -0.05793203,
            0.001778917,
            0.01910896,
            -0.02925123,
        ],
        &[0.03100393, -0.09691033, -0.1084406, 0.004063115, 0.03400414, -0.0532966],
    );
    check(
        &Layer::new(Lstm, &[Function::HardSigmoid { alpha: 0.25, beta: 0.5 }, Function::Softsign, RELU], 0),
        &[
            0.6890227, 0.04243251, 0.1388437, 0.2604969, 0.2123323, 0.01094436, 0.2542463, 0.08199014, 0.02762393,
            0.512303, 0.1610792, 0.03592575, 0.09540684, 0.0, 0.0, 0.1051286, 0.0, 0.0,
        ],
        &[0.3519495, -0.1178824, -0.1989871, 0.2986364, -0.1257767, -0.08756842],
    );
    check(
        &Layer::new(Lstm, PLAIN, 0).with_peepholes(0),
        &[
            0.6486908,
            0.09100944,
            0.162056,
            0.3494514,
            0.2584569,
            0.01988969,
            0.3147253,
            0.1328186,
            0.0172438,
            0.5732412,
            0.2053465,
            0.05997296,
            0.1351141,
            -0.1255012,
            -0.1748892,
            0.1474542,
            -0.1116782,
            -0.07416646,
        ],
        &[0.4882609, -0.179055, -0.324859, 0.4167529, -0.1613849, -0.138052],
    );
    check(
        &Layer::new(Lstm, PLAIN, 1).with_peepholes(1),
        &[
            0.1494114,
            0.188562,
            0.1294141,
            0.3002882,
            -0.09573182,
            0.2668342,
            0.05483248,
            0.3202741,
            -0.2239749,
            0.2280111,
            -0.02044898,
            0.07709435,
            0.1284523,
            0.02491123,
            -0.02622273,
            0.09578167,
            0.05863062,
            -0.1653006,
        ],
        &[0.246813, 0.3099808, 0.277059, 0.7037131, -0.1725699, 0.4566514],
    );
}

#[test]
fn gru_of_onnxruntime() {
    use RecurrentKind::*;
    check(
        &Layer::new(Gru, PLAIN, 0),
        &[
            0.2897434,
            0.3276734,
            -0.01781023,
            -0.1475394,
            0.2741143,
            -0.2226878,
            0.09731239,
            0.4979593,
            -0.09267569,
            -0.1754201,
            0.208303,
            0.06578878,
            0.5513378,
            -0.3633552,
            0.2876084,
            0.5263424,
            -0.476287,
            0.3524704,
        ],
        &[],
    );
    check(
        &Layer { reverse: true, ..Layer::new(Gru, PLAIN, 0) },
        &[
            0.3514218, 0.3429707, -0.2267721, 0.2730899, -0.215179, -0.2323561, 0.4534779, 0.1040395, 0.1327099,
            0.4326696, -0.3348504, -0.1339429, 0.6387942, -0.7039592, 0.5016943, 0.5926968, -0.3091755, 0.02706702,
        ],
        &[],
    );
    check(
        &Layer::new(GruLinear, PLAIN, 0),
        &[
            0.2889662,
            0.3415919,
            0.0780936,
            -0.1738418,
            0.2887218,
            -0.1614071,
            0.06702863,
            0.5171589,
            0.002285842,
            -0.2261461,
            0.2279336,
            0.1596373,
            0.5185999,
            -0.3834601,
            0.3648571,
            0.4723804,
            -0.4877471,
            0.4532388,
        ],
        &[],
    );
    check(
        &Layer { clip: 0.25, ..Layer::new(Gru, PLAIN, 0) },
        &[
            0.103585,
            0.1072312,
            0.08122425,
            -0.1423672,
            0.2477753,
            -0.2776191,
            -0.04461218,
            0.1846358,
            -0.06156879,
            -0.1872666,
            0.1117969,
            -0.05008475,
            0.1181552,
            -0.05684961,
            0.1107312,
            0.05569777,
            -0.08454166,
            0.1157592,
        ],
        &[],
    );
    check(
        &Layer { clip: 0.25, ..Layer::new(GruLinear, PLAIN, 0) },
        &[
            0.103585,
            0.1072312,
            0.09394947,
            -0.1423672,
            0.2477753,
            -0.2303623,
            -0.0489981,
            0.1846358,
            -0.04179976,
            -0.1872666,
            0.1401158,
            0.02269604,
            0.116235,
            -0.05684961,
            0.1193866,
            0.05569777,
            -0.07634154,
            0.1476244,
        ],
        &[],
    );
}

#[test]
fn rnn_of_onnxruntime() {
    use RecurrentKind::*;
    check(
        &Layer::new(Rnn, &[Function::Tanh], 0),
        &[
            0.9691508, 0.3238457, -0.2884502, 0.50983, 0.8334162, -0.5491668, 0.517037, -0.4047544, 0.3609281,
            0.7375622, 0.8749186, -0.9317178, -0.7193792, -0.7890866, -0.7761869, -0.8360839, 0.1446875, -0.8398517,
        ],
        &[],
    );
    check(
        &Layer { reverse: true, ..Layer::new(Rnn, &[RELU], 0) },
        &[
            2.223633, 0.0, 0.0, 1.439453, 0.6005859, 0.0, 0.0703125, 0.0, 1.171875, 0.796875, 0.96875, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0,
        ],
        &[],
    );
    check(
        &Layer { clip: 0.25, ..Layer::new(Rnn, &[Function::Tanh], 0) },
        &[
            0.2449187, 0.2449187, -0.2449186, 0.2449187, 0.2449187, -0.2449186, 0.1307887, -0.2449186, 0.2449187,
            0.2449187, 0.2449187, -0.2449186, -0.2449186, -0.2449186, -0.2449186, -0.2449186, -0.2449186, -0.2449186,
        ],
        &[],
    );
}

#[test]
fn sizes_that_fill_no_block() {
    use RecurrentKind::*;
    for (kind, hidden, reverse) in [Rnn, Gru, GruLinear, Lstm, LstmCoupled]
        .into_iter()
        .flat_map(|kind| [(kind, 16, true), (kind, 21, false), (kind, 35, true)])
    {
        let (steps, batch, inputs, gates) = (5, 2, 3, kind.gates());
        let layer = Layer {
            reverse,
            steps,
            hidden,
            x: ramp(steps * batch * inputs, 1, 2.0),
            inputs,
            w: ramp(gates * hidden * inputs, 2, 1.0),
            r: ramp(gates * hidden * hidden, 3, 0.25),
            b: ramp(2 * gates * hidden, 4, 0.5),
            initial: Some([ramp(batch * hidden, 5, 1.0), ramp(batch * hidden, 6, 1.0)]),
            p: if kind == Lstm { ramp(3 * hidden, 7, 0.5) } else { vec![] },
            ..Layer::new(kind, if kind == Rnn { &PLAIN[1..] } else { PLAIN }, 0)
        };
        let ((y, extra), (states, cells)) = (layer.run(), layer.naive());
        near(&y, &states, &format!("{kind:?} of {hidden}"));
        if kind.initial_states() == 2 {
            near(&extra, &cells, &format!("cells of {kind:?} of {hidden}"));
        }
    }
}
