//! The search: the policy proposes, the surrogate screens, the environment is paid for one choice at a time.
//!
//! One real episode:
//! 1. The policy plays virtual episodes, which the surrogate rewards optimistically, and learns from them by PPO together with
//!    replays of the best real episodes.
//! 2. Its proposals are screened by expected improvement; the best, and the best choice so far, are improved by a climb on it.
//! 3. The winner is asked for. While fewer than [`Terms::parallel`] choices are pending the next one is proposed, on a surrogate that takes
//!    the expected answers of the pending ones for real. The answer to the oldest is then awaited, and the surrogate takes it into account.
//!
//! Everything follows from the seed, the number of pending choices and the answers of the environment, which are taken in the order in
//! which they were proposed, whenever they arrive. So a search repeated on a store of answers repeats itself, and a longer search begins as
//! the shorter one did.

use super::acquire::Judge;
use super::environment::{Environment, Evaluation, Problem, SearchError};
use super::ledger::{Evaluated, Ledger, Origin, Terms, best_of, respect_dominance};
use super::pareto::{LayerExplanation, explain};
use super::ppo::{Episode, Learner};
use super::prior::{DamagePrior, SensitivityProfile};
use super::random::Draws;
use super::refine::{Candidate, Screen};
use super::reward::Reward;
use super::state::{Dynamic, Embedding, FEATURES};
use super::surrogate::{Observation, Surrogate};
use crate::random::Purpose;
use releqc_runtime::BitWidth;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Virtual episodes in one batch.
const BATCH: usize = 16;

/// Replays of real episodes in one batch: the best so far.
const REPLAYS: usize = 4;

/// Batches before the first evaluation, and per evaluation.
const WARM_UP: usize = 16;
const BATCHES: usize = 2;

/// Without a surrogate: real episodes in one batch, and the repeats in a row of known choices after which such a search ends.
const REAL_BATCH: usize = 8;
const MOST_REPEATS: usize = 200;

/// What the agent is helped with; all of it unless an ablation is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingredients {
    /// The policy proposes; otherwise uniform draws do.
    pub policy: bool,
    /// The surrogate screens proposals and rewards virtual episodes; otherwise PPO learns from real episodes alone.
    pub surrogate: bool,
    /// The climb on the expected improvement.
    pub refinement: bool,
    /// Sensitivities: of the profile, or of the sizes of the layers; otherwise all layers count as equal.
    pub prior: bool,
    /// Replays of the best real episodes.
    pub replay: bool,
}

impl Default for Ingredients {
    fn default() -> Self {
        Ingredients { policy: true, surrogate: true, refinement: true, prior: true, replay: true }
    }
}

/// How to search.
#[derive(Debug)]
pub struct SearchOptions<'a> {
    /// Reward, cost, reference, number of evaluations, deadline. A real episode makes one evaluation, so the number of
    /// evaluations is the number of (real) episodes.
    pub terms: Terms<'a>,
    /// Seed of every draw.
    pub seed: u64,
    /// Cheap measurements of single layers, where the caller has them.
    pub profile: Option<SensitivityProfile>,
    /// What was measured with all layers at the widest width of the action set; `None` where nothing is lost there.
    pub widest: Option<Evaluation>,
    /// Ablations.
    pub ingredients: Ingredients,
}

/// News of one evaluation.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Evaluations made, the reference not counted.
    pub evaluations: usize,
    /// Most evaluations.
    pub limit: usize,
    /// The evaluation just made.
    pub latest: &'a Evaluated,
    /// The preferred one so far.
    pub best: &'a Evaluated,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The number of evaluations was reached.
    Evaluations,
    /// The stop function or an interrupt ended it.
    Stopped,
    /// Without a surrogate: the policy only repeats what it knows.
    Converged,
    /// Every choice was evaluated.
    Exhausted,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchResult {
    /// The preferred choice; `None` only when nothing could be evaluated.
    pub best: Option<Evaluated>,
    /// Everything evaluated, in order, the measured reference first.
    pub evaluations: Vec<Evaluated>,
    /// The accuracy that losses are counted from, 0..=1.
    pub reference: f64,
    /// Real episodes: ones that asked the environment.
    pub episodes: usize,
    /// Episodes played on the surrogate.
    pub virtual_episodes: usize,
    /// For each of `evaluations`: entropy of the policy in nats a layer, of what it drew before. `None` where it drew nothing.
    pub entropies: Vec<Option<f64>>,
    /// Why it ended.
    pub end: End,
    problem: Problem,
    surrogate: Surrogate,
}

impl SearchResult {
    /// What every layer costs in accuracy at every width, the other layers as in `widths`. `known` are evaluations whose losses are counted from
    /// this search's reference. Empty where `widths` are none of the action set.
    pub fn explain(&self, widths: &[BitWidth], known: &[Evaluated]) -> Vec<LayerExplanation> {
        explain(&self.problem, &self.surrogate, known, widths)
    }

    /// Judges what several methods evaluated by one rule, whoever measured it: by the reward of `terms`, and by what is believed
    /// of each loss after all of these evaluations.
    pub fn judge_together(&mut self, known: &mut [Evaluated], terms: &Terms<'_>) {
        let mut seen: BTreeSet<Vec<usize>> = self.surrogate.observations().iter().map(|o| o.actions.clone()).collect();
        let mut news = Vec::new();
        for entry in known.iter() {
            let Some(actions) = self.problem.actions(&entry.widths) else { continue };
            if seen.insert(actions.clone()) {
                news.push(Observation { actions, loss: entry.loss, noise: entry.evaluation.noise() });
            }
        }
        if !news.is_empty() {
            self.surrogate.observe_all(news);
        }
        let observed = self.surrogate.observations().iter().map(|observation| observation.actions.clone());
        let believed: BTreeMap<Vec<usize>, f64> = observed.zip(self.surrogate.believed_losses()).collect();
        for entry in known.iter_mut() {
            let of_same = self.problem.actions(&entry.widths).and_then(|actions| believed.get(&actions));
            let loss = of_same.copied().unwrap_or(entry.loss);
            entry.believe(loss, terms, self.reference);
        }
        if terms.reward == Reward::LeastLoss {
            respect_dominance(known);
        }
    }
}

/// Searches for the widths with the highest reward.
///
/// A stop or an interrupt is no error: the result is the best so far.
///
/// # Errors
/// Of the environment and its store, and [`SearchError::Invalid`] for options that do not fit the network.
pub fn search(
    environment: &mut dyn Environment,
    options: &SearchOptions<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<SearchResult, SearchError> {
    let problem = Problem::of(environment)?;
    let ledger = Ledger::open(environment, &problem, &options.terms)?;
    let prior = if options.ingredients.prior {
        DamagePrior::new(&problem, options.profile.as_ref())?
    } else {
        DamagePrior::flat(&problem)
    };
    let bits: Vec<u8> = problem.widths.iter().map(|w| w.bits()).collect();
    let scale = options.terms.reward.loss_scale();
    let mut agent = Agent {
        judge: Judge {
            problem: &problem,
            cost: options.terms.cost,
            constraints: options.terms.constraints,
            reward: options.terms.reward,
            reference: ledger.reference(),
            noise: 0.0,
        },
        embedding: Embedding::new(&problem, options.terms.cost, &prior),
        surrogate: Surrogate::new(prior, &bits, scale, options.seed),
        learner: Learner::new(problem.widths.len(), options.seed)?,
        canonical: options.terms.cost.canonical_actions(&problem.widths),
        draws: Draws::new(options.seed, Purpose::Agent),
        ledger,
        options,
        episodes: 0,
        virtual_episodes: 0,
        entropy: None,
        entropies: Vec::new(),
    };
    let end = if options.ingredients.surrogate { agent.run(progress)? } else { agent.run_plain(progress)? };
    let (episodes, virtual_episodes) = (agent.episodes, agent.virtual_episodes);
    let Agent { judge, surrogate, ledger, mut entropies, .. } = agent;
    let reference = judge.reference;
    let evaluations = ledger.into_entries();
    let best = best_of(&evaluations).cloned();
    // A measured reference comes first, and nobody drew it.
    entropies.splice(0..0, std::iter::repeat_n(None, evaluations.len() - entropies.len().min(evaluations.len())));
    Ok(SearchResult { best, evaluations, reference, episodes, virtual_episodes, entropies, end, problem, surrogate })
}

struct Agent<'a> {
    judge: Judge<'a>,
    embedding: Embedding,
    surrogate: Surrogate,
    learner: Learner,
    canonical: Vec<Vec<usize>>,
    draws: Draws,
    ledger: Ledger<'a>,
    options: &'a SearchOptions<'a>,
    episodes: usize,
    virtual_episodes: usize,
    /// Of the last batch that was drawn.
    entropy: Option<f64>,
    entropies: Vec<Option<f64>>,
}

impl Agent<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<End, SearchError> {
        // Nothing is lost where the widest width was measured as the reference, or is 8 bits.
        let widest = vec![self.judge.problem.widths.len() - 1; self.judge.problem.depth()];
        let (loss, noise) = self.options.widest.map_or((0.0, 0.0), |evaluation| {
            (100.0 * (self.judge.reference - evaluation.accuracy), evaluation.noise())
        });
        self.surrogate.observe(Observation { actions: widest, loss, noise });
        if self.options.ingredients.policy && !self.ledger.closed() {
            for _ in 0..WARM_UP {
                self.practise();
            }
        }
        let mut pending: VecDeque<(Candidate, Option<f64>)> = VecDeque::new();
        let mut exhausted = false;
        loop {
            while self.ledger.has_room() && !exhausted {
                let Some(candidate) = self.propose_beside(&pending) else {
                    exhausted = true;
                    continue;
                };
                self.ledger.ask(&candidate.actions)?;
                pending.push_back((candidate, self.entropy));
            }
            let Some((candidate, entropy)) = pending.pop_front() else { break };
            let Some(entry) = self.ledger.measure(&candidate.actions, candidate.origin)? else { break };
            let observation =
                Observation { actions: candidate.actions, loss: entry.loss, noise: entry.evaluation.noise() };
            self.judge.noise = observation.noise;
            self.surrogate.observe(observation);
            let believed = self.surrogate.believed_losses();
            // The first observation is the widest width, which is an entry only if it was measured as the reference.
            self.ledger.believe(&believed[believed.len() - self.ledger.entries().len()..]);
            self.episodes += 1;
            self.report(entropy, progress);
        }
        Ok(if exhausted { End::Exhausted } else { self.ending() })
    }

    /// Learning as in the paper: real episodes only, in batches. An episode that repeats a known choice costs nothing.
    fn run_plain(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<End, SearchError> {
        let mut repeats = 0;
        while !self.ledger.closed() {
            let mut batch = self.play(&vec![None; REAL_BATCH]);
            let drawn: Vec<Vec<usize>> = batch.iter().map(|episode| episode.actions.clone()).collect();
            for (index, episode) in batch.iter_mut().enumerate() {
                for ahead in &drawn[index..] {
                    self.ledger.ask(ahead)?;
                }
                let before = self.ledger.counted();
                let Some(entry) = self.ledger.measure(&episode.actions, Origin::Policy)? else {
                    return Ok(self.ending());
                };
                episode.reward = entry.reward;
                self.episodes += 1;
                if self.ledger.counted() > before {
                    repeats = 0;
                    self.report(self.entropy, progress);
                } else {
                    repeats += 1;
                }
            }
            if repeats >= MOST_REPEATS {
                return Ok(End::Converged);
            }
            self.learner.learn(&batch);
        }
        Ok(self.ending())
    }

    fn ending(&self) -> End {
        if self.ledger.counted() >= self.options.terms.evaluations { End::Evaluations } else { End::Stopped }
    }

    fn report(&mut self, entropy: Option<f64>, progress: &mut dyn FnMut(Progress<'_>)) {
        self.entropies.push(entropy);
        if let (Some(latest), Some(best)) = (self.ledger.entries().last(), self.ledger.best()) {
            let (evaluations, limit) = (self.ledger.counted(), self.options.terms.evaluations);
            progress(Progress { evaluations, limit, latest, best });
        }
    }

    /// A choice to ask for while others are pending: what is expected of these is taken for real as long as it is proposed.
    fn propose_beside(&mut self, pending: &VecDeque<(Candidate, Option<f64>)>) -> Option<Candidate> {
        if pending.is_empty() {
            return self.propose(&BTreeSet::new());
        }
        let choices: Vec<Vec<usize>> = pending.iter().map(|(candidate, _)| candidate.actions.clone()).collect();
        let imagined = self.surrogate.believing(&choices);
        let surrogate = std::mem::replace(&mut self.surrogate, imagined);
        let found = self.propose(&choices.into_iter().collect());
        self.surrogate = surrogate;
        found
    }

    fn propose(&mut self, pending: &BTreeSet<Vec<usize>>) -> Option<Candidate> {
        let (proposals, origin) = if self.options.ingredients.policy {
            let mut proposals = Vec::with_capacity(BATCH * BATCHES);
            for _ in 0..BATCHES {
                proposals.extend(self.practise());
            }
            (proposals, Origin::Policy)
        } else {
            ((0..BATCH * BATCHES).map(|_| self.draw()).collect(), Origin::Random)
        };
        let climb = self.options.ingredients.refinement;
        let mut screen = Screen::new(&self.judge, &self.surrogate, &self.ledger, &self.canonical, pending);
        let found = screen.select(&proposals, origin, climb);
        if found.is_some() {
            return found;
        }
        // Everything proposed is known: any choice that is not.
        for _ in 0..10_000 {
            let drawn = self.draw();
            let mut screen = Screen::new(&self.judge, &self.surrogate, &self.ledger, &self.canonical, pending);
            if let Some(found) = screen.select(&[drawn], Origin::Random, false) {
                return Some(found);
            }
        }
        None
    }

    fn draw(&mut self) -> Vec<usize> {
        (0..self.judge.problem.depth()).map(|_| self.draws.below(self.judge.problem.widths.len())).collect()
    }

    /// Plays a batch of virtual episodes and learns from it; returns the choices drawn.
    fn practise(&mut self) -> Vec<Vec<usize>> {
        let replays = if self.options.ingredients.replay { self.best_real_episodes() } else { Vec::new() };
        let forced: Vec<Option<Vec<usize>>> =
            replays.into_iter().map(Some).chain(std::iter::repeat_n(None, BATCH)).collect();
        let mut episodes = self.play(&forced);
        for episode in &mut episodes {
            episode.reward = match self.ledger.entry(&episode.actions) {
                Some(known) => known.standing,
                None => self.judge.optimistic(&self.surrogate, &episode.actions),
            };
        }
        self.learner.learn(&episodes);
        self.virtual_episodes += BATCH;
        episodes.into_iter().filter(|episode| !episode.replayed).map(|episode| episode.actions).collect()
    }

    fn best_real_episodes(&self) -> Vec<Vec<usize>> {
        let mut entries: Vec<&Evaluated> = self.ledger.entries().iter().collect();
        entries.sort_by(|a, b| b.standing.total_cmp(&a.standing));
        entries.iter().take(REPLAYS).filter_map(|entry| self.judge.problem.actions(&entry.widths)).collect()
    }

    fn play(&mut self, forced: &[Option<Vec<usize>>]) -> Vec<Episode> {
        let (judge, embedding, surrogate) = (&self.judge, &self.embedding, &self.surrogate);
        let with_surrogate = self.options.ingredients.surrogate;
        let problem = judge.problem;
        let episodes = self.learner.play(problem.depth(), forced, |_, so_far| {
            view(judge, embedding, with_surrogate.then_some(surrogate), so_far)
        });
        self.entropy = drawn_entropy(&episodes).or(self.entropy);
        episodes
    }
}

/// Entropy of a policy in nats a layer, estimated from what it drew: the mean of `-ln p`. `None` where nothing was drawn.
fn drawn_entropy(episodes: &[Episode]) -> Option<f64> {
    let drawn = episodes.iter().filter(|episode| !episode.replayed);
    let (count, sum) = drawn
        .flat_map(|episode| &episode.log_probabilities)
        .fold((0usize, 0.0), |(count, sum), &log| (count + 1, sum - f64::from(log)));
    (count > 0).then(|| sum / count as f64)
}

/// The state after the first choices of an episode, the remaining layers at the widest width.
fn view(judge: &Judge<'_>, embedding: &Embedding, surrogate: Option<&Surrogate>, so_far: &[usize]) -> [f32; FEATURES] {
    let problem = judge.problem;
    let widest = problem.widths.len() - 1;
    let mut actions = so_far.to_vec();
    actions.resize(problem.depth(), widest);
    let loss = surrogate.map_or(0.0, |s| s.loss_of(s.mean(&actions)));
    let accuracy = judge.reference - loss / 100.0;
    let dynamic = Dynamic {
        current: problem.widths[widest],
        before: problem.widths[so_far.last().copied().unwrap_or(widest)],
        state_quantization: judge.cost.relative(&problem.chosen(&actions)),
        state_accuracy: (accuracy / judge.reference.max(f64::MIN_POSITIVE)).clamp(0.0, 1.5),
    };
    embedding.state(so_far.len(), &dynamic)
}
