//! What several test files share: a plain float executor, random values, and the place of real models.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says why it was skipped or failed")]
#![allow(dead_code, unreachable_pub, reason = "every test file compiles this module and uses a part of it")]

pub mod nets;
pub mod onnx_builder;

use releqc_passes::ir::{BatchNorm, BinaryKind, Clip, Graph, Node, Op, Shape, Window};
use std::path::PathBuf;
use tract_onnx::prelude::*;

/// The folder of shared models, or `None` with a note where it is absent.
pub fn shared_models() -> Option<PathBuf> {
    let root = std::env::var_os("RELEQC_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let models = root.join("models");
    if models.is_dir() {
        return Some(models);
    }
    // Past the capture of test output: a skipped test must be seen.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {} is absent\n", models.display()).as_bytes(),
    );
    None
}

/// A small fixed generator (splitmix64), so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// In [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// Runs a graph on one sample, value by value in f64, straight from the definitions; all outputs one after the other.
pub fn evaluate(graph: &Graph, input: &[f32]) -> Vec<f32> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    for node in &graph.nodes {
        let mut value = match &node.op {
            Op::Input(_) => input.iter().map(|&v| f64::from(v)).collect(),
            _ => apply(graph, node, &values),
        };
        if let Some(clip) = node.activation {
            clip_all(&mut value, clip);
        }
        assert_eq!(value.len(), node.shape.len(), "{}", node.name);
        values.push(value);
    }
    graph.outputs.iter().flat_map(|(_, id)| values[id.0].iter().map(|&v| v as f32)).collect()
}

fn apply(graph: &Graph, node: &Node, values: &[Vec<f64>]) -> Vec<f64> {
    let x = &values[node.inputs[0].0];
    let shape = &graph.node(node.inputs[0]).shape;
    match &node.op {
        Op::Input(_) => unreachable!("handled by the caller"),
        Op::Conv(conv) => {
            let [_, h, w] = shape.chw();
            let [outputs, oh, ow] = node.shape.chw();
            let dims = conv.weight.dims();
            let (per_group, kh, kw) = (dims[1], dims[2], dims[3]);
            let mut y = vec![0.0; outputs * oh * ow];
            for o in 0..outputs {
                let first = o / (outputs / conv.groups) * per_group;
                let bias = conv.bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
                let out = &mut y[o * oh * ow..(o + 1) * oh * ow];
                out.fill(bias);
                for i in 0..per_group {
                    let plane = &x[(first + i) * h * w..(first + i + 1) * h * w];
                    for (tap, &weight) in
                        conv.weight.data()[(o * per_group + i) * kh * kw..][..kh * kw].iter().enumerate()
                    {
                        for row in 0..oh {
                            let Some(r) = at(&conv.window, 0, row, tap / kw, h) else { continue };
                            for column in 0..ow {
                                if let Some(c) = at(&conv.window, 1, column, tap % kw, w) {
                                    out[row * ow + column] += plane[r * w + c] * f64::from(weight);
                                }
                            }
                        }
                    }
                }
            }
            normalize(&mut y, conv.batch_norm.as_ref(), oh * ow);
            y
        }
        Op::FullyConnected(fc) => {
            let mut y: Vec<f64> = (0..fc.weight.dims()[0])
                .map(|o| {
                    let row = &fc.weight.data()[o * x.len()..(o + 1) * x.len()];
                    let bias = fc.bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
                    bias + row.iter().zip(x).map(|(&w, v)| f64::from(w) * v).sum::<f64>()
                })
                .collect();
            normalize(&mut y, fc.batch_norm.as_ref(), 1);
            y
        }
        Op::BatchNorm(norm) => {
            let mut y = x.clone();
            normalize(&mut y, Some(norm), shape.len() / shape.chw()[0]);
            y
        }
        Op::ChannelAffine { mul, add } => {
            let cells = shape.len() / shape.chw()[0];
            x.iter().enumerate().map(|(i, v)| v * f64::from(mul[i / cells]) + f64::from(add[i / cells])).collect()
        }
        Op::Clip(clip) => {
            let mut y = x.clone();
            clip_all(&mut y, *clip);
            y
        }
        Op::MaxPool(window) => {
            pool(shape, node, window, x, |seen, _| seen.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::AveragePool { window, count_include_pad } => pool(shape, node, window, x, |seen, taps| {
            seen.iter().sum::<f64>() / if *count_include_pad { taps } else { seen.len() } as f64
        }),
        Op::Binary(BinaryKind::Add) => x.iter().zip(&values[node.inputs[1].0]).map(|(a, b)| a + b).collect(),
        Op::Concat { .. } => node.inputs.iter().flat_map(|input| values[input.0].iter().copied()).collect(),
        Op::Reshape => x.clone(),
        Op::Softmax { log, .. } => {
            let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
            x.iter().map(|v| if *log { v - max - sum.ln() } else { (v - max).exp() / sum }).collect()
        }
        other => unreachable!("{} is not in these graphs", other.label()),
    }
}

/// The row or column of the image that a tap reads.
fn at(window: &Window, axis: usize, position: usize, tap: usize, size: usize) -> Option<usize> {
    let leading = [window.padding.top, window.padding.left][axis];
    (position * window.stride[axis] + tap * window.dilation[axis]).checked_sub(leading).filter(|&i| i < size)
}

fn pool(shape: &Shape, node: &Node, window: &Window, x: &[f64], reduce: impl Fn(&[f64], usize) -> f64) -> Vec<f64> {
    let [channels, h, w] = shape.chw();
    let [_, oh, ow] = node.shape.chw();
    let mut y = Vec::new();
    for c in 0..channels {
        for row in 0..oh {
            for column in 0..ow {
                let mut seen = Vec::new();
                for tap in 0..window.kernel[0] * window.kernel[1] {
                    let r = at(window, 0, row, tap / window.kernel[1], h);
                    let k = at(window, 1, column, tap % window.kernel[1], w);
                    if let (Some(r), Some(k)) = (r, k) {
                        seen.push(x[(c * h + r) * w + k]);
                    }
                }
                y.push(reduce(&seen, window.kernel[0] * window.kernel[1]));
            }
        }
    }
    y
}

fn normalize(y: &mut [f64], norm: Option<&BatchNorm>, cells: usize) {
    let Some(norm) = norm else { return };
    for (i, v) in y.iter_mut().enumerate() {
        let c = i / cells;
        let deviation = (f64::from(norm.variance[c]) + f64::from(norm.epsilon)).sqrt();
        *v = (*v - f64::from(norm.mean[c])) / deviation * f64::from(norm.gamma[c]) + f64::from(norm.beta[c]);
    }
}

fn clip_all(y: &mut [f64], clip: Clip) {
    for v in y {
        *v = v.max(f64::from(clip.min)).min(f64::from(clip.max));
    }
}

/// tract's own optimised execution of a model on one sample; all outputs one after the other.
pub fn tract_outputs(mut bytes: &[u8], input: &[f32]) -> Vec<f32> {
    let dims = input_dims(bytes);
    let plan = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_read(&mut bytes)
        .unwrap()
        .with_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), &dims))
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let input = Tensor::from_shape(&dims, input).unwrap();
    let outputs = plan.run(tvec!(input.into())).unwrap();
    outputs
        .iter()
        .flat_map(|output| output.to_plain_array_view::<f32>().unwrap().iter().copied().collect::<Vec<_>>())
        .collect()
}

/// Extents of a model's input with a batch of 1, as the file states them.
fn input_dims(bytes: &[u8]) -> Vec<usize> {
    use releqc_passes::onnx::onnx_protobuf::{tensor_shape_proto::dimension::Value, type_proto};
    let graph = releqc_passes::onnx::decode_model(bytes).unwrap().graph.unwrap();
    let mut inputs = graph.input.iter().filter(|input| graph.initializer.iter().all(|i| i.name != input.name));
    let kind = inputs.next().unwrap().r#type.clone().unwrap().value.unwrap();
    let type_proto::Value::TensorType(tensor) = kind else { panic!("{kind:?}") };
    let dims = tensor.shape.unwrap().dim.into_iter().map(|dim| dim.value);
    dims.map(|dim| if let Some(Value::DimValue(v)) = dim { v as usize } else { 1 }).collect()
}
