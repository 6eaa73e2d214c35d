//! BatchNormalization at inference.
//!
//! Takes an activation of two axes or more and constant statistics; returns [`Op::BatchNorm`] of axis 1.
//! Refuses training mode, which before opset 14 is told by more than one output, and one statistic an element.

use super::conv::vector;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BatchNorm, Op};

pub(super) const RULES: &[(&str, Rule)] = &[("BatchNormalization", batch_norm)];

fn batch_norm(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let opset = step.opset();
    let training = if opset >= 14 { attributes.flag("training_mode", false)? } else { step.stated_outputs() > 1 };
    if training {
        return Err(unsupported("BatchNormalization in training mode; only inference is supported")
            .advise("export the network in evaluation mode"));
    }
    if opset < 9 && !attributes.flag("spatial", true)? {
        return Err(unsupported("spatial 0; one statistic a channel is required"));
    }
    let epsilon = attributes.float("epsilon", 1e-5)?;
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(invalid(format!("epsilon {epsilon}; it must be finite and >= 0")));
    }
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let Some(&channels) = dims.get(1) else {
        return Err(invalid(format!("BatchNormalization of shape {dims:?}; channels on axis 1 are required")));
    };
    let parameter = |index, what| vector(&*b.required(step, index)?, channels, what);
    let norm = BatchNorm {
        gamma: parameter(1, "scale")?,
        beta: parameter(2, "B")?,
        mean: parameter(3, "mean")?,
        variance: parameter(4, "var")?,
        epsilon,
    };
    one(b.push(Op::BatchNorm(norm), &[x])?)
}
