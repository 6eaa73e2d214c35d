//! What a search leaves to read: the front of cost against accuracy, and what every layer costs in accuracy.

use releqc_runtime::BitWidth;

use super::environment::Problem;
use super::ledger::Evaluated;
use super::surrogate::Surrogate;

/// Indices of the evaluations that no other beats in cost and accuracy together, ascending in cost. Of equals the first.
pub fn pareto_front(evaluations: &[Evaluated]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..evaluations.len()).collect();
    order.sort_by(|&a, &b| {
        let (x, y) = (&evaluations[a], &evaluations[b]);
        let by_accuracy = y.evaluation.accuracy.total_cmp(&x.evaluation.accuracy);
        x.relative_cost.total_cmp(&y.relative_cost).then(by_accuracy).then(a.cmp(&b))
    });
    let mut front: Vec<usize> = Vec::new();
    for index in order {
        let better = |&last: &usize| evaluations[index].evaluation.accuracy > evaluations[last].evaluation.accuracy;
        if front.last().is_none_or(better) {
            front.push(index);
        }
    }
    front
}

/// What one layer costs at one width.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCost {
    /// The width.
    pub width: BitWidth,
    /// Points of accuracy that the chosen network is expected to lose more (below 0: less) with this layer at this width
    /// instead of its chosen one; the surrogate's estimate from all evaluations.
    pub loss_change: f64,
    /// The same as measured, where the search evaluated exactly this change of the chosen network.
    pub measured: Option<f64>,
}

/// The explanation of one layer of the chosen network.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerExplanation {
    /// The layer's name.
    pub name: String,
    /// Every width of the action set, ascending.
    pub widths: Vec<LayerCost>,
}

/// Explains `chosen` layer by layer, from the surrogate and from evaluations.
pub fn explain(
    problem: &Problem,
    surrogate: &Surrogate,
    evaluations: &[Evaluated],
    chosen: &[BitWidth],
) -> Vec<LayerExplanation> {
    let Some(actions) = problem.actions(chosen) else { return Vec::new() };
    let expected = |actions: &[usize]| surrogate.loss_of(surrogate.mean(actions)).clamp(-100.0, 100.0);
    let known = |widths: &[BitWidth]| evaluations.iter().find(|e| e.widths == widths).map(|e| e.loss);
    let (now, measured_now) = (expected(&actions), known(chosen));
    let layer_cost = |layer: usize, action: usize| {
        let mut changed = actions.clone();
        changed[layer] = action;
        let measured = known(&problem.chosen(&changed)).zip(measured_now).map(|(loss, now)| loss - now);
        LayerCost { width: problem.widths[action], loss_change: expected(&changed) - now, measured }
    };
    let explanation = |layer: usize| LayerExplanation {
        name: problem.layers[layer].name.clone(),
        widths: (0..problem.widths.len()).map(|action| layer_cost(layer, action)).collect(),
    };
    (0..problem.depth()).map(explanation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::environment::Evaluation;
    use crate::search::ledger::Origin;

    fn entry(relative_cost: f64, accuracy: f64) -> Evaluated {
        Evaluated {
            widths: vec![BitWidth::MAX],
            evaluation: Evaluation { accuracy, samples: 0, standard_error: None, cached: false },
            loss: 0.0,
            relative_cost,
            reward: 0.0,
            believed_loss: 0.0,
            standing: 0.0,
            accepted: true,
            origin: Origin::Random,
        }
    }

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let points = [(1.0, 0.9), (0.5, 0.9), (0.4, 0.8), (0.6, 0.95), (0.4, 0.7), (0.5, 0.9)];
        let entries: Vec<Evaluated> = points.iter().map(|&(c, a)| entry(c, a)).collect();
        assert_eq!(pareto_front(&entries), vec![2, 1, 3]);
        assert!(pareto_front(&[]).is_empty());
    }
}
