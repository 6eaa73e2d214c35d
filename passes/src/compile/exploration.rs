//! What a search has evaluated, and the report of it.

use super::yardstick::Goal;
use super::{
    EvaluationReport, Finalist, LayerExplanation, LossUnit, MethodReport, ParetoPoint, SearchReport, WidthCost,
};
use crate::annotate::Annotated;
use crate::search::environment::mean_bits;
use crate::search::ledger::best_of;
use crate::search::pareto::{self, LayerCost};
use crate::search::{CostModel, Evaluated, Reward, SearchResult, SensitivityProfile};
use crate::train::Recipe;
use releqc_runtime::BitWidth;
use std::collections::BTreeSet;
use std::ops::Range;

/// What agent and baselines evaluated.
pub(super) struct Exploration {
    /// What the agent found.
    pub(super) result: SearchResult,
    pub(super) methods: Vec<Method>,
    /// The agent's evaluations first, then those with the goal itself as limit, then the baselines'.
    pub(super) known: Vec<Evaluated>,
    /// Entropy of the policy before each evaluation of the agent.
    pub(super) entropies: Vec<Option<f64>>,
    /// Evaluations with the goal itself as limit.
    pub(super) careful: usize,
    /// Evaluations that no store answered.
    pub(super) paid: usize,
    /// What widths cost.
    pub(super) cost: CostModel,
    /// The widest widths, narrowed until they keep the budgets, or to the end where none does.
    pub(super) narrowest: Vec<BitWidth>,
    /// What each layer loses alone, where there was time to measure it.
    pub(super) profile: Option<SensitivityProfile>,
}

/// One method of the comparison.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// Its part of what is known.
    pub(super) evaluated: Range<usize>,
    pub(super) seconds: f64,
}

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
    /// The network that losses are counted from, where it is the one of 8 bits after the same retraining.
    pub(super) counted_from: Option<Annotated>,
}

impl Exploration {
    /// What each method prefers of its own evaluations, in the order of the methods.
    pub(super) fn best_of_methods(&self) -> impl Iterator<Item = &Evaluated> {
        self.methods.iter().filter_map(|method| best_of(&self.known[method.evaluated.clone()]))
    }

    /// The methods that evaluated these widths.
    fn found_by(&self, widths: &[BitWidth]) -> Vec<String> {
        let evaluated = |method: &&Method| self.known[method.evaluated.clone()].iter().any(|e| e.widths == widths);
        let mut names: Vec<String> = self.methods.iter().filter(evaluated).map(|method| method.name.into()).collect();
        if names.is_empty() {
            let careful = self.known.iter().any(|entry| entry.widths == widths);
            let derived = if self.known.is_empty() { "no method" } else { "long runs" };
            names.push(if careful { "agent" } else { derived }.into());
        }
        names
    }

    fn method(&self, method: &Method, finished: &Finished) -> Option<MethodReport> {
        let best = best_of(&self.known[method.evaluated.clone()])?;
        let widths = bits(&best.widths);
        let long_run = finished.finalists.iter().find(|finalist| finalist.widths == widths);
        Some(MethodReport {
            name: method.name.to_owned(),
            average_bits: mean_bits(&best.widths),
            loss: best.loss,
            believed_loss: best.believed_loss,
            reward: best.standing,
            evaluations: method.evaluated.len(),
            seconds: method.seconds,
            long_run_loss: long_run.map(|finalist| finalist.loss),
            kept: long_run.map(|finalist| finalist.kept),
            confirmation: None,
            widths,
        })
    }

    pub(super) fn report(&self, goal: &Goal, finished: &Finished) -> SearchReport {
        let Exploration { result, methods, known, careful, paid, .. } = self;
        let mut seen = BTreeSet::new();
        let different: Vec<Evaluated> =
            known.iter().filter(|entry| seen.insert(entry.widths.clone())).cloned().collect();
        let point = |&index: &usize| {
            let entry = &different[index];
            ParetoPoint {
                widths: bits(&entry.widths),
                average_bits: mean_bits(&entry.widths),
                relative_cost: entry.relative_cost,
                loss: entry.loss,
                chosen: entry.widths == finished.widths,
            }
        };
        let explain = |layer: &pareto::LayerExplanation| {
            let change = |cost: &LayerCost| WidthCost {
                bits: cost.width.bits(),
                loss: cost.measured.unwrap_or(cost.loss_change),
                measured: cost.measured.is_some(),
            };
            LayerExplanation { name: layer.name.clone(), widths: layer.widths.iter().map(change).collect() }
        };
        SearchReport {
            episodes: result.episodes,
            evaluations: known.len(),
            careful: *careful,
            paid: *paid,
            helped: 0,
            repeated: 0,
            virtual_episodes: result.virtual_episodes,
            end: format!("{:?}", result.end).to_lowercase(),
            limit: (goal.reward != Reward::LeastLoss).then_some(goal.search_limit),
            reference: result.reference,
            found_by: self.found_by(&finished.widths),
            methods: methods.iter().filter_map(|method| self.method(method, finished)).collect(),
            finalists: finished.finalists.clone(),
            pareto: pareto::pareto_front(&different).iter().map(point).collect(),
            explanation: result.explain(&finished.widths, known).iter().map(explain).collect(),
            history: self.history(),
            unit: LossUnit::default(),
        }
    }

    fn history(&self) -> Vec<EvaluationReport> {
        let method = |index: usize| self.methods.iter().find(|method| method.evaluated.contains(&index));
        let methods = (0..self.known.len()).map(|index| method(index).map_or("careful", |method| method.name));
        let entropies = self.entropies.iter().copied().chain(std::iter::repeat(None));
        let report = |((entry, method), entropy): ((&Evaluated, &str), Option<f64>)| EvaluationReport {
            method: method.to_owned(),
            widths: bits(&entry.widths),
            average_bits: mean_bits(&entry.widths),
            relative_cost: entry.relative_cost,
            loss: entry.loss,
            reward: entry.reward,
            entropy,
        };
        self.known.iter().zip(methods).zip(entropies).map(report).collect()
    }
}

fn bits(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|w| w.bits()).collect()
}
