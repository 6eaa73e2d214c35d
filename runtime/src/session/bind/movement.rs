//! Binds operators on two operands and those that move codes.

use super::Binder;
use crate::RunError;
use crate::kernels::movement::{Concat, ConcatChannels, ConcatInput, Constant, Move};
use crate::kernels::{Kernel, arithmetic, elementwise};
use crate::program::{Op, TensorId};
use crate::session::axes;

impl Binder<'_> {
    /// The step of an operator, if it is one of these.
    pub(super) fn movement(&self, op: &Op) -> Result<Option<Box<dyn Kernel>>, RunError> {
        Ok(Some(match *op {
            Op::Arithmetic {
                kind,
                a,
                b,
                y,
                ref extents,
                ref strides_a,
                ref strides_b,
                multiplier_a,
                multiplier_b,
                lo,
                hi,
            } => {
                let terms = [self.term(a, multiplier_a), self.term(b, multiplier_b)];
                let clamp = self.clamp(y, lo, hi);
                let [ya, aa, ba] = [y, a, b].map(|id| self.view(id));
                if axes::is_elementwise(self.program, [a, b, y], extents, [strides_a, strides_b]) {
                    let row = arithmetic::row(self.available, kind);
                    return Ok(Some(Box::new(arithmetic::Rows { a: aa, b: ba, y: ya, terms, clamp, row })));
                }
                let axes = axes::arithmetic([&ya, &aa, &ba], extents, [strides_a, strides_b]);
                let first = [ya, aa, ba].map(|view| view.offset);
                Box::new(arithmetic::Strided::new(self.available, kind, first, &axes, terms, clamp))
            }
            Op::Concat { ref xs, y, outer, lo, hi } => self.concat(xs, y, outer, [lo, hi]),
            Op::Move { x, y, ref tables, fill } => {
                self.budget.take(axes::movement_bytes(tables))?;
                let (x, y) = (self.view(x), self.view(y));
                Box::new(Move::new(x.offset, y.offset, axes::movement(&x, &y, tables), fill))
            }
            Op::Constant { y, constants_offset } => {
                let first = constants_offset as usize;
                let codes = first..first + self.program.tensor(y).len();
                Box::new(Constant { artifact: self.artifact.clone(), codes, y: self.view(y) })
            }
            _ => return Ok(None),
        }))
    }

    fn concat(&self, xs: &[(TensorId, Option<f32>)], y: TensorId, outer: u32, [lo, hi]: [u8; 2]) -> Box<dyn Kernel> {
        let input = |&(x, multiplier): &(TensorId, Option<f32>)| ConcatInput {
            x: self.view(x),
            rescale: multiplier.map(|m| self.term(x, m)),
        };
        let inputs = xs.iter().map(input).collect();
        let (view, clamp) = (self.view(y), self.clamp(y, lo, hi));
        let rescale = elementwise::rescale_row(self.available);
        if axes::joins_channels(self.program, xs, y, outer) {
            Box::new(ConcatChannels { xs: inputs, y: view, clamp, rescale })
        } else {
            Box::new(Concat { xs: inputs, y: view, outer: outer as usize, clamp, rescale })
        }
    }
}
