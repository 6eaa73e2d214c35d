//! Activation ranges measured on samples.
//!
//! Takes a canonical graph and its folded twin, returns both with the range of every tensor. Changes no node.
//! Runs through [`FloatExecutor`], so the same samples give the same ranges on every machine.

use crate::equalize::{self, ChannelFactors, Equalization};
use crate::float_exec::FloatExecutor;
use crate::ir::{Function, Graph, Node, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Range of a tensor's values chosen for quantization; always contains 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At most 0.
    pub min: f32,
    /// At least 0.
    pub max: f32,
}

impl Range {
    /// The larger magnitude of both ends.
    pub fn amplitude(self) -> f32 {
        self.max.max(-self.min)
    }

    /// The narrowest range that contains both.
    pub fn with(self, other: Self) -> Self {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The narrowest range of finite values and 0.
    pub fn of(values: &[f32]) -> Self {
        values
            .iter()
            .filter(|v| v.is_finite())
            .fold(Range { min: 0.0, max: 0.0 }, |range, &v| Range { min: range.min.min(v), max: range.max.max(v) })
    }
}

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
}

/// What has a scale of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Granularity {
    /// A tensor: what retraining starts from.
    Tensor,
    /// A channel, as far as the operators allow.
    Channel(Equalization),
}

/// Bins of the histogram of each tensor.
const BINS: usize = 2048;

/// Candidate clip limits a side, as fractions of the observed range, in 64ths: from the whole range down to this.
const SMALLEST_CLIP: usize = 24;

/// Samples to calibrate on, so that two passes take some ten seconds on one core for a large network.
pub fn sample_budget(graph: &Graph) -> usize {
    let macs: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    (15_000_000_000 / macs.max(1)).clamp(8, 256) as usize
}

/// Measures the range of every tensor on `samples`: the clip that gives the least mean square error of 8-bit quantization, by a
/// histogram. Inputs in `stated` have the range given there.
///
/// # Panics
/// When `samples` is empty.
pub fn calibrate(
    graph: Graph,
    folded: Graph,
    samples: &[Vec<f32>],
    stated: &BTreeMap<NodeId, Range>,
    granularity: Granularity,
) -> Calibrated {
    assert!(!samples.is_empty(), "calibration needs at least one sample");
    let executor = FloatExecutor::new(&folded);
    let channels = observe(&executor, &folded, samples);
    let factors = match granularity {
        Granularity::Channel(equalization) => {
            equalize::factors(&folded, &channels, equalization, |id| stated.contains_key(&id))
        }
        Granularity::Tensor => vec![None; folded.nodes.len()],
    };
    let whole = |(channels, factors): (&Vec<Observed>, &ChannelFactors)| {
        channels.iter().enumerate().fold(Range { min: 0.0, max: 0.0 }, |whole, (c, Observed { range, .. })| {
            let factor = equalize::factor(factors, c);
            whole.with(Range { min: range.min / factor, max: range.max / factor })
        })
    };
    let observed: Vec<Range> = channels.iter().zip(&factors).map(whole).collect();
    let histograms = histograms(&executor, &folded, &observed, &factors, samples);
    let mut ranges: Vec<Range> = Vec::with_capacity(folded.nodes.len());
    for (id, node) in folded.iter() {
        ranges.push(match &node.op {
            Op::Input(_) if stated.contains_key(&id) => stated[&id],
            Op::Constant(_) => observed[id.0],
            // A pool is on codes always, so it keeps the range of what it reads.
            Op::MaxPool(_) if node.activation.is_none() => ranges[node.inputs[0].0],
            _ => least_error(observed[id.0], &histograms[id.0]),
        });
    }
    Calibrated { graph, folded, ranges, factors, floats: BTreeSet::new() }
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
            Op::Unary(function) => settles(*function),
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

/// Where a function stops to change, or all but: by less than 2^-11 of its range around 0.
fn settles(function: Function) -> Range {
    let above = |min: f32| Range { min, max: f32::INFINITY };
    let within = |max: f32| Range { min: -max, max };
    match function {
        Function::HardSwish => above(-3.0),
        Function::Silu | Function::Mish => above(-12.0),
        Function::Gelu | Function::GeluTanh => above(-5.0),
        Function::Softplus => above(-10.0),
        Function::Elu { .. } | Function::Selu { .. } => above(-8.0),
        Function::Sigmoid => within(9.0),
        Function::Tanh => within(5.0),
        Function::HardSigmoid { alpha, beta } if alpha > 0.0 => {
            Range { min: (-beta / alpha).min(0.0), max: ((1.0 - beta) / alpha).max(0.0) }
        }
        _ => EVERYTHING,
    }
}

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

/// Counts of the values of every tensor in [`BINS`] equal bins of its observed range. Integer counts add up the same in any order.
fn histograms(
    executor: &FloatExecutor,
    graph: &Graph,
    observed: &[Range],
    factors: &[ChannelFactors],
    samples: &[Vec<f32>],
) -> Vec<Vec<u64>> {
    let none = || vec![vec![0u64; BINS]; observed.len()];
    let count = |counts: &mut Vec<Vec<u64>>, id: NodeId, values: &[f32]| {
        let Range { min, max } = observed[id.0];
        let per_unit = BINS as f32 / (max - min);
        if !per_unit.is_finite() {
            return;
        }
        let counts = &mut counts[id.0];
        let mut count = |values: &[f32], factor: f32| {
            let inverse = 1.0 / factor;
            for &v in values.iter().filter(|v| v.is_finite()) {
                counts[(((v * inverse - min) * per_unit) as usize).min(BINS - 1)] += 1;
            }
        };
        match &factors[id.0] {
            None => count(values, 1.0),
            Some(factors) => {
                let (_, inner) = equalize::channels(&graph.node(id).shape);
                let lines = values.chunks_exact(inner).zip(factors.iter().cycle());
                lines.for_each(|(line, &factor)| count(line, factor));
            }
        }
    };
    let sum = |mut a: Vec<Vec<u64>>, b: Vec<Vec<u64>>| {
        a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += b);
        a
    };
    executor.fold(samples, none, count, sum)
}

/// The clip of an observed range with the least square error: rounding inside it (step^2 / 12 a value), distance outside.
fn least_error(observed: Range, counts: &[u64]) -> Range {
    let width = f64::from(observed.max) - f64::from(observed.min);
    if width <= 0.0 {
        return observed;
    }
    let bin = width / BINS as f64;
    let centre = |i: usize| f64::from(observed.min) + (i as f64 + 0.5) * bin;
    let fractions = |bound: f32| if bound == 0.0 { 64..=64 } else { SMALLEST_CLIP..=64 };
    let mut best = (f64::INFINITY, observed);
    for low in fractions(observed.min) {
        for high in fractions(observed.max) {
            // Both sides shrink together unless one is 0: asymmetric ranges keep their shape.
            if observed.min != 0.0 && observed.max != 0.0 && low != high {
                continue;
            }
            let clip = Range { min: observed.min * (low as f32 / 64.0), max: observed.max * (high as f32 / 64.0) };
            let (lo, hi) = (f64::from(clip.min), f64::from(clip.max));
            let rounding = ((hi - lo) / 255.0).powi(2) / 12.0;
            let error = counts.iter().enumerate().fold(0.0, |sum, (i, &n)| {
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
