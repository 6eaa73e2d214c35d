//! Start values of weight steps.

use super::recipe::WeightMethod;

/// Candidate steps tried for each channel.
const CANDIDATES: usize = 24;

/// Refinements of the best candidate by least squares.
const REFINEMENTS: usize = 4;

/// One step a channel for a weight of rows of `channels`, by the method's rule; an all-zero channel has step 1.
pub(crate) fn initial_steps(weight: &[f32], channels: usize, max_code: f32, method: WeightMethod) -> Vec<f32> {
    match method {
        WeightMethod::LearnedSteps => {
            let column = |c: usize| weight.iter().skip(c).step_by(channels).copied().collect::<Vec<_>>();
            (0..channels).map(|c| least_squares_step(&column(c), max_code)).collect()
        }
        WeightMethod::Wrpn | WeightMethod::DoReFa => {
            let largest = weight.iter().fold(0.0f32, |m, w| m.max(w.abs()));
            vec![if largest > 0.0 { largest / max_code } else { 1.0 }; channels]
        }
    }
}

/// The step that minimises `sum (w - step * code)^2`: the best of a grid below the largest weight, then alternating codes
/// for the step and the least-squares step for the codes, which never increases the error.
fn least_squares_step(weights: &[f32], max_code: f32) -> f32 {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if largest < f32::MIN_POSITIVE {
        return 1.0;
    }
    let code = |w: f32, step: f32| (w / step).clamp(-max_code, max_code).round_ties_even();
    let error = |step: f32| weights.iter().map(|&w| (w - step * code(w, step)).powi(2)).sum::<f32>();
    let candidates = (0..CANDIDATES).map(|i| largest / max_code * (1.0 - 0.85 * i as f32 / CANDIDATES as f32));
    let mut best = (f32::INFINITY, largest / max_code);
    for step in candidates {
        let e = error(step);
        if e < best.0 {
            best = (e, step);
        }
    }
    let mut step = best.1;
    for _ in 0..REFINEMENTS {
        let (product, square) = weights.iter().fold((0.0f32, 0.0f32), |(p, s), &w| {
            let c = code(w, step);
            (p + w * c, s + c * c)
        });
        if product <= 0.0 || square <= 0.0 {
            break;
        }
        step = product / square;
    }
    step
}
