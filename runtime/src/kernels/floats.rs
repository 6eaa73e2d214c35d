//! Operators on floats: bound to the shared scalar forms.
#![allow(unsafe_code, reason = "writes its own result")]

use super::memory::Values;
use super::{Kernel, Memory};
use crate::float_head;
use std::ops::Range;

/// Softmax over the middle of `[outer, len, inner]`, or its logarithm.
pub(crate) struct Softmax {
    pub(crate) x: Values,
    pub(crate) y: usize,
    pub(crate) extents: [usize; 3],
    pub(crate) log: bool,
}

impl Kernel for Softmax {
    fn parts(&self) -> usize {
        1
    }

    fn run(&self, memory: &Memory, _: Range<usize>) {
        // SAFETY: there is one part, and it writes its own result.
        let y = unsafe { memory.floats_mut(self.y..self.y + self.extents.iter().product::<usize>()) };
        float_head::softmax_along(memory.values(&self.x), y, self.extents, self.log);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::kernels::{Borrowed, Input};
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
                let mut floats = [x.clone(), vec![0.0; x.len()]].concat();
                let softmax = Softmax { x: Values::Slot(0..x.len()), y: x.len(), extents: [1, x.len(), 1], log };
                softmax.run(&Borrowed::new(&mut [], &mut floats, Input::Floats(&[])), 0..1);
                floats[x.len()..].iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
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
