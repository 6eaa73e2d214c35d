//! The integer programme that tools without a search solve: least total damage at a total cost, both sums over layers (HAWQ-V3, Yao et al.,
//! arXiv 2011.10680).
//!
//! Solved for every cost at once by dynamic programming over layers: the front of partial choices that no other beats in cost and
//! damage together (Nemhauser and Ullmann, 1969). It is exact while a front has at most [`MOST_POINTS`] points; beyond, costs are
//! rounded up to as many steps of the largest total, so a choice never costs more than it is said to.

use super::cost::CostModel;
use super::environment::Problem;
use super::prior::DamagePrior;

/// Points of a front, at most.
const MOST_POINTS: usize = 1 << 14;

/// A choice that no other beats in cost and damage together.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Indices into the action set.
    pub actions: Vec<usize>,
    /// Sum of the layers' costs, rounded up where the front is not exact.
    pub cost: f64,
    /// Sum of the layers' damages.
    pub damage: f64,
}

/// One partial choice: its last action, and the partial choice of the layers before.
#[derive(Clone, Copy)]
struct Point {
    cost: f64,
    damage: f64,
    action: usize,
    before: usize,
}

/// The whole front, cheapest first. `cost` is of the problem's layers.
pub fn front(problem: &Problem, cost: &CostModel, prior: &DamagePrior) -> Vec<Solution> {
    let step = cost.absolute(&problem.widest()).max(f64::MIN_POSITIVE) / MOST_POINTS as f64;
    let mut fronts: Vec<Vec<Point>> = vec![vec![Point { cost: 0.0, damage: 0.0, action: 0, before: 0 }]];
    for layer in 0..problem.depth() {
        let last = fronts.last().map(Vec::as_slice).unwrap_or_default();
        let mut points = Vec::with_capacity(last.len() * problem.widths.len());
        for (before, point) in last.iter().enumerate() {
            for (action, &width) in problem.widths.iter().enumerate() {
                let cost = point.cost + cost.of_layer(layer, width);
                let damage = point.damage + prior.damage[layer][action];
                points.push(Point { cost, damage, action, before });
            }
        }
        let mut front = undominated(points);
        if front.len() > MOST_POINTS {
            front.iter_mut().for_each(|point| point.cost = (point.cost / step).ceil() * step);
            front = undominated(front);
        }
        fronts.push(front);
    }
    let last = fronts.last().map(Vec::as_slice).unwrap_or_default();
    let solution = |end: &Point| {
        let mut actions = Vec::with_capacity(problem.depth());
        let mut point = *end;
        for front in fronts[..problem.depth()].iter().rev() {
            actions.push(point.action);
            point = front[point.before];
        }
        actions.reverse();
        Solution { actions, cost: end.cost, damage: end.damage }
    };
    last.iter().map(solution).collect()
}

/// Those that no other beats, ascending in cost; of equals the first.
fn undominated(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.damage.total_cmp(&b.damage)));
    let mut least = f64::INFINITY;
    points.retain(|point| {
        let better = point.damage < least;
        least = least.min(point.damage);
        better
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::SensitivityProfile;
    use crate::search::random::Draws;
    use crate::search::tests::Additive;

    #[test]
    fn the_front_is_what_trying_every_choice_finds() {
        for seed in 0..5 {
            let problem = Problem::of(&Additive::new(4, seed)).expect("valid");
            let mut draws = Draws::new(seed, crate::random::Purpose::Agent);
            let drops = (0..4).map(|_| (0..7).map(|_| draws.unit()).collect()).collect();
            let prior = DamagePrior::new(&problem, Some(&SensitivityProfile { drops })).expect("valid");
            let rows: Vec<Vec<f64>> = (0..4).map(|_| (0..7).map(|_| 0.1 + draws.unit()).collect()).collect();
            let cost = CostModel::measured("drawn", &rows).expect("valid");
            let mut all: Vec<(f64, f64)> = (0..7usize.pow(4))
                .map(|number| {
                    let actions: Vec<usize> = (0..4).map(|layer| number / 7usize.pow(layer) % 7).collect();
                    (cost.absolute(&problem.chosen(&actions)), prior.total(&actions))
                })
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let mut least = f64::INFINITY;
            all.retain(|(_, damage)| {
                let better = *damage < least - 1e-9;
                least = least.min(*damage);
                better
            });
            let front = front(&problem, &cost, &prior);
            for (cost_wanted, damage_wanted) in all {
                let inside = front.iter().rev().find(|solution| solution.cost <= cost_wanted + 1e-9);
                let found = inside.expect("a solution inside every cost of the front");
                assert!(found.damage <= damage_wanted + 1e-9, "seed {seed}: {found:?}, {damage_wanted} is possible");
            }
            for solution in &front {
                assert!((cost.absolute(&problem.chosen(&solution.actions)) - solution.cost).abs() < 1e-9);
                assert!((prior.total(&solution.actions) - solution.damage).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn rounded_costs_are_never_below_what_a_choice_costs() {
        let problem = Problem::of(&Additive::new(12, 1)).expect("valid");
        let mut draws = Draws::new(3, crate::random::Purpose::Agent);
        let drops = (0..12).map(|_| (0..7).map(|_| draws.unit()).collect()).collect();
        let prior = DamagePrior::new(&problem, Some(&SensitivityProfile { drops })).expect("valid");
        let rows: Vec<Vec<f64>> = (0..12).map(|_| (2..9).map(|b| f64::from(b) + draws.unit()).collect()).collect();
        let cost = CostModel::measured("drawn", &rows).expect("valid");
        for solution in front(&problem, &cost, &prior) {
            assert!(cost.absolute(&problem.chosen(&solution.actions)) <= solution.cost + 1e-9);
        }
    }
}
