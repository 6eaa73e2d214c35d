//! Float operators after the logits: one scalar implementation for all executors, sums left to right, `exp` and `log`
//! from `libm`, so that every machine gives the same bytes.

/// Softmax of `values` in place, or its logarithm: `e[i] = exp(v[i] - max)`, `e[i] / sum(e)` or `(v[i] - max) - log(sum(e))`.
pub fn softmax(values: &mut [f32], log: bool) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum = values.iter().fold(0.0f32, |sum, &v| sum + libm::expf(v - max));
    for v in values.iter_mut() {
        *v = if log { (*v - max) - libm::logf(sum) } else { libm::expf(*v - max) / sum };
    }
}
