//! What the formulas of the [table](super::table) are made of, in f64.

use super::elementary;
use crate::float::canonical;
use std::f64::consts::PI;

/// A parameter as f64.
#[inline(always)]
pub(super) fn wide(parameter: f32) -> f64 {
    f64::from(canonical(parameter))
}

/// 1 or 0.
#[inline(always)]
pub(super) fn truth(condition: bool) -> f64 {
    if condition { 1.0 } else { 0.0 }
}

/// `x * gate`, where `gate` is 0 at minus infinity.
#[inline(always)]
pub(super) fn gated(x: f64, gate: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { x * gate }
}

/// `x * sigmoid(alpha * x)`.
#[inline(always)]
pub(super) fn swish(x: f64, alpha: f64) -> f64 {
    let argument = alpha * x;
    if argument == f64::NEG_INFINITY { 0.0 } else { x * elementary::sigmoid(argument) }
}

/// `alpha * (exp(x) - 1)` below 0, `x` from there.
#[inline(always)]
pub(super) fn elu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * elementary::exp_m1(x) } else { x }
}

/// Twice the argument of the tanh in `gelu_tanh`.
#[inline(always)]
pub(super) fn gelu_argument(x: f64) -> f64 {
    2.0 * (2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)
}

/// The slope of [`gelu_argument`].
pub(super) fn gelu_argument_slope(x: f64) -> f64 {
    2.0 * (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x)
}

/// `min(max(x, lo), hi)`; NaN stays.
#[inline(always)]
pub(super) fn clip(x: f64, lo: f64, hi: f64) -> f64 {
    let raised = if x < lo { lo } else { x };
    if raised > hi { hi } else { raised }
}

/// Nearer to 0 by `bias` outside of `-lambd..=lambd`, 0 inside; NaN stays.
#[inline(always)]
pub(super) fn shrink(x: f64, lambd: f64, bias: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x < -lambd {
        x + bias
    } else if x > lambd {
        x - bias
    } else {
        0.0
    }
}

/// `x ^ y`; NaN where either is, `1 ^ NaN` and `NaN ^ 0` too.
pub(crate) fn power(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        f64::NAN
    } else if y == 2.0 {
        x * x
    } else {
        libm::pow(x, y)
    }
}

/// The slope of the sigmoid.
pub(super) fn bell(x: f64) -> f64 {
    elementary::sigmoid(x) * elementary::sigmoid(-x)
}

/// `1 - tanh(x)^2` without cancellation.
pub(super) fn tanh_slope(x: f64) -> f64 {
    let c = libm::cosh(x);
    1.0 / (c * c)
}

/// The slope of `x * tanh(softplus(x))`.
pub(super) fn mish_slope(x: f64) -> f64 {
    let gate = elementary::tanh_softplus(x);
    gate + x * ((1.0 - gate * gate) * elementary::sigmoid(x))
}
