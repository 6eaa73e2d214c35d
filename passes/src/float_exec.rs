//! Float execution of a folded graph in a fixed order of operations.
//!
//! Every result element is a chain of f32 products and sums in one order, never fused, whatever the machine: calibration
//! on top of it gives the same bytes everywhere. Not tract and not Burn, whose kernels choose their order by instruction set.

use crate::ir::{BinaryKind, Conv, FullyConnected, Graph, Node, NodeId, Op, Shape, Window};
use rayon::prelude::*;
use releqc_runtime::float_head;

/// Output channels computed together; only a matter of speed, each channel's sum has its own chain.
const LANES: usize = 8;

/// A graph with its weights laid out for execution.
pub struct FloatExecutor<'g> {
    graph: &'g Graph,
    /// Per node; empty for nodes without weights.
    weights: Vec<Vec<f32>>,
}

/// The value of one tensor of one sample, (row, column, channel) order.
type Value = Vec<f32>;

impl<'g> FloatExecutor<'g> {
    /// Lays out the weights.
    ///
    /// # Panics
    /// When a conv or fully connected node still carries batch normalisation: the graph must be folded.
    pub fn new(graph: &'g Graph) -> Self {
        let weights = graph.nodes.iter().map(|node| match &node.op {
            Op::Conv(conv) => {
                assert!(conv.batch_norm.is_none(), "{}: float execution takes a folded graph", node.name);
                conv_weights(conv)
            }
            Op::FullyConnected(fc) => {
                assert!(fc.batch_norm.is_none(), "{}: float execution takes a folded graph", node.name);
                fully_connected_weights(fc, &graph.node(node.inputs[0]).shape)
            }
            _ => Vec::new(),
        });
        FloatExecutor { weights: weights.collect(), graph }
    }

    /// Runs one sample (channel, row, column order); `observe` sees the result of every node, in (row, column, channel) order.
    /// Yields the outputs in (channel, row, column) order.
    pub fn run(&self, input: &[f32], mut observe: impl FnMut(NodeId, &[f32])) -> Vec<Vec<f32>> {
        let mut values: Vec<Value> = Vec::with_capacity(self.graph.nodes.len());
        for (id, node) in self.graph.iter() {
            let mut value = self.node(id, node, input, &values);
            if let Some(clip) = node.activation {
                value.iter_mut().for_each(|v| *v = v.max(clip.min).min(clip.max));
            }
            observe(id, &value);
            values.push(value);
        }
        let output = |(_, id): &(String, NodeId)| channel_first(&values[id.0], &self.graph.node(*id).shape);
        self.graph.outputs.iter().map(output).collect()
    }

    /// The first output of each sample of a batch, in order; samples run in parallel.
    pub fn outputs(&self, samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
        samples.par_iter().map(|sample| self.run(sample, |_, _| ()).swap_remove(0)).collect()
    }

    fn node(&self, id: NodeId, node: &Node, input: &[f32], values: &[Value]) -> Value {
        let x = |i: usize| &values[node.inputs[i].0];
        let in_shape = |i: usize| &self.graph.node(node.inputs[i]).shape;
        let channels = node.shape.chw()[0];
        let weights = &self.weights[id.0];
        match &node.op {
            Op::Input(_) => channel_last(input, &node.shape),
            Op::Conv(conv) => convolve(conv, weights, x(0), in_shape(0), &node.shape),
            Op::FullyConnected(fc) => {
                let outputs = node.shape.len();
                let mut y = fc.bias.clone().unwrap_or_else(|| vec![0.0; outputs]);
                for (&v, row) in x(0).iter().zip(weights.chunks_exact(outputs)) {
                    y.iter_mut().zip(row).for_each(|(acc, &w)| *acc += v * w);
                }
                y
            }
            Op::BatchNorm(bn) => {
                let (mul, add) = bn.affine();
                affine(x(0), &mul, &add)
            }
            Op::ChannelAffine { mul, add } => affine(x(0), mul, add),
            Op::Clip(clip) => x(0).iter().map(|v| v.max(clip.min).min(clip.max)).collect(),
            Op::MaxPool(window) => {
                let mut y = vec![f32::NEG_INFINITY; node.shape.len()];
                for_each_tap(window, in_shape(0), &node.shape, |out, cell| {
                    let cells = x(0)[cell * channels..][..channels].iter();
                    y[out * channels..][..channels].iter_mut().zip(cells).for_each(|(m, &v)| *m = m.max(v));
                });
                y
            }
            Op::AveragePool { window, count_include_pad } => {
                let mut y = vec![0.0; node.shape.len()];
                let mut counts = vec![0u32; node.shape.len() / channels];
                for_each_tap(window, in_shape(0), &node.shape, |out, cell| {
                    counts[out] += 1;
                    let cells = x(0)[cell * channels..][..channels].iter();
                    y[out * channels..][..channels].iter_mut().zip(cells).for_each(|(sum, &v)| *sum += v);
                });
                let all = (window.kernel[0] * window.kernel[1]) as u32;
                for (cell, count) in y.chunks_exact_mut(channels).zip(counts) {
                    let divisor = if *count_include_pad { all } else { count.max(1) } as f32;
                    cell.iter_mut().for_each(|v| *v /= divisor);
                }
                y
            }
            Op::Binary(BinaryKind::Add) => x(0).iter().zip(x(1)).map(|(a, b)| a + b).collect(),
            Op::Concat { .. } => {
                let mut y = Vec::with_capacity(node.shape.len());
                for cell in 0..node.shape.len() / channels {
                    for i in 0..node.inputs.len() {
                        let c = in_shape(i).chw()[0];
                        y.extend_from_slice(&x(i)[cell * c..][..c]);
                    }
                }
                y
            }
            Op::Reshape => channel_last(&channel_first(x(0), in_shape(0)), &node.shape),
            Op::Softmax { log, .. } => {
                let mut y = channel_first(x(0), in_shape(0));
                float_head::softmax(&mut y, *log);
                channel_last(&y, &node.shape)
            }
            other => unreachable!("{}: {} is not imported yet", node.name, other.label()),
        }
    }
}

/// `[group][kernel row][kernel column][input][output]`, outputs of a group padded to [`LANES`] with zeros; for a
/// depthwise conv with one output a channel `[kernel row][kernel column][channel]`.
fn conv_weights(conv: &Conv) -> Vec<f32> {
    let [outputs, inputs, kh, kw] = conv_extents(conv);
    let at = |o: usize, i: usize, tap: usize| conv.weight.data()[(o * inputs + i) * kh * kw + tap];
    if is_depthwise(conv) {
        return (0..kh * kw).flat_map(|tap| (0..outputs).map(move |o| at(o, 0, tap))).collect();
    }
    let group_outputs = outputs / conv.groups;
    let padded = group_outputs.next_multiple_of(LANES);
    let mut weights = vec![0.0; conv.groups * kh * kw * inputs * padded];
    for o in 0..outputs {
        let (group, lane) = (o / group_outputs, o % group_outputs);
        for tap in 0..kh * kw {
            for i in 0..inputs {
                weights[((group * kh * kw + tap) * inputs + i) * padded + lane] = at(o, i, tap);
            }
        }
    }
    weights
}

fn conv_extents(conv: &Conv) -> [usize; 4] {
    let dims = conv.weight.dims();
    [dims[0], dims[1], dims[2], dims[3]]
}

fn is_depthwise(conv: &Conv) -> bool {
    let [outputs, inputs, ..] = conv_extents(conv);
    inputs == 1 && outputs == conv.groups && conv.groups > 1
}

/// `[input in (row, column, channel) order][output]`.
fn fully_connected_weights(fc: &FullyConnected, input: &Shape) -> Vec<f32> {
    let (outputs, inputs) = (fc.weight.dims()[0], fc.weight.dims()[1]);
    let [c, h, w] = input.chw();
    let mut weights = Vec::with_capacity(outputs * inputs);
    for (cell, channel) in (0..h * w).flat_map(|cell| (0..c).map(move |channel| (cell, channel))) {
        weights.extend((0..outputs).map(|o| fc.weight.data()[o * inputs + channel * h * w + cell]));
    }
    weights
}

fn convolve(conv: &Conv, weights: &[f32], x: &[f32], input: &Shape, output: &Shape) -> Value {
    let [outputs, inputs, kh, kw] = conv_extents(conv);
    let mut y = vec![0.0; output.len()];
    if let Some(bias) = &conv.bias {
        y.chunks_exact_mut(outputs).for_each(|cell| cell.copy_from_slice(bias));
    }
    if is_depthwise(conv) {
        for_each_tap_of_kernel(&conv.window, input, output, |out, cell, tap| {
            let (x, w) = (&x[cell * outputs..][..outputs], &weights[tap * outputs..][..outputs]);
            let products = x.iter().zip(w);
            y[out * outputs..][..outputs].iter_mut().zip(products).for_each(|(acc, (&v, &w))| *acc += v * w);
        });
        return y;
    }
    let channels = input.chw()[0];
    let group_outputs = outputs / conv.groups;
    let padded = group_outputs.next_multiple_of(LANES);
    let positions = output.len() / outputs;
    let taps = taps_of_positions(&conv.window, input, output);
    for out in 0..positions {
        for group in 0..conv.groups {
            let group_weights = &weights[group * kh * kw * inputs * padded..][..kh * kw * inputs * padded];
            for first in (0..group_outputs).step_by(LANES) {
                let lanes = LANES.min(group_outputs - first);
                let result = &mut y[out * outputs + group * group_outputs + first..][..lanes];
                let mut acc = [0.0; LANES];
                acc[..lanes].copy_from_slice(result);
                for &(tap, cell) in &taps[out] {
                    let cells = &x[cell * channels + group * inputs..][..inputs];
                    let rows = &group_weights[tap * inputs * padded..][..inputs * padded];
                    for (&v, row) in cells.iter().zip(rows.chunks_exact(padded)) {
                        let row: &[f32; LANES] =
                            row[first..first + LANES].try_into().expect("rows are padded to lanes");
                        for lane in 0..LANES {
                            acc[lane] += v * row[lane];
                        }
                    }
                }
                result.copy_from_slice(&acc[..lanes]);
            }
        }
    }
    y
}

/// For every output position, the taps inside the image and the input cells under them, in order of taps.
fn taps_of_positions(window: &Window, input: &Shape, output: &Shape) -> Vec<Vec<(usize, usize)>> {
    let mut taps = vec![Vec::new(); output.chw()[1] * output.chw()[2]];
    for_each_tap_of_kernel(window, input, output, |out, cell, tap| taps[out].push((tap, cell)));
    taps
}

fn for_each_tap(window: &Window, input: &Shape, output: &Shape, mut visit: impl FnMut(usize, usize)) {
    for_each_tap_of_kernel(window, input, output, |out, cell, _| visit(out, cell));
}

/// Calls `visit(output position, input cell, tap)` for every tap that lies inside the image.
fn for_each_tap_of_kernel(window: &Window, input: &Shape, output: &Shape, mut visit: impl FnMut(usize, usize, usize)) {
    let ([_, height, width], [_, rows, columns]) = (input.chw(), output.chw());
    let inside = |at: usize, tap: usize, axis: usize, before: usize, size: usize| {
        (at * window.stride[axis] + tap * window.dilation[axis]).checked_sub(before).filter(|&i| i < size)
    };
    for row in 0..rows {
        for column in 0..columns {
            for ky in 0..window.kernel[0] {
                let Some(r) = inside(row, ky, 0, window.padding.top, height) else { continue };
                for kx in 0..window.kernel[1] {
                    if let Some(s) = inside(column, kx, 1, window.padding.left, width) {
                        visit(row * columns + column, r * width + s, ky * window.kernel[1] + kx);
                    }
                }
            }
        }
    }
}

fn affine(x: &[f32], mul: &[f32], add: &[f32]) -> Value {
    x.chunks_exact(mul.len())
        .flat_map(|cell| cell.iter().zip(mul.iter().zip(add)).map(|(&v, (&m, &a))| v * m + a))
        .collect()
}

fn channel_last(x: &[f32], shape: &Shape) -> Value {
    let [c, h, w] = shape.chw();
    (0..h * w).flat_map(|cell| (0..c).map(move |channel| x[channel * h * w + cell])).collect()
}

fn channel_first(x: &[f32], shape: &Shape) -> Value {
    let [c, h, w] = shape.chw();
    (0..c).flat_map(|channel| (0..h * w).map(move |cell| x[cell * c + channel])).collect()
}
