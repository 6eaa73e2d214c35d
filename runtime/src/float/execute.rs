//! An operator of a plan, on the slots it names.

use super::{
    MatMul, Recurrent, binary, concat, lookup, matmul, movement, recurrent, reduce, resample, select, softmax, unary,
};
use crate::program::{FloatId, Op, Program};
use std::ops::Range;

/// Bytes of the constants section that an operator on floats reads, as f32; none for most.
pub(crate) fn constants(program: &Program, op: &Op) -> Range<usize> {
    let (offset, len) = match *op {
        Op::FloatConstant { y, constants_offset } => (constants_offset, program.float_len(y)),
        Op::FloatLookup { constants_offset, rows, width, .. } => (constants_offset, rows as usize * width as usize),
        Op::FloatRecurrent { kind, hidden, peepholes, constants_offset, .. } => {
            let hidden = hidden as usize;
            let len = kind.gates() * (hidden + 1) * hidden + if peepholes { 3 * hidden } else { 0 };
            (constants_offset, len)
        }
        _ => (0, 0),
    };
    offset as usize..offset as usize + 4 * len
}

/// The values of little-endian bytes.
pub(crate) fn decoded(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

/// Computes `y`, the slot that an operator on floats writes; `read` yields those that it reads, `constants` are the values at
/// [`constants`]. Operators on tensors do nothing. Allocates nothing.
///
/// # Panics
/// Where the program is not verified, or a slice is not as long as its slot.
pub(crate) fn execute<'a>(op: &Op, read: &dyn Fn(FloatId) -> &'a [f32], constants: &[f32], y: &mut [f32]) {
    match *op {
        Op::FloatUnary { x, function, .. } => unary(function, read(x), y),
        Op::FloatBinary { kind, a, b, ref extents, ref strides_a, ref strides_b, .. } => {
            binary(kind, read(a), read(b), y, extents, strides_a, strides_b);
        }
        Op::FloatSelect { c, a, b, ref extents, ref strides_c, ref strides_a, ref strides_b, .. } => {
            select(read(c), read(a), read(b), y, extents, [strides_c, strides_a, strides_b]);
        }
        Op::FloatMove { x, ref tables, fill, .. } => movement(read(x), y, tables, fill),
        Op::FloatConcat { ref xs, outer, .. } => concat(xs.iter().map(|&x| read(x)), y, outer as usize),
        Op::FloatReduce { kind, x, len, inner, .. } => reduce(kind, read(x), y, len as usize, inner as usize),
        Op::Softmax { x, log, len, inner, .. } => {
            y.copy_from_slice(read(x));
            softmax(y, log, len as usize, inner as usize);
        }
        Op::FloatMatMul { a, b, ref batch, ref strides_a, ref strides_b, m, k, n, .. } => {
            let [m, k, n] = [m, k, n].map(|extent| extent as usize);
            matmul(MatMul { batch, strides_a, strides_b, m, k, n }, read(a), read(b), y);
        }
        Op::FloatConstant { .. } => y.copy_from_slice(constants),
        Op::FloatResample { x, len, inner, ref taps, .. } => {
            resample(read(x), y, taps, len as usize, inner as usize);
        }
        Op::FloatRecurrent { kind, ref xs, reverse, steps, batch, hidden, ref functions, clip, .. } => {
            let [steps, batch, hidden] = [steps, batch, hidden].map(|extent| extent as usize);
            let (weights, rest) = constants.split_at(kind.gates() * hidden * hidden);
            let (biases, peepholes) = rest.split_at(kind.gates() * hidden);
            let cell = Recurrent { kind, reverse, steps, batch, hidden, functions, clip, weights, biases, peepholes };
            let state = |at: usize| xs.get(at).map(|&state| read(state));
            recurrent(cell, read(xs[0]), [state(1), state(2)], y);
        }
        Op::FloatLookup { x, width, .. } => lookup(read(x), y, constants, width as usize),
        Op::Conv(_)
        | Op::Quantize { .. }
        | Op::MaxPool { .. }
        | Op::AveragePool { .. }
        | Op::Arithmetic { .. }
        | Op::Concat { .. }
        | Op::Affine { .. }
        | Op::Constant { .. }
        | Op::Table { .. }
        | Op::Move { .. }
        | Op::Dequantize { .. } => {}
    }
}
