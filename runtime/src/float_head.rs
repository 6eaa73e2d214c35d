//! Softmax over all values of a slot.

use crate::float;

/// Softmax of `values` in place, or its logarithm: [`float::softmax`] over all of them.
pub fn softmax(values: &mut [f32], log: bool) {
    float::softmax(values, log, values.len(), 1);
}
