//! One loop nest for every x86 instruction set: `PIXELS` windows x `VECTORS` vectors of outputs in registers.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

mod avx2;
mod avx2vnni;
mod avx512;
mod avx512vnni;

use super::{Grid, Layer, Rows, Target};
use crate::BitWidth;
use crate::isa::{self, Isa};
use crate::kernels::{Clamp, Memory};
use crate::pack::{TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use std::ops::Range;

/// The kernel of an instruction set, bound to the proof that the machine has it.
pub(crate) fn rows_for(isa: Isa, bits: BitWidth) -> Option<Rows> {
    let full = bits == BitWidth::MAX;
    Some(match isa {
        Isa::Scalar => return None,
        Isa::Avx2 => {
            let proof = isa::Avx2::probe()?;
            let rows = if full { avx2::rows8 } else { avx2::rows };
            // SAFETY: `proof` shows that the machine has the features of the kernel.
            Box::new(move |layer, memory, grid, first, range| unsafe { rows(proof, layer, memory, grid, first, range) })
        }
        Isa::Avx2Vnni => {
            let proof = isa::Avx2Vnni::probe()?;
            // SAFETY: `proof` shows that the machine has the features of the kernel.
            Box::new(move |l, m, g, first, range| unsafe { avx2vnni::rows(proof, l, m, g, first, range) })
        }
        Isa::Avx512 => {
            let proof = isa::Avx512::probe()?;
            let rows = if full { avx512::rows8 } else { avx512::rows };
            // SAFETY: `proof` shows that the machine has the features of the kernel.
            Box::new(move |layer, memory, grid, first, range| unsafe { rows(proof, layer, memory, grid, first, range) })
        }
        Isa::Avx512Vnni | Isa::Amx => {
            let proof = isa::Avx512Vnni::probe()?;
            // SAFETY: `proof` shows that the machine has the features of the kernel.
            Box::new(move |l, m, g, first, range| unsafe { avx512vnni::rows(proof, l, m, g, first, range) })
        }
    })
}

/// A vector of i32 accumulators and how to add 4 depths to it. The value is the proof that its instructions exist.
///
/// # Safety
/// Implementations may be used only inside functions that enable the target features of the proof.
unsafe trait Dot: Copy {
    /// Outputs of a vector.
    const LANES: usize;
    /// Accumulators.
    type Sum: Copy;
    /// The weights of `LANES` outputs and 4 depths.
    type Weights: Copy;
    /// Four activations in every lane.
    type Codes: Copy;

    /// Accumulators from `LANES` words.
    unsafe fn load(self, biases: *const i32) -> Self::Sum;
    /// Weights from `4 * LANES` bytes.
    unsafe fn weights(self, codes: *const u8) -> Self::Weights;
    /// Activations from 4 bytes.
    unsafe fn codes(self, codes: *const u8) -> Self::Codes;
    /// `sum + q . w`.
    unsafe fn dot(self, sum: Self::Sum, q: Self::Codes, w: Self::Weights) -> Self::Sum;
    /// `f32(sum) * m` as floats.
    unsafe fn scale(self, sum: Self::Sum, multipliers: *const f32, values: *mut f32);
    /// Requantizes to the first `count` bytes at `y`.
    unsafe fn requantize(self, sum: Self::Sum, multipliers: *const f32, clamp: Clamp, y: *mut u8, count: usize);
}

/// Every window of some rows, blocks of vectors outermost so that their weights stay in the cache.
///
/// # Safety
/// The caller enables the target features of `D`; the layer's grid, runs and target lie in the arena, as the planner proves.
#[inline(always)]
unsafe fn rows<D: Dot, const PIXELS: usize, const VECTORS: usize>(
    dot: D,
    layer: &Layer,
    memory: &Memory,
    grid: &Grid,
    first_row: usize,
    rows: Range<usize>,
) {
    let per_tile = TILE_OUTPUTS / D::LANES;
    let vectors = layer.group_outputs.div_ceil(D::LANES);
    for group in 0..layer.groups {
        let mut vector = 0;
        while vector < vectors {
            let wide = vectors - vector >= VECTORS;
            for row in rows.clone() {
                let origin = grid.origin + row * grid.row + group * layer.group_inputs;
                let place = Place { layer, memory, group, vector, row: first_row + row, width: grid.width, per_tile };
                let mut column = 0;
                while column < grid.width {
                    let left = grid.width - column;
                    let x = memory.codes_ptr(origin + column * grid.pixel, 0).cast_const();
                    // SAFETY: the features are enabled by the caller; `left` windows begin at `x`.
                    column += unsafe {
                        if wide && left >= PIXELS {
                            block::<D, PIXELS, VECTORS>(dot, &place, x, grid.pixel, column)
                        } else if wide && left >= 4 {
                            block::<D, 4, VECTORS>(dot, &place, x, grid.pixel, column)
                        } else if wide {
                            block::<D, 1, VECTORS>(dot, &place, x, grid.pixel, column)
                        } else if left >= PIXELS {
                            block::<D, PIXELS, 1>(dot, &place, x, grid.pixel, column)
                        } else if left >= 4 {
                            block::<D, 4, 1>(dot, &place, x, grid.pixel, column)
                        } else {
                            block::<D, 1, 1>(dot, &place, x, grid.pixel, column)
                        }
                    };
                }
            }
            vector += if wide { VECTORS } else { 1 };
        }
    }
}

/// What a block needs to know of its surroundings.
struct Place<'a> {
    layer: &'a Layer,
    memory: &'a Memory,
    group: usize,
    /// First vector of outputs in the group.
    vector: usize,
    row: usize,
    width: usize,
    /// Vectors of a tile.
    per_tile: usize,
}

/// `PIXELS` windows, the first at `x`, times `VECTORS` vectors; yields `PIXELS`.
#[inline(always)]
unsafe fn block<D: Dot, const PIXELS: usize, const VECTORS: usize>(
    dot: D,
    place: &Place,
    x: *const u8,
    pixel: usize,
    column: usize,
) -> usize {
    let layer = place.layer;
    let tile_bytes = layer.depth_groups * TILE_CODES;
    let first_tile = place.group * layer.group_tiles;
    let lane = first_tile * TILE_OUTPUTS + place.vector * D::LANES;
    // SAFETY: weights, biases and multipliers hold whole tiles; a run's groups lie in the arena for each window.
    unsafe {
        let weights: [*const u8; VECTORS] = std::array::from_fn(|v| {
            let vector = place.vector + v;
            let tile = first_tile + vector / place.per_tile;
            layer.weights.as_ptr().add(tile * tile_bytes + vector % place.per_tile * (D::LANES * TILE_DEPTH))
        });
        let biases = layer.biases.as_ptr().add(lane);
        let initial: [D::Sum; VECTORS] = std::array::from_fn(|v| dot.load(biases.add(v * D::LANES)));
        let mut sums = [initial; PIXELS];
        let mut done = 0;
        for run in &layer.runs {
            let from = x.add(run.offset);
            for group in 0..run.groups {
                let at = (done + group) * TILE_CODES;
                let w: [D::Weights; VECTORS] = std::array::from_fn(|v| dot.weights(weights[v].add(at)));
                for (p, sums) in sums.iter_mut().enumerate() {
                    let q = dot.codes(from.add(p * pixel + group * TILE_DEPTH));
                    for (sum, &w) in sums.iter_mut().zip(&w) {
                        *sum = dot.dot(*sum, q, w);
                    }
                }
            }
            done += run.groups;
        }
        let multipliers = layer.multipliers.as_ptr().add(lane);
        for (p, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let first = (place.vector + v) * D::LANES;
                let count = D::LANES.min(layer.group_outputs - first);
                let channel = place.group * layer.group_outputs + first;
                let multipliers = multipliers.add(v * D::LANES);
                match layer.target {
                    Target::Codes { y, clamp } => {
                        let y = place.memory.codes_ptr(y.at(place.row, column + p) + channel, count);
                        dot.requantize(sum, multipliers, clamp, y, count);
                    }
                    Target::Logits { first, positions } => {
                        let mut values = [0f32; TILE_OUTPUTS];
                        dot.scale(sum, multipliers, values.as_mut_ptr());
                        for (i, &value) in values[..count].iter().enumerate() {
                            let at = first + (channel + i) * positions + place.row * place.width + column + p;
                            *place.memory.floats_ptr(at, 1) = value;
                        }
                    }
                }
            }
        }
    }
    PIXELS
}

/// Requantizes 8 lanes.
///
/// # Safety
/// AVX2; `count <= 8` bytes at `y`, 8 multipliers.
#[inline(always)]
unsafe fn requantize_256(
    sum: std::arch::x86_64::__m256i,
    multipliers: *const f32,
    clamp: Clamp,
    y: *mut u8,
    count: usize,
) {
    use std::arch::x86_64::*;
    let (z, lo, hi) = (i32::from(clamp.z), i32::from(clamp.lo), i32::from(clamp.hi));
    // SAFETY: by the contract above.
    unsafe {
        let v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(multipliers));
        let t = _mm256_max_ps(v, _mm256_set1_ps((lo - z) as f32));
        let t = _mm256_min_ps(t, _mm256_set1_ps((hi - z) as f32));
        let q = _mm256_add_epi32(_mm256_cvtps_epi32(t), _mm256_set1_epi32(z));
        let words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
        let bytes = _mm_packus_epi16(words, words);
        if count == 8 {
            _mm_storel_epi64(y.cast(), bytes);
        } else {
            let mut tail = [0u8; 16];
            _mm_storeu_si128(tail.as_mut_ptr().cast(), bytes);
            std::ptr::copy_nonoverlapping(tail.as_ptr(), y, count);
        }
    }
}

/// Requantizes 16 lanes.
///
/// # Safety
/// AVX-512 F, BW and VL; `count <= 16` bytes at `y`, 16 multipliers.
#[inline(always)]
unsafe fn requantize_512(
    sum: std::arch::x86_64::__m512i,
    multipliers: *const f32,
    clamp: Clamp,
    y: *mut u8,
    count: usize,
) {
    use std::arch::x86_64::*;
    let (z, lo, hi) = (i32::from(clamp.z), i32::from(clamp.lo), i32::from(clamp.hi));
    // SAFETY: by the contract above.
    unsafe {
        let v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(multipliers));
        let t = _mm512_max_ps(v, _mm512_set1_ps((lo - z) as f32));
        let t = _mm512_min_ps(t, _mm512_set1_ps((hi - z) as f32));
        let q = _mm512_add_epi32(_mm512_cvtps_epi32(t), _mm512_set1_epi32(z));
        let bytes = _mm512_cvtepi32_epi8(q);
        if count == 16 {
            _mm_storeu_si128(y.cast(), bytes);
        } else {
            _mm_mask_storeu_epi8(y.cast(), (1u16 << count) - 1, bytes);
        }
    }
}
