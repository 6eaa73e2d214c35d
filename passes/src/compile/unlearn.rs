//! A copy of the float network that has unlearned the validation samples, for judging widths on them.
//!
//! Validation samples are taken from the training data, so as a rule the float network was trained on them and answers them better
//! than any new sample. Every retraining without them forgets a part of that, narrow widths more than wide ones, and the loss seen on them is
//! mostly lost memory. A copy trained on at a high rate without them forgets first (the fine-tuning baseline of machine unlearning, Golatkar et al.
//! 2020); what widths lose from there on, they lose on samples that are as good as new.

use super::budget::{Allowance, PREPARATION, Pace, Recipes};
use super::key::key;
use super::{CompileError, CompileOptions, Event, Hooks, Judge, Material};
use crate::calibrate::{Calibrated, Ends, Granularity, Stated, calibrate};
use crate::evaluate::{agreement, largest};
use crate::post_training::Rounding;
use crate::rewrite::fold_batch_norm;
use crate::search::answers::Obtained;
use crate::search::{Answer, Answers, Patience, Question, SearchError};
use crate::train::{Inference, TrainError, train_float_parameters, with_parameters};
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::time::Instant;

/// Training samples that the validation samples are compared with.
const SAMPLES: usize = 5000;

/// The validation samples count as unseen by the float network where it does worse on them than on training samples by this many standard errors.
const CLEARLY: f64 = 2.0;

/// A copy below this share of the float network's accuracy was harmed, not made to forget.
const HARMED: f64 = 0.85;

/// The copy, calibrated, and its answers.
pub(super) struct Unlearned {
    pub(super) calibrated: Calibrated,
    pub(super) judge: Judge,
}

impl Unlearned {
    /// `None` where the float network has not seen the validation samples, where there was nothing to forget, the copy lost more than memory, or the
    /// time budget leaves too little time for it. What it has learned is kept with the other answers.
    #[allow(clippy::too_many_arguments, reason = "what it depends on, who keeps it, who is told")]
    pub(super) fn of(
        calibrated: &Calibrated,
        material: &Material<'_>,
        judge: &Judge,
        recipes: &Recipes,
        rounding: Rounding,
        options: &CompileOptions,
        pace: &Pace,
        answers: &RefCell<Answers>,
        hooks: &mut Hooks<'_>,
    ) -> Result<Option<Self>, CompileError> {
        let (recipe, seed) = (&recipes.unlearning, options.seed);
        let expected = judge.expected(material);
        let float = agreement(judge.float_classes(), expected);
        if !maybe_seen(calibrated, material, float)? {
            return Ok(None);
        }
        hooks.stage("unlearn");
        let start = Instant::now();
        let allowance = Allowance::of(hooks.time_left());
        let (mut done, too_long, mut failure) = (0, Cell::new(false), None);
        let question = Question::Unlearning { key: key(calibrated, material, Some(recipe), rounding, "", seed)? };
        let interrupted = hooks.interrupted;
        let mut unlearn = || {
            let trained = train_float_parameters(&calibrated.graph, material.training(), recipe, seed, |progress| {
                hooks.report(Event::Retraining { step: progress.step, steps: progress.steps, loss: progress.loss });
                done = progress.step;
                too_long.set(allowance.exceeded(done, progress.steps));
                if too_long.get() || hooks.is_interrupted() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            let trained = trained.map_err(|error| {
                failure = Some(error);
                SearchError::Interrupted
            })?;
            if too_long.get() || hooks.is_interrupted() {
                return Err(SearchError::Interrupted);
            }
            Ok(Answer::Parameters(trained))
        };
        // Another search may be at it.
        let patience = || {
            too_long.set(allowance.exceeded(0, 1));
            Patience::until(too_long.get() || interrupted())
        };
        let unlearned = answers.borrow_mut().obtain(&question, &patience, &mut unlearn);
        hooks.check_interrupt()?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        pace.note(recipe, done, start.elapsed());
        if too_long.get() {
            let text = format!(
                "unlearning the validation samples would take more than 1/{PREPARATION} of the time left: widths are judged on the float network \
                itself, which may remember them"
            );
            hooks.report(Event::Note(text));
            return Ok(None);
        }
        let Obtained { answer: Answer::Parameters(parameters), .. } = unlearned? else {
            unreachable!("a store checks the kind of an answer")
        };
        let graph = with_parameters(&calibrated.graph, &parameters)?;
        let folded = fold_batch_norm(&graph);
        let samples = material.calibration(&folded);
        // The inputs are the same, whatever was unlearned.
        let ranges = calibrated.graph.inputs().map(|(id, _)| (id, calibrated.ranges[id.0])).collect();
        let stated = Stated { ranges, narrow: calibrated.narrow.clone() };
        let calibrated = calibrate(graph, folded, &samples, &stated, Ends::LeastError, Granularity::Tensor);
        let judge = judge.of_copy(&calibrated, material.validation())?;
        let left = agreement(judge.float_classes(), expected);
        if left >= float {
            return Ok(None);
        }
        if left < HARMED * float {
            let text = format!(
                "unlearning the validation samples took the network from {:.2} % to {:.2} %",
                100.0 * float,
                100.0 * left
            );
            hooks.report(Event::Note(format!("{text}: more than memory, the copy is not used")));
            return Ok(None);
        }
        Ok(Some(Unlearned { calibrated, judge }))
    }
}

/// Whether the float network does as well on the validation samples as on what it was trained on.
fn maybe_seen(calibrated: &Calibrated, material: &Material<'_>, float: f64) -> Result<bool, CompileError> {
    let training = material.training();
    let count = SAMPLES.min(training.len());
    let sample = training.select(&(0..count).map(|i| i * training.len() / count).collect::<Vec<_>>());
    let Some(labels) = sample.labels() else { return Ok(false) };
    let inference = Inference::float(&calibrated.folded).map_err(TrainError::from)?;
    let classes: Vec<u32> = inference.logits(&sample).chunks_exact(inference.classes()).map(largest).collect();
    let known = agreement(&classes, labels);
    let variance = |share: f64, samples: usize| share * (1.0 - share) / samples as f64;
    let error = (variance(known, count) + variance(float, material.validation().len())).sqrt();
    Ok(float + CLEARLY * error >= known)
}
