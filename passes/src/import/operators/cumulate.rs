//! CumSum along a constant axis.
//!
//! Takes an activation; returns one [`Op::Resample`] in which each position sums those before it.
//! Refuses axes of more than 4096 positions (the sums are written out) and an axis that depends on the input.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::Op;

pub(super) const RULES: &[(&str, Rule)] = &[("CumSum", cum_sum)];

const MOST_POSITIONS: usize = 4096;

fn cum_sum(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let axis = b.integer(step, 1)?.ok_or_else(|| invalid("CumSum without an axis; it is required"))?;
    let axis = axis::axis(axis, dims.len())?;
    let extent = dims[axis];
    if extent > MOST_POSITIONS {
        return Err(unsupported(format!("CumSum of {extent} positions; at most {MOST_POSITIONS} are supported")));
    }
    b.afford(extent * extent, "the sums of CumSum")?;
    let attributes = step.attributes();
    let (exclusive, reverse) = (attributes.flag("exclusive", false)?, attributes.flag("reverse", false)?);
    let taps = (0..extent)
        .map(|at| {
            let range = match (exclusive, reverse) {
                (false, false) => 0..at + 1,
                (true, false) => 0..at,
                (false, true) => at..extent,
                (true, true) => at + 1..extent,
            };
            range.map(|index| (index, 1.0)).collect()
        })
        .collect();
    one(b.push(Op::Resample { axis, taps }, &[x])?)
}
