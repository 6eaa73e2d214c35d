//! Two operands.

use crate::program::ArithmeticKind;

/// What `kind` makes of `a = qa - za` and `b = qb - zb`, in steps of the result.
pub(super) fn of(kind: ArithmeticKind, a: f32, b: f32, [ma, mb]: [f32; 2]) -> f32 {
    match kind {
        ArithmeticKind::Add => a * ma + b * mb,
        ArithmeticKind::Sub => a * ma - b * mb,
        // A product of two codes is an integer below 2^17: exact.
        ArithmeticKind::Mul => (a * b) * ma,
        ArithmeticKind::Min => (a * ma).min(b * mb),
        ArithmeticKind::Max => (a * ma).max(b * mb),
    }
}
