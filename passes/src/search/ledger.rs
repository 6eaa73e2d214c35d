//! The book of everything one method has evaluated: what it asked, what it got, what that is worth, and when it must stop.

use std::collections::{BTreeMap, BTreeSet};

use releqc_runtime::BitWidth;

use super::constraint::{self, Constraint};
use super::cost::CostModel;
use super::environment::{Environment, Evaluation, Problem, SearchError};
use super::reward::{Outcome, Reward};

/// Who proposed a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The reference: all layers at the widest width.
    Reference,
    /// Drawn by the policy and evaluated as it was.
    Policy,
    /// Drawn by the policy, then improved on the surrogate.
    RefinedPolicy,
    /// A change of the best choice so far.
    RefinedBest,
    /// A uniform draw.
    Random,
    /// A fixed procedure: the baselines.
    Procedure,
}

/// One evaluated choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// One width per layer.
    pub widths: Vec<BitWidth>,
    /// What the environment answered.
    pub evaluation: Evaluation,
    /// Accuracy lost against the reference, in points.
    pub loss: f64,
    /// Cost over the cost at 8 bit.
    pub relative_cost: f64,
    /// The reward of what was measured.
    pub reward: f64,
    /// The loss without the noise of the measurement, as far as it is known, in points: the measured loss, corrected by an
    /// agent with what it measured of similar choices.
    pub believed_loss: f64,
    /// The reward by which choices are ranked: of the measurement or of the believed loss, whichever is lower. The
    /// cheapest of many noisy measurements is a lucky one, and luck does not survive deployment.
    pub standing: f64,
    /// Whether the loss limit is kept; true under a reward without limit.
    pub accepted: bool,
    /// Who proposed it.
    pub origin: Origin,
}

impl Evaluated {
    /// Whether this choice is preferred to `other`: higher standing, then higher accuracy, then lower cost.
    pub fn beats(&self, other: &Evaluated) -> bool {
        let rank = |entry: &Evaluated| (entry.standing, entry.evaluation.accuracy, -entry.relative_cost);
        rank(self) > rank(other)
    }

    /// Whether this choice was measured to lose no more and costs no more, and is better in one of the two.
    fn dominates(&self, other: &Evaluated) -> bool {
        let [own, others] = [self, other].map(|entry| (entry.evaluation.accuracy, -entry.relative_cost));
        own.0 >= others.0 && own.1 >= others.1 && own != others
    }

    /// Corrects what is believed of the loss, in points; the reward is that of `terms`, whoever measured it.
    pub(super) fn believe(&mut self, loss: f64, terms: &Terms<'_>, reference: f64) {
        let excess = constraint::excess(terms.constraints, &self.widths);
        let noise = if self.origin == Origin::Reference { 0.0 } else { self.evaluation.noise() };
        let measured = Outcome { relative_cost: self.relative_cost, loss: self.loss, reference, noise, excess };
        self.reward = terms.reward.value(&measured);
        self.accepted = terms.reward.accepts(&measured);
        self.believed_loss = loss;
        self.standing = self.reward.min(terms.reward.value(&Outcome { loss, noise: 0.0, ..measured }));
    }
}

/// What every method of a comparison is held to.
pub struct Terms<'a> {
    /// The reward.
    pub reward: Reward,
    /// The cost of widths.
    pub cost: &'a CostModel,
    /// Budgets.
    pub constraints: &'a [Constraint],
    /// The accuracy that losses are counted from, 0..=1; `None` measures all layers at the widest width for it, which is not
    /// counted as an evaluation.
    pub reference: Option<f64>,
    /// Most evaluations of different choices.
    pub evaluations: usize,
    /// Most choices that are asked for before the first of them is answered, at least 1. What is asked depends on this number, and on nothing
    /// that happens while the answers are computed.
    pub parallel: usize,
    /// Asked before every evaluation; true ends the search with what it has. A deadline lives here.
    pub stop: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms")
            .field("reward", &self.reward)
            .field("cost", &self.cost.name())
            .field("constraints", &self.constraints.len())
            .field("reference", &self.reference)
            .field("evaluations", &self.evaluations)
            .field("parallel", &self.parallel)
            .finish_non_exhaustive()
    }
}

/// Evaluations in the order in which they were made, no choice twice.
pub struct Ledger<'a> {
    environment: &'a mut dyn Environment,
    terms: &'a Terms<'a>,
    problem: &'a Problem,
    reference: f64,
    entries: Vec<Evaluated>,
    known: BTreeMap<Vec<usize>, usize>,
    /// Asked for and not yet measured.
    asked: BTreeSet<Vec<usize>>,
    counted: usize,
    closed: bool,
}

impl std::fmt::Debug for Ledger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("entries", &self.entries).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl<'a> Ledger<'a> {
    /// Opens the book; measures the reference if the terms do not state it. An interrupt during that closes the book.
    ///
    /// # Errors
    /// Of the environment, or [`SearchError::Invalid`] for a reference outside 0..=1 or a cost of another network.
    pub fn open(
        environment: &'a mut dyn Environment,
        problem: &'a Problem,
        terms: &'a Terms<'a>,
    ) -> Result<Self, SearchError> {
        if terms.cost.depth() != problem.depth() {
            let seen = format!("{} layers", terms.cost.depth());
            return Err(SearchError::invalid("cost table", seen, format!("the network has {}", problem.depth())));
        }
        let mut ledger = Ledger {
            environment,
            terms,
            problem,
            reference: terms.reference.unwrap_or(1.0),
            entries: Vec::new(),
            known: BTreeMap::new(),
            asked: BTreeSet::new(),
            counted: 0,
            closed: false,
        };
        if terms.reference.is_none() {
            match ledger.environment.evaluate(&problem.widest()) {
                Ok(evaluation) => {
                    ledger.reference = evaluation.accuracy;
                    ledger.enter(&vec![problem.widths.len() - 1; problem.depth()], evaluation, Origin::Reference);
                }
                Err(SearchError::Interrupted) => ledger.closed = true,
                Err(error) => return Err(error),
            }
        }
        if !(0.0..=1.0).contains(&ledger.reference) {
            return Err(SearchError::invalid("reference accuracy", ledger.reference.to_string(), "must lie in 0..=1"));
        }
        Ok(ledger)
    }

    /// The accuracy that losses are counted from, 0..=1.
    pub fn reference(&self) -> f64 {
        self.reference
    }

    /// Whether no further evaluation will be made.
    pub fn closed(&self) -> bool {
        self.closed || self.counted >= self.terms.evaluations
    }

    /// Whether a choice keeps the budgets.
    pub fn affords(&self, actions: &[usize]) -> bool {
        constraint::excess(self.terms.constraints, &self.problem.chosen(actions)) <= 0.0
    }

    /// What the method is held to.
    pub fn terms(&self) -> &'a Terms<'a> {
        self.terms
    }

    /// Evaluations so far, the reference not counted.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// Everything evaluated, in order.
    pub fn entries(&self) -> &[Evaluated] {
        &self.entries
    }

    /// Gives up the book for its entries.
    pub fn into_entries(self) -> Vec<Evaluated> {
        self.entries
    }

    /// The entry of a choice that was evaluated.
    pub fn entry(&self, actions: &[usize]) -> Option<&Evaluated> {
        self.known.get(actions).map(|&index| &self.entries[index])
    }

    /// The preferred entry.
    pub fn best(&self) -> Option<&Evaluated> {
        best_of(&self.entries)
    }

    /// Whether one more choice may be asked for now.
    pub fn has_room(&self) -> bool {
        let asked = self.asked.len();
        !self.closed && asked < self.terms.parallel.max(1) && self.counted + asked < self.terms.evaluations
    }

    /// Says that a choice will be measured, so that the environment may begin with it; nothing where there is no room.
    ///
    /// # Errors
    /// Of the environment.
    pub fn ask(&mut self, actions: &[usize]) -> Result<(), SearchError> {
        if self.has_room() && !self.known.contains_key(actions) && !self.asked.contains(actions) {
            self.environment.ask(&self.problem.chosen(actions))?;
            self.asked.insert(actions.to_vec());
        }
        Ok(())
    }

    /// Measures choices in their order, as many at once as the terms allow. False when the book was closed before the last.
    ///
    /// # Errors
    /// Of the environment.
    pub fn measure_all(&mut self, choices: &[Vec<usize>], origin: Origin) -> Result<bool, SearchError> {
        for (index, actions) in choices.iter().enumerate() {
            for next in choices[index..].iter().take(self.terms.parallel) {
                self.ask(next)?;
            }
            if self.measure(actions, origin)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Evaluates a choice, or repeats the answer known. `None` when the book is closed: by the limit, the stop function or an
    /// interrupt.
    ///
    /// # Errors
    /// Of the environment.
    pub fn measure(&mut self, actions: &[usize], origin: Origin) -> Result<Option<&Evaluated>, SearchError> {
        if let Some(&index) = self.known.get(actions) {
            return Ok(Some(&self.entries[index]));
        }
        if self.closed() || (self.terms.stop)() {
            self.closed = true;
            return Ok(None);
        }
        self.asked.remove(actions);
        match self.environment.evaluate(&self.problem.chosen(actions)) {
            Ok(evaluation) => {
                self.counted += 1;
                self.enter(actions, evaluation, origin);
                Ok(self.entries.last())
            }
            Err(SearchError::Interrupted) => {
                self.closed = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Corrects what is believed of the entries, in their order.
    pub fn believe(&mut self, losses: &[f64]) {
        for (entry, &loss) in self.entries.iter_mut().zip(losses) {
            entry.believe(loss, self.terms, self.reference);
        }
    }

    fn enter(&mut self, actions: &[usize], evaluation: Evaluation, origin: Origin) {
        let widths = self.problem.chosen(actions);
        let outcome = Outcome {
            relative_cost: self.terms.cost.relative(&widths),
            loss: 100.0 * (self.reference - evaluation.accuracy),
            reference: self.reference,
            noise: if origin == Origin::Reference { 0.0 } else { evaluation.noise() },
            excess: constraint::excess(self.terms.constraints, &widths),
        };
        self.known.insert(actions.to_vec(), self.entries.len());
        let reward = self.terms.reward.value(&outcome);
        self.entries.push(Evaluated {
            widths,
            evaluation,
            loss: outcome.loss,
            relative_cost: outcome.relative_cost,
            reward,
            believed_loss: outcome.loss,
            standing: reward,
            accepted: self.terms.reward.accepts(&outcome),
            origin,
        });
    }
}

/// Where the least loss is looked for, no choice inside the budgets stands above one that was measured to lose no more at no higher cost:
/// a belief alone does not take back what two measurements say.
pub(super) fn respect_dominance(entries: &mut [Evaluated]) {
    let inside = |entry: &Evaluated| entry.reward >= Reward::LEAST_INSIDE;
    let capped = |entry: &Evaluated| {
        let dominating = entries.iter().filter(|other| inside(other) && other.dominates(entry));
        dominating.map(|other| other.standing).fold(entry.standing, f64::min)
    };
    let standings: Vec<f64> = entries.iter().map(capped).collect();
    entries.iter_mut().zip(standings).for_each(|(entry, standing)| entry.standing = standing);
}

/// The preferred one, the earlier of equals.
pub fn best_of(entries: &[Evaluated]) -> Option<&Evaluated> {
    entries.iter().reduce(|best, entry| if entry.beats(best) { entry } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(relative_cost: f64, accuracy: f64, standing: f64) -> Evaluated {
        Evaluated {
            widths: vec![BitWidth::MAX],
            evaluation: Evaluation { accuracy, samples: 100, standard_error: None, cached: false },
            loss: 100.0 * (1.0 - accuracy),
            relative_cost,
            reward: standing,
            believed_loss: 0.0,
            standing,
            accepted: true,
            origin: Origin::Random,
        }
    }

    #[test]
    fn a_belief_lifts_no_choice_above_one_that_is_better_in_both() {
        // Outside of the budgets; dominates the last; dominates nothing; the last, which is believed in.
        let mut entries = [entry(0.1, 1.0, -1.2), entry(0.3, 0.9, -0.5), entry(0.2, 0.8, -0.6), entry(0.3, 0.85, -0.1)];
        respect_dominance(&mut entries);
        let standings = entries.each_ref().map(|entry| entry.standing);
        assert_eq!(standings, [-1.2, -0.5, -0.6, -0.5], "no higher than what dominates it");
        assert_eq!(best_of(&entries).map(|best| best.relative_cost), Some(0.3));
        assert_eq!(best_of(&entries).map(|best| best.evaluation.accuracy), Some(0.9));
    }
}
