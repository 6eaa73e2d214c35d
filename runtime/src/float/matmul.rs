//! Products of two matrices of activations.

use super::canonical;
use super::walk::Walk;

/// Columns of the result that are summed at the same time.
const COLUMNS: usize = 16;

/// Rows of the result that read the same columns of `b` at the same time.
const ROWS: usize = 2;

/// Extents of a batched product: `y[.., m, n] = a[.., m, k] b[.., k, n]`.
#[derive(Clone, Copy, Debug)]
pub struct MatMul<'a> {
    /// Extents before the matrices; `y` is dense in their order.
    pub batch: &'a [u32],
    /// Elements of `a` between the matrices of each axis of the batch; 0 repeats.
    pub strides_a: &'a [u32],
    /// Elements of `b` between the matrices of each axis of the batch; 0 repeats.
    pub strides_b: &'a [u32],
    /// Rows of `a` and `y`.
    pub m: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// Columns of `b` and `y`.
    pub n: usize,
}

/// Each result is the sum of its products in f64, in ascending order of `k` from 0, rounded once.
/// Matrices are dense, row by row.
pub fn matmul(product: MatMul, a: &[f32], b: &[f32], y: &mut [f32]) {
    let MatMul { batch, strides_a, strides_b, m, k, n } = product;
    let walk = Walk::new(batch, [strides_a, strides_b]);
    let (len, [step_a, step_b]) = (walk.row_len(), walk.row_strides());
    let mut matrices = y.chunks_exact_mut(m * n);
    walk.rows(|[first_a, first_b]| {
        for (i, y) in (0..len).zip(&mut matrices) {
            let (a, b) = (&a[first_a + i * step_a..][..m * k], &b[first_b + i * step_b..][..k * n]);
            one(a, b, y, k, n);
        }
    });
}

/// One product.
fn one(a: &[f32], b: &[f32], y: &mut [f32], k: usize, n: usize) {
    for (a, y) in a.chunks(ROWS * k).zip(y.chunks_mut(ROWS * n)) {
        let mut column = 0;
        while column < n {
            let width = COLUMNS.min(n - column);
            match (a.len() / k, width) {
                (ROWS, COLUMNS) => block::<ROWS, COLUMNS>(a, &b[column..], &mut y[column..], k, n),
                (_, COLUMNS) => block::<1, COLUMNS>(a, &b[column..], &mut y[column..], k, n),
                (rows, _) => (0..rows * width).for_each(|i| {
                    let (row, column) = (i / width, column + i % width);
                    block::<1, 1>(&a[row * k..][..k], &b[column..], &mut y[row * n + column..], k, n);
                }),
            }
            column += width;
        }
    }
}

/// `R` rows and `C` columns of the result; `b` and `y` begin at the first of the columns and have
/// `n` a row.
#[inline(always)]
fn block<const R: usize, const C: usize>(a: &[f32], b: &[f32], y: &mut [f32], k: usize, n: usize) {
    let mut sums = [[0.0f64; C]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|row| &a[row * k..][..k]);
    for at in 0..k {
        let b: [f64; C] = std::array::from_fn(|column| f64::from(b[at * n..][..C][column]));
        for (sums, a) in sums.iter_mut().zip(rows) {
            let a = f64::from(a[at]);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (y, &sum) in y[row * n..][..C].iter_mut().zip(sums) {
            *y = canonical(sum as f32);
        }
    }
}
