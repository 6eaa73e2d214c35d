//! From accuracy and cost to one number.

use super::environment::SearchError;

/// What a reward judges.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Cost over the cost at 8 bit, see [`CostModel::relative`](super::cost::CostModel::relative).
    pub relative_cost: f64,
    /// Accuracy lost against the reference, in points; below 0 when accuracy was gained.
    pub loss: f64,
    /// The reference accuracy, 0..=1.
    pub reference: f64,
    /// Standard error of `loss`, in points.
    pub noise: f64,
    /// The part by which a budget is exceeded, 0 inside, see [`excess`](super::constraint::excess).
    pub excess: f64,
}

/// How accuracy and cost are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reward {
    /// The paper's shaped reward.
    Paper(PaperReward),
    /// Cheaper is better inside a loss limit, worse with every point outside.
    Constrained(ConstrainedReward),
    /// The less is lost the better; budgets say what may be spent.
    LeastLoss,
}

impl Reward {
    /// The paper's reward with its constants.
    pub fn paper() -> Self {
        Reward::Paper(PaperReward::default())
    }

    /// The reward that knows a limit of `max_loss` points.
    ///
    /// # Errors
    /// [`SearchError::Invalid`] unless `max_loss` is finite and at least 0.
    pub fn constrained(max_loss: f64) -> Result<Self, SearchError> {
        if !max_loss.is_finite() || max_loss < 0.0 {
            return Err(SearchError::invalid("max loss", max_loss.to_string(), "must be 0 points or more"));
        }
        Ok(Reward::Constrained(ConstrainedReward { max_loss, caution: CAUTION }))
    }

    /// The lowest reward of a choice that keeps the budgets.
    pub const LEAST_INSIDE: f64 = -1.0;

    /// The reward of an outcome; larger is better, at most 1. Outside a budget it is below [`LEAST_INSIDE`](Self::LEAST_INSIDE), and lower
    /// the further outside.
    pub fn value(&self, outcome: &Outcome) -> f64 {
        if outcome.excess > 0.0 {
            return Self::LEAST_INSIDE - outcome.excess;
        }
        match self {
            Reward::Paper(reward) => reward.value(outcome),
            Reward::Constrained(reward) => reward.value(outcome),
            Reward::LeastLoss => -outcome.loss / (outcome.loss.abs() + HALF_PENALTY),
        }
    }

    /// Whether the outcome keeps its budgets and the limit of its loss, where there is one.
    pub fn accepts(&self, outcome: &Outcome) -> bool {
        let is_inside = match self {
            Reward::Paper(_) | Reward::LeastLoss => true,
            Reward::Constrained(reward) => reward.excess(outcome) <= 0.0,
        };
        is_inside && outcome.excess <= 0.0
    }

    /// The largest measured loss, in points, that is accepted of a measurement with this noise; `None` without a limit.
    pub fn limit(&self, noise: f64) -> Option<f64> {
        match self {
            Reward::Paper(_) | Reward::LeastLoss => None,
            Reward::Constrained(reward) => Some(reward.max_loss - reward.margin(noise)),
        }
    }

    /// The loss, in points, at which this reward begins to change its mind; the surrogate resolves losses of this size.
    pub fn loss_scale(&self) -> f64 {
        match self {
            Reward::Paper(_) => PAPER_LOSS_SCALE,
            Reward::LeastLoss => LEAST_LOSS_RESOLVED,
            Reward::Constrained(reward) => reward.max_loss.max(LEAST_LOSS_SCALE),
        }
    }
}

/// `r = 1 - SQ^a`; `-1` where `SA < threshold`, else `r * max(SA, th)^(b / max(SA, th))`, with SQ the relative cost and
/// SA the accuracy over the reference accuracy. Constants and form: ReLeQ (arXiv 1811.01704), section on the reward, recalled;
/// with the plain mean cost they make [2, 2, 3, 2] the best row of the authors' LeNet table, which is their published answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperReward {
    /// Exponent of the cost, `a`.
    pub cost_exponent: f64,
    /// Exponent of the accuracy, `b`.
    pub accuracy_exponent: f64,
    /// Relative accuracy below which the reward is -1, `th`.
    pub threshold: f64,
}

impl Default for PaperReward {
    fn default() -> Self {
        PaperReward { cost_exponent: 0.2, accuracy_exponent: 0.4, threshold: 0.4 }
    }
}

impl PaperReward {
    fn value(&self, outcome: &Outcome) -> f64 {
        let accuracy = outcome.reference - outcome.loss / 100.0;
        let state_accuracy = accuracy / outcome.reference.max(f64::MIN_POSITIVE);
        if state_accuracy < self.threshold {
            return -1.0;
        }
        let cost = 1.0 - outcome.relative_cost.powf(self.cost_exponent);
        cost * state_accuracy.powf(self.accuracy_exponent / state_accuracy)
    }
}

/// Standard errors of the measured loss that a choice must keep clear of the limit. The search takes the cheapest of many
/// measured choices, and the luckiest of equals looks cheapest; half a standard error takes back about that much luck without
/// refusing everything on a small validation set.
const CAUTION: f64 = 0.5;

/// Points beyond the limit at which the reward of a missed limit has fallen to -1/2.
const HALF_PENALTY: f64 = 5.0;

/// The surrogate's loss scale under the paper's reward, in points: that reward turns over several points.
const PAPER_LOSS_SCALE: f64 = 2.0;

/// Limits below this, in points, are modelled as if they were this large: no validation set resolves less.
const LEAST_LOSS_SCALE: f64 = 0.1;

/// The surrogate's loss scale where the least loss is asked for, in points.
const LEAST_LOSS_RESOLVED: f64 = 0.3;

/// Inside the limit `1 - relative cost`, in 0..1. Outside `-x / (x + 5)` for `x` points beyond the limit: below every choice
/// inside, and worse with every further point. The limit is shortened by [half](Self::caution) a standard error of the
/// measurement, but never by more than half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstrainedReward {
    /// Points of accuracy that may be lost.
    pub max_loss: f64,
    /// Standard errors of the measurement to keep clear of the limit.
    pub caution: f64,
}

impl ConstrainedReward {
    /// Points by which the limit is shortened.
    fn margin(&self, noise: f64) -> f64 {
        (self.caution * noise).min(self.max_loss / 2.0)
    }

    /// Points beyond the (shortened) limit; 0 or less inside.
    fn excess(&self, outcome: &Outcome) -> f64 {
        // Losses are differences of two rounded ratios: a loss of exactly the limit must not miss it by the last bit.
        outcome.loss + self.margin(outcome.noise) - self.max_loss - 1e-9
    }

    fn value(&self, outcome: &Outcome) -> f64 {
        let excess = self.excess(outcome);
        if excess <= 0.0 { 1.0 - outcome.relative_cost } else { -excess / (excess + HALF_PENALTY) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::cost::CostModel;
    use crate::search::environment::widths_text;
    use crate::search::tests::authors_table;

    fn outcome(relative_cost: f64, loss: f64, noise: f64) -> Outcome {
        Outcome { relative_cost, loss, reference: 0.99, noise, excess: 0.0 }
    }

    fn best_row(cost: impl Fn(usize) -> CostModel) -> Option<String> {
        let table =
            authors_table("releq_lenet.csv", &[500, 25_000, 400_000, 5_000], &[288_000, 1_600_000, 400_000, 5_000])?;
        let cost = cost(table.layers.len());
        let value = |(widths, accuracy): &(Vec<releqc_runtime::BitWidth>, f64)| {
            let loss = 100.0 * (table.reference - accuracy);
            let relative_cost = cost.relative(widths);
            let reference = table.reference;
            Reward::paper().value(&Outcome { relative_cost, loss, reference, noise: 0.0, excess: 0.0 })
        };
        let rows: Vec<_> = table.rows();
        rows.iter().max_by(|a, b| value(a).total_cmp(&value(b))).map(|row| widths_text(&row.0))
    }

    #[test]
    fn paper_reward_reproduces_the_published_lenet() {
        if let Some(best) = best_row(CostModel::mean) {
            assert_eq!(best, "2,2,3,2");
        }
    }

    #[test]
    fn paper_reward_with_the_weighted_cost_prefers_another() {
        let layers =
            crate::search::tests::layers(&[500, 25_000, 400_000, 5_000], &[288_000, 1_600_000, 400_000, 5_000]);
        if let Some(best) = best_row(|_| CostModel::paper(&layers)) {
            assert_eq!(best, "3,2,2,4");
        }
    }

    #[test]
    fn inside_the_limit_only_cost_counts_and_outside_every_point_does() {
        let reward = Reward::constrained(0.3).expect("valid");
        assert_eq!(reward.value(&outcome(0.4, 0.1, 0.0)), reward.value(&outcome(0.4, -0.5, 0.0)));
        assert!(reward.value(&outcome(0.3, 0.3, 0.0)) > reward.value(&outcome(0.4, 0.0, 0.0)));
        let losses = [0.31, 0.5, 1.0, 2.0, 5.0, 20.0, 90.0];
        let outside: Vec<f64> = losses.iter().map(|&l| reward.value(&outcome(0.25, l, 0.0))).collect();
        assert!(outside[0] < reward.value(&outcome(1.0, 0.3, 0.0)), "outside is below every choice inside");
        assert!(outside.windows(2).all(|pair| pair[1] < pair[0]), "{outside:?}");
    }

    #[test]
    fn a_noisy_measurement_keeps_clear_of_the_limit() {
        let reward = Reward::constrained(0.3).expect("valid");
        assert!(reward.accepts(&outcome(0.4, 0.25, 0.0)));
        assert!(!reward.accepts(&outcome(0.4, 0.25, 0.2)));
        assert!(reward.accepts(&outcome(0.4, 0.14, 10.0)), "the margin never takes more than half of the limit");
        assert_eq!(reward.limit(0.2), Some(0.3 - 0.1));
    }

    #[test]
    fn outside_a_budget_is_below_everything_inside_under_every_reward() {
        let constrained = Reward::constrained(0.3).expect("valid");
        for reward in [constrained, Reward::paper(), Reward::LeastLoss] {
            let outside = |excess| Outcome { excess, ..outcome(0.1, -1.0, 0.0) };
            assert!(reward.value(&outside(0.01)) < reward.value(&outcome(1.0, 98.0, 0.0)), "{reward:?}");
            assert!(reward.value(&outside(0.2)) < reward.value(&outside(0.1)), "{reward:?}");
            assert!(!reward.accepts(&outside(0.01)) && reward.accepts(&outcome(0.5, 0.0, 0.0)), "{reward:?}");
        }
        assert!(Reward::LeastLoss.value(&outcome(0.9, 0.1, 0.0)) > Reward::LeastLoss.value(&outcome(0.1, 0.2, 0.0)));
    }

    #[test]
    fn a_limit_that_is_none_is_refused() {
        for bad in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(Reward::constrained(bad).is_err(), "{bad}");
        }
    }
}
