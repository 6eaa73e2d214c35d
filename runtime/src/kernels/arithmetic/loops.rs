//! The loops over the values of a row. Each is compiled for every instruction set.

use crate::kernels::Clamp;
use crate::kernels::compiled::compiled;
use crate::kernels::elementwise::Term;
use crate::program::ArithmeticKind;

pub(crate) use crate::kernels::elementwise::loops::AddRow as Row;

/// Two codes, in steps of the result.
#[inline(always)]
pub(super) fn of(kind: ArithmeticKind, a: u8, b: u8, terms: [Term; 2]) -> f32 {
    match kind {
        ArithmeticKind::Add => terms[0].of(a) + terms[1].of(b),
        ArithmeticKind::Sub => terms[0].of(a) - terms[1].of(b),
        ArithmeticKind::Mul => product(a, b, terms),
        ArithmeticKind::Min => smaller(terms[0].of(a), terms[1].of(b)),
        ArithmeticKind::Max => larger(terms[0].of(a), terms[1].of(b)),
    }
}

#[inline(always)]
fn product(a: u8, b: u8, terms: [Term; 2]) -> f32 {
    ((i32::from(a) - i32::from(terms[0].z)) * (i32::from(b) - i32::from(terms[1].z))) as f32 * terms[0].m
}

/// Neither is a NaN.
#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Neither is a NaN.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

macro_rules! rows {
    ($($body:ident $name:ident $Alias:ident: $kind:ident;)*) => {$(
        #[inline(always)]
        fn $body(a: &[u8], b: &[u8], terms: [Term; 2], clamp: Clamp, y: &mut [u8]) {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = clamp.requantize(of(ArithmeticKind::$kind, a, b, terms));
            }
        }

        compiled! {
            /// Both operands value by value.
            pub(super) fn $name: $Alias(a: &[u8], b: &[u8], terms: [Term; 2], clamp: Clamp, y: &mut [u8]) = $body
        }
    )*};
}

rows! {
    sub sub_row SubRow: Sub;
    mul mul_row MulRow: Mul;
    min min_row MinRow: Min;
    max max_row MaxRow: Max;
}

/// One operand is the same for all values: `b`, or with `swapped` the first one.
#[inline(always)]
fn one_repeated(
    x: &[u8],
    repeated: u8,
    kind: ArithmeticKind,
    terms: [Term; 2],
    clamp: Clamp,
    swapped: bool,
    y: &mut [u8],
) {
    macro_rules! values {
        ($kind:ident) => {
            for (y, &q) in y.iter_mut().zip(x) {
                let (a, b) = if swapped { (repeated, q) } else { (q, repeated) };
                *y = clamp.requantize(of(ArithmeticKind::$kind, a, b, terms));
            }
        };
    }
    match kind {
        ArithmeticKind::Add => values!(Add),
        ArithmeticKind::Sub => values!(Sub),
        ArithmeticKind::Mul => values!(Mul),
        ArithmeticKind::Min => values!(Min),
        ArithmeticKind::Max => values!(Max),
    }
}

compiled! {
    /// A row whose other operand is one code.
    pub(super) fn repeated: Repeated(
        x: &[u8],
        code: u8,
        kind: ArithmeticKind,
        terms: [Term; 2],
        clamp: Clamp,
        swapped: bool,
        y: &mut [u8],
    ) = one_repeated
}
