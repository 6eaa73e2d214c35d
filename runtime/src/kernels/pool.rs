//! Windows without weights: maximum and mean.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

mod loops;

use super::{Clamp, Kernel, Memory, View};
use crate::isa::Available;
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

    /// The inside part of each window of a row of the result.
    fn windows(&self, row: usize) -> impl Iterator<Item = Cells> + '_ {
        let rows = self.rows[row];
        self.columns.iter().map(move |columns| Cells {
            first: self.x.at(rows.first, columns.first),
            counts: [rows.count, columns.count],
            steps: [self.dilation[0] * self.x.row, self.dilation[1] * self.x.pixel],
        })
    }
}

/// Pixels under a window.
#[derive(Clone, Copy)]
pub(crate) struct Cells {
    /// Byte of the first.
    first: usize,
    /// Rows and columns.
    counts: [usize; 2],
    /// Bytes between rows and between columns.
    steps: [usize; 2],
}

impl Cells {
    fn count(&self) -> usize {
        self.counts[0] * self.counts[1]
    }

    /// Bytes from the first cell to the end of the last.
    fn span(&self, channels: usize) -> usize {
        let [rows, columns] = self.counts;
        if self.count() == 0 { 0 } else { (rows - 1) * self.steps[0] + (columns - 1) * self.steps[1] + channels }
    }
}

/// Maximum of codes.
pub(crate) struct MaxPool {
    pooling: Pooling,
    pixel: loops::MaxPixel,
}

impl MaxPool {
    pub(crate) fn new(available: Available, pooling: Pooling) -> Self {
        MaxPool { pooling, pixel: loops::max_pixel(available) }
    }
}

impl Kernel for MaxPool {
    fn parts(&self) -> usize {
        self.pooling.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let pooling = &self.pooling;
        let channels = pooling.x.pixel;
        for row in parts {
            let y = memory.codes_mut(pooling.y.row_range(row));
            for (y, cells) in y.chunks_exact_mut(channels).zip(pooling.windows(row)) {
                let x = memory.codes(cells.first..cells.first + cells.span(channels));
                // SAFETY: bound for an instruction set that was proved available.
                unsafe { (self.pixel)(x, cells.counts, cells.steps, y) };
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
    pub(crate) pixel: loops::MeanPixel,
}

pub(crate) use loops::mean_pixel;

impl Kernel for AveragePool {
    fn parts(&self) -> usize {
        self.pooling.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let pooling = &self.pooling;
        let channels = pooling.x.pixel;
        for row in parts {
            let y = memory.codes_mut(pooling.y.row_range(row));
            for (y, cells) in y.chunks_exact_mut(channels).zip(pooling.windows(row)) {
                let count = cells.count() as u32;
                let multiplier = self.multiplier / self.count.unwrap_or(count.max(1)) as f32;
                let zeros = (count as i32).wrapping_mul(i32::from(self.z));
                let x = memory.codes(cells.first..cells.first + cells.span(channels));
                // SAFETY: bound for an instruction set that was proved available.
                unsafe { (self.pixel)(x, cells.counts, cells.steps, zeros, multiplier, self.clamp, y) };
            }
        }
    }
}
