//! Rows of a table by computed indices: embeddings.

/// `y[i, ..] = table[x[i], ..]`, rows of `width` values. An index is rounded to the nearest integer
/// (of two the even one) and clamped to the rows there are; NaN is 0.
pub fn lookup(x: &[f32], y: &mut [f32], table: &[f32], width: usize) {
    let rows = table.len() / width;
    for (y, &x) in y.chunks_exact_mut(width).zip(x) {
        // The conversion saturates, and makes a NaN 0.
        let row = (x.round_ties_even() as usize).min(rows - 1);
        y.copy_from_slice(&table[row * width..][..width]);
    }
}
