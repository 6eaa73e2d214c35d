//! The arithmetic of a session: one folder a kernel family, one file an instruction set.
//!
//! Every file for an instruction set equals its `scalar.rs` byte for byte. Kernels see the session's memory as raw pointers
//! ([`Memory`]); the planner in `session/` proves where they may read and write.

pub(crate) mod conv;
pub(crate) mod elementwise;
mod memory;
pub(crate) mod pool;

pub(crate) use memory::{AlignedBytes, Memory, View};

use std::ops::Range;

/// An operator bound to its kernel, its places in memory and its constants.
pub(crate) trait Kernel: Send + Sync {
    /// How many parts the work can be cut into; parts may run at the same time.
    fn parts(&self) -> usize;

    /// Computes some parts. Allocates nothing.
    fn run(&self, memory: &Memory, parts: Range<usize>);
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
    #[inline(always)]
    pub(crate) fn requantize(self, v: f32) -> u8 {
        let (z, lo, hi) = (f32::from(self.z), f32::from(self.lo), f32::from(self.hi));
        let low = lo - z;
        let raised = if v > low { v } else { low };
        let bounded = if raised < hi - z { raised } else { hi - z };
        (bounded.round_ties_even() + z) as u8
    }
}
