//! Slice and Split.
//!
//! Takes an activation of any shape with constant starts, ends, steps, axes and sizes; returns one [`Op::Gather`] a piece. Starts
//! and ends may depend on the input where they are a constant apart: such a window is chosen by products.
//! Refuses sizes that depend on the input, and slices without elements.

use super::axis;
use super::chosen;
use super::forms::one;
use super::gather;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{AxisMap, BinaryKind, Function, NodeId, Op};

pub(super) const RULES: &[(&str, Rule)] = &[("Slice", slice), ("Split", split)];

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
    if step.opset() >= 10 && !(b.is_constant(step, 1) && b.is_constant(step, 2)) {
        return one(windows(b, step, x)?);
    }
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

/// Windows of constant sizes whose starts depend on the input. They are inside of their axes in what the network may feed.
fn windows(b: &mut Builder<'_>, step: &Step, mut x: NodeId) -> Result<NodeId, Problem> {
    if b.ints(step, 4)?.is_some_and(|steps| steps.iter().any(|&step| step != 1)) {
        return Err(unsupported(
            "Slice by steps from positions that depend on the network's input; steps of 1 are supported",
        ));
    }
    let (starts, ends) = (b.node(step, 1)?, b.node(step, 2)?);
    let count = b.shape(starts).len();
    let axes = match b.ints(step, 3)? {
        Some(axes) => axis::listed_axes(&axes, b.rank(x))?,
        None => axis::listed_axes(&(0..).take(count).collect::<Vec<i64>>(), b.rank(x))?,
    };
    let sizes = apart(b, starts, ends).filter(|sizes| sizes.len() == axes.len() && count == axes.len());
    let Some(sizes) = sizes else {
        return Err(unsupported(
            "Slice to a size that depends on the network's input; its starts and ends must be a constant apart",
        ));
    };
    for (i, (&axis, &size)) in axes.iter().zip(&sizes).enumerate() {
        let extent = b.dims(x)[axis];
        if size < 1.0 || size > extent as f64 {
            return Err(invalid(format!("a slice of {size} positions of an axis of {extent}; it must fit")));
        }
        let flat = b.reshape(starts, vec![count])?;
        let start = b.slice(flat, 0, i, 1)?;
        let start = chosen::from_start(b, start, extent)?;
        let offsets = b.literal(vec![size as usize], (0..size as usize).map(|at| at as f32).collect())?;
        let positions = b.binary(BinaryKind::Add, start, offsets)?;
        x = gather::positions(b, x, axis, positions)?;
    }
    Ok(x)
}

/// `to - from` of vectors, where it does not depend on the input: both are the same values, shifted.
fn apart(b: &Builder<'_>, from: NodeId, to: NodeId) -> Option<Vec<f64>> {
    let ((root, shift), (other, other_shift)) = (shifted(b, from)?, shifted(b, to)?);
    (root == other).then(|| other_shift.iter().zip(&shift).map(|(to, from)| to - from).collect())
}

/// The node that a vector is a constant shift of, and the shift.
fn shifted(b: &Builder<'_>, mut node: NodeId) -> Option<(NodeId, Vec<f64>)> {
    let mut shift = vec![0.0; b.shape(node).len()];
    loop {
        let added: Vec<f64> = match (b.op(node), b.inputs(node)) {
            (Op::Reshape | Op::Unary(Function::Identity), _) => vec![0.0],
            (Op::Unary(Function::Scale { mul, add }), _) if *mul == 1.0 => vec![f64::from(*add)],
            (Op::ChannelAffine { mul, add }, _) if mul.iter().all(|&mul| mul == 1.0) && uniform(add) => {
                vec![f64::from(add[0])]
            }
            (Op::Binary(kind @ (BinaryKind::Add | BinaryKind::Sub)), &[x, y]) if b.shape(x) == b.shape(node) => {
                let Op::Constant(operand) = b.op(y) else { return Some((node, shift)) };
                let sign = if *kind == BinaryKind::Add { 1.0 } else { -1.0 };
                operand.data().iter().map(|&value| sign * f64::from(value)).collect()
            }
            _ => return Some((node, shift)),
        };
        if added.len() != 1 && added.len() != shift.len() {
            return Some((node, shift));
        }
        shift.iter_mut().enumerate().for_each(|(i, sum)| *sum += added[i % added.len()]);
        node = *b.inputs(node).first()?;
    }
}

fn uniform(values: &[f32]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1]) && !values.is_empty()
}

/// Sizes of equal pieces; the last one is smaller where they do not come out even.
fn even(extent: usize, pieces: usize) -> Vec<usize> {
    let size = extent.div_ceil(pieces.max(1));
    (0..pieces).map(|piece| size.min(extent.saturating_sub(piece * size))).collect()
}

pub(super) fn pieces(b: &mut Builder<'_>, x: NodeId, axis: usize, sizes: &[usize]) -> Result<Vec<NodeId>, Problem> {
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
