//! Inputs for networks without data, synthesised through the network itself.
//!
//! Takes a folded graph and the range of its input, returns samples on which its classes are all represented and its
//! decisions are firm: random patterns compete for the network's margins, the best are crossed and varied. Only
//! sums, products and quotients of f32 in a fixed order, and a seeded ChaCha stream: the same samples on every machine.

mod pattern;

use crate::data::Preprocessing;
use crate::float_exec::FloatExecutor;
use crate::ir::{Graph, Shape};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Smallest and largest value of each input channel.
#[derive(Clone, Debug, PartialEq)]
pub struct InputRange {
    /// One pair a channel.
    pub channels: Vec<(f32, f32)>,
    /// False where nothing stated the range.
    pub stated: bool,
}

/// What pixels become with the usual constants: -2.12..=2.64 with those of ImageNet, -0.43..=2.82 with those of MNIST, -1..=1, 0..=1.
pub const NORMALIZED: (f32, f32) = (-2.2, 2.9);

impl InputRange {
    /// The range that pixels of 0..=255 have after preprocessing; where none is known [`NORMALIZED`].
    pub fn of(preprocessing: Option<&Preprocessing>, shape: &Shape) -> Self {
        let channels = shape.chw()[0];
        let channel = |c| match preprocessing {
            Some(p) => {
                let levels = p.levels(c);
                (levels[0].min(levels[255]), levels[0].max(levels[255]))
            }
            None => NORMALIZED,
        };
        InputRange { channels: (0..channels).map(channel).collect(), stated: preprocessing.is_some() }
    }
}

/// Rounds of crossing and variation.
const ROUNDS: usize = 4;

/// Multiply-accumulates spent on candidates, at most.
const MAC_BUDGET: u64 = 24_000_000_000;

/// One candidate with the network's opinion of it.
struct Candidate {
    /// Values in 0..=1, (channel, row, column) order.
    pattern: Vec<f32>,
    /// The class it is taken for.
    class: usize,
    /// Largest minus second largest output.
    margin: f32,
}

/// `count` samples, (channel, row, column) order.
pub fn synthesize(graph: &Graph, range: &InputRange, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = &graph.input_shape();
    let executor = FloatExecutor::new(graph);
    let macs: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    let affordable = (MAC_BUDGET / macs.max(1) / (ROUNDS as u64 + 1)) as usize;
    let pool = affordable.min(count * 2);
    let judge = |patterns: Vec<Vec<f32>>| -> Vec<Candidate> {
        let inputs: Vec<_> = patterns.iter().map(|p| scale(p, range, shape)).collect();
        let outputs = executor.outputs(&inputs);
        patterns.into_iter().zip(outputs).map(|(pattern, output)| candidate(pattern, &output)).collect()
    };
    let fresh: Vec<_> = (0..pool.max(count)).map(|_| pattern::random(shape, &mut rng)).collect();
    if pool < count || graph.node(graph.outputs[0].1).shape.len() < 2 {
        return fresh.into_iter().take(count).map(|p| scale(&p, range, shape)).collect();
    }
    let mut population = judge(fresh);
    for _ in 0..ROUNDS {
        let children = (0..pool).map(|_| {
            let mother = tournament(&population, None, &mut rng);
            let father = tournament(&population, Some(population[mother].class), &mut rng);
            pattern::cross(shape, &population[mother].pattern, &population[father].pattern, &mut rng)
        });
        let children = children.collect();
        population.extend(judge(children));
        population = balanced(population, pool);
    }
    balanced(population, count).iter().map(|c| scale(&c.pattern, range, shape)).collect()
}

/// Probability of its class (softmax) below which the network is not sure of a sample. A trained classifier is sure of nearly everything it
/// was made for (the committed LeNet of 97 % of the MNIST test images), while patterns also end between classes, where the least
/// change of a weight decides: those would make every narrow width look worse than it is.
const SURE: f32 = 0.8;

/// The samples of which the network is sure; all of them where those are less than half, or where the network is no classifier.
pub fn sure_ones(graph: &Graph, samples: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let sure = |output: &Vec<f32>| {
        let largest = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = output.iter().map(|v| (v - largest).exp()).sum();
        output.len() > 1 && 1.0 / sum >= SURE
    };
    let keep: Vec<bool> = FloatExecutor::new(graph).outputs(&samples).iter().map(sure).collect();
    if keep.iter().filter(|&&k| k).count() * 2 < samples.len() {
        return samples;
    }
    samples.into_iter().zip(keep).filter_map(|(sample, keep)| keep.then_some(sample)).collect()
}

fn candidate(pattern: Vec<f32>, output: &[f32]) -> Candidate {
    let mut class = 0;
    let mut second = f32::NEG_INFINITY;
    for i in 1..output.len() {
        if output[i] > output[class] {
            second = output[class];
            class = i;
        } else {
            second = second.max(output[i]);
        }
    }
    Candidate { pattern, class, margin: output[class] - second }
}

/// The better of two drawn at random; of `class` where one of them is.
fn tournament(population: &[Candidate], class: Option<usize>, rng: &mut ChaCha8Rng) -> usize {
    let draws: [usize; 4] = std::array::from_fn(|_| rng.next_u32() as usize % population.len());
    let fitness = |i: usize| (class.is_none_or(|c| population[i].class == c), population[i].margin);
    draws.into_iter().fold(draws[0], |best, i| {
        let ((same_a, a), (same_b, b)) = (fitness(best), fitness(i));
        if (same_b, b > a) > (same_a, false) && (same_b || !same_a) { i } else { best }
    })
}

/// `count` candidates, the firmest of every class in turn, so that no class crowds out another.
fn balanced(mut population: Vec<Candidate>, count: usize) -> Vec<Candidate> {
    population.sort_by(|a, b| b.margin.total_cmp(&a.margin));
    let mut ranked: Vec<(usize, Candidate)> = Vec::with_capacity(population.len());
    let mut seen = std::collections::BTreeMap::<usize, usize>::new();
    for candidate in population {
        let rank = seen.entry(candidate.class).or_default();
        ranked.push((*rank, candidate));
        *rank += 1;
    }
    // Stable: within a rank the firmest class comes first.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// Pattern values 0..=1 to input values.
fn scale(pattern: &[f32], range: &InputRange, shape: &Shape) -> Vec<f32> {
    let plane = pattern.len() / shape.chw()[0];
    let value = |(i, &v): (usize, &f32)| {
        let (low, high) = range.channels[i / plane];
        low + v * (high - low)
    };
    pattern.iter().enumerate().map(value).collect()
}
