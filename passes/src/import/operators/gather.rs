//! Gather, GatherElements, GatherND, Compress and ReverseSequence.
//!
//! Takes an activation and constant indices: one [`Op::Gather`](crate::ir::Op::Gather), of one axis where the indices allow it, else of the flat tensor. A
//! constant table and an activation of row numbers: [`Op::Lookup`]. Where both depend on the input, products that choose.
//! Refuses lengths and conditions that depend on the input.

use super::axis;
use super::chosen;
use super::forms::{one, permuted, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId, Op};

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
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    if !b.is_constant(step, 1) {
        let indices = b.node(step, 1)?;
        let indices = chosen::from_start(b, indices, dims[axis])?;
        return one(positions(b, x, axis, indices)?);
    }
    let indices = b.required(step, 1)?;
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
    one(behind(b, found, b.rank(indices), axis)?)
}

/// `[indices, before, after]` to `[before, indices, after]`, where `count` axes are those of the indices and `axis` are before.
fn behind(b: &mut Builder<'_>, found: NodeId, count: usize, axis: usize) -> Result<NodeId, Problem> {
    let total = b.rank(found);
    let order: Vec<usize> = (count..count + axis).chain(0..count).chain(count + axis..total).collect();
    b.transpose(found, &order)
}

/// The positions of an axis that indices of any shape name, which depend on the input.
pub(super) fn positions(b: &mut Builder<'_>, x: NodeId, axis: usize, indices: NodeId) -> Result<NodeId, Problem> {
    let (dims, places) = (b.dims(x), b.dims(indices));
    let extent = dims[axis];
    let table = b.move_axis(x, axis, 0)?;
    let table = b.reshape(table, vec![1, extent, dims.iter().product::<usize>() / extent])?;
    let list = b.reshape(indices, vec![1, places.iter().product()])?;
    let found = chosen::pick(b, table, list)?;
    let found = b.reshape(found, [&places[..], &dims[..axis], &dims[axis + 1..]].concat())?;
    behind(b, found, places.len(), axis)
}

fn gather_elements(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let constant = if b.is_constant(step, 1) { Some(b.required(step, 1)?) } else { None };
    let wanted = match &constant {
        Some(indices) => indices.dims().to_vec(),
        None => {
            let indices = b.node(step, 1)?;
            b.dims(indices)
        }
    };
    if wanted.len() != dims.len() || (0..dims.len()).any(|i| i != axis && wanted[i] > dims[i]) {
        return Err(invalid(format!("indices of shape {wanted:?} for {dims:?}; they must fit beside axis {axis}")));
    }
    let Some(indices) = constant else { return one(elements(b, step, x, axis)?) };
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

/// GatherElements by indices that depend on the input; `x` may be longer than they are.
fn elements(b: &mut Builder<'_>, step: &Step, x: NodeId, axis: usize) -> Result<NodeId, Problem> {
    let indices = b.node(step, 1)?;
    let (mut x, wanted) = (x, b.dims(indices));
    for (other, &extent) in wanted.iter().enumerate().filter(|(other, _)| *other != axis) {
        x = b.slice(x, other, 0, extent)?;
    }
    let extent = b.dims(x)[axis];
    let last = wanted.len() - 1;
    let x = b.move_axis(x, axis, last)?;
    let indices = chosen::from_start(b, indices, extent)?;
    let indices = b.move_axis(indices, axis, last)?;
    let moved = b.dims(indices);
    let rows = wanted.iter().product::<usize>() / wanted[axis];
    let x = b.reshape(x, vec![rows, extent, 1])?;
    let indices = b.reshape(indices, vec![rows, wanted[axis]])?;
    let found = chosen::pick(b, x, indices)?;
    let found = b.reshape(found, moved)?;
    b.move_axis(found, last, axis)
}

/// The last axis of `indices` holds one position an axis of `dims`: `[.., depth]` to `[..]` positions in the flat `dims`.
pub(super) fn flat_positions(b: &mut Builder<'_>, indices: NodeId, dims: &[usize]) -> Result<NodeId, Problem> {
    let (strides, last) = (axis::strides(dims), b.rank(indices) - 1);
    let mut sum = None;
    for (level, &extent) in dims.iter().enumerate() {
        let part = b.pick(indices, last, level)?;
        let part = chosen::from_start(b, part, extent)?;
        let part = b.affine(part, strides[level] as f32, 0.0)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => b.binary(BinaryKind::Add, sum, part)?,
        });
    }
    sum.ok_or_else(|| invalid("indices of 0 axes; at least 1 is required"))
}

/// GatherND by indices `[.., depth]` that depend on the input.
fn blocks(b: &mut Builder<'_>, step: &Step, x: NodeId, batch: usize) -> Result<NodeId, Problem> {
    let indices = b.node(step, 1)?;
    let (dims, places) = (b.dims(x), b.dims(indices));
    let Some((&depth, outer)) = places.split_last() else {
        return Err(invalid("indices without axes; GatherND requires one at least"));
    };
    if batch + depth > dims.len() || batch > outer.len() || outer[..batch] != dims[..batch] {
        return Err(invalid(format!("indices of shape {places:?} for {dims:?}; they must fit")));
    }
    let count = |dims: &[usize]| dims.iter().product::<usize>();
    let (chosen, inner) = dims[batch..].split_at(depth);
    let flat = flat_positions(b, indices, chosen)?;
    let flat = b.reshape(flat, vec![count(&outer[..batch]), count(&outer[batch..])])?;
    let x = b.reshape(x, vec![count(&dims[..batch]), count(chosen), count(inner)])?;
    let found = chosen::pick(b, x, flat)?;
    b.reshape(found, [outer, inner].concat())
}

fn gather_nd(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let batch = axis::count(step.attributes().int("batch_dims", 0)?, "batch_dims")?;
    if !b.is_constant(step, 1) {
        return one(blocks(b, step, x, batch)?);
    }
    let indices = b.required(step, 1)?;
    let dims = b.dims(x);
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
