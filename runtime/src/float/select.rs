//! A choice between two values, with broadcast.

use super::walk::Walk;

/// `y[i..] = c[i..] != 0 ? a[i..] : b[i..]`, extents and strides (of `c`, `a`, `b`) as in
/// [`super::binary`]. NaN is not 0.
pub fn select(c: &[f32], a: &[f32], b: &[f32], y: &mut [f32], extents: &[u32], strides: [&[u32]; 3]) {
    let walk = Walk::new(extents, strides);
    let (len, [step_c, step_a, step_b]) = (walk.row_len(), walk.row_strides());
    let mut rows = y.chunks_exact_mut(len);
    walk.rows(|[first_c, first_a, first_b]| {
        let Some(y) = rows.next() else { return };
        for (i, y) in y.iter_mut().enumerate() {
            let condition = c[first_c + i * step_c] != 0.0;
            *y = if condition { a[first_a + i * step_a] } else { b[first_b + i * step_b] };
        }
    });
}
