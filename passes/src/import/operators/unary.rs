//! Functions of one value, one row each: a new one is a row here and one in the runtime's table of functions.
//!
//! Takes an activation of any shape and the operator's attributes; returns one [`Op::Unary`].
//! Refuses attributes outside of ONNX's definition (`Gelu` with an unknown `approximate`).

use super::forms::one;
use crate::import::Rule;
use crate::import::attributes::Attributes;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{BinaryKind, Clip, Function, NodeId, Op};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Abs", unary),
    ("Acos", unary),
    ("Acosh", unary),
    ("Affine", unary),
    ("Asin", unary),
    ("Asinh", unary),
    ("Atan", unary),
    ("Atanh", unary),
    ("Ceil", unary),
    ("Celu", unary),
    ("Clip", clip),
    ("Cos", unary),
    ("Cosh", unary),
    ("Elu", unary),
    ("Erf", unary),
    ("Exp", unary),
    ("Floor", unary),
    ("Gelu", unary),
    ("HardSigmoid", unary),
    ("HardSwish", unary),
    ("IsInf", unary),
    ("IsNaN", unary),
    ("LeakyRelu", unary),
    ("Log", unary),
    ("Mish", unary),
    ("Neg", unary),
    ("Not", unary),
    ("PRelu", prelu),
    ("Reciprocal", unary),
    ("Relu", relu),
    ("Round", unary),
    ("ScaledTanh", unary),
    ("Selu", unary),
    ("Shrink", unary),
    ("Sigmoid", unary),
    ("Sign", unary),
    ("Sin", unary),
    ("Sinh", unary),
    ("Softplus", unary),
    ("Softsign", unary),
    ("Sqrt", unary),
    ("Swish", unary),
    ("Tan", unary),
    ("Tanh", unary),
    ("ThresholdedRelu", unary),
    ("com.microsoft.FastGelu", fast_gelu),
    ("com.microsoft.Gelu", exact_gelu),
    ("com.microsoft.QuickGelu", quick_gelu),
];

fn function(op_type: &str, attributes: Attributes<'_>) -> Result<Function, Problem> {
    let float = |name: &str, default: f32| attributes.float(name, default);
    Ok(match op_type {
        "Abs" => Function::Abs,
        "Acos" => Function::Acos,
        "Acosh" => Function::Acosh,
        "Affine" => Function::Scale { mul: float("alpha", 1.0)?, add: float("beta", 0.0)? },
        "Asin" => Function::Asin,
        "Asinh" => Function::Asinh,
        "Atan" => Function::Atan,
        "Atanh" => Function::Atanh,
        "Ceil" => Function::Ceil,
        "Celu" => Function::Celu { alpha: float("alpha", 1.0)? },
        "Cos" => Function::Cos,
        "Cosh" => Function::Cosh,
        "Elu" => Function::Elu { alpha: float("alpha", 1.0)? },
        "Erf" => Function::Erf,
        "Exp" => Function::Exp,
        "Floor" => Function::Floor,
        "Gelu" => match attributes.string("approximate", "none")? {
            "none" => Function::Gelu,
            "tanh" => Function::GeluTanh,
            other => return Err(invalid(format!("approximate {other:?}; none or tanh is required"))),
        },
        "HardSigmoid" => Function::HardSigmoid { alpha: float("alpha", 0.2)?, beta: float("beta", 0.5)? },
        "HardSwish" => Function::HardSwish,
        "IsInf" => {
            let wanted = |name| Ok::<f32, Problem>(if attributes.flag(name, true)? { 1.0 } else { 0.0 });
            Function::IsInf { negative: wanted("detect_negative")?, positive: wanted("detect_positive")? }
        }
        "IsNaN" => Function::IsNaN,
        "LeakyRelu" => Function::LeakyRelu { alpha: float("alpha", 0.01)? },
        "Log" => Function::Log,
        "Mish" => Function::Mish,
        "Neg" => Function::Neg,
        "Not" => Function::Not,
        "Reciprocal" => Function::Reciprocal,
        "Round" => Function::Round,
        "ScaledTanh" => Function::ScaledTanh { alpha: float("alpha", 1.0)?, beta: float("beta", 1.0)? },
        "Selu" => Function::Selu { alpha: float("alpha", 1.673_263_2)?, gamma: float("gamma", 1.050_701)? },
        "Shrink" => Function::Shrink { lambd: float("lambd", 0.5)?, bias: float("bias", 0.0)? },
        "Sigmoid" => Function::Sigmoid,
        "Sign" => Function::Sign,
        "Sin" => Function::Sin,
        "Sinh" => Function::Sinh,
        "Softplus" => Function::Softplus,
        "Softsign" => Function::Softsign,
        "Sqrt" => Function::Sqrt,
        "Swish" => match float("alpha", 1.0)? {
            1.0 => Function::Silu,
            alpha => Function::Swish { alpha },
        },
        "Tan" => Function::Tan,
        "Tanh" => Function::Tanh,
        "ThresholdedRelu" => Function::ThresholdedRelu { alpha: float("alpha", 1.0)? },
        other => return Err(invalid(format!("operator {other} in the table of functions; it has no row"))),
    })
}

fn unary(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let function = function(step.op_type(), step.attributes())?;
    let x = b.node(step, 0)?;
    one(b.unary(function, x)?)
}

fn relu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    one(b.push(Op::Clip(Clip::RELU), &[x])?)
}

/// Where min is above max every value becomes max, as ONNX defines it.
fn clip(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let attributes = step.attributes();
    if step.opset() >= 11 && (attributes.has("min") || attributes.has("max")) {
        return Err(invalid(format!(
            "Clip with attributes min or max at opset {}; from opset 11 on they are inputs",
            step.opset()
        )));
    }
    if step.opset() >= 11 && [1, 2].iter().any(|&bound| step.input(bound).is_some() && !b.is_constant(step, bound)) {
        return clip_between(b, step, x);
    }
    let (min, max) = if step.opset() < 11 {
        (attributes.float("min", f32::NEG_INFINITY)?, attributes.float("max", f32::INFINITY)?)
    } else {
        (b.scalar(step, 1)?.unwrap_or(f32::NEG_INFINITY), b.scalar(step, 2)?.unwrap_or(f32::INFINITY))
    };
    if min.is_nan() || max.is_nan() {
        return Err(invalid(format!("Clip to {min}..{max}; numbers are required")));
    }
    one(b.push(Op::Clip(Clip { min: min.min(max), max }), &[x])?)
}

/// A bound that depends on the network's input.
fn clip_between(b: &mut Builder<'_>, step: &Step, mut x: NodeId) -> Result<Vec<Value>, Problem> {
    for (kind, index) in [(BinaryKind::Max, 1), (BinaryKind::Min, 2)] {
        let Some(bound) = b.optional(step, index)? else { continue };
        let dims = b.dims(bound);
        if dims.iter().product::<usize>() != 1 {
            return Err(invalid(format!("input {index} of shape {dims:?}; one number is required")));
        }
        let bound = b.reshape(bound, vec![])?;
        x = b.binary(kind, x, bound)?;
    }
    one(x)
}

/// One slope a channel becomes [`Op::PRelu`], one slope for all a leaky ReLU; any other slope is an operand.
fn prelu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    // Before opset 7 a slope has one axis, that of the channels.
    let stated = |slope: &[usize]| match slope {
        [channels] if step.opset() < 7 && dims.len() > 2 => [vec![*channels], vec![1; dims.len() - 2]].concat(),
        _ => slope.to_vec(),
    };
    if b.is_constant(step, 1) {
        let slope = b.required(step, 1)?;
        let values = slope.floats();
        if let [alpha] = values[..] {
            return one(b.unary(Function::LeakyRelu { alpha }, x)?);
        }
        if let Some(slope) = super::binary::per_channel(&stated(slope.dims()), &values, &dims) {
            return one(b.push(Op::PRelu { slope }, &[x])?);
        }
    }
    let slope = b.node(step, 1)?;
    let slope_dims = stated(&b.dims(slope));
    let slope = b.reshape(slope, slope_dims)?;
    one(b.binary(BinaryKind::PRelu, x, slope)?)
}

fn exact_gelu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    one(b.unary(Function::Gelu, x)?)
}

/// The tanh form, of the sum with a bias where there is one.
fn fast_gelu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut x = b.node(step, 0)?;
    if step.input(1).is_some() {
        x = super::binary::combine(b, BinaryKind::Add, step, 0, 1)?;
    }
    one(b.unary(Function::GeluTanh, x)?)
}

fn quick_gelu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let alpha = step.attributes().float("alpha", 1.702)?;
    let x = b.node(step, 0)?;
    one(b.unary(Function::Swish { alpha }, x)?)
}
