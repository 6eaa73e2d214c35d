//! A function of every value.

use crate::function::Function;

/// `y[i] = function(x[i])`.
pub fn unary(function: Function, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = function.eval(x);
    }
}
