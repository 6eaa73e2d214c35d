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
}

/// How accuracy and cost are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reward {
    /// The paper's shaped reward.
    Paper(PaperReward),
    /// Cheaper is better inside a loss limit, worse with every point outside.
    Constrained(ConstrainedReward),
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

    /// The reward of an outcome; larger is better, at most 1.
    pub fn value(&self, outcome: &Outcome) -> f64 {
        match self {
            Reward::Paper(reward) => reward.value(outcome),
            Reward::Constrained(reward) => reward.value(outcome),
        }
    }

    /// Whether the outcome keeps the limit; the paper's reward has none.
    pub fn accepts(&self, outcome: &Outcome) -> bool {
        match self {
            Reward::Paper(_) => true,
            Reward::Constrained(reward) => reward.excess(outcome) <= 0.0,
        }
    }

    /// The loss, in points, at which this reward begins to change its mind; the surrogate resolves losses of this size.
    pub fn loss_scale(&self) -> f64 {
        match self {
            Reward::Paper(_) => PAPER_LOSS_SCALE,
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
    /// Points beyond the (shortened) limit; 0 or less inside.
    fn excess(&self, outcome: &Outcome) -> f64 {
        let margin = (self.caution * outcome.noise).min(self.max_loss / 2.0);
        // Losses are differences of two rounded ratios: a loss of exactly the limit must not miss it by the last bit.
        outcome.loss + margin - self.max_loss - 1e-9
    }

    fn value(&self, outcome: &Outcome) -> f64 {
        let excess = self.excess(outcome);
        if excess <= 0.0 { 1.0 - outcome.relative_cost } else { -excess / (excess + HALF_PENALTY) }
    }
}
