//! AVX-512 without VNNI: `vpmaddubsw` where two products fit i16 (up to 7 bits), else `vpmaddwd` on the even and the odd depths.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Dot, requantize_512};
use crate::isa::Avx512;
use crate::kernels::conv::{Grid, Layer};
use crate::kernels::{Clamp, Memory};
use std::arch::x86_64::*;
use std::ops::Range;

/// Weights of at most 7 bits: `255 * 64 * 2 = 32640` fits i16, so `vpmaddubsw` never saturates.
#[derive(Clone, Copy)]
struct Narrow(Avx512);

const _: () = assert!(255 * 64 * 2 <= i16::MAX as i32);

// SAFETY: `Avx512` proves AVX-512, the only feature used.
unsafe impl Dot for Narrow {
    const LANES: usize = 16;
    type Sum = __m512i;
    type Weights = __m512i;
    type Codes = __m512i;

    #[inline(always)]
    unsafe fn load(self, biases: *const i32) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_loadu_si512(biases.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(self, codes: *const u8) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_loadu_si512(codes.cast()) }
    }

    #[inline(always)]
    unsafe fn codes(self, codes: *const u8) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_set1_epi32(codes.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m512i, q: __m512i, w: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(q, w), _mm512_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn scale(self, sum: __m512i, multipliers: *const f32, values: *mut f32) {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_storeu_ps(values, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(multipliers))) }
    }

    #[inline(always)]
    unsafe fn requantize(self, sum: __m512i, multipliers: *const f32, clamp: Clamp, y: *mut u8, count: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { requantize_512(sum, multipliers, clamp, y, count) }
    }
}

/// Weights of 8 bits.
#[derive(Clone, Copy)]
struct Full(Avx512);

// SAFETY: `Avx512` proves AVX-512, the only feature used.
unsafe impl Dot for Full {
    const LANES: usize = 16;
    type Sum = __m512i;
    /// Depths 0 and 2, depths 1 and 3, as i16.
    type Weights = [__m512i; 2];
    /// The same of the activations.
    type Codes = [__m512i; 2];

    #[inline(always)]
    unsafe fn load(self, biases: *const i32) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { Narrow(self.0).load(biases) }
    }

    #[inline(always)]
    unsafe fn weights(self, codes: *const u8) -> [__m512i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            let w = _mm512_loadu_si512(codes.cast());
            [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)), _mm512_srai_epi16::<8>(w)]
        }
    }

    #[inline(always)]
    unsafe fn codes(self, codes: *const u8) -> [__m512i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            let q = _mm512_set1_epi32(codes.cast::<i32>().read_unaligned());
            [_mm512_and_si512(q, _mm512_set1_epi16(255)), _mm512_srli_epi16::<8>(q)]
        }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m512i, q: [__m512i; 2], w: [__m512i; 2]) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe {
            let even = _mm512_add_epi32(sum, _mm512_madd_epi16(q[0], w[0]));
            _mm512_add_epi32(even, _mm512_madd_epi16(q[1], w[1]))
        }
    }

    #[inline(always)]
    unsafe fn scale(self, sum: __m512i, multipliers: *const f32, values: *mut f32) {
        // SAFETY: by the contract of the trait.
        unsafe { Narrow(self.0).scale(sum, multipliers, values) }
    }

    #[inline(always)]
    unsafe fn requantize(self, sum: __m512i, multipliers: *const f32, clamp: Clamp, y: *mut u8, count: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { requantize_512(sum, multipliers, clamp, y, count) }
    }
}

/// Rows for weights of at most 7 bits.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn rows(proof: Avx512, layer: &Layer, memory: &Memory, grid: &Grid, first_row: usize, range: Range<usize>) {
    // SAFETY: AVX-512 is enabled here; the layer was planned for this memory.
    unsafe { super::rows::<Narrow, 8, 2>(Narrow(proof), layer, memory, grid, first_row, range) }
}

/// Rows for weights of any width.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn rows8(proof: Avx512, layer: &Layer, memory: &Memory, grid: &Grid, first_row: usize, range: Range<usize>) {
    // SAFETY: AVX-512 is enabled here; the layer was planned for this memory.
    unsafe { super::rows::<Full, 8, 2>(Full(proof), layer, memory, grid, first_row, range) }
}
