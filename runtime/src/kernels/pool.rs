//! Windows without weights: maximum and mean.

use super::{Clamp, Kernel, Memory, View};
use crate::program::Window;
use std::ops::Range;

/// The taps of a window that fall inside the image along one axis.
#[derive(Clone, Copy, Debug)]
struct Taps {
    /// First input row or column.
    first: usize,
    /// Number of taps inside.
    count: usize,
}

/// For each output position along an axis, the taps inside the image.
fn taps(window: &Window, axis: usize, outputs: usize, size: usize) -> Vec<Taps> {
    let (kernel, stride) = (window.kernel[axis] as usize, window.stride[axis] as usize);
    let (dilation, before) = (window.dilation[axis] as usize, window.padding[axis] as usize);
    let at = |output: usize| {
        let origin = output * stride;
        let skipped = before.saturating_sub(origin).div_ceil(dilation);
        let end = if size + before > origin { (size + before - origin).div_ceil(dilation).min(kernel) } else { 0 };
        if end > skipped {
            Taps { first: origin + skipped * dilation - before, count: end - skipped }
        } else {
            Taps { first: 0, count: 0 }
        }
    };
    (0..outputs).map(at).collect()
}

/// Where a pooling window reads and writes.
pub(crate) struct Pooling {
    x: View,
    y: View,
    rows: Vec<Taps>,
    columns: Vec<Taps>,
    dilation: [usize; 2],
}

impl Pooling {
    /// Pooling of one tensor to another.
    pub(crate) fn new(x: View, y: View, window: &Window) -> Self {
        let dilation = window.dilation.map(|d| d as usize);
        let (rows, columns) = (taps(window, 0, y.height, x.height), taps(window, 1, y.width, x.width));
        Pooling { x, y, rows, columns, dilation }
    }

    /// Calls `visit` with the bytes of each pixel under the window.
    #[inline(always)]
    fn cells<'a>(&self, memory: &'a Memory, row: Taps, column: Taps, mut visit: impl FnMut(&'a [u8])) {
        for r in 0..row.count {
            for c in 0..column.count {
                let at = self.x.at(row.first + r * self.dilation[0], column.first + c * self.dilation[1]);
                visit(memory.codes(at..at + self.x.pixel));
            }
        }
    }
}

/// Maximum of codes.
pub(crate) struct MaxPool(pub(crate) Pooling);

impl Kernel for MaxPool {
    fn parts(&self) -> usize {
        self.0.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let pooling = &self.0;
        for row in parts {
            let y = memory.codes_mut(pooling.y.row_range(row));
            for (y, &column) in y.chunks_exact_mut(pooling.y.pixel).zip(&pooling.columns) {
                y.fill(0);
                pooling.cells(memory, pooling.rows[row], column, |x| {
                    y.iter_mut().zip(x).for_each(|(y, &q)| *y = (*y).max(q));
                });
            }
        }
    }
}

/// Mean of codes.
pub(crate) struct AveragePool {
    pub(crate) pooling: Pooling,
    /// Zero point of the input.
    pub(crate) z: u8,
    /// The divisor, where padding counts.
    pub(crate) count: Option<u32>,
    pub(crate) multiplier: f32,
    pub(crate) clamp: Clamp,
}

/// Channels summed at a time.
const LANES: usize = 64;

impl Kernel for AveragePool {
    fn parts(&self) -> usize {
        self.pooling.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let pooling = &self.pooling;
        for row in parts {
            let y = memory.codes_mut(pooling.y.row_range(row));
            for (y, &column) in y.chunks_exact_mut(pooling.y.pixel).zip(&pooling.columns) {
                let cells = (pooling.rows[row].count * column.count) as u32;
                let multiplier = self.multiplier / self.count.unwrap_or(cells.max(1)) as f32;
                let zeros = (cells as i32).wrapping_mul(i32::from(self.z));
                for (block, y) in y.chunks_mut(LANES).enumerate() {
                    let mut sums = [0i32; LANES];
                    pooling.cells(memory, pooling.rows[row], column, |x| {
                        let x = &x[block * LANES..][..y.len()];
                        sums.iter_mut().zip(x).for_each(|(sum, &q)| *sum += i32::from(q));
                    });
                    for (y, sum) in y.iter_mut().zip(sums) {
                        *y = self.clamp.requantize((sum - zeros) as f32 * multiplier);
                    }
                }
            }
        }
    }
}
