//! Trained parameters back into graphs: the float graph, or the folded graph with weights exactly on their codes.
//!
//! Folding a batch normalisation into rounded weights keeps the codes:
//!
//! ```text
//! factor = gamma / sqrt(variance + epsilon), 0 for a channel that is constant
//! scale' = step * |factor|        code' = sign(factor) * code        w' = code' * scale'
//! bias'  = beta + (bias - mean) * factor
//! ```

use super::layers::inverse_deviation;
use super::network::{Layer, Network, Norm, from_hwio};
use super::recording::Rounding;
use super::session::State;
use crate::activation::ActivationQuant;
use crate::annotate::{Annotated, WeightQuant};
use crate::ir::{Graph, Node, Op, Tensor};
use releqc_runtime::BitWidth;
use std::collections::{BTreeMap, BTreeSet};

/// Below this a folded channel is as good as zero, and its scale would leave the range of the requantize multipliers.
const SMALLEST_SCALE: f32 = 1.0e-9;

/// `graph` with the values of `state`.
pub(crate) fn float_graph(graph: &Graph, network: &Network, state: &State) -> Graph {
    let mut graph = graph.clone();
    for (id, layer) in network.layers() {
        let value = |p: usize| state.parameters[p].values.clone();
        let parts = parts(&mut graph.nodes[id.0]);
        *parts.weight = parts.weight.with_data(from_hwio(&value(layer.weight), parts.weight));
        if let Some(bias) = layer.bias {
            *parts.bias = Some(value(bias));
        }
        if let (Some(norm), Some(bn)) = (&layer.norm, parts.batch_norm) {
            bn.gamma = value(norm.gamma);
            bn.beta = value(norm.beta);
            bn.mean = state.statistics[norm.statistics].mean.clone();
            bn.variance = state.statistics[norm.statistics].variance.clone();
        }
    }
    graph
}

/// `folded` with the rounded weights of `state`.
pub(crate) fn annotated_graph(
    folded: &Graph,
    network: &Network,
    state: &State,
    rounding: &Rounding,
    bits: &[BitWidth],
) -> Annotated {
    let mut graph = folded.clone();
    let mut weights = BTreeMap::new();
    for (id, layer) in network.layers() {
        let value = |p: usize| &state.parameters[p].values;
        let steps = value(rounding.weight_steps[layer.index]);
        let mut codes = rounding.weights[layer.index].codes(value(layer.weight), steps);
        let mut scales = steps.clone();
        let mut bias = layer.bias.map(|b| value(b).clone());
        if let Some(norm) = &layer.norm {
            bias = Some(fold(state, layer, norm, &mut codes, &mut scales));
        }
        silence(&mut codes, &mut scales);
        let channels = scales.len();
        let data: Vec<f32> = codes.iter().enumerate().map(|(i, &c)| f32::from(c) * scales[i % channels]).collect();
        let parts = parts(&mut graph.nodes[id.0]);
        *parts.weight = parts.weight.with_data(from_hwio(&data, parts.weight));
        *parts.bias = bias.or(parts.bias.take());
        weights.insert(id, WeightQuant { bits: bits[layer.index], scales });
    }
    let activations = activations(network, state, rounding);
    let factors = vec![None; graph.nodes.len()];
    Annotated { graph, weights, activations, factors, floats: BTreeSet::new() }
}

/// Folds the normalisation into codes and scales; the new bias.
fn fold(state: &State, layer: &Layer, norm: &Norm, codes: &mut [i8], scales: &mut [f32]) -> Vec<f32> {
    let value = |p: usize| &state.parameters[p].values;
    let statistics = &state.statistics[norm.statistics];
    let channels = scales.len();
    let mut bias = Vec::with_capacity(channels);
    for (c, scale) in scales.iter_mut().enumerate() {
        let factor = f64::from(value(norm.gamma)[c]) * inverse_deviation(statistics.variance[c], norm.epsilon);
        *scale = (f64::from(*scale) * factor.abs()) as f32;
        if factor < 0.0 {
            codes.iter_mut().skip(c).step_by(channels).for_each(|code| *code = -*code);
        }
        let own = layer.bias.map_or(0.0, |b| f64::from(value(b)[c]));
        bias.push((f64::from(value(norm.beta)[c]) + (own - f64::from(statistics.mean[c])) * factor) as f32);
    }
    bias
}

/// A channel without codes, or one whose scale is next to nothing, gets codes 0 and scale 1.
fn silence(codes: &mut [i8], scales: &mut [f32]) {
    let channels = scales.len();
    for (c, scale) in scales.iter_mut().enumerate() {
        let dead = *scale < SMALLEST_SCALE || codes.iter().skip(c).step_by(channels).all(|&code| code == 0);
        if dead {
            codes.iter_mut().skip(c).step_by(channels).for_each(|code| *code = 0);
            *scale = 1.0;
        }
    }
}

/// The codes of every tensor; one that only moves codes has those of its input.
fn activations(network: &Network, state: &State, rounding: &Rounding) -> Vec<ActivationQuant> {
    let mut made: Vec<ActivationQuant> = Vec::with_capacity(network.steps.len());
    for (node, step) in network.steps.iter().enumerate() {
        let mut quant = rounding.activations[node];
        if let Some(parameter) = rounding.activation_steps[node] {
            quant.scale = state.parameters[parameter].values[0];
        }
        if step.moves
            && let Some(&input) = step.inputs.first()
        {
            quant = made[input];
        }
        made.push(quant);
    }
    made
}

/// The trained parts of a layer's node.
struct Parts<'a> {
    weight: &'a mut Tensor,
    bias: &'a mut Option<Vec<f32>>,
    batch_norm: Option<&'a mut crate::ir::BatchNorm>,
}

fn parts(node: &mut Node) -> Parts<'_> {
    match &mut node.op {
        Op::Conv(conv) => {
            Parts { weight: &mut conv.weight, bias: &mut conv.bias, batch_norm: conv.batch_norm.as_mut() }
        }
        Op::FullyConnected(fc) => {
            Parts { weight: &mut fc.weight, bias: &mut fc.bias, batch_norm: fc.batch_norm.as_mut() }
        }
        _ => unreachable!("layers stand at conv and fully connected nodes alone"),
    }
}
