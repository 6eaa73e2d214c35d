//! 256 bits with AVX-VNNI: `vpdpbusd`.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::avx2::{requantize, requantize_interleaved, scale, unpack, vectors};
use super::{Lanes, Places};
use crate::isa::Avx2Vnni;
use crate::kernels::Clamp;
use std::arch::x86_64::*;

/// Weights of any width.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(pub(crate) Avx2Vnni);

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Vnni {
    const LANES: usize = 8;
    const BLOCKS: [usize; 3] = [0, 4, 0];
    const PACKED_BLOCKS: [usize; 3] = [0, 4, 0];
    type Sum = __m256i;
    type Bytes = __m256i;
    type Weights = __m256i;
    type Codes = __m256i;
    type Partial = __m256i;

    #[inline(always)]
    unsafe fn weights(self, codes: __m256i) -> __m256i {
        codes
    }

    #[inline(always)]
    unsafe fn codes(self, codes: __m256i) -> __m256i {
        codes
    }

    #[inline(always)]
    unsafe fn broadcast<const K: u8>(self, codes: *const u8) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { self.codes(_mm256_set1_epi32(codes.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn start(self) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn accumulate(self, partial: __m256i, q: __m256i, w: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { self.dot(partial, q, w) }
    }

    #[inline(always)]
    unsafe fn fold(self, sum: __m256i, partial: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_add_epi32(sum, partial) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, q: __m256i, w: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_dpbusd_avx_epi32(sum, q, w) }
    }

    vectors!();
}
