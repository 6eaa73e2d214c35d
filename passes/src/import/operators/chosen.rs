//! Elements chosen by indices that depend on the network's input.
//!
//! Takes indices as whole numbers; returns products with a matrix of zeros and ones that has, in the row of every index, its one
//! at the index. They are exact: every other term is 0. An index outside of its axis chooses 0.
//! Refuses matrices of more than [`MOST_ENTRIES`].

use super::reduce::places;
use crate::import::build::Builder;
use crate::import::constant::element_count;
use crate::import::error::{Problem, unsupported};
use crate::ir::{BinaryKind, NodeId, Op, ReduceKind};

/// Most entries of a matrix that chooses.
const MOST_ENTRIES: usize = 1 << 23;

/// `[B, K, extent]` with the one of row `k` at `indices[b, k]`, for indices `[B, K]`.
fn chooser(b: &mut Builder<'_>, indices: NodeId, extent: usize) -> Result<NodeId, Problem> {
    let dims = b.dims(indices);
    let entries = element_count(&[&dims[..], &[extent]].concat()).unwrap_or(usize::MAX);
    if entries > MOST_ENTRIES {
        return Err(unsupported(format!(
            "indices of shape {dims:?} that depend on the network's input, into {extent} elements; at most {MOST_ENTRIES} \
             products are supported"
        )));
    }
    let column = b.insert_axis(indices, 2)?;
    let places = places(b, extent, 2, 3)?;
    b.binary(BinaryKind::Equal, column, places)
}

/// Indices of which negative ones count from the end of `extent`.
pub(super) fn from_start(b: &mut Builder<'_>, indices: NodeId, extent: usize) -> Result<NodeId, Problem> {
    let zero = b.literal(vec![], vec![0.0])?;
    let is_negative = b.binary(BinaryKind::Less, indices, zero)?;
    let shift = b.affine(is_negative, extent as f32, 0.0)?;
    b.binary(BinaryKind::Add, indices, shift)
}

/// `y[b, k, ..] = x[b, indices[b, k], ..]` for `x` of `[B, extent, inner]`.
pub(super) fn pick(b: &mut Builder<'_>, x: NodeId, indices: NodeId) -> Result<NodeId, Problem> {
    let extent = b.dims(x)[1];
    let chooser = chooser(b, indices, extent)?;
    b.push(Op::MatMul, &[chooser, x])
}

/// What lies at the places that updates go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// The update takes the place.
    Replace,
    /// Updates are added.
    Add,
}

/// `x` of `[B, extent, inner]` with `updates` of `[B, K, inner]` at `indices` of `[B, K]`, which differ where they replace.
pub(super) fn put(
    b: &mut Builder<'_>,
    x: NodeId,
    indices: NodeId,
    updates: NodeId,
    meeting: Meeting,
) -> Result<NodeId, Problem> {
    let extent = b.dims(x)[1];
    let chooser = chooser(b, indices, extent)?;
    let places = b.transpose(chooser, &[0, 2, 1])?;
    let sum = b.push(Op::MatMul, &[places, updates])?;
    match meeting {
        Meeting::Add => b.binary(BinaryKind::Add, x, sum),
        Meeting::Replace => {
            let is_met = b.reduce(ReduceKind::Max, places, &[2], true)?;
            b.push(Op::Select, &[is_met, sum, x])
        }
    }
}
