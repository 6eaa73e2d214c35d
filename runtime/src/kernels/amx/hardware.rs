//! The instructions themselves.
//!
//! Register contents pass from one block of `asm!` to the next. That is sound here because compiled code never touches tile registers:
//! no function of the crate enables a target feature of AMX, and the blocks, none of which is `pure`, keep their order.
#![allow(unsafe_code, reason = "instructions without intrinsics in stable Rust")]

use super::{TileConfig, Tiles};
use crate::isa::Amx;
use std::arch::asm;

/// The tile unit of the machine; the token is the proof that its instructions may run.
#[derive(Clone, Copy)]
pub(crate) struct Hardware(pub(crate) Amx);

impl Tiles for Hardware {
    #[inline(always)]
    unsafe fn configure(&mut self, config: &TileConfig) {
        // SAFETY: the token proves the instruction; it reads the 64 bytes of `config`.
        unsafe {
            asm!("ldtilecfg [{config}]", config = in(reg) config, options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: the token proves the instruction; the rows are readable by the contract of the trait.
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{from} + {stride}]",
                tile = const TILE,
                from = in(reg) from,
                stride = in(reg) stride,
                options(readonly, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: the token proves the instruction; the shapes of the registers fit by the contract of the trait.
        unsafe {
            asm!(
                "tdpbusd tmm{c}, tmm{a}, tmm{b}",
                c = const C,
                a = const A,
                b = const B,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize) {
        // SAFETY: the token proves the instruction; the rows are writable by the contract of the trait.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}], tmm{tile}",
                tile = const TILE,
                to = in(reg) to,
                stride = in(reg) stride,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn release(&mut self) {
        // SAFETY: the token proves the instruction; it touches nothing but tile registers.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
