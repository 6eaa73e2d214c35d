//! One training run of a network, float or rounded.

use super::batches::Batches;
use super::buffers::Buffers;
use super::inference::Inference;
use super::kernels::simd::Isa;
use super::layers::{Distance, Loss, NormMode, Statistics, Targets};
use super::network::{Network, Parameter};
use super::optimizer::Updates;
use super::oscillation::Oscillations;
use super::recipe::{Comparison, NormStatistics, Recipe};
use super::recording::{Recording, Rounding};
use super::statistics;
use super::tape::{apply, constant, values};
use crate::data::Dataset;
use crate::random::{Purpose, stream};
use burn::tensor::{Device, Tensor};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Share of an update's batch statistics in the running ones.
const STATISTICS_MOMENTUM: f32 = 0.1;

/// What a training run reports after every update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Updates done.
    pub step: usize,
    /// Updates of the whole run.
    pub steps: usize,
    /// Loss of this batch.
    pub loss: f32,
    /// Share of this batch whose class is the label (or the float network's class, without labels); 0 where values are compared.
    pub accuracy: f32,
}

/// The data of a run and what its results are compared with.
pub(crate) struct Lesson<'a> {
    pub(crate) data: &'a Dataset,
    pub(crate) teacher: Option<&'a Inference>,
    /// The teacher's logits of all samples, usable where images are not changed.
    pub(crate) teacher_logits: Option<&'a [f32]>,
    pub(crate) recipe: &'a Recipe,
    pub(crate) seed: u64,
}

/// What training changes.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) statistics: Vec<Statistics>,
}

impl State {
    /// Everything that training changes, in a fixed order: parameters, then mean and variance of every normalisation.
    pub(crate) fn vectors(self) -> Vec<Vec<f32>> {
        let statistics = self.statistics.into_iter().flat_map(|Statistics { mean, variance }| [mean, variance]);
        self.parameters.into_iter().map(|parameter| parameter.values).chain(statistics).collect()
    }

    /// This state with the values of [`vectors`](Self::vectors) of another one; `None` where these are of another network.
    pub(crate) fn with_vectors(mut self, vectors: &[Vec<f32>]) -> Option<State> {
        let statistics = self.statistics.iter_mut().flat_map(|Statistics { mean, variance }| [mean, variance]);
        let own: Vec<&mut Vec<f32>> =
            self.parameters.iter_mut().map(|parameter| &mut parameter.values).chain(statistics).collect();
        if own.len() != vectors.len() {
            return None;
        }
        for (own, given) in own.into_iter().zip(vectors) {
            if own.len() != given.len() {
                return None;
            }
            own.clone_from(given);
        }
        Some(self)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) steps: usize,
    /// Mean over the last tenth of the run.
    pub(crate) loss: f32,
    pub(crate) accuracy: f32,
    pub(crate) stopped: bool,
}

/// Trains `state` in place.
pub(crate) fn train(
    network: &Network,
    state: &mut State,
    rounding: Option<&Rounding>,
    lesson: &Lesson<'_>,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Outcome {
    let recipe = lesson.recipe;
    let mut batches =
        Batches::new(lesson.data, recipe.batch, recipe.augmentation, stream(lesson.seed, Purpose::Batches));
    let mut updates = Updates::new(&state.parameters, recipe);
    let start = state.parameters.clone();
    let mut oscillations = recipe.oscillation.zip(rounding).map(|(oscillation, rounding)| {
        let watched = Oscillations::new(network, &state.parameters, rounding, oscillation.momentum);
        (oscillation, watched)
    });
    let window = recipe.steps.div_ceil(10).max(1);
    let mut recent = std::collections::VecDeque::with_capacity(window);
    let buffers = Arc::new(Buffers::default());
    let mut done = 0;
    let mut stopped = false;
    while done < recipe.steps && !stopped {
        let learning_rate = recipe.learning_rate_at(done);
        let (loss, accuracy) = update(network, state, rounding, lesson, &mut batches, &buffers, |state, gradients| {
            updates.apply(&mut state.parameters, &start, gradients, recipe, learning_rate);
            if let Some((oscillation, watched)) = &mut oscillations {
                watched.after_update(&mut state.parameters, recipe.turns_borne_at(*oscillation, done));
            }
        });
        done += 1;
        if recent.len() == window {
            recent.pop_front();
        }
        recent.push_back((loss, accuracy));
        stopped = progress(&Progress { step: done, steps: recipe.steps, loss, accuracy }).is_break();
    }
    // Without an update the weights are those that the statistics belong to.
    if done > 0 && recipe.norm == NormStatistics::Batch && !state.statistics.is_empty() {
        statistics::measure(network, state, rounding, &mut batches, recipe.norm_batches);
    }
    let count = recent.len().max(1) as f32;
    Outcome {
        steps: done,
        loss: recent.iter().map(|r| r.0).sum::<f32>() / count,
        accuracy: recent.iter().map(|r| r.1).sum::<f32>() / count,
        stopped,
    }
}

/// Forward, backward and one update; loss and accuracy of the batch.
fn update(
    network: &Network,
    state: &mut State,
    rounding: Option<&Rounding>,
    lesson: &Lesson<'_>,
    batches: &mut Batches<'_>,
    buffers: &Arc<Buffers>,
    apply_gradients: impl FnOnce(&mut State, &[Option<Vec<f32>>]),
) -> (f32, f32) {
    let device = Device::flex().autodiff();
    let batch = batches.next();
    let classes = network.classes();
    let labels = lesson.data.labels().map(|l| batch.samples.iter().map(|&s| l[s]).collect::<Vec<_>>());
    let of_values = lesson.recipe.compares == Comparison::Values;
    let teacher = lesson.teacher.filter(|_| !of_values).map(|teacher| match lesson.teacher_logits {
        Some(all) => batch.samples.iter().flat_map(|&s| all[s * classes..(s + 1) * classes].iter().copied()).collect(),
        None => teacher.logits_of(&batch.input),
    });
    let tensors: Vec<Tensor<1>> =
        state.parameters.iter().map(|p| constant(p.values.clone(), &device).require_grad()).collect();
    let norm = match lesson.recipe.norm {
        NormStatistics::Batch => NormMode::Batch,
        NormStatistics::Frozen => NormMode::Fixed,
    };
    let recording = Recording {
        isa: Isa::detect(),
        network,
        parameters: &tensors,
        statistics: &state.statistics,
        rounding,
        norm,
        buffers,
    };
    let (outputs, norms) = recording.values_of(&batch.input, &device, &network.ends);
    let mut classes_of = None;
    let total = if of_values {
        let targets = lesson.teacher.map(|teacher| teacher.values_of(&batch.input, &network.ends));
        let weight = 1.0 / outputs.len() as f32;
        let distance = |(output, target)| apply(Arc::new(Distance::new(target, weight)), &[output], buffers);
        let parts = outputs.iter().zip(targets.unwrap_or_default()).map(distance);
        parts.reduce(|sum, part| sum + part).expect("a network has outputs, and a lesson of values a teacher")
    } else {
        let loss = Arc::new(Loss {
            classes,
            temperature: lesson.recipe.temperature,
            weight: lesson.recipe.distillation,
            targets: Targets { labels, teacher },
            result: Default::default(),
        });
        classes_of = Some(Arc::clone(&loss));
        apply(loss, &[&outputs[0]], buffers)
    };
    drop(outputs);
    let of_total = values(total.clone())[0];
    let mut gradients = total.backward();
    let gradients: Vec<Option<Vec<f32>>> = tensors.iter().map(|t| t.grad_remove(&mut gradients).map(values)).collect();
    drop(tensors);
    if norm == NormMode::Batch {
        let count = (lesson.recipe.batch * network.input_len()) as f32;
        for (running, norm) in state.statistics.iter_mut().zip(&norms) {
            if let Some(batch) = norm.batch.get().filter(|batch| batch.is_finite()) {
                let unbiased = (count / (count - 1.0)).min(2.0);
                blend(&mut running.mean, &batch.mean, 1.0);
                blend(&mut running.variance, &batch.variance, unbiased);
            }
        }
    }
    apply_gradients(state, &gradients);
    classes_of.map_or((of_total, 0.0), |loss| loss.summary())
}

fn blend(running: &mut [f32], batch: &[f32], factor: f32) {
    for (running, batch) in running.iter_mut().zip(batch) {
        *running += STATISTICS_MOMENTUM * (batch * factor - *running);
    }
}
