//! Windows without weights: maximum and mean.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

mod loops;

use loops::Cells;

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
    /// Bytes of it for a result.
    pub(crate) fn bytes(y: &View) -> usize {
        (y.height + y.width) * size_of::<Taps>()
    }

    /// Pooling of one tensor to another.
    pub(crate) fn new(x: View, y: View, window: &Window) -> Self {
        let dilation = window.dilation.map(|d| d as usize);
        let (rows, columns) = (taps(window, 0, y.height, x.height), taps(window, 1, y.width, x.width));
        Pooling { x, y, rows, columns, dilation }
    }

    /// The windows of a row of the result, without what lies outside the input.
    fn row_windows(&self, row: usize) -> loops::RowWindows<'_> {
        let rows = self.rows[row];
        loops::RowWindows {
            rows: rows.count,
            row_step: self.dilation[0] * self.x.row,
            columns: &self.columns,
            column_step: self.dilation[1] * self.x.pixel,
        }
    }

    /// The input under a row of the result: from the first row's first pixel to the last row's last.
    fn row_bytes<'a>(&self, memory: &'a Memory, row: usize) -> &'a [u8] {
        let rows = self.rows[row];
        if rows.count == 0 {
            return &[];
        }
        let last = rows.first + (rows.count - 1) * self.dilation[0];
        memory.codes(self.x.at(rows.first, 0)..self.x.row_range(last).end)
    }

    /// The inside part of each window of a row of the result, and its bytes.
    fn windows<'a>(&'a self, memory: &'a Memory, row: usize) -> impl Iterator<Item = (Cells, &'a [u8])> + 'a {
        let rows = self.rows[row];
        self.columns.iter().map(move |columns| {
            let counts = [rows.count, columns.count];
            let steps = [self.dilation[0] * self.x.row, self.dilation[1] * self.x.pixel];
            let first = self.x.at(rows.first, columns.first);
            let last = |axis: usize| counts[axis].saturating_sub(1) * steps[axis];
            let bytes = if counts.contains(&0) { 0 } else { last(0) + last(1) + self.x.pixel };
            (Cells { counts, steps }, memory.codes(first..first + bytes))
        })
    }
}

/// Maximum of codes.
pub(crate) struct MaxPool {
    pooling: Pooling,
    row: loops::MaxRow,
    /// Lowest and highest code, where they bound anything.
    bounds: Option<[u8; 2]>,
}

impl MaxPool {
    pub(crate) fn new(available: Available, pooling: Pooling, bounds: [u8; 2]) -> Self {
        MaxPool { pooling, row: loops::max_row(available), bounds: Some(bounds).filter(|&bounds| bounds != [0, 255]) }
    }
}

impl Kernel for MaxPool {
    fn parts(&self) -> usize {
        self.pooling.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let pooling = &self.pooling;
        let channels = pooling.x.pixel;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(pooling.y.row_range(row)) };
            let (x, windows) = (pooling.row_bytes(memory, row), pooling.row_windows(row));
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(x, windows, channels, y) };
            if let Some([lo, hi]) = self.bounds {
                y.iter_mut().for_each(|q| *q = (*q).clamp(lo, hi));
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

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let pooling = &self.pooling;
        let channels = pooling.x.pixel;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(pooling.y.row_range(row)) };
            for (y, (cells, x)) in y.chunks_exact_mut(channels).zip(pooling.windows(memory, row)) {
                let count = (cells.counts[0] * cells.counts[1]) as u32;
                let multiplier = self.multiplier / self.count.unwrap_or(count.max(1)) as f32;
                let zeros = (count as i32).wrapping_mul(i32::from(self.z));
                // SAFETY: bound for an instruction set that was proved available.
                unsafe { (self.pixel)(x, cells, zeros, multiplier, self.clamp, y) };
            }
        }
    }
}
