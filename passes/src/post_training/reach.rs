//! Wide tensors until a signal-to-noise ratio is reached.
//!
//! Takes a quantization with too much noise; returns one in which as many tensors are carried in two planes of 8 bits as the ratio
//! needs, the cheapest first. What tensors contribute is predicted on calibration samples. Whether the ratio is reached is measured
//! by the caller, on samples that nothing was learned from.

use super::{PostTrained, Rounding, contributions, quantize_after_training, spread, widen};
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
    /// Its quantization.
    pub trained: PostTrained,
    /// Layers that read a wide tensor.
    pub layers: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Reached<E> {
    /// The same tensors, weights of 8 bits rounded for the results of their layers too; `None` where that is not asked for or no better.
    pub narrow: Option<PostTrained>,
    /// `None` where the ratio is reached without, or wide tensors gain too little.
    pub wide: Option<Wide>,
    /// Signal-to-noise ratio without wide tensors, dB.
    pub before: f64,
    /// Signal-to-noise ratio of what is returned, dB.
    pub decibels: f64,
    /// Why a choice of wide tensors could not be measured, the last.
    pub refused: Option<E>,
}

/// Carries as many tensors in two planes of 8 bits as a ratio of `wanted` dB needs, after `attempts` choices at most; with none, only
/// weights are rounded otherwise. `measure` tells the ratio of a quantization in dB.
///
/// # Errors
/// Of `measure` on the network without wide tensors.
pub fn reach<E>(
    calibrated: &Calibrated,
    widths: &[BitWidth],
    samples: &[Vec<f32>],
    as_usual: Rounding,
    trained: &PostTrained,
    wanted: f64,
    attempts: usize,
    measure: impl Fn(&Annotated) -> Result<f64, E>,
) -> Result<Reached<E>, E> {
    let before = measure(&trained.annotated)?;
    let mut reached = Reached { narrow: None, wide: None, before, decibels: before, refused: None };
    if before >= wanted {
        return Ok(reached);
    }
    let rounding = as_usual.at_every_width();
    if rounding != as_usual && widths.contains(&BitWidth::MAX) {
        let rounded = quantize_after_training(calibrated, widths, samples, rounding);
        let decibels = measure(&rounded.annotated)?;
        if decibels > before {
            reached.decibels = decibels;
            reached.narrow = Some(rounded);
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
    let few = spread(samples, ATTEMPT_BUDGET / macs.max(1), 8);
    let mut aim = wanted;
    let mut tried = 0;
    let mut best: Option<(f64, usize, widen::Widened)> = None;
    for _ in 0..attempts {
        // The prediction knows nothing of weights and of values outside of ranges: where it asks for no more, the aim is higher.
        let more = (0..HIGHEST_AIM)
            .map(|step| contributions::cheapest(graph, &contributions, aim + f64::from(step)))
            .zip(0u32..)
            .find(|(chosen, _)| readers(graph, chosen) > tried);
        let Some((chosen, step)) = more else { break };
        tried = readers(graph, &chosen);
        let widened = widen::widen(calibrated, &chosen);
        let attempt = quantize_after_training(&widened.calibrated, &widened.widths(widths), &few, as_usual);
        match measure(&attempt.annotated) {
            Ok(decibels) => {
                if best.as_ref().is_none_or(|(best, ..)| *best < decibels) {
                    best = Some((decibels, tried, widened));
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
    let Some((_, layers, widened)) = best.filter(|(decibels, ..)| *decibels > before) else { return Ok(reached) };
    // Weights are rounded as above where that is better.
    let rounding = if reached.narrow.is_some() { rounding } else { as_usual };
    let trained = quantize_after_training(&widened.calibrated, &widened.widths(widths), samples, rounding);
    match measure(&trained.annotated) {
        Ok(decibels) if decibels > reached.decibels + WORTH => {
            reached.decibels = decibels;
            reached.wide = Some(Wide { calibrated: widened.calibrated, trained, layers });
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

/// Wide tensors that gain less, in dB, are not worth their time.
const WORTH: f64 = 1.0;
