//! ScatterND, ScatterElements and Scatter.
//!
//! Takes data and updates, of which one may be a constant. Returns a gather from both, one after the other; with a reduction,
//! the updates are gathered onto the shape of the data and combined with it. Where the indices depend on the input, products
//! that choose.
//! Refuses more than 16 updates of one element under a reduction, and products, minima and maxima at places that depend on the
//! input.

use super::axis;
use super::chosen::{self, Meeting};
use super::forms::one;
use super::gather::{flat_positions, position};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId};

pub(super) const RULES: &[(&str, Rule)] =
    &[("Scatter", scatter_elements), ("ScatterElements", scatter_elements), ("ScatterND", scatter_nd)];

/// Most updates that one element takes under a reduction.
const MOST_UPDATES: usize = 16;

fn scatter_elements(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (data, updates) = (b.node(step, 0)?, b.node(step, 2)?);
    if !b.is_constant(step, 1) {
        return one(elements_at(b, step, data, updates)?);
    }
    let indices = b.required(step, 1)?;
    let dims = b.dims(data);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let places = indices.dims().to_vec();
    if places.len() != dims.len()
        || places != b.dims(updates)
        || (0..dims.len()).any(|i| i != axis && places[i] > dims[i])
    {
        return Err(invalid(format!(
            "indices of shape {places:?} and updates {} for {dims:?}; they must fit beside axis {axis}",
            b.shape(updates)
        )));
    }
    let strides = axis::strides(&dims);
    let targets = axis::positions(&places)
        .zip(indices.ints())
        .map(|(mut at, index)| {
            at[axis] = position(index, dims[axis])?;
            Ok(at.iter().zip(&strides).map(|(at, stride)| at * stride).sum())
        })
        .collect::<Result<Vec<usize>, Problem>>()?;
    one(scatter(b, step, data, updates, &targets)?)
}

fn scatter_nd(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (data, updates) = (b.node(step, 0)?, b.node(step, 2)?);
    if !b.is_constant(step, 1) {
        return one(blocks_at(b, step, data, updates)?);
    }
    let indices = b.required(step, 1)?;
    let dims = b.dims(data);
    let Some((&depth, outer)) = indices.dims().split_last() else {
        return Err(invalid("indices without axes; ScatterND requires one at least"));
    };
    if depth > dims.len() || b.dims(updates) != [outer, &dims[depth..]].concat() {
        return Err(invalid(format!(
            "indices of shape {:?} and updates {} for {dims:?}; they must fit",
            indices.dims(),
            b.shape(updates)
        )));
    }
    let strides = axis::strides(&dims);
    let inner: usize = dims[depth..].iter().product();
    let values = indices.ints();
    let mut targets = Vec::new();
    for row in 0..outer.iter().product() {
        let mut start = 0;
        for level in 0..depth {
            start += position(values[row * depth + level], dims[level])? * strides[level];
        }
        targets.extend(start..start + inner);
    }
    one(scatter(b, step, data, updates, &targets)?)
}

/// How updates at places that depend on the input meet the data.
fn meeting(step: &Step) -> Result<Meeting, Problem> {
    match step.attributes().string("reduction", "none")? {
        "none" => Ok(Meeting::Replace),
        "add" => Ok(Meeting::Add),
        other => Err(unsupported(format!(
            "{} by indices that depend on the network's input with reduction {other:?}; none and add are supported",
            step.op_type()
        ))),
    }
}

fn elements_at(b: &mut Builder<'_>, step: &Step, data: NodeId, updates: NodeId) -> Result<NodeId, Problem> {
    let indices = b.node(step, 1)?;
    let (dims, places) = (b.dims(data), b.dims(indices));
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let fits = places.len() == dims.len() && (0..dims.len()).all(|i| i == axis || places[i] == dims[i]);
    if !fits || places != b.dims(updates) {
        return Err(unsupported(format!(
            "indices of shape {places:?} that depend on the network's input and updates {} for {dims:?}; they must have its \
             extents beside axis {axis}",
            b.shape(updates)
        )));
    }
    let last = dims.len() - 1;
    let indices = chosen::from_start(b, indices, dims[axis])?;
    let mut rows = |x: NodeId, tail: &[usize]| -> Result<(NodeId, Vec<usize>), Problem> {
        let moved = b.move_axis(x, axis, last)?;
        let extents = b.dims(moved);
        let count = extents[..last].iter().product();
        let flat = b.reshape(moved, [&[count, extents[last]], tail].concat())?;
        Ok((flat, extents))
    };
    let ((data, moved), (indices, _), (updates, _)) = (rows(data, &[1])?, rows(indices, &[])?, rows(updates, &[1])?);
    let result = chosen::put(b, data, indices, updates, meeting(step)?)?;
    let result = b.reshape(result, moved)?;
    b.move_axis(result, last, axis)
}

fn blocks_at(b: &mut Builder<'_>, step: &Step, data: NodeId, updates: NodeId) -> Result<NodeId, Problem> {
    let indices = b.node(step, 1)?;
    let (dims, places) = (b.dims(data), b.dims(indices));
    let Some((&depth, outer)) = places.split_last() else {
        return Err(invalid("indices without axes; ScatterND requires one at least"));
    };
    if depth > dims.len() || b.dims(updates) != [outer, &dims[depth..]].concat() {
        return Err(invalid(format!(
            "indices of shape {places:?} and updates {} for {dims:?}; they must fit",
            b.shape(updates)
        )));
    }
    let count = |dims: &[usize]| dims.iter().product::<usize>();
    let (chosen, inner) = dims.split_at(depth);
    let flat = flat_positions(b, indices, chosen)?;
    let flat = b.reshape(flat, vec![1, count(outer)])?;
    let data = b.reshape(data, vec![1, count(chosen), count(inner)])?;
    let updates = b.reshape(updates, vec![1, count(outer), count(inner)])?;
    let result = chosen::put(b, data, flat, updates, meeting(step)?)?;
    b.reshape(result, dims.clone())
}

/// Update `i` goes to the flat position `targets[i]` of the data.
fn scatter(
    b: &mut Builder<'_>,
    step: &Step,
    data: NodeId,
    updates: NodeId,
    targets: &[usize],
) -> Result<NodeId, Problem> {
    let dims = b.dims(data);
    let len = b.shape(data).len();
    let kind = match step.attributes().string("reduction", "none")? {
        "none" => None,
        "add" => Some(BinaryKind::Add),
        "mul" => Some(BinaryKind::Mul),
        "max" => Some(BinaryKind::Max),
        "min" => Some(BinaryKind::Min),
        other => return Err(invalid(format!("reduction {other:?}; none, add, mul, max or min is required"))),
    };
    // Of every element, the updates that go there, in order.
    let mut of: Vec<Vec<usize>> = vec![Vec::new(); len];
    for (update, &target) in targets.iter().enumerate() {
        of[target].push(update);
    }
    let flat = b.reshape(data, vec![len])?;
    let new = b.reshape(updates, vec![targets.len()])?;
    let both = b.concat(0, &[flat, new])?;
    let Some(kind) = kind else {
        let picked = of.iter().enumerate().map(|(at, of)| Some(of.last().map_or(at, |update| len + update)));
        return b.gather_flat(both, picked.collect(), 0.0, dims);
    };
    let rounds = of.iter().map(Vec::len).max().unwrap_or(0);
    if rounds > MOST_UPDATES {
        return Err(unsupported(format!("{rounds} updates of one element; at most {MOST_UPDATES} are supported")));
    }
    let mut result = data;
    for round in 0..rounds {
        let updated = of.iter().map(|of| of.get(round).copied());
        let operand = match kind {
            BinaryKind::Add => b.gather_flat(new, updated.collect(), 0.0, dims.clone())?,
            BinaryKind::Mul => b.gather_flat(new, updated.collect(), 1.0, dims.clone())?,
            // Beside an update stands the element itself: the greater or smaller of equal ones.
            _ => {
                let picked = updated.enumerate().map(|(at, update)| Some(update.map_or(at, |update| len + update)));
                b.gather_flat(both, picked.collect(), 0.0, dims.clone())?
            }
        };
        result = b.binary(kind, result, operand)?;
    }
    Ok(result)
}
