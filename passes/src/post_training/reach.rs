//! Wide tensors until a signal-to-noise ratio is reached.
//!
//! Takes a network whose quantization has too much noise; returns how it has less: as many tensors are carried in two planes of 8
//! bits as the ratio needs, the cheapest first. What tensors contribute is predicted on the samples that rounding is fitted to. Whether
//! the ratio is reached is measured by the caller, on others; ranges may have seen those too.

use super::contributions::{self, Choices};
use super::{Rounding, quantize_after_training, spread, widen};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::ir::{Graph, NodeId};
use releqc_runtime::BitWidth;
use std::collections::BTreeSet;

/// A network with wide tensors.
#[derive(Clone, Debug)]
pub struct Wide {
    /// The graph with the wide tensors.
    pub calibrated: Calibrated,
    /// The widths of its layers.
    pub widths: Vec<BitWidth>,
    /// Layers of the network that read a wide tensor.
    pub layers: usize,
}

/// How a network is to be quantized.
#[derive(Clone, Debug)]
pub struct Reached<E> {
    /// Of its weights.
    pub rounding: Rounding,
    /// `None` where the ratio is reached without, or wide tensors gain too little.
    pub wide: Option<Wide>,
    /// Signal-to-noise ratio of the usual rounding without wide tensors, dB.
    pub before: f64,
    /// Signal-to-noise ratio of what is returned, dB.
    pub decibels: f64,
    /// Why a choice of wide tensors could not be measured, the last.
    pub refused: Option<E>,
}

/// Rounds weights of 8 bits for the results of their layers where that is better, and carries as many tensors in two planes of 8 bits
/// as a ratio of `wanted` dB needs, after `attempts` choices at most. `measure` tells the ratio of a quantization in dB on other
/// samples than `samples`: rounding fits itself to those that it sees.
///
/// # Errors
/// Of `measure` on the network without wide tensors.
pub fn reach<E>(
    calibrated: &Calibrated,
    widths: &[BitWidth],
    samples: &[Vec<f32>],
    as_usual: Rounding,
    wanted: f64,
    attempts: usize,
    measure: impl Fn(&Annotated) -> Result<f64, E>,
) -> Result<Reached<E>, E> {
    let tried = |calibrated: &Calibrated, widths: &[BitWidth], samples: &[Vec<f32>], rounding: Rounding| {
        measure(&quantize_after_training(calibrated, widths, samples, rounding).annotated)
    };
    let before = tried(calibrated, widths, samples, as_usual)?;
    let mut reached = Reached { rounding: as_usual, wide: None, before, decibels: before, refused: None };
    let every_width = as_usual.at_every_width();
    if before < wanted && every_width != as_usual && widths.contains(&BitWidth::MAX) {
        let decibels = tried(calibrated, widths, samples, every_width)?;
        if decibels > before + CLEARLY {
            (reached.decibels, reached.rounding) = (decibels, every_width);
        }
    }
    if reached.decibels >= wanted || attempts == 0 {
        return Ok(reached);
    }
    let graph = &calibrated.folded;
    let macs: u64 = graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum();
    let passes = macs.max(1) * graph.weight_layers().len() as u64 / 2;
    let few = spread(samples, CONTRIBUTION_BUDGET / passes.max(1), 4);
    let contributions = contributions::contributions(calibrated, &few);
    let choices = Choices::of(graph, &contributions);
    let few = spread(samples, ATTEMPT_BUDGET / macs.max(1), 8);
    let mut aim = wanted;
    let mut layers = 0;
    let mut best: Option<(f64, Wide)> = None;
    for _ in 0..attempts {
        // The prediction knows nothing of weights and of values outside of ranges: where it asks for no more, the aim is higher.
        let more = (0..HIGHEST_AIM)
            .map(|step| choices.cheapest(aim + f64::from(step)))
            .zip(0u32..)
            .find(|(chosen, _)| readers(graph, chosen) > layers);
        let Some((chosen, step)) = more else { break };
        layers = readers(graph, &chosen);
        let widened = widen::widen(calibrated, &chosen);
        let widths = widened.widths(widths);
        match tried(&widened.calibrated, &widths, &few, as_usual) {
            Ok(decibels) => {
                if best.as_ref().is_none_or(|(best, ..)| *best < decibels) {
                    best = Some((decibels, Wide { calibrated: widened.calibrated, widths, layers }));
                }
                if decibels >= wanted {
                    break;
                }
                aim += f64::from(step) + (wanted - decibels).max(1.0);
            }
            Err(error) => {
                reached.refused = Some(error);
                break;
            }
        }
    }
    let Some((_, wide)) = best.filter(|(decibels, _)| *decibels > before) else { return Ok(reached) };
    match tried(&wide.calibrated, &wide.widths, samples, reached.rounding) {
        Ok(decibels) if decibels > reached.decibels + WORTH => {
            reached.decibels = decibels;
            reached.wide = Some(wide);
        }
        Ok(_) => {}
        Err(error) => reached.refused = Some(error),
    }
    Ok(reached)
}

/// Layers that read one of the tensors.
fn readers(graph: &Graph, tensors: &BTreeSet<NodeId>) -> usize {
    graph.nodes.iter().filter(|node| node.owns_weights() && tensors.contains(&node.inputs[0])).count()
}

/// Multiply-accumulates spent on finding out what each tensor contributes, about.
const CONTRIBUTION_BUDGET: u64 = 8_000_000_000;

/// Multiply-accumulates spent on trying a choice of wide tensors, about.
const ATTEMPT_BUDGET: u64 = 4_000_000_000;

/// How far the aim is raised for a larger choice, dB.
const HIGHEST_AIM: u32 = 40;

/// Rounding of 8 bits that gains less, in dB, may be luck.
const CLEARLY: f64 = 0.5;

/// Wide tensors that gain less, in dB, are not worth their time.
const WORTH: f64 = 1.0;
