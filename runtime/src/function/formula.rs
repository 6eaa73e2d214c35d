//! The formulas of [`Function`] and their derivatives, in f64.

use super::{Function, elementary};
use crate::float::canonical;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// A parameter as f64.
#[inline(always)]
fn wide(parameter: f32) -> f64 {
    f64::from(canonical(parameter))
}

#[inline(always)]
fn truth(condition: bool) -> f64 {
    if condition { 1.0 } else { 0.0 }
}

/// `x * gate`, where `gate` is 0 at minus infinity.
#[inline(always)]
fn gated(x: f64, gate: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { x * gate }
}

/// `alpha * (exp(x) - 1)` below 0, `x` from there.
#[inline(always)]
fn elu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * elementary::exp_m1(x) } else { x }
}

/// Twice the argument of the tanh in `gelu_tanh`.
#[inline(always)]
fn gelu_argument(x: f64) -> f64 {
    2.0 * (2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)
}

/// `min(max(x, lo), hi)`; NaN stays.
#[inline(always)]
fn clip(x: f64, lo: f64, hi: f64) -> f64 {
    let raised = if x < lo { lo } else { x };
    if raised > hi { hi } else { raised }
}

/// The function at `x`, to be rounded to f32.
#[inline(always)]
pub(super) fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Identity => x,
        Function::Sigmoid => elementary::sigmoid(x),
        Function::Tanh => elementary::tanh(x),
        Function::HardSigmoid { alpha, beta } => clip(wide(alpha) * x + wide(beta), 0.0, 1.0),
        Function::HardSwish => gated(x, clip(x / 6.0 + 0.5, 0.0, 1.0)),
        Function::Silu => gated(x, elementary::sigmoid(x)),
        Function::Swish { alpha } => {
            let argument = wide(alpha) * x;
            if argument == f64::NEG_INFINITY { 0.0 } else { x * elementary::sigmoid(argument) }
        }
        Function::LeakyRelu { alpha } => {
            if x < 0.0 {
                wide(alpha) * x
            } else {
                x
            }
        }
        Function::Elu { alpha } => elu(x, wide(alpha)),
        Function::Selu { alpha, gamma } => wide(gamma) * elu(x, wide(alpha)),
        Function::Celu { alpha } => {
            let alpha = wide(alpha);
            if x < 0.0 { alpha * elementary::exp_m1(x / alpha) } else { x }
        }
        Function::Gelu => gated(x, 0.5 * elementary::erfc(-x * FRAC_1_SQRT_2)),
        Function::GeluTanh => gated(x, elementary::sigmoid(gelu_argument(x))),
        Function::Softplus => elementary::softplus(x),
        Function::Softsign => {
            if x.is_infinite() {
                x.signum()
            } else {
                x / (1.0 + x.abs())
            }
        }
        Function::Mish => gated(x, elementary::tanh_softplus(x)),
        Function::ThresholdedRelu { alpha } => {
            if x > wide(alpha) || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        Function::Shrink { lambd, bias } => {
            let (lambd, bias) = (wide(lambd), wide(bias));
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
        Function::Clip { min, max } => clip(x, wide(min), wide(max)),
        Function::Exp => elementary::exp(x),
        Function::Log => libm::log(x),
        Function::Sqrt => x.sqrt(),
        Function::Abs => x.abs(),
        Function::Neg => -x,
        Function::Reciprocal => 1.0 / x,
        Function::Erf => libm::erf(x),
        Function::Sign => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        Function::Round => x.round_ties_even(),
        Function::Floor => x.floor(),
        Function::Ceil => x.ceil(),
        Function::Trunc => x.trunc(),
        Function::Sin => libm::sin(x),
        Function::Cos => libm::cos(x),
        Function::Tan => libm::tan(x),
        Function::Asin => libm::asin(x),
        Function::Acos => libm::acos(x),
        Function::Atan => libm::atan(x),
        Function::Sinh => libm::sinh(x),
        Function::Cosh => libm::cosh(x),
        Function::Asinh => libm::asinh(x),
        Function::Acosh => libm::acosh(x),
        Function::Atanh => libm::atanh(x),
        Function::Not => truth(x == 0.0),
        Function::IsNaN => truth(x.is_nan()),
        Function::IsInf { negative, positive } => {
            let is_wanted = |parameter: f32| canonical(parameter) != 0.0;
            truth(x == f64::NEG_INFINITY && is_wanted(negative) || x == f64::INFINITY && is_wanted(positive))
        }
        Function::IsNonzero => truth(x != 0.0),
        Function::Pow { exponent } => power(x, wide(exponent)),
        Function::PowerOf { base } => power(wide(base), x),
        Function::Scale { mul, add } => x * wide(mul) + wide(add),
        Function::ScaledTanh { alpha, beta } => wide(alpha) * elementary::tanh(wide(beta) * x),
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

/// The derivative at `x`, to be rounded to f32.
pub(super) fn derivative(function: Function, x: f64) -> f64 {
    /// `1 - tanh(x)^2` without cancellation.
    fn tanh_slope(x: f64) -> f64 {
        let c = libm::cosh(x);
        1.0 / (c * c)
    }
    /// Of `x * gate(x)`, given the slope of the gate.
    fn gated_slope(x: f64, gate: f64, slope: f64) -> f64 {
        gate + x * slope
    }
    if x.is_nan() {
        return f64::NAN;
    }
    let x = x.clamp(f32::MIN.into(), f32::MAX.into());
    match function {
        Function::Identity => 1.0,
        Function::Sigmoid => elementary::sigmoid(x) * elementary::sigmoid(-x),
        Function::Tanh => tanh_slope(x),
        Function::HardSigmoid { alpha, beta } => {
            let v = wide(alpha) * x + wide(beta);
            if (0.0..1.0).contains(&v) { wide(alpha) } else { 0.0 }
        }
        Function::HardSwish => {
            if x < -3.0 {
                0.0
            } else if x < 3.0 {
                x / 3.0 + 0.5
            } else {
                1.0
            }
        }
        Function::Silu => gated_slope(x, elementary::sigmoid(x), elementary::sigmoid(x) * elementary::sigmoid(-x)),
        Function::Swish { alpha } => {
            let alpha = wide(alpha);
            let gate = elementary::sigmoid(alpha * x);
            gated_slope(x, gate, alpha * gate * elementary::sigmoid(-alpha * x))
        }
        Function::LeakyRelu { alpha } => {
            if x < 0.0 {
                wide(alpha)
            } else {
                1.0
            }
        }
        Function::Elu { alpha } => {
            if x < 0.0 {
                wide(alpha) * elementary::exp(x)
            } else {
                1.0
            }
        }
        Function::Selu { alpha, gamma } => wide(gamma) * if x < 0.0 { wide(alpha) * elementary::exp(x) } else { 1.0 },
        Function::Celu { alpha } => {
            if x < 0.0 {
                elementary::exp(x / wide(alpha))
            } else {
                1.0
            }
        }
        Function::Gelu => {
            let density = elementary::exp(-0.5 * x * x) / (2.0 * PI).sqrt();
            gated_slope(x, 0.5 * elementary::erfc(-x * FRAC_1_SQRT_2), density)
        }
        Function::GeluTanh => {
            let u = gelu_argument(x);
            let slope = 2.0 * (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
            let bell = elementary::sigmoid(u) * elementary::sigmoid(-u);
            gated_slope(x, elementary::sigmoid(u), bell * slope)
        }
        Function::Softplus => elementary::sigmoid(x),
        Function::Softsign => {
            let d = 1.0 + x.abs();
            1.0 / (d * d)
        }
        Function::Mish => {
            let gate = elementary::tanh_softplus(x);
            gated_slope(x, gate, (1.0 - gate * gate) * elementary::sigmoid(x))
        }
        Function::ThresholdedRelu { alpha } => truth(x >= wide(alpha)),
        Function::Shrink { lambd, .. } => truth(x < -wide(lambd) || x >= wide(lambd)),
        Function::Clip { min, max } => truth(x >= wide(min) && x < wide(max)),
        Function::Exp => elementary::exp(x),
        Function::Log => 1.0 / x,
        Function::Sqrt => 0.5 / x.sqrt(),
        Function::Abs => {
            if x < 0.0 {
                -1.0
            } else {
                1.0
            }
        }
        Function::Neg => -1.0,
        Function::Reciprocal => -1.0 / (x * x),
        Function::Erf => 2.0 / PI.sqrt() * elementary::exp(-x * x),
        Function::Sign
        | Function::Round
        | Function::Floor
        | Function::Ceil
        | Function::Trunc
        | Function::Not
        | Function::IsNaN
        | Function::IsInf { .. }
        | Function::IsNonzero => 0.0,
        Function::Sin => libm::cos(x),
        Function::Cos => -libm::sin(x),
        Function::Tan => {
            let c = libm::cos(x);
            1.0 / (c * c)
        }
        Function::Asin => 1.0 / (1.0 - x * x).sqrt(),
        Function::Acos => -1.0 / (1.0 - x * x).sqrt(),
        Function::Atan => 1.0 / (1.0 + x * x),
        Function::Sinh => libm::cosh(x),
        Function::Cosh => libm::sinh(x),
        Function::Asinh => 1.0 / (x * x + 1.0).sqrt(),
        Function::Acosh => 1.0 / (x * x - 1.0).sqrt(),
        Function::Atanh => {
            if x.abs() > 1.0 {
                f64::NAN
            } else {
                1.0 / (1.0 - x * x)
            }
        }
        Function::Pow { exponent } => {
            let exponent = wide(exponent);
            if exponent == 0.0 { 0.0 } else { exponent * power(x, exponent - 1.0) }
        }
        Function::PowerOf { base } => libm::log(wide(base)) * power(wide(base), x),
        Function::Scale { mul, .. } => wide(mul),
        Function::ScaledTanh { alpha, beta } => wide(alpha) * wide(beta) * tanh_slope(wide(beta) * x),
    }
}
