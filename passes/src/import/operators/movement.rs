//! Operators that only move values or rename axes: Transpose, reshapes, Concat, Expand, Tile, depth to space and back.
//!
//! Takes activations of any shape with constant shapes, axes and repeats; returns transposes, reshapes, gathers and concats.
//! Refuses shapes that depend on the input and results without elements.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{AxisMap, NodeId};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("CenterCropPad", center_crop_pad),
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Dropout", dropout),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Identity", identity),
    ("Reshape", reshape),
    ("SpaceToDepth", space_to_depth),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
    ("com.microsoft.ExpandDims", unsqueeze),
];

fn identity(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let value = b.value(step, 0)?;
    Ok(vec![value.ok_or_else(|| invalid("Identity without an input; it requires one"))?])
}

/// The mask, where it is asked for, keeps everything.
fn dropout(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    if step.opset() >= 12 && b.scalar(step, 2)?.is_some_and(|mode| mode != 0.0) {
        return Err(unsupported("Dropout with training_mode true; only inference is supported"));
    }
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let mut values = vec![Value::Node(x)];
    if step.output_count() > 1 {
        b.afford(b.shape(x).len(), "the mask of Dropout")?;
        let ones = vec![1.0; b.shape(x).len()];
        values.push(Value::Node(b.literal(dims, ones)?));
    }
    Ok(values)
}

fn transpose(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let rank = b.rank(x);
    let perm = match step.attributes().ints("perm")? {
        Some(perm) => axis::listed_axes(perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank {
        return Err(invalid(format!("perm {perm:?} of {rank} axes; each axis once is required")));
    }
    one(b.transpose(x, &perm)?)
}

/// The extents a Reshape asks for: 0 keeps the operand's extent (unless `allow_zero`), one -1 takes what is left.
fn target(stated: &[i64], dims: &[usize], allow_zero: bool) -> Result<Vec<usize>, Problem> {
    let total: usize = dims.iter().product();
    let mut open = None;
    let mut result = Vec::with_capacity(stated.len());
    for (axis, &extent) in stated.iter().enumerate() {
        result.push(match extent {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if allow_zero => 0,
            0 => *dims.get(axis).ok_or_else(|| {
                invalid(format!("shape {stated:?} keeps extent {axis} of {dims:?}; it does not exist"))
            })?,
            _ => usize::try_from(extent)
                .map_err(|_| invalid(format!("shape {stated:?}; extents must be >= 0, one may be -1")))?,
        });
    }
    let product = result.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let fits = |product: usize| match open {
        Some(_) => product != 0 && total.is_multiple_of(product),
        None => total == product,
    };
    let Some(product) = product.filter(|&product| fits(product)) else {
        return Err(invalid(format!("reshape of {dims:?} to {stated:?}; the number of elements must stay")));
    };
    if let Some(axis) = open {
        result[axis] = total / product;
    }
    Ok(result)
}

fn reshape(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let stated = b.ints_of(step, 1, "shape")?.ok_or_else(|| invalid("Reshape without a shape; it is required"))?;
    let dims = b.dims(x);
    let stated = b.batch_free(&stated, &dims);
    let stated = b.batch_free(&stated, &b.dims(x));
    let target = target(&stated, &dims, step.attributes().flag("allowzero", false)?)?;
    one(b.reshape(x, target)?)
}

fn flatten(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let stated = step.attributes().int("axis", 1)?;
    let axis = if usize::try_from(stated) == Ok(dims.len()) { dims.len() } else { axis::axis(stated, dims.len())? };
    one(b.reshape(x, vec![dims[..axis].iter().product(), dims[axis..].iter().product()])?)
}

fn squeeze(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let axes = match b.ints_of(step, 1, "axes")? {
        Some(axes) => axis::sorted_axes(&axes, dims.len())?,
        None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| dims[axis] != 1) {
        return Err(invalid(format!("Squeeze of axis {axis} of {dims:?}; its extent must be 1")));
    }
    one(b.drop_axes(x, &axes)?)
}

fn unsqueeze(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let mut dims = b.dims(x);
    let axes = b.ints_of(step, 1, "axes")?.ok_or_else(|| invalid("Unsqueeze without axes; they are required"))?;
    for axis in axis::sorted_axes(&axes, dims.len() + axes.len())? {
        dims.insert(axis, 1);
    }
    one(b.reshape(x, dims)?)
}

fn concat(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    // Parts without elements add nothing.
    let mut parts = Vec::with_capacity(step.input_count());
    for index in 0..step.input_count() {
        let empty = b.is_constant(step, index) && b.required(step, index)?.dims().contains(&0);
        if !empty || (parts.is_empty() && index + 1 == step.input_count()) {
            parts.push(b.node(step, index)?);
        }
    }
    let Some(&first) = parts.first() else { return Err(invalid("Concat without an input; it requires one")) };
    let axis = axis::axis(step.attributes().int("axis", 1)?, b.rank(first))?;
    one(b.concat(axis, &parts)?)
}

fn expand(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let stated = b.ints(step, 1)?.ok_or_else(|| invalid("Expand without a shape; it is required"))?;
    let wanted = stated.iter().map(|&v| axis::count(v, "an extent of")).collect::<Result<Vec<usize>, _>>()?;
    one(broadcast(b, x, &wanted)?)
}

/// `x` repeated along axes of extent 1, so that it broadcasts with `wanted`.
pub(super) fn broadcast(b: &mut Builder<'_>, x: NodeId, wanted: &[usize]) -> Result<NodeId, Problem> {
    let rank = wanted.len().max(b.rank(x));
    let x = b.with_rank(x, rank)?;
    let dims = b.dims(x);
    let mut maps = vec![AxisMap::All; rank];
    for (&extent, axis) in wanted.iter().zip(rank - wanted.len()..) {
        if dims[axis] == 1 {
            b.afford(extent, "a repeated axis")?;
            maps[axis] = AxisMap::Indices(vec![Some(0); extent]);
        } else if extent != 1 && extent != dims[axis] {
            return Err(invalid(format!("Expand of {dims:?} to {wanted:?}; they must broadcast")));
        }
    }
    b.gather(x, maps, 0.0)
}

fn tile(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let repeats = b.ints(step, 1)?.ok_or_else(|| invalid("Tile without repeats; they are required"))?;
    if repeats.len() != dims.len() {
        return Err(invalid(format!("repeats {repeats:?} of {dims:?}; one an axis is required")));
    }
    let mut maps = Vec::with_capacity(dims.len());
    for (&repeat, &extent) in repeats.iter().zip(&dims) {
        let total = axis::count(repeat, "a repeat of")?.saturating_mul(extent);
        b.afford(total, "a tiled axis")?;
        maps.push(AxisMap::Indices((0..total).map(|at| Some(at % extent)).collect()));
    }
    one(b.gather(x, maps, 0.0)?)
}

fn blocks(b: &mut Builder<'_>, step: &Step) -> Result<(NodeId, [usize; 4], usize), Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let [n, c, h, w] = dims[..] else {
        return Err(invalid(format!("{} of {dims:?}; [N, C, H, W] is required", step.op_type())));
    };
    let size = axis::count(step.attributes().int("blocksize", 0)?, "blocksize")?;
    if size == 0 {
        return Err(invalid("blocksize 0; at least 1 is required"));
    }
    Ok((x, [n, c, h, w], size))
}

fn depth_to_space(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (x, [n, c, h, w], size) = blocks(b, step)?;
    if c % (size * size) != 0 {
        return Err(invalid(format!("{c} channels in blocks of {size}x{size}; they must divide")));
    }
    let depth = c / (size * size);
    let (split, perm) = match step.attributes().string("mode", "DCR")? {
        "DCR" => (vec![n, size, size, depth, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => (vec![n, depth, size, size, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(invalid(format!("mode {other:?}; DCR or CRD is required"))),
    };
    let x = b.reshape(x, split)?;
    let x = b.transpose(x, &perm)?;
    one(b.reshape(x, vec![n, depth, h * size, w * size])?)
}

fn space_to_depth(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (x, [n, c, h, w], size) = blocks(b, step)?;
    if h % size != 0 || w % size != 0 {
        return Err(invalid(format!("{h}x{w} in blocks of {size}x{size}; they must divide")));
    }
    let x = b.reshape(x, vec![n, c, h / size, size, w / size, size])?;
    let perm = match step.attributes().string("mode", "DCR")? {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return Err(invalid(format!("mode {other:?}; DCR or CRD is required"))),
    };
    let x = b.transpose(x, &perm)?;
    one(b.reshape(x, vec![n, c * size * size, h / size, w / size])?)
}

/// Crops or pads with zeros around the middle; where the difference is odd, the end gets one more.
fn center_crop_pad(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let wanted = b.ints(step, 1)?.ok_or_else(|| invalid("CenterCropPad without a shape; it is required"))?;
    let axes = match step.attributes().ints("axes")? {
        Some(axes) => axis::listed_axes(axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    if wanted.len() != axes.len() {
        return Err(invalid(format!("shape {wanted:?} of axes {axes:?}; one extent an axis is required")));
    }
    let mut maps = vec![AxisMap::All; dims.len()];
    for (&axis, &wanted) in axes.iter().zip(&wanted) {
        let (wanted, extent) = (axis::count(wanted, "an extent of")?, dims[axis]);
        b.afford(wanted, "a padded axis")?;
        let (cut, pad) = (extent.saturating_sub(wanted) / 2, wanted.saturating_sub(extent) / 2);
        let indices = (0..wanted).map(|at| (at + cut).checked_sub(pad).filter(|&at| at < extent)).collect();
        maps[axis] = AxisMap::Indices(indices);
    }
    one(b.gather(x, maps, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn reshapes_follow_zero_and_minus_one() {
        assert_eq!(target(&[0, -1], &[1, 3, 4], false), Ok(vec![1, 12]));
        assert_eq!(target(&[3, 4], &[1, 3, 4], false), Ok(vec![3, 4]));
        assert_eq!(target(&[], &[1, 1], false), Ok(vec![]));
        assert_eq!(target(&[-1, 4], &[1, 3, 4], true), Ok(vec![3, 4]));
        assert!(target(&[-1, -1], &[4], false).is_err());
        assert!(target(&[5, -1], &[4], false).is_err());
        assert!(target(&[0, 4], &[4], true).is_err());
        assert_eq!(target(&[0], &[0], true), Ok(vec![0]));
        assert!(target(&[i64::MAX, i64::MAX], &[4], false).is_err());
        assert!(target(&[2, 2, 0], &[4], false).is_err());
    }
}
