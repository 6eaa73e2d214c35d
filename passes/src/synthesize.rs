//! Inputs for networks without data, synthesised through the network itself.
//!
//! Takes a folded graph and the range of its input, returns samples on which its classes are all represented and its
//! decisions are firm: random patterns compete for the network's margins, the best are crossed and varied. Only
//! sums, products and quotients of f32 in a fixed order, and a seeded ChaCha stream: the same samples on every machine.

mod pattern;
mod statistics;

use crate::data::Preprocessing;
use crate::data::planes::Planes;
use crate::float_exec::FloatExecutor;
use crate::ir::{ElementType, Graph, Node, NodeId, Op, Shape};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use statistics::Told;

/// The values that one input takes.
#[derive(Clone, Debug, PartialEq)]
pub struct InputRange {
    /// ONNX name of the input.
    pub name: String,
    /// Smallest and largest value of each channel.
    pub channels: Vec<(f32, f32)>,
    /// Where the channels lie.
    planes: Planes,
    /// Whether only whole numbers are taken.
    whole: bool,
    /// What told the range.
    pub source: RangeSource,
}

/// What told the range of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSource {
    /// The caller, as a range or by the preprocessing of pixels.
    Stated,
    /// The network: the element type, or the rows of a table that is looked up.
    Network,
    /// The statistics of batch normalisation, where they contradict what would be assumed.
    Statistics,
    /// The biases of the first layer, where they are so large that what would be assumed cannot be.
    Biases,
    /// Nothing: it was assumed.
    Assumed,
}

/// What pixels become with the usual constants: -2.12..=2.64 with those of ImageNet, -0.43..=2.82 with those of MNIST, -1..=1, 0..=1.
pub const NORMALIZED: (f32, f32) = (-2.2, 2.9);

/// How much wider or narrower than [`NORMALIZED`] a range is at least that contradicts it: statistics tell it to a factor of two.
const CONTRADICTION: f32 = 4.0;

/// Whether inputs of this range are not those that [`NORMALIZED`] is assumed for.
fn contradicts((low, high): (f32, f32)) -> bool {
    let times = (high - low) / (NORMALIZED.1 - NORMALIZED.0);
    let middle = low + (high - low) / 2.0;
    !(1.0 / CONTRADICTION..=CONTRADICTION).contains(&times) || middle < NORMALIZED.0 || middle > NORMALIZED.1
}

impl InputRange {
    /// The ranges of all inputs of a graph: as `stated` (by name, or one for all without a name), else what pixels of 0..=255 become by the preprocessing,
    /// else what the element type or a table lookup tells, else [`NORMALIZED`], unless the statistics of batch normalisation in a graph whose
    /// layers still own theirs, or large biases of the first layer, contradict it.
    pub fn of(
        graph: &Graph,
        preprocessing: Option<&Preprocessing>,
        stated: &[(Option<String>, (f32, f32))],
    ) -> Vec<Self> {
        let input = |(id, node): (NodeId, &Node)| {
            let planes = Planes::of(&node.shape);
            let named = stated.iter().find(|(name, _)| name.as_ref() == Some(&node.name));
            let given = named.or_else(|| stated.iter().find(|(name, _)| name.is_none())).map(|(_, range)| *range);
            let element = match node.op {
                Op::Input(element) => element,
                _ => ElementType::F32,
            };
            let whole = !matches!(element, ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::F64);
            let rows = graph.iter().find_map(|(_, reader)| match &reader.op {
                Op::Lookup { table } if reader.inputs.contains(&id) => table.dims().first().copied(),
                _ => None,
            });
            let told = match (element, rows) {
                (_, Some(rows)) => Some((0.0, rows.saturating_sub(1) as f32)),
                (ElementType::Bool, _) => Some((0.0, 1.0)),
                (ElementType::U8, _) => Some((0.0, 255.0)),
                _ => None,
            };
            let pixels = |preprocessing: &Preprocessing| -> Vec<(f32, f32)> {
                let ends = |c| (preprocessing.apply(0.0, c), preprocessing.apply(255.0, c));
                (0..planes.channels).map(ends).map(|(a, b)| (a.min(b), a.max(b))).collect()
            };
            let statistics = || statistics::told(graph, id).filter(|(range, _)| contradicts(*range));
            let (channels, source) = match (given, preprocessing, told) {
                (Some(range), _, _) => (vec![range; planes.channels], RangeSource::Stated),
                (None, Some(preprocessing), _) if !whole => (pixels(preprocessing), RangeSource::Stated),
                (None, _, Some(range)) => (vec![range; planes.channels], RangeSource::Network),
                (None, ..) if whole => (vec![(0.0, 1.0); planes.channels], RangeSource::Assumed),
                (None, ..) => match statistics() {
                    Some((range, Told::Statistics)) => (vec![range; planes.channels], RangeSource::Statistics),
                    Some((range, Told::Biases)) => (vec![range; planes.channels], RangeSource::Biases),
                    None => (vec![NORMALIZED; planes.channels], RangeSource::Assumed),
                },
            };
            InputRange { name: node.name.clone(), channels, planes, whole, source }
        };
        graph.inputs().map(input).collect()
    }

    /// Smallest and largest value of all channels.
    pub fn ends(&self) -> (f32, f32) {
        self.channels.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), c| (low.min(c.0), high.max(c.1)))
    }

    /// Pattern values 0..=1 to input values.
    fn scale(&self, pattern: &[f32]) -> Vec<f32> {
        let value = |(i, &v): (usize, &f32)| {
            let (low, high) = self.channels[self.planes.channel(i)];
            low + v * (high - low)
        };
        let mut values: Vec<f32> = pattern.iter().enumerate().map(value).collect();
        if self.whole {
            values.iter_mut().for_each(|v| *v = v.round());
        }
        values
    }
}

/// Rounds of crossing and variation.
const ROUNDS: usize = 4;

/// Multiply-accumulates spent on candidates, at most.
const MAC_BUDGET: u64 = 24_000_000_000;

/// One candidate with the network's opinion of it.
struct Candidate {
    /// Values in 0..=1 of all inputs.
    pattern: Vec<f32>,
    /// The class it is taken for.
    class: usize,
    /// Largest minus second largest output.
    margin: f32,
}

/// `count` samples, the values of all inputs one after the other, for the ranges of [`InputRange::of`].
pub fn synthesize(graph: &Graph, ranges: &[InputRange], count: usize, mut rng: ChaCha8Rng) -> Vec<Vec<f32>> {
    let shapes: Vec<&Shape> = graph.inputs().map(|(_, node)| &node.shape).collect();
    let executor = FloatExecutor::new(graph);
    let macs: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    let affordable = (MAC_BUDGET / macs.max(1) / (ROUNDS as u64 + 1)) as usize;
    let pool = affordable.min(count * 2);
    let judge = |patterns: Vec<Vec<f32>>| -> Vec<Candidate> {
        let inputs: Vec<_> = patterns.iter().map(|p| scale(p, ranges, &shapes)).collect();
        let outputs = executor.outputs(&inputs);
        patterns.into_iter().zip(outputs).map(|(pattern, output)| candidate(pattern, &output)).collect()
    };
    let fresh: Vec<Vec<f32>> =
        (0..pool.max(count)).map(|_| shapes.iter().flat_map(|s| pattern::random(s, &mut rng)).collect()).collect();
    if pool < count || graph.node(graph.outputs[0].1).shape.len() < 2 {
        return fresh.into_iter().take(count).map(|p| scale(&p, ranges, &shapes)).collect();
    }
    let mut population = judge(fresh);
    for _ in 0..ROUNDS {
        let children = (0..pool).map(|_| {
            let mother = tournament(&population, None, &mut rng);
            let father = tournament(&population, Some(population[mother].class), &mut rng);
            cross(&shapes, &population[mother].pattern, &population[father].pattern, &mut rng)
        });
        let children = children.collect();
        population.extend(judge(children));
        population = balanced(population, pool);
    }
    balanced(population, count).iter().map(|c| scale(&c.pattern, ranges, &shapes)).collect()
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

/// A child of two patterns, input by input.
fn cross(shapes: &[&Shape], mut mother: &[f32], mut father: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut child = Vec::with_capacity(mother.len());
    for shape in shapes {
        let (a, b);
        (a, mother) = mother.split_at(shape.len());
        (b, father) = father.split_at(shape.len());
        child.extend(pattern::cross(shape, a, b, rng));
    }
    child
}

/// Pattern values 0..=1 to input values.
fn scale(mut pattern: &[f32], ranges: &[InputRange], shapes: &[&Shape]) -> Vec<f32> {
    let mut values = Vec::with_capacity(pattern.len());
    for (range, shape) in ranges.iter().zip(shapes) {
        let own;
        (own, pattern) = pattern.split_at(shape.len());
        values.extend(range.scale(own));
    }
    values
}
