//! The arithmetic of a session: one folder a kernel family, one file an instruction set.
//!
//! Every file for an instruction set equals its `scalar.rs` byte for byte. Kernels see the session's memory as raw pointers
//! ([`Memory`]); how far they reach is computed and asserted once, where they are tied to the layout of the memory ([`Bound`]).
#![allow(unsafe_code, reason = "states what kernels ask of their callers")]

mod ahead;
pub(crate) mod amx;
pub(crate) mod arithmetic;
mod bound;
mod compiled;
pub(crate) mod conv;
pub(crate) mod convert;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod floats;
#[cfg(target_arch = "x86_64")]
mod lanes;
pub(crate) mod limits;
mod memory;
pub(crate) mod movement;
pub(crate) mod pool;

pub(crate) use ahead::Ahead;
pub(crate) use bound::{Bound, run_alone};
pub(crate) use memory::{AlignedBytes, Borrowed, Input, Memory, Values, View};

use std::ops::Range;

/// An operator bound to its kernel, its places in memory and its constants.
pub(crate) trait Kernel: Send + Sync {
    /// How many parts the work can be cut into; parts may run at the same time.
    fn parts(&self) -> usize;

    /// Bytes of weights that all parts read.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Weights that are worth asking for before it runs: those that a step before it does not happen to ask for.
    fn ahead(&self) -> Ahead {
        Ahead::default()
    }

    /// Bytes of the code arena that it reads or writes through raw pointers, from the first byte of the arena on. What it touches through
    /// the slices and checked pointers of [`Memory`] need not count.
    fn reach(&self) -> usize {
        0
    }

    /// Computes some parts. Allocates nothing.
    ///
    /// # Safety
    /// The code arena of `memory` has at least [`Kernel::reach`] bytes, `parts` lies in `0..self.parts()`, and meanwhile nothing runs on
    /// `memory` but this kernel, no part of it twice.
    unsafe fn run(&self, memory: &Memory, parts: Range<usize>);
}

/// The clamp and zero point of a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clamp {
    /// Zero point.
    pub(crate) z: u8,
    /// Lowest code.
    pub(crate) lo: u8,
    /// Highest code.
    pub(crate) hi: u8,
}

impl Clamp {
    /// `rne(min(max(v, lo - z), hi - z)) + z`; the clamp of a NaN is `lo`.
    ///
    /// Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits: exact below 2^22, and the clamp bounds
    /// the sum by 255.
    #[inline(always)]
    pub(crate) fn requantize(self, v: f32) -> u8 {
        const SHIFTER: f32 = 12_582_912.0;
        let (z, lo, hi) = (i32::from(self.z), i32::from(self.lo), i32::from(self.hi));
        let (low, high) = ((lo - z) as f32, (hi - z) as f32);
        let raised = if v > low { v } else { low };
        let bounded = if raised < high { raised } else { high };
        ((bounded + SHIFTER).to_bits() as i32 + z) as u8
    }
}
