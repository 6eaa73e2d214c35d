//! How a batch is divided over threads: always into the same parts, so that sums have one order for any number of threads.

use std::ops::Range;

/// Parts a batch is divided into.
pub(crate) const PARTS: usize = 16;

/// Weights above which the partial sums of a weight gradient cost more than parallelism brings.
const LARGE_WEIGHT: usize = 1 << 17;

/// The sample ranges of a batch of `batch`, at most `parts`, none empty.
pub(crate) fn ranges(batch: usize, parts: usize) -> Vec<Range<usize>> {
    let size = part_size(batch, parts);
    (0..batch).step_by(size).map(|start| start..(start + size).min(batch)).collect()
}

/// Samples in each part but the last.
pub(crate) fn part_size(batch: usize, parts: usize) -> usize {
    batch.div_ceil(parts).max(1)
}

/// Parts for a weight gradient of `len` values, each of which holds its own partial sum.
pub(crate) fn gradient_parts(len: usize) -> usize {
    if len > LARGE_WEIGHT { 4 } else { PARTS }
}

/// Adds the partial sums up, in their order.
pub(crate) fn sum_parts(parts: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; parts.first().map_or(0, Vec::len)];
    for part in parts {
        for (total, value) in sum.iter_mut().zip(part) {
            *total += value;
        }
    }
    sum
}
