//! An interpreter of quantized graphs: the formulas of docs/quantization.md, node by node, every tensor in the order of
//! ONNX.
//!
//! No code is above the largest of its tensor: the interpreter stops where one is. Shares nothing with lowering: no places, no strides of tensors, no plan. Functions of floats come from the runtime,
//! which has one form of them for every executor.

use super::evaluate::{broadcast_flat, flat, positions, tap};
use releqc_passes::activation::ActivationQuant;
use releqc_passes::calibrate::Range;
use releqc_passes::ir::{BinaryKind, Clip, Function, Graph, Node, NodeId, Op, Recurrent, Shape, Window};
use releqc_passes::quantize::{Domain, Quantized, QuantizedLayer};
use releqc_runtime::float::{self, canonical};

/// Runs a quantized graph on one sample; the values of every output in the order of ONNX.
pub fn interpret(quantized: &Quantized, input: &[f32]) -> Vec<Vec<f32>> {
    let mut interpreter = Interpreter { quantized, graph: &quantized.graph, values: Vec::new() };
    let mut input = input;
    for (id, node) in quantized.graph.iter() {
        let value = match &node.op {
            Op::Input(_) => {
                let (own, rest) = input.split_at(node.shape.len());
                input = rest;
                Value::Floats(own.iter().copied().map(canonical).collect())
            }
            Op::Constant(tensor) => Value::Floats(tensor.data().iter().copied().map(canonical).collect()),
            Op::Conv(_) | Op::FullyConnected(_) => interpreter.layer(id, node),
            _ => match quantized.domains[id.0] {
                Domain::Codes => Value::Codes(interpreter.of_codes(id, node)),
                Domain::Float => Value::Floats(clipped(interpreter.of_floats(node), node.activation)),
            },
        };
        assert_eq!(value.len(), node.shape.len(), "{}", node.name);
        if let Value::Codes(codes) = &value {
            let largest = interpreter.quant(id).largest;
            assert!(codes.iter().all(|code| *code <= largest), "{}: codes above {largest}", node.name);
        }
        interpreter.values.push(value);
    }
    quantized.graph.outputs.iter().map(|(_, id)| interpreter.floats(*id)).collect()
}

/// The value of a node.
enum Value {
    Codes(Vec<u8>),
    Floats(Vec<f32>),
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Value::Codes(codes) => codes.len(),
            Value::Floats(floats) => floats.len(),
        }
    }
}

struct Interpreter<'q> {
    quantized: &'q Quantized,
    graph: &'q Graph,
    /// Of the nodes so far.
    values: Vec<Value>,
}

impl Interpreter<'_> {
    /// Scale and zero point of a node's codes. Of a constant they follow from its values; what only moves has those of
    /// its operand.
    fn quant(&self, id: NodeId) -> ActivationQuant {
        let node = self.graph.node(id);
        match &node.op {
            Op::Constant(tensor) => {
                let divided = |(i, v): (usize, &f32)| v / self.factor(id, i);
                of_range(Range::of(&tensor.data().iter().enumerate().map(divided).collect::<Vec<f32>>()))
            }
            Op::Transpose { .. } | Op::Gather { .. } | Op::Reshape | Op::MaxPool(_)
                if self.quantized.domains[id.0] == Domain::Codes =>
            {
                self.quant(node.inputs[0])
            }
            _ => self.quantized.activations[id.0],
        }
    }

    fn shape(&self, id: NodeId) -> &Shape {
        &self.graph.node(id).shape
    }

    /// What the scale of an element is multiplied by: the factor of its channel.
    fn factor(&self, id: NodeId, element: usize) -> f32 {
        self.quantized.factors[id.0].as_ref().map_or(1.0, |factors| factors[channel(self.shape(id), element)])
    }

    fn has_factors(&self, id: NodeId) -> bool {
        self.quantized.factors[id.0].is_some()
    }

    /// A node's value as codes, quantized where it is floats.
    fn codes(&self, id: NodeId) -> Vec<u8> {
        let ActivationQuant { scale, zero_point, largest } = self.quant(id);
        match (&self.values[id.0], &self.graph.node(id).op) {
            (Value::Codes(codes), _) => codes.clone(),
            (Value::Floats(_), Op::Constant(tensor)) => {
                let value = |(i, &v): (usize, &f32)| code(v / self.factor(id, i), self.quant(id));
                tensor.data().iter().enumerate().map(value).collect()
            }
            (Value::Floats(floats), _) => {
                let inv_scale = 1.0 / scale;
                let divided = |(i, &v): (usize, &f32)| match self.has_factors(id) {
                    true => canonical(v * canonical(1.0 / self.factor(id, i))),
                    false => v,
                };
                let steps = floats.iter().enumerate().map(|v| divided(v) * inv_scale);
                steps.map(|v| requantize(v, zero_point, [0, largest])).collect()
            }
        }
    }

    /// `q - z` of every code.
    fn offsets(&self, id: NodeId) -> Vec<i32> {
        let zero_point = i32::from(self.quant(id).zero_point);
        self.codes(id).into_iter().map(|q| i32::from(q) - zero_point).collect()
    }

    /// A node's value as floats, dequantized where it is codes.
    fn floats(&self, id: NodeId) -> Vec<f32> {
        match &self.values[id.0] {
            Value::Codes(_) => {
                let value = |(i, &q): (usize, &i32)| match (q as f32 * self.quant(id).scale, self.has_factors(id)) {
                    (v, true) => canonical(v * self.factor(id, i)),
                    (v, false) => v,
                };
                self.offsets(id).iter().enumerate().map(value).collect()
            }
            Value::Floats(floats) => floats.clone(),
        }
    }

    /// The codes `lo..=hi` that a clip allows a node. With factors, the range ends before an upper bound above 0.
    fn bounds(&self, id: NodeId, clip: Option<Clip>) -> [u8; 2] {
        let ActivationQuant { scale, zero_point, largest } = self.quant(id);
        let code = |bound: f32| {
            ((bound / scale).round_ties_even() + f32::from(zero_point)).clamp(0.0, f32::from(largest)) as u8
        };
        let top = |max: f32| if self.has_factors(id) && max > 0.0 { largest } else { code(max) };
        clip.map_or([0, largest], |clip| [code(clip.min), top(clip.max)])
    }

    /// `s_x / s_y`.
    fn ratio(&self, x: NodeId, y: NodeId) -> f64 {
        f64::from(self.quant(x).scale) / f64::from(self.quant(y).scale)
    }

    /// Real steps of a node's result to codes.
    fn results(&self, id: NodeId, steps: impl Iterator<Item = f32>) -> Vec<u8> {
        let bounds = self.bounds(id, self.graph.node(id).activation);
        let zero_point = self.quant(id).zero_point;
        steps.map(|v| requantize(v, zero_point, bounds)).collect()
    }

    fn layer(&self, id: NodeId, node: &Node) -> Value {
        let layer = &self.quantized.layers[&id];
        let x = self.codes(node.inputs[0]);
        let accumulators = match &node.op {
            Op::Conv(conv) => {
                let zero_point = self.quant(node.inputs[0]).zero_point;
                convolved(layer, &conv.window, conv.groups, &x, zero_point, [self.shape(node.inputs[0]), &node.shape])
            }
            _ => multiplied(layer, &x),
        };
        let steps = accumulators.into_iter().map(|(channel, acc)| acc as f32 * layer.multipliers[channel]);
        match self.quantized.domains[id.0] {
            Domain::Codes => Value::Codes(self.results(id, steps)),
            Domain::Float => Value::Floats(clipped(steps.collect(), node.activation)),
        }
    }

    /// A node without weights whose value is codes.
    fn of_codes(&self, id: NodeId, node: &Node) -> Vec<u8> {
        let x = node.inputs[0];
        let shape = self.shape(x);
        match &node.op {
            Op::Reshape | Op::Transpose { .. } | Op::Gather { .. } => {
                moved(&node.op, &self.codes(x), shape, &node.shape, self.quant(x).zero_point)
            }
            Op::MaxPool(window) => {
                let [lo, hi] = self.bounds(id, node.activation);
                let codes = self.codes(x);
                let largest = |cells: Vec<usize>| cells.into_iter().map(|cell| codes[cell]).max().unwrap_or(0);
                windows(window, shape, &node.shape).map(|cells| largest(cells).clamp(lo, hi)).collect()
            }
            Op::AveragePool { window, count_include_pad } => {
                let (offsets, multiplier) = (self.offsets(x), self.ratio(x, id) as f32);
                let mean = |cells: Vec<usize>| {
                    let all = window.kernel[0] * window.kernel[1];
                    let count = if *count_include_pad { all } else { cells.len().max(1) };
                    let sum: i32 = cells.into_iter().map(|cell| offsets[cell]).sum();
                    sum as f32 * (multiplier / count as f32)
                };
                self.results(id, windows(window, shape, &node.shape).map(mean))
            }
            Op::Binary(kind) => self.arithmetic(id, node, *kind),
            Op::Concat { axis } => self.concat(id, node, *axis),
            Op::BatchNorm(norm) => {
                let (mul, add) = norm.affine();
                self.affine(id, node, &mul, &add)
            }
            Op::ChannelAffine { mul, add } => self.affine(id, node, mul, add),
            Op::Clip(clip) => {
                let [lo, hi] = self.bounds(id, Some(*clip));
                let codes = self.affine(id, &Node { activation: None, ..node.clone() }, &[1.0], &[0.0]);
                let [outer_lo, outer_hi] = self.bounds(id, node.activation);
                codes.into_iter().map(|q| q.clamp(lo, hi).clamp(outer_lo, outer_hi)).collect()
            }
            Op::Unary(function) => self.table(id, node, |_| *function),
            Op::PRelu { slope } => self.table(id, node, |channel| Function::LeakyRelu { alpha: slope[channel] }),
            other => unreachable!("{} has no integer form", other.label()),
        }
    }

    fn arithmetic(&self, id: NodeId, node: &Node, kind: BinaryKind) -> Vec<u8> {
        let [a, b] = [0, 1].map(|operand| self.spread(node, operand, &self.offsets(node.inputs[operand])));
        let [x, y] = [node.inputs[0], node.inputs[1]];
        let [ma, mb] = [self.ratio(x, id) as f32, self.ratio(y, id) as f32];
        let product = f64::from(self.quant(x).scale) * f64::from(self.quant(y).scale);
        let product = (product / f64::from(self.quant(id).scale)) as f32;
        let steps = a.into_iter().zip(b).map(|(a, b)| match kind {
            BinaryKind::Add => a as f32 * ma + b as f32 * mb,
            BinaryKind::Sub => a as f32 * ma - b as f32 * mb,
            BinaryKind::Mul => (a * b) as f32 * product,
            BinaryKind::Min => (a as f32 * ma).min(b as f32 * mb),
            BinaryKind::Max => (a as f32 * ma).max(b as f32 * mb),
            other => unreachable!("{other:?} has no integer form"),
        });
        self.results(id, steps)
    }

    fn concat(&self, id: NodeId, node: &Node, axis: usize) -> Vec<u8> {
        let [lo, hi] = self.bounds(id, node.activation);
        let own = self.quant(id);
        let part = |&x: &NodeId| -> Vec<u8> {
            if self.quant(x) == own {
                return self.codes(x).into_iter().map(|q| q.clamp(lo, hi)).collect();
            }
            let multiplier = self.ratio(x, id) as f32;
            let offsets = self.offsets(x).into_iter();
            offsets.map(|q| requantize(q as f32 * multiplier, own.zero_point, [lo, hi])).collect()
        };
        joined(&node.inputs.iter().map(part).collect::<Vec<_>>(), &node.shape, axis)
    }

    /// `x * mul[c] + add[c]` with one value a position of axis 1, or one for all.
    fn affine(&self, id: NodeId, node: &Node, mul: &[f32], add: &[f32]) -> Vec<u8> {
        let x = node.inputs[0];
        let (ratio, scale) = (self.ratio(x, id), f64::from(self.quant(id).scale));
        let bounds = self.bounds(id, node.activation);
        let steps = self.offsets(x).into_iter().enumerate().map(|(i, q)| {
            let c = channel(&node.shape, i) % mul.len();
            let [from, to] = [x, id].map(|id| f64::from(self.factor(id, i)));
            let multiplier = (f64::from(mul[c]) * ratio * from / to) as f32;
            q as f32 * multiplier + (f64::from(add[c]) / (scale * to)) as f32
        });
        steps.map(|v| requantize(v, self.quant(id).zero_point, bounds)).collect()
    }

    /// A function of one value, of each channel its own.
    fn table(&self, id: NodeId, node: &Node, function: impl Fn(usize) -> Function) -> Vec<u8> {
        let x = node.inputs[0];
        let value = |(i, q): (usize, i32)| {
            let [from, to] = [x, id].map(|id| {
                let quant = self.quant(id);
                ActivationQuant { scale: quant.scale * self.factor(id, i), ..quant }
            });
            let v = function(channel(&node.shape, i)).eval(q as f32 * from.scale);
            let v = node.activation.map_or(v, |clip| v.max(clip.min).min(clip.max));
            code(v, to)
        };
        self.offsets(x).into_iter().enumerate().map(value).collect()
    }

    /// A node without weights whose value is floats, before its clip.
    fn of_floats(&self, node: &Node) -> Vec<f32> {
        let x = self.floats(node.inputs[0]);
        let shape = self.shape(node.inputs[0]);
        match &node.op {
            Op::Reshape | Op::Transpose { .. } => moved(&node.op, &x, shape, &node.shape, 0.0),
            Op::Gather { fill, .. } => moved(&node.op, &x, shape, &node.shape, canonical(*fill)),
            Op::Unary(function) => x.into_iter().map(|v| with_canonical_parameters(*function).eval(v)).collect(),
            Op::Clip(clip) => clipped(x, Some(*clip)),
            Op::Binary(kind) => {
                let [a, b] = [0, 1].map(|operand| self.spread(node, operand, &self.floats(node.inputs[operand])));
                a.into_iter().zip(b).map(|(a, b)| kind.eval(a, b)).collect()
            }
            Op::BatchNorm(norm) => {
                let (mul, add) = norm.affine();
                affine_floats(&x, &node.shape, &mul, &add)
            }
            Op::ChannelAffine { mul, add } => affine_floats(&x, &node.shape, mul, add),
            Op::PRelu { slope } => {
                let slope = |i: usize| canonical(slope[channel(&node.shape, i)]);
                x.iter().enumerate().map(|(i, &v)| BinaryKind::PRelu.eval(v, slope(i))).collect()
            }
            Op::Select => {
                let [c, a, b] = [0, 1, 2].map(|i| self.spread(node, i, &self.floats(node.inputs[i])));
                (0..c.len()).map(|i| if c[i] != 0.0 { a[i] } else { b[i] }).collect()
            }
            Op::Concat { axis } => {
                let parts: Vec<Vec<f32>> = node.inputs.iter().map(|&input| self.floats(input)).collect();
                joined(&parts, &node.shape, *axis)
            }
            Op::Reduce { kind, axes } => {
                let mut rows = vec![Vec::new(); node.shape.len()];
                for (v, mut at) in x.into_iter().zip(positions(shape)) {
                    axes.iter().for_each(|&axis| at[axis] = 0);
                    rows[flat(&at, &node.shape)].push(v);
                }
                let reduced = |row: &Vec<f32>| {
                    let mut y = [0.0];
                    float::reduce(*kind, row, &mut y, row.len(), 1);
                    y[0]
                };
                rows.iter().map(reduced).collect()
            }
            Op::MatMul => self.product(node, &x),
            Op::Softmax { axis, log } => {
                let mut y = x;
                for lane in lanes(shape, *axis) {
                    let mut values: Vec<f32> = lane.iter().map(|&i| y[i]).collect();
                    let len = values.len();
                    float::softmax(&mut values, *log, len, 1);
                    lane.into_iter().zip(values).for_each(|(i, v)| y[i] = v);
                }
                y
            }
            Op::Resample { axis, taps } => {
                let value = |at: Vec<usize>| {
                    let mut sum = 0.0f64;
                    for &(index, weight) in &taps[at[*axis]] {
                        let mut from = at.clone();
                        from[*axis] = index;
                        sum += f64::from(canonical(weight)) * f64::from(x[flat(&from, shape)]);
                    }
                    canonical(sum as f32)
                };
                positions(&node.shape).map(value).collect()
            }
            Op::Lookup { table } => {
                let rows = table.dims()[0];
                let width = table.data().len() / rows;
                let row = |v: f32| {
                    let index = if v.is_nan() { 0.0 } else { v.round_ties_even().max(0.0).min((rows - 1) as f32) };
                    table.data()[index as usize * width..][..width].iter().copied().map(canonical)
                };
                x.into_iter().flat_map(row).collect()
            }
            Op::Recurrent(cell) => self.recurrent(node, cell),
            other => unreachable!("{} has no float form", other.label()),
        }
    }

    fn product(&self, node: &Node, a: &[f32]) -> Vec<f32> {
        let b = self.floats(node.inputs[1]);
        let [shape_a, shape_b] = [0, 1].map(|i| self.shape(node.inputs[i]));
        let rank = node.shape.rank();
        let depth = shape_a.dims()[shape_a.rank() - 1];
        let value = |at: Vec<usize>| {
            let side = |row: usize, column: usize, shape: &Shape| {
                let mut from = at.clone();
                (from[rank - 2], from[rank - 1]) = (row, column);
                broadcast_flat(&from, shape)
            };
            let mut sum = 0.0f64;
            for k in 0..depth {
                sum += f64::from(a[side(at[rank - 2], k, shape_a)]) * f64::from(b[side(k, at[rank - 1], shape_b)]);
            }
            canonical(sum as f32)
        };
        positions(&node.shape).map(value).collect()
    }

    fn recurrent(&self, node: &Node, cell: &Recurrent) -> Vec<f32> {
        let operands: Vec<Vec<f32>> = node.inputs.iter().map(|&input| self.floats(input)).collect();
        let dims = self.shape(node.inputs[0]).dims();
        let hidden = cell.weight.dims()[1];
        // The runtime wants [gate][before][now], ONNX has [gate][now][before].
        let at = |gate: usize, before: usize, now: usize| cell.weight.data()[(gate * hidden + now) * hidden + before];
        let gates = 0..cell.kind.gates();
        let cells = || (0..hidden).flat_map(|before| (0..hidden).map(move |now| (before, now)));
        let weights: Vec<f32> = gates.flat_map(|g| cells().map(move |(b, n)| canonical(at(g, b, n)))).collect();
        let mut y = vec![0.0; node.shape.len()];
        let runtime = float::Recurrent {
            kind: cell.kind,
            reverse: cell.reverse,
            steps: dims[0],
            batch: dims[1],
            hidden,
            functions: &cell.functions,
            clip: cell.clip,
            weights: &weights,
            biases: &cell.bias,
            peepholes: &cell.peepholes,
        };
        let state = |index: usize| operands.get(index).map(Vec::as_slice);
        float::recurrent(runtime, &operands[0], [state(1), state(2)], &mut y);
        y
    }

    /// An operand's values repeated to the shape of the result.
    fn spread<T: Copy>(&self, node: &Node, operand: usize, values: &[T]) -> Vec<T> {
        let shape = self.shape(node.inputs[operand]);
        positions(&node.shape).map(|at| values[broadcast_flat(&at, shape)]).collect()
    }
}

/// `t = min(max(v, lo - z), hi - z)`, `q = rne(t) + z`; a NaN becomes `lo`.
fn requantize(v: f32, zero_point: u8, [lo, hi]: [u8; 2]) -> u8 {
    let [lo, hi] = [lo, hi].map(|bound| f32::from(bound) - f32::from(zero_point));
    let steps = if v > hi {
        hi
    } else if v > lo {
        v
    } else {
        lo
    };
    (steps.round_ties_even() + f32::from(zero_point)) as u8
}

/// `clamp(rne(v / s) + z)` in f64; of a NaN the code of 0.
fn code(v: f32, quant: ActivationQuant) -> u8 {
    if v.is_nan() {
        return quant.zero_point;
    }
    let steps = (f64::from(v) / f64::from(quant.scale)).round_ties_even() + f64::from(quant.zero_point);
    steps.clamp(0.0, f64::from(quant.largest)) as u8
}

/// `s = (max - min) / 255`, `z = rne(-min / s)`; 1 and 0 for a range of width 0.
fn of_range(Range { min, max }: Range) -> ActivationQuant {
    if min == max {
        return ActivationQuant { scale: 1.0, zero_point: 0, largest: 255 };
    }
    let scale = ((f64::from(max) - f64::from(min)) / 255.0) as f32;
    ActivationQuant { scale, zero_point: (-min / scale).round_ties_even() as u8, largest: 255 }
}

/// Position on axis 1 of element `i`; 0 where there is no such axis.
fn channel(shape: &Shape, i: usize) -> usize {
    match shape.dims() {
        [_, channels, rest @ ..] => i / rest.iter().product::<usize>() % channels,
        _ => 0,
    }
}

fn clipped(values: Vec<f32>, clip: Option<Clip>) -> Vec<f32> {
    let Some(clip) = clip else { return values };
    let function = with_canonical_parameters(Function::Clip { min: clip.min, max: clip.max });
    values.into_iter().map(|v| function.eval(v)).collect()
}

fn with_canonical_parameters(function: Function) -> Function {
    let parameters: Vec<f32> = function.parameters().into_iter().map(canonical).collect();
    Function::from_parts(function.tag(), &parameters).unwrap()
}

/// A product and a sum, each rounded.
fn affine_floats(x: &[f32], shape: &Shape, mul: &[f32], add: &[f32]) -> Vec<f32> {
    let of = |(i, &v): (usize, &f32)| {
        let c = channel(shape, i);
        canonical(canonical(v * canonical(mul[c])) + canonical(add[c]))
    };
    x.iter().enumerate().map(of).collect()
}

/// What an operator that only moves makes of values.
fn moved<T: Copy>(op: &Op, x: &[T], from: &Shape, to: &Shape, fill: T) -> Vec<T> {
    match op {
        Op::Transpose { perm } => {
            let source = |at: Vec<usize>| {
                let mut source = vec![0; at.len()];
                perm.iter().zip(at).for_each(|(&axis, at)| source[axis] = at);
                x[flat(&source, from)]
            };
            positions(to).map(source).collect()
        }
        Op::Gather { maps, .. } => {
            let source = |at: Vec<usize>| -> Option<Vec<usize>> {
                maps.iter().zip(at).map(|(map, position)| map.at(position)).collect()
            };
            positions(to).map(|at| source(at).map_or(fill, |source| x[flat(&source, from)])).collect()
        }
        _ => x.to_vec(),
    }
}

/// Tensors one after the other along an axis of their joint shape.
fn joined<T: Copy>(parts: &[Vec<T>], shape: &Shape, axis: usize) -> Vec<T> {
    let outer: usize = shape.dims()[..axis].iter().product();
    let slice = |part: &Vec<T>, at: usize| {
        let len = part.len() / outer;
        part[at * len..(at + 1) * len].to_vec()
    };
    (0..outer).flat_map(|at| parts.iter().flat_map(move |part| slice(part, at))).collect()
}

/// The elements along an axis, for every position of the other axes.
fn lanes(shape: &Shape, axis: usize) -> Vec<Vec<usize>> {
    let first = |at: &Vec<usize>| at[axis] == 0;
    let lane = |mut at: Vec<usize>| {
        let along = |position: usize| {
            at[axis] = position;
            flat(&at, shape)
        };
        (0..shape.dims()[axis]).map(along).collect()
    };
    positions(shape).filter(first).map(lane).collect()
}

/// For every element of a pool's result, the elements of its operand under the window.
fn windows<'a>(window: &'a Window, from: &'a Shape, to: &'a Shape) -> impl Iterator<Item = Vec<usize>> + 'a {
    positions(to).map(move |at| {
        let taps = (0..window.kernel[0]).flat_map(|row| (0..window.kernel[1]).map(move |column| (row, column)));
        let cell = |(row, column): (usize, usize)| {
            let row = tap(window, 0, at[2], row, from.dims()[2])?;
            let column = tap(window, 1, at[3], column, from.dims()[3])?;
            Some(flat(&[at[0], at[1], row, column], from))
        };
        taps.filter_map(cell).collect()
    })
}

/// `acc = b[c] + sum(q * w)` of every result of a convolution, with its channel; a padding cell holds `z`.
fn convolved(
    layer: &QuantizedLayer,
    window: &Window,
    groups: usize,
    x: &[u8],
    zero_point: u8,
    [from, to]: [&Shape; 2],
) -> Vec<(usize, i32)> {
    let inputs = from.dims()[1] / groups;
    let outputs = to.dims()[1] / groups;
    let taps = window.kernel[0] * window.kernel[1];
    let result = |at: Vec<usize>| {
        let output = at[1];
        let mut acc = layer.biases[output];
        for (index, &weight) in layer.codes[output * layer.depth..][..layer.depth].iter().enumerate() {
            let input = output / outputs * inputs + index / taps;
            let row = tap(window, 0, at[2], index % taps / window.kernel[1], from.dims()[2]);
            let column = tap(window, 1, at[3], index % window.kernel[1], from.dims()[3]);
            let cell = row.zip(column).map(|(row, column)| x[flat(&[at[0], input, row, column], from)]);
            acc = acc.wrapping_add(i32::from(cell.unwrap_or(zero_point)) * i32::from(weight));
        }
        (output, acc)
    };
    positions(to).map(result).collect()
}

/// `acc = b[c] + sum(q * w)` of every result of a fully connected layer, with its channel.
fn multiplied(layer: &QuantizedLayer, x: &[u8]) -> Vec<(usize, i32)> {
    let row = |row: &[u8]| -> Vec<(usize, i32)> {
        let output = |(output, weights): (usize, &[i8])| {
            let products = row.iter().zip(weights).map(|(&q, &w)| i32::from(q) * i32::from(w));
            (output, products.fold(layer.biases[output], i32::wrapping_add))
        };
        layer.codes.chunks_exact(layer.depth).enumerate().map(output).collect()
    };
    x.chunks_exact(layer.depth).flat_map(row).collect()
}
