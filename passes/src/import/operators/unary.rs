//! Functions of one value: those of the table of functions, and those whose parameters are inputs or stand elsewhere.
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
use crate::onnx::functions;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Clip", clip),
    ("PRelu", prelu),
    ("Relu", relu),
    ("com.microsoft.FastGelu", fast_gelu),
    ("com.microsoft.Gelu", exact_gelu),
    ("com.microsoft.QuickGelu", quick_gelu),
];

/// The operators that the table of functions reads.
pub(super) fn rules() -> impl Iterator<Item = (&'static str, Rule)> {
    let mut last = "";
    let rows = functions::ROWS.iter().filter(|row| row.is_read).map(|row| row.operator);
    rows.filter(move |name| std::mem::replace(&mut last, name) != *name).map(|name| (name, unary as Rule))
}

impl functions::Given for Attributes<'_> {
    type Error = Problem;

    fn float(&self, name: &str, missing: f32) -> Result<f32, Problem> {
        Attributes::float(self, name, missing)
    }

    fn flag(&self, name: &str, missing: bool) -> Result<bool, Problem> {
        Attributes::flag(self, name, missing)
    }

    fn word(&self, name: &str, missing: &'static str) -> Result<String, Problem> {
        self.string(name, missing).map(str::to_owned)
    }

    fn refused(seen: String) -> Problem {
        invalid(seen)
    }
}

fn unary(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let function = functions::read(step.op_type(), &step.attributes())?;
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
