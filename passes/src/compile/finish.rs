//! The long retraining: the cheapest choice of the search that keeps the goal after it.
//!
//! An evaluation of the search retrains shortly, and a long run recovers most of what a short one loses. So the search works with a
//! limit above the goal, and here a few long runs find how far above it one may go: a choice that misses the goal makes the
//! next one safer, a choice that keeps it makes the next one bolder, in proportion, and between the two the interval is halved.
//!
//! All methods' evaluations are candidates alike, and nothing is written that a method's best choice beats on the same runs. Where budgets
//! stand without a goal, the choice inside them that loses least after a long run is the result.

use super::environment::paired_error;
use super::exploration::{Exploration, Finished};
use super::yardstick::{Goal, Yardstick};
use super::{CompileError, Event, Finalist, Hooks, Retrain, Score, build};
use crate::annotate::Annotated;
use crate::search::environment::mean_bits;
use crate::search::reward::Outcome;
use crate::search::{Evaluated, Reward};
use crate::train::Recipe;
use releqc_runtime::BitWidth;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Long runs of different choices, at most; the reference comes on top.
const ATTEMPTS: usize = 6;

/// A choice that kept the goal makes the limit of the next one larger by at most this factor.
const MOST_BOLD: f64 = 3.0;

/// A choice that missed the goal makes the limit of the next one smaller, to between these shares.
const SAFER: (f64, f64) = (0.2, 0.8);

/// One network after its last retraining.
struct Trained {
    annotated: Annotated,
    widths: Vec<BitWidth>,
    right: Vec<bool>,
    accuracy: f64,
    cost: f64,
    recipe: Option<Recipe>,
}

impl Trained {
    fn finished(self, reference: f64, finalists: Vec<Finalist>, counted_from: Option<Annotated>) -> Finished {
        let Trained { annotated, widths, accuracy, recipe, .. } = self;
        Finished { annotated, widths, reference, accuracy, recipe, finalists, counted_from }
    }
}

/// The long runs of one compilation.
pub(super) struct Finish<'f, 'a, 'h, 'e> {
    yardstick: &'f Yardstick<'a>,
    exploration: &'f Exploration,
    hooks: &'h mut Hooks<'e>,
    /// Whether a run longer than an evaluation's can recover what that lost.
    recovers: bool,
}

impl<'f, 'a, 'h, 'e> Finish<'f, 'a, 'h, 'e> {
    pub(super) fn new(yardstick: &'f Yardstick<'a>, exploration: &'f Exploration, hooks: &'h mut Hooks<'e>) -> Self {
        let mut finish = Finish { yardstick, exploration, hooks, recovers: false };
        let retrain = yardstick.options.retrain;
        let long = yardstick.recipes.and_then(|recipes| recipes.of(retrain));
        finish.recovers = retrain == Retrain::Full && finish.affords(long);
        finish
    }

    /// Finds the result: see the beginning of this file.
    pub(super) fn run(self) -> Result<Finished, CompileError> {
        match self.yardstick.goal.reward {
            Reward::LeastLoss => self.least_loss(),
            Reward::Constrained(_) | Reward::Paper(_) => self.cheapest(),
        }
    }

    /// The recipe of the runs that decide.
    fn recipe(&self) -> Option<&'f Recipe> {
        let recipes = self.yardstick.recipes?;
        Some(if self.recovers { &recipes.full } else { &recipes.short })
    }

    /// Of the choices inside the budgets, the one that loses least after a run of each method's best and of what the search prefers.
    fn least_loss(mut self) -> Result<Finished, CompileError> {
        let recipe = self.recipe();
        let mut order: Vec<&Evaluated> = self.exploration.best_of_methods().collect();
        let of_methods = order.len();
        order.extend(&self.exploration.known);
        let better = |a: &&Evaluated, b: &&Evaluated| match (a.beats(b), b.beats(a)) {
            (true, _) => Ordering::Less,
            (_, true) => Ordering::Greater,
            _ => Ordering::Equal,
        };
        order[..of_methods].sort_by(better);
        order[of_methods..].sort_by(better);
        let mut tried = BTreeSet::new();
        let mut runs: Vec<(Trained, Option<f64>)> = Vec::new();
        for entry in order {
            let enough = if self.recovers { of_methods.max(1) } else { 1 };
            if runs.len() >= enough || (!runs.is_empty() && !self.affords(recipe)) {
                break;
            }
            if tried.insert(entry.widths.clone()) && self.yardstick.limits.fits(&entry.widths)? {
                runs.push((self.train(&entry.widths, entry.relative_cost, recipe)?, Some(entry.loss)));
            }
        }
        if runs.is_empty() {
            let widths = self.exploration.narrowest.clone();
            let cost = self.exploration.cost.relative(&widths);
            runs.push((self.train(&widths, cost, recipe)?, None));
        }
        let best = (0..runs.len()).reduce(|best, next| {
            let (a, b) = (&runs[best].0, &runs[next].0);
            if (b.accuracy, -b.cost) > (a.accuracy, -a.cost) { next } else { best }
        });
        let at_8_bits = self.yardstick.at_8_bits();
        let best = best.unwrap_or_default();
        let loses = runs[best].0.accuracy < self.yardstick.float();
        let counts = self.recovers && loses && runs[best].0.widths != at_8_bits && self.affords(recipe);
        let reference = counts.then(|| self.train(&at_8_bits, 1.0, recipe)).transpose()?;
        self.decide(runs, Some(best), reference, recipe)
    }

    /// Retrains choices that agent and baselines evaluated until the cheapest that keeps the goal is found or the attempts or the time are
    /// spent; then the best choice of every method that would be cheaper still.
    fn cheapest(mut self) -> Result<Finished, CompileError> {
        let Exploration { known, .. } = self.exploration;
        let recovers = self.recovers;
        let recipe = self.recipe();
        let Goal { max_loss, search_limit, reward } = self.yardstick.goal;
        let mut limit = if recovers { search_limit } else { max_loss };
        let accepts = Reward::constrained(max_loss)?;
        let mut reference: Option<Trained> = None;
        let mut tried: BTreeSet<Vec<BitWidth>> = BTreeSet::new();
        let mut runs: Vec<(Trained, Option<f64>)> = Vec::new();
        let mut best: Option<usize> = None;
        // Losses in the search: the largest that the long run brought below the goal, the smallest that it did not.
        let (mut safe, mut bold) = (f64::NEG_INFINITY, f64::INFINITY);
        while runs.len() < ATTEMPTS {
            if !runs.is_empty() && !self.affords(recipe) {
                self.hooks.report(Event::Note("the time budget leaves no time for a further long retraining".into()));
                break;
            }
            let cheaper_than = best.map_or(f64::INFINITY, |best| runs[best].0.cost);
            let next = if recovers {
                self.next(known, limit, cheaper_than, &tried)
                    .or_else(|| self.between(known, bold, cheaper_than, &tried))
            } else {
                self.preferred(known, &tried)
            };
            let next = next.map(|(entry, loss)| (entry.widths.clone(), entry.relative_cost, Some(loss)));
            let next =
                next.or_else(|| self.narrowed(&runs[best?].0, &tried).map(|(widths, cost)| (widths, cost, None)));
            let Some((widths, cost, evaluated_loss)) = next else { break };
            if !self.yardstick.limits.fits(&widths)? {
                tried.insert(widths);
                continue;
            }
            if runs.is_empty() {
                self.ask_first(&widths, recipe)?;
            }
            let trained = self.train(&widths, cost, recipe)?;
            tried.insert(widths);
            if recovers && reference.is_none() && !self.keeps(&accepts, &trained, None) {
                let widths = self.yardstick.at_8_bits();
                reference = Some(self.train(&widths, 1.0, recipe)?);
            }
            let (loss, _) = self.loss(&trained, reference.as_ref());
            let kept = self.keeps(&accepts, &trained, reference.as_ref());
            if kept && trained.cost < cheaper_than {
                best = Some(runs.len());
            }
            runs.push((trained, evaluated_loss));
            // Under the paper's reward the search itself has weighed loss against cost, and its first choice that keeps the goal stands.
            if kept && (!recovers || matches!(reward, Reward::Paper(_))) {
                break;
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
                    let bolder = if loss * MOST_BOLD > max_loss { max_loss / loss } else { MOST_BOLD };
                    evaluated_loss.max(limit) * bolder
                }
                (None, _) => {
                    let (least, most) = SAFER;
                    evaluated_loss.max(0.0) * (max_loss / loss).clamp(least, most)
                }
            };
        }
        if recovers && !matches!(reward, Reward::Paper(_)) {
            for entry in self.exploration.best_of_methods() {
                let cheaper = best.is_none_or(|best| entry.relative_cost < runs[best].0.cost);
                if !cheaper || !entry.accepted || !tried.insert(entry.widths.clone()) || !self.affords(recipe) {
                    continue;
                }
                if self.yardstick.limits.fits(&entry.widths)? {
                    let trained = self.train(&entry.widths, entry.relative_cost, recipe)?;
                    if self.keeps(&accepts, &trained, reference.as_ref()) {
                        best = Some(runs.len());
                    }
                    runs.push((trained, Some(entry.loss)));
                }
            }
        }
        self.decide(runs, best, reference, recipe)
    }

    fn decide(
        &mut self,
        mut runs: Vec<(Trained, Option<f64>)>,
        best: Option<usize>,
        reference: Option<Trained>,
        recipe: Option<&Recipe>,
    ) -> Result<Finished, CompileError> {
        let accepts = Reward::constrained(self.yardstick.goal.max_loss)?;
        // Where the least loss is asked for there is nothing to miss but a budget.
        let has_goal = self.yardstick.goal.reward != Reward::LeastLoss;
        let finalist = |(trained, evaluated_loss): &(Trained, Option<f64>)| Finalist {
            widths: trained.widths.iter().map(|w| w.bits()).collect(),
            average_bits: mean_bits(&trained.widths),
            evaluated_loss: *evaluated_loss,
            loss: self.loss(trained, reference.as_ref()).0,
            kept: !has_goal || self.keeps(&accepts, trained, reference.as_ref()),
        };
        // Without retraining there was no run to report.
        let finalists: Vec<Finalist> = runs.iter().filter(|_| recipe.is_some()).map(finalist).collect();
        let (reference_accuracy, _) = self.reference(reference.as_ref());
        let is_reference = |long: &&Trained| long.accuracy <= reference_accuracy;
        let counted_from = reference.as_ref().filter(is_reference).map(|long| long.annotated.clone());
        if let Some(best) = best {
            return Ok(runs.swap_remove(best).0.finished(reference_accuracy, finalists, counted_from));
        }
        // No long run kept the goal, or there was no time for another: what kept it in the search keeps it again, after the same
        // short run.
        let tried: BTreeSet<Vec<BitWidth>> = runs.iter().map(|(trained, _)| trained.widths.clone()).collect();
        let safe = self.exploration.known.iter().filter(|entry| {
            let loss = entry.loss.max(entry.believed_loss);
            let noise = entry.evaluation.noise();
            let outcome = Outcome {
                relative_cost: entry.relative_cost,
                loss,
                reference: self.yardstick.float(),
                noise,
                excess: 0.0,
            };
            !tried.contains(&entry.widths) && accepts.accepts(&outcome)
        });
        let mut safe: Vec<&Evaluated> = safe.collect();
        safe.sort_by(|a, b| a.relative_cost.total_cmp(&b.relative_cost).then(a.loss.total_cmp(&b.loss)));
        for entry in safe {
            if !self.yardstick.limits.fits(&entry.widths)? {
                continue;
            }
            let short = self.yardstick.recipes.map(|recipes| &recipes.short);
            let reference = entry.evaluation.accuracy + entry.loss / 100.0;
            let trained = self.train(&entry.widths, entry.relative_cost, short)?;
            return Ok(trained.finished(reference, finalists, None));
        }
        // Nothing did: the widest widths of the action set, with and without retraining, join, and what loses least is kept.
        let widest = self.yardstick.widest();
        let widest = if self.yardstick.limits.fits(&widest)? { widest } else { self.exploration.narrowest.clone() };
        let cost = self.exploration.cost.relative(&widest);
        let mut last: Vec<Trained> = runs.into_iter().map(|(trained, _)| trained).collect();
        match reference {
            Some(reference) if reference.widths == widest => last.push(reference),
            _ if recipe.is_some() && !tried.contains(&widest) && self.affords(recipe) => {
                last.push(self.train(&widest, cost, recipe)?);
            }
            _ => {}
        }
        last.push(self.train(&widest, cost, None)?);
        // The first of equals stands, and cheaper ones stand first.
        let chosen = last.into_iter().reduce(|a, b| if b.accuracy > a.accuracy { b } else { a });
        Ok(chosen.expect("the widest choice is in the list").finished(reference_accuracy, finalists, counted_from))
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
        let profile = self.exploration.profile.as_ref()?;
        let change = |layer: usize| {
            let at = actions.iter().position(|&width| width == best.widths[layer])?;
            let narrower = at.checked_sub(1)?;
            let mut widths = best.widths.clone();
            widths[layer] = actions[narrower];
            let cost = self.exploration.cost.relative(&widths);
            let drops = &profile.drops[layer];
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

    /// Before the first long run: where other processes may help, one of them makes the reference meanwhile, which most searches need.
    fn ask_first(&self, widths: &[BitWidth], recipe: Option<&Recipe>) -> Result<(), CompileError> {
        let Some(recipe) = recipe.filter(|_| self.recovers && self.yardstick.options.parallel > 1) else {
            return Ok(());
        };
        let run = self.yardstick.run(recipe)?;
        run.ask(widths, self.yardstick.answers)?;
        run.ask(&self.yardstick.at_8_bits(), self.yardstick.answers)
    }

    fn train(&mut self, widths: &[BitWidth], cost: f64, recipe: Option<&Recipe>) -> Result<Trained, CompileError> {
        self.hooks.stage("retrain");
        let start = Instant::now();
        let (annotated, paid) = self.yardstick.network(widths, recipe, self.hooks)?;
        if let Some(recipe) = recipe.filter(|_| paid) {
            // What another process made meanwhile says nothing of how long a run takes.
            let (took, pace) = (start.elapsed(), self.yardstick.pace);
            if pace.of(recipe).is_none_or(|known| took > known / 2) {
                pace.note(recipe, recipe.steps, took);
            }
        }
        let artifact = build(annotated.clone())?;
        let Score { accuracy, right } = self.yardstick.judge.score(&artifact, self.yardstick.material)?;
        Ok(Trained { annotated, widths: widths.to_vec(), right, accuracy, cost, recipe: recipe.cloned() })
    }

    /// The accuracy that losses are counted from, and the answers that are compared with: the 8-bit network after the same long run where that was
    /// needed. A short run is that of an evaluation, and counts from what the search counted from.
    fn reference<'r>(&'r self, long: Option<&'r Trained>) -> (f64, &'r [bool]) {
        let start = if self.recovers { self.yardstick.float() } else { self.exploration.result.reference };
        match long {
            Some(long) if long.accuracy < start => (long.accuracy, &long.right),
            _ => (start, self.yardstick.judge.float_right()),
        }
    }

    /// Points lost against the reference, and their standard error.
    fn loss(&self, trained: &Trained, reference: Option<&Trained>) -> (f64, f64) {
        let (accuracy, right) = self.reference(reference);
        let counts = self.yardstick.judge.counts_answers();
        let noise = if counts { paired_error(&trained.right, right) } else { 0.0 };
        (100.0 * (accuracy - trained.accuracy), 100.0 * noise)
    }

    fn keeps(&self, goal: &Reward, trained: &Trained, reference: Option<&Trained>) -> bool {
        let (loss, noise) = self.loss(trained, reference);
        // Without labels nothing is sampled: the synthesised inputs are what is asked about.
        let noise = if self.yardstick.material.is_labelled() { noise } else { 0.0 };
        let reference = self.yardstick.float();
        goal.accepts(&Outcome { relative_cost: trained.cost, loss, reference, noise, excess: 0.0 })
    }
}
