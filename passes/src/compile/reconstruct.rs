//! What a network rounded after training gains from being fitted to the float network: kept where it gains on samples held back.

use super::divergence::Divergence;
use super::{CompileError, CompileOptions, Event, Hooks, Material, budget};
use crate::annotate::Annotated;
use crate::calibrate::{self, Calibrated};
use crate::post_training::quantize_after_training;
use crate::train::Reconstructor;
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;

/// One in so many of the samples is held back at least.
const HELD_BACK: usize = 5;

/// Fits rounded forms of one network.
#[derive(Clone, Copy)]
pub(super) struct Reconstruct<'a> {
    pub(super) calibrated: &'a Calibrated,
    /// The same with one scale a tensor, which training needs; `None` where the other is that already.
    pub(super) plain: Option<&'a Calibrated>,
    pub(super) material: &'a Material<'a>,
    pub(super) samples: &'a [Vec<f32>],
    pub(super) options: &'a CompileOptions,
    /// Whether right answers are counted, not values.
    pub(super) of_classes: bool,
}

impl Reconstruct<'_> {
    /// `rounded`, fitted to the float network on samples of the training part, or `rounded` itself where that is closer to the
    /// float network on samples of it that were held back. Ends early with a time budget.
    pub(super) fn of(
        &self,
        rounded: Annotated,
        widths: &[BitWidth],
        hooks: &mut Hooks<'_>,
    ) -> Result<Annotated, CompileError> {
        let training = self.material.training();
        let folded = &self.calibrated.folded;
        let count = (2 * calibrate::sample_budget(folded)).min(training.len() / HELD_BACK);
        if count == 0 {
            let text = format!("{} samples are too few to reconstruct on: the rounded network is kept", training.len());
            hooks.report(Event::Warning(text));
            return Ok(rounded);
        }
        hooks.stage("reconstruct");
        // Spread over all; the others are learned from.
        let held: Vec<usize> = (0..count).map(|i| i * training.len() / count).collect();
        let mut is_held = vec![false; training.len()];
        held.iter().for_each(|&i| is_held[i] = true);
        let others: Vec<usize> = (0..training.len()).filter(|&i| !is_held[i]).collect();
        let learned = training.select(&others).without_labels();
        let held = Divergence::new(folded, training.select(&held).without_labels(), self.of_classes);

        let fitted = self.plain.unwrap_or(self.calibrated);
        let start = match self.plain {
            None => rounded.clone(),
            Some(plain) => {
                let rounding = self.material.rounding(self.options.rounding);
                quantize_after_training(plain, widths, self.samples, rounding).annotated
            }
        };
        let recipe = budget::reconstruction(folded, learned.len(), self.of_classes);
        let fitted = Reconstructor::new(fitted, &learned, recipe, self.options.seed)?.fit(&start, |progress| {
            hooks.report(Event::Retraining { step: progress.step, steps: progress.steps, loss: progress.loss });
            let ends = hooks.is_interrupted() || hooks.time_left().is_some_and(|left| left.is_zero());
            if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        hooks.check_interrupt()?;
        let (before, after) = (held.of(&rounded)?, held.of(&fitted)?);
        let kept = after < before;
        let verdict = if kept { "kept" } else { "not kept" };
        hooks.report(Event::Note(format!(
            "reconstruction on {} samples: {} {before:.6} before and {after:.6} after, on {count} others: {verdict}",
            learned.len(),
            held.name(),
        )));
        Ok(if kept { fitted } else { rounded })
    }
}
