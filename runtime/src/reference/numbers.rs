//! Codes and real values.

/// `q - z`.
pub(super) fn offset(q: u8, zero_point: u8) -> f32 {
    f32::from(i16::from(q) - i16::from(zero_point))
}

/// `t = min(max(v, lo - z), hi - z); q = rne(t) + z`. A NaN becomes `lo`: `f32::max` yields the other operand.
pub(super) fn requantize(v: f32, z: u8, lo: u8, hi: u8) -> u8 {
    let t = v.max(offset(lo, z)).min(offset(hi, z));
    (t.round_ties_even() as i32 + i32::from(z)) as u8
}
