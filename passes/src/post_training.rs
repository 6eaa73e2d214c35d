//! Quantization after training, without labels: what rounding does to a layer is measured on samples and put right.
//!
//! Takes a calibrated graph, widths and samples; returns an annotated graph. The network is walked once, node by node, in the
//! world of floats and, beside it, in one of codes for each quantization that is tried. What a layer reads in a world of codes
//! already carries the errors of the layers before it. Sums run in the order of the samples: the same bytes on every machine and thread count.

mod bias;
mod contributions;
mod memo;
mod reach;
mod rounding;
mod sums;
mod walk;
mod widen;

pub use memo::Memo;
pub use reach::{Reached, Wide, reach};
pub use walk::Noise;

use crate::annotate::{Annotated, WeightScales, annotate, annotate_with};
use crate::calibrate::{Calibrated, Ends, Granularity, Stated, calibrate_each};
use crate::equalize::Equalization;
use crate::ir::{Graph, Op};
use releqc_runtime::BitWidth;
use std::fmt;

/// An annotated graph whose layers were put right, with what rounding costs at every node.
#[derive(Clone, Debug)]
pub struct PostTrained {
    /// Biases are corrected.
    pub annotated: Annotated,
    /// One entry a node.
    pub noise: Vec<Noise>,
}

impl PostTrained {
    /// Signal-to-noise ratio of the output that has the most noise, in dB, at most 100.
    pub fn decibels(&self) -> f64 {
        let outputs = self.annotated.graph.outputs.iter();
        outputs.map(|(_, id)| self.noise[id.0].decibels().min(100.0)).fold(100.0, f64::min)
    }
}

/// Some of the samples, at most `most` and at least one, spread over all.
fn spread(samples: &[Vec<f32>], affordable: u64, most: u64) -> Vec<Vec<f32>> {
    let count = (affordable.clamp(1, most) as usize).min(samples.len());
    (0..count).map(|i| samples[i * samples.len() / count].clone()).collect()
}

/// How weights become codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rounding {
    /// Each to the nearest.
    Nearest,
    /// So that the results of the layer on the samples come close to those of floats.
    Results {
        /// Part of the mean square of an input of the layer that is added to each: how little the samples are trusted to show all
        /// that inputs do.
        damping: f64,
        /// Weights of 8 bits too, whose rounding is as a rule the least of errors.
        every_width: bool,
    },
}

impl Rounding {
    /// On samples of the task.
    pub const ON_SAMPLES: Rounding = Rounding::Results { damping: 0.01, every_width: false };
    /// On synthesised samples: real ones move in other directions too.
    pub const ON_SYNTHESISED: Rounding = Rounding::Results { damping: 1.0, every_width: false };

    /// The same for every width.
    fn at_every_width(self) -> Self {
        match self {
            Rounding::Nearest => Rounding::Nearest,
            Rounding::Results { damping, .. } => Rounding::Results { damping, every_width: true },
        }
    }
}

/// Gives each weight layer its width, its codes and its bias by what `samples` show.
///
/// # Panics
/// When the number of widths is not that of the weight layers, or there is no sample.
pub fn quantize_after_training(
    calibrated: &Calibrated,
    widths: &[BitWidth],
    samples: &[Vec<f32>],
    rounding: Rounding,
) -> PostTrained {
    let samples = affordable(&calibrated.folded, samples);
    walk::walk(vec![annotate(calibrated, widths)], &samples, rounding).remove(0)
}

/// Changes with anything that changes what comes out: part of the keys of stored evaluations.
pub const REVISION: u32 = 2;

/// Values that all samples of a walk hold in the largest tensor, at most.
const WALK_VALUES: u64 = 1 << 23;

/// Multiply-accumulates of a walk, at most.
const WALK_BUDGET: u64 = 4_000_000_000;

/// Samples that a walk has in any case.
const LEAST_SAMPLES: u64 = 16;

/// Some of the samples, spread over all: as many as memory and time allow.
fn affordable(graph: &Graph, samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let largest = graph.nodes.iter().map(|node| node.shape.len()).max().unwrap_or(1);
    let macs: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    let most = (WALK_VALUES / largest.max(1) as u64).max(4);
    let most = (WALK_BUDGET / macs.max(1)).clamp(LEAST_SAMPLES.min(most), most);
    spread(samples, most, most)
}

/// Multiply-accumulates spent on trying granularities, at most.
const MAC_BUDGET: u64 = 8_000_000_000;

/// Samples that ranges are taken from, and others that they are tried on, at least and at most.
const LEAST_TRIED: u64 = 4;
const TRIED: u64 = 32;

/// The granularity, and which of `ends`, with the least noise on samples that the ranges were not taken from: that of the output
/// with the most.
///
/// A channel that is refined has less noise, and less room for values that were not seen; so has a range that ends before the
/// largest value. Which is worth more depends on the network and on what its samples have in common.
///
/// # Panics
/// When `ends` is empty.
pub fn best_ranges(
    graph: &Graph,
    folded: &Graph,
    samples: &[Vec<f32>],
    stated: &Stated,
    ends: &[Ends],
) -> (Granularity, Ends) {
    let layers = folded.weight_layers();
    let macs: u64 = layers.iter().map(|&id| folded.macs(id)).sum();
    let choices: Vec<Granularity> =
        [Granularity::Tensor].into_iter().chain(Equalization::CANDIDATES.map(Granularity::Channel)).collect();
    let affordable = MAC_BUDGET / (4 * choices.len() as u64 * macs.max(1));
    let half = (samples.len() / 2).min(affordable.clamp(LEAST_TRIED, TRIED) as usize);
    if half < 2 {
        return (Granularity::Tensor, ends[0]);
    }
    // Both halves are spread over all samples.
    let spread = |offset: usize| (0..half).map(move |i| (2 * i + offset) * samples.len() / (2 * half));
    let [seen, unseen] = [0, 1].map(|offset| spread(offset).map(|i| samples[i].clone()).collect::<Vec<_>>());
    let widths = vec![BitWidth::MAX; layers.len()];
    let tried = ends.iter().flat_map(|&ends| {
        let calibrated = calibrate_each(graph, folded, &seen, stated, ends, &choices);
        let worlds = calibrated.iter().map(|calibrated| annotate_with(calibrated, &widths, WeightScales::Largest));
        let trained = walk::walk(worlds.collect(), &unseen, Rounding::Nearest);
        let noise: Vec<f64> = trained.iter().map(PostTrained::decibels).collect();
        choices
            .iter()
            .zip(noise)
            .map(move |(&granularity, decibels)| (decibels, (granularity, ends)))
            .collect::<Vec<_>>()
    });
    let best = tried.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map_or((Granularity::Tensor, ends[0]), |(_, best)| best)
}

impl fmt::Display for PostTrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let computed =
            self.annotated.graph.iter().zip(&self.noise).filter(|((_, node), _)| !matches!(node.op, Op::Constant(_)));
        for ((id, node), noise) in computed {
            let decibels = |error: f64| 10.0 * (noise.power / error).log10();
            let (total, own) = (decibels(noise.error), decibels(noise.own));
            writeln!(
                f,
                "  %{} = {} {} {total:.1} dB, alone {own:.1} dB  {:?}",
                id.0,
                node.op.label(),
                node.shape,
                node.name
            )?;
        }
        Ok(())
    }
}
