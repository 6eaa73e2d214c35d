//! No two tensors that live at the same time share a byte.

use crate::FormatError;
use crate::error::quoted;
use crate::program::Program;

/// Bound on the work of the check; a network of 5,000 tensors that all reuse one region stays below it.
const MAX_OVERLAP_PAIRS: u64 = 1 << 24;

/// Sweeps over the tensors in order of their first bytes; a tensor is dropped from the window once its bytes end.
pub(super) fn check(program: &Program, written: &[Option<usize>], last_read: &[usize]) -> Result<(), FormatError> {
    let tensors = &program.tensors;
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| tensors[i].arena_offset);
    let mut open: Vec<usize> = Vec::new();
    let mut pairs = 0u64;
    for &i in &order {
        open.retain(|&j| tensors[j].arena_range().end > tensors[i].arena_range().start);
        for &j in &open {
            let (first_i, first_j) = (written[i].unwrap_or(0), written[j].unwrap_or(0));
            if first_i <= last_read[j] && first_j <= last_read[i] {
                let what = format!("shares arena bytes with tensor {j} ({}) while both live", quoted(&tensors[j].name));
                return Err(FormatError::malformed(format!("tensor {i} ({})", quoted(&tensors[i].name)), what));
            }
        }
        pairs += open.len() as u64;
        if pairs > MAX_OVERLAP_PAIRS {
            let what = "the memory plan has too many overlapping tensors to check";
            return Err(FormatError::malformed("plan section", what));
        }
        open.push(i);
    }
    Ok(())
}
