//! Col2Im: blocks of an image, one a column, added up where they overlap.
//!
//! Takes `[N, C * block, columns]` with constant extents; returns one [`Op::Resample`] whose taps are all of weight 1.
//! Refuses extents that depend on the input.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::constant::element_count;
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::Op;

pub(super) const RULES: &[(&str, Rule)] = &[("Col2Im", col2im)];

fn col2im(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let extents = |values: Option<Vec<i64>>, what: &str| -> Result<Vec<usize>, Problem> {
        let values = values.ok_or_else(|| invalid(format!("Col2Im without {what}; it is required")))?;
        values.iter().map(|&value| axis::count(value, what)).collect()
    };
    let image = extents(b.ints(step, 1)?, "image_shape")?;
    let block = extents(b.ints(step, 2)?, "block_shape")?;
    let axes = image.len();
    let attributes = step.attributes();
    let stated = |name: &str, missing: Vec<i64>| -> Result<Vec<usize>, Problem> {
        extents(Some(attributes.ints(name)?.map_or(missing, <[i64]>::to_vec)), name)
    };
    let (dilations, strides) = (stated("dilations", vec![1; axes])?, stated("strides", vec![1; axes])?);
    let pads = stated("pads", vec![0; 2 * axes])?;
    let [n, channels, columns] = dims[..] else {
        return Err(invalid(format!("Col2Im of {dims:?}; [N, C * block, columns] is required")));
    };
    let lists = [block.len(), dilations.len(), strides.len(), pads.len() / 2];
    let (cells, pixels) = (element_count(&block).unwrap_or(0), element_count(&image).unwrap_or(usize::MAX));
    if axes == 0 || lists.iter().any(|&len| len != axes) || strides.contains(&0) || cells == 0 || channels % cells != 0
    {
        return Err(invalid(format!(
            "Col2Im of {dims:?} to {image:?} in blocks of {block:?}, strides {strides:?}; one each an axis is required"
        )));
    }
    // Blocks of each axis.
    let counts: Option<Vec<usize>> = (0..axes)
        .map(|axis| {
            let span = (block[axis].checked_sub(1)?).checked_mul(dilations[axis])?.checked_add(1)?;
            let room = image[axis].checked_add(pads[axis])?.checked_add(pads[axes + axis])?.checked_sub(span)?;
            Some(room / strides[axis] + 1)
        })
        .collect();
    let counts = counts.filter(|counts| element_count(counts) == Some(columns)).ok_or_else(|| {
        invalid(format!("Col2Im of {columns} columns to {image:?} in blocks of {block:?}; there are not so many"))
    })?;
    b.spend(pixels, "an image")?;
    b.spend(cells.saturating_mul(columns).saturating_mul(2), "the blocks of an image")?;
    let steps = axis::strides(&image);
    let mut taps = vec![Vec::new(); pixels];
    for (cell, offset) in axis::positions(&block).enumerate() {
        for (column, at) in axis::positions(&counts).enumerate() {
            let pixel = (0..axes).try_fold(0, |flat, axis| {
                let place = at[axis] * strides[axis] + offset[axis] * dilations[axis];
                let place = place.checked_sub(pads[axis]).filter(|&place| place < image[axis])?;
                Some(flat + place * steps[axis])
            });
            if let Some(pixel) = pixel {
                taps[pixel].push((cell * columns + column, 1.0));
            }
        }
    }
    let blocks = b.reshape(x, vec![n, channels / cells, cells * columns])?;
    let sums = b.push(Op::Resample { axis: 2, taps }, &[blocks])?;
    one(b.reshape(sums, [&[n, channels / cells], &image[..]].concat())?)
}
