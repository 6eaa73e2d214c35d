//! Softmax over all values of a slot.

use crate::float;

/// Softmax of `values` in place, or its logarithm: [`float::softmax`] over all of them.
pub fn softmax(values: &mut [f32], log: bool) {
    float::softmax(values, log, values.len(), 1);
}

/// Softmax over the middle of `[outer, len, inner]`, or its logarithm.
pub fn softmax_along(x: &[f32], y: &mut [f32], [_, len, inner]: [usize; 3], log: bool) {
    y.copy_from_slice(x);
    float::softmax(y, log, len, inner);
}
