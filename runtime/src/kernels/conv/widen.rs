//! Bytes to u16.

use crate::kernels::compiled::compiled;

#[inline(always)]
fn widen_bytes(from: &[u8], to: &mut [u8]) {
    for (to, &q) in to.chunks_exact_mut(2).zip(from) {
        to.copy_from_slice(&u16::from(q).to_le_bytes());
    }
}

compiled! {
    /// Widens each byte to a little-endian u16.
    pub(crate) fn widen: Widen(from: &[u8], to: &mut [u8]) = widen_bytes
}
