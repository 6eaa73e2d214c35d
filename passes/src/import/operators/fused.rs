//! Operators that optimisers of graphs write in place of several: a layer with its activation, a bias with its function.

use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, unsupported};
use crate::import::expand::{Expansion, kept};
use crate::import::source::Step;
use crate::onnx::attribute::float;
use crate::onnx::onnx_protobuf::AttributeProto;

pub(super) const RULES: &[(&str, Rule)] = &[
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
