//! Operators that stand for a layer with its activation, a bias with its function, a gate, a convolution with its past.

use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::expand::{Expansion, kept};
use crate::import::source::Step;
use crate::onnx::attribute::{float, int};
use crate::onnx::onnx_protobuf::AttributeProto;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("CausalConvWithState", causal_conv),
    ("SwiGLU", swish_gate),
    ("com.microsoft.BiasGelu", bias_gelu),
    ("com.microsoft.FusedConv", fused_conv),
    ("com.microsoft.FusedGemm", fused_gemm),
];

/// A name, and parameters by the names of their attributes.
type Activation = (&'static str, Vec<AttributeProto>);

/// The activation called so; `parameter` tells its parameters by their position.
fn activation(name: &str, parameter: impl Fn(usize, f32) -> f32) -> Result<Option<Activation>, Problem> {
    let two = |names: [&str; 2], missing: [f32; 2]| {
        (0..2).map(|i| float(names[i], parameter(i, missing[i]))).collect::<Vec<_>>()
    };
    Ok(Some(match name {
        "" => return Ok(None),
        "Relu" => ("Relu", Vec::new()),
        "Sigmoid" => ("Sigmoid", Vec::new()),
        "Tanh" => ("Tanh", Vec::new()),
        "LeakyRelu" => ("LeakyRelu", vec![float("alpha", parameter(0, 0.01))]),
        "HardSigmoid" => ("HardSigmoid", two(["alpha", "beta"], [0.2, 0.5])),
        other => return Err(unsupported(format!("activation {other:?}; it is not supported"))),
    }))
}

/// `activation(Conv(X, W, B) + Z)`.
fn fused_conv(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let names = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
    let mut nodes = Expansion::of(step);
    let inputs = [0, 1, 2].map(|index| nodes.input(index));
    let mut y = nodes.main("Conv", &inputs, kept(step, &names));
    if step.input(3).is_some() {
        y = nodes.node("Add", &[&y, nodes.input(3)], Vec::new());
    }
    let parameters = attributes.floats("activation_params")?.unwrap_or_default();
    let parameter = |i: usize, missing: f32| parameters.get(i).copied().unwrap_or(missing);
    let name = attributes.string("activation", "")?;
    y = match name {
        // Its bounds are attributes up to opset 10 only.
        "Clip" => {
            let (least, greatest) = (parameter(0, f32::MIN), parameter(1, f32::MAX));
            let least = nodes.number(least);
            let greatest = nodes.number(greatest);
            let bounded = nodes.node("Max", &[&y, &least], Vec::new());
            nodes.node("Min", &[&bounded, &greatest], Vec::new())
        }
        _ => match activation(name, parameter)? {
            Some((operator, attributes)) => nodes.node(operator, &[&y], attributes),
            None => y,
        },
    };
    Ok(vec![nodes.value(b, &y)?])
}

/// `activation(Gemm(A, B, C))`.
fn fused_gemm(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let mut nodes = Expansion::of(step);
    let inputs = [0, 1, 2].map(|index| nodes.input(index));
    let mut y = nodes.main("Gemm", &inputs, kept(step, &["alpha", "beta", "transA", "transB"]));
    let names = ["activation_alpha", "activation_beta"];
    let stated = |name: &str| attributes.has(name).then(|| attributes.float(name, 0.0)).transpose();
    let parameters = [stated(names[0])?, stated(names[1])?];
    let parameter = |i: usize, missing: f32| parameters[i].unwrap_or(missing);
    if let Some((operator, attributes)) = activation(attributes.string("activation", "")?, parameter)? {
        y = nodes.node(operator, &[&y], attributes);
    }
    Ok(vec![nodes.value(b, &y)?])
}

fn bias_gelu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let sum = nodes.node("Add", &[nodes.input(0), nodes.input(1)], Vec::new());
    let y = nodes.main("Gelu", &[&sum], Vec::new());
    Ok(vec![nodes.value(b, &y)?])
}

/// `swish(A) * B`.
fn swish_gate(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let gate = nodes.node("Swish", &[nodes.input(0)], kept(step, &["alpha"]));
    let y = nodes.main("Mul", &[&gate, nodes.input(1)], Vec::new());
    Ok(vec![nodes.value(b, &y)?])
}

/// A convolution of every channel alone that sees the past only; the second result is what the next call needs of it.
fn causal_conv(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let (dims, weight) = (b.dims(x), b.required(step, 1)?);
    let (&[n, channels, len], &[_, 1, taps]) = (&dims[..], weight.dims()) else {
        return Err(invalid(format!(
            "{dims:?} by a weight of {:?}; [N, C, L] and [C, 1, taps] are required",
            weight.dims()
        )));
    };
    let past = taps.saturating_sub(1);
    let mut nodes = Expansion::of(step);
    let mut padded = nodes.input(0).to_owned();
    if past > 0 {
        let mut before = nodes.input(3).to_owned();
        if before.is_empty() {
            b.spend(n * channels * past, "a past of zeros")?;
            before =
                nodes.constant(Constant::filled(vec![n, channels, past], DataType::Float, 0.0, n * channels * past));
        }
        padded = nodes.node("Concat", &[&before, &padded], vec![int("axis", 2)]);
    }
    let group = int("group", i64::try_from(channels).unwrap_or(i64::MAX));
    let mut y = nodes.main("Conv", &[&padded, nodes.input(1), nodes.input(2)], vec![group]);
    y = match step.attributes().string("activation", "none")? {
        "none" => y,
        "silu" | "swish" => nodes.node("Swish", &[&y], Vec::new()),
        other => return Err(invalid(format!("activation {other:?}; none, silu or swish is required"))),
    };
    if !step.has_output(1) {
        return Ok(vec![nodes.value(b, &y)?]);
    }
    let number = |value: usize| Constant::of_ints(vec![i64::try_from(value).unwrap_or(i64::MAX)]);
    let (start, end, axis) =
        (nodes.constant(number(len)), nodes.constant(number(len + past)), nodes.constant(number(2)));
    let state = nodes.node("Slice", &[&padded, &start, &end, &axis], Vec::new());
    nodes.values(b, &[y, state])
}
