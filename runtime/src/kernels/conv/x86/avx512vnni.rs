//! AVX-512 VNNI: `vpdpbusd` on 512 bits.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Dot, requantize_512};
use crate::isa::Avx512Vnni;
use crate::kernels::conv::{Grid, Layer};
use crate::kernels::{Clamp, Memory};
use std::arch::x86_64::*;
use std::ops::Range;

#[derive(Clone, Copy)]
struct Vnni(Avx512Vnni);

// SAFETY: `Avx512Vnni` proves AVX-512 VNNI, the only features used.
unsafe impl Dot for Vnni {
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
        unsafe { _mm512_dpbusd_epi32(sum, q, w) }
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

/// Rows for weights of any width.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn rows(
    proof: Avx512Vnni,
    layer: &Layer,
    memory: &Memory,
    grid: &Grid,
    first_row: usize,
    range: Range<usize>,
) {
    // SAFETY: AVX-512 VNNI are enabled here; the layer was planned for this memory.
    unsafe { super::rows::<Vnni, 8, 2>(Vnni(proof), layer, memory, grid, first_row, range) }
}
