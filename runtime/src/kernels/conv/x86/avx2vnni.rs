//! AVX2 with AVX-VNNI: `vpdpbusd` on 256 bits.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Dot, requantize_256};
use crate::isa::Avx2Vnni;
use crate::kernels::conv::{Grid, Layer};
use crate::kernels::{Clamp, Memory};
use std::arch::x86_64::*;
use std::ops::Range;

#[derive(Clone, Copy)]
struct Vnni(Avx2Vnni);

// SAFETY: `Avx2Vnni` proves AVX2 and AVX-VNNI, the only features used.
unsafe impl Dot for Vnni {
    const LANES: usize = 8;
    type Sum = __m256i;
    type Weights = __m256i;
    type Codes = __m256i;

    #[inline(always)]
    unsafe fn load(self, biases: *const i32) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_loadu_si256(biases.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(self, codes: *const u8) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_loadu_si256(codes.cast()) }
    }

    #[inline(always)]
    unsafe fn codes(self, codes: *const u8) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_set1_epi32(codes.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, q: __m256i, w: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_dpbusd_avx_epi32(sum, q, w) }
    }

    #[inline(always)]
    unsafe fn scale(self, sum: __m256i, multipliers: *const f32, values: *mut f32) {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_storeu_ps(values, _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(multipliers))) }
    }

    #[inline(always)]
    unsafe fn requantize(self, sum: __m256i, multipliers: *const f32, clamp: Clamp, y: *mut u8, count: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { requantize_256(sum, multipliers, clamp, y, count) }
    }
}

/// Rows for weights of any width.
#[target_feature(enable = "avx2,avxvnni")]
pub(crate) fn rows(
    proof: Avx2Vnni,
    layer: &Layer,
    memory: &Memory,
    grid: &Grid,
    first_row: usize,
    range: Range<usize>,
) {
    // SAFETY: AVX2 and AVX-VNNI are enabled here; the layer was planned for this memory.
    unsafe { super::rows::<Vnni, 4, 2>(Vnni(proof), layer, memory, grid, first_row, range) }
}
