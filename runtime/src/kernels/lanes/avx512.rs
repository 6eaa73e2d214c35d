//! 512 bits without dot products: as on 256 bits.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Lanes, Places};
use crate::isa::Avx512;
use crate::kernels::Clamp;
use std::arch::x86_64::*;

/// What all kinds of 512-bit vectors share.
macro_rules! vectors {
    ($unpack:path) => {
        #[inline(always)]
        unsafe fn sum(self, words: *const i32) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_loadu_si512(words.cast()) }
        }

        #[inline(always)]
        unsafe fn unpack<const K: u8>(self, tile: *const u8, part: usize) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { $unpack(tile, part) }
        }

        #[inline(always)]
        unsafe fn bytes(self, bytes: *const u8) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_loadu_si512(bytes.cast()) }
        }

        #[inline(always)]
        unsafe fn zero_bytes(self) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn store(self, bytes: __m512i, y: *mut u8, count: usize) {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_mask_storeu_epi8(y.cast(), mask64(count), bytes) }
        }

        #[inline(always)]
        unsafe fn interleave_bytes(self, a: __m512i, b: __m512i) -> [__m512i; 2] {
            // SAFETY: by the contract of the trait.
            unsafe { [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)] }
        }

        #[inline(always)]
        unsafe fn interleave_pairs(self, a: __m512i, b: __m512i) -> [__m512i; 2] {
            // SAFETY: by the contract of the trait.
            unsafe { [_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)] }
        }

        #[inline(always)]
        unsafe fn scale(self, sum: *const __m512i, multipliers: *const f32, values: *mut f32) {
            // SAFETY: by the contract of the trait; the value is the proof of the features.
            unsafe { scale(sum, multipliers, values) }
        }

        #[inline(always)]
        unsafe fn requantize_interleaved(self, sums: [__m512i; 4], multipliers: *const f32, clamp: Clamp) -> __m512i {
            // SAFETY: by the contract of the trait.
            unsafe { requantize_interleaved(sums, multipliers, clamp) }
        }

        #[inline(always)]
        unsafe fn requantize<const VECTORS: usize>(
            self,
            sums: *const __m512i,
            windows: usize,
            multipliers: *const f32,
            clamp: Clamp,
            places: &mut Places,
        ) {
            // SAFETY: by the contract of the trait; the value is the proof of the features.
            unsafe { requantize::<VECTORS>(sums, windows, multipliers, clamp, places) }
        }
    };
}

pub(super) use vectors;

/// Weights of which one step of `vpmaddubsw` fits i16, as all of at most 7 bits: `255 * 64 * 2 = 32640`.
#[derive(Clone, Copy)]
pub(crate) struct Narrow(pub(crate) Avx512);

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Narrow {
    const LANES: usize = 16;
    const BLOCKS: [usize; 3] = [8, 6, 0];
    const PACKED_BLOCKS: [usize; 3] = [1, 1, 0];
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
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(q, w), _mm512_set1_epi16(1))) }
    }

    vectors!(unpack::<K>);
}

/// Weights of which several steps of `vpmaddubsw` add up in i16.
#[derive(Clone, Copy)]
pub(crate) struct Deep {
    /// One step.
    pub(crate) narrow: Narrow,
    /// Steps.
    pub(crate) steps: usize,
}

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Deep {
    const LANES: usize = 16;
    const BLOCKS: [usize; 3] = [8, 6, 0];
    const PACKED_BLOCKS: [usize; 3] = [1, 1, 0];
    const DEEP: bool = true;
    type Sum = __m512i;
    type Bytes = __m512i;
    type Weights = __m512i;
    type Codes = __m512i;
    type Partial = __m512i;

    #[inline(always)]
    fn steps(self) -> usize {
        self.steps
    }

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
        unsafe { _mm512_add_epi16(partial, _mm512_maddubs_epi16(q, w)) }
    }

    #[inline(always)]
    unsafe fn fold(self, sum: __m512i, partial: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(partial, _mm512_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m512i, q: __m512i, w: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { self.narrow.dot(sum, q, w) }
    }

    vectors!(unpack::<K>);
}

/// Any weights: `vpmaddwd` on the even and on the odd depths.
#[derive(Clone, Copy)]
pub(crate) struct Full(pub(crate) Avx512);

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Full {
    const LANES: usize = 16;
    const BLOCKS: [usize; 3] = [8, 6, 0];
    const PACKED_BLOCKS: [usize; 3] = [0, 0, 0];
    type Sum = __m512i;
    type Bytes = __m512i;
    /// Depths 0 and 2, depths 1 and 3, as i16.
    type Weights = [__m512i; 2];
    /// The same of the activations.
    type Codes = [__m512i; 2];
    type Partial = __m512i;

    #[inline(always)]
    unsafe fn weights(self, codes: __m512i) -> [__m512i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(codes)), _mm512_srai_epi16::<8>(codes)] }
    }

    #[inline(always)]
    unsafe fn codes(self, codes: __m512i) -> [__m512i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [_mm512_and_si512(codes, _mm512_set1_epi16(255)), _mm512_srli_epi16::<8>(codes)] }
    }

    #[inline(always)]
    unsafe fn broadcast<const K: u8>(self, codes: *const u8) -> [__m512i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            let pair = |at: usize| codes.add(at).cast::<i32>().read_unaligned();
            if K == 16 {
                return [_mm512_set1_epi32(pair(0)), _mm512_set1_epi32(pair(4))];
            }
            self.codes(_mm512_set1_epi32(pair(0)))
        }
    }

    #[inline(always)]
    unsafe fn tile_weights<const K: u8>(self, tile: *const u8, part: usize) -> Self::Weights {
        // SAFETY: by the contract of the trait; a tile of 16 bits has 128 bytes.
        unsafe {
            if K == 16 {
                return [self.bytes(tile.add(64 * part)), self.bytes(tile.add(64 + 64 * part))];
            }
            self.weights(self.unpack::<K>(tile, part))
        }
    }

    #[inline(always)]
    unsafe fn start(self) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn accumulate(self, partial: __m512i, q: [__m512i; 2], w: [__m512i; 2]) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { self.dot(partial, q, w) }
    }

    #[inline(always)]
    unsafe fn fold(self, sum: __m512i, partial: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_add_epi32(sum, partial) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m512i, q: [__m512i; 2], w: [__m512i; 2]) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe {
            let even = _mm512_add_epi32(sum, _mm512_madd_epi16(q[0], w[0]));
            _mm512_add_epi32(even, _mm512_madd_epi16(q[1], w[1]))
        }
    }

    vectors!(unpack::<K>);
}

/// A mask of the first `count` bytes.
#[inline(always)]
pub(super) fn mask64(count: usize) -> u64 {
    u64::MAX.checked_shr(64u32.saturating_sub(count as u32)).unwrap_or(0)
}

/// [`Lanes::scale`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn scale(sum: *const __m512i, multipliers: *const f32, values: *mut f32) {
    // SAFETY: by the contract of the trait, 16 of each.
    unsafe {
        let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sum));
        _mm512_storeu_ps(values, _mm512_mul_ps(sum, _mm512_loadu_ps(multipliers)));
    }
}

/// `rne(f32(sum) * m)` of 16 lanes, at most 65536.
///
/// Clamping later, in integers, gives the same codes: rounding is monotone, and the bounds are integers. Very negative values convert to
/// the smallest i32, which saturates as they would.
#[inline(always)]
unsafe fn rounded(sum: __m512i, multipliers: __m512) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers.
    unsafe {
        let v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multipliers);
        _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(65536.0)))
    }
}

/// The codes of four vectors, four of each in turn.
#[inline(always)]
unsafe fn interleaved(sums: [__m512i; 4], multipliers: [__m512; 4], clamp: Clamp) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers.
    unsafe {
        // Not by a closure, which would lack the target features wherever it is not inlined.
        let q = [
            rounded(sums[0], multipliers[0]),
            rounded(sums[1], multipliers[1]),
            rounded(sums[2], multipliers[2]),
            rounded(sums[3], multipliers[3]),
        ];
        let z = _mm512_set1_epi16(clamp.z.into());
        let low = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), z);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), z);
        let raised = _mm512_max_epu8(_mm512_packus_epi16(low, high), _mm512_set1_epi8(clamp.lo.cast_signed()));
        _mm512_min_epu8(raised, _mm512_set1_epi8(clamp.hi.cast_signed()))
    }
}

/// The multipliers of `VECTORS` vectors, again and again.
#[inline(always)]
unsafe fn multipliers_of<const VECTORS: usize>(multipliers: *const f32) -> [__m512; 4] {
    // SAFETY: AVX-512 and 16 multipliers a vector by the contract of the callers.
    unsafe {
        [
            _mm512_loadu_ps(multipliers),
            _mm512_loadu_ps(multipliers.add(16 * (1 % VECTORS))),
            _mm512_loadu_ps(multipliers.add(16 * (2 % VECTORS))),
            _mm512_loadu_ps(multipliers.add(16 * (3 % VECTORS))),
        ]
    }
}

/// [`Lanes::requantize_interleaved`].
#[inline(always)]
pub(super) unsafe fn requantize_interleaved(sums: [__m512i; 4], multipliers: *const f32, clamp: Clamp) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; 64 multipliers.
    unsafe { interleaved(sums, multipliers_of::<4>(multipliers), clamp) }
}

/// [`Lanes::requantize`]: four vectors at once, of 4, 2 or 1 windows.
#[inline(always)]
pub(super) unsafe fn requantize<const VECTORS: usize>(
    mut sums: *const __m512i,
    mut windows: usize,
    multipliers: *const f32,
    clamp: Clamp,
    places: &mut Places,
) {
    let at_once = 4 / VECTORS;
    // SAFETY: by the contract of the trait: `VECTORS` sums a window, 16 multipliers a vector, `count` bytes at each place.
    unsafe {
        let m = multipliers_of::<VECTORS>(multipliers);
        // Lane l of 128 bits holds outputs 4 l .. 4 l + 4 of each of the four vectors.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let mask = mask64(places.count);
        while windows > 0 {
            let last = (windows * VECTORS).min(4) - 1;
            let four = [
                _mm512_loadu_si512(sums),
                _mm512_loadu_si512(sums.add(last.min(1))),
                _mm512_loadu_si512(sums.add(last.min(2))),
                _mm512_loadu_si512(sums.add(last)),
            ];
            let q = _mm512_permutexvar_epi32(order, interleaved(four, m, clamp));
            if VECTORS == 4 {
                _mm512_mask_storeu_epi8(places.step().cast(), mask, q);
            } else if windows < at_once {
                let parts: [__m128i; 4] = std::mem::transmute(q);
                for window in parts.chunks_exact(VECTORS).take(windows) {
                    let whole = _mm256_set_m128i(window[VECTORS - 1], window[0]);
                    _mm256_mask_storeu_epi8(places.step().cast(), mask as u32, whole);
                }
                return;
            } else if VECTORS == 2 {
                _mm256_mask_storeu_epi8(places.step().cast(), mask as u32, _mm512_castsi512_si256(q));
                _mm256_mask_storeu_epi8(places.step().cast(), mask as u32, _mm512_extracti64x4_epi64::<1>(q));
            } else {
                let mask = mask as u16;
                _mm_mask_storeu_epi8(places.step().cast(), mask, _mm512_castsi512_si128(q));
                _mm_mask_storeu_epi8(places.step().cast(), mask, _mm512_extracti32x4_epi32::<1>(q));
                _mm_mask_storeu_epi8(places.step().cast(), mask, _mm512_extracti32x4_epi32::<2>(q));
                _mm_mask_storeu_epi8(places.step().cast(), mask, _mm512_extracti32x4_epi32::<3>(q));
            }
            sums = sums.add(4);
            windows -= at_once;
        }
    }
}

/// The 4-bit plane: fields at bits 0..4, others above.
#[inline(always)]
unsafe fn nibbles(plane: *const u8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 32 bytes.
    unsafe {
        let packed = _mm512_broadcast_i64x4(_mm256_loadu_si256(plane.cast()));
        _mm512_srlv_epi64(packed, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4))
    }
}

/// The 2-bit plane: fields at bits 0..2, others above.
#[inline(always)]
unsafe fn low_pairs(plane: *const u8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 16 bytes.
    unsafe {
        let packed = _mm512_broadcast_i32x4(_mm_loadu_si128(plane.cast()));
        _mm512_srlv_epi64(packed, _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6))
    }
}

/// The 2-bit plane: fields at bits 4..6, others around.
#[inline(always)]
unsafe fn high_pairs(plane: *const u8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 16 bytes.
    unsafe {
        let packed = _mm512_broadcast_i32x4(_mm_loadu_si128(plane.cast()));
        _mm512_rolv_epi64(packed, _mm512_setr_epi64(4, 4, 2, 2, 0, 0, 62, 62))
    }
}

/// Bits 0..4 of `low` below those of `high`.
#[inline(always)]
unsafe fn select(low: __m512i, high: __m512i) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers.
    unsafe { _mm512_ternarylogic_epi64::<0b1110_0100>(low, high, _mm512_set1_epi8(15)) }
}

/// Adds `offset` where the 1-bit plane, the top bit of fields that were lowered by as much, is 1.
#[inline(always)]
unsafe fn top(lowered: __m512i, plane: *const u8, offset: i8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 8 bytes.
    unsafe {
        let ones = plane.cast::<u64>().read_unaligned();
        _mm512_mask_add_epi8(lowered, ones, lowered, _mm512_set1_epi8(offset))
    }
}

/// [`Lanes::unpack`]; a vector is a whole tile.
#[inline(always)]
pub(super) unsafe fn unpack<const K: u8>(tile: *const u8, _: usize) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a tile has `8 * K` bytes.
    unsafe {
        // A field of n bits less 2^n is the field below ones.
        match K {
            2 => _mm512_sub_epi8(_mm512_and_si512(low_pairs(tile), _mm512_set1_epi8(3)), _mm512_set1_epi8(2)),
            3 => top(_mm512_or_si512(low_pairs(tile), _mm512_set1_epi8(-4)), tile.add(16), 4),
            4 => _mm512_sub_epi8(_mm512_and_si512(nibbles(tile), _mm512_set1_epi8(15)), _mm512_set1_epi8(8)),
            5 => top(_mm512_or_si512(nibbles(tile), _mm512_set1_epi8(-16)), tile.add(32), 16),
            6 => {
                let fields = select(nibbles(tile), high_pairs(tile.add(32)));
                _mm512_sub_epi8(_mm512_and_si512(fields, _mm512_set1_epi8(63)), _mm512_set1_epi8(32))
            }
            7 => {
                let fields = select(nibbles(tile), high_pairs(tile.add(32)));
                top(_mm512_or_si512(fields, _mm512_set1_epi8(-64)), tile.add(48), 64)
            }
            _ => _mm512_loadu_si512(tile.cast()),
        }
    }
}
