//! Proximal policy optimization (Schulman et al., 2017, arXiv 1707.06347) with generalized advantages (Schulman et al.,
//! 2016, arXiv 1506.02438) for episodes of one step a layer, rewarded after the last layer.

use std::sync::Arc;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};

use super::environment::SearchError;
use super::policy::Policy;
use super::random::Draws;
use super::state::FEATURES;
use crate::random::Purpose;

/// The constants of the learner, the paper's value and source beside each.
pub mod constants {
    /// Bound of the probability ratio. Paper: 0.1 (recalled), released code 0.3. Here between the two.
    pub const CLIP: f64 = 0.2;
    /// Adam step. Paper: 1e-4 over 700 to 2500 episodes. Here larger: the updates of a search are tens to hundreds.
    pub const LEARNING_RATE: f64 = 2e-3;
    /// Adam epsilon. Paper: 1e-5 (confirmed in the code).
    pub const ADAM_EPSILON: f32 = 1e-5;
    /// Discount. Released code: 0.9 to 1.0. 1: an episode visits every layer once, and only its end is rewarded.
    pub const DISCOUNT: f64 = 1.0;
    /// Generalized advantage parameter. Paper: 0.99 (recalled).
    pub const LAMBDA: f64 = 0.99;
    /// Passes over a batch. Paper: 3 (recalled).
    pub const EPOCHS: usize = 3;
    /// Weight of the value loss. Paper: 1 (confirmed in the code).
    pub const VALUE_WEIGHT: f64 = 1.0;
    /// Weight of the entropy. Paper: 0.01 (confirmed in the code).
    pub const ENTROPY_WEIGHT: f64 = 0.01;
    /// Bound of the gradient norm of each parameter tensor. The released code's PPO library clips at 0.5 (recalled).
    pub const GRADIENT_NORM: f32 = 0.5;
}
use constants::*;

/// One visit to all layers.
#[derive(Clone, Debug)]
pub struct Episode {
    /// `[layers][FEATURES]`, the states seen.
    pub states: Vec<[f32; FEATURES]>,
    /// The actions taken.
    pub actions: Vec<usize>,
    /// Logarithm of each action's probability when it was taken.
    pub log_probabilities: Vec<f32>,
    /// The value network's forecast of the reward in each state.
    pub values: Vec<f32>,
    /// The reward after the last layer.
    pub reward: f64,
    /// Whether the actions were replayed instead of drawn. A replayed episode may only attract, as in self-imitation
    /// (Oh et al., 2018, arXiv 1806.05635): its negative advantages count as 0.
    pub replayed: bool,
}

/// The network, its optimizer and its draws.
pub struct Learner {
    policy: Policy,
    optimizer: ModuleOptimizer,
    draws: Draws,
    device: Device,
    actions: usize,
    /// One thread: the products are too small to share, and their sums cannot depend on the number of threads.
    thread: Arc<rayon::ThreadPool>,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("actions", &self.actions).finish_non_exhaustive()
    }
}

impl Learner {
    /// A fresh network for `actions` widths; everything follows from `seed`.
    ///
    /// # Errors
    /// [`SearchError::Invalid`] when the system gives no thread to it.
    pub fn new(actions: usize, seed: u64) -> Result<Self, SearchError> {
        let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let thread = thread.map_err(|e| SearchError::invalid("agent's thread", e.to_string(), "must be available"))?;
        let device = Device::flex().autodiff();
        let mut draws = Draws::new(seed, Purpose::Policy);
        let policy = Policy::new(actions, &mut draws, &device);
        let optimizer = AdamConfig::new()
            .with_epsilon(ADAM_EPSILON)
            .with_grad_clipping(Some(burn::grad_clipping::GradientClippingConfig::Norm(GRADIENT_NORM)))
            .init();
        Ok(Learner { policy, optimizer, draws, device, actions, thread: Arc::new(thread) })
    }

    /// Plays one episode for each entry of `forced`: its actions where given, else drawn from the policy.
    ///
    /// `state(episode, actions so far)` gives the next state. Rewards are left 0.
    pub fn play(
        &mut self,
        layers: usize,
        forced: &[Option<Vec<usize>>],
        state: impl FnMut(usize, &[usize]) -> [f32; FEATURES] + Send,
    ) -> Vec<Episode> {
        let thread = Arc::clone(&self.thread);
        thread.install(|| self.play_here(layers, forced, state))
    }

    fn play_here(
        &mut self,
        layers: usize,
        forced: &[Option<Vec<usize>>],
        mut state: impl FnMut(usize, &[usize]) -> [f32; FEATURES],
    ) -> Vec<Episode> {
        let policy = self.policy.valid();
        let device = self.device.clone().inner();
        let batch = forced.len();
        let mut memory = policy.start(batch, &device);
        let mut episodes: Vec<Episode> = forced
            .iter()
            .map(|forced| Episode {
                states: Vec::with_capacity(layers),
                actions: Vec::with_capacity(layers),
                log_probabilities: Vec::with_capacity(layers),
                values: Vec::with_capacity(layers),
                reward: 0.0,
                replayed: forced.is_some(),
            })
            .collect();
        for layer in 0..layers {
            let mut rows = Vec::with_capacity(batch * FEATURES);
            for (index, episode) in episodes.iter_mut().enumerate() {
                let seen = state(index, &episode.actions);
                rows.extend_from_slice(&seen);
                episode.states.push(seen);
            }
            let states = Tensor::<2>::from_data(TensorData::new(rows, [batch, FEATURES]), &device);
            let (probabilities, values, next) = policy.step(states, memory);
            memory = next;
            let probabilities = floats(probabilities.into_data());
            let values = floats(values.into_data());
            for (index, episode) in episodes.iter_mut().enumerate() {
                let row = &probabilities[index * self.actions..(index + 1) * self.actions];
                let action = forced[index].as_ref().map_or_else(|| self.draws.pick(row), |given| given[layer]);
                episode.actions.push(action);
                episode.log_probabilities.push(row[action].max(f32::MIN_POSITIVE).ln());
                episode.values.push(values[index]);
            }
        }
        episodes
    }

    /// One PPO update on a batch of episodes of equal length.
    pub fn learn(&mut self, episodes: &[Episode]) {
        let thread = Arc::clone(&self.thread);
        thread.install(|| self.learn_here(episodes));
    }

    fn learn_here(&mut self, episodes: &[Episode]) {
        let Some(first) = episodes.first() else { return };
        let (layers, batch) = (first.actions.len(), episodes.len());
        let steps = layers * batch;
        let targets = Targets::of(episodes);
        let mut states = Vec::with_capacity(steps * FEATURES);
        let mut taken = vec![0.0f32; steps * self.actions];
        let (mut old, mut advantages, mut returns) = (Vec::new(), Vec::new(), Vec::new());
        for layer in 0..layers {
            for (index, episode) in episodes.iter().enumerate() {
                states.extend_from_slice(&episode.states[layer]);
                taken[(layer * batch + index) * self.actions + episode.actions[layer]] = 1.0;
                old.push(episode.log_probabilities[layer]);
                advantages.push(targets.advantages[index][layer]);
                returns.push(targets.returns[index][layer]);
            }
        }
        let device = &self.device;
        let states = Tensor::<2>::from_data(TensorData::new(states, [steps, FEATURES]), device);
        let taken = Tensor::<2>::from_data(TensorData::new(taken, [steps, self.actions]), device);
        let column = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [steps]), device);
        let (old, advantages, returns) = (column(old), column(advantages), column(returns));
        for _ in 0..EPOCHS {
            let (logits, values) = self.policy.sequence(states.clone(), layers, device);
            let log_probabilities = log_softmax(logits, 1);
            let chosen = (log_probabilities.clone() * taken.clone()).sum_dim(1).flatten::<1>(0, 1);
            let ratio = (chosen - old.clone()).exp();
            let clipped = ratio.clone().clamp(1.0 - CLIP, 1.0 + CLIP) * advantages.clone();
            let gain = (ratio * advantages.clone()).min_pair(clipped).mean();
            let value_loss = (values - returns.clone()).powi_scalar(2).mean();
            let entropy = -(log_probabilities.clone().exp() * log_probabilities).sum_dim(1).mean();
            let loss = value_loss * VALUE_WEIGHT - gain - entropy * ENTROPY_WEIGHT;
            let gradients = GradientsParams::from_grads(loss.backward(), &self.policy);
            self.policy = self.optimizer.step(LEARNING_RATE, self.policy.clone(), gradients);
        }
    }
}

fn floats(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// Generalized advantages, normalised over the batch, and the returns the value network is to forecast.
#[derive(Debug)]
struct Targets {
    advantages: Vec<Vec<f32>>,
    returns: Vec<Vec<f32>>,
}

impl Targets {
    fn of(episodes: &[Episode]) -> Self {
        let mut advantages: Vec<Vec<f32>> = episodes.iter().map(generalized_advantages).collect();
        let returns = advantages
            .iter()
            .zip(episodes)
            .map(|(row, episode)| row.iter().zip(&episode.values).map(|(a, v)| a + v).collect())
            .collect();
        let count = advantages.iter().map(Vec::len).sum::<usize>().max(1) as f64;
        let mean = advantages.iter().flatten().map(|&a| f64::from(a)).sum::<f64>() / count;
        let variance = advantages.iter().flatten().map(|&a| (f64::from(a) - mean).powi(2)).sum::<f64>() / count;
        let spread = variance.sqrt() + 1e-8;
        for (row, episode) in advantages.iter_mut().zip(episodes) {
            for advantage in row {
                *advantage = ((f64::from(*advantage) - mean) / spread) as f32;
                if episode.replayed {
                    *advantage = advantage.max(0.0);
                }
            }
        }
        Targets { advantages, returns }
    }
}

fn generalized_advantages(episode: &Episode) -> Vec<f32> {
    let steps = episode.values.len();
    let mut advantages = vec![0.0; steps];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for step in (0..steps).rev() {
        let reward = if step + 1 == steps { episode.reward } else { 0.0 };
        let value = f64::from(episode.values[step]);
        let surprise = reward + DISCOUNT * next_value - value;
        next_advantage = surprise + DISCOUNT * LAMBDA * next_advantage;
        next_value = value;
        advantages[step] = next_advantage as f32;
    }
    advantages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(layer: usize, layers: usize) -> [f32; FEATURES] {
        let mut state = [0.0; FEATURES];
        state[0] = layer as f32 / layers as f32;
        state[11..].copy_from_slice(&crate::search::state::position(layer, layers));
        state
    }

    fn agreement(actions: &[usize], wanted: &[usize]) -> f64 {
        let hits = actions.iter().zip(wanted).filter(|(a, b)| a == b).count();
        hits as f64 / wanted.len() as f64
    }

    #[test]
    fn learns_a_sequence_that_only_its_end_rewards() {
        let wanted = [2, 0, 1, 2, 2, 0];
        let mut learner = Learner::new(3, 5).expect("thread");
        let mut mean_reward = |learn: bool| {
            let mut episodes =
                learner.play(wanted.len(), &vec![None; 32], |_, so_far| state(so_far.len(), wanted.len()));
            episodes.iter_mut().for_each(|e| e.reward = agreement(&e.actions, &wanted));
            if learn {
                learner.learn(&episodes);
            }
            episodes.iter().map(|e| e.reward).sum::<f64>() / 32.0
        };
        let before = mean_reward(true);
        for _ in 0..60 {
            mean_reward(true);
        }
        let after = mean_reward(false);
        assert!((0.2..0.5).contains(&before), "a fresh policy is nearly uniform: {before}");
        assert!(after > 0.9, "{before} -> {after}");
    }

    #[test]
    fn equal_seeds_learn_equally_and_others_do_not() {
        let run = |seed| {
            let mut learner = Learner::new(4, seed).expect("thread");
            let mut log = Vec::new();
            for _ in 0..3 {
                let mut episodes = learner.play(5, &vec![None; 6], |_, so_far| state(so_far.len(), 5));
                episodes.iter_mut().for_each(|e| e.reward = e.actions[0] as f64);
                learner.learn(&episodes);
                log.extend(episodes.into_iter().flat_map(|e| e.log_probabilities));
            }
            log
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn forced_episodes_repeat_their_actions_and_only_attract() {
        let mut learner = Learner::new(3, 1).expect("thread");
        let forced = vec![0, 1, 2];
        let mut episodes = learner.play(3, &[Some(forced.clone()), None, None], |_, s| state(s.len(), 3));
        assert_eq!(episodes[0].actions, forced);
        assert!(episodes[0].replayed && !episodes[1].replayed);
        episodes[0].reward = -1.0;
        let targets = Targets::of(&episodes);
        assert!(targets.advantages[0].iter().all(|&a| a == 0.0), "{:?}", targets.advantages);
    }

    #[test]
    fn advantages_follow_the_definition() {
        let episode = Episode {
            states: vec![[0.0; FEATURES]; 3],
            actions: vec![0; 3],
            log_probabilities: vec![0.0; 3],
            values: vec![0.5, 0.25, 0.75],
            reward: 1.0,
            replayed: false,
        };
        let last = 1.0 - 0.75;
        let middle = 0.75 - 0.25 + LAMBDA * last;
        let first = 0.25 - 0.5 + LAMBDA * middle;
        for (got, want) in generalized_advantages(&episode).iter().zip([first, middle, last]) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
    }
}
