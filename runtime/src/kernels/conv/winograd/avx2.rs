//! `vpmaddwd` on transformed values, 256 bits.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{CHANNEL_STEP, VALUES, Winograd};
use crate::isa::{Available, Avx2, Isa};
use crate::kernels::Memory;
use crate::kernels::lanes::Places;
use crate::kernels::lanes::avx2::requantize;
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS};
use std::arch::x86_64::*;
use std::ops::Range;

/// Proof that the instructions exist.
#[derive(Clone, Copy)]
pub(super) struct Avx2Proof(Avx2);

/// Most cells in a block.
const MOST_CELLS: usize = 4;

/// Bytes of a tile of 16 outputs and 4 channels.
const TILE_BYTES: usize = 128;

/// Bytes of weights that are asked for ahead.
const AHEAD: usize = 2 << 10;

/// Sums of 16 outputs.
type Pair = [__m256i; 2];

impl Avx2Proof {
    /// The proof, where the plan is for this instruction set.
    pub(super) fn new(available: Available) -> Option<Self> {
        if available.isa() == Isa::Avx2 { Avx2::probe().map(Avx2Proof) } else { None }
    }

    /// Transforms the inputs of some rows of cells.
    ///
    /// # Safety
    /// Meanwhile nothing else writes the layer's input, nor the transformed inputs of these cells.
    pub(super) unsafe fn inputs(self, layer: &Winograd, memory: &Memory, rows: Range<usize>) {
        // SAFETY: the value proves AVX2; the rest is the contract.
        unsafe { inputs(layer, memory, rows) }
    }

    /// Computes tiles of 16 outputs of some cells.
    ///
    /// # Safety
    /// The layer has whole tiles of weights, biases and multipliers; meanwhile nothing else writes the transformed inputs, nor these outputs.
    pub(super) unsafe fn products(self, layer: &Winograd, memory: &Memory, cells: Range<usize>, tiles: Range<usize>) {
        // SAFETY: as above.
        unsafe { products(layer, memory, cells, tiles) }
    }
}

/// `B' d` of four rows.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(d: [__m256i; 4]) -> [__m256i; 4] {
    [
        _mm256_sub_epi16(d[0], d[2]),
        _mm256_add_epi16(d[1], d[2]),
        _mm256_sub_epi16(d[2], d[1]),
        _mm256_sub_epi16(d[1], d[3]),
    ]
}

#[target_feature(enable = "avx2")]
unsafe fn inputs(layer: &Winograd, memory: &Memory, rows: Range<usize>) {
    let (grid, value_bytes) = (&layer.grid, layer.value_bytes());
    let columns = layer.cells()[1];
    for row in rows {
        for column in 0..columns {
            let from = grid.origin + 2 * row * grid.row + 2 * column * grid.pixel;
            let window = 3 * grid.row + 3 * grid.pixel + layer.inputs;
            let from = memory.codes_ptr(from, window).cast_const();
            let to = layer.scratch + (row * columns + column) * layer.inputs * size_of::<i16>();
            let to = memory.codes_ptr(to, (VALUES - 1) * value_bytes + layer.inputs * size_of::<i16>());
            for channel in (0..layer.inputs).step_by(CHANNEL_STEP) {
                let mut values = [[_mm256_setzero_si256(); 4]; 4];
                for (i, values) in values.iter_mut().enumerate() {
                    for (j, value) in values.iter_mut().enumerate() {
                        // SAFETY: the four rows of four pixels lie at `from`.
                        let bytes =
                            unsafe { _mm_loadu_si128(from.add(i * grid.row + j * grid.pixel + channel).cast()) };
                        *value = _mm256_cvtepu8_epi16(bytes);
                    }
                    *values = spread(*values);
                }
                for j in 0..4 {
                    let column = spread([values[0][j], values[1][j], values[2][j], values[3][j]]);
                    for (i, value) in column.into_iter().enumerate() {
                        let at = (4 * i + j) * value_bytes + channel * size_of::<i16>();
                        // SAFETY: the cell's channels of each value lie at `to`; each part writes its own cells.
                        unsafe { _mm256_storeu_si256(to.add(at).cast(), value) };
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn products(layer: &Winograd, memory: &Memory, cells: Range<usize>, tiles: Range<usize>) {
    let blocks = cells.len().div_ceil(MOST_CELLS);
    for tile in tiles {
        let mut cell = cells.start;
        for block in 0..blocks {
            let count = (cells.len() + block) / blocks;
            // SAFETY: the cells and the tile are the layer's.
            unsafe {
                match count {
                    1 => cells_block::<1>(layer, memory, cell, tile),
                    2 => cells_block::<2>(layer, memory, cell, tile),
                    3 => cells_block::<3>(layer, memory, cell, tile),
                    _ => cells_block::<4>(layer, memory, cell, tile),
                }
            }
            cell += count;
        }
    }
}

/// # Safety
/// `CELLS` cells from `cell` on and the tile are the layer's, which was planned for this memory.
#[target_feature(enable = "avx2")]
unsafe fn cells_block<const CELLS: usize>(layer: &Winograd, memory: &Memory, cell: usize, tile: usize) {
    let (value_bytes, cell_bytes) = (layer.value_bytes(), layer.inputs * size_of::<i16>());
    let groups = layer.inputs / TILE_DEPTH;
    let mut sums = [[[_mm256_setzero_si256(); 2]; VALUES]; CELLS];
    // SAFETY: weights are whole tiles; the values of the cells lie in the scratch memory.
    unsafe {
        let mut weights = layer.weights.as_ptr().add(tile * VALUES * groups * TILE_BYTES);
        let values = memory.codes_ptr(layer.scratch + cell * cell_bytes, 15 * value_bytes + CELLS * cell_bytes);
        for value in 0..VALUES {
            let value_sums = multiply::<CELLS>(weights, values.add(value * value_bytes), cell_bytes, groups);
            for (sums, value_sums) in sums.iter_mut().zip(value_sums) {
                sums[value] = value_sums;
            }
            weights = weights.add(groups * TILE_BYTES);
        }
        for (i, sums) in sums.iter().enumerate() {
            finish(layer, memory, cell + i, tile, sums);
        }
    }
}

/// The products of one value of `CELLS` cells with 16 outputs.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply<const CELLS: usize>(
    mut weights: *const u8,
    mut values: *const u8,
    cell_bytes: usize,
    groups: usize,
) -> [Pair; CELLS] {
    let mut sums = [[_mm256_setzero_si256(); 2]; CELLS];
    for _ in 0..groups {
        // SAFETY: by the contract of the caller; a prefetch reads nothing, wherever it points.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD).cast());
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD + 64).cast());
            for pair in 0..2 {
                let low = _mm256_loadu_si256(weights.add(64 * pair).cast());
                let high = _mm256_loadu_si256(weights.add(64 * pair + 32).cast());
                for (i, sums) in sums.iter_mut().enumerate() {
                    let at = values.add(i * cell_bytes + 4 * pair);
                    let v = _mm256_set1_epi32(at.cast::<i32>().read_unaligned());
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(v, low));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(v, high));
                }
            }
            weights = weights.add(TILE_BYTES);
            values = values.add(2 * TILE_DEPTH);
        }
    }
    sums
}

/// `A' m` of four rows.
#[inline]
#[target_feature(enable = "avx2")]
fn gather(m: [__m256i; 4]) -> Pair {
    let (sum, difference) = (_mm256_add_epi32(m[1], m[2]), _mm256_sub_epi32(m[1], m[2]));
    [_mm256_add_epi32(m[0], sum), _mm256_sub_epi32(difference, m[3])]
}

/// Writes the four windows of a cell.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish(layer: &Winograd, memory: &Memory, cell: usize, tile: usize, sums: &[Pair; VALUES]) {
    let columns = layer.cells()[1];
    let first = tile * TILE_OUTPUTS;
    let count = TILE_OUTPUTS.min(layer.outputs - first);
    let mut windows = [[[_mm256_setzero_si256(); 2]; 2]; 2];
    for vector in 0..2 {
        let mut rows = [[_mm256_setzero_si256(); 2]; 4];
        for (i, row) in rows.iter_mut().enumerate() {
            let m = [sums[4 * i][vector], sums[4 * i + 1][vector], sums[4 * i + 2][vector], sums[4 * i + 3][vector]];
            *row = gather(m);
        }
        // SAFETY: biases are whole tiles.
        let bias = unsafe { _mm256_loadu_si256(layer.biases.as_ptr().add(first + 8 * vector).cast()) };
        for right in 0..2 {
            let column = gather([rows[0][right], rows[1][right], rows[2][right], rows[3][right]]);
            for (down, sum) in column.into_iter().enumerate() {
                windows[down][right][vector] = _mm256_add_epi32(bias, _mm256_srai_epi32::<2>(sum));
            }
        }
    }
    for (down, windows) in windows.into_iter().enumerate() {
        for (right, window) in windows.into_iter().enumerate() {
            let at = layer.y.at(2 * (cell / columns) + down, 2 * (cell % columns) + right) + first;
            let y = memory.codes_ptr(at, count);
            // SAFETY: multipliers are whole tiles; `count` outputs of this window lie at `y`.
            unsafe {
                requantize::<2>(
                    window.as_ptr(),
                    1,
                    layer.multipliers.as_ptr().add(first),
                    layer.clamp,
                    &mut Places::one(y, count),
                )
            };
        }
    }
}
