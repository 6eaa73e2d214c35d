//! The loops over the channels of a pixel. Each is compiled for every instruction set.

use crate::kernels::Clamp;
use crate::kernels::compiled::compiled;

/// Calls `visit` with the block of channels from `from` on of each cell, in loops over `N` channels.
#[inline(always)]
fn cells<const N: usize>(
    x: &[u8],
    counts: [usize; 2],
    steps: [usize; 2],
    from: usize,
    mut visit: impl FnMut(&[u8; N]),
) {
    for row in 0..counts[0] {
        for column in 0..counts[1] {
            let at = row * steps[0] + column * steps[1] + from;
            if let Some(cell) = x[at..].first_chunk() {
                visit(cell);
            }
        }
    }
}

#[inline(always)]
fn max_block<const N: usize>(x: &[u8], counts: [usize; 2], steps: [usize; 2], from: usize, y: &mut [u8]) {
    let mut most = [0u8; N];
    cells::<N>(x, counts, steps, from, |cell| {
        for (most, &q) in most.iter_mut().zip(cell) {
            *most = (*most).max(q);
        }
    });
    y[from..from + N].copy_from_slice(&most);
}

/// Blocks of `N` channels from `from` on; the last may overlap the one before, as a maximum may be taken twice.
#[inline(always)]
fn max_blocks<const N: usize>(x: &[u8], counts: [usize; 2], steps: [usize; 2], y: &mut [u8]) {
    let channels = y.len();
    let mut from = 0;
    while from + N < channels {
        max_block::<N>(x, counts, steps, from, y);
        from += N;
    }
    max_block::<N>(x, counts, steps, channels - N, y);
}

#[inline(always)]
fn max(x: &[u8], counts: [usize; 2], steps: [usize; 2], y: &mut [u8]) {
    match y.len() {
        64.. => max_blocks::<64>(x, counts, steps, y),
        16.. => max_blocks::<16>(x, counts, steps, y),
        4.. => max_blocks::<4>(x, counts, steps, y),
        _ => max_blocks::<1>(x, counts, steps, y),
    }
}

#[inline(always)]
fn mean_block<const N: usize>(
    x: &[u8],
    counts: [usize; 2],
    steps: [usize; 2],
    from: usize,
    zeros: i32,
    multiplier: f32,
    clamp: Clamp,
    y: &mut [u8],
) {
    let mut sums = [0i32; N];
    cells::<N>(x, counts, steps, from, |cell| {
        for (sum, &q) in sums.iter_mut().zip(cell) {
            *sum += i32::from(q);
        }
    });
    for (y, sum) in y[from..from + N].iter_mut().zip(sums) {
        *y = clamp.requantize((sum - zeros) as f32 * multiplier);
    }
}

#[inline(always)]
fn mean(x: &[u8], counts: [usize; 2], steps: [usize; 2], zeros: i32, multiplier: f32, clamp: Clamp, y: &mut [u8]) {
    let channels = y.len();
    let mut from = 0;
    while from + 32 <= channels {
        mean_block::<32>(x, counts, steps, from, zeros, multiplier, clamp, y);
        from += 32;
    }
    while from + 8 <= channels {
        mean_block::<8>(x, counts, steps, from, zeros, multiplier, clamp, y);
        from += 8;
    }
    while from < channels {
        mean_block::<1>(x, counts, steps, from, zeros, multiplier, clamp, y);
        from += 1;
    }
}

compiled! {
    /// Maximum over `counts` rows and columns of cells, `steps` bytes apart, the first at `x`; 0 where there is none.
    pub(super) fn max_pixel: MaxPixel(x: &[u8], counts: [usize; 2], steps: [usize; 2], y: &mut [u8]) = max
}
compiled! {
    /// `requantize(f32(sum - zeros) * multiplier)` over cells as in [`max_pixel`].
    pub(crate) fn mean_pixel: MeanPixel(
        x: &[u8],
        counts: [usize; 2],
        steps: [usize; 2],
        zeros: i32,
        multiplier: f32,
        clamp: Clamp,
        y: &mut [u8],
    ) = mean
}
