//! Operators of two values, with broadcast.

use super::canonical;
use super::walk::Walk;
use crate::function::power;

macro_rules! kinds {
    ($($tag:literal $label:literal $name:ident = $formula:literal;)*) => {
        /// An operator of two values. Conditions yield 1 or 0; as an operand, what is not 0 is
        /// true, NaN too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum BinaryKind {
            $(#[doc = $formula] $name),*
        }

        impl BinaryKind {
            /// Every kind, in the order of the tags.
            pub const ALL: &[BinaryKind] = &[$(BinaryKind::$name),*];

            /// The word used in text forms and errors.
            pub fn label(self) -> &'static str {
                match self {
                    $(BinaryKind::$name => $label),*
                }
            }

            /// Its word in the plan.
            pub fn tag(self) -> u32 {
                match self {
                    $(BinaryKind::$name => $tag),*
                }
            }

            /// The kind of a tag.
            pub fn from_tag(tag: u32) -> Option<Self> {
                BinaryKind::ALL.get(tag as usize).copied()
            }
        }
    };
}

kinds! {
    0 "add" Add = "`a + b`";
    1 "sub" Sub = "`a - b`";
    2 "mul" Mul = "`a * b`";
    3 "div" Div = "`a / b`";
    4 "min" Min = "The lesser; NaN where one is, as in numpy.";
    5 "max" Max = "The greater; NaN where one is, as in numpy.";
    6 "pow" Pow = "`a ^ b`; NaN where one is.";
    7 "mod" Mod = "Remainder with the sign of `b` (ONNX Mod with fmod 0).";
    8 "fmod" Fmod = "Remainder with the sign of `a` (ONNX Mod with fmod 1).";
    9 "less" Less = "`a < b`";
    10 "less_or_equal" LessOrEqual = "`a <= b`";
    11 "greater" Greater = "`a > b`";
    12 "greater_or_equal" GreaterOrEqual = "`a >= b`";
    13 "equal" Equal = "`a = b`";
    14 "and" And = "Both are true.";
    15 "or" Or = "One is true.";
    16 "xor" Xor = "Just one is true.";
    17 "prelu" PRelu = "`a < 0 ? a * b : a`";
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
        let (len, [step_a, step_b]) = (walk.row_len(), walk.row_strides());
        let mut rows = y.chunks_exact_mut(len);
        walk.rows(|[first_a, first_b]| {
            let Some(y) = rows.next() else { return };
            match (step_a, step_b) {
                (1, 1) => {
                    let (a, b) = (&a[first_a..][..len], &b[first_b..][..len]);
                    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                        *y = f(a, b);
                    }
                }
                (1, 0) => {
                    let b = b[first_b];
                    for (y, &a) in y.iter_mut().zip(&a[first_a..][..len]) {
                        *y = f(a, b);
                    }
                }
                (0, 1) => {
                    let a = a[first_a];
                    for (y, &b) in y.iter_mut().zip(&b[first_b..][..len]) {
                        *y = f(a, b);
                    }
                }
                _ => {
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = f(a[first_a + i * step_a], b[first_b + i * step_b]);
                    }
                }
            }
        });
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
