//! A model of the accuracy loss over everything evaluated, to judge choices before paying for them.
//!
//! Gaussian process regression (Rasmussen and Williams, 2006, chapters 2 and 5) on `y = asinh(loss / scale)`: linear where
//! losses are small, logarithmic where they are large. The prior of a choice `w` is
//!
//! `y(w) = c0 + c1 ln(1 + D(w) / D0) + sum_l B_l(u_l) + I(u) + noise`
//!
//! with `D` the total damage of [`DamagePrior`], `D0` the damage at the knee (the uniform width at which losses begin),
//! `u_l = (damage of layer l)^kappa`, `B_l` a Brownian motion in `u_l` (how layer l deviates from its prior: not at all when
//! unquantized, ever more as the width falls) and `I` a stationary process with an exponential kernel (interactions).
//! Knee, kappa and the four variances are not fitted but sampled: a few Markov chains walk through their posterior, one step
//! per evaluation and more while evaluations are few, and every prediction is the mixture of the chains. A fitted model would be
//! sure of itself when it has seen three points.

use super::prior::DamagePrior;
use super::random::Draws;
use crate::random::Purpose;

/// Number of chains, which is the number of models in the mixture.
const CHAINS: usize = 6;

/// Metropolis steps per chain when an observation arrives, times a factor that falls with the observations.
const STEPS: usize = 4;

/// Step of a chain, in standard deviations of the prior of each hyperparameter.
const STEP: f64 = 0.5;

/// Prior of the hyperparameters: mean and standard deviation of a normal. All but the knee are logarithms; the knee is in bits.
const PRIOR: [(f64, f64); 6] = [
    (3.5, 1.2),  // knee: losses begin about where most networks lose accuracy, 2 to 6 bits
    (-0.7, 0.4), // ln kappa: u falls with 4^(-kappa * bits), kappa about a half
    (0.0, 1.2),  // ln variance of the deviations of all layers together at the smallest width
    (-1.0, 1.2), // ln variance of the interactions
    (0.7, 0.8),  // ln length of the interactions, in units of u summed over layers
    (-2.5, 1.0), // ln variance of the noise
];

/// Prior variance of `c0`: the loss without quantization is near 0.
const OFFSET_VARIANCE: f64 = 0.1;

/// Prior mean and variance of `c1`: a loss in proportion to the damage has slope 1.
const SLOPE: (f64, f64) = (1.0, 0.5);

/// One evaluated choice.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Indices into the action set.
    pub actions: Vec<usize>,
    /// Accuracy lost, in points.
    pub loss: f64,
    /// Standard error of the loss, in points.
    pub noise: f64,
}

/// Normal belief about `y` of one choice, by one chain.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    /// Mean of `y`.
    pub mean: f64,
    /// Standard deviation of a measurement of `y`, noise included.
    pub deviation: f64,
}

/// The mixture of Gaussian processes.
#[derive(Clone, Debug)]
pub struct Surrogate {
    prior: DamagePrior,
    bits: Vec<f64>,
    scale: f64,
    observations: Vec<Observation>,
    chains: Vec<Chain>,
    draws: Draws,
}

#[derive(Clone, Debug)]
struct Chain {
    hyper: [f64; 6],
    fit: Fit,
}

/// A Gaussian process with everything its predictions need.
#[derive(Clone, Debug)]
struct Fit {
    /// `u[layer * actions + action]`
    u: Vec<f64>,
    /// `D0`
    knee: f64,
    kernel: Kernel,
    noise: f64,
    /// Rows of the lower Cholesky factor, packed.
    factor: Vec<f64>,
    /// `K^-1 (y - mean)`
    weights: Vec<f64>,
    /// `ln(1 + D / D0)` of every observation.
    features: Vec<f64>,
    log_posterior: f64,
}

#[derive(Clone, Copy, Debug)]
struct Kernel {
    deviation: f64,
    interaction: f64,
    length: f64,
}

impl Surrogate {
    /// A model before any observation. `bits` are the widths of the action set, `scale` the loss in points that must be resolved.
    pub fn new(prior: DamagePrior, bits: &[u8], scale: f64, seed: u64) -> Self {
        let bits: Vec<f64> = bits.iter().map(|&b| f64::from(b)).collect();
        let mut model = Surrogate {
            prior,
            bits,
            scale,
            observations: Vec::new(),
            chains: Vec::new(),
            draws: Draws::new(seed, Purpose::Surrogate),
        };
        for _ in 0..CHAINS {
            let hyper = std::array::from_fn(|i| PRIOR[i].0 + PRIOR[i].1 * model.draws.normal());
            if let Some(fit) = model.fit(&hyper) {
                model.chains.push(Chain { hyper, fit });
            }
        }
        model
    }

    /// What is believed of layers before any observation.
    pub fn prior(&self) -> &DamagePrior {
        &self.prior
    }

    /// Takes one more observation into account.
    pub fn observe(&mut self, observation: Observation) {
        self.observe_all([observation]);
    }

    /// Takes further observations into account at once.
    pub fn observe_all(&mut self, observations: impl IntoIterator<Item = Observation>) {
        self.observations.extend(observations);
        let seen = self.observations.len();
        let steps = STEPS * (1 + 24 / seen).min(4);
        let mut chains = std::mem::take(&mut self.chains);
        for chain in &mut chains {
            if let Some(fit) = self.fit(&chain.hyper) {
                chain.fit = fit;
            } else {
                chain.fit.log_posterior = f64::NEG_INFINITY;
            }
            for _ in 0..steps {
                let mut hyper = chain.hyper;
                for (value, (_, spread)) in hyper.iter_mut().zip(PRIOR) {
                    *value += STEP * spread * self.draws.normal() * f64::from(self.draws.unit() < 0.5);
                }
                let accept = self.draws.unit().ln();
                if let Some(fit) = self.fit(&hyper)
                    && fit.log_posterior - chain.fit.log_posterior > accept
                {
                    *chain = Chain { hyper, fit };
                }
            }
        }
        self.chains = chains;
    }

    /// The model that it would be if each of `pending` turned out as the mean expects, one after the other (the kriging believer of
    /// Ginsbourger, Le Riche and Carraro, 2010). The hyperparameters stay, no random number is drawn.
    #[must_use]
    pub fn believing(&self, pending: &[Vec<usize>]) -> Self {
        let mut model = self.clone();
        for actions in pending {
            let loss = model.loss_of(model.mean(actions));
            model.observations.push(Observation { actions: actions.clone(), loss, noise: 0.0 });
            let fits: Option<Vec<Fit>> = model.chains.iter().map(|chain| model.fit(&chain.hyper)).collect();
            match fits {
                Some(fits) => model.chains.iter_mut().zip(fits).for_each(|(chain, fit)| chain.fit = fit),
                // What a chain cannot hold beside the others is as good as one of them.
                None => drop(model.observations.pop()),
            }
        }
        model
    }

    /// What was observed, in order.
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// Number of observations.
    pub fn len(&self) -> usize {
        self.observations.len()
    }

    /// Whether nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.observations.is_empty()
    }

    /// One belief per chain; equal weights.
    pub fn beliefs(&self, actions: &[usize]) -> Vec<Belief> {
        let damage = self.prior.total(actions);
        let mut row = vec![0.0; self.observations.len()];
        self.chains.iter().map(|chain| self.belief(&chain.fit, actions, damage, &mut row)).collect()
    }

    /// Expected `y` over the mixture; cheaper than [`beliefs`](Self::beliefs).
    pub fn mean(&self, actions: &[usize]) -> f64 {
        let damage = self.prior.total(actions);
        let sum: f64 = self
            .chains
            .iter()
            .map(|chain| {
                let fit = &chain.fit;
                let feature = (damage / fit.knee).ln_1p();
                let known = self.observations.iter().zip(&fit.features).zip(&fit.weights);
                let shift: f64 = known.map(|((o, f), w)| w * fit.covariance(&o.actions, *f, actions, feature)).sum();
                SLOPE.0 * feature + shift
            })
            .sum();
        sum / self.chains.len().max(1) as f64
    }

    /// The loss in points that a value of `y` stands for.
    pub fn loss_of(&self, y: f64) -> f64 {
        self.scale * y.sinh()
    }

    /// The value of `y` that a loss in points stands for.
    pub fn y_of(&self, loss: f64) -> f64 {
        (loss / self.scale).asinh()
    }

    /// What every observed loss probably was without the noise of its measurement, in points, in the order of observation:
    /// the measured `y` less the part of its surprise that the measurement is to blame for. A loss without noise is returned
    /// as it was.
    pub fn believed_losses(&self) -> Vec<f64> {
        let blame =
            |i: usize| self.chains.iter().map(|c| c.fit.weights[i]).sum::<f64>() / self.chains.len().max(1) as f64;
        let believed = |(i, observation): (usize, &Observation)| {
            if observation.noise <= 0.0 {
                return observation.loss;
            }
            self.loss_of(self.y_of(observation.loss) - self.measurement_variance(observation) * blame(i))
        };
        self.observations.iter().enumerate().map(believed).collect()
    }

    fn belief(&self, fit: &Fit, actions: &[usize], damage: f64, row: &mut [f64]) -> Belief {
        let feature = (damage / fit.knee).ln_1p();
        let mut mean = SLOPE.0 * feature;
        let mut explained = 0.0;
        for (i, observation) in self.observations.iter().enumerate() {
            let covariance = fit.covariance(&observation.actions, fit.features[i], actions, feature);
            mean += covariance * fit.weights[i];
            let start = i * (i + 1) / 2;
            let known = dot(&fit.factor[start..start + i], &row[..i]);
            row[i] = (covariance - known) / fit.factor[start + i];
            explained += row[i] * row[i];
        }
        let variance = fit.covariance(actions, feature, actions, feature) - explained;
        Belief { mean, deviation: (variance.max(0.0) + fit.noise).sqrt() }
    }

    /// The Gaussian process with these hyperparameters; `None` when the covariance is not positive definite.
    fn fit(&self, hyper: &[f64; 6]) -> Option<Fit> {
        let kappa = hyper[1].exp();
        let most = self.prior.damage.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let layers = self.prior.damage.len() as f64;
        let u: Vec<f64> = self.prior.damage.iter().flatten().map(|d| (d / most).powf(kappa)).collect();
        let kernel =
            Kernel { deviation: hyper[2].exp() / layers.sqrt(), interaction: hyper[3].exp(), length: hyper[4].exp() };
        let mut fit = Fit {
            u,
            knee: self.damage_of_uniform(hyper[0]),
            kernel,
            noise: hyper[5].exp(),
            factor: Vec::new(),
            weights: Vec::new(),
            features: Vec::new(),
            log_posterior: 0.0,
        };
        let seen = &self.observations;
        fit.features = seen.iter().map(|o| (self.prior.total(&o.actions) / fit.knee).ln_1p()).collect();
        fit.factor = Vec::with_capacity(seen.len() * (seen.len() + 1) / 2);
        let mut residual = Vec::with_capacity(seen.len());
        let mut log_likelihood = 0.0;
        for (i, observation) in seen.iter().enumerate() {
            let start = fit.factor.len();
            for (j, before) in seen[..=i].iter().enumerate() {
                let mut value = fit.covariance(&observation.actions, fit.features[i], &before.actions, fit.features[j]);
                if i == j {
                    value += fit.noise + self.measurement_variance(observation) + 1e-9;
                }
                let other = j * (j + 1) / 2;
                value -= dot(&fit.factor[start..start + j], &fit.factor[other..other + j]);
                if i == j {
                    if value <= 1e-12 {
                        return None;
                    }
                    fit.factor.push(value.sqrt());
                } else {
                    let pivot = fit.factor[other + j];
                    fit.factor.push(value / pivot);
                }
            }
            let pivot = fit.factor[start + i];
            let target = (observation.loss / self.scale).asinh() - SLOPE.0 * fit.features[i];
            let value = (target - dot(&fit.factor[start..start + i], &residual)) / pivot;
            log_likelihood -= 0.5 * value * value + pivot.ln();
            residual.push(value);
        }
        fit.weights = residual;
        for i in (0..seen.len()).rev() {
            let start = i * (i + 1) / 2;
            let value = fit.weights[i] / fit.factor[start + i];
            fit.weights[i] = value;
            for j in 0..i {
                fit.weights[j] -= fit.factor[start + j] * value;
            }
        }
        let log_prior: f64 = hyper.iter().zip(PRIOR).map(|(h, (mean, sd))| -0.5 * ((h - mean) / sd).powi(2)).sum();
        fit.log_posterior = log_likelihood + log_prior;
        fit.log_posterior.is_finite().then_some(fit)
    }

    fn measurement_variance(&self, observation: &Observation) -> f64 {
        let stretched = observation.loss / self.scale;
        (observation.noise / self.scale).powi(2) / (1.0 + stretched * stretched)
    }

    /// Total damage with every layer at `bits`, between two widths interpolated and beyond the set extrapolated in the logarithm.
    fn damage_of_uniform(&self, bits: f64) -> f64 {
        let at = |action: usize| self.prior.damage.iter().map(|row| row[action]).sum::<f64>().ln();
        let high = self.bits.iter().position(|&b| b >= bits).unwrap_or(self.bits.len() - 1).max(1);
        let (low_bits, high_bits) = (self.bits[high - 1], self.bits[high]);
        let share = (bits - low_bits) / (high_bits - low_bits);
        (at(high - 1) + share * (at(high) - at(high - 1))).exp()
    }
}

impl Fit {
    fn covariance(&self, a: &[usize], feature_a: f64, b: &[usize], feature_b: f64) -> f64 {
        let actions = self.u.len() / a.len();
        let (mut common, mut apart) = (0.0, 0.0);
        for (layer, (&i, &j)) in a.iter().zip(b).enumerate() {
            let (x, y) = (self.u[layer * actions + i], self.u[layer * actions + j]);
            common += x.min(y);
            apart += (x - y).abs();
        }
        OFFSET_VARIANCE
            + SLOPE.1 * feature_a * feature_b
            + self.kernel.deviation * common
            + self.kernel.interaction * (-apart / self.kernel.length).exp()
    }
}

/// Sum of products in four fixed lanes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (mut a4, mut b4) = (a.chunks_exact(4), b.chunks_exact(4));
    for (x, y) in a4.by_ref().zip(b4.by_ref()) {
        for lane in 0..4 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(x, y)| x * y).sum();
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::environment::{Environment, Problem};
    use crate::search::tests::Additive;

    fn fitted(depth: usize, seen: usize, noise: f64) -> (Surrogate, Additive, Vec<Vec<usize>>) {
        let network = Additive::new(depth, 3);
        let problem = Problem::of(&network).expect("valid");
        let prior = DamagePrior::new(&problem, None).expect("valid");
        let bits: Vec<u8> = network.widths().iter().map(|w| w.bits()).collect();
        let mut model = Surrogate::new(prior, &bits, 0.3, 7);
        let mut draws = Draws::new(11, Purpose::Surrogate);
        let mut choices = Vec::new();
        for _ in 0..seen {
            let actions: Vec<usize> = (0..depth).map(|_| draws.below(bits.len())).collect();
            let loss = network.loss(&problem.chosen(&actions));
            model.observe(Observation { actions: actions.clone(), loss, noise });
            choices.push(actions);
        }
        (model, network, choices)
    }

    #[test]
    fn forecasts_what_it_has_not_seen() {
        let (model, network, _) = fitted(6, 60, 0.0);
        let problem = Problem::of(&network).expect("valid");
        let mut draws = Draws::new(99, Purpose::Surrogate);
        let (mut error, mut spread, mut inside) = (0.0, 0.0, 0.0);
        let count = 50;
        for _ in 0..count {
            let actions: Vec<usize> = (0..6).map(|_| draws.below(problem.widths.len())).collect();
            let truth = model.y_of(network.loss(&problem.chosen(&actions)));
            let beliefs = model.beliefs(&actions);
            let mean = model.mean(&actions);
            let mixed = beliefs.iter().map(|b| b.mean).sum::<f64>() / beliefs.len() as f64;
            assert!((mean - mixed).abs() < 1e-9, "both ways to the mean agree");
            error += (mean - truth).powi(2);
            spread += truth.powi(2);
            inside += f64::from(beliefs.iter().any(|b| (b.mean - truth).abs() < 2.0 * b.deviation));
        }
        assert!(error < 0.02 * spread, "explains 98 %: {error} of {spread}");
        assert!(inside > 0.85 * f64::from(count), "{inside} of {count} inside two standard deviations");
    }

    #[test]
    fn what_is_imagined_is_expected_with_more_confidence_and_changes_nothing_else() {
        let (model, network, _) = fitted(6, 12, 0.0);
        let problem = Problem::of(&network).expect("valid");
        let pending = [vec![1; 6], vec![2, 1, 2, 1, 2, 1]];
        let imagined = model.believing(&pending);
        let deviation = |model: &Surrogate, actions: &[usize]| model.beliefs(actions)[0].deviation;
        for actions in &pending {
            assert!((imagined.mean(actions) - model.mean(actions)).abs() < 0.2, "about what was expected");
            assert!(deviation(&imagined, actions) < deviation(&model, actions), "and less doubt");
        }
        assert_eq!((imagined.len(), model.len()), (14, 12));
        let answers = |mut model: Surrogate| {
            let actions = vec![3; problem.depth()];
            let loss = network.loss(&problem.chosen(&actions));
            model.observe(Observation { actions, loss, noise: 0.0 });
            model.mean(&pending[0]).to_bits()
        };
        let untouched = answers(model.clone());
        drop(model.believing(&pending));
        assert_eq!(answers(model), untouched, "no random number was drawn");
    }

    #[test]
    fn a_measurement_without_noise_is_believed() {
        let (model, network, choices) = fitted(4, 20, 0.0);
        let problem = Problem::of(&network).expect("valid");
        for (believed, actions) in model.believed_losses().iter().zip(&choices) {
            assert_eq!(*believed, network.loss(&problem.chosen(actions)));
        }
    }

    #[test]
    fn a_lucky_measurement_is_not_believed() {
        let (mut model, network, _) = fitted(4, 30, 0.5);
        let problem = Problem::of(&network).expect("valid");
        let actions = vec![1; 4];
        let truth = network.loss(&problem.chosen(&actions));
        model.observe(Observation { actions, loss: truth - 1.0, noise: 0.5 });
        let believed = model.believed_losses()[30];
        assert!(believed > truth - 0.9, "truth {truth}, measured {}, believed {believed}", truth - 1.0);
    }
}
