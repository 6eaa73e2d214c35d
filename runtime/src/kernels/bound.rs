//! A kernel tied to the layout of the memory it runs on.
#![allow(unsafe_code, reason = "runs kernels on memory that was checked")]

use super::{Ahead, Borrowed, Kernel, Memory};
use std::ops::Range;

/// A kernel and how far it reaches.
///
/// Invariant: `reach` is that of the kernel.
pub(crate) struct Bound {
    kernel: Box<dyn Kernel>,
    reach: usize,
}

impl Bound {
    /// Ties a kernel to memory whose code arena has `arena` bytes.
    ///
    /// # Panics
    /// When it reaches beyond: a planning bug.
    pub(crate) fn new(kernel: Box<dyn Kernel>, arena: usize) -> Self {
        let reach = kernel.reach();
        assert!(reach <= arena, "a kernel reaches byte {reach} of an arena of {arena} bytes");
        Bound { kernel, reach }
    }

    /// [`Kernel::parts`].
    pub(crate) fn parts(&self) -> usize {
        self.kernel.parts()
    }

    /// [`Kernel::weight_bytes`].
    pub(crate) fn weight_bytes(&self) -> usize {
        self.kernel.weight_bytes()
    }

    /// [`Kernel::ahead`].
    pub(crate) fn ahead(&self) -> Ahead {
        self.kernel.ahead()
    }

    /// Computes all parts.
    ///
    /// # Panics
    /// When the memory is smaller than what the kernel was tied to: a planning bug.
    pub(crate) fn run(&self, memory: &mut Borrowed) {
        memory.assert_holds(self.reach);
        // SAFETY: checked above; the memory is borrowed for this call alone.
        unsafe { self.kernel.run(memory, 0..self.parts()) };
    }

    /// Asserts that it may run on `memory`.
    ///
    /// # Panics
    /// As [`Bound::run`].
    pub(crate) fn assert_fits(&self, memory: &Memory) {
        memory.assert_holds(self.reach);
    }

    /// Computes some parts.
    ///
    /// # Safety
    /// The memory passed [`Bound::assert_fits`], `parts` lies in `0..self.parts()`, and meanwhile nothing runs on `memory` but this kernel,
    /// no part of it twice.
    pub(crate) unsafe fn run_parts(&self, memory: &Memory, parts: Range<usize>) {
        // SAFETY: by the contract.
        unsafe { self.kernel.run(memory, parts) };
    }
}

/// Computes all parts of a kernel on memory of whatever size.
///
/// # Panics
/// When the kernel reaches beyond it.
pub(crate) fn run_alone(kernel: &dyn Kernel, memory: &mut Borrowed) {
    memory.assert_holds(kernel.reach());
    // SAFETY: checked above; the memory is borrowed for this call alone.
    unsafe { kernel.run(memory, 0..kernel.parts()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Input;
    use std::panic::catch_unwind;

    struct Reaches(usize);

    impl Kernel for Reaches {
        fn parts(&self) -> usize {
            1
        }

        fn reach(&self) -> usize {
            self.0
        }

        unsafe fn run(&self, memory: &Memory, _: Range<usize>) {
            let last = memory.codes_ptr(0, 0).wrapping_add(self.0 - 1);
            // SAFETY: by the contract the arena has that byte, and nothing else uses it.
            unsafe { *last = 7 };
        }
    }

    #[test]
    fn a_kernel_runs_only_where_it_fits() {
        let mut codes = [0; 8];
        Bound::new(Box::new(Reaches(8)), 8).run(&mut Borrowed::new(&mut codes, &mut [], Input::Floats(&[])));
        assert_eq!(codes[7], 7);
        assert!(catch_unwind(|| Bound::new(Box::new(Reaches(9)), 8)).is_err());
        let smaller = catch_unwind(|| {
            let kernel = Bound::new(Box::new(Reaches(8)), 8);
            kernel.run(&mut Borrowed::new(&mut [0; 7], &mut [], Input::Floats(&[])));
        });
        assert!(smaller.is_err());
        let alone = || run_alone(&Reaches(8), &mut Borrowed::new(&mut [0; 7], &mut [], Input::Floats(&[])));
        assert!(catch_unwind(alone).is_err());
    }
}
