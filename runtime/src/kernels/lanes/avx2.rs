//! 256 bits without dot products: `vpmaddubsw` where two products fit i16 (up to 7 bits), else `vpmaddwd`.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Lanes, Places};
use crate::isa::Avx2;
use crate::kernels::Clamp;
use std::arch::x86_64::*;

/// What all kinds of 256-bit vectors share.
macro_rules! vectors {
    () => {
        #[inline(always)]
        unsafe fn sum(self, words: *const i32) -> __m256i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm256_loadu_si256(words.cast()) }
        }

        #[inline(always)]
        unsafe fn unpack<const K: u8>(self, tile: *const u8, part: usize) -> __m256i {
            // SAFETY: by the contract of the trait.
            unsafe { unpack::<K>(tile, part) }
        }

        #[inline(always)]
        unsafe fn bytes(self, bytes: *const u8) -> __m256i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm256_loadu_si256(bytes.cast()) }
        }

        #[inline(always)]
        unsafe fn zero_bytes(self) -> __m256i {
            // SAFETY: by the contract of the trait.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn store(self, bytes: __m256i, y: *mut u8, count: usize) {
            // SAFETY: by the contract of the trait.
            unsafe {
                if count == 32 {
                    _mm256_storeu_si256(y.cast(), bytes);
                    return;
                }
                let mut whole = [0u8; 32];
                _mm256_storeu_si256(whole.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(whole.as_ptr(), y, count);
            }
        }

        #[inline(always)]
        unsafe fn interleave_bytes(self, a: __m256i, b: __m256i) -> [__m256i; 2] {
            // SAFETY: by the contract of the trait.
            unsafe { [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)] }
        }

        #[inline(always)]
        unsafe fn interleave_pairs(self, a: __m256i, b: __m256i) -> [__m256i; 2] {
            // SAFETY: by the contract of the trait.
            unsafe { [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)] }
        }

        #[inline(always)]
        unsafe fn scale(self, sum: *const __m256i, multipliers: *const f32, values: *mut f32) {
            // SAFETY: by the contract of the trait; the value is the proof of the features.
            unsafe { scale(sum, multipliers, values) }
        }

        #[inline(always)]
        unsafe fn requantize_interleaved(self, sums: [__m256i; 4], multipliers: *const f32, clamp: Clamp) -> __m256i {
            // SAFETY: by the contract of the trait.
            unsafe { requantize_interleaved(sums, multipliers, clamp) }
        }

        #[inline(always)]
        unsafe fn requantize<const VECTORS: usize>(
            self,
            sums: *const __m256i,
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
pub(crate) struct Narrow(pub(crate) Avx2);

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Narrow {
    const LANES: usize = 8;
    const BLOCKS: [usize; 3] = [0, 4, 0];
    const PACKED_BLOCKS: [usize; 3] = [0, 1, 0];
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
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q, w), _mm256_set1_epi16(1))) }
    }

    vectors!();
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
    const LANES: usize = 8;
    const BLOCKS: [usize; 3] = [0, 4, 0];
    const PACKED_BLOCKS: [usize; 3] = [0, 1, 0];
    const DEEP: bool = true;
    type Sum = __m256i;
    type Bytes = __m256i;
    type Weights = __m256i;
    type Codes = __m256i;
    type Partial = __m256i;

    #[inline(always)]
    fn steps(self) -> usize {
        self.steps
    }

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
        unsafe { _mm256_add_epi16(partial, _mm256_maddubs_epi16(q, w)) }
    }

    #[inline(always)]
    unsafe fn fold(self, sum: __m256i, partial: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(partial, _mm256_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, q: __m256i, w: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { self.narrow.dot(sum, q, w) }
    }

    vectors!();
}

/// Any weights: `vpmaddwd` on the even and on the odd depths.
#[derive(Clone, Copy)]
pub(crate) struct Full(pub(crate) Avx2);

// SAFETY: the proof covers every feature used.
unsafe impl Lanes for Full {
    const LANES: usize = 8;
    const BLOCKS: [usize; 3] = [0, 4, 0];
    const PACKED_BLOCKS: [usize; 3] = [0, 0, 0];
    type Sum = __m256i;
    type Bytes = __m256i;
    /// Depths 0 and 2, depths 1 and 3, as i16.
    type Weights = [__m256i; 2];
    /// The same of the activations.
    type Codes = [__m256i; 2];
    type Partial = __m256i;

    #[inline(always)]
    unsafe fn weights(self, codes: __m256i) -> [__m256i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(codes)), _mm256_srai_epi16::<8>(codes)] }
    }

    #[inline(always)]
    unsafe fn codes(self, codes: __m256i) -> [__m256i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [_mm256_and_si256(codes, _mm256_set1_epi16(255)), _mm256_srli_epi16::<8>(codes)] }
    }

    #[inline(always)]
    unsafe fn broadcast<const K: u8>(self, codes: *const u8) -> [__m256i; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            let pair = |at: usize| codes.add(at).cast::<i32>().read_unaligned();
            if K == 16 {
                return [_mm256_set1_epi32(pair(0)), _mm256_set1_epi32(pair(4))];
            }
            self.codes(_mm256_set1_epi32(pair(0)))
        }
    }

    #[inline(always)]
    unsafe fn tile_weights<const K: u8>(self, tile: *const u8, part: usize) -> Self::Weights {
        // SAFETY: by the contract of the trait; a tile of 16 bits has 128 bytes.
        unsafe {
            if K == 16 {
                return [self.bytes(tile.add(32 * part)), self.bytes(tile.add(64 + 32 * part))];
            }
            self.weights(self.unpack::<K>(tile, part))
        }
    }

    #[inline(always)]
    unsafe fn start(self) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn accumulate(self, partial: __m256i, q: [__m256i; 2], w: [__m256i; 2]) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { self.dot(partial, q, w) }
    }

    #[inline(always)]
    unsafe fn fold(self, sum: __m256i, partial: __m256i) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm256_add_epi32(sum, partial) }
    }

    #[inline(always)]
    unsafe fn dot(self, sum: __m256i, q: [__m256i; 2], w: [__m256i; 2]) -> __m256i {
        // SAFETY: by the contract of the trait.
        unsafe {
            let even = _mm256_add_epi32(sum, _mm256_madd_epi16(q[0], w[0]));
            _mm256_add_epi32(even, _mm256_madd_epi16(q[1], w[1]))
        }
    }

    vectors!();
}

/// [`Lanes::scale`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn scale(sum: *const __m256i, multipliers: *const f32, values: *mut f32) {
    // SAFETY: by the contract of the trait, 8 of each.
    unsafe {
        let sum = _mm256_cvtepi32_ps(_mm256_loadu_si256(sum));
        _mm256_storeu_ps(values, _mm256_mul_ps(sum, _mm256_loadu_ps(multipliers)));
    }
}

/// `rne(f32(sum) * m)` of 8 lanes, at most 65536.
///
/// Clamping later, in integers, gives the same codes: rounding is monotone, and the bounds are integers. Very negative values convert to
/// the smallest i32, which saturates as they would.
#[inline(always)]
unsafe fn rounded(sum: __m256i, multipliers: __m256) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers.
    unsafe {
        let v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), multipliers);
        _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(65536.0)))
    }
}

/// The codes of four vectors, four of each in turn.
#[inline(always)]
unsafe fn interleaved(sums: [__m256i; 4], multipliers: [__m256; 4], clamp: Clamp) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers.
    unsafe {
        // Not by a closure, which would lack the target features wherever it is not inlined.
        let q = [
            rounded(sums[0], multipliers[0]),
            rounded(sums[1], multipliers[1]),
            rounded(sums[2], multipliers[2]),
            rounded(sums[3], multipliers[3]),
        ];
        let z = _mm256_set1_epi16(clamp.z.into());
        let low = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), z);
        let high = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), z);
        let raised = _mm256_max_epu8(_mm256_packus_epi16(low, high), _mm256_set1_epi8(clamp.lo.cast_signed()));
        _mm256_min_epu8(raised, _mm256_set1_epi8(clamp.hi.cast_signed()))
    }
}

/// The multipliers of `VECTORS` vectors, again and again.
#[inline(always)]
unsafe fn multipliers_of<const VECTORS: usize>(multipliers: *const f32) -> [__m256; 4] {
    // SAFETY: AVX2 and 8 multipliers a vector by the contract of the callers.
    unsafe {
        [
            _mm256_loadu_ps(multipliers),
            _mm256_loadu_ps(multipliers.add(8 * (1 % VECTORS))),
            _mm256_loadu_ps(multipliers.add(8 * (2 % VECTORS))),
            _mm256_loadu_ps(multipliers.add(8 * (3 % VECTORS))),
        ]
    }
}

/// [`Lanes::requantize_interleaved`].
#[inline(always)]
pub(super) unsafe fn requantize_interleaved(sums: [__m256i; 4], multipliers: *const f32, clamp: Clamp) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers; 32 multipliers.
    unsafe { interleaved(sums, multipliers_of::<4>(multipliers), clamp) }
}

/// [`Lanes::requantize`]: four vectors at once, of 4, 2 or 1 windows.
#[inline(always)]
pub(crate) unsafe fn requantize<const VECTORS: usize>(
    mut sums: *const __m256i,
    mut windows: usize,
    multipliers: *const f32,
    clamp: Clamp,
    places: &mut Places,
) {
    let at_once = 4 / VECTORS;
    // SAFETY: by the contract of the trait: `VECTORS` sums a window, 8 multipliers a vector, `count` bytes at each place.
    unsafe {
        let m = multipliers_of::<VECTORS>(multipliers);
        // Half l holds outputs 4 l .. 4 l + 4 of each of the four vectors.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        while windows > 0 {
            let last = (windows * VECTORS).min(4) - 1;
            let four = [
                _mm256_loadu_si256(sums),
                _mm256_loadu_si256(sums.add(last.min(1))),
                _mm256_loadu_si256(sums.add(last.min(2))),
                _mm256_loadu_si256(sums.add(last)),
            ];
            let q = _mm256_permutevar8x32_epi32(interleaved(four, m, clamp), order);
            if places.count < 8 * VECTORS || windows < at_once {
                let mut codes = [0u8; 32];
                _mm256_storeu_si256(codes.as_mut_ptr().cast(), q);
                for window in codes.chunks_exact(8 * VECTORS).take(windows) {
                    std::ptr::copy_nonoverlapping(window.as_ptr(), places.step(), places.count);
                }
            } else {
                let (low, high) = (_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
                match VECTORS {
                    1 => {
                        _mm_storel_epi64(places.step().cast(), low);
                        _mm_storel_epi64(places.step().cast(), _mm_unpackhi_epi64(low, low));
                        _mm_storel_epi64(places.step().cast(), high);
                        _mm_storel_epi64(places.step().cast(), _mm_unpackhi_epi64(high, high));
                    }
                    2 => {
                        _mm_storeu_si128(places.step().cast(), low);
                        _mm_storeu_si128(places.step().cast(), high);
                    }
                    _ => _mm256_storeu_si256(places.step().cast(), q),
                }
            }
            sums = sums.wrapping_add(4);
            windows = windows.saturating_sub(at_once);
        }
    }
}

/// Half `part` of the 4-bit plane: fields at bits 0..4.
#[inline(always)]
unsafe fn nibbles(plane: *const u8, part: usize) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers; a plane has 32 bytes.
    unsafe {
        let packed = _mm256_loadu_si256(plane.cast());
        let packed = if part == 0 { packed } else { _mm256_srli_epi16::<4>(packed) };
        _mm256_and_si256(packed, _mm256_set1_epi8(15))
    }
}

/// Half `part` of the 2-bit plane: fields at bits 0..2.
#[inline(always)]
unsafe fn low_pairs(plane: *const u8, part: usize) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers; a plane has 16 bytes.
    unsafe {
        let packed = _mm256_broadcastsi128_si256(_mm_loadu_si128(plane.cast()));
        let shift = if part == 0 { _mm256_setr_epi64x(0, 0, 2, 2) } else { _mm256_setr_epi64x(4, 4, 6, 6) };
        _mm256_and_si256(_mm256_srlv_epi64(packed, shift), _mm256_set1_epi8(3))
    }
}

/// Half `part` of the 2-bit plane: fields at bits 4..6.
#[inline(always)]
unsafe fn high_pairs(plane: *const u8, part: usize) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers; a plane has 16 bytes.
    unsafe {
        let packed = _mm256_broadcastsi128_si256(_mm_loadu_si128(plane.cast()));
        let moved = if part == 0 {
            _mm256_sllv_epi64(packed, _mm256_setr_epi64x(4, 4, 2, 2))
        } else {
            _mm256_srlv_epi64(packed, _mm256_setr_epi64x(0, 0, 2, 2))
        };
        _mm256_and_si256(moved, _mm256_set1_epi8(0x30))
    }
}

/// Subtracts `offset` where half `part` of the 1-bit plane, the top bit of the fields, is 0: where it is 1 the two cancel.
#[inline(always)]
unsafe fn top(fields: __m256i, plane: *const u8, part: usize, offset: i8) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers; a plane has 8 bytes.
    unsafe {
        let bits = _mm256_set1_epi32(plane.add(4 * part).cast::<i32>().read_unaligned());
        let byte = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
        let ones = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, byte), bit), bit);
        _mm256_sub_epi8(fields, _mm256_andnot_si256(ones, _mm256_set1_epi8(offset)))
    }
}

/// [`Lanes::unpack`].
#[inline(always)]
pub(super) unsafe fn unpack<const K: u8>(tile: *const u8, part: usize) -> __m256i {
    // SAFETY: AVX2 by the contract of the callers; a tile has `8 * K` bytes, `part` is 0 or 1.
    unsafe {
        match K {
            2 => _mm256_sub_epi8(low_pairs(tile, part), _mm256_set1_epi8(2)),
            3 => top(low_pairs(tile, part), tile.add(16), part, 4),
            4 => _mm256_sub_epi8(nibbles(tile, part), _mm256_set1_epi8(8)),
            5 => top(nibbles(tile, part), tile.add(32), part, 16),
            6 => {
                let fields = _mm256_or_si256(nibbles(tile, part), high_pairs(tile.add(32), part));
                _mm256_sub_epi8(fields, _mm256_set1_epi8(32))
            }
            7 => {
                let fields = _mm256_or_si256(nibbles(tile, part), high_pairs(tile.add(32), part));
                top(fields, tile.add(48), part, 64)
            }
            _ => _mm256_loadu_si256(tile.add(32 * part).cast()),
        }
    }
}
