//! Weighted sums along an axis: linear and cubic interpolation.

use super::canonical;

/// Results that are computed at the same time.
const LANES: usize = 16;

/// `y[o, t, i] = sum of weight * x[o, index, i]` over `taps[t]`, for `x` as `[outer][len][inner]`
/// and `y` as `[outer][taps][inner]`: in f64, in the order of the taps from 0, rounded once.
/// Weights are canonical.
pub fn resample(x: &[f32], y: &mut [f32], taps: &[Vec<(u32, f32)>], len: usize, inner: usize) {
    for (y, x) in y.chunks_exact_mut(taps.len() * inner).zip(x.chunks_exact(len * inner)) {
        for (y, taps) in y.chunks_exact_mut(inner).zip(taps) {
            for (block, y) in y.chunks_mut(LANES).enumerate() {
                let mut sums = [0.0f64; LANES];
                for &(index, weight) in taps {
                    let x = &x[index as usize * inner + block * LANES..][..y.len()];
                    for (sum, &v) in sums.iter_mut().zip(x) {
                        *sum += f64::from(weight) * f64::from(v);
                    }
                }
                for (y, sum) in y.iter_mut().zip(sums) {
                    *y = canonical(sum as f32);
                }
            }
        }
    }
}
