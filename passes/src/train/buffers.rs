//! Memory of large tensors, kept from one training step for the next: fresh pages from the system cost more than the
//! kernels that fill them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Values below which a buffer is not worth keeping.
const SMALLEST: usize = 4096;

/// Buffers of one length.
#[derive(Debug, Default)]
struct Shelf {
    /// Those that nobody uses at the moment.
    free: Vec<Vec<f32>>,
    /// How many were made here because none was free. No more are kept: buffers that are given back but were made elsewhere
    /// would otherwise pile up step by step.
    made: usize,
}

/// Buffers that nobody uses at the moment, by length.
#[derive(Debug, Default)]
pub struct Buffers {
    shelves: Mutex<BTreeMap<usize, Shelf>>,
}

impl Buffers {
    /// A buffer of `len` values that hold anything.
    pub(crate) fn take(&self, len: usize) -> Vec<f32> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(len).or_default();
        shelf.free.pop().unwrap_or_else(|| {
            shelf.made += 1;
            vec![0.0; len]
        })
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Keeps a buffer for later.
    pub(crate) fn give(&self, buffer: Vec<f32>) {
        if buffer.len() < SMALLEST {
            return;
        }
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = shelves.get_mut(&buffer.len())
            && shelf.free.len() < shelf.made
        {
            shelf.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_was_made() {
        let buffers = Buffers::default();
        let kept = |len: usize| buffers.shelves.lock().unwrap().get(&len).map_or(0, |shelf| shelf.free.len());
        buffers.give(vec![1.0; 2 * SMALLEST]);
        assert_eq!(kept(2 * SMALLEST), 0, "a length that is never taken is not kept");
        let taken = buffers.take(SMALLEST);
        buffers.give(taken);
        buffers.give(vec![1.0; SMALLEST]);
        assert_eq!(kept(SMALLEST), 1);
    }
}
