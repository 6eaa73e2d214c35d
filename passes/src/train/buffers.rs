//! Memory of large tensors, kept from one training step for the next: fresh pages from the system cost more than the
//! kernels that fill them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Values below which a buffer is not worth keeping.
const SMALLEST: usize = 4096;

/// Buffers that nobody uses at the moment, by length.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Mutex<BTreeMap<usize, Vec<Vec<f32>>>>,
}

impl Buffers {
    /// A buffer of `len` values that hold anything.
    pub(crate) fn take(&self, len: usize) -> Vec<f32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.get_mut(&len).and_then(Vec::pop).unwrap_or_else(|| vec![0.0; len])
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Keeps a buffer for later.
    pub(crate) fn give(&self, buffer: Vec<f32>) {
        if buffer.len() >= SMALLEST {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(buffer.len()).or_default().push(buffer);
        }
    }
}
