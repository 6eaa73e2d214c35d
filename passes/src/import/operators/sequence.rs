//! Sequences: tensors under one name, in an order that is known.
//!
//! Takes tensors and constant positions; returns the tensors themselves, and a Concat where they are joined. An optional value is
//! the value, or known to be missing.
//! Refuses sequences that are inputs of the network, and positions that depend on them.

use super::axis;
use super::forms::one;
use super::slice::pieces;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ConcatFromSequence", concat_from_sequence),
    ("Optional", optional),
    ("OptionalGetElement", optional),
    ("OptionalHasElement", optional_has_element),
    ("SequenceAt", sequence_at),
    ("SequenceConstruct", sequence_construct),
    ("SequenceEmpty", sequence_empty),
    ("SequenceErase", sequence_erase),
    ("SequenceInsert", sequence_insert),
    ("SequenceLength", sequence_length),
    ("SplitToSequence", split_to_sequence),
];

fn split_to_sequence(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let extent = dims[axis];
    let split = b.constant(step, 1)?;
    let sizes = match &split {
        None => vec![1; extent],
        Some(split) if split.dims().is_empty() => {
            let size = axis::count(split.ints().first().copied().unwrap_or(0), "pieces of")?;
            if size == 0 {
                return Err(invalid("pieces of 0; at least 1 is required"));
            }
            (0..extent.div_ceil(size)).map(|piece| size.min(extent - piece * size)).collect()
        }
        Some(split) => {
            split.ints().iter().map(|&size| axis::count(size, "a piece of")).collect::<Result<Vec<usize>, _>>()?
        }
    };
    let mut nodes = pieces(b, x, axis, &sizes)?;
    if split.is_none() && !step.attributes().flag("keepdims", true)? {
        nodes = nodes.into_iter().map(|node| b.drop_axes(node, &[axis])).collect::<Result<_, _>>()?;
    }
    Ok(vec![Value::Sequence(nodes.into_iter().map(Value::Node).collect())])
}

fn sequence(b: &Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    match b.value(step, 0)? {
        Some(Value::Sequence(values)) => Ok(values),
        _ => Err(unsupported(format!("{} of a sequence that is no input of tensors; build it inside", step.op_type()))),
    }
}

fn sequence_construct(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let values = (0..step.input_count()).map(|index| b.value(step, index)).collect::<Result<Vec<_>, _>>()?;
    let values: Option<Vec<Value>> = values.into_iter().collect();
    Ok(vec![Value::Sequence(values.ok_or_else(|| invalid("a sequence of a missing value; each must be named"))?)])
}

fn sequence_at(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let values = sequence(b, step)?;
    let position = b.integer(step, 1)?.ok_or_else(|| invalid("SequenceAt without a position; it is required"))?;
    let position = axis::axis(position, values.len())
        .map_err(|_| invalid(format!("position {position} of a sequence of {}; it must exist", values.len())))?;
    Ok(vec![values[position].clone()])
}

fn concat_from_sequence(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let new_axis = step.attributes().flag("new_axis", false)?;
    let mut parts = Vec::new();
    for value in sequence(b, step)? {
        parts.push(b.node_of(&value)?);
    }
    let Some(&first) = parts.first() else {
        return Err(unsupported("a sequence without elements; at least one is required"));
    };
    let rank = b.rank(first) + usize::from(new_axis);
    let axis = axis::axis(step.attributes().int("axis", 0)?, rank)?;
    if new_axis {
        parts = parts.into_iter().map(|part| b.insert_axis(part, axis)).collect::<Result<_, _>>()?;
    }
    one(b.concat(axis, &parts)?)
}

fn sequence_empty(_: &mut Builder<'_>, _: &Step) -> Result<Vec<Value>, Problem> {
    Ok(vec![Value::Sequence(Vec::new())])
}

/// The place that an input states among `places`, or `missing` where it states none.
fn place(b: &Builder<'_>, step: &Step, input: usize, places: usize, missing: usize) -> Result<usize, Problem> {
    let Some(stated) = b.integer(step, input)? else { return Ok(missing) };
    axis::axis(stated, places)
        .map_err(|_| invalid(format!("position {stated} of a sequence with {places} places; it must exist")))
}

fn sequence_insert(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut values = sequence(b, step)?;
    let Some(value) = b.value(step, 1)? else { return Err(invalid("SequenceInsert without a tensor; it is required")) };
    // Counted from the end, the places are those of the elements.
    let places = values.len() + usize::from(b.integer(step, 2)?.is_none_or(|stated| stated >= 0));
    let place = place(b, step, 2, places, values.len())?;
    values.insert(place, value);
    Ok(vec![Value::Sequence(values)])
}

fn sequence_erase(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut values = sequence(b, step)?;
    let place = place(b, step, 1, values.len(), values.len().saturating_sub(1))?;
    if place >= values.len() {
        return Err(invalid("SequenceErase of a sequence without elements; at least one is required"));
    }
    values.remove(place);
    Ok(vec![Value::Sequence(values)])
}

fn sequence_length(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let len = i64::try_from(sequence(b, step)?.len()).unwrap_or(i64::MAX);
    Ok(vec![Value::Constant(Constant::of_int(len).into())])
}

/// The value itself.
fn optional(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let value = b.value(step, 0)?;
    Ok(vec![value.ok_or_else(|| unsupported(format!("{} of nothing; a value is required", step.op_type())))?])
}

fn optional_has_element(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let has = if b.value(step, 0)?.is_some() { 1.0 } else { 0.0 };
    Ok(vec![Value::Constant(Constant::of_numbers(vec![], DataType::Bool, &[has]).into())])
}
