//! The loops over the channels of a pixel. Each is compiled for every instruction set.

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

#[inline(always)]
fn max_block<const N: usize>(x: &[u8], cells: Cells, from: usize, y: &mut [u8]) {
    let mut most = [0u8; N];
    visit_cells::<N>(x, cells, from, |cell| {
        for (most, &q) in most.iter_mut().zip(cell) {
            *most = (*most).max(q);
        }
    });
    y[from..from + N].copy_from_slice(&most);
}

/// Blocks of `N` channels from `from` on; the last may overlap the one before, as a maximum may be taken twice.
#[inline(always)]
fn max_blocks<const N: usize>(x: &[u8], cells: Cells, y: &mut [u8]) {
    let channels = y.len();
    let mut from = 0;
    while from + N < channels {
        max_block::<N>(x, cells, from, y);
        from += N;
    }
    max_block::<N>(x, cells, channels - N, y);
}

#[inline(always)]
fn max(x: &[u8], cells: Cells, y: &mut [u8]) {
    match y.len() {
        64.. => max_blocks::<64>(x, cells, y),
        16.. => max_blocks::<16>(x, cells, y),
        4.. => max_blocks::<4>(x, cells, y),
        _ => max_blocks::<1>(x, cells, y),
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
    /// Maximum over cells, the first at `x`; 0 where there is none.
    pub(super) fn max_pixel: MaxPixel(x: &[u8], cells: Cells, y: &mut [u8]) = max
}
compiled! {
    /// `requantize(f32(sum - zeros) * multiplier)` over cells as in [`max_pixel`].
    pub(crate) fn mean_pixel: MeanPixel(
        x: &[u8],
        cells: Cells,
        zeros: i32,
        multiplier: f32,
        clamp: Clamp,
        y: &mut [u8],
    ) = mean
}
