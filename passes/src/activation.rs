//! Codes of tensors: range, scale, zero point, width.

use crate::ir::NodeId;
use releqc_runtime::BitWidth;
use std::collections::BTreeMap;
use std::fmt;

/// Range of a tensor's values chosen for quantization; always contains 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At most 0.
    pub min: f32,
    /// At least 0.
    pub max: f32,
}

impl Range {
    /// The larger magnitude of both ends.
    pub fn amplitude(self) -> f32 {
        self.max.max(-self.min)
    }

    /// The narrowest range that contains both.
    pub fn with(self, other: Self) -> Self {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The narrowest range of finite values and 0.
    pub fn of(values: &[f32]) -> Self {
        values
            .iter()
            .filter(|v| v.is_finite())
            .fold(Range { min: 0.0, max: 0.0 }, |range, &v| Range { min: range.min.min(v), max: range.max.max(v) })
    }
}

/// Nodes whose codes have fewer than 8 bits. What only moves codes has the width of what it moves.
pub type NarrowTensors = BTreeMap<NodeId, BitWidth>;

/// Quantization of one activation tensor: `q = clamp(rne(x / scale) + zero_point, 0, largest)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationQuant {
    /// Step, finite and > 0.
    pub scale: f32,
    /// The code of 0.0, at most `largest`.
    pub zero_point: u8,
    /// The largest code, `2^bits - 1`: 255 at 8 bits.
    pub largest: u8,
}

impl ActivationQuant {
    /// Scales are normal numbers, and so are all codes times a scale. What relates scales to each other is a multiplier, whose range is
    /// checked by itself.
    pub const SCALES: std::ops::RangeInclusive<f32> = 7.523_164e-37..=1.329_227_9e36; // 2^-120, 2^120

    /// The largest code of a width.
    pub const fn largest_code(bits: BitWidth) -> u8 {
        u8::MAX >> (BitWidth::MAX.bits() - bits.bits())
    }

    /// The width of the codes.
    pub fn bits(self) -> BitWidth {
        let bits = u8::BITS - self.largest.leading_zeros();
        BitWidth::new(bits as u8).unwrap_or(BitWidth::MIN)
    }

    /// The quantization of a range that contains 0, in codes of `bits`. That of `0..=1` for a range of width 0: biases of the
    /// layers that read it are whole multiples of its scale.
    pub fn of(range: Range, bits: BitWidth) -> Self {
        let largest = Self::largest_code(bits);
        let width = f64::from(range.max) - f64::from(range.min);
        if width <= 0.0 {
            return Self::of(Range { min: 0.0, max: 1.0 }, bits);
        }
        let scale = ((width / f64::from(largest)) as f32).clamp(*Self::SCALES.start(), *Self::SCALES.end());
        let zero_point = (-range.min / scale).round_ties_even().clamp(0.0, f32::from(largest)) as u8;
        ActivationQuant { scale, zero_point, largest }
    }

    /// What the code of a value stands for.
    #[inline(always)]
    pub fn rounded(self, value: f32) -> f32 {
        let (zero_point, largest) = (f32::from(self.zero_point), f32::from(self.largest));
        (value / self.scale).round_ties_even().clamp(-zero_point, largest - zero_point) * self.scale
    }
}

impl fmt::Display for ActivationQuant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ActivationQuant { scale, zero_point, largest } = self;
        write!(f, "u8 scale {scale:e} zero_point {zero_point}")?;
        if *largest < u8::MAX { write!(f, " codes 0..={largest}") } else { Ok(()) }
    }
}
