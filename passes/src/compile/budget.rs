//! How much training a network's size affords: functions of the network alone, never of a clock.

use super::{Material, Retrain};
use crate::calibrate::Calibrated;
use crate::compile::signal::is_classifier;
use crate::ir::{Graph, Op};
use crate::train::{Aim, Augmentation, Comparison, NetworkError, Probe, Recipe, Reconstruction};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Multiply-accumulates (forward, both gradients) of one evaluation of the search: about ten seconds of two cores.
const SHORT_MACS: u64 = 1_000_000_000_000;
/// The same for the long run.
const FULL_MACS: u64 = 24_000_000_000_000;
/// Updates of unlearning, at most.
const UNLEARNING: usize = 800;
/// Share of unlearning's rate for a network without batch normalisation.
const UNNORMALIZED_UNLEARNING: f32 = 0.5;
/// How much more than the goal an evaluation of the search may lose: the long run recovers about three quarters of what the short
/// one loses (ResNet-20 at 3 bits: see docs/search.md). Where it recovers less, the long runs find out.
const RECOVERY: f64 = 4.0;
/// Share of the learning rate for a network without batch normalisation, whose function moves more with its weights. In single runs SimpleNet at
/// 4 bits kept 0.9 and 0.8 points more of the samples held back at 0.005 than at 0.01 under two kinds of augmentation, and as much under a third.
const UNNORMALIZED: f32 = 0.25;
/// Share of the agent's evaluations that look at choices which lose little, for the long runs to fall back on.
const CAREFUL: (usize, usize) = (1, 3);

fn steps(calibrated: &Calibrated, batch: usize, macs: u64, range: std::ops::RangeInclusive<u64>) -> usize {
    steps_of(&calibrated.folded, batch, macs, range)
}

fn steps_of(graph: &Graph, batch: usize, macs: u64, range: std::ops::RangeInclusive<u64>) -> usize {
    let sample: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    (macs / (3 * sample.max(1) * batch as u64)).clamp(*range.start(), *range.end()) as usize
}

/// How this network is retrained on these samples.
#[derive(Debug)]
pub(super) struct Recipes {
    /// One evaluation of the search.
    pub(super) short: Recipe,
    /// The result.
    pub(super) full: Recipe,
    /// The copy of the float network that widths are judged on.
    pub(super) unlearning: Recipe,
}

impl Recipes {
    /// Images of one channel (digits, spectra) and synthesised samples are not varied: a shifted or mirrored one is another sample.
    /// Where no answers are counted, values are compared, and labels are not looked at.
    pub(super) fn new(
        calibrated: &Calibrated,
        material: &Material<'_>,
        of_classes: bool,
        seed: u64,
    ) -> Result<Self, NetworkError> {
        let several = calibrated.graph.outputs.len() > 1;
        let compares = if of_classes && !several { Comparison::Classes } else { Comparison::Values };
        let values: usize = calibrated.folded.nodes.iter().map(|node| node.shape.len()).sum();
        let affordable = match compares {
            Comparison::Classes => usize::MAX,
            Comparison::Values => (BATCH_VALUES / values.max(1)).max(1),
        };
        let batch = Recipe::full(1).batch.min(affordable);
        let (short, full) = (Recipe { batch, ..Recipe::short() }, Recipe { batch, ..Recipe::full(1) });
        let short_steps = steps(calibrated, short.batch, SHORT_MACS, 60..=100);
        let full_steps = steps(calibrated, full.batch, FULL_MACS, 300..=1500);
        let full_steps = if material.is_labelled() { full_steps } else { full_steps.min(600) };
        let colour = calibrated.graph.input_shape().chw()[0] == 3 && compares == Comparison::Classes;
        let augmentation = match material.is_labelled() && colour {
            true => full.augmentation.borne_by(&calibrated.folded, material.training(), seed)?,
            false => Augmentation::NONE,
        };
        let normalized = calibrated.graph.nodes.iter().any(|node| match &node.op {
            Op::Conv(conv) => conv.batch_norm.is_some(),
            Op::FullyConnected(fc) => fc.batch_norm.is_some(),
            op => matches!(op, Op::BatchNorm(_)),
        });
        let calm = if normalized { 1.0 } else { UNNORMALIZED };
        let share = if normalized { 1.0 } else { UNNORMALIZED_UNLEARNING };
        let unlearning = Recipe::unlearning(full_steps.min(UNLEARNING));
        let fitted = |recipe: Recipe| {
            let learning_rate = calm * recipe.learning_rate;
            Recipe { learning_rate, augmentation, batch, compares, ..recipe }
        };
        Ok(Recipes {
            short: fitted(Recipe { steps: short_steps, ..short }),
            full: fitted(Recipe::full(full_steps)),
            unlearning: Recipe { learning_rate: share * unlearning.learning_rate, augmentation, ..unlearning },
        })
    }

    /// The recipe of a result; `None` where nothing is retrained.
    pub(super) fn of(&self, retrain: Retrain) -> Option<&Recipe> {
        match retrain {
            Retrain::None | Retrain::Reconstruct => None,
            Retrain::Short => Some(&self.short),
            Retrain::Full => Some(&self.full),
        }
    }
}

/// Multiply-accumulates (forward, both gradients) of a reconstruction.
const RECONSTRUCTION_MACS: u64 = 8_000_000_000_000;
/// How often a reconstruction sees a sample at most.
const ROUNDS: usize = 40;
/// Values of all tensors of a batch, at most.
const BATCH_VALUES: usize = 1 << 26;
/// Softens the classes of the float network, so that those it does not choose count too.
const TEMPERATURE: f32 = 2.0;

/// How a rounded form of this network is fitted on so many samples; `of_classes` where right answers are counted, not values.
pub(super) fn reconstruction(folded: &Graph, samples: usize, of_classes: bool) -> Reconstruction {
    let aim = if of_classes && is_classifier(folded) { Aim::Classes { temperature: TEMPERATURE } } else { Aim::Values };
    let recipe = Reconstruction::new(1, aim);
    let values: usize = folded.nodes.iter().map(|node| node.shape.len()).sum();
    let batch = recipe.batch.min(samples).min(BATCH_VALUES / values.max(1)).max(1);
    let affordable = steps_of(folded, batch, RECONSTRUCTION_MACS, 60..=1000);
    Reconstruction { batch, updates: affordable.min((ROUNDS * samples / batch).max(60)), ..recipe }
}

/// Multiply-accumulates (forward, both gradients) of probing the curvature of the loss: about five seconds of two cores.
const PROBE_MACS: u64 = 500_000_000_000;
/// Samples that each layer is probed on, all random vectors together.
const PROBED: (usize, usize) = (8, 4096);
/// Random vectors of a layer.
const DRAWS: (usize, usize) = (4, 64);

/// How the Hessian of this network is probed on so many samples; `of_classes` where right answers are counted, not values.
pub(super) fn probe(folded: &Graph, samples: usize, of_classes: bool) -> Probe {
    let aim = if of_classes && is_classifier(folded) { Aim::Classes { temperature: 1.0 } } else { Aim::Values };
    let values: usize = folded.nodes.iter().map(|node| node.shape.len()).sum();
    // Each sample is looked at twice, on either side of the weights.
    let pairs = steps_of(folded, 2, PROBE_MACS, 1..=u64::from(u32::MAX));
    let probed = (pairs / folded.weight_layers().len().max(1)).clamp(PROBED.0, PROBED.1);
    let batch = (probed / 8).min(64).min(samples).min(BATCH_VALUES / values.max(1)).max(1);
    Probe { draws: (probed / batch).clamp(DRAWS.0, DRAWS.1), batch, aim }
}

/// Evaluations of a method whose turn is limited by time: beyond, what is believed of all of them together takes longer than they do.
pub(super) const MOST_OF_A_TURN: usize = 200;

/// The time of the agent's evaluations with the goal itself as limit, where its turn takes so long.
pub(super) fn careful_turn(turn: Duration) -> Duration {
    turn * CAREFUL.0 as u32 / (CAREFUL.1 - CAREFUL.0) as u32
}

/// Evaluations of the agent; without retraining one takes a fraction of a second.
pub(super) fn episodes(layers: usize, retrains: bool) -> usize {
    if retrains { (16 + layers).min(40) } else { (40 + 4 * layers).min(120) }
}

/// Of `evaluations`, those with the goal itself as limit.
pub(super) fn careful(evaluations: usize, recovers: bool) -> usize {
    if recovers { evaluations * CAREFUL.0 / CAREFUL.1 } else { 0 }
}

/// Points that an evaluation of the search may lose, where the result may lose `max_loss`.
pub(super) fn search_limit(max_loss: f64, recovers: bool) -> f64 {
    if recovers { RECOVERY * max_loss } else { max_loss }
}

/// What one preparation of the search (unlearning, the profile) may take of the time left: one part in so many.
pub(super) const PREPARATION: u32 = 5;

/// Most of the time left when the search begins that is kept back for the runs after it.
const KEPT_BACK: (u32, u32) = (2, 3);

/// The time to keep back for runs that take `runs`, where `at_start` was left when the search began: on a slow machine they would take it all,
/// and have nothing to run on.
pub(super) fn kept_back(runs: Duration, at_start: Option<Duration>) -> Duration {
    at_start.map_or(runs, |at_start| runs.min(at_start * KEPT_BACK.0 / KEPT_BACK.1))
}

/// The time that a preparation may take; without a time budget any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    start: Instant,
    most: Option<Duration>,
}

impl Allowance {
    /// Parts of the work after which the time of the whole is foreseen.
    const LEARNED: usize = 8;

    /// From now on, where `left` is left of the time budget.
    pub(super) fn of(left: Option<Duration>) -> Self {
        Allowance { start: Instant::now(), most: left.map(|left| left / PREPARATION) }
    }

    /// Whether the work, of which `done` of `total` equal parts are done, takes longer.
    pub(super) fn exceeded(&self, done: usize, total: usize) -> bool {
        self.most.is_some_and(|most| takes_longer(self.start.elapsed(), done, total, most))
    }
}

fn takes_longer(elapsed: Duration, done: usize, total: usize, most: Duration) -> bool {
    let whole = elapsed.as_secs_f64() * total as f64 / done.max(1) as f64;
    done < total && (elapsed > most || (done >= Allowance::LEARNED && whole > most.as_secs_f64()))
}

/// How fast retraining goes on this machine, learned from runs. Only decides what a time budget leaves out.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds a trained sample.
    seconds: Cell<Option<f64>>,
}

impl Pace {
    /// A run of `steps` updates took `elapsed`.
    pub(super) fn note(&self, recipe: &Recipe, steps: usize, elapsed: Duration) {
        if steps > 0 {
            self.seconds.set(Some(elapsed.as_secs_f64() / (steps * recipe.batch) as f64));
        }
    }

    /// Time of a whole run; `None` before the first one.
    pub(super) fn of(&self, recipe: &Recipe) -> Option<Duration> {
        let samples = (recipe.steps * recipe.batch) as f64;
        self.seconds.get().map(|seconds| Duration::from_secs_f64(seconds * samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_after_the_search_leave_it_a_third_of_the_time() {
        let seconds = Duration::from_secs;
        assert_eq!(kept_back(seconds(10), Some(seconds(60))), seconds(10));
        assert_eq!(kept_back(seconds(100), Some(seconds(60))), seconds(40));
        assert_eq!(kept_back(seconds(100), None), seconds(100));
    }

    #[test]
    fn a_preparation_that_will_take_too_long_is_given_up_early() {
        let seconds = Duration::from_secs;
        assert!(!takes_longer(seconds(1), 1, 100, seconds(20)), "the first part says little");
        assert!(!takes_longer(seconds(1), 10, 100, seconds(20)), "ten seconds in all");
        assert!(takes_longer(seconds(3), 10, 100, seconds(20)), "thirty seconds in all");
        assert!(takes_longer(seconds(21), 1, 100, seconds(20)));
        assert!(!takes_longer(seconds(21), 100, 100, seconds(20)), "what is done is kept");
        assert!(!Allowance::of(None).exceeded(1, usize::MAX), "no budget, no limit");
        assert!(Allowance::of(Some(Duration::ZERO)).exceeded(1, 2));
    }
}
