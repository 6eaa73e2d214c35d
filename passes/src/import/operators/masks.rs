//! OneHot and Trilu.
//!
//! Takes constant depths, diagonals and values; the indices of OneHot may be an activation. Returns comparisons with the numbers of
//! the positions, and a gather whose fill is 0.
//! Refuses depths and diagonals that depend on the input.

use super::axis;
use super::forms::one;
use super::reduce::places;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::{MAX_ELEMENTS, Step};
use crate::ir::BinaryKind;

pub(super) const RULES: &[(&str, Rule)] = &[("OneHot", one_hot), ("Trilu", trilu)];

/// Indices from `-depth` count from the end; those outside give the off value.
fn one_hot(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let indices = b.node(step, 0)?;
    let depth = b.required(step, 1)?.floats().first().copied().unwrap_or(0.0);
    if !(depth >= 1.0 && depth <= MAX_ELEMENTS as f32) {
        return Err(invalid(format!("depth {depth}; it must be >= 1")));
    }
    let depth = depth as usize;
    let [off, on] = b.required(step, 2)?.floats()[..] else {
        return Err(invalid("values of OneHot; the off and the on value are required"));
    };
    let rank = b.rank(indices) + 1;
    let axis = axis::axis(step.attributes().int("axis", -1)?, rank)?;
    let index = b.insert_axis(indices, axis)?;
    let forward = places(b, depth, axis, rank)?;
    let backward = b.affine(forward, 1.0, -(depth as f32))?;
    let hit = b.binary(BinaryKind::Equal, index, forward)?;
    let hit_from_end = b.binary(BinaryKind::Equal, index, backward)?;
    let hot = b.binary(BinaryKind::Or, hit, hit_from_end)?;
    one(b.affine(hot, on - off, off)?)
}

/// The triangle on one side of a diagonal stays, the other becomes 0.
fn trilu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let [.., _, _] = dims[..] else {
        return Err(unsupported(format!("Trilu of {dims:?}; two axes at least are required")));
    };
    let k = b.integer(step, 1)?.unwrap_or(0);
    let upper = step.attributes().flag("upper", true)?;
    let rank = dims.len();
    let kept = axis::positions(&dims).enumerate().map(|(flat, at)| {
        let diagonal = (at[rank - 1] as i64) - (at[rank - 2] as i64);
        (if upper { diagonal >= k } else { diagonal <= k }).then_some(flat)
    });
    one(b.gather_flat(x, kept.collect(), 0.0, dims)?)
}
