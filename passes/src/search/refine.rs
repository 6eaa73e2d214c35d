//! From proposals to the one choice worth paying for: screening by expected improvement, and climbing on it.

use std::collections::{BTreeMap, BTreeSet};

use super::acquire::Judge;
use super::constraint::narrowed;
use super::ledger::{Ledger, Origin};
use super::surrogate::Surrogate;

/// Proposals from which the climb starts, besides the best choice so far.
const STARTS: usize = 3;

/// Most moves of one climb.
const MOVES: usize = 8;

/// A choice to evaluate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Indices into the action set.
    pub actions: Vec<usize>,
    /// Expected improvement of the reward.
    pub improvement: f64,
    /// Where it comes from.
    pub origin: Origin,
}

/// Judges choices for one evaluation to come; every choice once.
pub struct Screen<'a, 'e> {
    judge: &'a Judge<'a>,
    surrogate: &'a Surrogate,
    ledger: &'a Ledger<'e>,
    /// The widest action at no higher cost, see [`CostModel::canonical_actions`](super::cost::CostModel::canonical_actions).
    canonical: &'a [Vec<usize>],
    /// Asked for and not yet answered.
    pending: &'a BTreeSet<Vec<usize>>,
    incumbent: f64,
    judged: BTreeMap<Vec<usize>, f64>,
}

impl std::fmt::Debug for Screen<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("judged", &self.judged.len()).finish_non_exhaustive()
    }
}

impl<'a, 'e> Screen<'a, 'e> {
    /// A screen against the best reward in the ledger, or what is imagined of the pending choices where that is higher.
    pub fn new(
        judge: &'a Judge<'a>,
        surrogate: &'a Surrogate,
        ledger: &'a Ledger<'e>,
        canonical: &'a [Vec<usize>],
        pending: &'a BTreeSet<Vec<usize>>,
    ) -> Self {
        let best = ledger.best().map_or(NOTHING_YET, |best| best.standing);
        let incumbent = pending.iter().map(|actions| judge.expected(surrogate, actions)).fold(best, f64::max);
        Screen { judge, surrogate, ledger, canonical, pending, incumbent, judged: BTreeMap::new() }
    }

    /// The best of `proposals` that was not evaluated and is not pending, improved on the surrogate if `climb`. `None` when all were evaluated and
    /// no unevaluated neighbour was found.
    pub fn select(&mut self, proposals: &[Vec<usize>], origin: Origin, climb: bool) -> Option<Candidate> {
        let mut ranked: Vec<(f64, Vec<usize>)> = Vec::new();
        for proposal in proposals {
            let affordable =
                narrowed(self.judge.problem, self.judge.constraints, self.surrogate.prior(), proposal.clone());
            let actions = self.canonical(&affordable);
            if !ranked.iter().any(|(_, known)| *known == actions)
                && let Some(improvement) = self.improvement(&actions)
            {
                ranked.push((improvement, actions));
            }
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut best = ranked.first().map(|(improvement, actions)| Candidate {
            actions: actions.clone(),
            improvement: *improvement,
            origin,
        });
        if climb {
            for (_, start) in ranked.iter().take(STARTS) {
                let refined = if origin == Origin::Policy { Origin::RefinedPolicy } else { origin };
                self.climb(start, refined, &mut best);
            }
            let so_far = self.ledger.best().and_then(|entry| self.judge.problem.actions(&entry.widths));
            if let Some(start) = so_far {
                self.climb(&start, Origin::RefinedBest, &mut best);
            }
        }
        best
    }

    fn canonical(&self, actions: &[usize]) -> Vec<usize> {
        actions.iter().zip(self.canonical).map(|(&action, row)| row[action]).collect()
    }

    /// `None` for what was evaluated or is about to be.
    fn improvement(&mut self, actions: &[usize]) -> Option<f64> {
        if self.ledger.entry(actions).is_some() || self.pending.contains(actions) {
            return None;
        }
        if let Some(&known) = self.judged.get(actions) {
            return Some(known);
        }
        let improvement = self.judge.improvement(self.surrogate, actions, self.incumbent);
        self.judged.insert(actions.to_vec(), improvement);
        Some(improvement)
    }

    /// Steepest ascent over changes of one layer to any width, and where none rises, exchanges of one step between two layers.
    fn climb(&mut self, start: &[usize], origin: Origin, best: &mut Option<Candidate>) {
        let mut here = start.to_vec();
        let mut height = self.improvement(&here).unwrap_or(-1.0);
        for _ in 0..MOVES {
            let singles = self.single_changes(&here);
            let next = self.highest(singles, height);
            let next = match next {
                Some(next) => Some(next),
                None => self.highest(self.exchanges(&here), height),
            };
            let Some((improvement, neighbour)) = next else { break };
            (height, here) = (improvement, neighbour);
            if best.as_ref().is_none_or(|best| height > best.improvement) {
                *best = Some(Candidate { actions: here.clone(), improvement, origin });
            }
        }
    }

    /// The choice above `floor` that promises most, the first of equals.
    fn highest(&mut self, choices: Vec<Vec<usize>>, floor: f64) -> Option<(f64, Vec<usize>)> {
        let mut highest = None;
        let mut least = floor;
        for choice in choices {
            if let Some(improvement) = self.improvement(&choice)
                && improvement > least
            {
                least = improvement;
                highest = Some((improvement, choice));
            }
        }
        highest
    }

    fn single_changes(&self, here: &[usize]) -> Vec<Vec<usize>> {
        let mut changes = Vec::new();
        for layer in 0..here.len() {
            for action in (0..self.judge.problem.widths.len()).filter(|&action| action != here[layer]) {
                let mut changed = here.to_vec();
                changed[layer] = action;
                changes.push(self.canonical(&changed));
            }
        }
        changes
    }

    fn exchanges(&self, here: &[usize]) -> Vec<Vec<usize>> {
        let widest = self.judge.problem.widths.len() - 1;
        let mut exchanges = Vec::new();
        for down in (0..here.len()).filter(|&layer| here[layer] > 0) {
            for up in (0..here.len()).filter(|&layer| layer != down && here[layer] < widest) {
                let mut changed = here.to_vec();
                changed[down] -= 1;
                changed[up] += 1;
                exchanges.push(self.canonical(&changed));
            }
        }
        exchanges
    }
}

/// Below every reward: before the first evaluation everything is an improvement.
const NOTHING_YET: f64 = -1.0;
