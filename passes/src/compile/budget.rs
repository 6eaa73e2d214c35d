//! How much training a network's size affords: functions of the network alone, never of a clock.

use crate::calibrate::Calibrated;
use crate::train::{Augmentation, Recipe};

/// Multiply-accumulates (forward, both gradients) of one evaluation of the search: about ten seconds of two cores.
const SHORT_MACS: u64 = 600_000_000_000;
/// The same for the long run.
const FULL_MACS: u64 = 8_000_000_000_000;

fn steps(calibrated: &Calibrated, batch: usize, macs: u64, range: std::ops::RangeInclusive<u64>) -> usize {
    let graph = &calibrated.folded;
    let sample: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    (macs / (3 * sample.max(1) * batch as u64)).clamp(*range.start(), *range.end()) as usize
}

/// Retraining of one evaluation.
pub(super) fn short_recipe(calibrated: &Calibrated, labelled: bool) -> Recipe {
    let recipe = Recipe::short();
    fitted(Recipe { steps: steps(calibrated, recipe.batch, SHORT_MACS, 60..=150), ..recipe }, calibrated, labelled)
}

/// Retraining of the result.
pub(super) fn full_recipe(calibrated: &Calibrated, labelled: bool) -> Recipe {
    let full = Recipe::full(1);
    let steps = steps(calibrated, full.batch, FULL_MACS, 300..=2500);
    fitted(Recipe::full(if labelled { steps } else { steps.min(600) }), calibrated, labelled)
}

/// Images of one channel (digits, spectra) and synthesised samples are not varied: a shifted or mirrored one is another sample.
fn fitted(recipe: Recipe, calibrated: &Calibrated, labelled: bool) -> Recipe {
    let colour = calibrated.graph.input_shape().chw()[0] == 3;
    let augmentation = if labelled && colour { recipe.augmentation } else { Augmentation::NONE };
    Recipe { augmentation, ..recipe }
}

/// Evaluations of the agent; without retraining one takes a fraction of a second.
pub(super) fn episodes(layers: usize, retrains: bool) -> usize {
    if retrains { (16 + 2 * layers).min(60) } else { (40 + 4 * layers).min(120) }
}
