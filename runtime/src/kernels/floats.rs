//! Operators on floats: bound to the shared scalar forms, the most common ones compiled for every instruction set.
#![allow(unsafe_code, reason = "writes its own result, calls loops compiled for an instruction set")]

use super::compiled::compiled;
use super::{Kernel, Memory, Values};
use crate::float::{self, BinaryKind};
use crate::format::Artifact;
use crate::function::Function;
use crate::program::{FloatId, Op};
use std::ops::Range;

compiled! {
    pub(crate) fn unary: Unary(function: Function, x: &[f32], y: &mut [f32]) = float::unary
}

compiled! {
    pub(crate) fn binary: Binary(
        kind: BinaryKind,
        a: &[f32],
        b: &[f32],
        y: &mut [f32],
        extents: &[u32],
        strides_a: &[u32],
        strides_b: &[u32],
    ) = float::binary
}

/// An operator on floats.
pub(crate) struct Island {
    pub(crate) artifact: Artifact,
    /// Its index in the program.
    pub(crate) op: usize,
    /// The slots that it reads, with their places.
    pub(crate) reads: Vec<(FloatId, Values)>,
    /// What it reads of the constants section.
    pub(crate) constants: Vec<f32>,
    /// The slot that it writes.
    pub(crate) y: Range<usize>,
    pub(crate) unary: Unary,
    pub(crate) binary: Binary,
}

impl Kernel for Island {
    fn parts(&self) -> usize {
        1
    }

    unsafe fn run(&self, memory: &Memory, _: Range<usize>) {
        // SAFETY: there is one part, and it writes its own result.
        let y = unsafe { memory.floats_mut(self.y.clone()) };
        let read = |id: FloatId| {
            let place = self.reads.iter().find(|(slot, _)| *slot == id);
            place.map_or(&[][..], |(_, place)| memory.values(place))
        };
        match &self.artifact.program().ops[self.op] {
            // SAFETY: bound for an instruction set that was proved available.
            &Op::FloatUnary { x, function, .. } => unsafe { (self.unary)(function, read(x), y) },
            Op::FloatBinary { kind, a, b, extents, strides_a, strides_b, .. } => {
                // SAFETY: as above.
                unsafe { (self.binary)(*kind, read(*a), read(*b), y, extents, strides_a, strides_b) }
            }
            op => float::execute(op, &read, &self.constants, y),
        }
    }
}

/// An input of the network to a slot, as operators on floats expect it.
pub(crate) struct Canonical {
    /// In the input.
    pub(crate) x: Range<usize>,
    /// The slot.
    pub(crate) y: Range<usize>,
}

impl Kernel for Canonical {
    fn parts(&self) -> usize {
        1
    }

    unsafe fn run(&self, memory: &Memory, _: Range<usize>) {
        // SAFETY: there is one part, and it writes its own result.
        let y = unsafe { memory.floats_mut(self.y.clone()) };
        y.iter_mut().zip(&memory.input()[self.x.clone()]).for_each(|(y, &x)| *y = float::canonical(x));
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::arch::asm;

    /// Runs `body` with other bits of the control register of floating point set.
    fn with_control<T>(bits: u32, body: impl FnOnce() -> T) -> T {
        let mut old = 0u32;
        // SAFETY: stores the register.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut old) };
        let new = old | bits;
        // SAFETY: no exception is unmasked, and the old value comes back below.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const new) };
        let result = body();
        // SAFETY: as it was.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const old) };
        result
    }

    #[test]
    fn softmax_does_not_depend_on_flushing() {
        // Powers around the least normal number, shares below it, inputs and differences that are subnormal.
        let mut inputs: Vec<Vec<f32>> = (0..4000i16)
            .map(|i| {
                let low = -86.0 - f32::from(i) / 200.0;
                (0..1 + i % 7).map(|n| -f32::from(n) / 16.0).chain([low, low - 0.01, low / 2.0]).collect()
            })
            .collect();
        inputs.extend([vec![1e-40, 0.0, -1e-39], vec![1.2e-38, 1.3e-38], vec![f32::MIN_POSITIVE, 1e-44, 0.0]]);
        let results = |log: bool| {
            let run = |x: &Vec<f32>| {
                let mut y: Vec<f32> = x.iter().copied().map(float::canonical).collect();
                float::softmax(&mut y, log, x.len(), 1);
                y.iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
            };
            inputs.iter().map(run).collect::<Vec<_>>()
        };
        const FLUSH_RESULTS: u32 = 1 << 15;
        const FLUSH_OPERANDS: u32 = 1 << 6;
        let product = || std::hint::black_box(1e-30f32) * std::hint::black_box(1e-10);
        assert!(with_control(0, product) > 0.0 && with_control(FLUSH_RESULTS, product).to_bits() == 0);
        for log in [false, true] {
            let expected = results(log);
            for bits in [FLUSH_RESULTS, FLUSH_OPERANDS, FLUSH_RESULTS | FLUSH_OPERANDS] {
                assert!(with_control(bits, || results(log)) == expected, "log {log}, bits {bits:#x}");
            }
        }
    }
}
