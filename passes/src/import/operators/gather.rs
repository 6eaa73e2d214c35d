//! Gather, GatherElements, GatherND and Compress with constant indices, and tables read by activations.
//!
//! Takes an activation and constant indices: one [`Op::Gather`](crate::ir::Op::Gather), of one axis where the indices allow it, else of the flat tensor. A
//! constant table and an activation of row numbers: [`Op::Lookup`].
//! Refuses data and indices that both depend on the input.

use super::axis;
use super::forms::{one, permuted, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::Op;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Compress", compress),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("ReverseSequence", reverse_sequence),
];

/// A position that may count from the end.
pub(super) fn position(index: i64, extent: usize) -> Result<usize, Problem> {
    axis::axis(index, extent).map_err(|_| invalid(format!("index {index} on an axis of {extent}; it must exist")))
}

fn gather(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    if b.is_constant(step, 0) && !b.is_constant(step, 1) {
        return lookup(b, step);
    }
    if !b.is_constant(step, 1) {
        return Err(unsupported("Gather of an activation by an activation; one of them must be a constant"));
    }
    let x = b.node(step, 0)?;
    let indices = b.required(step, 1)?;
    let dims = b.dims(x);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let list = indices.ints().iter().map(|&i| position(i, dims[axis]).map(Some)).collect::<Result<Vec<_>, _>>()?;
    let gathered = b.gather_axis(x, axis, list, 0.0)?;
    let result = [&dims[..axis], indices.dims(), &dims[axis + 1..]].concat();
    one(b.reshape(gathered, result)?)
}

/// Rows of a constant by an activation. Row numbers below 0 are outside of what the network may feed.
fn lookup(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let table = b.required(step, 0)?;
    let indices = b.node(step, 1)?;
    let dims = table.dims();
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let mut perm: Vec<usize> = (0..dims.len()).filter(|&other| other != axis).collect();
    perm.insert(0, axis);
    let (dims, values) = permuted(dims, &table.floats(), &perm);
    let found = b.push(Op::Lookup { table: tensor(dims, values)? }, &[indices])?;
    // [indices, before, after] to [before, indices, after].
    let count = b.rank(indices);
    let total = b.rank(found);
    let order: Vec<usize> = (count..count + axis).chain(0..count).chain(count + axis..total).collect();
    one(b.transpose(found, &order)?)
}

fn gather_elements(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let indices = b.required(step, 1)?;
    let dims = b.dims(x);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let wanted = indices.dims().to_vec();
    if wanted.len() != dims.len() || (0..dims.len()).any(|i| i != axis && wanted[i] > dims[i]) {
        return Err(invalid(format!("indices of shape {wanted:?} for {dims:?}; they must fit beside axis {axis}")));
    }
    let strides = axis::strides(&dims);
    let flat = axis::positions(&wanted)
        .zip(indices.ints())
        .map(|(mut at, index)| {
            at[axis] = position(index, dims[axis])?;
            Ok(Some(at.iter().zip(&strides).map(|(at, stride)| at * stride).sum()))
        })
        .collect::<Result<Vec<Option<usize>>, Problem>>()?;
    one(b.gather_flat(x, flat, 0.0, wanted)?)
}

fn gather_nd(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let indices = b.required(step, 1)?;
    let dims = b.dims(x);
    let batch = axis::count(step.attributes().int("batch_dims", 0)?, "batch_dims")?;
    let Some((&depth, outer)) = indices.dims().split_last() else {
        return Err(invalid("indices without axes; GatherND requires one at least"));
    };
    if batch + depth > dims.len() || batch > outer.len() || outer[..batch] != dims[..batch] {
        return Err(invalid(format!("indices of shape {:?} for {dims:?}; they must fit", indices.dims())));
    }
    let strides = axis::strides(&dims);
    let inner: usize = dims[batch + depth..].iter().product();
    let values = indices.ints();
    let mut flat = Vec::new();
    for (row, at) in axis::positions(outer).enumerate() {
        let mut start: usize = (0..batch).map(|axis| at[axis] * strides[axis]).sum();
        for level in 0..depth {
            start += position(values[row * depth + level], dims[batch + level])? * strides[batch + level];
        }
        flat.extend((start..start + inner).map(Some));
    }
    one(b.gather_flat(x, flat, 0.0, [outer, &dims[batch + depth..]].concat())?)
}

/// The positions of an axis, or of the flat tensor, where a constant condition holds.
fn compress(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let condition = b.required(step, 1)?.ints();
    let chosen = || condition.iter().enumerate().filter(|(_, holds)| **holds != 0).map(|(at, _)| Some(at)).collect();
    if !step.attributes().has("axis") {
        let chosen: Vec<Option<usize>> = chosen();
        let count = chosen.len();
        return one(b.gather_flat(x, chosen, 0.0, vec![count])?);
    }
    let axis = axis::axis(step.attributes().int("axis", 0)?, b.rank(x))?;
    one(b.gather_axis(x, axis, chosen(), 0.0)?)
}

/// Each sequence of a batch reversed up to its constant length.
fn reverse_sequence(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let lengths = b.required(step, 1)?.ints();
    let dims = b.dims(x);
    let attributes = step.attributes();
    let batch = axis::axis(attributes.int("batch_axis", 1)?, dims.len())?;
    let time = axis::axis(attributes.int("time_axis", 0)?, dims.len())?;
    if batch == time || lengths.len() != dims[batch] {
        return Err(invalid(format!(
            "{} lengths for {dims:?}, batch on axis {batch}, time on axis {time}; one a sequence is required",
            lengths.len()
        )));
    }
    let lengths = lengths.iter().map(|&l| axis::count(l, "a length of")).collect::<Result<Vec<usize>, _>>()?;
    let strides = axis::strides(&dims);
    let flat = axis::positions(&dims)
        .map(|mut at| {
            let length = lengths[at[batch]].min(dims[time]);
            if at[time] < length {
                at[time] = length - 1 - at[time];
            }
            Some(at.iter().zip(&strides).map(|(at, stride)| at * stride).sum())
        })
        .collect();
    one(b.gather_flat(x, flat, 0.0, dims)?)
}
