//! Normalisations by the statistics of the sample itself.
//!
//! Takes an activation; returns reductions, arithmetic and functions that run in floats: `(x - mean) / sqrt(variance + epsilon)`, then
//! the constant affine map.
//! Refuses scales that depend on the input where one number a channel is required.

use super::axis;
use super::binary::per_channel;
use super::forms::one;
use super::reduce::norm;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{BinaryKind, Clip, Function, NodeId, Op, ReduceKind};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("GroupNormalization", group_normalization),
    ("InstanceNormalization", instance_normalization),
    ("LRN", local_response),
    ("LayerNormalization", layer_normalization),
    ("LpNormalization", lp_normalization),
    ("MeanVarianceNormalization", mean_variance),
    ("RMSNormalization", rms_normalization),
    ("SimplifiedLayerNormalization", rms_normalization),
    ("com.microsoft.SkipLayerNormalization", skip_layer_normalization),
    ("com.microsoft.SimplifiedLayerNormalization", rms_normalization),
];

/// What a normalisation over some axes found: the result, the mean and `1 / sqrt(variance + epsilon)`.
struct Normalized {
    result: NodeId,
    mean: NodeId,
    deviation: NodeId,
}

fn normalize(b: &mut Builder<'_>, x: NodeId, axes: &[usize], epsilon: f32) -> Result<Normalized, Problem> {
    let mean = b.reduce(ReduceKind::Mean, x, axes, true)?;
    let centred = b.binary(BinaryKind::Sub, x, mean)?;
    let squared = b.unary(Function::Pow { exponent: 2.0 }, centred)?;
    let variance = b.reduce(ReduceKind::Mean, squared, axes, true)?;
    let shifted = b.affine(variance, 1.0, epsilon)?;
    let deviation = b.unary(Function::Sqrt, shifted)?;
    let result = b.binary(BinaryKind::Div, centred, deviation)?;
    Ok(Normalized { result, mean, deviation })
}

/// `x * scale + bias` with the broadcast of ONNX; constants of one value a channel are one affine map.
fn scaled(b: &mut Builder<'_>, x: NodeId, step: &Step, scale: usize, bias: Option<usize>) -> Result<NodeId, Problem> {
    let bias = bias.filter(|&index| step.input(index).is_some());
    let dims = b.dims(x);
    let constant = |b: &Builder<'_>, index: usize| -> Result<Option<Vec<f32>>, Problem> {
        if !b.is_constant(step, index) {
            return Ok(None);
        }
        let constant = b.required(step, index)?;
        Ok(per_channel(constant.dims(), &constant.floats(), &dims))
    };
    let mul = constant(b, scale)?;
    let add = bias.map(|index| constant(b, index)).transpose()?.flatten();
    if let Some(mul) = mul
        && (bias.is_none() || add.is_some())
    {
        let add = add.unwrap_or_else(|| vec![0.0; mul.len()]);
        return b.push(Op::ChannelAffine { mul, add }, &[x]);
    }
    let factor = b.node(step, scale)?;
    let mut result = b.binary(BinaryKind::Mul, x, factor)?;
    if let Some(index) = bias {
        let addend = b.node(step, index)?;
        result = b.binary(BinaryKind::Add, result, addend)?;
    }
    if b.dims(result) == dims { Ok(result) } else { Err(invalid("scale and bias; they must broadcast to the operand")) }
}

/// Axes from `first` on.
fn from_axis(b: &Builder<'_>, x: NodeId, step: &Step) -> Result<Vec<usize>, Problem> {
    let rank = b.rank(x);
    Ok((axis::axis(step.attributes().int("axis", -1)?, rank)?..rank).collect())
}

fn layer_normalization(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let axes = from_axis(b, x, step)?;
    let normalized = normalize(b, x, &axes, step.attributes().float("epsilon", 1e-5)?)?;
    let result = scaled(b, normalized.result, step, 1, Some(2))?;
    let mut values = vec![Value::Node(result)];
    if step.output_count() > 1 {
        values.push(Value::Node(normalized.mean));
        let inverse = b.unary(Function::Reciprocal, normalized.deviation)?;
        values.push(Value::Node(inverse));
    }
    Ok(values)
}

/// Sum with the skip and a bias, then a layer normalisation over the last axis.
fn skip_layer_normalization(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut x = super::binary::combine(b, BinaryKind::Add, step, 0, 1)?;
    if step.input(4).is_some() {
        let bias = b.node(step, 4)?;
        x = b.binary(BinaryKind::Add, x, bias)?;
    }
    let last = b.rank(x).saturating_sub(1);
    let normalized = normalize(b, x, &[last], step.attributes().float("epsilon", 1e-12)?)?;
    let result = scaled(b, normalized.result, step, 2, Some(3))?;
    Ok(vec![Value::Node(result), Value::Node(normalized.mean), Value::Node(normalized.deviation), Value::Node(x)])
}

fn rms_normalization(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let axes = from_axis(b, x, step)?;
    let squared = b.unary(Function::Pow { exponent: 2.0 }, x)?;
    let mean = b.reduce(ReduceKind::Mean, squared, &axes, true)?;
    let shifted = b.affine(mean, 1.0, step.attributes().float("epsilon", 1e-5)?)?;
    let root = b.unary(Function::Sqrt, shifted)?;
    let result = b.binary(BinaryKind::Div, x, root)?;
    one(scaled(b, result, step, 1, None)?)
}

/// One scale and bias a channel, as an affine map of axis 1, constant or not.
fn per_channel_affine(b: &mut Builder<'_>, x: NodeId, step: &Step) -> Result<NodeId, Problem> {
    let rank = b.rank(x);
    let channels = b.shape(x).channels();
    let mut column = vec![1; rank];
    column[1] = channels;
    if b.is_constant(step, 1) && b.is_constant(step, 2) {
        let (mul, add) = (b.required(step, 1)?.floats(), b.required(step, 2)?.floats());
        if mul.len() != channels || add.len() != channels {
            return Err(invalid(format!(
                "{} scales and {} biases for {channels} channels; one each a channel is required",
                mul.len(),
                add.len()
            )));
        }
        return b.push(Op::ChannelAffine { mul, add }, &[x]);
    }
    let (mul, add) = (b.node(step, 1)?, b.node(step, 2)?);
    let (mul, add) = (b.reshape(mul, column.clone())?, b.reshape(add, column)?);
    let product = b.binary(BinaryKind::Mul, x, mul)?;
    b.binary(BinaryKind::Add, product, add)
}

fn instance_normalization(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let axes: Vec<usize> = (2..b.rank(x)).collect();
    if axes.is_empty() {
        return Err(invalid(format!("InstanceNormalization of {}; [N, C, ..] is required", b.shape(x))));
    }
    let normalized = normalize(b, x, &axes, step.attributes().float("epsilon", 1e-5)?)?;
    one(per_channel_affine(b, normalized.result, step)?)
}

/// Before opset 21 there is one scale and bias a group, since then one a channel.
fn group_normalization(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let groups = axis::count(step.attributes().int("num_groups", 0)?, "num_groups")?;
    if dims.len() < 2 || groups == 0 || !dims[1].is_multiple_of(groups) {
        return Err(invalid(format!("{groups} groups of {dims:?}; the channels must divide")));
    }
    let inner = dims[1..].iter().product::<usize>() / groups;
    let grouped = b.reshape(x, vec![dims[0], groups, inner])?;
    let normalized = normalize(b, grouped, &[2], step.attributes().float("epsilon", 1e-5)?)?;
    if step.opset() < 21 {
        let result = per_channel_affine(b, normalized.result, step)?;
        return one(b.reshape(result, dims)?);
    }
    let result = b.reshape(normalized.result, dims)?;
    one(per_channel_affine(b, result, step)?)
}

/// The reference adds 1e-9 to the deviation.
fn mean_variance(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let axes = axis::sorted_axes(step.attributes().ints("axes")?.unwrap_or(&[0, 2, 3]), b.rank(x))?;
    let mean = b.reduce(ReduceKind::Mean, x, &axes, true)?;
    let centred = b.binary(BinaryKind::Sub, x, mean)?;
    let squared = b.unary(Function::Pow { exponent: 2.0 }, centred)?;
    let variance = b.reduce(ReduceKind::Mean, squared, &axes, true)?;
    let root = b.unary(Function::Sqrt, variance)?;
    let deviation = b.affine(root, 1.0, 1e-9)?;
    one(b.binary(BinaryKind::Div, centred, deviation)?)
}

/// A norm of 0 gives 0: what is divided is 0 too.
fn lp_normalization(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let attributes = step.attributes();
    let axis = axis::axis(attributes.int("axis", -1)?, b.rank(x))?;
    let norm = norm(b, x, attributes.int("p", 2)? as f32, &[axis])?;
    one(divided(b, x, norm)?)
}

/// `x / norm` for a norm that is 0 only where `x` is.
pub(super) fn divided(b: &mut Builder<'_>, x: NodeId, norm: NodeId) -> Result<NodeId, Problem> {
    let bounded = b.push(Op::Clip(Clip { min: 1e-30, max: f32::INFINITY }), &[norm])?;
    b.binary(BinaryKind::Div, x, bounded)
}

/// `x / (bias + alpha / size * sum of squares of the neighbouring channels)^beta`.
fn local_response(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let attributes = step.attributes();
    let size = axis::count(attributes.int("size", 0)?, "size")?;
    let channels = b.shape(x).channels();
    if size == 0 || b.rank(x) < 3 {
        return Err(invalid(format!("LRN of size {size} on {}; size >= 1 and [N, C, ..] are required", b.shape(x))));
    }
    let weight = attributes.float("alpha", 1e-4)? / size as f32;
    let (before, after) = ((size - 1) / 2, size / 2);
    let taps = (0..channels)
        .map(|channel| {
            let range = channel.saturating_sub(before)..(channel + after + 1).min(channels);
            range.map(|index| (index, weight)).collect()
        })
        .collect();
    let squared = b.unary(Function::Pow { exponent: 2.0 }, x)?;
    let sum = b.push(Op::Resample { axis: 1, taps }, &[squared])?;
    let shifted = b.affine(sum, 1.0, attributes.float("bias", 1.0)?)?;
    let power = b.unary(Function::Pow { exponent: attributes.float("beta", 0.75)? }, shifted)?;
    one(b.binary(BinaryKind::Div, x, power)?)
}
