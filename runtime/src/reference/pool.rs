//! Windows without weights.

use super::places::tap;
use crate::program::{Tensor, Window};

/// Maximum of the codes inside the image, clamped.
pub(super) fn max(x: &Tensor, codes: &[u8], window: &Window, [lo, hi]: [u8; 2]) -> Vec<u8> {
    let max = |cells: &[usize], c| cells.iter().map(|&cell| codes[cell + c]).max().unwrap_or(0);
    over_windows(x, window, |cells, c| max(cells, c).clamp(lo, hi))
}

/// Sum of `q - z` over the cells inside the image, and the divisor, at least 1.
pub(super) fn sums(x: &Tensor, codes: &[u8], window: &Window, count_include_pad: bool) -> Vec<(i32, u32)> {
    let all = window.kernel[0] * window.kernel[1];
    over_windows(x, window, |cells, c| {
        let sum = cells.iter().map(|&cell| i32::from(codes[cell + c]) - i32::from(x.zero_point)).sum();
        (sum, if count_include_pad { all } else { (cells.len() as u32).max(1) })
    })
}

/// Calls `result` with the first bytes of the cells under the window, for every position and channel.
fn over_windows<T>(x: &Tensor, window: &Window, result: impl Fn(&[usize], usize) -> T) -> Vec<T> {
    let [height, width] = window.output(x.height, x.width).unwrap_or([0, 0]);
    let mut results = Vec::new();
    for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        let mut cells = Vec::new();
        for (ky, kx) in (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx))) {
            let cell = tap(window, 0, row, ky, x.height).zip(tap(window, 1, column, kx, x.width));
            cells.extend(cell.map(|(r, s)| ((r * x.width + s) * x.channels) as usize));
        }
        results.extend((0..x.channels as usize).map(|c| result(&cells, c)));
    }
    results
}
