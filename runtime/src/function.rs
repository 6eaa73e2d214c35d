//! The functions of one value that a network may hold, by which tables of codes are made and float
//! slots are mapped.
//!
//! Every function is computed in f64 from its f32 argument and rounded once to f32; results follow
//! [`crate::float`]'s rule for small values and NaN. Nothing calls the platform's mathematics, so
//! every machine gives the same bytes.

mod elementary;
mod formula;
mod table;

use crate::float::canonical;
pub(crate) use elementary::exp;
pub(crate) use formula::power;
use std::fmt;
pub use table::{FUNCTIONS, Function};

/// One row of [`FUNCTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// First word in the plan; never used for another function.
    pub tag: u32,
    /// Name in text forms.
    pub label: &'static str,
    /// Names of the parameters, in the order of [`Function::parameters`].
    pub parameters: &'static [&'static str],
    /// What it yields for `x`.
    pub formula: &'static str,
}

/// Makes the type and its methods of the rows of the [table].
macro_rules! functions {
    ($($tag:literal $label:literal $name:ident $({ $($parameter:ident),+ })? = $text:literal {
        value($x:ident): $value:expr,
        slope($at:ident): $slope:expr,
        on_codes: $on_codes:literal,
        settles: $settles:expr,
    })*) => {
        /// A function of one value, with its parameters.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Function {
            $(
                #[doc = concat!("`", $text, "`")]
                $name $({ $(
                    #[doc = concat!("`", stringify!($parameter), "` of the formula.")]
                    $parameter: f32
                ),+ })?
            ),*
        }

        /// Every function, in the order of the tags.
        pub const FUNCTIONS: &[super::FunctionRow] = &[$(super::FunctionRow {
            tag: $tag,
            label: $label,
            parameters: &[$($(stringify!($parameter)),+)?],
            formula: $text,
        }),*];

        impl Function {
            /// The word used in text forms and errors.
            pub fn label(self) -> &'static str {
                match self {
                    $(Function::$name { .. } => $label),*
                }
            }

            /// Its word in the plan.
            pub fn tag(self) -> u32 {
                match self {
                    $(Function::$name { .. } => $tag),*
                }
            }

            /// The parameters, in the order of its row of [`FUNCTIONS`].
            pub fn parameters(self) -> Vec<f32> {
                match self {
                    $(Function::$name $({ $($parameter),+ })? => vec![$($($parameter),+)?]),*
                }
            }

            /// The function of a tag; `None` where there is none with so many parameters or one of
            /// them is NaN.
            pub fn from_parts(tag: u32, parameters: &[f32]) -> Option<Self> {
                if parameters.iter().any(|p| p.is_nan()) {
                    return None;
                }
                match (tag, parameters) {
                    $(($tag, &[$($($parameter),+)?]) => Some(Function::$name $({ $($parameter),+ })?),)*
                    _ => None,
                }
            }

            /// Whether 256 codes of its argument do as well as floats: its slope is bounded, so a
            /// step of the argument moves the result by a few steps at most.
            pub fn does_on_codes(self) -> bool {
                match self {
                    $(Function::$name { .. } => $on_codes),*
                }
            }

            /// From where to where it changes: outside it stays what it is at the end, or moves by
            /// less than 2^-11 of its range around 0. Infinite where it does not settle.
            pub fn settles(self) -> [f32; 2] {
                match self {
                    $(Function::$name $({ $($parameter),+ })? => {
                        $($(let _ = $parameter;)+)?
                        $settles
                    })*
                }
            }

            /// The function at `x`, to be rounded to f32.
            #[inline(always)]
            pub(super) fn value(self, x: f64) -> f64 {
                match self {
                    $(Function::$name $({ $($parameter),+ })? => {
                        $($(let $parameter = super::formula::wide($parameter);)+)?
                        let $x = x;
                        $value
                    })*
                }
            }

            /// The derivative at a finite `x`, to be rounded to f32.
            pub(super) fn slope(self, x: f64) -> f64 {
                match self {
                    $(Function::$name $({ $($parameter),+ })? => {
                        $($(let $parameter = super::formula::wide($parameter);)+)?
                        $($(let _ = $parameter;)+)?
                        let $at = x;
                        let _ = $at;
                        $slope
                    })*
                }
            }

            /// `y[i] = eval(x[i])`: a loop for each function, which a compiler can vectorise.
            #[inline(always)]
            pub(crate) fn map(self, x: &[f32], y: &mut [f32]) {
                match self {
                    $(Function::$name $({ $($parameter),+ })? => {
                        super::each(x, y, |x| Function::$name $({ $($parameter),+ })?.value(x));
                    })*
                }
            }
        }
    };
}
use functions;

impl Function {
    /// The function at `x`.
    ///
    /// NaN for NaN, but for `not` and `is_nonzero` (NaN is not 0) and `is_nan`; at an infinity the
    /// limit where there is one. Arguments and parameters up to the least normal number count as 0,
    /// and 0 has no sign: `reciprocal` is infinite there, `log` minus infinity.
    pub fn eval(self, x: f32) -> f32 {
        canonical(self.value(f64::from(canonical(x))) as f32)
    }

    /// Its derivative at `x`: from the right where the two sides differ, 0 where the function is a
    /// step, and infinite where it is vertical.
    pub fn derivative(self, x: f32) -> f32 {
        if x.is_nan() {
            return canonical(x);
        }
        canonical(self.slope(f64::from(canonical(x)).clamp(f32::MIN.into(), f32::MAX.into())) as f32)
    }
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], f: impl Fn(f64) -> f64) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = canonical(f(f64::from(canonical(x))) as f32);
    }
}

impl fmt::Display for Function {
    /// `leaky_relu(alpha 0.1)`; the label alone where there are no parameters.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.label())?;
        let row = FUNCTIONS.iter().find(|row| row.tag == self.tag());
        let names = row.map_or(&[] as &[&str], |row| row.parameters);
        for (i, (name, value)) in names.iter().zip(self.parameters()).enumerate() {
            write!(f, "{}{name} {value}", if i == 0 { "(" } else { ", " })?;
        }
        if names.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each function, with parameters that networks use.
    fn all() -> Vec<Function> {
        let parameters = |row: &FunctionRow| match row.label {
            "hard_sigmoid" => vec![0.2, 0.5],
            "swish" => vec![1.702],
            "selu" => vec![1.673_263_2, 1.050_701],
            "shrink" => vec![0.5, 0.25],
            "clip" => vec![-0.5, 6.0],
            "is_inf" => vec![0.0, 1.0],
            "pow" => vec![1.5],
            "power_of" => vec![2.0],
            "scale" => vec![0.25, -3.0],
            "scaled_tanh" => vec![1.7159, 0.6667],
            _ => row.parameters.iter().map(|_| 0.75).collect(),
        };
        FUNCTIONS.iter().map(|row| Function::from_parts(row.tag, &parameters(row)).unwrap()).collect()
    }

    #[test]
    fn tags_and_labels_are_unique_and_parts_come_back() {
        for (i, function) in all().into_iter().enumerate() {
            assert_eq!(function.tag(), i as u32);
            assert_eq!(FUNCTIONS[i].label, function.label());
            assert_eq!(FUNCTIONS.iter().filter(|row| row.label == function.label()).count(), 1);
            assert_eq!(Function::from_parts(function.tag(), &function.parameters()), Some(function));
            let mut more = function.parameters();
            more.push(1.0);
            assert_eq!(Function::from_parts(function.tag(), &more), None);
        }
        assert_eq!(Function::from_parts(FUNCTIONS.len() as u32, &[]), None);
        assert_eq!(Function::from_parts(7, &[f32::NAN]), None);
        assert_eq!(Function::LeakyRelu { alpha: 0.1 }.to_string(), "leaky_relu(alpha 0.1)");
        assert_eq!(Function::HardSigmoid { alpha: 0.2, beta: 0.5 }.to_string(), "hard_sigmoid(alpha 0.2, beta 0.5)");
        assert_eq!(Function::Tanh.to_string(), "tanh");
    }

    #[test]
    fn values_that_are_known() {
        use Function::*;
        let inf = f32::INFINITY;
        let rows: &[(Function, f32, f32)] = &[
            (Sigmoid, 0.0, 0.5),
            (Sigmoid, -200.0, 0.0),
            (Sigmoid, inf, 1.0),
            (Tanh, 1.0, 0.761_594_2),
            (HardSigmoid { alpha: 0.2, beta: 0.5 }, 1.0, 0.7),
            (HardSwish, 1.0, 0.666_666_7),
            (HardSwish, -inf, 0.0),
            (Silu, -inf, 0.0),
            (Silu, 1.0, 0.731_058_6),
            (LeakyRelu { alpha: 0.1 }, -2.0, -0.2),
            (Elu { alpha: 2.0 }, -inf, -2.0),
            (Selu { alpha: 1.5, gamma: 2.0 }, 3.0, 6.0),
            (Celu { alpha: 2.0 }, -2.0, -1.264_241_1),
            (Gelu, 1.0, 0.841_344_8),
            (Gelu, -inf, 0.0),
            (GeluTanh, 1.0, 0.841_192),
            (Softplus, 0.0, std::f32::consts::LN_2),
            (Softplus, 500.0, 500.0),
            (ParametricSoftplus { alpha: 2.0, beta: 0.5 }, 0.0, 2.0 * std::f32::consts::LN_2),
            (Softsign, -inf, -1.0),
            (Mish, 1.0, 0.865_098_4),
            (Mish, -inf, 0.0),
            (Mish, 1e30, 1e30),
            (ThresholdedRelu { alpha: 1.0 }, 1.0, 0.0),
            (Shrink { lambd: 1.0, bias: 0.5 }, -2.0, -1.5),
            (Clip { min: 0.0, max: inf }, -3.0, 0.0),
            (Clip { min: 2.0, max: 1.0 }, 5.0, 1.0),
            (Log, 0.0, -inf),
            (Log, 1e-40, -inf),
            (Reciprocal, -0.0, inf),
            (Sign, -3.0, -1.0),
            (Sign, 1e-40, 0.0),
            (Round, 2.5, 2.0),
            (Round, -0.4, 0.0),
            (Trunc, -2.7, -2.0),
            (Not, 0.0, 1.0),
            (Not, f32::NAN, 0.0),
            (IsNaN, f32::NAN, 1.0),
            (IsNonzero, f32::NAN, 1.0),
            (IsInf { negative: 0.0, positive: 1.0 }, -inf, 0.0),
            (Pow { exponent: 2.0 }, -3.0, 9.0),
            (PowerOf { base: 10.0 }, 2.0, 100.0),
            (Scale { mul: -2.0, add: 1.0 }, 3.0, -5.0),
            (Exp, 100.0, inf),
        ];
        for &(function, x, expected) in rows {
            assert_eq!(function.eval(x).to_bits(), expected.to_bits(), "{function} at {x}: {}", function.eval(x));
        }
        for function in [Log, Sqrt] {
            assert!(function.eval(-1.0).is_nan());
        }
    }

    #[test]
    fn a_nan_stays_one() {
        for function in all() {
            let y = function.eval(f32::NAN);
            let decided =
                matches!(function, Function::Not | Function::IsNaN | Function::IsNonzero | Function::IsInf { .. });
            assert!(decided || y.to_bits() == f32::NAN.to_bits(), "{function}: {y}");
        }
    }

    proptest! {
        #[test]
        fn results_are_canonical(x: f32) {
            for function in all() {
                for y in [function.eval(x), function.derivative(x)] {
                    prop_assert_eq!(canonical(y).to_bits(), y.to_bits(), "{} at {:e}: {:e}", function, x, y);
                }
            }
        }

        #[test]
        fn many_values_are_each_evaluated(x in proptest::collection::vec(prop_oneof![any::<f32>(), -20f32..20.0], 1..40)) {
            for function in all() {
                let mut y = vec![7.0; x.len()];
                function.map(&x, &mut y);
                for (&x, y) in x.iter().zip(y) {
                    prop_assert_eq!(y.to_bits(), function.eval(x).to_bits(), "{} at {:e}", function, x);
                }
            }
        }

        /// The slope between two close points lies near the derivative, where both are on the same
        /// side of every corner.
        #[test]
        fn derivatives_are_slopes(x in -4.0f32..4.0) {
            let h = 1e-5;
            for function in all() {
                let at = |x: f64| function.value(x);
                let x = f64::from(x);
                let (before, after) = ((at(x) - at(x - h)) / h, (at(x + h) - at(x)) / h);
                let slope = (before + after) / 2.0;
                if !slope.is_finite() || (before - after).abs() > 1e-2 * (1.0 + slope.abs()) {
                    continue;
                }
                let derivative = function.slope(x);
                let is_near = (derivative - slope).abs() <= 1e-2 * (1.0 + slope.abs());
                prop_assert!(is_near, "{function} at {x}: {derivative} {slope}");
            }
        }
    }
}
