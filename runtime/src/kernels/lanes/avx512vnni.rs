//! 512 bits with VNNI: `vpdpbusd`; with GFNI, codes are unpacked in a third of the instructions.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::avx512::{mask64, requantize, requantize_interleaved, scale, unpack, vectors};
use super::{Lanes, Places, gfni};
use crate::isa::{Avx512Vnni, Gfni};
use crate::kernels::Clamp;
use std::arch::x86_64::*;

/// What both share.
macro_rules! dot_products {
    () => {
        const LANES: usize = 16;
        const BLOCKS: [usize; 3] = [16, 8, 6];
        const PACKED_BLOCKS: [usize; 3] = [4, 8, 4];
        const SLIDES: bool = true;
        type Sum = __m512i;
        type Bytes = __m512i;
        type Weights = __m512i;
        type Codes = __m512i;
        type Partial = __m512i;

        #[inline(always)]
        unsafe fn weights(self, codes: __m512i) -> __m512i {
            codes
        }

        #[inline(always)]
        unsafe fn codes(self, codes: __m512i) -> __m512i {
            codes
        }

        #[inline(always)]
        unsafe fn broadcast<const K: u8>(self, codes: *const u8) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { self.codes(_mm512_set1_epi32(codes.cast::<i32>().read_unaligned())) }
        }

        #[inline(always)]
        unsafe fn start(self) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn accumulate(self, partial: __m512i, q: __m512i, w: __m512i) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { self.dot(partial, q, w) }
        }

        #[inline(always)]
        unsafe fn fold(self, sum: __m512i, partial: __m512i) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_add_epi32(sum, partial) }
        }

        #[inline(always)]
        unsafe fn dot(self, sum: __m512i, q: __m512i, w: __m512i) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_dpbusd_epi32(sum, q, w) }
        }
    };
}

/// Weights of any width.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(pub(crate) Avx512Vnni);

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Vnni {
    dot_products!();
    vectors!(unpack::<K>);
}

/// Packed weights where the machine has GFNI.
#[derive(Clone, Copy)]
pub(crate) struct VnniGfni(pub(crate) Avx512Vnni, pub(crate) Gfni);

// SAFETY: the proofs cover every feature used.
unsafe impl Lanes for VnniGfni {
    dot_products!();
    vectors!(gfni::unpack::<K>);
}
