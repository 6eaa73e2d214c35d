//! The decision of a compilation whose widths are given.

use super::reconstruct::Reconstruct;
use super::signal::Signal;
use super::{CompileError, CompileOptions, Decision, Event, Hooks, Judge, Material, Retrain, budget, emitted, retrain};
use crate::annotate::Annotated;
use crate::calibrate::{Calibrated, Ends, Granularity, Stated, calibrate};
use crate::equalize::Equalization;
use crate::post_training::{PostTrained, Reached, quantize_after_training, reach};
use crate::train::TrainError;
use releqc_runtime::BitWidth;
use releqc_runtime::format::{Artifact, LoadOptions};

/// Samples that a signal-to-noise ratio is measured on while tensors are chosen.
const UNSEEN: usize = 16;

/// Choices of wide tensors that are tried.
const ATTEMPTS: usize = 3;

/// Below this signal-to-noise ratio in dB the weights of a classifier at 8 bits are rounded for the results of their layers too,
/// where samples are given.
const CLASSIFIER_SNR: f64 = 25.0;

/// Below this signal-to-noise ratio in dB other ranges are tried: they were chosen by the noise of 8 bits, which tells little of 16
/// where there is as much of it as signal.
const POOR: f64 = 10.0;

/// What given widths are applied to.
pub(super) struct Fixed<'a> {
    calibrated: &'a Calibrated,
    material: &'a Material<'a>,
    judge: &'a Judge,
    options: &'a CompileOptions,
    reconstruct: &'a Reconstruct<'a>,
    stated: &'a Stated,
}

/// What was found for given widths.
struct Found {
    decision: Decision,
    /// Signal-to-noise ratio on samples that nothing was fitted to, dB; `None` where it was not asked for.
    decibels: Option<f64>,
    notes: Vec<Event>,
}

impl<'a> Fixed<'a> {
    pub(super) fn new(reconstruct: &'a Reconstruct<'a>, judge: &'a Judge, stated: &'a Stated) -> Self {
        let Reconstruct { calibrated, material, options, .. } = *reconstruct;
        Fixed { calibrated, material, judge, options, reconstruct, stated }
    }

    /// Gives the layers `widths`, one a layer, retrained if asked.
    pub(super) fn decide(
        &self,
        widths: Vec<BitWidth>,
        samples: &[Vec<f32>],
        hooks: &mut Hooks<'_>,
    ) -> Result<Decision, CompileError> {
        if self.options.retrain == Retrain::None {
            return self.after_training(&widths, samples, hooks);
        }
        if self.options.retrain == Retrain::Reconstruct {
            let rounded = self.after_training(&widths, samples, hooks)?;
            if rounded.calibrated.is_some() {
                hooks.report(Event::Note("layers that read two planes, or other ranges, are not reconstructed".into()));
                return Ok(rounded);
            }
            let annotated = self.reconstruct.of(rounded.annotated, &widths, hooks)?;
            return Ok(Decision { annotated, ..rounded });
        }
        let counts = self.judge.counts_answers();
        let recipes = budget::Recipes::new(self.calibrated, self.material, counts, self.options.seed)
            .map_err(TrainError::from)?;
        let recipe = recipes.of(self.options.retrain).unwrap_or(&recipes.full).clone();
        let annotated = retrain(self.calibrated, self.material, recipe, &widths, self.options.seed, hooks)?;
        if counts {
            return Ok(Decision::of(annotated));
        }
        // Values that were rounded may lie nearer to those of the float network than what a few updates found.
        let rounded = self.after_training(&widths, samples, hooks)?;
        let worth = |annotated: &Annotated| self.judge.worth(annotated, self.material);
        let (before, after) = (worth(&rounded.annotated)?, worth(&annotated)?);
        let kept = after > before;
        hooks.report(Event::Note(format!(
            "retraining on values: {} {:.4} rounded and {:.4} retrained: {}",
            self.judge.metric().name(),
            self.judge.in_its_unit(before),
            self.judge.in_its_unit(after),
            if kept { "kept" } else { "not kept" },
        )));
        Ok(if kept { Decision::of(annotated) } else { rounded })
    }

    /// The signal-to-noise ratio in dB that is asked for, if any.
    fn asked(&self) -> Option<f64> {
        if self.judge.counts_answers() { self.options.min_snr } else { Some(self.judge.min_snr()) }
    }

    /// Without retraining: what 8 bits are too few for is carried in two planes.
    fn after_training(
        &self,
        widths: &[BitWidth],
        samples: &[Vec<f32>],
        hooks: &mut Hooks<'_>,
    ) -> Result<Decision, CompileError> {
        let mut best = self.on_ranges(self.calibrated, widths, samples, hooks)?;
        let others = [Granularity::Tensor, Granularity::Channel(Equalization::CANDIDATES[0])];
        let wanted = self.asked().unwrap_or(0.0).min(POOR);
        for granularity in others {
            if best.decibels.is_none_or(|decibels| decibels >= wanted) || self.material.is_synthetic() {
                break;
            }
            let Calibrated { graph, folded, .. } = self.calibrated.clone();
            let other = calibrate(graph, folded, samples, self.stated, Ends::OF_SAMPLES, granularity);
            let mut found = self.on_ranges(&other, widths, samples, hooks)?;
            if found.decibels > best.decibels {
                found.decision.calibrated.get_or_insert(other);
                best = found;
            }
        }
        best.notes.into_iter().for_each(|note| hooks.report(note));
        Ok(best.decision)
    }

    /// The same with given ranges.
    fn on_ranges(
        &self,
        calibrated: &Calibrated,
        widths: &[BitWidth],
        samples: &[Vec<f32>],
        hooks: &mut Hooks<'_>,
    ) -> Result<Found, CompileError> {
        let rounding = self.material.rounding(self.options.rounding);
        let trained = quantize_after_training(calibrated, widths, samples, rounding);
        hooks.check_interrupt()?;
        let plain = |trained: PostTrained, calibrated: Option<Calibrated>| Decision {
            noise: Some(trained.to_string()),
            calibrated,
            ..Decision::of(trained.annotated)
        };
        let as_it_is = |decision: Decision, decibels: Option<f64>| Found { decision, decibels, notes: Vec::new() };
        let eight = widths.iter().all(|&width| width == BitWidth::MAX) && !self.material.is_synthetic();
        let (wanted, attempts) = match self.asked() {
            Some(asked) => (asked, ATTEMPTS),
            None if eight => (CLASSIFIER_SNR, 0),
            None => (0.0, 0),
        };
        if wanted <= 0.0 {
            return Ok(as_it_is(plain(trained, None), None));
        }
        let measure = |unseen: &Signal, annotated: &Annotated| -> Result<f64, CompileError> {
            let artifact = emitted(annotated.clone(), &self.options.accelerator.config)?;
            unseen.decibels(&Artifact::from_bytes(artifact, LoadOptions::default()).map_err(CompileError::Unloadable)?)
        };
        // Half of the samples tell what is best on the other half; the choice is then quantized on all.
        let part = |odd: usize| samples.iter().skip(odd).step_by(2).cloned().collect::<Vec<_>>();
        let (fitted, others) =
            if samples.len() < 4 { (samples.to_vec(), samples.to_vec()) } else { (part(0), part(1)) };
        let count = others.len().min(UNSEEN);
        let unseen = (0..count).map(|i| others[i * others.len() / count].clone()).collect();
        let unseen = Signal::on(calibrated, unseen);
        let decibels = measure(&unseen, &trained.annotated)?;
        if decibels >= wanted {
            return Ok(as_it_is(plain(trained, None), Some(decibels)));
        }
        let measure = |annotated: &Annotated| measure(&unseen, annotated);
        let Reached { rounding: chosen, wide, before, decibels, refused } =
            reach(calibrated, widths, &fitted, rounding, wanted, attempts, measure)?;
        hooks.check_interrupt()?;
        let mut notes = Vec::new();
        if let Some(error) = refused {
            notes.push(Event::Note(format!("layers read 8 bits, though 16 would be better: {error}")));
        }
        if let Some(wide) = &wide {
            notes.push(Event::Note(format!(
                "{} of {} layers read their input in two planes of 8 bits: in one the signal-to-noise ratio is {before:.1} dB, with them \
                 {decibels:.1} dB on {} samples of the half that it was not tried on, and {wanted:.1} dB are asked for (--min-snr)",
                wide.layers,
                widths.len(),
                unseen.samples()
            )));
        }
        if decibels < wanted && attempts > 0 {
            notes.push(Event::Warning(format!(
                "the signal-to-noise ratio is {decibels:.1} dB on {} samples of the half that it was not tried on, and {wanted:.1} dB are \
                 asked for (--min-snr)",
                unseen.samples()
            )));
        }
        let decision = match wide {
            Some(wide) => {
                let trained = quantize_after_training(&wide.calibrated, &wide.widths, samples, chosen);
                plain(trained, Some(wide.calibrated))
            }
            None if chosen != rounding => plain(quantize_after_training(calibrated, widths, samples, chosen), None),
            None => plain(trained, None),
        };
        // A classifier is measured for the choice of its rounding alone.
        Ok(Found { decision, decibels: (attempts > 0).then_some(decibels), notes })
    }
}
