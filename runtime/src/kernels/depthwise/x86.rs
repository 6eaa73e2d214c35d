//! One loop nest for every x86 instruction set.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

use super::{Layer, ROWS, Rows, VECTORS};
use crate::isa::{Available, Avx2, Avx2Vnni, Avx512, Avx512Vnni, Isa};
use crate::kernels::Memory;
use crate::kernels::lanes::{Lanes, avx2, avx2vnni, avx512, avx512vnni};
use std::ops::Range;

macro_rules! entry {
    ($features:literal, $lanes_type:ty, $lanes:expr) => {{
        #[target_feature(enable = $features)]
        unsafe fn entry(lanes: $lanes_type, layer: &Layer, memory: &Memory, range: Range<usize>) {
            // SAFETY: the features are enabled here; the memory is as large as the layer reaches (`Kernel::run`).
            unsafe { rows(lanes, layer, memory, range) }
        }
        let lanes = $lanes;
        // SAFETY: `lanes` holds the proof that the machine has the features; the rest is the contract of `Kernel::run`.
        let rows: Rows = Box::new(move |layer, memory, range| unsafe { entry(lanes, layer, memory, range) });
        (<$lanes_type as Lanes>::LANES, rows)
    }};
}

/// Lanes of a vector, and the kernel for weights of `bits` bits, bound to the proof that the machine has its instructions.
pub(super) fn rows_for(available: Available, bits: u8) -> Option<(usize, Rows)> {
    Some(match available.isa() {
        Isa::Scalar => return None,
        Isa::Avx2 => {
            let proof = Avx2::probe()?;
            if bits == 8 {
                entry!("avx2", avx2::Full, avx2::Full(proof))
            } else {
                entry!("avx2", avx2::Narrow, avx2::Narrow(proof))
            }
        }
        Isa::Avx2Vnni => entry!("avx2,avxvnni", avx2vnni::Vnni, avx2vnni::Vnni(Avx2Vnni::probe()?)),
        Isa::Avx512 => {
            let proof = Avx512::probe()?;
            if bits == 8 {
                entry!("avx2,avx512f,avx512bw,avx512dq,avx512vl", avx512::Full, avx512::Full(proof))
            } else {
                entry!("avx2,avx512f,avx512bw,avx512dq,avx512vl", avx512::Narrow, avx512::Narrow(proof))
            }
        }
        Isa::Avx512Vnni | Isa::Amx => {
            let lanes = avx512vnni::Vnni(Avx512Vnni::probe()?);
            entry!("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", avx512vnni::Vnni, lanes)
        }
    })
}

/// Rows of the result, all channels.
///
/// # Safety
/// The caller enables the target features of `D`; the layer's windows lie in the arena, with a vector of slack behind the last.
#[inline(always)]
unsafe fn rows<D: Lanes>(lanes: D, layer: &Layer, memory: &Memory, range: Range<usize>) {
    let bytes = 4 * D::LANES;
    let grid = &layer.grid;
    let row_bytes = grid.width * layer.y.pixel;
    for block in 0..layer.blocks {
        for row in range.clone() {
            let x = memory.codes_ptr(grid.origin + row * grid.row + block * bytes, 0).cast_const();
            let (y_len, y_at) = if layer.flat { (row_bytes, 0) } else { (row_bytes - block * bytes, block * bytes) };
            let y = memory.codes_ptr(layer.y.at(row, 0) + y_at, y_len);
            // SAFETY: by the contract of the caller; the windows of this row begin at `x`, its results at `y`.
            unsafe {
                if layer.flat {
                    let mut at = 0;
                    while at < row_bytes {
                        let sums = window(lanes, layer, block, x.add(at));
                        finish(lanes, layer, block, sums, y.add(at), bytes.min(row_bytes - at));
                        at += bytes;
                    }
                    continue;
                }
                let count = bytes.min(layer.y.pixel - block * bytes);
                if [layer.rows_of_taps, layer.columns_of_taps] == [3, 3] && grid.pixel == layer.tap_steps[1] {
                    sliding(lanes, layer, block, x, y, count);
                    continue;
                }
                for column in 0..grid.width {
                    let sums = window(lanes, layer, block, x.add(column * grid.pixel));
                    finish(lanes, layer, block, sums, y.add(column * layer.y.pixel), count);
                }
            }
        }
    }
}

/// `rows <= 4` rows of one column of taps, interleaved.
#[inline(always)]
unsafe fn column<D: Lanes>(lanes: D, x: *const u8, step: usize, rows: usize) -> [D::Codes; VECTORS] {
    // SAFETY: the taps lie in the arena; rows of taps beyond the last are not read.
    unsafe {
        let a = lanes.bytes(x);
        let b = if rows > 1 { lanes.bytes(x.add(step)) } else { lanes.zero_bytes() };
        let c = if rows > 2 { lanes.bytes(x.add(2 * step)) } else { lanes.zero_bytes() };
        let d = if rows > 3 { lanes.bytes(x.add(3 * step)) } else { lanes.zero_bytes() };
        let [ab_low, ab_high] = lanes.interleave_bytes(a, b);
        let [cd_low, cd_high] = lanes.interleave_bytes(c, d);
        let [q0, q1] = lanes.interleave_pairs(ab_low, cd_low);
        let [q2, q3] = lanes.interleave_pairs(ab_high, cd_high);
        [lanes.codes(q0), lanes.codes(q1), lanes.codes(q2), lanes.codes(q3)]
    }
}

/// The biases of a block.
#[inline(always)]
unsafe fn start<D: Lanes>(lanes: D, layer: &Layer, block: usize) -> [D::Sum; VECTORS] {
    // SAFETY: there is a bias for each lane of each block.
    unsafe {
        let biases = layer.biases.as_ptr().add(block * VECTORS * D::LANES);
        [
            lanes.sum(biases),
            lanes.sum(biases.add(D::LANES)),
            lanes.sum(biases.add(2 * D::LANES)),
            lanes.sum(biases.add(3 * D::LANES)),
        ]
    }
}

/// The weights of a column of taps.
#[inline(always)]
unsafe fn weights<D: Lanes>(lanes: D, column: *const u8) -> [D::Weights; VECTORS] {
    let bytes = ROWS * D::LANES;
    // SAFETY: a column of taps has four vectors of weights.
    unsafe {
        [
            lanes.weights(lanes.bytes(column)),
            lanes.weights(lanes.bytes(column.add(bytes))),
            lanes.weights(lanes.bytes(column.add(2 * bytes))),
            lanes.weights(lanes.bytes(column.add(3 * bytes))),
        ]
    }
}

#[inline(always)]
unsafe fn dot<D: Lanes>(
    lanes: D,
    sums: [D::Sum; VECTORS],
    q: [D::Codes; VECTORS],
    w: [D::Weights; VECTORS],
) -> [D::Sum; VECTORS] {
    // SAFETY: by the contract of the caller.
    unsafe {
        [
            lanes.dot(sums[0], q[0], w[0]),
            lanes.dot(sums[1], q[1], w[1]),
            lanes.dot(sums[2], q[2], w[2]),
            lanes.dot(sums[3], q[3], w[3]),
        ]
    }
}

/// The accumulators of one window.
#[inline(always)]
unsafe fn window<D: Lanes>(lanes: D, layer: &Layer, block: usize, x: *const u8) -> [D::Sum; VECTORS] {
    let column_bytes = VECTORS * ROWS * D::LANES;
    let taps = layer.columns_of_taps;
    // SAFETY: by the contract of the caller.
    unsafe {
        let mut sums = start(lanes, layer, block);
        let mut w = layer.weights.as_ptr().add(block * layer.row_groups * taps * column_bytes);
        for group in 0..layer.row_groups {
            let rows = (layer.rows_of_taps - group * ROWS).min(ROWS);
            let from = x.add(group * ROWS * layer.tap_steps[0]);
            for tap in 0..taps {
                let from = from.add(tap * layer.tap_steps[1]);
                let q = if rows == 3 {
                    column(lanes, from, layer.tap_steps[0], 3)
                } else {
                    column(lanes, from, layer.tap_steps[0], rows)
                };
                sums = dot(lanes, sums, q, weights(lanes, w));
                w = w.add(column_bytes);
            }
        }
        sums
    }
}

/// A row of windows of 3 columns that are one column apart: each column is interleaved once.
#[inline(always)]
unsafe fn sliding<D: Lanes>(lanes: D, layer: &Layer, block: usize, x: *const u8, y: *mut u8, count: usize) {
    let column_bytes = VECTORS * ROWS * D::LANES;
    let [step, next] = layer.tap_steps;
    // SAFETY: by the contract of the caller.
    unsafe {
        let w = layer.weights.as_ptr().add(block * 3 * column_bytes);
        let w = [weights(lanes, w), weights(lanes, w.add(column_bytes)), weights(lanes, w.add(2 * column_bytes))];
        let mut left = column(lanes, x, step, 3);
        let mut middle = column(lanes, x.add(next), step, 3);
        for at in 0..layer.grid.width {
            let right = column(lanes, x.add((at + 2) * next), step, 3);
            let sums = dot(lanes, start(lanes, layer, block), left, w[0]);
            let sums = dot(lanes, dot(lanes, sums, middle, w[1]), right, w[2]);
            finish(lanes, layer, block, sums, y.add(at * layer.y.pixel), count);
            (left, middle) = (middle, right);
        }
    }
}

#[inline(always)]
unsafe fn finish<D: Lanes>(lanes: D, layer: &Layer, block: usize, sums: [D::Sum; VECTORS], y: *mut u8, count: usize) {
    // SAFETY: there is a multiplier for each lane of each block; `count` results lie at `y`.
    unsafe {
        let multipliers = layer.multipliers.as_ptr().add(block * VECTORS * D::LANES);
        lanes.store(lanes.requantize_interleaved(sums, multipliers, layer.clamp), y, count);
    }
}
