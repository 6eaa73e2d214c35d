//! What quantization a graph gets: widths and scales beside the float graph, nothing rounded yet.
//!
//! [`annotate`] takes a calibrated graph and one width a weight layer, and chooses the scales. It changes no weight;
//! retraining yields an [`Annotated`] of its own.

use crate::activation::ActivationQuant;
use crate::calibrate::Calibrated;
use crate::equalize::{self, ChannelFactors};
use crate::ir::{Graph, Layer, NodeId};
use crate::simd::{Isa, vectorized};
use rayon::prelude::*;
use releqc_runtime::BitWidth;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Quantization of one layer's weights: `code = clamp(rne(w / scale[c]), -max_code, max_code)`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightQuant {
    /// Width of the codes.
    pub bits: BitWidth,
    /// One step an output channel, finite and > 0.
    pub scales: Vec<f32>,
}

/// A folded float graph with the quantization of each weight layer and of each tensor.
#[derive(Clone, Debug)]
pub struct Annotated {
    /// No batch normalisation inside conv or fully connected nodes.
    pub graph: Graph,
    /// One entry a weight layer.
    pub weights: BTreeMap<NodeId, WeightQuant>,
    /// One entry a node; of an output that leaves as logits it is unused.
    pub activations: Vec<ActivationQuant>,
    /// One entry a node: what the scale of each channel is multiplied by.
    pub factors: Vec<ChannelFactors>,
    /// Nodes whose values stay floats.
    pub floats: BTreeSet<NodeId>,
}

vectorized! {
    /// [`ActivationQuant::rounded`] of lines of `inner` values, the scales one after the other and from the first again.
    fn round_lines(values: &mut [f32], inner: usize, scales: &[f32], quant: ActivationQuant) {
        if inner == 1 {
            for row in values.chunks_exact_mut(scales.len()) {
                let each = row.iter_mut().zip(scales);
                each.for_each(|(v, &scale)| *v = ActivationQuant { scale, ..quant }.rounded(*v));
            }
        } else {
            for (line, &scale) in values.chunks_exact_mut(inner.max(1)).zip(scales.iter().cycle()) {
                line.iter_mut().for_each(|v| *v = ActivationQuant { scale, ..quant }.rounded(*v));
            }
        }
    }
}

vectorized! {
    /// Weights to their codes, as floats.
    pub(crate) fn to_steps(weights: &mut [f32], scale: f32, max_code: f32) {
        weights.iter_mut().for_each(|w| *w = (*w / scale).round_ties_even().clamp(-max_code, max_code));
    }
}

impl Annotated {
    /// Replaces the values of a node, of one or more samples, by what their codes stand for.
    pub fn round(&self, id: NodeId, values: &mut [f32]) {
        let quant = self.activations[id.0];
        match &self.factors[id.0] {
            None => round_lines(Isa::detect(), values, values.len(), &[quant.scale], quant),
            Some(factors) => {
                let (_, inner) = equalize::channels(&self.graph.node(id).shape);
                let scales: Vec<f32> = factors.iter().map(|factor| quant.scale * factor).collect();
                round_lines(Isa::detect(), values, inner, &scales, quant);
            }
        }
    }
}

/// How the scales of weights are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightScales {
    /// The least square error of the weights.
    LeastError,
    /// The largest weight has the largest code: little worse at 8 bits, and known at once.
    Largest,
}

/// Gives each weight layer its width and the scales with the least square error of its weights.
///
/// # Panics
/// When the number of widths is not that of the weight layers.
pub fn annotate(calibrated: &Calibrated, widths: &[BitWidth]) -> Annotated {
    annotate_with(calibrated, widths, WeightScales::LeastError)
}

/// Gives each weight layer its width and its scales.
///
/// # Panics
/// When the number of widths is not that of the weight layers.
pub fn annotate_with(calibrated: &Calibrated, widths: &[BitWidth], choice: WeightScales) -> Annotated {
    let graph = &calibrated.folded;
    let layers: Vec<(NodeId, NodeId, Layer<'_>)> =
        graph.iter().filter_map(|(id, node)| node.layer().map(|layer| (id, node.inputs[0], layer))).collect();
    assert_eq!(layers.len(), widths.len(), "one width a weight layer");
    let weights = layers.iter().zip(widths).map(|((id, operand, layer), &bits)| {
        let scale = |row: &[f32]| match choice {
            WeightScales::LeastError => least_error_scale(row, bits),
            WeightScales::Largest => largest_scale(row, bits),
        };
        let weights = coded_weights(layer, &calibrated.factors[operand.0]);
        let scales = weights.par_chunks(layer.depth()).map(scale).collect();
        (*id, WeightQuant { bits, scales })
    });
    let weights = weights.collect();
    let activations = calibrated.activations();
    let (factors, floats) = (calibrated.factors.clone(), calibrated.floats.clone());
    Annotated { graph: graph.clone(), weights, activations, factors, floats }
}

/// What the codes of a layer stand for: its weights, times the factors of its operand.
pub(crate) fn coded_weights<'l>(layer: &Layer<'l>, factors: &ChannelFactors) -> Cow<'l, [f32]> {
    let weights = layer.weight.data();
    match factors {
        None => Cow::Borrowed(weights),
        Some(factors) => weights.iter().enumerate().map(|(i, w)| w * factors[layer.channel(i)]).collect(),
    }
}

/// Candidate scales, in parts of that of the largest weight: from the whole down to the narrowest useful one.
const PARTS: usize = 80;
const CANDIDATES: usize = PARTS - PARTS / 10 + 1;

/// The scale that gives the largest weight the largest code; 1 for a channel of zeros.
fn largest_scale(weights: &[f32], bits: BitWidth) -> f32 {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if largest < f32::MIN_POSITIVE { 1.0 } else { largest / f32::from(bits.max_code()) }
}

/// The scale with the least `sum((w - scale * code)^2)`, sums in f64 in order of the weights; 1 for a channel of zeros.
pub fn least_error_scale(weights: &[f32], bits: BitWidth) -> f32 {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if largest < f32::MIN_POSITIVE {
        return 1.0;
    }
    let max_code = f32::from(bits.max_code());
    let scales: [f32; CANDIDATES] = std::array::from_fn(|i| largest / max_code * ((PARTS - i) as f32 / PARTS as f32));
    let mut errors = [0.0; CANDIDATES];
    square_errors(Isa::detect(), weights, &scales, max_code, &mut errors);
    // From the widest down; ties keep the wider.
    let mut best = (f64::INFINITY, scales[0]);
    for (error, scale) in errors.into_iter().zip(scales) {
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

vectorized! {
    /// What each scale costs; vectors run along the scales, so that every sum has its own order.
    fn square_errors(weights: &[f32], scales: &[f32; CANDIDATES], max_code: f32, errors: &mut [f64; CANDIDATES]) {
        for &w in weights {
            for (error, &scale) in errors.iter_mut().zip(scales) {
                let code = (w / scale).round_ties_even().clamp(-max_code, max_code);
                // Exact: a product of a code and a scale.
                let distance = f64::from(w) - f64::from(code) * f64::from(scale);
                *error += distance * distance;
            }
        }
    }
}

impl fmt::Display for Annotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "annotated {:?}", self.graph.name)?;
        for (id, node) in self.graph.iter() {
            write!(f, "  %{} = {} {}", id.0, node.op.label(), self.activations[id.0])?;
            if let Some(WeightQuant { bits, scales }) = self.weights.get(&id) {
                let (lo, hi) = scales.iter().fold((f32::INFINITY, 0.0f32), |(lo, hi), &s| (lo.min(s), hi.max(s)));
                write!(f, " weights {bits} bits, {} scales {lo:e}..{hi:e}", scales.len())?;
            }
            writeln!(f, "  {:?}", node.name)?;
        }
        Ok(())
    }
}
