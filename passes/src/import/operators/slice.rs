//! Slice, Split, and the sequences a Split may yield.
//!
//! Takes an activation of any shape with constant starts, ends, steps, axes and sizes; returns one [`Op::Gather`](crate::ir::Op::Gather) a piece.
//! Refuses positions that depend on the input, and slices without elements.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{AxisMap, NodeId};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ConcatFromSequence", concat_from_sequence),
    ("SequenceAt", sequence_at),
    ("SequenceConstruct", sequence_construct),
    ("Slice", slice),
    ("Split", split),
    ("SplitToSequence", split_to_sequence),
];

/// Positions of `start..end` by `step` on an axis of `extent`, as ONNX clamps them.
fn positions(start: i64, end: i64, step: i64, extent: usize) -> Result<Vec<Option<usize>>, Problem> {
    if step == 0 {
        return Err(invalid("a slice of step 0; it must not be 0"));
    }
    let len = i64::try_from(extent).unwrap_or(i64::MAX);
    let from_start = |v: i64| if v < 0 { v.saturating_add(len) } else { v };
    let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let (start, end) = (from_start(start).clamp(least.max(0), most), from_start(end).clamp(least, most));
    let mut at = start;
    let mut indices = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        indices.push(usize::try_from(at).ok());
        at = at.saturating_add(step);
    }
    Ok(indices)
}

fn slice(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let (starts, ends, axes, steps) = if step.opset() < 10 {
        let list = |name| step.attributes().ints(name).map(|values| values.map(<[i64]>::to_vec));
        (list("starts")?, list("ends")?, list("axes")?, None)
    } else {
        (b.ints(step, 1)?, b.ints(step, 2)?, b.ints(step, 3)?, b.ints(step, 4)?)
    };
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(invalid("Slice without starts or ends; both are required"));
    };
    let axes = axes.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&len| len != starts.len()) {
        return Err(invalid(format!(
            "starts {starts:?}, ends {ends:?}, axes {axes:?}, steps {steps:?}; all must be equally long"
        )));
    }
    let axes = axis::listed_axes(&axes, dims.len())?;
    let mut maps = vec![AxisMap::All; dims.len()];
    for (i, &axis) in axes.iter().enumerate() {
        maps[axis] = AxisMap::Indices(positions(starts[i], ends[i], steps[i], dims[axis])?);
    }
    one(b.gather(x, maps, 0.0)?)
}

/// Sizes of equal pieces; the last one is smaller where they do not come out even.
fn even(extent: usize, pieces: usize) -> Vec<usize> {
    let size = extent.div_ceil(pieces.max(1));
    (0..pieces).map(|piece| size.min(extent.saturating_sub(piece * size))).collect()
}

fn pieces(b: &mut Builder<'_>, x: NodeId, axis: usize, sizes: &[usize]) -> Result<Vec<NodeId>, Problem> {
    let extent = b.dims(x)[axis];
    if sizes.iter().sum::<usize>() != extent {
        return Err(invalid(format!("pieces of {sizes:?} on an axis of {extent}; their sum must be its extent")));
    }
    let mut start = 0;
    let mut nodes = Vec::with_capacity(sizes.len());
    for &size in sizes {
        nodes.push(b.slice(x, axis, start, size)?);
        start += size;
    }
    Ok(nodes)
}

fn split(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let axis = axis::axis(step.attributes().int("axis", 0)?, dims.len())?;
    let sizes = match b.ints_of(step, 1, "split")? {
        Some(sizes) => sizes.iter().map(|&size| axis::count(size, "a piece of")).collect::<Result<_, _>>()?,
        None => {
            let outputs = i64::try_from(step.stated_outputs()).unwrap_or(i64::MAX);
            let stated = axis::count(step.attributes().int("num_outputs", outputs)?, "num_outputs")?;
            if stated > dims[axis] {
                return Err(invalid(format!("{stated} pieces of an axis of {}; there are too many", dims[axis])));
            }
            even(dims[axis], stated)
        }
    };
    if sizes.len() < step.output_count() {
        return Err(invalid(format!(
            "{} pieces for {} outputs; one each is required",
            sizes.len(),
            step.output_count()
        )));
    }
    Ok(pieces(b, x, axis, &sizes)?.into_iter().map(Value::Node).collect())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(start: i64, end: i64, step: i64, extent: usize) -> Vec<usize> {
        positions(start, end, step, extent).unwrap().into_iter().flatten().collect()
    }

    #[test]
    fn slices_are_clamped_as_in_onnx() {
        assert_eq!(plain(1, i64::MAX, 2, 6), [1, 3, 5]);
        assert_eq!(plain(-2, i64::MAX, 1, 6), [4, 5]);
        assert_eq!(plain(-1, i64::MIN, -1, 4), [3, 2, 1, 0]);
        assert_eq!(plain(10, 0, -2, 5), [4, 2]);
        assert_eq!(plain(0, -1, 1, 3), [0, 1]);
        assert!(plain(20, 30, 1, 3).is_empty());
        // Of negative steps the start is clamped to the axis, the end to one before it.
        assert_eq!(plain(-20, -10, -1, 3), [0]);
        assert!(positions(0, 1, 0, 3).is_err());
    }

    #[test]
    fn uneven_pieces_end_small() {
        assert_eq!(even(7, 3), [3, 3, 1]);
        assert_eq!(even(6, 3), [2, 2, 2]);
    }
}
