//! What a node does with its operands, prepared once: weights in blocks, strides, tables.

use super::convolution::Convolution;
use super::dense::Dense;
use super::planes::{Depthwise, Pool};
use super::{Finish, Scratch};
use crate::ir::access::{self, Run};
use crate::ir::{BinaryKind, Conv, Function, Graph, Node, Op, Recurrent, ReduceKind, Shape};
use crate::simd::{Isa, vectorized};
use releqc_runtime::float;

/// An executable node.
#[derive(Debug)]
pub(super) enum Step {
    /// Values of a sample from `first` on.
    Input {
        first: usize,
    },
    /// The values lie in the graph.
    Constant,
    Convolution(Convolution),
    Depthwise(Depthwise),
    Dense(Dense),
    Affine {
        mul: Vec<f32>,
        add: Vec<f32>,
        inner: usize,
    },
    PRelu {
        slope: Vec<f32>,
        inner: usize,
    },
    /// The same values in the same order.
    Copy,
    Pool(Pool),
    Unary(Function),
    Binary {
        kind: BinaryKind,
        extents: Vec<u32>,
        strides: [Vec<u32>; 2],
    },
    Select {
        extents: Vec<u32>,
        strides: [Vec<u32>; 3],
    },
    Concat {
        outer: usize,
    },
    Move {
        tables: Vec<Vec<u32>>,
        fill: f32,
    },
    /// `first` brings the axes together where they lie apart.
    Reduce {
        kind: ReduceKind,
        first: Option<Vec<Vec<u32>>>,
        run: Run,
    },
    MatMul {
        batch: Vec<u32>,
        strides: [Vec<u32>; 2],
        m: usize,
        k: usize,
        n: usize,
    },
    Softmax {
        log: bool,
        run: Run,
    },
    Resample {
        taps: Vec<Vec<(u32, f32)>>,
        run: Run,
    },
    Lookup {
        width: usize,
    },
    /// `[gates][hidden before][hidden]`.
    Recurrent {
        weights: Vec<f32>,
    },
}

/// The operands of a node, by number and sample of the batch.
pub(super) trait Operands<'a> {
    /// The values of one sample.
    fn sample(&self, operand: usize, sample: usize) -> &'a [f32];
    /// The values of all samples, one after the other.
    fn all(&self, operand: usize) -> std::borrow::Cow<'a, [f32]>;
}

impl Step {
    /// Prepares a node; `first` is where a sample holds an input's values.
    ///
    /// # Panics
    /// When a layer still carries batch normalisation.
    pub(super) fn new(graph: &Graph, node: &Node, first: usize) -> Self {
        let shape = |operand: usize| &graph.node(node.inputs[operand]).shape;
        let result = &node.shape;
        match &node.op {
            Op::Input(_) => Step::Input { first },
            Op::Constant(_) => Step::Constant,
            Op::Conv(conv) => {
                assert!(conv.batch_norm.is_none(), "{}: float execution takes a folded graph", node.name);
                convolution(conv, shape(0), result)
            }
            Op::FullyConnected(layer) => {
                assert!(layer.batch_norm.is_none(), "{}: float execution takes a folded graph", node.name);
                Step::Dense(Dense::new(layer))
            }
            Op::BatchNorm(norm) => {
                let (mul, add) = norm.affine();
                Step::Affine { mul, add, inner: behind_channels(result) }
            }
            Op::ChannelAffine { mul, add } => {
                Step::Affine { mul: mul.clone(), add: add.clone(), inner: behind_channels(result) }
            }
            Op::PRelu { slope } => Step::PRelu { slope: slope.clone(), inner: behind_channels(result) },
            Op::Clip(_) | Op::Reshape => Step::Copy,
            Op::MaxPool(window) => Step::Pool(Pool::maximum(*window, shape(0), result)),
            Op::AveragePool { window, count_include_pad } => {
                Step::Pool(Pool::average(*window, *count_include_pad, shape(0), result))
            }
            Op::Unary(function) => Step::Unary(*function),
            Op::Binary(kind) => {
                let strides = [0, 1].map(|operand| access::broadcast_strides(shape(operand), result));
                Step::Binary { kind: *kind, extents: access::extents(result), strides }
            }
            Op::Select => {
                let strides = [0, 1, 2].map(|operand| access::broadcast_strides(shape(operand), result));
                Step::Select { extents: access::extents(result), strides }
            }
            Op::Concat { axis } => Step::Concat { outer: result.dims()[..*axis].iter().product() },
            Op::Transpose { perm } => Step::Move { tables: access::transpose_tables(shape(0), perm), fill: 0.0 },
            Op::Gather { maps, fill } => Step::Move { tables: access::gather_tables(shape(0), maps), fill: *fill },
            Op::Reduce { kind, axes } => match Run::of_reduction(shape(0), axes) {
                Some(run) => Step::Reduce { kind: *kind, first: None, run },
                None => {
                    let tables = access::transpose_tables(shape(0), &access::reduced_last(shape(0), axes));
                    let run = Run { outer: result.len(), len: shape(0).len() / result.len(), inner: 1 };
                    Step::Reduce { kind: *kind, first: Some(tables), run }
                }
            },
            Op::MatMul => mat_mul(shape(0), shape(1), result),
            Op::Softmax { axis, log } => Step::Softmax { log: *log, run: Run::of_axis(result, *axis) },
            Op::Resample { axis, taps } => {
                let taps = taps.iter().map(|taps| taps.iter().map(|&(index, weight)| (index as u32, weight)).collect());
                Step::Resample { taps: taps.collect(), run: Run::of_axis(shape(0), *axis) }
            }
            Op::Lookup { table } => Step::Lookup { width: table.dims()[1..].iter().product() },
            Op::Recurrent(cell) => Step::Recurrent { weights: recurrent_weights(cell) },
        }
    }

    /// Writes the results of `samples` samples to `y`, which has room for them.
    pub(super) fn run<'a>(
        &self,
        isa: Isa,
        node: &Node,
        x: &impl Operands<'a>,
        y: &mut [f32],
        samples: usize,
        scratch: &mut Scratch,
    ) {
        let finish = Finish::of(node.activation);
        let each = |y: &mut [f32], one: &mut dyn FnMut(usize, &mut [f32])| {
            let len = y.len() / samples;
            y.chunks_exact_mut(len).enumerate().for_each(|(sample, y)| one(sample, y));
        };
        match self {
            // The executor copies inputs; constants are read where they lie.
            Step::Input { .. } | Step::Constant => return,
            Step::Convolution(convolution) => {
                let images = samples * node.shape.dims()[0];
                return convolution.run(isa, &x.all(0), y, images, finish, scratch);
            }
            Step::Depthwise(depthwise) => return depthwise.run(isa, &x.all(0), y, finish, scratch),
            Step::Dense(dense) => return dense.run(isa, &x.all(0), y, finish, scratch),
            Step::Affine { mul, add, inner } => {
                let x = x.all(0);
                let lines = y.chunks_exact_mut(*inner).zip(x.chunks_exact(*inner));
                for ((y, x), (m, a)) in lines.zip(mul.iter().zip(add).cycle()) {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = x * m + a);
                }
            }
            Step::PRelu { slope, inner } => {
                let x = x.all(0);
                let lines = y.chunks_exact_mut(*inner).zip(x.chunks_exact(*inner));
                for ((y, x), slope) in lines.zip(slope.iter().cycle()) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x < 0.0 { x * slope } else { x });
                }
            }
            Step::Copy => y.copy_from_slice(&x.all(0)),
            Step::Pool(pool) => pool.run(isa, &x.all(0), y),
            Step::Unary(function) => unary(isa, *function, &x.all(0), y),
            Step::Binary { kind, extents, strides: [strides_a, strides_b] } => each(y, &mut |sample, y| {
                binary(isa, *kind, x.sample(0, sample), x.sample(1, sample), y, extents, [strides_a, strides_b]);
            }),
            Step::Select { extents, strides: [c, a, b] } => each(y, &mut |sample, y| {
                let [condition, yes, no] = [0, 1, 2].map(|operand| x.sample(operand, sample));
                float::select(condition, yes, no, y, extents, [c, a, b]);
            }),
            Step::Concat { outer } => each(y, &mut |sample, y| {
                float::concat((0..node.inputs.len()).map(|operand| x.sample(operand, sample)), y, *outer);
            }),
            Step::Move { tables, fill } => {
                each(y, &mut |sample, y| float::movement(x.sample(0, sample), y, tables, *fill));
            }
            Step::Reduce { kind, first: None, run } => float::reduce(*kind, &x.all(0), y, run.len, run.inner),
            Step::Reduce { kind, first: Some(tables), run } => each(y, &mut |sample, y| {
                let x = x.sample(0, sample);
                scratch.moved.resize(x.len(), 0.0);
                float::movement(x, &mut scratch.moved, tables, 0.0);
                float::reduce(*kind, &scratch.moved, y, run.len, run.inner);
            }),
            Step::MatMul { batch, strides: [strides_a, strides_b], m, k, n } => each(y, &mut |sample, y| {
                let product = float::MatMul { batch, strides_a, strides_b, m: *m, k: *k, n: *n };
                float::matmul(product, x.sample(0, sample), x.sample(1, sample), y);
            }),
            Step::Softmax { log, run } => {
                y.copy_from_slice(&x.all(0));
                float::softmax(y, *log, run.len, run.inner);
            }
            Step::Resample { taps, run } => float::resample(&x.all(0), y, taps, run.len, run.inner),
            Step::Lookup { width } => {
                let Op::Lookup { table } = &node.op else { return };
                float::lookup(&x.all(0), y, table.data(), *width);
            }
            Step::Recurrent { weights } => {
                let (Op::Recurrent(cell), &[rows, batch, hidden]) = (&node.op, node.shape.dims()) else { return };
                let cell = float::Recurrent {
                    kind: cell.kind,
                    reverse: cell.reverse,
                    steps: rows - cell.kind.extra_states(),
                    batch,
                    hidden,
                    functions: &cell.functions,
                    clip: cell.clip,
                    weights,
                    biases: &cell.bias,
                    peepholes: &cell.peepholes,
                };
                each(y, &mut |sample, y| {
                    let initial = [1, 2].map(|i| (i < node.inputs.len()).then(|| x.sample(i, sample)));
                    float::recurrent(cell, x.sample(0, sample), initial, y);
                });
            }
        }
        match &node.op {
            Op::Clip(clip) => {
                Finish::of(Some(*clip)).apply(y);
                finish.apply(y);
            }
            // These only move canonical values.
            op if op.moves() && node.activation.is_none() => {}
            _ => finish.apply(y),
        }
    }
}

vectorized! {
    fn unary(function: Function, x: &[f32], y: &mut [f32]) {
        float::unary(function, x, y);
    }
}

vectorized! {
    fn binary(kind: BinaryKind, a: &[f32], b: &[f32], y: &mut [f32], extents: &[u32], strides: [&[u32]; 2]) {
        float::binary(kind, a, b, y, extents, strides[0], strides[1]);
    }
}

/// R of ONNX, each gate's matrix transposed.
fn recurrent_weights(cell: &Recurrent) -> Vec<f32> {
    let hidden = cell.weight.dims()[1];
    let gates = cell.weight.data().chunks_exact(hidden * hidden);
    gates.flat_map(|gate| (0..hidden * hidden).map(move |i| gate[i % hidden * hidden + i / hidden])).collect()
}

/// Positions of all axes behind the channels.
fn behind_channels(shape: &Shape) -> usize {
    shape.dims().iter().skip(2).product()
}

fn convolution(conv: &Conv, operand: &Shape, result: &Shape) -> Step {
    let inputs = conv.weight.dims()[1];
    if inputs == 1 && conv.groups > 1 {
        Step::Depthwise(Depthwise::new(conv, operand, result))
    } else {
        Step::Convolution(Convolution::new(conv, operand, result))
    }
}

fn mat_mul(a: &Shape, b: &Shape, result: &Shape) -> Step {
    let [m, k] = [0, 1].map(|i| a.dims()[a.rank() - 2 + i]);
    let n = b.dims()[b.rank() - 1];
    let batch_of = |shape: &Shape| Shape::new(shape.dims()[..shape.rank() - 2].to_vec());
    let batch = batch_of(result);
    // A matrix is one element of the batch; its own size comes in as a factor.
    let strides = [(a, m * k), (b, k * n)].map(|(shape, len)| {
        let strides = access::broadcast_strides(&batch_of(shape), &batch);
        strides.into_iter().map(|stride| stride * len as u32).collect()
    });
    Step::MatMul { batch: access::extents(&batch), strides, m, k, n }
}
