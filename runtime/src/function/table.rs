//! The table of functions of one value: all that is known of one stands in its row.
//!
//! | part | what it says |
//! |---|---|
//! | tag, label | its word in the plan, never used for another; its name in text forms |
//! | parameters | f32, in the order of [`Function::parameters`] |
//! | text | what it yields for `x`, for people |
//! | `value` | the same in f64, to be rounded to f32; parameters are f64 there |
//! | `slope` | its derivative: from the right at a corner, 0 of a step, infinite where it is vertical; `x` is finite |
//! | `on_codes` | whether 256 codes of its argument do as well as floats: its slope is bounded, so a step of the argument moves the result by a few steps at most |
//! | `settles` | from where to where it changes; outside by less than 2^-11 of its range around 0. Parameters are f32 there |
//!
//! The name in ONNX stands in the same order in the compiler (`passes/src/onnx/functions.rs`).

use super::formula::{
    bell, clip, elu, gated, gelu_argument, gelu_argument_slope, mish_slope, power, shrink, swish, tanh_slope, truth,
};
use super::{elementary, functions};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// A function that changes everywhere.
const NOWHERE: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

functions! {
    0 "identity" Identity = "x" {
        value(x): x,
        slope(x): 1.0,
        on_codes: true,
        settles: NOWHERE,
    }
    1 "sigmoid" Sigmoid = "1 / (1 + exp(-x))" {
        value(x): elementary::sigmoid(x),
        slope(x): bell(x),
        on_codes: true,
        settles: [-9.0, 9.0],
    }
    2 "tanh" Tanh = "tanh(x)" {
        value(x): elementary::tanh(x),
        slope(x): tanh_slope(x),
        on_codes: true,
        settles: [-5.0, 5.0],
    }
    3 "hard_sigmoid" HardSigmoid { alpha, beta } = "max(0, min(1, alpha * x + beta))" {
        value(x): clip(alpha * x + beta, 0.0, 1.0),
        slope(x): if (0.0..1.0).contains(&(alpha * x + beta)) { alpha } else { 0.0 },
        on_codes: true,
        settles: if alpha > 0.0 { [(-beta / alpha).min(0.0), ((1.0 - beta) / alpha).max(0.0)] } else { NOWHERE },
    }
    4 "hard_swish" HardSwish = "x * max(0, min(1, x / 6 + 1 / 2))" {
        value(x): gated(x, clip(x / 6.0 + 0.5, 0.0, 1.0)),
        slope(x): if x < -3.0 { 0.0 } else if x < 3.0 { x / 3.0 + 0.5 } else { 1.0 },
        on_codes: true,
        settles: [-3.0, f32::INFINITY],
    }
    5 "silu" Silu = "x * sigmoid(x)" {
        value(x): gated(x, elementary::sigmoid(x)),
        slope(x): elementary::sigmoid(x) + x * bell(x),
        on_codes: true,
        settles: [-12.0, f32::INFINITY],
    }
    6 "swish" Swish { alpha } = "x * sigmoid(alpha * x)" {
        value(x): swish(x, alpha),
        slope(x): elementary::sigmoid(alpha * x) + x * (alpha * elementary::sigmoid(alpha * x) * elementary::sigmoid(-alpha * x)),
        on_codes: false,
        settles: NOWHERE,
    }
    7 "leaky_relu" LeakyRelu { alpha } = "x < 0 ? alpha * x : x" {
        value(x): if x < 0.0 { alpha * x } else { x },
        slope(x): if x < 0.0 { alpha } else { 1.0 },
        on_codes: true,
        settles: NOWHERE,
    }
    8 "elu" Elu { alpha } = "x < 0 ? alpha * (exp(x) - 1) : x" {
        value(x): elu(x, alpha),
        slope(x): if x < 0.0 { alpha * elementary::exp(x) } else { 1.0 },
        on_codes: true,
        settles: [-8.0, f32::INFINITY],
    }
    9 "selu" Selu { alpha, gamma } = "gamma * (x < 0 ? alpha * (exp(x) - 1) : x)" {
        value(x): gamma * elu(x, alpha),
        slope(x): gamma * if x < 0.0 { alpha * elementary::exp(x) } else { 1.0 },
        on_codes: true,
        settles: [-8.0, f32::INFINITY],
    }
    10 "celu" Celu { alpha } = "x < 0 ? alpha * (exp(x / alpha) - 1) : x" {
        value(x): if x < 0.0 { alpha * elementary::exp_m1(x / alpha) } else { x },
        slope(x): if x < 0.0 { elementary::exp(x / alpha) } else { 1.0 },
        on_codes: true,
        settles: NOWHERE,
    }
    11 "gelu" Gelu = "x / 2 * (1 + erf(x / sqrt(2)))" {
        value(x): gated(x, 0.5 * elementary::erfc(-x * FRAC_1_SQRT_2)),
        slope(x): 0.5 * elementary::erfc(-x * FRAC_1_SQRT_2) + x * (elementary::exp(-0.5 * x * x) / (2.0 * PI).sqrt()),
        on_codes: true,
        settles: [-5.0, f32::INFINITY],
    }
    12 "gelu_tanh" GeluTanh = "x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))" {
        value(x): gated(x, elementary::sigmoid(gelu_argument(x))),
        slope(x): elementary::sigmoid(gelu_argument(x)) + x * (bell(gelu_argument(x)) * gelu_argument_slope(x)),
        on_codes: true,
        settles: [-5.0, f32::INFINITY],
    }
    13 "softplus" Softplus = "log(1 + exp(x))" {
        value(x): elementary::softplus(x),
        slope(x): elementary::sigmoid(x),
        on_codes: true,
        settles: [-10.0, f32::INFINITY],
    }
    14 "softsign" Softsign = "x / (1 + |x|)" {
        value(x): if x.is_infinite() { x.signum() } else { x / (1.0 + x.abs()) },
        slope(x): 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs())),
        on_codes: true,
        settles: NOWHERE,
    }
    15 "mish" Mish = "x * tanh(softplus(x))" {
        value(x): gated(x, elementary::tanh_softplus(x)),
        slope(x): mish_slope(x),
        on_codes: true,
        settles: [-12.0, f32::INFINITY],
    }
    16 "thresholded_relu" ThresholdedRelu { alpha } = "x > alpha ? x : 0" {
        value(x): if x > alpha || x.is_nan() { x } else { 0.0 },
        slope(x): truth(x >= alpha),
        on_codes: true,
        settles: NOWHERE,
    }
    17 "shrink" Shrink { lambd, bias } = "x < -lambd ? x + bias : x > lambd ? x - bias : 0" {
        value(x): shrink(x, lambd, bias),
        slope(x): truth(x < -lambd || x >= lambd),
        on_codes: true,
        settles: NOWHERE,
    }
    18 "clip" Clip { min, max } = "min(max(x, min), max)" {
        value(x): clip(x, min, max),
        slope(x): truth(x >= min && x < max),
        on_codes: true,
        settles: NOWHERE,
    }
    19 "exp" Exp = "exp(x)" {
        value(x): elementary::exp(x),
        slope(x): elementary::exp(x),
        on_codes: false,
        settles: NOWHERE,
    }
    20 "log" Log = "natural logarithm of x" {
        value(x): libm::log(x),
        slope(x): 1.0 / x,
        on_codes: false,
        settles: NOWHERE,
    }
    21 "sqrt" Sqrt = "square root of x" {
        value(x): x.sqrt(),
        slope(x): 0.5 / x.sqrt(),
        on_codes: false,
        settles: NOWHERE,
    }
    22 "abs" Abs = "|x|" {
        value(x): x.abs(),
        slope(x): if x < 0.0 { -1.0 } else { 1.0 },
        on_codes: true,
        settles: NOWHERE,
    }
    23 "neg" Neg = "-x" {
        value(x): -x,
        slope(x): -1.0,
        on_codes: true,
        settles: NOWHERE,
    }
    24 "reciprocal" Reciprocal = "1 / x" {
        value(x): 1.0 / x,
        slope(x): -1.0 / (x * x),
        on_codes: false,
        settles: NOWHERE,
    }
    25 "erf" Erf = "error function of x" {
        value(x): libm::erf(x),
        slope(x): 2.0 / PI.sqrt() * elementary::exp(-x * x),
        on_codes: false,
        settles: NOWHERE,
    }
    26 "sign" Sign = "-1, 0 or 1" {
        value(x): if x == 0.0 { 0.0 } else { x.signum() },
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    27 "round" Round = "nearest integer, of two the even one" {
        value(x): x.round_ties_even(),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    28 "floor" Floor = "greatest integer <= x" {
        value(x): x.floor(),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    29 "ceil" Ceil = "least integer >= x" {
        value(x): x.ceil(),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    30 "trunc" Trunc = "integer part of x" {
        value(x): x.trunc(),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    31 "sin" Sin = "sin(x)" {
        value(x): libm::sin(x),
        slope(x): libm::cos(x),
        on_codes: false,
        settles: NOWHERE,
    }
    32 "cos" Cos = "cos(x)" {
        value(x): libm::cos(x),
        slope(x): -libm::sin(x),
        on_codes: false,
        settles: NOWHERE,
    }
    33 "tan" Tan = "tan(x)" {
        value(x): libm::tan(x),
        slope(x): 1.0 / (libm::cos(x) * libm::cos(x)),
        on_codes: false,
        settles: NOWHERE,
    }
    34 "asin" Asin = "asin(x)" {
        value(x): libm::asin(x),
        slope(x): 1.0 / (1.0 - x * x).sqrt(),
        on_codes: false,
        settles: NOWHERE,
    }
    35 "acos" Acos = "acos(x)" {
        value(x): libm::acos(x),
        slope(x): -1.0 / (1.0 - x * x).sqrt(),
        on_codes: false,
        settles: NOWHERE,
    }
    36 "atan" Atan = "atan(x)" {
        value(x): libm::atan(x),
        slope(x): 1.0 / (1.0 + x * x),
        on_codes: false,
        settles: NOWHERE,
    }
    37 "sinh" Sinh = "sinh(x)" {
        value(x): libm::sinh(x),
        slope(x): libm::cosh(x),
        on_codes: false,
        settles: NOWHERE,
    }
    38 "cosh" Cosh = "cosh(x)" {
        value(x): libm::cosh(x),
        slope(x): libm::sinh(x),
        on_codes: false,
        settles: NOWHERE,
    }
    39 "asinh" Asinh = "asinh(x)" {
        value(x): libm::asinh(x),
        slope(x): 1.0 / (x * x + 1.0).sqrt(),
        on_codes: false,
        settles: NOWHERE,
    }
    40 "acosh" Acosh = "acosh(x)" {
        value(x): libm::acosh(x),
        slope(x): 1.0 / (x * x - 1.0).sqrt(),
        on_codes: false,
        settles: NOWHERE,
    }
    41 "atanh" Atanh = "atanh(x)" {
        value(x): libm::atanh(x),
        slope(x): if x.abs() > 1.0 { f64::NAN } else { 1.0 / (1.0 - x * x) },
        on_codes: false,
        settles: NOWHERE,
    }
    42 "not" Not = "x = 0 ? 1 : 0" {
        value(x): truth(x == 0.0),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    43 "is_nan" IsNaN = "x is NaN ? 1 : 0" {
        value(x): truth(x.is_nan()),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    44 "is_inf" IsInf { negative, positive } = "x is an infinity whose sign's parameter is not 0 ? 1 : 0" {
        value(x): truth(x == f64::NEG_INFINITY && negative != 0.0 || x == f64::INFINITY && positive != 0.0),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    45 "is_nonzero" IsNonzero = "x = 0 ? 0 : 1" {
        value(x): truth(x != 0.0),
        slope(x): 0.0,
        on_codes: false,
        settles: NOWHERE,
    }
    46 "pow" Pow { exponent } = "x ^ exponent" {
        value(x): power(x, exponent),
        slope(x): if exponent == 0.0 { 0.0 } else { exponent * power(x, exponent - 1.0) },
        on_codes: false,
        settles: NOWHERE,
    }
    47 "power_of" PowerOf { base } = "base ^ x" {
        value(x): power(base, x),
        slope(x): libm::log(base) * power(base, x),
        on_codes: false,
        settles: NOWHERE,
    }
    48 "scale" Scale { mul, add } = "x * mul + add" {
        value(x): x * mul + add,
        slope(x): mul,
        on_codes: true,
        settles: NOWHERE,
    }
    49 "scaled_tanh" ScaledTanh { alpha, beta } = "alpha * tanh(beta * x)" {
        value(x): alpha * elementary::tanh(beta * x),
        slope(x): alpha * beta * tanh_slope(beta * x),
        on_codes: false,
        settles: NOWHERE,
    }
    50 "parametric_softplus" ParametricSoftplus { alpha, beta } = "alpha * log(1 + exp(beta * x))" {
        value(x): alpha * elementary::softplus(beta * x),
        slope(x): alpha * beta * elementary::sigmoid(beta * x),
        on_codes: true,
        settles: NOWHERE,
    }
}
