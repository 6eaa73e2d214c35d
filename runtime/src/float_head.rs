//! Float operators after the logits: one scalar implementation for all executors, sums left to right, `exp` and `log`
//! from `libm`, subnormal powers and shares as 0, so that every machine gives the same bytes, whether its caller flushes them or not.

/// A value, 0 where it is subnormal or the least normal one: rounding to that may come before a machine looks for subnormals, or after.
fn flushed(v: f32) -> f32 {
    if v.abs() <= f32::MIN_POSITIVE { 0.0 } else { v }
}

/// Softmax of `values` in place, or its logarithm: `e[i] = exp(v[i] - max)`, `e[i] / sum(e)` or `(v[i] - max) - log(sum(e))`. Powers and
/// shares up to the least normal number are 0. Of a subnormal value or difference the power is 1, flushed or not, and no logarithm is one.
pub fn softmax(values: &mut [f32], log: bool) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let power = |v: f32| flushed(libm::expf(v - max));
    let sum = values.iter().fold(0.0f32, |sum, &v| sum + power(v));
    for v in values.iter_mut() {
        *v = if log { (*v - max) - libm::logf(sum) } else { flushed(power(*v) / sum) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result(values: &[f32], log: bool) -> Vec<f32> {
        let mut values = values.to_vec();
        softmax(&mut values, log);
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
    }
}
