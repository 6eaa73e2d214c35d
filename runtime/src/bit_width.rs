//! Weight widths.

use std::fmt;

/// A weight width of 2..=8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitWidth(u8);

impl BitWidth {
    /// 2 bits: ternary weights.
    pub const MIN: BitWidth = BitWidth(2);
    /// 8 bits.
    pub const MAX: BitWidth = BitWidth(8);

    /// `None` outside 2..=8.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= 2 && bits <= 8 { Some(BitWidth(bits)) } else { None }
    }

    /// All widths, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = BitWidth> {
        (2..=8).map(BitWidth)
    }

    /// Number of bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The largest code, `2^(k-1) - 1`; codes are symmetric, so the smallest is its negative.
    pub const fn max_code(self) -> i8 {
        ((1u8 << (self.0 - 1)) - 1) as i8
    }
}

impl fmt::Display for BitWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
