//! A training run whose parameters are kept: nobody does it twice, not even after a process was killed.

use super::key::key;
use super::{CompileError, Event, Hooks, Material};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::post_training::Rounding;
use crate::search::answers::Obtained;
use crate::search::{Answer, Answers, Patience, Question, SearchError};
use crate::train::{Progress, Recipe, Trainer};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::Duration;

/// A network and how it is retrained.
#[derive(Debug)]
pub(super) struct Run<'a> {
    trainer: Trainer<'a>,
    key: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        calibrated: &'a Calibrated,
        material: &'a Material<'_>,
        recipe: &Recipe,
        rounding: Rounding,
        seed: u64,
    ) -> Result<Self, CompileError> {
        let trainer = Trainer::new(calibrated, material.training(), recipe.clone(), seed)?;
        Ok(Run { trainer, key: key(calibrated, material, Some(recipe), rounding, "", seed)? })
    }

    /// What the parameters depend on besides the widths.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Says that these widths will probably be retrained.
    pub(super) fn ask(&self, widths: &[BitWidth], answers: &RefCell<Answers>) -> Result<(), CompileError> {
        Ok(answers.borrow_mut().ask(&Question::run(&self.key, widths))?)
    }

    /// The retrained network, and whether it had to be retrained now. Nobody waits for another process that is at it when no more time is
    /// left than it `takes`.
    pub(super) fn retrained(
        &self,
        widths: &[BitWidth],
        takes: Option<Duration>,
        answers: &RefCell<Answers>,
        hooks: &mut Hooks<'_>,
    ) -> Result<(Annotated, bool), CompileError> {
        let question = Question::run(&self.key, widths);
        let (interrupted, remaining) = (hooks.interrupted, hooks.remaining);
        let is_late = || remaining().is_some_and(|left| left <= takes.unwrap_or_default());
        let patience = || if !interrupted() && is_late() { Patience::Compute } else { Patience::until(interrupted()) };
        let mut compute = || self.parameters(widths, hooks).map(Answer::Parameters);
        let Obtained { answer, paid } = answers.borrow_mut().obtain(&question, &patience, &mut compute)?;
        match answer {
            Answer::Parameters(parameters) => Ok((self.trainer.annotated(widths, &parameters)?, paid)),
            Answer::Evaluation(_) | Answer::Costs(_) => unreachable!("a store checks the kind of an answer"),
        }
    }

    /// Retrains.
    pub(super) fn parameters(&self, widths: &[BitWidth], hooks: &mut Hooks<'_>) -> Result<Vec<Vec<f32>>, SearchError> {
        let watch = |progress: &Progress| {
            hooks.report(Event::Retraining { step: progress.step, steps: progress.steps, loss: progress.loss });
            if hooks.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let parameters = self.trainer.parameters(widths, watch).map_err(|error| failed(widths, error.into()))?;
        if hooks.is_interrupted() { Err(SearchError::Interrupted) } else { Ok(parameters) }
    }
}

/// Why there is no answer for these widths.
pub(super) fn failed(widths: &[BitWidth], error: CompileError) -> SearchError {
    match error {
        CompileError::Interrupted => SearchError::Interrupted,
        other => {
            SearchError::Evaluation { widths: crate::search::environment::widths_text(widths), source: Box::new(other) }
        }
    }
}
