//! Activation ranges measured on samples.
//!
//! Takes a canonical graph and its folded twin, returns both with the range of every tensor. Changes no node.
//! Runs through [`FloatExecutor`], so the same samples give the same ranges on every machine.

use crate::float_exec::FloatExecutor;
use crate::ir::{Graph, NodeId, Op};
use std::collections::BTreeMap;

/// Range of a tensor's values chosen for quantization; always contains 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At most 0.
    pub min: f32,
    /// At least 0.
    pub max: f32,
}

impl Range {
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
    /// One range a node, after its activation.
    pub ranges: Vec<Range>,
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
pub fn calibrate(graph: Graph, folded: Graph, samples: &[Vec<f32>], stated: &BTreeMap<NodeId, Range>) -> Calibrated {
    assert!(!samples.is_empty(), "calibration needs at least one sample");
    let executor = FloatExecutor::new(&folded);
    let observed = observe(&executor, &folded, samples);
    let histograms = histograms(&executor, &observed, samples);
    let mut ranges: Vec<Range> = Vec::with_capacity(folded.nodes.len());
    for (id, node) in folded.iter() {
        ranges.push(match &node.op {
            Op::Input(_) if stated.contains_key(&id) => stated[&id],
            // Codes move through these, so they keep the range of what they read.
            Op::MaxPool(_) | Op::Reshape if node.activation.is_none() => ranges[node.inputs[0].0],
            _ => least_error(observed[id.0], &histograms[id.0]),
        });
    }
    Calibrated { graph, folded, ranges }
}

/// Smallest and largest finite value of every tensor, widened to contain 0.
fn observe(executor: &FloatExecutor, graph: &Graph, samples: &[Vec<f32>]) -> Vec<Range> {
    let none = || vec![Range { min: 0.0, max: 0.0 }; graph.nodes.len()];
    let widen = |ranges: &mut Vec<Range>, id: NodeId, values: &[f32]| {
        let range = &mut ranges[id.0];
        let Range { min, max } = widest(values);
        *range = Range { min: range.min.min(min), max: range.max.max(max) };
    };
    let join = |a: Vec<Range>, b: Vec<Range>| {
        a.iter().zip(&b).map(|(a, b)| Range { min: a.min.min(b.min), max: a.max.max(b.max) }).collect()
    };
    executor.fold(samples, none, widen, join)
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
fn histograms(executor: &FloatExecutor, observed: &[Range], samples: &[Vec<f32>]) -> Vec<Vec<u64>> {
    let none = || vec![vec![0u64; BINS]; observed.len()];
    let count = |counts: &mut Vec<Vec<u64>>, id: NodeId, values: &[f32]| {
        let Range { min, max } = observed[id.0];
        let per_unit = BINS as f32 / (max - min);
        if per_unit.is_finite() {
            for &v in values.iter().filter(|v| v.is_finite()) {
                counts[id.0][(((v - min) * per_unit) as usize).min(BINS - 1)] += 1;
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
