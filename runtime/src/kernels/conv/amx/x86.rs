//! Tiles with the vectors of AVX-512 VNNI, which every machine with AMX has.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Codes, Rows, Vectors, blocks, packed_tile_bytes};
use crate::isa::{Available, Avx512Vnni, Isa, TileUnit};
#[cfg(feature = "encode")]
use crate::kernels::amx::emulated::Emulated;
#[cfg(target_os = "linux")]
use crate::kernels::amx::hardware::Hardware;
use crate::kernels::conv::{Layer, Span};
use crate::kernels::lanes::avx512vnni::Vnni;
use crate::kernels::lanes::{Lanes, Places};
use crate::kernels::{Clamp, Memory};
use crate::pack::{TILE_CODES, TILE_OUTPUTS};

impl Vectors for Vnni {
    #[inline(always)]
    unsafe fn requantize<const N: usize>(
        self,
        sums: *const i32,
        multipliers: *const f32,
        clamp: Clamp,
        y: *mut u8,
        count: usize,
    ) {
        // SAFETY: by the contract of the trait.
        unsafe {
            Lanes::requantize::<N>(self, sums.cast(), 1, multipliers, clamp, &mut Places::one(y, count));
        }
    }

    #[inline(always)]
    unsafe fn unpack(self, stored: u8, from: *const u8, tiles: usize, to: *mut u8) {
        // SAFETY: by the contract of the trait.
        unsafe {
            match stored {
                2 => unpack::<2>(self, from, tiles, to),
                3 => unpack::<3>(self, from, tiles, to),
                4 => unpack::<4>(self, from, tiles, to),
                5 => unpack::<5>(self, from, tiles, to),
                6 => unpack::<6>(self, from, tiles, to),
                7 => unpack::<7>(self, from, tiles, to),
                _ => unreachable!("codes of {stored} bits"),
            }
        }
    }

    #[inline(always)]
    unsafe fn scale(self, sums: *const i32, multipliers: *const f32) -> [f32; TILE_OUTPUTS] {
        let mut values = [0.0; TILE_OUTPUTS];
        // SAFETY: by the contract of the trait.
        unsafe { Lanes::scale(self, sums.cast(), multipliers, values.as_mut_ptr()) };
        values
    }
}

/// The kernel, where the instruction set has the vectors.
pub(super) fn rows_for(available: Available, unit: TileUnit) -> Option<Rows> {
    if available.isa() < Isa::Avx512Vnni {
        return None;
    }
    let vectors = Vnni(Avx512Vnni::probe()?);
    Some(match unit {
        #[cfg(target_os = "linux")]
        TileUnit::Hardware(amx) => Box::new(move |layer, memory, span, codes| {
            // SAFETY: `vectors` holds the proof of the features; the rest is the contract of `Kernel::run`.
            unsafe { on_hardware(Hardware(amx), vectors, layer, memory, span, codes) };
        }),
        #[cfg(feature = "encode")]
        TileUnit::Emulated(_) => Box::new(move |layer, memory, span, codes| {
            // SAFETY: `vectors` holds the proof of the features; the rest is the contract of `Kernel::run`.
            unsafe { on_emulation(vectors, layer, memory, span, codes) };
        }),
    })
}

#[cfg(target_os = "linux")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn on_hardware(
    mut tiles: Hardware,
    vectors: Vnni,
    layer: &Layer,
    memory: &Memory,
    span: &Span,
    codes: Codes,
) {
    // SAFETY: the features are enabled here; the rest is the contract of `Kernel::run`, which the caller has.
    unsafe { blocks(&mut tiles, vectors, layer, memory, span, codes) };
}

#[cfg(feature = "encode")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn on_emulation(vectors: Vnni, layer: &Layer, memory: &Memory, span: &Span, codes: Codes) {
    // SAFETY: the features are enabled here; the rest is the contract of `Kernel::run`, which the caller has.
    unsafe { blocks(&mut Emulated::new(), vectors, layer, memory, span, codes) };
}

/// Unpacks `tiles` tiles of `K` bits.
#[inline(always)]
unsafe fn unpack<const K: u8>(lanes: Vnni, from: *const u8, tiles: usize, to: *mut u8) {
    for tile in 0..tiles {
        // SAFETY: by the contract of [`Vectors::unpack`].
        unsafe {
            let codes = Lanes::unpack::<K>(lanes, from.add(tile * packed_tile_bytes(K)), 0);
            lanes.store(codes, to.add(tile * TILE_CODES), TILE_CODES);
        }
    }
}
