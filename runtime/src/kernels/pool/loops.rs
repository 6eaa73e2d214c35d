//! The loops over the channels of a pixel. Each is compiled for every instruction set.

use super::Taps;
use crate::kernels::Clamp;
use crate::kernels::compiled::compiled;

/// Rows and columns of cells under a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// How many.
    pub(crate) counts: [usize; 2],
    /// Bytes between them.
    pub(crate) steps: [usize; 2],
}

/// Calls `visit` with the block of channels from `from` on of each cell, in loops over `N` channels.
#[inline(always)]
fn visit_cells<const N: usize>(x: &[u8], cells: Cells, from: usize, mut visit: impl FnMut(&[u8; N])) {
    for row in 0..cells.counts[0] {
        for column in 0..cells.counts[1] {
            let at = row * cells.steps[0] + column * cells.steps[1] + from;
            if let Some(cell) = x[at..].first_chunk() {
                visit(cell);
            }
        }
    }
}

/// A row of windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowWindows<'a> {
    /// Rows of cells under each window.
    pub(crate) rows: usize,
    /// Bytes between them.
    pub(crate) row_step: usize,
    /// Columns of cells under each window; the first is a column of the input.
    pub(crate) columns: &'a [Taps],
    /// Bytes between columns of cells.
    pub(crate) column_step: usize,
}

/// The maximum of `N` bytes from each cell of a window on, the first at `first`; `None` where a cell is followed by less.
#[inline(always)]
fn max_cells<const N: usize>(x: &[u8], windows: &RowWindows, first: usize, columns: usize) -> Option<[u8; N]> {
    match (windows.rows, columns) {
        (2, 2) => max_counted::<N>(x, windows, first, 2, 2),
        (3, 3) => max_counted::<N>(x, windows, first, 3, 3),
        (rows, columns) => max_counted::<N>(x, windows, first, rows, columns),
    }
}

#[inline(always)]
fn max_counted<const N: usize>(
    x: &[u8],
    windows: &RowWindows,
    first: usize,
    rows: usize,
    columns: usize,
) -> Option<[u8; N]> {
    let mut most = [0u8; N];
    for row in 0..rows {
        for column in 0..columns {
            let at = first + row * windows.row_step + column * windows.column_step;
            for (most, &q) in most.iter_mut().zip(x.get(at..)?.first_chunk::<N>()?) {
                *most = (*most).max(q);
            }
        }
    }
    Some(most)
}

/// Channels in blocks of `N`; the last block may overlap the one before, as a maximum may be taken twice.
#[inline(always)]
fn max_blocks<const N: usize>(x: &[u8], windows: RowWindows, channels: usize, y: &mut [u8]) {
    for (columns, y) in windows.columns.iter().zip(y.chunks_exact_mut(channels)) {
        let first = columns.first * channels;
        let mut from = 0;
        loop {
            let from_last = channels - N;
            from = if from < from_last { from } else { from_last };
            let most = max_cells::<N>(x, &windows, first + from, columns.count);
            let Some(most) = most else { unreachable!("a cell ends beyond its row") };
            y[from..from + N].copy_from_slice(&most);
            if from == from_last {
                break;
            }
            from += N;
        }
    }
}

/// Pixels of fewer than `N` channels, each with what follows it, which the next pixel overwrites.
#[inline(always)]
fn max_over<const N: usize>(x: &[u8], windows: RowWindows, channels: usize, y: &mut [u8]) {
    let mut rest = windows;
    for (i, columns) in windows.columns.iter().enumerate() {
        let Some(y) = y[i * channels..].first_chunk_mut::<N>() else { break };
        let Some(most) = max_cells::<N>(x, &windows, columns.first * channels, columns.count) else { break };
        *y = most;
        rest.columns = &windows.columns[i + 1..];
    }
    let done = windows.columns.len() - rest.columns.len();
    max_blocks::<1>(x, rest, channels, &mut y[done * channels..]);
}

#[inline(always)]
fn max(x: &[u8], windows: RowWindows, channels: usize, y: &mut [u8]) {
    match channels {
        64.. => max_blocks::<64>(x, windows, channels, y),
        32.. => max_blocks::<32>(x, windows, channels, y),
        16.. => max_blocks::<16>(x, windows, channels, y),
        _ => max_over::<16>(x, windows, channels, y),
    }
}

#[inline(always)]
fn mean_block<const N: usize>(
    x: &[u8],
    cells: Cells,
    from: usize,
    zeros: i32,
    multiplier: f32,
    clamp: Clamp,
    y: &mut [u8],
) {
    let mut sums = [0i32; N];
    visit_cells::<N>(x, cells, from, |cell| {
        for (sum, &q) in sums.iter_mut().zip(cell) {
            *sum += i32::from(q);
        }
    });
    for (y, sum) in y[from..from + N].iter_mut().zip(sums) {
        *y = clamp.requantize((sum - zeros) as f32 * multiplier);
    }
}

#[inline(always)]
fn mean(x: &[u8], cells: Cells, zeros: i32, multiplier: f32, clamp: Clamp, y: &mut [u8]) {
    let channels = y.len();
    let mut from = 0;
    while from + 32 <= channels {
        mean_block::<32>(x, cells, from, zeros, multiplier, clamp, y);
        from += 32;
    }
    while from + 8 <= channels {
        mean_block::<8>(x, cells, from, zeros, multiplier, clamp, y);
        from += 8;
    }
    while from < channels {
        mean_block::<1>(x, cells, from, zeros, multiplier, clamp, y);
        from += 1;
    }
}

compiled! {
    /// Maximum over the cells of each window of a row; 0 where there is none. `x` begins with the first row of cells.
    pub(super) fn max_row: MaxRow(x: &[u8], windows: RowWindows, channels: usize, y: &mut [u8]) = max
}
compiled! {
    /// `requantize(f32(sum - zeros) * multiplier)` over cells as in [`max_row`].
    pub(crate) fn mean_pixel: MeanPixel(
        x: &[u8],
        cells: Cells,
        zeros: i32,
        multiplier: f32,
        clamp: Clamp,
        y: &mut [u8],
    ) = mean
}
