//! What quantization a graph gets: widths and scales beside the float graph, nothing rounded yet.
//!
//! [`annotate`] takes a calibrated graph and one width a weight layer, and chooses the scales. It changes no weight;
//! retraining yields an [`Annotated`] of its own.

use crate::calibrate::{Calibrated, Range};
use crate::ir::{Graph, NodeId, Op};
use rayon::prelude::*;
use releqc_runtime::BitWidth;
use std::collections::BTreeMap;
use std::fmt;

/// Quantization of one layer's weights: `code = clamp(rne(w / scale[c]), -max_code, max_code)`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightQuant {
    /// Width of the codes.
    pub bits: BitWidth,
    /// One step an output channel, finite and > 0.
    pub scales: Vec<f32>,
}

/// Quantization of one activation tensor: `q = clamp(rne(x / scale) + zero_point, 0, 255)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationQuant {
    /// Step, finite and > 0.
    pub scale: f32,
    /// The code of 0.0.
    pub zero_point: u8,
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
}

impl ActivationQuant {
    /// Scales stay in this range, so that every product of two of them is a normal number.
    pub const SCALES: std::ops::RangeInclusive<f32> = 9.313_226e-10..=1_073_741_824.0; // 2^-30, 2^30

    /// The 8-bit quantization of a range that contains 0; scale 1 for a range of width 0.
    pub fn of(range: Range) -> Self {
        let width = range.max - range.min;
        if width <= 0.0 {
            return ActivationQuant { scale: 1.0, zero_point: 0 };
        }
        let scale = (width / 255.0).clamp(*Self::SCALES.start(), *Self::SCALES.end());
        let zero_point = (-range.min / scale).round_ties_even().clamp(0.0, 255.0) as u8;
        ActivationQuant { scale, zero_point }
    }
}

/// Gives each weight layer its width and the scales with the least square error of its weights.
///
/// # Panics
/// When the number of widths is not that of the weight layers.
pub fn annotate(calibrated: &Calibrated, widths: &[BitWidth]) -> Annotated {
    let graph = &calibrated.folded;
    let layers = graph.weight_layers();
    assert_eq!(layers.len(), widths.len(), "one width a weight layer");
    let weights = layers.iter().zip(widths).map(|(&id, &bits)| {
        let weight = match &graph.node(id).op {
            Op::Conv(conv) => &conv.weight,
            Op::FullyConnected(fc) => &fc.weight,
            other => unreachable!("{} owns no weights", other.label()),
        };
        let channel = weight.data().len() / weight.dims()[0];
        let scales = weight.data().par_chunks(channel).map(|w| least_error_scale(w, bits)).collect();
        (id, WeightQuant { bits, scales })
    });
    let weights = weights.collect();
    let activations = calibrated.ranges.iter().map(|&range| ActivationQuant::of(range)).collect();
    Annotated { graph: graph.clone(), weights, activations }
}

/// Candidate scales tried between the narrowest useful one and that of the largest weight.
const SCALE_CANDIDATES: u32 = 80;

/// The scale with the least `sum((w - scale * code)^2)`, sums in f64 in order of the weights; 1 for a channel of zeros.
pub fn least_error_scale(weights: &[f32], bits: BitWidth) -> f32 {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if largest < f32::MIN_POSITIVE {
        return 1.0;
    }
    let max_code = f32::from(bits.max_code());
    let mut best = (f64::INFINITY, largest / max_code);
    // From the widest down; ties keep the wider.
    for step in (SCALE_CANDIDATES / 10..=SCALE_CANDIDATES).rev() {
        let scale = largest / max_code * (step as f32 / SCALE_CANDIDATES as f32);
        let error = weights.iter().fold(0.0f64, |sum, &w| {
            let code = (w / scale).round_ties_even().clamp(-max_code, max_code);
            let distance = f64::from(w) - f64::from(code) * f64::from(scale);
            sum + distance * distance
        });
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

impl fmt::Display for Annotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "annotated {:?}", self.graph.name)?;
        for (id, node) in self.graph.iter() {
            let ActivationQuant { scale, zero_point } = self.activations[id.0];
            write!(f, "  %{} = {} u8 scale {scale:e} zero_point {zero_point}", id.0, node.op.label())?;
            if let Some(WeightQuant { bits, scales }) = self.weights.get(&id) {
                let (lo, hi) = scales.iter().fold((f32::INFINITY, 0.0f32), |(lo, hi), &s| (lo.min(s), hi.max(s)));
                write!(f, " weights {bits} bits, {} scales {lo:e}..{hi:e}", scales.len())?;
            }
            writeln!(f, "  {:?}", node.name)?;
        }
        Ok(())
    }
}
