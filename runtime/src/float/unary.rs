//! A function of every value.

use crate::function::Function;

/// `y[i] = function(x[i])`.
#[inline(always)]
pub fn unary(function: Function, x: &[f32], y: &mut [f32]) {
    function.map(x, y);
}
