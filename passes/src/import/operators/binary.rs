//! Arithmetic, comparisons and logic of two or more operands, and Where.
//!
//! Takes operands of shapes that broadcast, at least one an activation. A constant that is one number a position of axis 1 becomes
//! a [`Op::ChannelAffine`], a bound of Min or Max a [`Op::Clip`], an exponent or base a [`Op::Unary`]; any other constant is
//! an operand. Integers divide towards zero.
//! Refuses shapes that do not broadcast and integer division by a constant 0.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{BinaryKind, Clip, Function, NodeId, Op};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Add", two),
    ("And", two),
    ("Div", two),
    ("Equal", two),
    ("Greater", two),
    ("GreaterOrEqual", two),
    ("Less", two),
    ("LessOrEqual", two),
    ("Max", many),
    ("Mean", many),
    ("Min", many),
    ("Mod", modulo),
    ("Mul", two),
    ("Or", two),
    ("Pow", two),
    ("Sub", two),
    ("Sum", many),
    ("Where", select),
    ("Xor", two),
];

fn kind(op_type: &str) -> Result<BinaryKind, Problem> {
    Ok(match op_type {
        "Add" | "Sum" | "Mean" => BinaryKind::Add,
        "Sub" => BinaryKind::Sub,
        "Mul" => BinaryKind::Mul,
        "Div" => BinaryKind::Div,
        "Min" => BinaryKind::Min,
        "Max" => BinaryKind::Max,
        "Pow" => BinaryKind::Pow,
        "And" => BinaryKind::And,
        "Or" => BinaryKind::Or,
        "Xor" => BinaryKind::Xor,
        "Equal" => BinaryKind::Equal,
        "Less" => BinaryKind::Less,
        "LessOrEqual" => BinaryKind::LessOrEqual,
        "Greater" => BinaryKind::Greater,
        "GreaterOrEqual" => BinaryKind::GreaterOrEqual,
        other => return Err(invalid(format!("operator {other} of two operands; it has no row"))),
    })
}

fn two(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let kind = kind(step.op_type())?;
    one(combine(b, kind, step, 0, 1)?)
}

fn many(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let kind = kind(step.op_type())?;
    let operands = step.input_count();
    if operands == 0 {
        return Err(invalid(format!("{} without an input; at least one is required", step.op_type())));
    }
    let mut result = if operands == 1 { b.node(step, 0)? } else { combine(b, kind, step, 0, 1)? };
    for index in 2..operands {
        result = if b.is_constant(step, index) {
            let constant = b.required(step, index)?;
            with_constant(b, kind, result, &constant, false, false)?
        } else {
            let operand = b.node(step, index)?;
            activations(b, kind, result, operand)?
        };
    }
    if step.op_type() == "Mean" {
        result = b.affine(result, 1.0 / operands as f32, 0.0)?;
    }
    one(result)
}

/// Two inputs of a node combined.
pub(super) fn combine(
    b: &mut Builder<'_>,
    kind: BinaryKind,
    step: &Step,
    first: usize,
    second: usize,
) -> Result<NodeId, Problem> {
    let integer = b.element(step, first)?.is_integer();
    if integer && kind == BinaryKind::Div && b.is_constant(step, second) {
        let divisor = b.required(step, second)?;
        if divisor.floats().contains(&0.0) {
            return Err(invalid("Div of integers by 0; the divisor must not be 0"));
        }
    }
    let dims = aligned(b, step, first, second)?;
    match (b.is_constant(step, first), b.is_constant(step, second)) {
        (false, true) => {
            let (x, mut constant) = (b.node(step, first)?, b.required(step, second)?);
            if let Some(dims) = dims {
                constant = Constant::of_shared(dims, constant.kind(), constant.shared()).into();
            }
            with_constant(b, kind, x, &constant, false, integer)
        }
        (true, false) => {
            let (x, constant) = (second_node(b, step, second, dims)?, b.required(step, first)?);
            with_constant(b, kind, x, &constant, true, integer)
        }
        _ => {
            let (x, y) = (b.node(step, first)?, second_node(b, step, second, dims)?);
            let result = activations(b, kind, x, y)?;
            if integer && kind == BinaryKind::Div { b.unary(Function::Trunc, result) } else { Ok(result) }
        }
    }
}

fn second_node(b: &mut Builder<'_>, step: &Step, second: usize, dims: Option<Vec<usize>>) -> Result<NodeId, Problem> {
    let node = b.node(step, second)?;
    dims.map_or(Ok(node), |dims| b.reshape(node, dims))
}

/// Before opset 7 attributes say whether the second operand is broadcast, and at which axis of the first its axes begin: its
/// extents with the axes behind them, so that the rules of today give the same. `None` where it broadcasts as it is.
fn aligned(b: &Builder<'_>, step: &Step, first: usize, second: usize) -> Result<Option<Vec<usize>>, Problem> {
    let attributes = step.attributes();
    if step.opset() >= 7 || !step.domain().is_empty() || !attributes.flag("broadcast", false)? {
        return Ok(None);
    }
    let extents = |index: usize| {
        Ok::<_, Problem>(match b.value(step, index)? {
            Some(Value::Node(node)) => b.dims(node),
            Some(Value::Constant(constant)) => constant.dims().to_vec(),
            _ => vec![],
        })
    };
    let (rank, mut dims) = (extents(first)?.len(), extents(second)?);
    if !attributes.has("axis") || dims.is_empty() {
        return Ok(None);
    }
    let start = axis::axis(attributes.int("axis", 0)?, rank)?;
    let behind = rank.checked_sub(start + dims.len()).ok_or_else(|| {
        invalid(format!("an operand of shape {dims:?} from axis {start} of {rank} on; its axes must lie inside"))
    })?;
    dims.resize(dims.len() + behind, 1);
    Ok(Some(dims))
}

fn activations(b: &mut Builder<'_>, kind: BinaryKind, x: NodeId, y: NodeId) -> Result<NodeId, Problem> {
    match kind {
        BinaryKind::Mul if x == y => b.unary(Function::Pow { exponent: 2.0 }, x),
        BinaryKind::Min | BinaryKind::Max if x == y => Ok(x),
        _ => b.binary(kind, x, y),
    }
}

/// `kind(x, constant)`, or `kind(constant, x)` where the constant is `first`.
pub(super) fn with_constant(
    b: &mut Builder<'_>,
    kind: BinaryKind,
    mut x: NodeId,
    constant: &Constant,
    first: bool,
    integer: bool,
) -> Result<NodeId, Problem> {
    let values = constant.floats();
    let rank = constant.dims().len().max(b.rank(x));
    if constant.dims().iter().product::<usize>() == 1 {
        // A constant of more axes adds axes of extent 1 to the result.
        x = b.with_rank(x, rank)?;
    }
    let same = |wanted: f32| values.iter().all(|&value| value == wanted);
    let neutral = match kind {
        BinaryKind::Add => same(0.0),
        BinaryKind::Mul => same(1.0),
        BinaryKind::Sub => !first && same(0.0),
        BinaryKind::Div | BinaryKind::Pow => !first && same(1.0),
        _ => false,
    };
    let dims = b.dims(x);
    if neutral && covers(constant.dims(), &dims) {
        return Ok(x);
    }
    if let [value] = values[..]
        && let Some(result) = with_number(b, kind, x, value, first)?
    {
        return Ok(result);
    }
    if !(integer && kind == BinaryKind::Div)
        && let Some(values) = per_channel(constant.dims(), &values, &dims)
        && let Some((mul, add)) = affine(kind, &values, first)
    {
        return b.push(Op::ChannelAffine { mul, add }, &[x]);
    }
    let operand = b.literal(constant.dims().to_vec(), values)?;
    let result = if first { b.binary(kind, operand, x)? } else { b.binary(kind, x, operand)? };
    if integer && kind == BinaryKind::Div { b.unary(Function::Trunc, result) } else { Ok(result) }
}

/// The forms of a single number that are no affine map.
fn with_number(
    b: &mut Builder<'_>,
    kind: BinaryKind,
    x: NodeId,
    value: f32,
    first: bool,
) -> Result<Option<NodeId>, Problem> {
    let function = match (kind, first) {
        (BinaryKind::Max, _) if !value.is_nan() => {
            return b.push(Op::Clip(Clip { min: value, max: f32::INFINITY }), &[x]).map(Some);
        }
        (BinaryKind::Min, _) if !value.is_nan() => {
            return b.push(Op::Clip(Clip { min: f32::NEG_INFINITY, max: value }), &[x]).map(Some);
        }
        (BinaryKind::Pow, false) if value == 0.5 => Function::Sqrt,
        (BinaryKind::Pow, false) if value == -1.0 => Function::Reciprocal,
        (BinaryKind::Pow, false) if value.is_finite() => Function::Pow { exponent: value },
        (BinaryKind::Pow, true) if value.is_finite() && value > 0.0 => Function::PowerOf { base: value },
        (BinaryKind::Div, true) if value.is_finite() => {
            let inverse = b.unary(Function::Reciprocal, x)?;
            return b.affine(inverse, value, 0.0).map(Some);
        }
        _ => return Ok(None),
    };
    b.unary(function, x).map(Some)
}

/// The operator as `x * mul + add`; `None` where it is no affine map of `x`.
fn affine(kind: BinaryKind, values: &[f32], first: bool) -> Option<(Vec<f32>, Vec<f32>)> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let each = |map: fn(f32) -> (f32, f32)| Some(values.iter().map(|&value| map(value)).unzip());
    match kind {
        BinaryKind::Add => each(|c| (1.0, c)),
        BinaryKind::Sub if first => each(|c| (-1.0, c)),
        BinaryKind::Sub => each(|c| (1.0, -c)),
        BinaryKind::Mul => each(|c| (c, 0.0)),
        BinaryKind::Div if !first && values.iter().all(|&c| (1.0 / c).is_finite()) => each(|c| (1.0 / c, 0.0)),
        _ => None,
    }
}

/// Whether a constant of these extents leaves the shape of the activation as it is.
fn covers(constant: &[usize], dims: &[usize]) -> bool {
    let Some(offset) = dims.len().checked_sub(constant.len()) else { return false };
    constant.iter().zip(&dims[offset..]).all(|(&c, &d)| c == 1 || c == d)
}

/// A constant as one value a position of axis 1 of an activation of extents `dims`; `None` where it varies along another
/// axis, changes the activation's shape, or there is no axis 1.
pub(super) fn per_channel(constant: &[usize], values: &[f32], dims: &[usize]) -> Option<Vec<f32>> {
    if dims.len() < 2 || !covers(constant, dims) {
        return None;
    }
    let offset = dims.len() - constant.len();
    // Row-major: the axes before axis 1, axis 1, and those after it.
    let extent = |axes: std::ops::Range<usize>| {
        axes.filter(|&axis| axis >= offset).map(|axis| constant[axis - offset]).product::<usize>()
    };
    let (before, channels, after) = (extent(0..1), extent(1..2), extent(2..dims.len()));
    let mut row = Vec::with_capacity(channels);
    for channel in 0..channels {
        let value = values[channel * after];
        let all = (0..before).all(|outer| {
            let start = (outer * channels + channel) * after;
            values[start..start + after].iter().all(|&other| other == value)
        });
        if !all {
            return None;
        }
        row.push(value);
    }
    Some(if channels == 1 { vec![row[0]; dims[1]] } else { row })
}

/// `fmod` 1 keeps the sign of the dividend, 0 that of the divisor.
fn modulo(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let kind = if step.attributes().flag("fmod", false)? { BinaryKind::Fmod } else { BinaryKind::Mod };
    let (x, y) = (b.node(step, 0)?, b.node(step, 1)?);
    one(b.binary(kind, x, y)?)
}

fn select(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let operands = [b.node(step, 0)?, b.node(step, 1)?, b.node(step, 2)?];
    one(b.push(Op::Select, &operands)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_a_channel_is_found() {
        assert_eq!(per_channel(&[3, 1, 1], &[1.0, 2.0, 3.0], &[1, 3, 4, 4]), Some(vec![1.0, 2.0, 3.0]));
        assert_eq!(per_channel(&[], &[5.0], &[1, 2]), Some(vec![5.0, 5.0]));
        assert_eq!(per_channel(&[2], &[5.0, 6.0], &[1, 2]), Some(vec![5.0, 6.0]));
        assert_eq!(per_channel(&[1, 2, 2], &[1.0, 1.0, 2.0, 2.0], &[1, 2, 2]), Some(vec![1.0, 2.0]));
        assert_eq!(per_channel(&[2], &[5.0, 6.0], &[1, 3, 2]), None);
        assert_eq!(per_channel(&[2, 1], &[5.0, 6.0], &[1, 1]), None);
        assert_eq!(per_channel(&[2, 2], &[1.0, 2.0, 1.0, 2.0], &[2, 2]), Some(vec![1.0, 2.0]));
        assert_eq!(per_channel(&[2, 2], &[1.0, 2.0, 1.0, 3.0], &[2, 2]), None);
        assert_eq!(per_channel(&[1, 1, 1], &[1.0], &[3]), None);
    }

    #[test]
    fn arithmetic_with_constants_is_affine() {
        assert_eq!(affine(BinaryKind::Sub, &[2.0], true), Some((vec![-1.0], vec![2.0])));
        assert_eq!(affine(BinaryKind::Div, &[2.0], false), Some((vec![0.5], vec![0.0])));
        assert_eq!(affine(BinaryKind::Div, &[0.0], false), None);
        assert_eq!(affine(BinaryKind::Pow, &[2.0], false), None);
    }
}
