//! Reductions over axes, the places of extremes, and TopK of few.
//!
//! Takes an activation with constant axes; returns one [`Op::Reduce`], and a reshape where the axes go. The mean and the maximum over
//! height and width of an image are pools of the whole image, which run in integers.
//! Refuses axes that depend on the input, and TopK of more than 16.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId, Op, Padding, ReduceKind, Window};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ArgMax", arg),
    ("ArgMin", arg),
    ("GlobalAveragePool", global_pool),
    ("GlobalLpPool", global_lp_pool),
    ("GlobalMaxPool", global_pool),
    ("ReduceL1", reduce),
    ("ReduceL2", reduce),
    ("ReduceLogSum", reduce),
    ("ReduceLogSumExp", reduce),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceMin", reduce),
    ("ReduceProd", reduce),
    ("ReduceSum", reduce),
    ("ReduceSumSquare", reduce),
    ("TopK", top_k),
];

/// Most values that TopK yields.
const MOST_TOP: usize = 16;

fn kind(op_type: &str) -> Result<ReduceKind, Problem> {
    Ok(match op_type {
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        "ReduceMax" | "GlobalMaxPool" => ReduceKind::Max,
        "ReduceMean" | "GlobalAveragePool" => ReduceKind::Mean,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceSum" => ReduceKind::Sum,
        "ReduceSumSquare" => ReduceKind::SumSquare,
        other => return Err(invalid(format!("reduction {other}; it has no row"))),
    })
}

fn reduce(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let kind = kind(step.op_type())?;
    let x = b.node(step, 0)?;
    let rank = b.rank(x);
    let stated = b.ints_of(step, 1, "axes")?.unwrap_or_default();
    if stated.is_empty() && step.attributes().flag("noop_with_empty_axes", false)? {
        // Without axes nothing is summed, but each element still goes through the reduction's function.
        return one(each(b, kind, x)?);
    }
    let axes = if stated.is_empty() { (0..rank).collect() } else { axis::sorted_axes(&stated, rank)? };
    let keep = step.attributes().flag("keepdims", true)?;
    one(over(b, kind, x, &axes, keep)?)
}

fn each(b: &mut Builder<'_>, kind: ReduceKind, x: NodeId) -> Result<NodeId, Problem> {
    use crate::ir::Function;
    match kind {
        ReduceKind::L1 | ReduceKind::L2 => b.unary(Function::Abs, x),
        ReduceKind::SumSquare => b.unary(Function::Pow { exponent: 2.0 }, x),
        ReduceKind::LogSum => b.unary(Function::Log, x),
        _ => Ok(x),
    }
}

/// A reduction; whole-image means and maxima are pools.
fn over(b: &mut Builder<'_>, kind: ReduceKind, x: NodeId, axes: &[usize], keep: bool) -> Result<NodeId, Problem> {
    if axes.is_empty() {
        return each(b, kind, x);
    }
    let dims = b.dims(x);
    let image = dims.len() == 4 && axes == [2, 3];
    let window = |kernel| Window { kernel, stride: [1, 1], dilation: [1, 1], padding: Padding::default() };
    let op = match kind {
        ReduceKind::Mean if image => Op::AveragePool { window: window([dims[2], dims[3]]), count_include_pad: false },
        ReduceKind::Max if image => Op::MaxPool(window([dims[2], dims[3]])),
        _ => return b.reduce(kind, x, axes, keep),
    };
    let pooled = b.push(op, &[x])?;
    if keep { Ok(pooled) } else { b.drop_axes(pooled, axes) }
}

/// Every axis behind the channels; images of one row are pooled as images.
fn global_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let kind = kind(step.op_type())?;
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    match dims[..] {
        [n, c, w] => {
            let image = b.reshape(x, vec![n, c, 1, w])?;
            let pooled = over(b, kind, image, &[2, 3], true)?;
            one(b.reshape(pooled, vec![n, c, 1])?)
        }
        [_, _, _, ..] => {
            let axes: Vec<usize> = (2..dims.len()).collect();
            one(over(b, kind, x, &axes, true)?)
        }
        _ => Err(invalid(format!("{} of {dims:?}; [N, C, ..] is required", step.op_type()))),
    }
}

fn global_lp_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let axes: Vec<usize> = (2..b.rank(x)).collect();
    let p = step.attributes().int("p", 2)?;
    one(norm(b, x, p as f32, &axes)?)
}

/// `(sum |x|^p)^(1/p)`, axes kept.
pub(super) fn norm(b: &mut Builder<'_>, x: NodeId, p: f32, axes: &[usize]) -> Result<NodeId, Problem> {
    use crate::ir::Function;
    if p == 1.0 {
        return b.reduce(ReduceKind::L1, x, axes, true);
    }
    if p == 2.0 {
        return b.reduce(ReduceKind::L2, x, axes, true);
    }
    if p <= 0.0 {
        return Err(invalid(format!("p {p}; it must be >= 1")));
    }
    let magnitude = b.unary(Function::Abs, x)?;
    let power = b.unary(Function::Pow { exponent: p }, magnitude)?;
    let sum = b.reduce(ReduceKind::Sum, power, axes, true)?;
    b.unary(Function::Pow { exponent: 1.0 / p }, sum)
}

fn arg(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let attributes = step.attributes();
    let axis = axis::axis(attributes.int("axis", 0)?, b.rank(x))?;
    let kind = match (step.op_type(), attributes.flag("select_last_index", false)?) {
        ("ArgMax", false) => ReduceKind::ArgMax,
        ("ArgMax", true) => ReduceKind::ArgMaxLast,
        (_, false) => ReduceKind::ArgMin,
        (_, true) => ReduceKind::ArgMinLast,
    };
    one(b.reduce(kind, x, &[axis], attributes.flag("keepdims", true)?)?)
}

/// The positions of an axis as numbers, shaped to broadcast along it.
pub(super) fn places(b: &mut Builder<'_>, extent: usize, axis: usize, rank: usize) -> Result<NodeId, Problem> {
    b.afford(extent, "the numbers of an axis")?;
    let mut dims = vec![1; rank];
    dims[axis] = extent;
    b.literal(dims, (0..extent).map(|at| at as f32).collect())
}

/// One maximum after another: each is found, then taken out of the race.
fn top_k(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut x = b.node(step, 0)?;
    let dims = b.dims(x);
    let attributes = step.attributes();
    let axis = axis::axis(attributes.int("axis", -1)?, dims.len())?;
    let k = if step.opset() < 10 { Some(attributes.int("k", -1)?) } else { b.integer(step, 1)? };
    let k = axis::count(k.ok_or_else(|| invalid("TopK without k; it is required"))?, "k")?;
    if k == 0 || k > dims[axis] || k > MOST_TOP {
        return Err(unsupported(format!(
            "TopK of {k} on an axis of {}; 1 to {MOST_TOP} are supported (--cut compiles up to its operand)",
            dims[axis]
        )));
    }
    let largest = attributes.flag("largest", true)?;
    let (extreme, place, out) = if largest {
        (ReduceKind::Max, ReduceKind::ArgMax, f32::MIN)
    } else {
        (ReduceKind::Min, ReduceKind::ArgMin, f32::MAX)
    };
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for round in 0..k {
        values.push(b.reduce(extreme, x, &[axis], true)?);
        let index = b.reduce(place, x, &[axis], true)?;
        indices.push(index);
        if round + 1 < k {
            let places = places(b, dims[axis], axis, dims.len())?;
            let taken = b.binary(BinaryKind::Equal, places, index)?;
            let out = b.literal(vec![], vec![out])?;
            x = b.push(Op::Select, &[taken, out, x])?;
        }
    }
    Ok(vec![Value::Node(b.concat(axis, &values)?), Value::Node(b.concat(axis, &indices)?)])
}
