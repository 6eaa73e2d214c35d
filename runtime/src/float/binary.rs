//! Operators of two values, with broadcast.

use super::canonical;
use super::walk::Walk;
use crate::function::power;
use crate::ops::field::choice;

choice! {
    /// An operator of two values. Conditions yield 1 or 0; as an operand, what is not 0 is true, NaN too.
    pub enum BinaryKind {
        /// `a + b`
        Add = 0 "add",
        /// `a - b`
        Sub = 1 "sub",
        /// `a * b`
        Mul = 2 "mul",
        /// `a / b`
        Div = 3 "div",
        /// The lesser; NaN where one is, as in numpy.
        Min = 4 "min",
        /// The greater; NaN where one is, as in numpy.
        Max = 5 "max",
        /// `a ^ b`; NaN where one is.
        Pow = 6 "pow",
        /// Remainder with the sign of `b` (ONNX Mod with fmod 0).
        Mod = 7 "mod",
        /// Remainder with the sign of `a` (ONNX Mod with fmod 1).
        Fmod = 8 "fmod",
        /// `a < b`
        Less = 9 "less",
        /// `a <= b`
        LessOrEqual = 10 "less_or_equal",
        /// `a > b`
        Greater = 11 "greater",
        /// `a >= b`
        GreaterOrEqual = 12 "greater_or_equal",
        /// `a = b`
        Equal = 13 "equal",
        /// Both are true.
        And = 14 "and",
        /// One is true.
        Or = 15 "or",
        /// Just one is true.
        Xor = 16 "xor",
        /// `a < 0 ? a * b : a`
        PRelu = 17 "prelu",
    }
}

impl BinaryKind {
    /// The operator at canonical values.
    pub fn eval(self, a: f32, b: f32) -> f32 {
        let mut y = [0.0];
        binary(self, &[a], &[b], &mut y, &[], &[], &[]);
        y[0]
    }
}

/// `y[i..] = kind(a[i..], b[i..])` over up to [`super::MAX_EXTENTS`] axes: `y` is dense in the
/// order of `extents`, an operand advances by its stride (in elements) an axis; 0 repeats it. One
/// rounding each but for Mod.
#[inline(always)]
pub fn binary(
    kind: BinaryKind,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    extents: &[u32],
    strides_a: &[u32],
    strides_b: &[u32],
) {
    let walk = Walk::new(extents, [strides_a, strides_b]);
    let run = Run { walk, a, b, y };
    match kind {
        BinaryKind::Add => run.each(|a, b| canonical(a + b)),
        BinaryKind::Sub => run.each(|a, b| canonical(a - b)),
        BinaryKind::Mul => run.each(|a, b| canonical(a * b)),
        BinaryKind::Div => run.each(|a, b| canonical(a / b)),
        BinaryKind::Min => run.each(|a, b| if a < b || a.is_nan() { a } else { b }),
        BinaryKind::Max => run.each(|a, b| if a > b || a.is_nan() { a } else { b }),
        BinaryKind::Pow => run.each(|a, b| canonical(power(a.into(), b.into()) as f32)),
        BinaryKind::Mod => run.each(|a, b| canonical(floored_remainder(a.into(), b.into()) as f32)),
        BinaryKind::Fmod => run.each(|a, b| canonical(libm::fmod(a.into(), b.into()) as f32)),
        BinaryKind::Less => run.each(|a, b| truth(a < b)),
        BinaryKind::LessOrEqual => run.each(|a, b| truth(a <= b)),
        BinaryKind::Greater => run.each(|a, b| truth(a > b)),
        BinaryKind::GreaterOrEqual => run.each(|a, b| truth(a >= b)),
        BinaryKind::Equal => run.each(|a, b| truth(a == b)),
        BinaryKind::And => run.each(|a, b| truth(a != 0.0 && b != 0.0)),
        BinaryKind::Or => run.each(|a, b| truth(a != 0.0 || b != 0.0)),
        BinaryKind::Xor => run.each(|a, b| truth((a != 0.0) != (b != 0.0))),
        BinaryKind::PRelu => run.each(|a, b| if a < 0.0 { canonical(a * b) } else { a }),
    }
}

/// Operands and result of a call.
struct Run<'a> {
    walk: Walk<2>,
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Run<'_> {
    /// Every row in the form of its strides, so that the common ones vectorise.
    #[inline(always)]
    fn each(self, f: impl Fn(f32, f32) -> f32) {
        let Run { walk, a, b, y } = self;
        let (len, steps) = (walk.row_len(), walk.row_strides());
        if walk.is_row() {
            row(&f, a, b, &mut y[..len], steps);
            return;
        }
        let mut rows = y.chunks_exact_mut(len);
        walk.rows(|[first_a, first_b]| {
            if let Some(y) = rows.next() {
                row(&f, &a[first_a..], &b[first_b..], y, steps);
            }
        });
    }
}

/// One row, the operands from their first element on.
#[inline(always)]
fn row(f: &impl Fn(f32, f32) -> f32, a: &[f32], b: &[f32], y: &mut [f32], steps: [usize; 2]) {
    let len = y.len();
    match steps {
        [1, 1] => {
            for ((y, &a), &b) in y.iter_mut().zip(&a[..len]).zip(&b[..len]) {
                *y = f(a, b);
            }
        }
        [1, 0] => {
            let b = b[0];
            for (y, &a) in y.iter_mut().zip(&a[..len]) {
                *y = f(a, b);
            }
        }
        [0, 1] => {
            let a = a[0];
            for (y, &b) in y.iter_mut().zip(&b[..len]) {
                *y = f(a, b);
            }
        }
        [step_a, step_b] => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = f(a[i * step_a], b[i * step_b]);
            }
        }
    }
}

fn truth(condition: bool) -> f32 {
    if condition { 1.0 } else { 0.0 }
}

/// `a - floor(a / b) * b`, exact but for the last sum.
fn floored_remainder(a: f64, b: f64) -> f64 {
    let remainder = libm::fmod(a, b);
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }
}
