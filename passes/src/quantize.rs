//! Annotated float graph to integers: codes, biases, multipliers.
//!
//! Takes an [`Annotated`] graph, returns integer constants beside its structure. Widens a weight scale where an
//! accumulator could leave i32 or a multiplier its range. Does not choose widths, kernels or memory. The formulas are those of
//! docs/quantization.md.

use crate::activation::ActivationQuant;
use crate::annotate::{Annotated, coded_weights, to_steps};
use crate::calibrate::Range;
pub use crate::domain::Domain;
use crate::domain::{domains, keeps_codes};
use crate::equalize::{self, ChannelFactors};
use crate::ir::{Clip, Graph, Node, NodeId, Op};
use crate::simd::Isa;
use releqc_runtime::BitWidth;
use releqc_runtime::verify::MULTIPLIER_RANGE;
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// Why a graph cannot be expressed in integers.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum QuantizeError {
    /// No scale keeps the accumulators in i32.
    #[error(
        "{layer}: output channel {channel} sums {depth} products and a bias of {bias:e}; no weight scale keeps the sum below 2^31"
    )]
    Accumulator {
        /// ONNX node name.
        layer: String,
        /// Output channel.
        channel: usize,
        /// Products summed.
        depth: usize,
        /// Its bias.
        bias: f32,
    },
    /// A ratio of scales leaves the range of multipliers.
    #[error("{node}: multiplier {value:e} is outside 2^-40..=2^20; the ranges of its input and result differ too much")]
    Multiplier {
        /// ONNX node name.
        node: String,
        /// The ratio.
        value: f32,
    },
}

/// Integer constants of one weight layer.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLayer {
    /// Width of the codes.
    pub bits: BitWidth,
    /// In the order of ONNX: `[output][input channel][kernel row][kernel column]`, `[output][input]`.
    pub codes: Vec<i8>,
    /// Weights an output.
    pub depth: usize,
    /// Weight scale of each output channel, after widening.
    pub scales: Vec<f32>,
    /// One an output channel, the zero point of the input folded in.
    pub biases: Vec<i32>,
    /// One an output channel.
    pub multipliers: Vec<f32>,
}

/// A graph whose weight layers have integer constants.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Structure, names and shapes; its float weights are no longer used.
    pub graph: Graph,
    /// One entry a node.
    pub domains: Vec<Domain>,
    /// One entry a node; codes that only move carry the quantization of where they came from.
    pub activations: Vec<ActivationQuant>,
    /// One entry a node: what the scale of each channel is multiplied by.
    pub factors: Vec<ChannelFactors>,
    /// One entry a weight layer.
    pub layers: BTreeMap<NodeId, QuantizedLayer>,
}

impl Quantized {
    /// The codes `lo..=hi` that a node's activation allows. With factors, a bound above 0 is another code in every channel, and none
    /// that the samples reached: the range ends before it.
    pub fn clamp(&self, id: NodeId, clip: Option<Clip>) -> (u8, u8) {
        let ActivationQuant { scale, zero_point, largest } = self.activations[id.0];
        let code = |bound: f32| {
            let steps = (bound / scale).round_ties_even() + f32::from(zero_point);
            steps.clamp(0.0, f32::from(largest)) as u8
        };
        let top = |max: f32| if max > 0.0 && self.factors[id.0].is_some() { largest } else { code(max) };
        clip.map_or((0, largest), |clip| (code(clip.min), top(clip.max)))
    }
}

/// Quantizes every weight layer.
///
/// # Errors
/// A layer or node that no scale makes fit.
pub fn quantize(annotated: Annotated) -> Result<Quantized, QuantizeError> {
    let Annotated { graph, weights, mut activations, factors, floats } = annotated;
    let domains = domains(&graph, &floats);
    for (id, node) in graph.iter() {
        match &node.op {
            // Its values are known, so its range is: what moves its codes, and layers that read them, must go by the
            // same.
            Op::Constant(tensor) => {
                let values = equalize::divided(&node.shape, tensor.data(), &factors[id.0]);
                activations[id.0] = ActivationQuant::of(Range::of(&values), BitWidth::MAX);
            }
            _ if keeps_codes(node) && domains[id.0] == Domain::Codes => {
                activations[id.0] = activations[node.inputs[0].0];
            }
            _ => {}
        }
    }
    let mut quantized = Quantized { graph, domains, activations, factors, layers: BTreeMap::new() };
    for (id, quant) in weights {
        let layer = quantize_layer(&quantized, id, quant.bits, &quant.scales)?;
        quantized.layers.insert(id, layer);
    }
    Ok(quantized)
}

fn quantize_layer(
    quantized: &Quantized,
    id: NodeId,
    bits: BitWidth,
    scales: &[f32],
) -> Result<QuantizedLayer, QuantizeError> {
    let node = quantized.graph.node(id);
    let input = quantized.activations[node.inputs[0].0];
    let owned = node.layer().expect("a layer with weights");
    let weights = coded_weights(&owned, &quantized.factors[node.inputs[0].0]);
    let (weights, bias) = (&weights[..], owned.bias);
    let outputs = scales.len();
    let depth = weights.len() / outputs;
    let output_scale = match quantized.domains[id.0] {
        Domain::Codes => Some(quantized.activations[id.0].scale),
        Domain::Float => None,
    };
    let mut layer = QuantizedLayer {
        bits,
        codes: Vec::with_capacity(weights.len()),
        depth,
        scales: Vec::with_capacity(outputs),
        biases: Vec::with_capacity(outputs),
        multipliers: Vec::with_capacity(outputs),
    };
    let mut vanished = 0u32;
    for (channel, row) in weights.chunks_exact(depth).enumerate() {
        let bias = bias.map_or(0.0, |b| b[channel]);
        let factor = |scale: f32| f64::from(scale) * f64::from(equalize::factor(&quantized.factors[id.0], channel));
        let to_multiplier = f64::from(input.scale) / output_scale.map_or(1.0, factor);
        // A scale too small for the range of multipliers is widened to its lower end.
        let smallest =
            ((f64::from(*MULTIPLIER_RANGE.start()) * 1.000_001 / to_multiplier) as f32).max(f32::MIN_POSITIVE);
        let mut scale = scales[channel].max(smallest);
        let is_zero = codes(row, scale, bits).iter().all(|&code| code == 0);
        if is_zero {
            vanished += u32::from(scale == smallest && row.iter().any(|&w| w != 0.0));
            // Nothing but the bias is left, so the scale is what holds the bias best.
            let finest = f64::from(bias.abs()) / (f64::from(input.scale) * BIAS_STEPS);
            scale = smallest.max(finest as f32);
        }
        let (codes, biased) = loop {
            let codes = if is_zero { vec![0; depth] } else { codes(row, scale, bits) };
            let biased = bias_code(bias, input, scale, &codes);
            let magnitude: i64 = codes.iter().map(|&w| i64::from(w).abs()).sum();
            if biased.abs() + 255.0 * (magnitude as f64) < 2_147_483_648.0 {
                break (codes, biased);
            }
            scale *= 2.0;
            if f64::from(scale) * to_multiplier > f64::from(*MULTIPLIER_RANGE.end()) {
                let layer = node.name.clone();
                return Err(QuantizeError::Accumulator { layer, channel, depth, bias });
            }
        };
        let multiplier = (f64::from(scale) * to_multiplier) as f32;
        check_multiplier(node, multiplier)?;
        layer.codes.extend(codes);
        layer.scales.push(scale);
        layer.biases.push(biased as i32);
        layer.multipliers.push(multiplier);
    }
    // Codes may be too coarse for what is that small; floats are not.
    if quantized.domains[id.0] == Domain::Float && vanished as usize == outputs {
        let value = (f64::from(scales[0]) * f64::from(input.scale)) as f32;
        return Err(QuantizeError::Multiplier { node: node.name.clone(), value });
    }
    Ok(layer)
}

/// Steps that the bias of a channel without weights gets.
const BIAS_STEPS: f64 = 1_073_741_824.0; // 2^30

fn codes(row: &[f32], scale: f32, bits: BitWidth) -> Vec<i8> {
    let mut steps = row.to_vec();
    to_steps(Isa::detect(), &mut steps, scale, f32::from(bits.max_code()));
    steps.into_iter().map(|step| step as i8).collect()
}

/// `rne(bias / (s_in * s_w)) - z_in * sum(w)`, exact in f64.
fn bias_code(bias: f32, input: ActivationQuant, scale: f32, codes: &[i8]) -> f64 {
    let sum: i64 = codes.iter().map(|&w| i64::from(w)).sum();
    let steps = (f64::from(bias) / (f64::from(input.scale) * f64::from(scale))).round_ties_even();
    steps - (i64::from(input.zero_point) * sum) as f64
}

/// Checks a ratio of scales against the range that every executor relies on.
pub(crate) fn check_multiplier(node: &Node, value: f32) -> Result<f32, QuantizeError> {
    if MULTIPLIER_RANGE.contains(&value) {
        Ok(value)
    } else {
        Err(QuantizeError::Multiplier { node: node.name.clone(), value })
    }
}

impl fmt::Display for Quantized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "quantized {:?}", self.graph.name)?;
        for (id, node) in self.graph.iter() {
            write!(f, "  %{} = {} -> {}", id.0, node.op.label(), node.shape)?;
            match self.domains[id.0] {
                Domain::Float => write!(f, " f32")?,
                Domain::Codes => write!(f, " {}", self.activations[id.0])?,
            }
            if let Some(layer) = self.layers.get(&id) {
                let zeros = layer.codes.iter().filter(|&&w| w == 0).count();
                let (lo, hi) = layer.biases.iter().fold((i32::MAX, i32::MIN), |(lo, hi), &b| (lo.min(b), hi.max(b)));
                let share = 100.0 * zeros as f64 / layer.codes.len() as f64;
                write!(f, " {} bits, {} codes, {share:.1} % zero, biases {lo}..{hi}", layer.bits, layer.codes.len())?;
            }
            writeln!(f, "  {:?}", node.name)?;
        }
        Ok(())
    }
}
