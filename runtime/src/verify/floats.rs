//! Operators on float slots.

use super::Checker;
use super::strided;
use crate::ops::field::{Check, require};
use crate::program::{FloatId, Op};

impl Checker<'_> {
    /// What binds the fields of an operator on floats, all slots of which exist.
    pub(super) fn floats(&self, op: &Op) -> Check {
        let len = |id: FloatId| self.program.float_len(id);
        match *op {
            Op::FloatUnary { x, y, .. } => same_len(len(x), len(y)),
            Op::FloatBinary { a, b, y, ref extents, ref strides_a, ref strides_b, .. } => {
                self.result(extents, y)?;
                strided::strides("a", extents, strides_a, len(a))?;
                strided::strides("b", extents, strides_b, len(b))
            }
            Op::FloatSelect { c, a, b, y, ref extents, ref strides_c, ref strides_a, ref strides_b } => {
                self.result(extents, y)?;
                strided::strides("c", extents, strides_c, len(c))?;
                strided::strides("a", extents, strides_a, len(a))?;
                strided::strides("b", extents, strides_b, len(b))
            }
            Op::FloatMove { x, y, ref tables, .. } => strided::tables(tables, len(x), len(y)),
            Op::FloatConcat { ref xs, y, outer } => {
                let mut sum = 0usize;
                for &x in xs {
                    let whole = len(x).is_multiple_of(outer as usize);
                    require(whole, || format!("{} values in {outer} parts", len(x)))?;
                    sum = sum.saturating_add(len(x));
                }
                same_len(sum, len(y))
            }
            Op::FloatReduce { x, y, outer, len: middle, inner, .. } => {
                strided::split("x", [outer, middle, inner], len(x))?;
                strided::split("y", [outer, 1, inner], len(y))
            }
            Op::Softmax { x, y, outer, len: middle, inner, .. } => {
                strided::split("x", [outer, middle, inner], len(x))?;
                same_len(len(x), len(y))
            }
            Op::FloatMatMul { a, b, y, ref batch, ref strides_a, ref strides_b, m, k, n } => {
                let count = strided::positions(batch)?;
                let count = u32::try_from(count).map_err(|_| "too many matrices")?;
                strided::split("y", [count, m, n], len(y))?;
                let matrices = |held: usize, rows: u32, columns: u32| {
                    let size = u64::from(rows) * u64::from(columns);
                    // Positions at which a whole matrix may begin.
                    (held as u64).checked_sub(size).map(|last| last as usize + 1)
                };
                let of = |name: &str, held: usize, [rows, columns]: [u32; 2], strides: &[u32]| {
                    let first = matrices(held, rows, columns);
                    let first =
                        first.ok_or_else(|| format!("{name}: {held} values for a {rows} x {columns} matrix"))?;
                    strided::strides(name, batch, strides, first)
                };
                of("a", len(a), [m, k], strides_a)?;
                of("b", len(b), [k, n], strides_b)
            }
            Op::FloatResample { x, y, outer, len: middle, inner, ref taps } => {
                strided::split("x", [outer, middle, inner], len(x))?;
                let results = u32::try_from(taps.len()).map_err(|_| "too many positions")?;
                strided::split("y", [outer, results, inner], len(y))?;
                let last = taps.iter().flatten().map(|(position, _)| *position).max();
                require(last.is_none_or(|last| last < middle), || {
                    format!("a tap at {} of {middle}", last.unwrap_or_default())
                })
            }
            Op::FloatRecurrent { kind, ref xs, y, steps, batch, hidden, ref functions, clip, peepholes, .. } => {
                let gates = u32::try_from(kind.gates()).unwrap_or(u32::MAX);
                let width = gates.checked_mul(hidden).ok_or("too many cells")?;
                strided::split("x", [steps, batch, width], len(xs[0]))?;
                require(xs.len() <= 1 + kind.initial_states(), || format!("{} operands", xs.len()))?;
                xs[1..].iter().try_for_each(|&state| strided::split("a state", [1, batch, hidden], len(state)))?;
                let rows = u64::from(steps) + kind.extra_states() as u64;
                let rows = u32::try_from(rows).map_err(|_| "too many steps")?;
                strided::split("y", [rows, batch, hidden], len(y))?;
                require(functions.len() == kind.functions(), || {
                    format!("{} functions; {} are required", functions.len(), kind.functions())
                })?;
                require(clip >= 0.0, || format!("clip {clip}; at least 0 is required"))?;
                require(!peepholes || kind.initial_states() == 2, || "peepholes of a cell without any".into())
            }
            Op::FloatLookup { x, y, width, .. } => strided::split("y", [len(x) as u32, width, 1], len(y)),
            _ => Ok(()),
        }
    }

    /// The axes have a position for each value of the result.
    fn result(&self, extents: &[u32], y: FloatId) -> Check {
        let (count, held) = (strided::positions(extents)?, self.program.float_len(y));
        require(count == held, || format!("extents {extents:?} for a result of {held}"))
    }
}

fn same_len(x: usize, y: usize) -> Check {
    require(x == y, || format!("{x} values in, {y} out"))
}
