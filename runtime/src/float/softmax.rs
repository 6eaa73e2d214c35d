//! Softmax and its logarithm.

use super::canonical;

/// Softmax in place of `values`, `[outer][len][inner]`, over `len`, or its logarithm: `e[i] =
/// exp(v[i] - max)`, `e[i] / sum(e)` or `(v[i] - max) - log(sum(e))`, in f32, sums in ascending
/// order. Powers and shares up to the least normal number are 0. Of a subnormal value or difference
/// the power is 1, flushed or not, and no logarithm is one. NaN where there is a NaN, or nothing
/// above minus infinity.
pub fn softmax(values: &mut [f32], log: bool, len: usize, inner: usize) {
    let power = |v: f32, max: f32| canonical(libm::expf(v - max));
    for group in values.chunks_exact_mut(len * inner) {
        for first in 0..inner {
            let max = group.iter().skip(first).step_by(inner).copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0f32;
            for v in group.iter_mut().skip(first).step_by(inner) {
                let e = power(*v, max);
                sum += e;
                if !log {
                    *v = e;
                }
            }
            let total = libm::logf(sum);
            for v in group.iter_mut().skip(first).step_by(inner) {
                *v = canonical(if log { (*v - max) - total } else { *v / sum });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result(values: &[f32], log: bool) -> Vec<f32> {
        let mut values = values.to_vec();
        let len = values.len();
        softmax(&mut values, log, len, 1);
        values
    }

    #[test]
    fn what_is_too_small_is_zero() {
        // exp(-87) is normal, exp(-88) is not; a share may be subnormal where no power is.
        assert_eq!(result(&[0.0, -88.0], false), [1.0, 0.0]);
        let normal = result(&[0.0, -87.0], false)[1];
        assert!(normal.is_normal() && normal < 1e-37);
        let shares = result(&[0.0, 0.0, 0.0, 0.0, -87.0], false);
        assert_eq!(shares[4], 0.0);
        assert_eq!(shares[0], 0.25);
    }

    proptest! {
        #[test]
        fn no_result_is_subnormal(values in proptest::collection::vec(-200f32..200.0, 1..20), log: bool) {
            for v in result(&values, log) {
                prop_assert!(v == 0.0 || v.is_normal(), "{v:e}");
            }
        }

        /// The form of before, which had one axis: the same bytes.
        #[test]
        fn every_lane_is_a_softmax(
            values in proptest::collection::vec(-200f32..200.0, 24), log: bool, shape in 0usize..4,
        ) {
            let [len, inner] = [[24, 1], [4, 3], [2, 4], [6, 4]][shape];
            let mut found = values.clone();
            softmax(&mut found, log, len, inner);
            for first in (0..24).filter(|i| i % (len * inner) < inner) {
                let places: Vec<usize> = (0..len).map(|i| first + i * inner).collect();
                let lane: Vec<f32> = places.iter().map(|&i| values[i]).collect();
                let max = lane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let power = |v: f32| canonical(libm::expf(v - max));
                let sum = lane.iter().fold(0.0f32, |sum, &v| sum + power(v));
                for (&at, &v) in places.iter().zip(&lane) {
                    let expected = if log { (v - max) - libm::logf(sum) } else { canonical(power(v) / sum) };
                    prop_assert_eq!(found[at].to_bits(), expected.to_bits());
                }
            }
        }
    }
}
