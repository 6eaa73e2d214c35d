//! What a choice promises, judged on the surrogate: expected improvement and an optimistic reward.

use super::cost::CostModel;
use super::environment::Problem;
use super::reward::{Outcome, Reward};
use super::surrogate::Surrogate;

/// Quantiles of the belief at which the reward is judged: `z` from -6 to 6 in steps of 0.25.
const NODES: i32 = 24;
const NODE_STEP: f64 = 0.25;

/// The optimistic reward averages over this lower share of the losses that the belief holds possible.
const OPTIMISM: f64 = 0.3;

/// Judges choices under one reward and cost.
#[derive(Clone, Debug)]
pub struct Judge<'a> {
    /// The network.
    pub problem: &'a Problem,
    /// The cost of widths.
    pub cost: &'a CostModel,
    /// The reward.
    pub reward: Reward,
    /// The reference accuracy, 0..=1.
    pub reference: f64,
    /// Noise of a typical measurement, in points.
    pub noise: f64,
}

/// The two figures of one choice.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Expected improvement over the incumbent's reward.
    pub improvement: f64,
    /// Mean reward over the better [`OPTIMISM`] share of the outcomes.
    pub optimistic: f64,
}

impl Judge<'_> {
    /// The reward of a loss in points at given widths.
    pub fn reward_of(&self, actions: &[usize], loss: f64, noise: f64) -> f64 {
        let relative_cost = self.cost.relative(&self.problem.chosen(actions));
        self.reward.value(&Outcome { relative_cost, loss, reference: self.reference, noise })
    }

    /// What the surrogate expects of a choice, given the best reward so far.
    pub fn promise(&self, surrogate: &Surrogate, actions: &[usize], incumbent: f64) -> Promise {
        let relative_cost = self.cost.relative(&self.problem.chosen(actions));
        let beliefs = surrogate.beliefs(actions);
        let (mut improvement, mut optimistic) = (0.0, 0.0);
        for belief in &beliefs {
            let (mut mass, mut lucky_mass, mut lucky) = (0.0, 0.0, 0.0);
            let mut gain = 0.0;
            for node in -NODES..=NODES {
                let z = f64::from(node) * NODE_STEP;
                let weight = (-0.5 * z * z).exp();
                let loss = surrogate.loss_of(belief.mean + z * belief.deviation).min(100.0 * self.reference);
                let value =
                    self.reward.value(&Outcome { relative_cost, loss, reference: self.reference, noise: self.noise });
                mass += weight;
                gain += weight * (value - incumbent).max(0.0);
                if mass <= OPTIMISM * FULL_MASS {
                    lucky_mass += weight;
                    lucky += weight * value;
                }
            }
            improvement += gain / mass;
            optimistic += lucky / lucky_mass;
        }
        let count = beliefs.len().max(1) as f64;
        Promise { improvement: improvement / count, optimistic: optimistic / count }
    }
}

/// Sum of the node weights: the integral of `exp(-z^2 / 2)` over the step.
const FULL_MASS: f64 = 2.506_628_274_631_000_2 / NODE_STEP;
