//! What choices may cost at most: budgets that are known before anything is evaluated.

use super::cost::CostModel;
use super::environment::Problem;
use super::prior::DamagePrior;
use releqc_runtime::BitWidth;

/// A cost that a choice must not exceed: `base + sum over layers <= limit`, in the unit of the table.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// The cost of every layer at every width.
    pub cost: CostModel,
    /// What does not depend on widths.
    pub base: f64,
    /// The most that is allowed, above 0.
    pub limit: f64,
}

impl Constraint {
    /// The whole cost of a choice.
    pub fn value(&self, widths: &[BitWidth]) -> f64 {
        self.base + self.cost.absolute(widths)
    }

    /// The part of the limit by which a choice exceeds it; 0 inside.
    pub fn excess(&self, widths: &[BitWidth]) -> f64 {
        (self.value(widths) / self.limit - 1.0 - ROUNDING).max(0.0)
    }
}

/// Part of a limit that sums of costs may be off by.
const ROUNDING: f64 = 1e-12;

/// The largest excess over any of the constraints; 0 where all are kept.
pub fn excess(constraints: &[Constraint], widths: &[BitWidth]) -> f64 {
    constraints.iter().map(|constraint| constraint.excess(widths)).fold(0.0, f64::max)
}

/// The choice, narrowed until it keeps the constraints: step by step the layer whose damage grows least for what it saves of the
/// most exceeded constraint. Where no step saves anything it ends outside.
pub fn narrowed(
    problem: &Problem,
    constraints: &[Constraint],
    prior: &DamagePrior,
    mut actions: Vec<usize>,
) -> Vec<usize> {
    while let Some(worst) = worst(constraints, &problem.chosen(&actions)) {
        let step = |layer: usize| {
            let now = actions[layer];
            let cost = |action: usize| worst.cost.of_layer(layer, problem.widths[action]);
            let narrower = (0..now).rev().find(|&action| cost(action) < cost(now))?;
            let damage = (prior.damage[layer][narrower] - prior.damage[layer][now]).max(0.0);
            Some((damage / (cost(now) - cost(narrower)), layer, narrower))
        };
        let steps = (0..problem.depth()).filter_map(step);
        let Some((_, layer, narrower)) = steps.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) else { break };
        actions[layer] = narrower;
    }
    actions
}

fn worst<'c>(constraints: &'c [Constraint], widths: &[BitWidth]) -> Option<&'c Constraint> {
    let exceeded = constraints.iter().map(|constraint| (constraint.excess(widths), constraint));
    exceeded.filter(|(excess, _)| *excess > 0.0).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, constraint)| constraint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::environment::Environment;
    use crate::search::tests::Additive;

    #[test]
    fn a_narrowed_choice_keeps_every_constraint_and_a_choice_inside_stays() {
        let network = Additive::new(6, 4);
        let problem = Problem::of(&network).expect("valid");
        let prior = DamagePrior::new(&problem, None).expect("valid");
        let mean = Constraint { cost: CostModel::mean(6), base: 0.0, limit: 3.0 };
        let size = CostModel::size(network.layers());
        let limit = 100.0 + 0.4 * size.absolute(&problem.widest());
        let constraints = [mean, Constraint { cost: size, base: 100.0, limit }];
        let narrow = narrowed(&problem, &constraints, &prior, vec![6; 6]);
        assert_eq!(excess(&constraints, &problem.chosen(&narrow)), 0.0);
        assert!(excess(&constraints, &problem.widest()) > 0.0);
        assert_eq!(narrowed(&problem, &constraints, &prior, vec![0, 1, 0, 1, 0, 0]), [0, 1, 0, 1, 0, 0]);
        let unreachable = [Constraint { cost: CostModel::mean(6), base: 0.0, limit: 1.0 }];
        assert_eq!(narrowed(&problem, &unreachable, &prior, vec![6; 6]), [0; 6], "as near as one gets");
    }
}
