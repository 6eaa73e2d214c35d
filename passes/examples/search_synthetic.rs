//! The agent and its baselines on made-up networks of 4 to 30 layers, with few evaluations.
//!
//! `search_synthetic [--layers 22] [--nets 10] [--evaluations 40] [--parallel 1] [--max-loss 0.3] [--profile] [--without INGREDIENT]...`
//!
//! A made-up network loses `sum_l s_l 4^(2 - bits_l)` points, plus products of neighbours, plus the noise of a validation set of
//! 5,000 samples. The sensitivities s are log-normal, four times larger in the first and the last layer, and scaled so that one
//! uniform width between 2.5 and 4 bits would lose the limit. A profile is what a measurement without retraining would show: every
//! sensitivity off by a log-normal factor, drops a hundred times larger and saturated at 85 points.
//! Printed: mean bits of the best accepted choice, averaged over networks, after 10, 15, 25, 40 ... evaluations; "oracle" is a descent on the noise-free
//! loss with unlimited evaluations.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use releqc_passes::search::baselines::{self, Baseline};
use releqc_passes::search::environment::mean_bits;
use releqc_passes::search::ledger::{Evaluated, Origin, Terms};
use releqc_passes::search::{
    CostModel, Environment, Evaluation, Ingredients, LayerFacts, Reward, SearchError, SearchOptions,
    SensitivityProfile, search,
};
use releqc_runtime::BitWidth;

const CHECKPOINTS: [usize; 7] = [5, 10, 15, 25, 40, 60, 100];
const SAMPLES: usize = 5_000;
const NOISE: f64 = 0.15;

/// A small generator for the networks (splitmix64).
struct Draws(u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[derive(Clone)]
struct Network {
    layers: Vec<LayerFacts>,
    widths: Vec<BitWidth>,
    sensitivity: Vec<f64>,
    coupling: f64,
    seed: u64,
}

impl Network {
    fn new(depth: usize, seed: u64, max_loss: f64) -> Self {
        let mut draws = Draws(seed.wrapping_mul(7919) ^ 0xABCD);
        let layers = (0..depth)
            .map(|l| {
                let channels = 16 << (3 * l / depth);
                LayerFacts {
                    name: format!("layer{l}"),
                    outputs: channels,
                    inputs: channels,
                    kernel: 3,
                    weights: (channels * channels * 9) as u64,
                    macs: 1_000_000,
                    weight_std: 0.05 + 0.1 * draws.unit() as f32,
                }
            })
            .collect();
        let mut sensitivity: Vec<f64> = (0..depth).map(|_| draws.normal().exp()).collect();
        sensitivity[0] *= 4.0;
        sensitivity[depth - 1] *= 4.0;
        let knee = 2.5 + 1.5 * draws.unit();
        let total: f64 = sensitivity.iter().sum();
        let scale = max_loss * 4.0f64.powf(knee - 2.0) / total;
        sensitivity.iter_mut().for_each(|s| *s *= scale);
        Network { layers, widths: BitWidth::all().collect(), sensitivity, coupling: 0.3 * draws.unit(), seed }
    }

    fn damage(&self, layer: usize, width: BitWidth) -> f64 {
        self.sensitivity[layer] * 0.25f64.powi(i32::from(width.bits()) - 2)
    }

    fn loss(&self, widths: &[BitWidth]) -> f64 {
        let damage: Vec<f64> = widths.iter().enumerate().map(|(l, &w)| self.damage(l, w)).collect();
        let coupled: f64 = damage.windows(2).map(|pair| self.coupling * (pair[0] * pair[1]).sqrt()).sum();
        let lost: f64 = damage.iter().sum::<f64>() + coupled;
        80.0 * (1.0 - (-lost / 80.0).exp())
    }

    fn profile(&self) -> SensitivityProfile {
        let mut draws = Draws(self.seed ^ 0x5555);
        let drops = (0..self.layers.len())
            .map(|l| {
                let error = (0.7 * draws.normal()).exp();
                let drop = |w: &BitWidth| 85.0 * (1.0 - (-100.0 * error * self.damage(l, *w) / 85.0).exp());
                self.widths.iter().map(drop).collect()
            })
            .collect();
        SensitivityProfile { drops }
    }

    /// Descent by the most bits saved per point lost, then exchanges, on the noise-free loss.
    fn oracle(&self, max_loss: f64) -> f64 {
        let mut best = vec![BitWidth::MAX; self.layers.len()];
        loop {
            let narrower = |l: usize| {
                let mut next = best.clone();
                next[l] = BitWidth::new(next[l].bits() - 1)?;
                let loss = self.loss(&next);
                (loss <= max_loss).then_some((loss, next))
            };
            let step = (0..best.len()).filter_map(narrower).min_by(|a, b| a.0.total_cmp(&b.0));
            let Some((_, next)) = step else { break };
            best = next;
        }
        mean_bits(&best)
    }
}

impl Environment for Network {
    fn layers(&self) -> &[LayerFacts] {
        &self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        &self.widths
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let mut key = self.seed;
        for w in widths {
            key = key.wrapping_mul(31).wrapping_add(u64::from(w.bits()));
        }
        let widest = widths.iter().all(|&w| w == BitWidth::MAX);
        let noise = if widest { 0.0 } else { NOISE * Draws(key).normal() };
        let accuracy = 0.92 - (self.loss(widths) + noise) / 100.0;
        Ok(Evaluation { accuracy, samples: SAMPLES, standard_error: Some(NOISE / 100.0), cached: false })
    }
}

fn curve(evaluations: &[Evaluated]) -> Vec<f64> {
    let paid: Vec<&Evaluated> = evaluations.iter().filter(|e| e.origin != Origin::Reference).collect();
    let best_of = |count: &usize| {
        let accepted = paid.iter().take(*count).filter(|e| e.accepted);
        accepted.map(|e| mean_bits(&e.widths)).fold(8.0, f64::min)
    };
    CHECKPOINTS.iter().map(best_of).collect()
}

/// Runs `job` for every seed on the machine's threads; results in the order of the seeds. The agent brings a thread pool of its
/// own, so the seeds do not run on one.
fn for_seeds<T: Send>(seeds: u64, job: impl Fn(u64) -> Result<T, SearchError> + Sync) -> Result<Vec<T>, SearchError> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let result = job(seed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((seed, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, result)| result).collect()
}

fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut depth, mut nets, mut evaluations, mut max_loss) = (22usize, 10u64, 40usize, 0.3f64);
    let (mut with_profile, mut ingredients, mut parallel) = (false, Ingredients::default(), 1usize);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--layers" => depth = value()?.parse()?,
            "--nets" => nets = value()?.parse()?,
            "--evaluations" => evaluations = value()?.parse()?,
            "--parallel" => parallel = value()?.parse()?,
            "--max-loss" => max_loss = value()?.parse()?,
            "--profile" => with_profile = true,
            "--without" => match value()?.as_str() {
                "policy" => ingredients.policy = false,
                "surrogate" => ingredients.surrogate = false,
                "refinement" => ingredients.refinement = false,
                "prior" => ingredients.prior = false,
                "replay" => ingredients.replay = false,
                other => return Err(format!("--without {other}: no such ingredient").into()),
            },
            other => return Err(format!("{other}: no such option").into()),
        }
    }
    let cost = CostModel::mean(depth);
    let reward = Reward::constrained(max_loss)?;
    let began = std::time::Instant::now();
    let results = for_seeds(nets, |seed| {
        let network = Network::new(depth, seed, max_loss);
        let profile = with_profile.then(|| network.profile());
        let (cost, stop) = (&cost, &|| false);
        let terms = || Terms { reward, cost, constraints: &[], reference: None, evaluations, parallel, stop };
        let options = SearchOptions { terms: terms(), seed, profile: profile.clone(), widest: None, ingredients };
        let found = search(&mut network.clone(), &options, &mut |_| {})?;
        let true_loss = found.best.as_ref().map_or(0.0, |best| network.loss(&best.widths));
        let baseline = |baseline| -> Result<Vec<f64>, SearchError> {
            Ok(curve(&baselines::run(&mut network.clone(), &terms(), &baseline)?.evaluations))
        };
        Ok((
            [
                curve(&found.evaluations),
                baseline(Baseline::SensitivityGreedy { profile })?,
                baseline(Baseline::CoordinateGreedy)?,
                baseline(Baseline::Uniform)?,
                baseline(Baseline::Random { seed })?,
            ],
            network.oracle(max_loss),
            true_loss,
        ))
    })?;
    let count = results.len().max(1) as f64;
    let mut out = std::io::stdout();
    let oracle = results.iter().map(|r| r.1).sum::<f64>() / count;
    let true_loss = results.iter().map(|r| r.2).sum::<f64>() / count;
    let seconds = began.elapsed().as_secs_f64();
    writeln!(
        out,
        "{depth} layers, {nets} networks, limit {max_loss}: oracle {oracle:.2} bits; agent's true loss {true_loss:.2}; {seconds:.1} s"
    )?;
    for (index, name) in ["agent", "sensitivity", "greedy", "uniform", "random"].iter().enumerate() {
        let at = |c: usize| results.iter().map(|r| r.0[index][c]).sum::<f64>() / count;
        let values: Vec<String> = CHECKPOINTS
            .iter()
            .enumerate()
            .filter(|(_, n)| **n <= evaluations)
            .map(|(c, n)| format!("{n}: {:.2}", at(c)))
            .collect();
        writeln!(out, "  {name:<12} {}", values.join("  "))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "search_synthetic: {error}");
            ExitCode::from(2)
        }
    }
}
