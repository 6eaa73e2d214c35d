//! Vectors on any machine: for emulated tiles.
#![allow(unsafe_code, reason = "the contract of the trait is raw pointers")]

use super::{Vectors, packed_tile_bytes};
use crate::BitWidth;
use crate::kernels::Clamp;
use crate::pack::{self, TILE_CODES, TILE_OUTPUTS};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// Loops.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Vectors for Portable {
    unsafe fn requantize<const N: usize>(
        self,
        sums: *const i32,
        multipliers: *const f32,
        clamp: Clamp,
        y: *mut u8,
        count: usize,
    ) {
        // SAFETY: by the contract of the trait, `count` is at most `16 * N`.
        let (sums, multipliers, y) =
            unsafe { (from_raw_parts(sums, count), from_raw_parts(multipliers, count), from_raw_parts_mut(y, count)) };
        for ((y, &sum), &m) in y.iter_mut().zip(sums).zip(multipliers) {
            *y = clamp.requantize(sum as f32 * m);
        }
    }

    unsafe fn unpack(self, stored: u8, from: *const u8, tiles: usize, to: *mut u8) {
        let tile_bytes = packed_tile_bytes(stored);
        // SAFETY: by the contract of the trait, both hold `tiles` tiles.
        let (from, to) =
            unsafe { (from_raw_parts(from, tiles * tile_bytes), from_raw_parts_mut(to, tiles * TILE_CODES)) };
        let Some(bits) = BitWidth::new(stored) else { unreachable!("codes of {stored} bits") };
        for (packed, codes) in from.chunks_exact(tile_bytes).zip(to.chunks_exact_mut(TILE_CODES)) {
            for (to, code) in codes.iter_mut().zip(pack::unpack_tile(packed, bits)) {
                *to = code.cast_unsigned();
            }
        }
    }

    unsafe fn scale(self, sums: *const i32, multipliers: *const f32) -> [f32; TILE_OUTPUTS] {
        // SAFETY: by the contract of the trait.
        let (sums, multipliers) =
            unsafe { (from_raw_parts(sums, TILE_OUTPUTS), from_raw_parts(multipliers, TILE_OUTPUTS)) };
        std::array::from_fn(|i| sums[i] as f32 * multipliers[i])
    }
}
