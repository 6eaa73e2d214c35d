//! RotaryEmbedding: pairs of features turned by an angle of their position.
//!
//! Takes `[N, heads, T, D]` or `[N, T, heads * D]` with tables of cosines and sines, by position or for each sample; returns slices,
//! products, sums and concats.
//! Refuses tables without positions whose extents do not fit, and offsets of `com.microsoft` that depend on the input.

use super::axis;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::expand::Expansion;
use crate::import::source::Step;
use crate::onnx::attribute::{int, ints};

pub(super) const RULES: &[(&str, Rule)] =
    &[("RotaryEmbedding", rotary_embedding), ("com.microsoft.RotaryEmbedding", shifted_rotary_embedding)];

/// Where the operands are.
struct Operands {
    cosines: usize,
    sines: usize,
    /// Rows of the tables by position, as a name; `None` where the tables are for each sample.
    positions: Option<String>,
}

fn rank(dims: &[usize]) -> Problem {
    invalid(format!("RotaryEmbedding of {dims:?}; 3 or 4 axes are required"))
}

fn list(values: &[usize]) -> Constant {
    Constant::of_ints(values.iter().map(|&value| i64::try_from(value).unwrap_or(i64::MAX)).collect())
}

fn rotary_embedding(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let nodes = Expansion::of(step);
    let positions = step.input(3).map(str::to_owned);
    rotate(b, step, nodes, &Operands { cosines: 1, sines: 2, positions })
}

/// Positions come second, and may be one offset for all.
fn shifted_rotary_embedding(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let mut nodes = Expansion::of(step);
    let mut positions = nodes.input(1).to_owned();
    let places = match b.value(step, 1)? {
        Some(Value::Node(node)) => b.dims(node),
        Some(Value::Constant(constant)) => constant.dims().to_vec(),
        _ => return Err(invalid("RotaryEmbedding without positions; they are required")),
    };
    if places.len() < 2 {
        if !b.is_constant(step, 1) {
            return Err(unsupported(
                "RotaryEmbedding from an offset that depends on the network's input; one position each is supported",
            ));
        }
        let offset = b.integer(step, 1)?.unwrap_or(0);
        let (batch, steps) = match dims[..] {
            [batch, _, steps, _] | [batch, steps, _] => (batch, steps),
            _ => return Err(rank(&dims)),
        };
        let count = batch.saturating_mul(steps);
        b.spend(count, "positions")?;
        let all: Vec<f64> = (0..count).map(|at| (at % steps) as f64 + offset as f64).collect();
        let kind = crate::onnx::onnx_protobuf::tensor_proto::DataType::Int64;
        positions = nodes.constant(Constant::of_numbers(vec![batch, steps], kind, &all));
    }
    rotate(b, step, nodes, &Operands { cosines: 2, sines: 3, positions: Some(positions) })
}

fn rotate(
    b: &mut Builder<'_>,
    step: &Step,
    mut nodes: Expansion<'_>,
    operands: &Operands,
) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let mut input = nodes.input(0).to_owned();
    // All is done in [N, T, heads, D].
    let extents = match dims[..] {
        [n, heads, steps, width] => {
            input = nodes.node("Transpose", &[&input], vec![ints("perm", vec![0, 2, 1, 3])]);
            [n, steps, heads, width]
        }
        [n, steps, hidden] => {
            let heads = axis::count(attributes.int("num_heads", 0)?, "num_heads")?;
            if heads == 0 || hidden % heads != 0 {
                return Err(invalid(format!("{heads} heads of {hidden} features; they must divide")));
            }
            let shape = nodes.constant(list(&[n, steps, heads, hidden / heads]));
            input = nodes.node("Reshape", &[&input, &shape], Vec::new());
            [n, steps, heads, hidden / heads]
        }
        _ => return Err(rank(&dims)),
    };
    let [n, steps, heads, width] = extents;
    let turned = match axis::count(attributes.int("rotary_embedding_dim", 0)?, "rotary_embedding_dim")? {
        0 if width % 2 == 0 => width,
        0 => return Err(invalid(format!("RotaryEmbedding of heads of {width} features; they must be pairs"))),
        stated if stated <= width && stated % 2 == 0 => stated,
        stated => return Err(invalid(format!("{stated} features of {width}; they must be pairs"))),
    };
    let half = turned / 2;
    let shape = nodes.constant(list(&[n, steps, 1, half]));
    let mut table = |index: usize| {
        let mut table = nodes.input(index).to_owned();
        if let Some(positions) = &operands.positions {
            table = nodes.node("Gather", &[&table, positions], vec![int("axis", 0)]);
        }
        nodes.node("Reshape", &[&table, &shape], Vec::new())
    };
    let (cosines, sines) = (table(operands.cosines), table(operands.sines));
    let interleaved = attributes.flag("interleaved", false)?;
    let last = nodes.constant(list(&[3]));
    let mut part = |start: usize, end: usize, stride: usize| {
        let (start, end) = (nodes.constant(list(&[start])), nodes.constant(list(&[end])));
        let stride = nodes.constant(list(&[stride]));
        nodes.node("Slice", &[&input, &start, &end, &last, &stride], Vec::new())
    };
    let (first, second) =
        if interleaved { (part(0, turned, 2), part(1, turned, 2)) } else { (part(0, half, 1), part(half, turned, 1)) };
    let rest = (turned < width).then(|| part(turned, width, 1));
    let mut turn = |own: &str, other: &str, operator: &str| {
        let own = nodes.node("Mul", &[&first, own], Vec::new());
        let other = nodes.node("Mul", &[&second, other], Vec::new());
        nodes.node(operator, &[&own, &other], Vec::new())
    };
    let (real, imaginary) = (turn(&cosines, &sines, "Sub"), turn(&sines, &cosines, "Add"));
    let mut result = if interleaved {
        let column = nodes.constant(list(&[n, steps, heads, half, 1]));
        let real = nodes.node("Reshape", &[&real, &column], Vec::new());
        let imaginary = nodes.node("Reshape", &[&imaginary, &column], Vec::new());
        let pairs = nodes.node("Concat", &[&real, &imaginary], vec![int("axis", 4)]);
        let shape = nodes.constant(list(&[n, steps, heads, turned]));
        nodes.node("Reshape", &[&pairs, &shape], Vec::new())
    } else {
        nodes.main("Concat", &[&real, &imaginary], vec![int("axis", 3)])
    };
    if let Some(rest) = rest {
        result = nodes.node("Concat", &[&result, &rest], vec![int("axis", 3)]);
    }
    let scale = attributes.float("scale", 1.0)?;
    if scale != 1.0 {
        return Err(unsupported(format!("RotaryEmbedding with scale {scale}; runtimes ignore it, so 1 is required")));
    }
    result = if dims.len() == 4 {
        nodes.node("Transpose", &[&result], vec![ints("perm", vec![0, 2, 1, 3])])
    } else {
        let shape = nodes.constant(list(&dims));
        nodes.node("Reshape", &[&result, &shape], Vec::new())
    };
    Ok(vec![nodes.value(b, &result)?])
}
