//! The readable form of the family.

use super::{Grid, Layer, Target};
use crate::kernels::Memory;
use crate::pack::{TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use std::ops::Range;

/// Computes the windows of `rows` of the grid, which are rows `first_row + row` of the result.
pub(crate) fn rows(layer: &Layer, memory: &Memory, grid: &Grid, first_row: usize, rows: Range<usize>) {
    for row in rows {
        for column in 0..grid.width {
            let origin = grid.origin + row * grid.row + column * grid.pixel;
            for group in 0..layer.groups {
                for tile in 0..layer.group_tiles {
                    let accumulators = accumulate(layer, memory, origin + group * layer.group_inputs, group, tile);
                    store(layer, memory, [first_row + row, column, grid.width], [group, tile], accumulators);
                }
            }
        }
    }
}

/// `b + sum(q * w)` of a tile's 16 outputs, wrapping.
fn accumulate(layer: &Layer, memory: &Memory, origin: usize, group: usize, tile: usize) -> [i32; TILE_OUTPUTS] {
    let index = group * layer.group_tiles + tile;
    let mut accumulators: [i32; TILE_OUTPUTS] = std::array::from_fn(|o| layer.biases[index * TILE_OUTPUTS + o]);
    let mut tiles = layer.weights[index * layer.depth_groups * TILE_CODES..].chunks_exact(TILE_CODES);
    for run in &layer.runs {
        let from = origin + run.offset;
        let depths = memory.codes(from..from + run.groups * TILE_DEPTH);
        for (q, codes) in depths.chunks_exact(TILE_DEPTH).zip(&mut tiles) {
            for (accumulator, w) in accumulators.iter_mut().zip(codes.chunks_exact(TILE_DEPTH)) {
                for (&q, &w) in q.iter().zip(w) {
                    *accumulator = accumulator.wrapping_add(i32::from(q) * i32::from(w.cast_signed()));
                }
            }
        }
    }
    accumulators
}

fn store(
    layer: &Layer,
    memory: &Memory,
    [row, column, width]: [usize; 3],
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
            memory.codes_mut(at..at + count).iter_mut().zip(values).for_each(|(y, v)| *y = clamp.requantize(v));
        }
        Target::Logits { first, positions } => {
            for (i, value) in values.enumerate() {
                let at = first + (channel + i) * positions + row * width + column;
                memory.floats_mut(at..at + 1)[0] = value;
            }
        }
    }
}
