//! Activation ranges measured on samples.
//!
//! Takes a canonical graph and its folded twin, returns both with the range of every tensor. Changes no node.
//! Runs through [`FloatExecutor`], so the same samples give the same ranges on every machine.

pub use crate::activation::Range;
use crate::activation::{ActivationQuant, NarrowTensors};
use crate::equalize::{self, ChannelFactors, Equalization};
use crate::float_exec::FloatExecutor;
use crate::ir::{Clip, Graph, Node, NodeId, Op};
use crate::simd::{Isa, vectorized};
use releqc_runtime::BitWidth;
use std::collections::{BTreeMap, BTreeSet};

/// A canonical graph, its folded twin, and the range of every tensor.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// Batch normalisation still apart, as retraining needs it.
    pub graph: Graph,
    /// The same nodes under the same ids, batch normalisation folded into the weights.
    pub folded: Graph,
    /// One range a node, after its activation; where the node has factors, of its values divided by them.
    pub ranges: Vec<Range>,
    /// One entry a node.
    pub factors: Vec<ChannelFactors>,
    /// Nodes whose values must stay floats.
    pub floats: BTreeSet<NodeId>,
    /// Nodes whose codes have fewer than 8 bits.
    pub narrow: NarrowTensors,
}

impl Calibrated {
    /// The codes of every tensor: one entry a node.
    pub fn activations(&self) -> Vec<ActivationQuant> {
        let bits = |node: usize| self.narrow.get(&NodeId(node)).copied().unwrap_or(BitWidth::MAX);
        self.ranges.iter().enumerate().map(|(node, &range)| ActivationQuant::of(range, bits(node))).collect()
    }
}

/// What callers know of tensors before any sample is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stated {
    /// Ranges of inputs.
    pub ranges: BTreeMap<NodeId, Range>,
    /// Nodes whose codes have fewer than 8 bits.
    pub narrow: NarrowTensors,
}

/// What has a scale of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Granularity {
    /// A tensor: what retraining starts from.
    Tensor,
    /// A channel, as far as the operators allow.
    Channel(Equalization),
}

/// Where a range ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    /// Where rounding inside and distance outside are least, on the samples.
    LeastError,
    /// This many times as far as the samples reach, where no clip ends it.
    Room(f32),
}

impl Ends {
    /// For samples of the task: all that they reach.
    pub const OF_SAMPLES: Ends = Ends::Room(1.0);
    /// For synthesised samples: what real ones reach is not known, and a value outside costs more than a coarser step.
    pub const OF_SYNTHESISED: Ends = Ends::Room(1.25);
}

/// Bins of the histogram of each tensor.
const BINS: usize = 2048;

/// Candidate clip limits a side, as fractions of the observed range, in 64ths: from the whole range down to this.
const SMALLEST_CLIP: usize = 24;

/// The same for codes of fewer than 8 bits: of few codes, fewer are left to rare values.
const SMALLEST_NARROW_CLIP: usize = 3;

/// Samples to calibrate on, so that two passes take some seconds on one core for a large network.
pub fn sample_budget(graph: &Graph) -> usize {
    let macs: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    (10_000_000_000 / macs.max(1)).clamp(8, 256) as usize
}

/// Measures the range of every tensor on `samples`. Inputs in `stated` have the range given there. Where codes have fewer than 8 bits,
/// ranges end where the error is least, whatever `ends` says: the whole reach leaves most values too few codes.
///
/// # Panics
/// When `samples` is empty.
pub fn calibrate(
    graph: Graph,
    folded: Graph,
    samples: &[Vec<f32>],
    stated: &Stated,
    ends: Ends,
    granularity: Granularity,
) -> Calibrated {
    calibrate_each(&graph, &folded, samples, stated, ends, &[granularity]).remove(0)
}

/// [`calibrate`] in several granularities at once: the samples pass through the network no more often than for one.
///
/// # Panics
/// When `samples` is empty.
pub fn calibrate_each(
    graph: &Graph,
    folded: &Graph,
    samples: &[Vec<f32>],
    stated: &Stated,
    ends: Ends,
    granularities: &[Granularity],
) -> Vec<Calibrated> {
    assert!(!samples.is_empty(), "calibration needs at least one sample");
    let executor = FloatExecutor::new(folded);
    let channels = observe(&executor, folded, samples);
    let factors = |granularity: &Granularity| match granularity {
        Granularity::Channel(equalization) => {
            equalize::factors(folded, &channels, *equalization, |id| stated.ranges.contains_key(&id))
        }
        Granularity::Tensor => vec![None; folded.nodes.len()],
    };
    let factors: Vec<Vec<ChannelFactors>> = granularities.iter().map(factors).collect();
    // What has the same factors in two granularities has the same range.
    let tensors: Vec<Vec<Divided>> = (0..folded.nodes.len())
        .map(|node| {
            let mut divided: Vec<Divided> = Vec::new();
            for factors in factors.iter().map(|factors| &factors[node]) {
                if divided.iter().all(|other| other.factors != *factors) {
                    divided.push(Divided::of(&channels[node], factors.clone()));
                }
            }
            divided
        })
        .collect();
    let narrow = &stated.narrow;
    let histograms = match ends == Ends::LeastError || !narrow.is_empty() {
        true => histograms(&executor, folded, &tensors, samples),
        false => Vec::new(),
    };
    let of = |(id, node): (NodeId, &Node)| -> Vec<Range> {
        let bits = narrow.get(&id).copied().unwrap_or(BitWidth::MAX);
        let forms = &tensors[id.0];
        match ends {
            Ends::Room(room) if bits == BitWidth::MAX => {
                // What inputs are made of has its ends.
                let room = if node.is_input() { 1.0 } else { room };
                forms.iter().map(|form| with_room(form.range, room, node.activation)).collect()
            }
            _ => forms
                .iter()
                .zip(&histograms[id.0])
                .map(|(form, counts)| least_error(form.range, counts, bits))
                .collect(),
        }
    };
    let ranges: Vec<Vec<Range>> = folded.iter().map(of).collect();
    let calibrated = |factors: Vec<ChannelFactors>| {
        let mut chosen: Vec<Range> = Vec::with_capacity(folded.nodes.len());
        for (id, node) in folded.iter() {
            let form = tensors[id.0].iter().position(|divided| divided.factors == factors[id.0]).unwrap_or(0);
            chosen.push(match &node.op {
                Op::Input(_) if stated.ranges.contains_key(&id) => stated.ranges[&id],
                // No sample shows it: it is what it is.
                Op::Constant(tensor) => Range::of(&equalize::divided(&node.shape, tensor.data(), &factors[id.0])),
                // A pool is on codes always, so it keeps the range of what it reads.
                Op::MaxPool(_) if node.activation.is_none() => chosen[node.inputs[0].0],
                _ => ranges[id.0][form],
            });
        }
        let (graph, folded, narrow) = (graph.clone(), folded.clone(), narrow.clone());
        Calibrated { graph, folded, ranges: chosen, factors, floats: BTreeSet::new(), narrow }
    };
    factors.into_iter().map(calibrated).collect()
}

/// A tensor whose channels are divided by factors.
struct Divided {
    factors: ChannelFactors,
    /// Of all values so divided.
    range: Range,
}

impl Divided {
    fn of(channels: &[Observed], factors: ChannelFactors) -> Self {
        let range = channels.iter().enumerate().fold(Range { min: 0.0, max: 0.0 }, |whole, (c, channel)| {
            let factor = equalize::factor(&factors, c);
            whole.with(Range { min: channel.range.min / factor, max: channel.range.max / factor })
        });
        Divided { factors, range }
    }
}

/// What the samples show of a channel.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Smallest and largest finite value, and 0.
    pub range: Range,
    /// The largest magnitude in each sample, in any order.
    pub peaks: Vec<f32>,
}

/// Every channel of every tensor.
fn observe(executor: &FloatExecutor, graph: &Graph, samples: &[Vec<f32>]) -> Vec<Vec<Observed>> {
    let channel = || Observed { range: Range { min: 0.0, max: 0.0 }, peaks: Vec::new() };
    let none = || graph.nodes.iter().map(|node| vec![channel(); equalize::channels(&node.shape).0]).collect();
    let settled = settled(graph);
    let widen = |observed: &mut Vec<Vec<Observed>>, id: NodeId, values: &[f32]| {
        let channels = &mut observed[id.0];
        let Range { min, max } = settled[id.0];
        let (count, inner) = equalize::channels(&graph.node(id).shape);
        let outer = graph.node(id).shape.dims().first().map_or(1, |&d| d.max(1));
        for sample in values.chunks_exact((count * inner * outer).max(1)) {
            for (line, channel) in sample.chunks_exact(inner.max(1)).zip((0..count).cycle()) {
                let seen = widest(line);
                let seen = Range { min: seen.min.max(min), max: seen.max.min(max) };
                channels[channel].range = channels[channel].range.with(seen);
                channels[channel].peaks.push(seen.amplitude());
            }
        }
    };
    let join = |mut a: Vec<Vec<Observed>>, b: Vec<Vec<Observed>>| {
        for (a, b) in a.iter_mut().flatten().zip(b.into_iter().flatten()) {
            a.range = a.range.with(b.range);
            a.peaks.extend(b.peaks);
        }
        a
    };
    executor.fold(samples, none, widen, join)
}

/// The range outside of which no reader of a node tells values apart.
fn settled(graph: &Graph) -> Vec<Range> {
    let users = graph.users();
    let is_output = |id: NodeId| graph.outputs.iter().any(|(_, output)| *output == id);
    let of = |(id, _): (NodeId, &Node)| {
        let of_user = |user: &NodeId| match &graph.node(*user).op {
            Op::Unary(function) => {
                let [min, max] = function.settles();
                Range { min, max }
            }
            _ => EVERYTHING,
        };
        match users[id.0].is_empty() || is_output(id) {
            true => EVERYTHING,
            false => users[id.0].iter().map(of_user).reduce(Range::with).unwrap_or(EVERYTHING),
        }
    };
    graph.iter().map(of).collect()
}

const EVERYTHING: Range = Range { min: f32::NEG_INFINITY, max: f32::INFINITY };

/// Values compared together.
const LANES: usize = 16;

/// Smallest and largest finite value, and 0.
fn widest(values: &[f32]) -> Range {
    let (mut min, mut max) = ([0.0f32; LANES], [0.0f32; LANES]);
    let mut compare = |lane: usize, v: f32| {
        let v = if v.abs() <= f32::MAX { v } else { 0.0 };
        min[lane] = if v < min[lane] { v } else { min[lane] };
        max[lane] = if v > max[lane] { v } else { max[lane] };
    };
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        (0..LANES).for_each(|lane| compare(lane, block[lane]));
    }
    rest.iter().enumerate().for_each(|(lane, &v)| compare(lane, v));
    Range { min: min.into_iter().fold(0.0, f32::min), max: max.into_iter().fold(0.0, f32::max) }
}

/// Counts of the values of every form of every tensor in [`BINS`] equal bins of its range. Integer counts add up the same in any
/// order.
fn histograms(
    executor: &FloatExecutor,
    graph: &Graph,
    tensors: &[Vec<Divided>],
    samples: &[Vec<f32>],
) -> Vec<Vec<Vec<u64>>> {
    let none = || tensors.iter().map(|forms| vec![vec![0u64; BINS + 1]; forms.len()]).collect::<Vec<_>>();
    let isa = Isa::detect();
    let count = |counts: &mut Vec<Vec<Vec<u64>>>, id: NodeId, values: &[f32]| {
        for (Divided { factors, range: Range { min, max } }, counts) in tensors[id.0].iter().zip(&mut counts[id.0]) {
            let per_unit = BINS as f32 / (max - min);
            if !per_unit.is_finite() {
                continue;
            }
            match factors {
                None => count_bins(isa, values, 1.0, *min, per_unit, counts),
                Some(factors) => {
                    let (_, inner) = equalize::channels(&graph.node(id).shape);
                    let lines = values.chunks_exact(inner).zip(factors.iter().cycle());
                    lines.for_each(|(line, factor)| count_bins(isa, line, 1.0 / factor, *min, per_unit, counts));
                }
            }
        }
    };
    let sum = |mut a: Vec<Vec<Vec<u64>>>, b: Vec<Vec<Vec<u64>>>| {
        let pairs = a.iter_mut().flatten().flatten().zip(b.iter().flatten().flatten());
        pairs.for_each(|(a, b)| *a += b);
        a
    };
    executor.fold(samples, none, count, sum)
}

vectorized! {
    /// Counts values times `inverse`; what is not finite goes to the bin behind the last.
    fn count_bins(values: &[f32], inverse: f32, min: f32, per_unit: f32, counts: &mut [u64]) {
        const LAST: f32 = (BINS - 1) as f32;
        let bin = |v: f32| {
            let at = (v * inverse - min) * per_unit;
            let at = if at < LAST { at } else { LAST };
            let at = if at > 0.0 { at } else { 0.0 };
            if v.abs() <= f32::MAX { at as i32 } else { BINS as i32 }
        };
        let (blocks, rest) = values.as_chunks::<LANES>();
        for block in blocks {
            let bins: [i32; LANES] = std::array::from_fn(|lane| bin(block[lane]));
            bins.iter().for_each(|&bin| counts[bin as usize] += 1);
        }
        rest.iter().for_each(|&v| counts[bin(v) as usize] += 1);
    }
}

/// A range as many times as wide; no wider than the clip that its values have passed.
fn with_room(observed: Range, room: f32, clip: Option<Clip>) -> Range {
    let clip = clip.unwrap_or(Clip { min: f32::NEG_INFINITY, max: f32::INFINITY });
    Range {
        min: (observed.min * room).max(clip.min.min(observed.min)),
        max: (observed.max * room).min(clip.max.max(observed.max)),
    }
}

/// The clip of an observed range with the least square error in codes of `bits`: rounding inside it (step^2 / 12 a value), distance
/// outside.
fn least_error(observed: Range, counts: &[u64], bits: BitWidth) -> Range {
    let largest = f64::from(ActivationQuant::largest_code(bits));
    let smallest = if bits == BitWidth::MAX { SMALLEST_CLIP } else { SMALLEST_NARROW_CLIP };
    let width = f64::from(observed.max) - f64::from(observed.min);
    if width <= 0.0 {
        return observed;
    }
    let bin = width / BINS as f64;
    let centre = |i: usize| f64::from(observed.min) + (i as f64 + 0.5) * bin;
    let fractions = |bound: f32| if bound == 0.0 { 64..=64 } else { smallest..=64 };
    let mut best = (f64::INFINITY, observed);
    for low in fractions(observed.min) {
        for high in fractions(observed.max) {
            // Both sides shrink together unless one is 0: asymmetric ranges keep their shape.
            if observed.min != 0.0 && observed.max != 0.0 && low != high {
                continue;
            }
            let clip = Range { min: observed.min * (low as f32 / 64.0), max: observed.max * (high as f32 / 64.0) };
            let (lo, hi) = (f64::from(clip.min), f64::from(clip.max));
            let rounding = ((hi - lo) / largest).powi(2) / 12.0;
            let error = counts.iter().take(BINS).enumerate().fold(0.0, |sum, (i, &n)| {
                let v = centre(i);
                let outside = (lo - v).max(v - hi).max(0.0);
                sum + n as f64 * if outside > 0.0 { outside * outside } else { rounding }
            });
            // Strictly better only, from the narrowest up: ties go to the narrower.
            if error < best.0 {
                best = (error, clip);
            }
        }
    }
    best.1
}
