//! A function of many values: one loop each for those that networks use much and that a compiler
//! can vectorise.

use super::{Function, formula};
use crate::float::canonical;

macro_rules! with_own_loops {
    ($function:ident, $x:ident, $y:ident: $($name:ident $({ $($parameter:ident),+ })?)*) => {
        match $function {
            $(Function::$name $({ $($parameter),+ })? => {
                each($x, $y, |x| formula::value(Function::$name $({ $($parameter),+ })?, x));
            })*
            other => each($x, $y, |x| formula::value(other, x)),
        }
    };
}

impl Function {
    /// `y[i] = eval(x[i])`.
    #[inline(always)]
    pub(crate) fn map(self, x: &[f32], y: &mut [f32]) {
        with_own_loops! { self, x, y:
            Identity Sigmoid Tanh HardSigmoid { alpha, beta } HardSwish Silu Swish { alpha } LeakyRelu { alpha }
            Elu { alpha } Selu { alpha, gamma } Celu { alpha } Gelu GeluTanh Softplus Softsign Mish
            Clip { min, max } Round Exp Sqrt Abs Neg Reciprocal Scale { mul, add } ScaledTanh { alpha, beta }
        }
    }
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], f: impl Fn(f64) -> f64) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = canonical(f(f64::from(canonical(x))) as f32);
    }
}
