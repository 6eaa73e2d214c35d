//! AVX2: `vpmaddubsw` where two products fit i16 (up to 7 bits), else `vpmaddwd` on the even and the odd depths.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Dot, requantize_256};
use crate::isa::Avx2;
use crate::kernels::conv::{Grid, Layer};
use crate::kernels::{Clamp, Memory};
use std::arch::x86_64::*;
use std::ops::Range;

/// Weights of at most 7 bits: `255 * 64 * 2 = 32640` fits i16, so `vpmaddubsw` never saturates.
#[derive(Clone, Copy)]
struct Narrow(Avx2);

const _: () = assert!(255 * 64 * 2 <= i16::MAX as i32);

// SAFETY: `Avx2` proves AVX2, the only feature used.
unsafe impl Dot for Narrow {
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
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q, w), _mm256_set1_epi16(1))) }
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

/// Weights of 8 bits.
#[derive(Clone, Copy)]
struct Full(Avx2);

// SAFETY: `Avx2` proves AVX2, the only feature used.
unsafe impl Dot for Full {
    const LANES: usize = 8;
    type Sum = __m256i;
    /// Depths 0 and 2, depths 1 and 3, as i16.
    type Weights = [__m256i; 2];
    /// The same of the activations.
    type Codes = [__m256i; 2];

    #[inline(always)]
    unsafe fn load(self, biases: *const i32) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { Narrow(self.0).load(biases) }
    }

    #[inline(always)]
    unsafe fn weights(self, codes: *const u8) -> [__m256i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            let w = _mm256_loadu_si256(codes.cast());
            [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)), _mm256_srai_epi16::<8>(w)]
        }
    }

    #[inline(always)]
    unsafe fn codes(self, codes: *const u8) -> [__m256i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            let q = _mm256_set1_epi32(codes.cast::<i32>().read_unaligned());
            [_mm256_and_si256(q, _mm256_set1_epi16(255)), _mm256_srli_epi16::<8>(q)]
        }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, q: [__m256i; 2], w: [__m256i; 2]) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe {
            let even = _mm256_add_epi32(sum, _mm256_madd_epi16(q[0], w[0]));
            _mm256_add_epi32(even, _mm256_madd_epi16(q[1], w[1]))
        }
    }

    #[inline(always)]
    unsafe fn scale(self, sum: __m256i, multipliers: *const f32, values: *mut f32) {
        // SAFETY: by the contract of the trait.
        unsafe { Narrow(self.0).scale(sum, multipliers, values) }
    }

    #[inline(always)]
    unsafe fn requantize(self, sum: __m256i, multipliers: *const f32, clamp: Clamp, y: *mut u8, count: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { requantize_256(sum, multipliers, clamp, y, count) }
    }
}

/// Rows for weights of at most 7 bits.
#[target_feature(enable = "avx2")]
pub(crate) fn rows(proof: Avx2, layer: &Layer, memory: &Memory, grid: &Grid, first_row: usize, range: Range<usize>) {
    // SAFETY: AVX2 is enabled here; the layer was planned for this memory.
    unsafe { super::rows::<Narrow, 4, 2>(Narrow(proof), layer, memory, grid, first_row, range) }
}

/// Rows for weights of any width.
#[target_feature(enable = "avx2")]
pub(crate) fn rows8(proof: Avx2, layer: &Layer, memory: &Memory, grid: &Grid, first_row: usize, range: Range<usize>) {
    // SAFETY: AVX2 is enabled here; the layer was planned for this memory.
    unsafe { super::rows::<Full, 4, 2>(Full(proof), layer, memory, grid, first_row, range) }
}
