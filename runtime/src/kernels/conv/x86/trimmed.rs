//! The loop nest over the blocks of a layer that is trimmed.
//!
//! The sums of a block lie in memory between its pieces.

use super::{Strip, TileRows, accumulate, biased, finish, most};
use crate::kernels::Memory;
use crate::kernels::conv::trim::{Block, MOST_WINDOWS, Trim};
use crate::kernels::conv::{Layer, Span};
use crate::kernels::lanes::Lanes;
use crate::pack::TILE_OUTPUTS;

// The pieces that are written out below.
const _: () = assert!(MOST_WINDOWS == 6);

/// Most windows in a block of `vectors` vectors; 0 where there is no such block.
const fn most_of<D: Lanes, const K: u8>(vectors: usize) -> usize {
    let windows = most::<D, K>(vectors);
    if windows > MOST_WINDOWS { MOST_WINDOWS } else { windows }
}

/// Most windows in a block, however many vectors it has.
pub(super) const fn windows<D: Lanes, const K: u8>() -> usize {
    let (mut least, mut vectors) = (MOST_WINDOWS, 1);
    while vectors <= 4 {
        let most = most_of::<D, K>(vectors);
        if most > 0 && most < least {
            least = most;
        }
        vectors *= 2;
    }
    least
}

/// All windows, and the outputs of a span, blocks of vectors outermost so that their weights stay in the cache.
///
/// # Safety
/// As [`super::blocks`]; `trim` is the layer's, with blocks of at most [`windows`] windows.
#[inline(always)]
pub(super) unsafe fn blocks<D: Lanes, const K: u8>(lanes: D, layer: &Layer, trim: &Trim, memory: &Memory, span: &Span) {
    let per_tile = TILE_OUTPUTS / D::LANES;
    let end = span.tiles.end * per_tile;
    let mut vector = span.tiles.start * per_tile;
    while vector < end {
        let fits = |v: usize| end - vector >= v && most_of::<D, K>(v) > 0;
        let size = [4, 2, 1].into_iter().find(|&v| fits(v)).unwrap_or(1);
        let mut strip = Strip::new(layer, memory, 0, vector);
        for rectangle in &trim.blocks {
            // SAFETY: by the contract of the caller.
            unsafe {
                match size {
                    4 if const { most_of::<D, K>(4) > 0 } => block::<D, K, 4>(lanes, &mut strip, rectangle),
                    1 if const { most_of::<D, K>(1) > 0 } => block::<D, K, 1>(lanes, &mut strip, rectangle),
                    _ => block::<D, K, 2>(lanes, &mut strip, rectangle),
                }
            }
        }
        vector += size;
    }
}

#[inline(always)]
unsafe fn block<D: Lanes, const K: u8, const VECTORS: usize>(lanes: D, strip: &mut Strip, block: &Block) {
    let layer = strip.layer;
    let grid = &layer.grid;
    let per_tile = TILE_OUTPUTS / D::LANES;
    let tile_bytes = 8 * usize::from(K);
    let row_bytes = layer.depth_groups * tile_bytes;
    let tap_bytes = layer.runs.first().map_or(0, |run| run.groups) * tile_bytes;
    let lane = strip.vector * D::LANES;
    let part = if VECTORS > 1 { 0 } else { strip.vector % per_tile };
    let origin = grid.origin + block.rows.start * grid.row + block.columns.start * grid.pixel;
    // SAFETY: as in `super::block`; the taps of the pieces are some of the layer's.
    unsafe {
        let x = strip.memory.codes_ptr(origin, 0).cast_const();
        let first_weights = layer.weights.as_ptr().add(strip.vector / per_tile * row_bytes);
        let mut sums = [biased::<D, VECTORS>(lanes, layer.biases.as_ptr().add(lane)); MOST_WINDOWS];
        for piece in &block.pieces {
            let runs = &layer.runs[piece.taps.clone()];
            let first = first_weights.add(piece.taps.start * tap_bytes);
            let tiles = TileRows { first, part, row_bytes, ask_ahead: true };
            macro_rules! accumulate_windows {
                ($($windows:literal)*) => {
                    match piece.count {
                        $($windows if const { most_of::<D, K>(VECTORS) >= $windows } => {
                            let mut offsets = [0; $windows];
                            offsets.copy_from_slice(&piece.offsets[..$windows]);
                            let mut some = [sums[0]; $windows];
                            for (some, &window) in some.iter_mut().zip(&piece.windows) {
                                *some = sums[window];
                            }
                            let some = accumulate::<D, K, $windows, VECTORS>(lanes, some, runs, x, offsets, tiles);
                            for (some, &window) in some.into_iter().zip(&piece.windows) {
                                sums[window] = some;
                            }
                        })*
                        windows => unreachable!("a piece of {windows} windows"),
                    }
                };
            }
            accumulate_windows!(1 2 3 4 5 6);
        }
        let columns = block.columns.len();
        for (row, sums) in block.rows.clone().zip(sums.chunks_exact(columns)) {
            strip.go_to(row, block.columns.start, columns, strip.vector * D::LANES, VECTORS * D::LANES);
            finish(lanes, strip, sums);
        }
    }
}
