//! What a network rounded after training gains from being fitted to the float network: kept where it gains on samples held back.

use super::{CompileError, CompileOptions, Event, Hooks, Material, budget, build};
use crate::annotate::Annotated;
use crate::calibrate::{self, Calibrated};
use crate::compile::signal::is_classifier;
use crate::data::Dataset;
use crate::evaluate::outputs;
use crate::float_exec::FloatExecutor;
use crate::ir::{Graph, Op};
use crate::post_training::quantize_after_training;
use crate::train::Reconstructor;
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;

/// One in so many of the samples is held back at least.
const HELD_BACK: usize = 5;

/// Probabilities of classes that are told apart from 0.
const LEAST_PROBABILITY: f64 = 1e-12;

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

/// How far the results of an artifact are from those of the float network on some samples.
struct Divergence {
    data: Dataset,
    /// The float network's first output for each sample.
    float: Vec<Vec<f32>>,
    measure: Measure,
}

#[derive(Clone, Copy)]
enum Measure {
    /// Of classes whose probabilities are the softmax of the output.
    Logits,
    /// Of classes whose probabilities are the output.
    Probabilities,
    /// Of values.
    Values,
}

impl Divergence {
    fn new(folded: &Graph, data: Dataset, of_classes: bool) -> Self {
        let sample = |i: usize| {
            let mut values = vec![0.0; data.shape().len()];
            data.read(i, &mut values);
            values
        };
        let samples: Vec<Vec<f32>> = (0..data.len()).map(sample).collect();
        let float = FloatExecutor::new(folded).outputs(&samples);
        let measure = match folded.node(folded.outputs[0].1).op {
            _ if !(of_classes && is_classifier(folded)) => Measure::Values,
            Op::Softmax { log: false, .. } => Measure::Probabilities,
            _ => Measure::Logits,
        };
        Divergence { data, float, measure }
    }

    fn name(&self) -> &'static str {
        match self.measure {
            Measure::Logits | Measure::Probabilities => "divergence of the classes (Kullback and Leibler)",
            Measure::Values => "square error of the output in parts of its power",
        }
    }

    /// Mean over the samples of `KL(float || artifact)`, or the square error of values over the power of the float network's.
    fn of(&self, annotated: &Annotated) -> Result<f64, CompileError> {
        let artifact = build(annotated.clone())?;
        let pairs = outputs(&artifact, &self.data, |i, output| match self.measure {
            Measure::Values => {
                let square = |a: f32, b: f32| (f64::from(a) - f64::from(b)).powi(2);
                let error = self.float[i].iter().zip(output).map(|(&y, &z)| square(y, z)).sum::<f64>();
                (error, self.float[i].iter().map(|&y| square(y, 0.0)).sum::<f64>())
            }
            measure => {
                let (p, q) = (log_probabilities(&self.float[i], measure), log_probabilities(output, measure));
                (p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>(), 1.0)
            }
        })?;
        let (error, weight) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        Ok(if weight > 0.0 { error / weight } else { error })
    }
}

fn log_probabilities(output: &[f32], measure: Measure) -> Vec<f64> {
    let score = |&value: &f32| match measure {
        Measure::Probabilities => f64::from(value).max(LEAST_PROBABILITY).ln(),
        Measure::Logits | Measure::Values => f64::from(value),
    };
    let scores: Vec<f64> = output.iter().map(score).collect();
    let largest = scores.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    let log_sum = scores.iter().map(|v| (v - largest).exp()).sum::<f64>().ln() + largest;
    scores.iter().map(|v| v - log_sum).collect()
}
