//! Unpacking by GFNI: an affine map over the bits of each byte shifts, masks and sign-extends a plane in one instruction.
//!
//! A plane is broadcast, so that each 64-bit lane sees the bytes of its codes, and each lane has its own matrix: it takes the field of
//! the lane's codes to where it belongs, the top bit to all bits above too, inverted, as `u - 2^(k-1)` asks for. The planes of a
//! code then touch different bits.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use std::arch::x86_64::*;

/// The matrix that yields bit `rows[b]` of a byte as its bit `b`, or 0 where that is [`NONE`].
const fn matrix(rows: [u8; 8]) -> i64 {
    let (mut matrix, mut b) = (0u64, 0);
    while b < 8 {
        if rows[b] != NONE {
            matrix |= 1 << rows[b] << (8 * (7 - b));
        }
        b += 1;
    }
    matrix.cast_signed()
}

const NONE: u8 = 8;

/// The matrix that moves a field of `width` bits from bit `from` to bit `to`, and its top bit to all bits above where it is the
/// code's top bit.
const fn field(width: u8, from: u8, to: u8, top: bool) -> i64 {
    let mut rows = [NONE; 8];
    let mut b = to;
    while b < 8 {
        if b - to < width {
            rows[b as usize] = from + b - to;
        } else if top {
            rows[b as usize] = from + width - 1;
        }
        b += 1;
    }
    matrix(rows)
}

/// The 4-bit plane at bits 0..4.
const fn nibbles(top: bool) -> [i64; 8] {
    let (low, high) = (field(4, 0, 0, top), field(4, 4, 0, top));
    [low, low, low, low, high, high, high, high]
}

/// The 2-bit plane at bits `to..to + 2`.
const fn pairs(to: u8, top: bool) -> [i64; 8] {
    let [a, b, c, d] = [field(2, 0, to, top), field(2, 2, to, top), field(2, 4, to, top), field(2, 6, to, top)];
    [a, a, b, b, c, c, d, d]
}

#[inline(always)]
unsafe fn matrices(lanes: [i64; 8]) -> __m512i {
    let [a, b, c, d, e, f, g, h] = lanes;
    // SAFETY: AVX-512 by the contract of the callers.
    unsafe { _mm512_setr_epi64(a, b, c, d, e, f, g, h) }
}

#[inline(always)]
unsafe fn plane4(plane: *const u8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 32 bytes.
    unsafe { _mm512_broadcast_i64x4(_mm256_loadu_si256(plane.cast())) }
}

#[inline(always)]
unsafe fn plane2(plane: *const u8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 16 bytes.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(plane.cast())) }
}

/// Adds `offset` where the 1-bit plane, the top bit of the fields, is 1.
#[inline(always)]
unsafe fn top(lowered: __m512i, plane: *const u8, offset: i8) -> __m512i {
    // SAFETY: AVX-512 by the contract of the callers; a plane has 8 bytes.
    unsafe {
        let ones = plane.cast::<u64>().read_unaligned();
        _mm512_mask_add_epi8(lowered, ones, lowered, _mm512_set1_epi8(offset))
    }
}

/// [`super::Lanes::unpack`]; a vector is a whole tile.
#[inline(always)]
pub(super) unsafe fn unpack<const K: u8>(tile: *const u8, _: usize) -> __m512i {
    // SAFETY: AVX-512 and GFNI by the contract of the callers; a tile has `8 * K` bytes.
    unsafe {
        match K {
            2 => _mm512_gf2p8affine_epi64_epi8::<0b1111_1110>(plane2(tile), matrices(const { pairs(0, true) })),
            3 => {
                let lowered =
                    _mm512_gf2p8affine_epi64_epi8::<0b1111_1100>(plane2(tile), matrices(const { pairs(0, false) }));
                top(lowered, tile.add(16), 4)
            }
            4 => _mm512_gf2p8affine_epi64_epi8::<0b1111_1000>(plane4(tile), matrices(const { nibbles(true) })),
            5 => {
                let lowered =
                    _mm512_gf2p8affine_epi64_epi8::<0b1111_0000>(plane4(tile), matrices(const { nibbles(false) }));
                top(lowered, tile.add(32), 16)
            }
            6 => {
                let low = _mm512_gf2p8affine_epi64_epi8::<0>(plane4(tile), matrices(const { nibbles(false) }));
                let high = plane2(tile.add(32));
                let high = _mm512_gf2p8affine_epi64_epi8::<0b1110_0000>(high, matrices(const { pairs(4, true) }));
                _mm512_or_si512(low, high)
            }
            7 => {
                let low = _mm512_gf2p8affine_epi64_epi8::<0>(plane4(tile), matrices(const { nibbles(false) }));
                let high = plane2(tile.add(32));
                let high = _mm512_gf2p8affine_epi64_epi8::<0b1100_0000>(high, matrices(const { pairs(4, false) }));
                top(_mm512_or_si512(low, high), tile.add(48), 64)
            }
            _ => _mm512_loadu_si512(tile.cast()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BitWidth;
    use crate::pack::{TILE_CODES, tile_bytes, unpack_tile};

    fn check<const K: u8>() {
        #[target_feature(enable = "avx512f,avx512bw,gfni")]
        fn unpacked<const K: u8>(tile: &[u8]) -> [i8; TILE_CODES] {
            let mut codes = [0; TILE_CODES];
            // SAFETY: the features are enabled here; the tile is whole, as is the room for its codes.
            unsafe { _mm512_storeu_si512(codes.as_mut_ptr().cast(), unpack::<K>(tile.as_ptr(), 0)) };
            codes
        }
        let bits = BitWidth::new(K).unwrap();
        for seed in 0..200u32 {
            let byte = |i: u32| (i + seed * 61).wrapping_mul(0x9e37_79b9).to_be_bytes()[0];
            let tile: Vec<u8> = (0..tile_bytes(bits) as u32).map(byte).collect();
            // SAFETY: the test saw the features.
            assert_eq!(unsafe { unpacked::<K>(&tile) }, unpack_tile(&tile, bits), "{K} bits");
        }
    }

    #[test]
    fn unpacks_every_width_as_the_readable_form_does() {
        use std::arch::is_x86_feature_detected as has;
        if has!("gfni") && has!("avx512f") && has!("avx512bw") {
            check::<2>();
            check::<3>();
            check::<4>();
            check::<5>();
            check::<6>();
            check::<7>();
        }
    }
}
