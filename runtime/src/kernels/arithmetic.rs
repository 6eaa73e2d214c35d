//! Two operands, value by value.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

use super::{Clamp, Kernel, Memory, View};
use crate::isa::Available;
use crate::kernels::elementwise::Term;
use crate::program::ArithmeticKind;
use std::ops::Range;

mod loops;

/// Two tensors of the extents of the result.
pub(crate) struct Rows {
    pub(crate) a: View,
    pub(crate) b: View,
    pub(crate) y: View,
    pub(crate) terms: [Term; 2],
    pub(crate) clamp: Clamp,
    pub(crate) row: loops::Row,
}

/// The loop over a row for a kind of arithmetic.
pub(crate) fn row(available: Available, kind: ArithmeticKind) -> loops::Row {
    match kind {
        ArithmeticKind::Add => crate::kernels::elementwise::add_row(available),
        ArithmeticKind::Sub => loops::sub_row(available),
        ArithmeticKind::Mul => loops::mul_row(available),
        ArithmeticKind::Min => loops::min_row(available),
        ArithmeticKind::Max => loops::max_row(available),
    }
}

impl Kernel for Rows {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            let (a, b) = (memory.codes(self.a.row_range(row)), memory.codes(self.b.row_range(row)));
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(a, b, self.terms, self.clamp, y) };
        }
    }
}

/// An axis of an operator on several operands: its positions, and the bytes from one to the next in the result and both operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) extent: usize,
    /// Of the result, `a`, `b`.
    pub(crate) steps: [usize; 3],
}

/// Operands repeated along axes, or in another order.
pub(crate) struct Strided {
    /// First bytes of the result, `a`, `b`.
    first: [usize; 3],
    /// All axes but the innermost, the outermost first.
    outer: Vec<Axis>,
    inner: Axis,
    kind: ArithmeticKind,
    terms: [Term; 2],
    clamp: Clamp,
    row: loops::Row,
    repeated: loops::Repeated,
}

impl Strided {
    /// `axes` are all of the result, the innermost last.
    pub(crate) fn new(
        available: Available,
        kind: ArithmeticKind,
        first: [usize; 3],
        axes: &[Axis],
        terms: [Term; 2],
        clamp: Clamp,
    ) -> Self {
        let mut outer = merged(axes);
        // Where a row is one code between halos, runs are single codes.
        let inner = outer.pop_if(|axis| axis.steps[0] == 1).unwrap_or(Axis { extent: 1, steps: [1; 3] });
        let (row, repeated) = (row(available, kind), loops::repeated(available));
        Strided { first, outer, inner, kind, terms, clamp, row, repeated }
    }

    /// Where a run of the innermost axis begins in each operand.
    fn places(&self, part: usize) -> [usize; 3] {
        let (mut places, mut rest) = (self.first, part);
        for axis in self.outer.iter().rev() {
            let position = rest % axis.extent;
            rest /= axis.extent;
            places.iter_mut().zip(axis.steps).for_each(|(place, step)| *place += position * step);
        }
        places
    }
}

/// Axes without those of one position, each pair as one where all operands go on from the inner to the outer one.
fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::new();
    for &axis in axes.iter().filter(|axis| axis.extent > 1) {
        match merged.last_mut() {
            Some(last) if last.steps == axis.steps.map(|step| step * axis.extent) => {
                *last = Axis { extent: last.extent * axis.extent, steps: axis.steps };
            }
            _ => merged.push(axis),
        }
    }
    merged
}

impl Kernel for Strided {
    fn parts(&self) -> usize {
        self.outer.iter().map(|axis| axis.extent).product()
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let Axis { extent, steps: [_, step_a, step_b] } = self.inner;
        for part in parts {
            let [y, a, b] = self.places(part);
            let [a, b] = [(a, step_a), (b, step_b)].map(|(at, step)| memory.codes(at..at + (extent - 1) * step + 1));
            // SAFETY: each part writes the runs of the result that are its own.
            let y = unsafe { memory.codes_mut(y..y + extent) };
            match [step_a, step_b] {
                // SAFETY: bound for an instruction set that was proved available.
                [1, 1] => unsafe { (self.row)(a, b, self.terms, self.clamp, y) },
                // SAFETY: as above.
                [1, 0] => unsafe { (self.repeated)(a, b[0], self.kind, self.terms, self.clamp, false, y) },
                // SAFETY: as above.
                [0, 1] => unsafe { (self.repeated)(b, a[0], self.kind, self.terms, self.clamp, true, y) },
                _ => {
                    for (i, y) in y.iter_mut().enumerate() {
                        let v = loops::of(self.kind, a[i * step_a], b[i * step_b], self.terms);
                        *y = self.clamp.requantize(v);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_go_on_are_one() {
        let axis = |extent, steps| Axis { extent, steps };
        let gate = [axis(7, [40, 40, 0]), axis(5, [8, 8, 0]), axis(1, [8, 0, 3]), axis(8, [1, 1, 1])];
        assert_eq!(merged(&gate), [axis(35, [8, 8, 0]), axis(8, [1, 1, 1])]);
        let same = [axis(7, [40; 3]), axis(5, [8; 3]), axis(8, [1; 3])];
        assert_eq!(merged(&same), [axis(280, [1; 3])]);
        assert_eq!(merged(&[axis(1, [1; 3])]), []);
        let halo = [axis(7, [48, 40, 40]), axis(5, [8; 3]), axis(8, [1; 3])];
        assert_eq!(merged(&halo), [axis(7, [48, 40, 40]), axis(40, [1; 3])]);
    }
}
