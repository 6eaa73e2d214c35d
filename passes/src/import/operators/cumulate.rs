//! CumSum and CumProd along a constant axis.
//!
//! Takes an activation; a sum is one [`Op::Resample`] in which each position sums those before it, a product is taken with what
//! lies 1, 2, 4 .. positions before.
//! Refuses sums over more than 4096 positions (they are written out) and an axis that depends on the input.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId, Op};

pub(super) const RULES: &[(&str, Rule)] = &[("CumProd", cum_prod), ("CumSum", cum_sum)];

const MOST_POSITIONS: usize = 4096;

/// What the attributes say.
struct Order {
    axis: usize,
    extent: usize,
    /// The position itself does not count.
    exclusive: bool,
    /// From the end.
    reverse: bool,
}

fn order(b: &Builder<'_>, step: &Step, x: NodeId) -> Result<Order, Problem> {
    let dims = b.dims(x);
    let axis = b.integer(step, 1)?;
    let axis = axis.ok_or_else(|| invalid(format!("{} without an axis; it is required", step.op_type())))?;
    let axis = axis::axis(axis, dims.len())?;
    let attributes = step.attributes();
    let (exclusive, reverse) = (attributes.flag("exclusive", false)?, attributes.flag("reverse", false)?);
    Ok(Order { axis, extent: dims[axis], exclusive, reverse })
}

fn cum_sum(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let Order { axis, extent, exclusive, reverse } = order(b, step, x)?;
    if extent > MOST_POSITIONS {
        return Err(unsupported(format!("CumSum of {extent} positions; at most {MOST_POSITIONS} are supported")));
    }
    b.afford(extent * extent, "the sums of CumSum")?;
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

fn cum_prod(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let order = order(b, step, x)?;
    let mut product = if order.exclusive { earlier(b, x, &order, 1)? } else { x };
    let mut distance = 1;
    while distance < order.extent {
        let before = earlier(b, product, &order, distance)?;
        product = b.binary(BinaryKind::Mul, product, before)?;
        distance *= 2;
    }
    one(product)
}

/// What lies `distance` positions before each, 1 where nothing does.
fn earlier(b: &mut Builder<'_>, x: NodeId, order: &Order, distance: usize) -> Result<NodeId, Problem> {
    let from = |at: usize| {
        let from = if order.reverse { at.checked_add(distance) } else { at.checked_sub(distance) };
        from.filter(|&from| from < order.extent)
    };
    b.gather_axis(x, order.axis, (0..order.extent).map(from).collect(), 1.0)
}
