//! Weights of the next layer, asked for while the layer before it computes.
//!
//! Codes of 8 bits lie one layer behind the other, and what asks ahead in one layer reaches into the next. Codes that were widened at load lie
//! elsewhere; a layer that takes less than a microsecond would wait for all of them.
#![allow(unsafe_code, reason = "prefetches")]

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Most bytes that are asked for: more do not arrive during a small layer, and would push out what it reads.
const MOST_BYTES: usize = 16 << 10;

/// A place in memory that is read soon. It is an address alone: asking for it reads nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    address: usize,
    lines: usize,
}

impl Ahead {
    /// All of `bytes` where they are few, else nothing.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let lines = if bytes.len() <= MOST_BYTES { bytes.len().div_ceil(LINE) } else { 0 };
        Ahead { address: bytes.as_ptr().addr(), lines }
    }

    /// Asks for it, into the second cache: the first is full of what is computed now.
    #[inline]
    pub(crate) fn ask(self) {
        for line in 0..self.lines {
            prefetch(self.address.wrapping_add(line * LINE));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch(address: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a prefetch reads nothing, wherever it points.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(address)) };
}

/// Nothing: other machines ask ahead on their own.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch(_address: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_are_asked_for_whole_and_many_not_at_all() {
        let bytes = vec![0; MOST_BYTES + 1];
        let lines = [0, 1, LINE, LINE + 1, MOST_BYTES, MOST_BYTES + 1].map(|len| Ahead::of(&bytes[..len]).lines);
        assert_eq!(lines, [0, 1, 1, 2, MOST_BYTES / LINE, 0]);
    }
}
