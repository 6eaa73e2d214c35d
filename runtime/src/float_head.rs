//! Float operators after the logits: one scalar implementation for all executors, sums left to right, `exp` and `log`
//! from `libm`, subnormal numbers as 0, so that every machine gives the same bytes, whether its caller flushes subnormals or not.

/// A value, 0 where it is subnormal or the least normal one: rounding to that may come before a machine looks for subnormals, or after.
fn flushed(v: f32) -> f32 {
    if v.abs() <= f32::MIN_POSITIVE { 0.0 } else { v }
}

/// Softmax of `values` in place, or its logarithm: `e[i] = exp(v[i] - max)`, `e[i] / sum(e)` or `(v[i] - max) - log(sum(e))`; every
/// value, difference, power and result that is [`flushed`] is 0.
pub fn softmax(values: &mut [f32], log: bool) {
    let max = values.iter().copied().map(flushed).fold(f32::NEG_INFINITY, f32::max);
    let below = |v: f32| flushed(flushed(v) - max);
    let power = |v: f32| flushed(libm::expf(below(v)));
    let sum = values.iter().fold(0.0f32, |sum, &v| sum + power(v));
    for v in values.iter_mut() {
        *v = flushed(if log { below(*v) - libm::logf(sum) } else { power(*v) / sum });
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

    #[test]
    fn subnormal_inputs_are_zero() {
        let tiny = f32::MIN_POSITIVE / 2.0;
        for log in [false, true] {
            let zeros = result(&[0.0, 0.0, -1.0], log);
            assert_eq!(result(&[tiny, 0.0, -1.0], log), zeros);
            assert_eq!(result(&[0.0, f32::MIN_POSITIVE, -1.0], log), zeros);
        }
        // Inputs that are normal, whose difference is not.
        let near = 3.0 * f32::MIN_POSITIVE;
        assert_eq!(result(&[near, near + tiny], true), result(&[near, near], true));
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
