//! The readable form of the family.
#![allow(unsafe_code, reason = "writes its part of the result")]

use super::{Layer, Span, Target};
use crate::kernels::Memory;
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS};

/// Computes a span of a layer whose codes are stored in `stored` bits.
pub(crate) fn rows(layer: &Layer, memory: &Memory, span: &Span, stored: u8) {
    let grid = &layer.grid;
    for row in span.rows.clone() {
        for column in 0..grid.width {
            let origin = grid.origin + (row - span.origin_row) * grid.row + column * grid.pixel;
            for group in 0..layer.groups {
                for tile in span.tiles.clone() {
                    let from = origin + group * layer.group_inputs;
                    let accumulators = accumulate(layer, memory, from, group * layer.group_tiles + tile, stored);
                    store(layer, memory, [row, column], [group, tile], accumulators);
                }
            }
        }
    }
}

/// `b + sum(q * w)` of a tile's 16 outputs, wrapping.
fn accumulate(layer: &Layer, memory: &Memory, origin: usize, tile: usize, stored: u8) -> [i32; TILE_OUTPUTS] {
    let mut accumulators: [i32; TILE_OUTPUTS] = std::array::from_fn(|o| layer.biases[tile * TILE_OUTPUTS + o]);
    let tile_bytes = 8 * usize::from(stored);
    let mut tiles = layer.weights.bytes()[tile * layer.depth_groups * tile_bytes..].chunks_exact(tile_bytes);
    for run in &layer.runs {
        let from = origin + run.offset;
        let depths = memory.codes(from..from + run.groups * TILE_DEPTH);
        for (q, tile) in depths.chunks_exact(TILE_DEPTH).zip(&mut tiles) {
            for (i, accumulator) in accumulators.iter_mut().enumerate() {
                for (d, &q) in q.iter().enumerate() {
                    let product = i32::from(q) * code(tile, stored, i * TILE_DEPTH + d);
                    *accumulator = accumulator.wrapping_add(product);
                }
            }
        }
    }
    accumulators
}

/// Code `i` of a tile ([`crate::pack`]).
fn code(tile: &[u8], stored: u8, i: usize) -> i32 {
    if stored == 8 {
        return i32::from(tile[i].cast_signed());
    }
    let (mut field, mut first, mut shift) = (0, 0, 0);
    if stored & 4 != 0 {
        field = i32::from(tile[i % 32] >> (i / 32 * 4) & 15);
        (first, shift) = (32, 4);
    }
    if stored & 2 != 0 {
        field |= i32::from(tile[first + i % 16] >> (i / 16 * 2) & 3) << shift;
        (first, shift) = (first + 16, shift + 2);
    }
    if stored & 1 != 0 {
        field |= i32::from(tile[first + i / 8] >> (i % 8) & 1) << shift;
    }
    field - (1 << (stored - 1))
}

fn store(
    layer: &Layer,
    memory: &Memory,
    [row, column]: [usize; 2],
    [group, tile]: [usize; 2],
    accumulators: [i32; TILE_OUTPUTS],
) {
    let first = tile * TILE_OUTPUTS;
    let count = TILE_OUTPUTS.min(layer.group_outputs - first);
    let channel = group * layer.group_outputs + first;
    let multipliers = &layer.multipliers[(group * layer.group_tiles + tile) * TILE_OUTPUTS..];
    let values = accumulators.into_iter().zip(multipliers).map(|(acc, &m)| acc as f32 * m).take(count);
    match layer.target {
        Target::Codes { y, clamp } => {
            let at = y.at(row, column) + channel;
            // SAFETY: a span writes the rows and outputs that are its own.
            let y = unsafe { memory.codes_mut(at..at + count) };
            y.iter_mut().zip(values).for_each(|(y, v)| *y = clamp.requantize(v));
        }
        Target::Logits { first, positions, step } => {
            for (i, value) in values.enumerate() {
                let at = first + (channel + i) * positions + (row * layer.grid.width + column) * step;
                // SAFETY: as above.
                unsafe { memory.floats_mut(at..at + 1)[0] = value };
            }
        }
    }
}
