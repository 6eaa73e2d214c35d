//! Where another engine may round to another code.

use releqc_runtime::program::{Destination, Op};

/// Why a code may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoundingKind {
    /// A sum of products times a scale: the engine multiplies by its own f32 product of scales.
    Product,
    /// A mean, whose exact value often lies halfway between two codes.
    Mean,
    /// Two scaled values: sum, difference, product, extreme.
    Arithmetic,
    /// A value in another scale: affine map, part of a concatenation.
    Rescale,
    /// Floats to codes: the engine divides by the scale, the artifact multiplies by its inverse.
    Quantize,
    /// Floats that the engine sums in its own order.
    Float,
}

impl RoundingKind {
    /// A sentence for reports.
    pub fn reason(self) -> &'static str {
        match self {
            RoundingKind::Product => "the engine's own product of scales, rounded to f32",
            RoundingKind::Mean => "means lie halfway between two codes, where engines differ",
            RoundingKind::Arithmetic => "scaled values are summed in floats",
            RoundingKind::Rescale => "the scale changes, in floats",
            RoundingKind::Quantize => "divided by the scale, not multiplied by its inverse",
            RoundingKind::Float => "floats, in the engine's own order",
        }
    }

    /// Codes that a result may differ by where operands are equal; `None` for floats.
    pub fn codes(self) -> Option<u8> {
        (self != RoundingKind::Float).then_some(1)
    }
}

/// An operator whose result may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Name of the result, or of the layer.
    pub name: String,
    /// Operator of the plan.
    pub op: &'static str,
    /// Why.
    pub kind: RoundingKind,
}

/// Why the result of an operator may differ; `None` where it is equal in every engine.
pub(super) fn of(op: &Op) -> Option<RoundingKind> {
    match op {
        Op::Conv(conv) => Some(match conv.destination {
            Destination::Codes { .. } => RoundingKind::Product,
            Destination::Logits { .. } => RoundingKind::Float,
        }),
        Op::AveragePool { .. } => Some(RoundingKind::Mean),
        Op::Arithmetic { .. } => Some(RoundingKind::Arithmetic),
        Op::Concat { xs, .. } => xs.iter().any(|(_, m)| m.is_some()).then_some(RoundingKind::Rescale),
        Op::Affine { .. } => Some(RoundingKind::Rescale),
        Op::Quantize { .. } => Some(RoundingKind::Quantize),
        Op::MaxPool { .. } | Op::Constant { .. } | Op::Table { .. } | Op::Move { .. } | Op::Dequantize { .. } => None,
        Op::FloatMove { .. } | Op::FloatConcat { .. } | Op::FloatConstant { .. } | Op::FloatSelect { .. } => None,
        _ => Some(RoundingKind::Float),
    }
}
