//! Tells the caller of every evaluation, whichever method asks.

use super::turn::Turn;
use super::{Event, Hooks, Judge};
use crate::search::constraint::{self, Constraint};
use crate::search::reward::Outcome;
use crate::search::{CostModel, Environment, Evaluation, LayerFacts, Reward, SearchError};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// What evaluations are judged by on the way.
pub(super) struct Terms<'a> {
    pub(super) reward: Reward,
    pub(super) cost: &'a CostModel,
    pub(super) constraints: &'a [Constraint],
    pub(super) reference: f64,
    /// In whose units the caller is told.
    pub(super) judge: &'a Judge,
    /// The time of the method that asks.
    pub(super) turn: &'a Turn,
}

/// An environment that reports its answers.
pub(super) struct Watched<'a, 'r, 'h, E> {
    inner: E,
    hooks: &'a RefCell<&'r mut Hooks<'h>>,
    terms: Terms<'a>,
    method: &'static str,
    evaluations: usize,
    /// `None` where turns are limited by time.
    planned: Option<usize>,
    /// Turns that follow this one.
    following: Duration,
    start: Instant,
    /// Reward, widths and loss of the best answer so far.
    best: Option<(f64, Vec<BitWidth>, f64)>,
}

impl<'a, 'r, 'h, E: Environment> Watched<'a, 'r, 'h, E> {
    pub(super) fn new(inner: E, hooks: &'a RefCell<&'r mut Hooks<'h>>, terms: Terms<'a>) -> Self {
        let start = Instant::now();
        Watched {
            inner,
            hooks,
            terms,
            method: "",
            evaluations: 0,
            planned: None,
            following: Duration::ZERO,
            start,
            best: None,
        }
    }

    /// From now on `method` asks; with those that follow it makes at most `planned` evaluations.
    pub(super) fn begin(&mut self, method: &'static str, planned: usize) {
        self.method = method;
        self.planned = Some(self.evaluations + planned);
        self.terms.turn.begin(None);
    }

    /// From now on `method` asks, for so long; those that follow it may ask for `following` together.
    pub(super) fn begin_turn(&mut self, method: &'static str, limit: Duration, following: Duration) {
        (self.method, self.following, self.planned) = (method, following, None);
        self.terms.turn.begin(Some(limit));
    }

    fn report(&mut self, widths: &[BitWidth], answer: &Evaluation) {
        let Terms { reward, cost, constraints, reference, judge, turn } = &self.terms;
        let outcome = Outcome {
            relative_cost: cost.relative(widths),
            loss: 100.0 * (reference - answer.accuracy),
            reference: *reference,
            noise: answer.noise(),
            excess: constraint::excess(constraints, widths),
        };
        self.evaluations += 1;
        let value = reward.value(&outcome);
        if self.best.as_ref().is_none_or(|(best, ..)| value > *best) {
            self.best = Some((value, widths.to_vec(), outcome.loss));
        }
        let Some((_, best, best_loss)) = self.best.clone() else { return };
        self.hooks.borrow_mut().report(Event::Evaluated {
            method: self.method,
            evaluations: self.evaluations,
            limit: self.planned.map(|planned| planned.max(self.evaluations)),
            turns_left: turn.left().map(|left| left + self.following),
            metric: judge.metric(),
            widths: widths.to_vec(),
            relative_cost: outcome.relative_cost,
            accuracy: judge.in_its_unit(answer.accuracy),
            loss: judge.unit() * outcome.loss,
            reward: value,
            accepted: reward.accepts(&outcome),
            stored: answer.cached,
            seconds: self.start.elapsed().as_secs_f64(),
            best,
            best_loss: judge.unit() * best_loss,
        });
    }
}

impl<E: Environment> Environment for Watched<'_, '_, '_, E> {
    fn layers(&self) -> &[LayerFacts] {
        self.inner.layers()
    }

    fn widths(&self) -> &[BitWidth] {
        self.inner.widths()
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let start = Instant::now();
        let answer = self.inner.evaluate(widths)?;
        self.terms.turn.answered(widths, start.elapsed(), answer.cached);
        self.report(widths, &answer);
        Ok(answer)
    }

    fn ask(&mut self, widths: &[BitWidth]) -> Result<(), SearchError> {
        self.inner.ask(widths)
    }
}
