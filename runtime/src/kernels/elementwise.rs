//! Operators on single codes: affine, table.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

mod lookup;
pub(super) mod loops;

use super::{Clamp, Kernel, Memory, View};
use std::ops::Range;

pub(crate) use lookup::lookup_row;
pub(crate) use loops::{Term, add_row, affine_row, rescale_row};

/// A multiplier and an addend a channel.
pub(crate) struct Affine {
    pub(crate) x: View,
    pub(crate) y: View,
    pub(crate) z: u8,
    pub(crate) multipliers: Vec<f32>,
    pub(crate) addends: Vec<f32>,
    pub(crate) clamp: Clamp,
    pub(crate) row: loops::AffineRow,
}

impl Kernel for Affine {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            let x = memory.codes(self.x.row_range(row));
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(x, self.z, &self.multipliers, &self.addends, self.clamp, y) };
        }
    }
}

/// A code for each code.
pub(crate) struct Table {
    pub(crate) x: View,
    pub(crate) y: View,
    /// One for all channels, or one a channel.
    pub(crate) codes: Vec<[u8; 256]>,
    /// Of one table.
    pub(crate) row: lookup::LookupRow,
}

impl Kernel for Table {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            let x = memory.codes(self.x.row_range(row));
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            if let [codes] = &self.codes[..] {
                // SAFETY: bound for an instruction set that was proved available.
                unsafe { (self.row)(x, codes, y) };
                continue;
            }
            let channels = self.codes.len();
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for ((y, &q), codes) in y.iter_mut().zip(x).zip(&self.codes) {
                    *y = codes[usize::from(q)];
                }
            }
        }
    }
}
