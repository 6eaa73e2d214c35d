//! Fully connected layers: `y = x W + b` with `W` `[inputs, outputs]`, over the tiled products of [`super::tiles`].

use super::partition::{PARTS, part_size};
use super::simd::Isa;
use super::tiles::{PackedWeight, Position, Run, correlate, multiply};
use rayon::prelude::*;

/// Extents of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Values read of each sample.
    pub inputs: usize,
    /// Values made of each sample.
    pub outputs: usize,
}

/// Columns one task makes; two registers of the widest instruction set, so that no task depends on it.
const COLUMNS: usize = 32;

impl Linear {
    /// `y[n][o] = sum_i x[n][i] * weight[i][o] + bias[o]`.
    pub fn forward(&self, isa: Isa, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let rows: Vec<usize> = (0..self.inputs).map(|i| i * self.outputs).collect();
        product(isa, x, self.inputs, &rows, self.outputs, weight, 1, bias)
    }

    /// `dx[n][i] = sum_o dy[n][o] * weight[i][o]`.
    pub fn input_gradient(&self, isa: Isa, dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let rows: Vec<usize> = (0..self.outputs).collect();
        product(isa, dy, self.outputs, &rows, self.inputs, weight, self.outputs, None)
    }

    /// `dw[i][o] = sum_n x[n][i] * dy[n][o]`.
    pub fn weight_gradient(&self, isa: Isa, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut dw = vec![0.0; self.inputs * self.outputs];
        let batch = x.len() / self.inputs;
        let positions: Vec<_> =
            (0..batch).map(|n| Position { input: n * self.inputs, output: n * self.outputs }).collect();
        // A multiple of 12 rows, the height of a tile.
        let size = part_size(self.inputs, PARTS).next_multiple_of(12);
        dw.par_chunks_mut(size * self.outputs).enumerate().for_each(|(part, dw)| {
            let run = Run { offset: part * size, row: 0, len: dw.len() / self.outputs };
            correlate(isa, x, &positions, &[run], dy, self.outputs, dw, self.outputs);
        });
        dw
    }

    /// `db[o] = sum_n dy[n][o]`.
    pub fn bias_gradient(&self, dy: &[f32]) -> Vec<f32> {
        let mut db = vec![0.0; self.outputs];
        for row in dy.chunks_exact(self.outputs) {
            for (sum, value) in db.iter_mut().zip(row) {
                *sum += value;
            }
        }
        db
    }
}

/// `y[n][c] = sum_r x[n][r] * weight[rows[r] + c * step]`.
#[expect(clippy::too_many_arguments, reason = "one matrix in two orders")]
fn product(
    isa: Isa,
    x: &[f32],
    inner: usize,
    rows: &[usize],
    columns: usize,
    weight: &[f32],
    step: usize,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let batch = x.len() / inner;
    let runs = [Run { offset: 0, row: 0, len: inner }];
    let blocks: Vec<Vec<f32>> = (0..columns.div_ceil(COLUMNS))
        .into_par_iter()
        .map(|block| {
            let first = block * COLUMNS;
            let width = COLUMNS.min(columns - first);
            let packed = PackedWeight::new(isa, rows, width, &weight[first * step..], step);
            let positions: Vec<_> = (0..batch).map(|n| Position { input: n * inner, output: n * width }).collect();
            let mut y = vec![0.0; batch * width];
            multiply(isa, x, &positions, &runs, &packed, bias.map(|b| &b[first..]), &mut y);
            y
        })
        .collect();
    let mut y = Vec::with_capacity(batch * columns);
    for n in 0..batch {
        for (block, part) in blocks.iter().enumerate() {
            let width = COLUMNS.min(columns - block * COLUMNS);
            y.extend_from_slice(&part[n * width..(n + 1) * width]);
        }
    }
    y
}
