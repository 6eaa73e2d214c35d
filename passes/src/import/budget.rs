//! How much memory a file may make the import use beyond its own size.

use super::error::{Problem, unsupported};

/// What any file may use.
const BASE: usize = 128 << 20;
/// What a file may use more, for each of its bytes: weights of 4 bits become f32, twice.
const PER_BYTE: usize = 16;

/// Bytes that folded values and lists may still take.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub(super) fn for_file(len: usize) -> Self {
        Budget { left: len.saturating_mul(PER_BYTE).saturating_add(BASE) }
    }

    /// Whether `count` elements of `size` bytes fit into what is left.
    pub(super) fn check(&self, count: usize, size: usize, what: &str) -> Result<(), Problem> {
        if count.checked_mul(size).is_some_and(|bytes| bytes <= self.left) {
            return Ok(());
        }
        Err(unsupported(format!(
            "{what} of {count} elements, computed from constants; the file may use {} MiB more",
            self.left >> 20
        )))
    }

    /// Takes `count` elements of `size` bytes.
    pub(super) fn spend(&mut self, count: usize, size: usize, what: &str) -> Result<(), Problem> {
        self.check(count, size, what)?;
        self.left -= count * size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends() {
        let mut budget = Budget::for_file(0);
        assert!(budget.spend(BASE / 8, 8, "a list").is_ok());
        assert!(budget.spend(1, 1, "a list").is_err());
        assert!(budget.check(usize::MAX, 16, "a list").is_err());
        assert!(Budget::for_file(usize::MAX).check(usize::MAX, 1, "a list").is_ok());
    }
}
