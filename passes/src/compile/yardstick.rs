//! By what choices of widths are judged: the network, the samples, the goal.

use super::budget::{self, Pace, Recipes};
use super::limits::Limits;
use super::run::Run;
use super::task::Task;
use super::{CompileError, CompileOptions, Hooks, Judge, Material, Retrain, RewardKind, Store};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::post_training::{Memo, Rounding};
use crate::search::{Answers, Reward};
use crate::train::Recipe;
use releqc_runtime::BitWidth;
use std::cell::RefCell;

/// The goal, and what the search made of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// Points that may be lost in the end.
    pub(super) max_loss: f64,
    /// Points that were allowed in an evaluation of the search.
    pub(super) search_limit: f64,
    /// Which reward ranked the choices.
    pub(super) reward: Reward,
}

impl Goal {
    /// `unit` is what a point is, in the unit of the metric.
    pub(super) fn of(options: &CompileOptions, unit: f64) -> Result<Self, CompileError> {
        let max_loss = options.max_loss / unit;
        let search_limit = budget::search_limit(max_loss, options.retrain == Retrain::Full);
        let reward = match options.reward {
            RewardKind::Constrained if options.wants_least_loss() => Reward::LeastLoss,
            RewardKind::Constrained => Reward::constrained(search_limit)?,
            RewardKind::Paper => Reward::paper(),
        };
        Ok(Goal { max_loss, search_limit, reward })
    }
}

/// Everything that a choice of widths is judged by.
#[derive(Clone, Copy)]
pub(super) struct Yardstick<'a> {
    /// The float network, or its copy that has unlearned the validation samples.
    pub(super) calibrated: &'a Calibrated,
    pub(super) material: &'a Material<'a>,
    /// Quantizes the network where it is not retrained.
    pub(super) memo: &'a Memo<'a>,
    pub(super) rounding: Rounding,
    pub(super) judge: &'a Judge,
    pub(super) limits: &'a Limits<'a>,
    pub(super) options: &'a CompileOptions,
    /// The retraining that was asked for, by which ranges were chosen.
    pub(super) asked: Retrain,
    pub(super) goal: Goal,
    /// `None` retrains nothing.
    pub(super) recipes: Option<&'a Recipes>,
    pub(super) pace: &'a Pace,
    /// Runs of the result's recipe that follow the judging, for which time is kept back.
    pub(super) runs_after: u32,
    /// What was answered before or by others.
    pub(super) answers: &'a RefCell<Answers>,
}

impl Yardstick<'_> {
    /// What losses are counted from, 0..=1: accuracy of the float network on the validation samples.
    pub(super) fn float(&self) -> f64 {
        self.judge.reference(self.material, self.options.max_loss)
    }

    /// 8 bits in every layer: what losses are counted from, whatever the action set.
    pub(super) fn at_8_bits(&self) -> Vec<BitWidth> {
        vec![BitWidth::MAX; self.calibrated.folded.weight_layers().len()]
    }

    /// The widest of the action set in every layer.
    pub(super) fn widest(&self) -> Vec<BitWidth> {
        let widest = *self.options.action_set.last().unwrap_or(&BitWidth::MAX);
        vec![widest; self.calibrated.folded.weight_layers().len()]
    }

    /// The network under a recipe.
    pub(super) fn run(&self, recipe: &Recipe) -> Result<Run<'_>, CompileError> {
        Run::new(self.calibrated, self.material, recipe, self.rounding, self.options.seed)
    }

    /// The network with these widths after a recipe, and whether it had to be retrained now. Where no answers are counted, values that
    /// were rounded may lie nearer to those of the float network: the better one is taken.
    pub(super) fn network(
        &self,
        widths: &[BitWidth],
        recipe: Option<&Recipe>,
        hooks: &mut Hooks<'_>,
    ) -> Result<(Annotated, bool), CompileError> {
        let rounded = || self.memo.quantize(widths).annotated;
        let Some(recipe) = recipe else { return Ok((rounded(), false)) };
        let (retrained, paid) = self.run(recipe)?.retrained(widths, self.pace.of(recipe), self.answers, hooks)?;
        if self.judge.counts_answers() {
            return Ok((retrained, paid));
        }
        let worth = |annotated: &Annotated| self.judge.worth(annotated, self.material);
        let rounded = rounded();
        Ok((if worth(&rounded)? > worth(&retrained)? { rounded } else { retrained }, paid))
    }

    /// Makes the questions of this search known to processes that can answer them.
    pub(super) fn announce(&self, model: &[u8], key: &str) -> Result<(), CompileError> {
        let Store::Shared(_, data) = &self.options.store else { return Ok(()) };
        // A worker leaves retraining out for the same reason, once ranges were chosen for it.
        let asked = CompileOptions { retrain: self.asked, ..self.options.clone() };
        let task = Task::new(&asked, data.clone(), key, self.runs_after > 0);
        let (name, description) =
            task.description(model).map_err(|error| CompileError::Option(format!("--store: {error}")))?;
        match self.answers.borrow_mut().board() {
            Some(board) => Ok(board.announce(&name, &description, model)?),
            None => Ok(()),
        }
    }
}
