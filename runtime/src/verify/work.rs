//! How much an operator computes, as every executor may do it.

use crate::program::{Conv, Op, Program, Window};

/// Most elementary steps of all operators of a program: products, taps, values moved, float operations.
pub const MAX_WORK: u64 = 1 << 42;

/// Steps of a value of a function: a few dozen operations.
const FUNCTION: u64 = 64;

/// Elementary steps of a checked program, at most [`MAX_WORK`]: what a caller who runs artifacts of others may bound further.
pub fn steps(program: &Program) -> u64 {
    program.ops.iter().fold(0u64, |sum, op| sum.saturating_add(of_operator(program, op)))
}

/// Elementary steps of an operator whose extents are right.
pub(crate) fn of_operator(program: &Program, op: &Op) -> u64 {
    let tensor = |id| program.tensor(id).len() as u64;
    let floats = |id| program.float_len(id) as u64;
    let product = |counts: &[u64]| counts.iter().fold(1u64, |product, &count| product.saturating_mul(count));
    let of_axes = |len: u64, axes: usize| product(&[len, 1 + axes as u64]);
    match op {
        Op::Conv(conv) => layer(program, conv),
        Op::MaxPool { y, window, .. } | Op::AveragePool { y, window, .. } => product(&[tensor(*y), taps(window)]),
        Op::Quantize { y, .. } | Op::Affine { y, .. } | Op::Constant { y, .. } | Op::Table { y, .. } => tensor(*y),
        Op::Concat { y, .. } => tensor(*y),
        Op::Arithmetic { y, extents, .. } => of_axes(tensor(*y), extents.len()),
        Op::Move { y, tables, .. } => of_axes(tensor(*y), tables.len()),
        Op::Dequantize { y, .. } | Op::FloatConstant { y, .. } | Op::FloatConcat { y, .. } => floats(*y),
        Op::FloatUnary { y, .. } => product(&[FUNCTION, floats(*y)]),
        Op::FloatBinary { y, extents, .. } => product(&[FUNCTION, of_axes(floats(*y), extents.len())]),
        Op::FloatSelect { y, extents, .. } => of_axes(floats(*y), extents.len()),
        Op::FloatMove { y, tables, .. } => of_axes(floats(*y), tables.len()),
        Op::FloatReduce { x, .. } | Op::Softmax { x, .. } => product(&[FUNCTION, floats(*x)]),
        Op::FloatMatMul { y, k, batch, .. } => product(&[floats(*y), u64::from(*k) + batch.len() as u64]),
        Op::FloatResample { outer, inner, taps, .. } => {
            let taps: u64 = taps.iter().map(|taps| 1 + taps.len() as u64).sum();
            product(&[u64::from(*outer), u64::from(*inner), taps])
        }
        Op::FloatLookup { y, .. } => floats(*y),
        // A product and a sum a weight, and functions of every cell.
        Op::FloatRecurrent { kind, steps, batch, hidden, .. } => {
            let cells = product(&[(*steps).into(), (*batch).into(), (*hidden).into(), kind.gates() as u64]);
            product(&[cells, FUNCTION.saturating_add((*hidden).into())])
        }
    }
}

fn taps(window: &Window) -> u64 {
    u64::from(window.kernel[0]) * u64::from(window.kernel[1])
}

/// Products of a layer, and the codes of its windows, which may be gathered first.
fn layer(program: &Program, conv: &Conv) -> u64 {
    let x = program.tensor(conv.x);
    let [height, width] = program.conv_output(conv).map(u64::from);
    let depth = taps(&conv.window).saturating_mul((x.channels / conv.groups).into());
    let rows = u64::from(conv.outputs).saturating_add(conv.groups.into());
    (height * width).saturating_mul(depth).saturating_mul(rows)
}
