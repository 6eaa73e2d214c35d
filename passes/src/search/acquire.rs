//! What a choice promises, judged on the surrogate: expected improvement and an optimistic reward.

use super::constraint::{self, Constraint};
use super::cost::CostModel;
use super::environment::Problem;
use super::reward::{Outcome, Reward};
use super::surrogate::{Belief, Surrogate};

/// Nodes of the quadrature over a belief, in standard deviations: -4 to 4 in steps of 1/3.
const NODES: i32 = 12;
const NODE_STEP: f64 = 1.0 / 3.0;

/// Standard deviations at which the optimistic reward is taken: the 3, 9, 15, 21 and 27 % quantiles, the middles of five equal
/// parts of the better 30 % of the losses that the belief holds possible.
const LUCKY: [f64; 5] = [-1.881, -1.341, -1.036, -0.806, -0.613];

/// Judges choices under one reward and cost.
#[derive(Clone, Debug)]
pub struct Judge<'a> {
    /// The network.
    pub problem: &'a Problem,
    /// The cost of widths.
    pub cost: &'a CostModel,
    /// Budgets.
    pub constraints: &'a [Constraint],
    /// The reward.
    pub reward: Reward,
    /// The reference accuracy, 0..=1.
    pub reference: f64,
    /// Noise of a typical measurement, in points.
    pub noise: f64,
}

impl Judge<'_> {
    fn outcome(&self, relative_cost: f64, loss: f64) -> Outcome {
        let loss = loss.min(100.0 * self.reference);
        Outcome { relative_cost, loss, reference: self.reference, noise: self.noise, excess: 0.0 }
    }

    /// By how much a choice is expected to raise the reward above `incumbent` (Mockus, 1975; under a loss limit its
    /// constrained form, Gardner et al., 2014: the gain times the probability to keep the limit). In units of the reward, 0 or more.
    pub fn improvement(&self, surrogate: &Surrogate, actions: &[usize], incumbent: f64) -> f64 {
        let widths = self.problem.chosen(actions);
        if constraint::excess(self.constraints, &widths) > 0.0 {
            return 0.0;
        }
        let relative_cost = self.cost.relative(&widths);
        let best_case = self.reward.value(&Outcome {
            relative_cost,
            loss: -100.0 * (1.0 - self.reference),
            reference: self.reference,
            noise: 0.0,
            excess: 0.0,
        });
        if best_case <= incumbent {
            return 0.0;
        }
        let beliefs = surrogate.beliefs(actions);
        let sum: f64 = match self.reward.limit(self.noise) {
            Some(limit) => {
                let bound = surrogate.y_of(limit);
                let gain = best_case - incumbent.max(0.0);
                beliefs.iter().map(|b| gain * normal_below((bound - b.mean) / b.deviation)).sum()
            }
            None => beliefs.iter().map(|belief| self.mean_gain(surrogate, belief, relative_cost, incumbent)).sum(),
        };
        sum / beliefs.len().max(1) as f64
    }

    fn mean_gain(&self, surrogate: &Surrogate, belief: &Belief, relative_cost: f64, incumbent: f64) -> f64 {
        let (mut gain, mut mass) = (0.0, 0.0);
        for node in -NODES..=NODES {
            let z = f64::from(node) * NODE_STEP;
            let weight = (-0.5 * z * z).exp();
            let loss = surrogate.loss_of(belief.mean + z * belief.deviation);
            gain += weight * (self.reward.value(&self.outcome(relative_cost, loss)) - incumbent).max(0.0);
            mass += weight;
        }
        gain / mass
    }

    /// The reward if the loss is the expected one.
    pub fn expected(&self, surrogate: &Surrogate, actions: &[usize]) -> f64 {
        let widths = self.problem.chosen(actions);
        let loss = surrogate.loss_of(surrogate.mean(actions));
        let excess = constraint::excess(self.constraints, &widths);
        self.reward.value(&Outcome { excess, ..self.outcome(self.cost.relative(&widths), loss) })
    }

    /// Mean reward over the luckier 30 % of the losses that the surrogate holds possible.
    pub fn optimistic(&self, surrogate: &Surrogate, actions: &[usize]) -> f64 {
        let widths = self.problem.chosen(actions);
        let excess = constraint::excess(self.constraints, &widths);
        if excess > 0.0 {
            return self.reward.value(&Outcome { excess, ..self.outcome(0.0, 0.0) });
        }
        let relative_cost = self.cost.relative(&widths);
        let beliefs = surrogate.beliefs(actions);
        let of = |belief: &Belief| -> f64 {
            let loss = |z: f64| surrogate.loss_of(belief.mean + z * belief.deviation);
            LUCKY.iter().map(|&z| self.reward.value(&self.outcome(relative_cost, loss(z)))).sum()
        };
        beliefs.iter().map(of).sum::<f64>() / (beliefs.len() * LUCKY.len()).max(1) as f64
    }
}

/// Probability that a standard normal lies below `z`, with a relative error below 1.2e-7 also far in the tail (Numerical
/// Recipes in C, 2nd edition, section 6.2, `erfcc`).
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let terms = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let exponent = terms.iter().fold(0.0, |sum, term| sum * t + term) - x * x;
    let tail = 0.5 * t * exponent.exp();
    if z <= 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::normal_below;

    #[test]
    fn normal_distribution_agrees_with_tables() {
        let known = [
            (0.0, 0.5),
            (-1.0, 0.158_655_254),
            (1.0, 0.841_344_746),
            (-3.0, 1.349_898_03e-3),
            (-8.0, 6.220_960_57e-16),
        ];
        for (z, p) in known {
            assert!((normal_below(z) / p - 1.0).abs() < 2e-7, "{z}: {}", normal_below(z));
        }
    }
}
