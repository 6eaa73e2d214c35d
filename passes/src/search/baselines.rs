//! The methods an agent must beat at an equal number of evaluations.

use super::constraint::narrowed;
use super::environment::{Environment, Problem, SearchError};
use super::ledger::{Evaluated, Ledger, Origin, Terms, best_of};
use super::prior::{DamagePrior, SensitivityProfile};
use super::programme::{Solution, front};
use super::random::Draws;
use super::reward::Reward;
use crate::random::Purpose;
use std::collections::VecDeque;

/// A method without learning.
#[derive(Clone, Debug, PartialEq)]
pub enum Baseline {
    /// One width for all layers: every width of the action set, from the widest down.
    Uniform,
    /// From the widest width, every round tries each layer one width narrower and keeps the change with the highest reward;
    /// ends when no change raises the reward.
    CoordinateGreedy,
    /// Layers in the order of their sensitivity, the least sensitive first; each goes down width by width as long as the
    /// reward rises. The sensitivities are of a profile, or measured with each layer alone at the smallest width.
    SensitivityGreedy {
        /// Measurements that cost no evaluation.
        profile: Option<SensitivityProfile>,
    },
    /// The integer programme on sensitivities, see [`programme`](super::programme): choices of the front of cost and total
    /// damage, halving the part of it where the loss limit lies, then neighbours of the best.
    IntegerProgramme {
        /// Measurements that cost no evaluation; without them the damages of the prior.
        profile: Option<SensitivityProfile>,
    },
    /// The same programme on second-order damages, which name the layers that the loss is curved in (HAWQ-V2, Dong et al.,
    /// arXiv 1911.03852).
    Hessian {
        /// `[layer][action]`: the mean of the Hessian's diagonal times the square distance that rounding moves the weights by.
        damages: SensitivityProfile,
    },
    /// Uniform draws from all choices, none twice; what exceeds a budget is narrowed.
    Random {
        /// Seed of the draws.
        seed: u64,
    },
}

impl Baseline {
    /// Name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Baseline::Uniform => "uniform",
            Baseline::CoordinateGreedy => "greedy",
            Baseline::SensitivityGreedy { .. } => "sensitivity",
            Baseline::IntegerProgramme { .. } => "programme",
            Baseline::Hessian { .. } => "hessian",
            Baseline::Random { .. } => "random",
        }
    }
}

/// What a baseline found.
#[derive(Clone, Debug)]
pub struct BaselineResult {
    /// Name in reports.
    pub name: &'static str,
    /// The preferred choice; `None` when nothing was evaluated.
    pub best: Option<Evaluated>,
    /// Everything evaluated, in order.
    pub evaluations: Vec<Evaluated>,
}

/// Runs a baseline under the terms the agent had.
///
/// # Errors
/// Of the environment; [`SearchError::Invalid`] for a profile of another network.
pub fn run(
    environment: &mut dyn Environment,
    terms: &Terms<'_>,
    baseline: &Baseline,
) -> Result<BaselineResult, SearchError> {
    let problem = Problem::of(environment)?;
    let mut ledger = Ledger::open(environment, &problem, terms)?;
    match baseline {
        Baseline::Uniform => uniform(&mut ledger, &problem)?,
        Baseline::CoordinateGreedy => coordinate_greedy(&mut ledger, &problem)?,
        Baseline::SensitivityGreedy { profile } => sensitivity_greedy(&mut ledger, &problem, profile.as_ref())?,
        Baseline::IntegerProgramme { profile } => {
            integer_programme(&mut ledger, &problem, &DamagePrior::new(&problem, profile.as_ref())?)?;
        }
        Baseline::Hessian { damages } => {
            integer_programme(&mut ledger, &problem, &DamagePrior::exactly(&problem, damages)?)?;
        }
        Baseline::Random { seed } => random(&mut ledger, &problem, *seed)?,
    }
    let evaluations = ledger.into_entries();
    Ok(BaselineResult { name: baseline.name(), best: best_of(&evaluations).cloned(), evaluations })
}

fn uniform(ledger: &mut Ledger<'_>, problem: &Problem) -> Result<(), SearchError> {
    let all = (0..problem.widths.len()).rev().map(|action| vec![action; problem.depth()]);
    let affordable: Vec<Vec<usize>> = all.filter(|actions| ledger.affords(actions)).collect();
    ledger.measure_all(&affordable, Origin::Procedure)?;
    Ok(())
}

fn coordinate_greedy(ledger: &mut Ledger<'_>, problem: &Problem) -> Result<(), SearchError> {
    let mut current = vec![problem.widths.len() - 1; problem.depth()];
    let mut best: Option<Evaluated> = ledger.entry(&current).cloned();
    loop {
        let mut next = None;
        let narrower = |layer: usize| {
            let mut actions = current.clone();
            actions[layer] = actions[layer].checked_sub(1)?;
            Some(actions)
        };
        let round: Vec<Vec<usize>> = (0..problem.depth()).filter_map(narrower).collect();
        for (index, actions) in round.iter().enumerate() {
            for ahead in &round[index..] {
                ledger.ask(ahead)?;
            }
            let Some(entry) = ledger.measure(actions, Origin::Procedure)? else { return Ok(()) };
            if best.as_ref().is_none_or(|best| entry.beats(best)) && (entry.accepted || best.is_some()) {
                best = Some(entry.clone());
                next = Some(actions.clone());
            }
        }
        let Some(actions) = next else { return Ok(()) };
        current = actions;
    }
}

fn sensitivity_greedy(
    ledger: &mut Ledger<'_>,
    problem: &Problem,
    profile: Option<&SensitivityProfile>,
) -> Result<(), SearchError> {
    let widest = vec![problem.widths.len() - 1; problem.depth()];
    let mut drops = Vec::with_capacity(problem.depth());
    for layer in 0..problem.depth() {
        if let Some(profile) = profile {
            let drop = profile.drops.get(layer).and_then(|row| row.first()).copied();
            let drop = drop.ok_or_else(|| {
                let required = format!("needs a row for each of {} layers", problem.depth());
                SearchError::invalid("sensitivity profile", format!("{} rows", profile.drops.len()), required)
            })?;
            drops.push(drop);
            continue;
        }
        let mut actions = widest.clone();
        actions[layer] = 0;
        let Some(entry) = ledger.measure(&actions, Origin::Procedure)? else { return Ok(()) };
        drops.push(entry.loss);
    }
    let mut order: Vec<usize> = (0..problem.depth()).collect();
    order.sort_by(|&a, &b| drops[a].total_cmp(&drops[b]).then(a.cmp(&b)));
    let mut current = widest;
    let mut best: Option<Evaluated> = ledger.entry(&current).cloned();
    for layer in order {
        while current[layer] > 0 {
            let mut actions = current.clone();
            actions[layer] -= 1;
            if !ledger.affords(&actions) {
                current = actions;
                continue;
            }
            let Some(entry) = ledger.measure(&actions, Origin::Procedure)? else { return Ok(()) };
            if !best.as_ref().map_or(entry.accepted, |best| entry.beats(best)) {
                break;
            }
            best = Some(entry.clone());
            current = actions;
        }
    }
    Ok(())
}

fn integer_programme(ledger: &mut Ledger<'_>, problem: &Problem, prior: &DamagePrior) -> Result<(), SearchError> {
    let terms = ledger.terms();
    let cost = terms.constraints.first().map_or(terms.cost, |constraint| &constraint.cost);
    let solutions: Vec<Solution> =
        front(problem, cost, prior).into_iter().filter(|solution| ledger.affords(&solution.actions)).collect();
    let mut at = match terms.reward {
        // The cheapest choice inside the limit lies between what was refused and what was accepted.
        Reward::Constrained(_) => {
            let (mut refused, mut accepted) = (0, solutions.len());
            while refused < accepted {
                let middle = usize::midpoint(refused, accepted);
                let entry = ledger.measure(&solutions[middle].actions, Origin::Procedure)?;
                match entry.map(|entry| entry.accepted) {
                    Some(true) => accepted = middle,
                    Some(false) => refused = middle + 1,
                    None => return Ok(()),
                }
            }
            accepted.min(solutions.len().saturating_sub(1))
        }
        Reward::Paper(_) => solutions.len() / 2,
        Reward::LeastLoss => solutions.len().saturating_sub(1),
    };
    // Then the nearest neighbours of the best.
    while !ledger.closed() {
        let open = (0..solutions.len()).filter(|&index| ledger.entry(&solutions[index].actions).is_none());
        let Some(next) = open.min_by_key(|&index| (index.abs_diff(at), index)) else { return Ok(()) };
        if ledger.measure(&solutions[next].actions, Origin::Procedure)?.is_none() {
            return Ok(());
        }
        let best = ledger.best().and_then(|best| problem.actions(&best.widths));
        let place = best.and_then(|best| solutions.iter().position(|solution| solution.actions == best));
        at = place.unwrap_or(at);
    }
    Ok(())
}

fn random(ledger: &mut Ledger<'_>, problem: &Problem, seed: u64) -> Result<(), SearchError> {
    let mut draws = Draws::new(seed, Purpose::RandomBaseline);
    let different = problem.choices();
    let (terms, prior) = (ledger.terms(), DamagePrior::flat(problem));
    let mut repeats = 0;
    let mut open: VecDeque<Vec<usize>> = VecDeque::new();
    loop {
        // As many draws are open as may be asked for at once; they are measured in their order.
        while ledger.has_room() && ((ledger.entries().len() + open.len()) as u64) < different && repeats < MOST_REPEATS
        {
            let drawn: Vec<usize> = (0..problem.depth()).map(|_| draws.below(problem.widths.len())).collect();
            let actions = narrowed(problem, terms.constraints, &prior, drawn);
            if ledger.entry(&actions).is_some() || open.contains(&actions) {
                repeats += usize::from(!terms.constraints.is_empty());
                continue;
            }
            repeats = 0;
            ledger.ask(&actions)?;
            open.push_back(actions);
        }
        let Some(actions) = open.pop_front() else { return Ok(()) };
        if ledger.measure(&actions, Origin::Random)?.is_none() {
            return Ok(());
        }
    }
}

/// Draws in a row that budgets narrowed to what is known, after which nothing else is expected.
const MOST_REPEATS: usize = 10_000;
