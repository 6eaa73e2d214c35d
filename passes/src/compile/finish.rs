//! The long retraining: the cheapest choice of the search that keeps the goal after it.
//!
//! An evaluation of the search retrains shortly, and a long run recovers most of what a short one loses. So the search works with a
//! limit above the goal, and here a few long runs find how far above it one may go: a choice that misses the goal makes the
//! next one safer, a choice that keeps it makes the next one bolder, in proportion, and between the two the interval is halved.

use super::environment::paired_error;
use super::search::Yardstick;
use super::{CompileError, CompileOptions, Event, Finalist, Hooks, Retrain, RewardKind, budget, build, retrain};
use crate::annotate::{Annotated, annotate};
use crate::evaluate::{agreement, predictions};
use crate::search::environment::mean_bits;
use crate::search::reward::Outcome;
use crate::search::{CostModel, Evaluated, Reward, SensitivityProfile};
use crate::train::Recipe;
use releqc_runtime::BitWidth;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Points that may be lost where the caller names no limit.
const DEFAULT_MAX_LOSS: f64 = 0.3;

/// Long runs of different choices, at most; the reference comes on top.
const ATTEMPTS: usize = 6;

/// A choice that kept the goal makes the limit of the next one larger by at most this factor.
const MOST_BOLD: f64 = 3.0;

/// A choice that missed the goal makes the limit of the next one smaller, to between these shares.
const SAFER: (f64, f64) = (0.2, 0.8);

/// What was decided.
pub(super) struct Finished {
    pub(super) annotated: Annotated,
    pub(super) widths: Vec<BitWidth>,
    /// The accuracy on the validation samples that losses are counted from, 0..=1: the float network's, or the 8-bit network's after the
    /// same retraining where that is lower.
    pub(super) reference: f64,
    /// The accuracy with these widths, 0..=1.
    pub(super) accuracy: f64,
    /// How they were retrained.
    pub(super) recipe: Option<Recipe>,
    /// Every long run, in order.
    pub(super) finalists: Vec<Finalist>,
}

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
    pub(super) fn of(options: &CompileOptions) -> Result<Self, CompileError> {
        let max_loss = options.max_loss.unwrap_or(DEFAULT_MAX_LOSS);
        let search_limit = budget::search_limit(max_loss, options.retrain == Retrain::Full);
        let reward = match options.reward {
            RewardKind::Constrained => Reward::constrained(search_limit)?,
            RewardKind::Paper => Reward::paper(),
        };
        Ok(Goal { max_loss, search_limit, reward })
    }
}

/// One network after its last retraining.
struct Trained {
    annotated: Annotated,
    widths: Vec<BitWidth>,
    classes: Vec<u32>,
    accuracy: f64,
    cost: f64,
    recipe: Option<Recipe>,
}

impl Trained {
    fn finished(self, reference: f64, finalists: Vec<Finalist>) -> Finished {
        let Trained { annotated, widths, accuracy, recipe, .. } = self;
        Finished { annotated, widths, reference, accuracy, recipe, finalists }
    }
}

pub(super) struct Finish<'f, 'a, 'h, 'e> {
    pub(super) yardstick: &'f Yardstick<'a>,
    /// What widths cost.
    pub(super) cost: &'f CostModel,
    /// What each layer loses alone.
    pub(super) profile: &'f SensitivityProfile,
    pub(super) hooks: &'h mut Hooks<'e>,
}

impl Finish<'_, '_, '_, '_> {
    /// Retrains choices of `known` (what agent and baselines evaluated; the first `of_agent` are the agent's) until the cheapest that
    /// keeps the goal is found or the attempts or the time are spent.
    pub(super) fn run(mut self, known: &[Evaluated], of_agent: usize) -> Result<Finished, CompileError> {
        let recipe = self.yardstick.recipes.and_then(|recipes| recipes.of(self.yardstick.options.retrain));
        // Only a run longer than the evaluation's can recover what that lost.
        let recovers = self.yardstick.options.retrain == Retrain::Full && self.affords(recipe);
        let recipe = if recovers { recipe } else { self.yardstick.recipes.map(|recipes| &recipes.short) };
        let mut limit = if recovers { self.yardstick.goal.search_limit } else { self.yardstick.goal.max_loss };
        let accepts = Reward::constrained(self.yardstick.goal.max_loss)?;
        let mut reference: Option<Trained> = None;
        let mut tried: BTreeSet<Vec<BitWidth>> = BTreeSet::new();
        let mut runs: Vec<(Trained, Option<f64>)> = Vec::new();
        let mut best: Option<usize> = None;
        // Losses in the search: the largest that the long run brought below the goal, the smallest that it did not.
        let (mut safe, mut bold) = (f64::NEG_INFINITY, f64::INFINITY);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 && !self.affords(recipe) {
                self.hooks.report(Event::Note("the time budget leaves no time for a further long retraining".into()));
                break;
            }
            let cheaper_than = best.map_or(f64::INFINITY, |best| runs[best].0.cost);
            // Without a long run as the judge only the agent's figures count: they are corrected by what similar choices lost,
            // while the cheapest of a baseline's may just be a lucky one.
            let next = if recovers {
                self.next(known, limit, cheaper_than, &tried)
                    .or_else(|| self.between(known, bold, cheaper_than, &tried))
            } else {
                self.preferred(&known[..of_agent], &tried)
            };
            let next = next.map(|(entry, loss)| (entry.widths.clone(), entry.relative_cost, Some(loss)));
            let next =
                next.or_else(|| self.narrowed(&runs[best?].0, &tried).map(|(widths, cost)| (widths, cost, None)));
            let Some((widths, cost, evaluated_loss)) = next else { break };
            let trained = self.train(&widths, cost, recipe)?;
            tried.insert(widths);
            if recovers && reference.is_none() && !self.keeps(&accepts, &trained, None) {
                let widest = self.yardstick.widest();
                reference = Some(self.train(&widest, 1.0, recipe)?);
            }
            let (loss, _) = self.loss(&trained, reference.as_ref());
            let kept = self.keeps(&accepts, &trained, reference.as_ref());
            runs.push((trained, evaluated_loss));
            if kept {
                best = Some(runs.len() - 1);
            }
            let Some(evaluated_loss) = evaluated_loss else { continue };
            if kept {
                safe = safe.max(evaluated_loss);
            } else {
                bold = bold.min(evaluated_loss);
            }
            limit = match (best, bold.is_finite()) {
                (Some(_), true) => f64::midpoint(safe, bold),
                (Some(_), false) => {
                    evaluated_loss.max(limit)
                        * (self.yardstick.goal.max_loss / loss.max(self.yardstick.goal.max_loss / MOST_BOLD))
                }
                (None, _) => {
                    let (least, most) = SAFER;
                    evaluated_loss.max(0.0) * (self.yardstick.goal.max_loss / loss).clamp(least, most)
                }
            };
            if kept && !recovers {
                break;
            }
        }
        self.decide(known, runs, best, reference, recipe)
    }

    fn decide(
        &mut self,
        known: &[Evaluated],
        mut runs: Vec<(Trained, Option<f64>)>,
        best: Option<usize>,
        reference: Option<Trained>,
        recipe: Option<&Recipe>,
    ) -> Result<Finished, CompileError> {
        let accepts = Reward::constrained(self.yardstick.goal.max_loss)?;
        let finalist = |(trained, evaluated_loss): &(Trained, Option<f64>)| Finalist {
            widths: trained.widths.iter().map(|w| w.bits()).collect(),
            average_bits: mean_bits(&trained.widths),
            evaluated_loss: *evaluated_loss,
            loss: self.loss(trained, reference.as_ref()).0,
            kept: self.keeps(&accepts, trained, reference.as_ref()),
        };
        // Without retraining there was no run to report.
        let finalists: Vec<Finalist> = runs.iter().filter(|_| recipe.is_some()).map(finalist).collect();
        let float = self.yardstick.float();
        let reference_accuracy = reference.as_ref().map_or(float, |r| r.accuracy.min(float));
        if let Some(best) = best {
            return Ok(runs.swap_remove(best).0.finished(reference_accuracy, finalists));
        }
        // No long run kept the goal, or there was no time for another: what kept it in the search keeps it again, after the same
        // short run.
        let tried: BTreeSet<Vec<BitWidth>> = runs.iter().map(|(trained, _)| trained.widths.clone()).collect();
        let safe = known.iter().filter(|entry| {
            let loss = entry.loss.max(entry.believed_loss);
            let noise = entry.evaluation.noise();
            let outcome =
                Outcome { relative_cost: entry.relative_cost, loss, reference: self.yardstick.float(), noise };
            !tried.contains(&entry.widths) && accepts.accepts(&outcome)
        });
        let cheapest = safe.min_by(|a, b| a.relative_cost.total_cmp(&b.relative_cost).then(a.loss.total_cmp(&b.loss)));
        if let Some(entry) = cheapest {
            let short = self.yardstick.recipes.map(|recipes| &recipes.short);
            let reference = entry.evaluation.accuracy + entry.loss / 100.0;
            return Ok(self.train(&entry.widths, entry.relative_cost, short)?.finished(reference, finalists));
        }
        // Nothing did: the widest widths, with and without retraining, join, and what loses least is kept.
        let widest = self.yardstick.widest();
        let mut last: Vec<Trained> = runs.into_iter().map(|(trained, _)| trained).collect();
        match reference {
            Some(reference) => last.push(reference),
            None if recipe.is_some() && self.affords(recipe) => last.push(self.train(&widest, 1.0, recipe)?),
            None => {}
        }
        last.push(self.train(&widest, 1.0, None)?);
        // The first of equals stands, and cheaper ones stand first.
        let chosen = last.into_iter().reduce(|a, b| if b.accuracy > a.accuracy { b } else { a });
        Ok(chosen.expect("the widest choice is in the list").finished(reference_accuracy, finalists))
    }

    /// Whether the time left is enough for a run of this recipe.
    fn affords(&self, recipe: Option<&Recipe>) -> bool {
        let Some(left) = (self.hooks.remaining)() else { return true };
        let needed = recipe.and_then(|recipe| self.yardstick.pace.of(recipe)).unwrap_or(Duration::ZERO);
        left > (1 + self.yardstick.runs_after) * needed
    }

    /// The cheapest choice not tried that lost at most `limit` in the search, with that loss.
    fn next<'k>(
        &self,
        known: &'k [Evaluated],
        limit: f64,
        cheaper_than: f64,
        tried: &BTreeSet<Vec<BitWidth>>,
    ) -> Option<(&'k Evaluated, f64)> {
        if matches!(self.yardstick.goal.reward, Reward::Paper(_)) {
            return self.preferred(known, tried);
        }
        known
            .iter()
            .filter(|entry| !tried.contains(&entry.widths) && entry.relative_cost < cheaper_than)
            .map(|entry| (entry, entry.loss.max(entry.believed_loss)))
            .filter(|&(_, loss)| loss <= limit)
            .min_by(|a, b| a.0.relative_cost.total_cmp(&b.0.relative_cost).then(a.1.total_cmp(&b.1)))
    }

    /// Where nothing is inside the halved interval: of the choices cheaper than the best that lost less in the search than any which
    /// missed the goal, the one that lost least.
    fn between<'k>(
        &self,
        known: &'k [Evaluated],
        bold: f64,
        cheaper_than: f64,
        tried: &BTreeSet<Vec<BitWidth>>,
    ) -> Option<(&'k Evaluated, f64)> {
        if !cheaper_than.is_finite() || matches!(self.yardstick.goal.reward, Reward::Paper(_)) {
            return None;
        }
        known
            .iter()
            .filter(|entry| !tried.contains(&entry.widths) && entry.relative_cost < cheaper_than)
            .map(|entry| (entry, entry.loss.max(entry.believed_loss)))
            .filter(|&(_, loss)| loss < bold)
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Where the search evaluated nothing that could follow: the best choice with one layer a step narrower, the one that loses least alone.
    fn narrowed(&self, best: &Trained, tried: &BTreeSet<Vec<BitWidth>>) -> Option<(Vec<BitWidth>, f64)> {
        let actions = &self.yardstick.options.action_set;
        let change = |layer: usize| {
            let at = actions.iter().position(|&width| width == best.widths[layer])?;
            let narrower = at.checked_sub(1)?;
            let mut widths = best.widths.clone();
            widths[layer] = actions[narrower];
            let cost = self.cost.relative(&widths);
            let drops = &self.profile.drops[layer];
            (cost < best.cost && !tried.contains(&widths)).then_some((widths, cost, drops[narrower] - drops[at]))
        };
        let changes = (0..best.widths.len()).filter_map(change);
        changes.min_by(|a, b| a.2.total_cmp(&b.2)).map(|(widths, cost, _)| (widths, cost))
    }

    /// The choice not tried that the search prefers.
    fn preferred<'k>(&self, known: &'k [Evaluated], tried: &BTreeSet<Vec<BitWidth>>) -> Option<(&'k Evaluated, f64)> {
        let open = known.iter().filter(|entry| !tried.contains(&entry.widths));
        open.reduce(|best, entry| if entry.beats(best) { entry } else { best }).map(|entry| (entry, entry.loss))
    }

    fn train(&mut self, widths: &[BitWidth], cost: f64, recipe: Option<&Recipe>) -> Result<Trained, CompileError> {
        self.hooks.stage("retrain");
        let start = Instant::now();
        let annotated = match recipe {
            Some(recipe) => {
                let seed = self.yardstick.options.seed;
                retrain(self.yardstick.calibrated, self.yardstick.material, recipe.clone(), widths, seed, self.hooks)?
            }
            None => annotate(self.yardstick.calibrated, widths),
        };
        if let Some(recipe) = recipe {
            self.yardstick.pace.note(recipe, recipe.steps, start.elapsed());
        }
        let classes = predictions(&build(annotated.clone())?, self.yardstick.material.validation())?;
        let accuracy = agreement(&classes, self.yardstick.judge.expected(self.yardstick.material));
        Ok(Trained { annotated, widths: widths.to_vec(), classes, accuracy, cost, recipe: recipe.cloned() })
    }

    /// Points lost against the reference, and their standard error.
    fn loss(&self, trained: &Trained, reference: Option<&Trained>) -> (f64, f64) {
        let expected = self.yardstick.judge.expected(self.yardstick.material);
        let float = self.yardstick.float();
        let (accuracy, classes) = match reference {
            Some(reference) if reference.accuracy < float => (reference.accuracy, &reference.classes[..]),
            _ => (float, self.yardstick.judge.float_classes()),
        };
        (100.0 * (accuracy - trained.accuracy), 100.0 * paired_error(&trained.classes, classes, expected))
    }

    fn keeps(&self, goal: &Reward, trained: &Trained, reference: Option<&Trained>) -> bool {
        let (loss, noise) = self.loss(trained, reference);
        // Without labels nothing is sampled: the synthesised inputs are what is asked about.
        let noise = if self.yardstick.material.is_labelled() { noise } else { 0.0 };
        goal.accepts(&Outcome { relative_cost: trained.cost, loss, reference: self.yardstick.float(), noise })
    }
}
