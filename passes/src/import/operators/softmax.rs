//! Softmax, LogSoftmax and Hardmax on any axis.
//!
//! Takes an activation of any shape. Before opset 13 the operator flattens the axes from `axis` on; here they are reshaped to one
//! axis, and back, where more than one has an extent above 1.

use super::axis;
use super::forms::one;
use super::reduce::places;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::Problem;
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId, Op, ReduceKind};

pub(super) const RULES: &[(&str, Rule)] = &[("Hardmax", along), ("LogSoftmax", along), ("Softmax", along)];

fn along(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let flattens = step.opset() < 13;
    let stated = step.attributes().int("axis", if flattens { 1 } else { -1 })?;
    if flattens && usize::try_from(stated) == Ok(dims.len()) {
        // Nothing is left behind the axis: every element is alone.
        let rows = b.reshape(x, vec![dims.iter().product(), 1])?;
        let result = apply(b, step, rows, 1)?;
        return one(b.reshape(result, dims)?);
    }
    let axis = axis::axis(stated, dims.len())?;
    if !flattens {
        return one(apply(b, step, x, axis)?);
    }
    let mut wide = (axis..dims.len()).filter(|&axis| dims[axis] > 1);
    match (wide.next(), wide.next()) {
        (None, _) => one(apply(b, step, x, axis)?),
        (Some(only), None) => one(apply(b, step, x, only)?),
        _ => {
            let flat = b.reshape(x, vec![dims[..axis].iter().product(), dims[axis..].iter().product()])?;
            let result = apply(b, step, flat, 1)?;
            one(b.reshape(result, dims)?)
        }
    }
}

fn apply(b: &mut Builder<'_>, step: &Step, x: NodeId, axis: usize) -> Result<NodeId, Problem> {
    match step.op_type() {
        "Hardmax" => {
            let dims = b.dims(x);
            let best = b.reduce(ReduceKind::ArgMax, x, &[axis], true)?;
            let places = places(b, dims[axis], axis, dims.len())?;
            b.binary(BinaryKind::Equal, places, best)
        }
        name => b.push(Op::Softmax { axis, log: name == "LogSoftmax" }, &[x]),
    }
}
