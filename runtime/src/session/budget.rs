//! How much memory a session may take.

use crate::RunError;
use std::cell::Cell;

/// Most bytes of a session's memory. A program within the limits of loading may ask for more by halos, gathered windows, and weights that
/// are wider in the order of a kernel than in the file.
const LIMIT: u64 = 4 << 30;

/// Counts what a session allocates, before it does. What it frees again while it is planned stays counted.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: Cell<u64>,
}

impl Budget {
    /// Counts some bytes.
    ///
    /// # Errors
    /// [`RunError::Memory`] where that makes more than a session may take.
    pub(super) fn take(&self, bytes: usize) -> Result<(), RunError> {
        let needed = self.used.get().saturating_add(bytes as u64);
        if needed > LIMIT {
            return Err(RunError::Memory { needed, limit: LIMIT });
        }
        self.used.set(needed);
        Ok(())
    }

    /// Whether some bytes more would be within the limit.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        self.used.get().saturating_add(bytes as u64) <= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_adds_up() {
        let budget = Budget::default();
        budget.take(3 << 30).unwrap();
        assert!(budget.allows(1 << 30) && !budget.allows((1 << 30) + 1));
        for bytes in [(1 << 30) + 1, usize::MAX] {
            let error = budget.take(bytes).unwrap_err();
            assert!(matches!(error, RunError::Memory { needed, limit } if needed > limit), "{error}");
        }
        budget.take(1 << 30).unwrap();
        assert!(budget.take(1).is_err() && budget.take(0).is_ok());
    }
}
