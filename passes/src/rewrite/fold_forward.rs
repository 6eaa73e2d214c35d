//! Folds batch normalisation and constant affine maps forward, into the layer that reads them.
//!
//! Takes any verified graph. An affine map (BatchNorm or constant affine, without activation) that could not join the layer
//! before it, and whose only reader is a fully connected layer or a conv without padding, maybe past reshapes, becomes
//! part of that layer: `W'[o, c, ..] = W[o, c, ..] * mul[c]`, `b'[o] = b[o] + sum W[o, c, ..] * add[c]`, in f64, rounded once.
//! Does not touch a map read by a padded conv (the padding would have to become `-add / mul`), a second reader, or an output, nor one
//! whose products with the weights leave the range of f32.

use super::edit::{Removal, sole_user};
use crate::ir::{Graph, NodeId, Op, Padding, Tensor};

pub(super) fn fold_forward(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    // From the end: what is folded makes way for an affine map above it.
    for index in (1..graph.nodes.len()).rev() {
        let id = NodeId(index);
        let node = graph.node(id);
        let (mul, add) = match &node.op {
            Op::BatchNorm(norm) => norm.affine(),
            Op::ChannelAffine { mul, add } => (mul.clone(), add.clone()),
            _ => continue,
        };
        let input = node.inputs[0];
        let cells = node.shape.len() / mul.len().max(1);
        if node.activation.is_some() {
            continue;
        }
        let mut past_reshape = false;
        let mut next = sole_user(&graph, &users, id);
        while let Some(reader) = next.filter(|&reader| is_passed(&graph, &removal, reader)) {
            past_reshape |= graph.node(reader).op == Op::Reshape;
            next = sole_user(&graph, &users, reader);
        }
        let Some(reader) = next else { continue };
        // A fully connected layer reads all of a sample's values, each channel's once and one after the other, or they
        // are no columns of it.
        let flat = node.shape.dims().first() == Some(&1)
            && graph.node(graph.node(reader).inputs[0]).shape.dims() == [1, node.shape.len()];
        if matches!(graph.node(reader).op, Op::FullyConnected(_)) && !flat {
            continue;
        }
        let is_folded = match &mut graph.nodes[reader.0].op {
            Op::FullyConnected(fc) => fold(&mut fc.weight, &mut fc.bias, 1, cells, &mul, &add),
            Op::Conv(conv) if conv.window.padding == Padding::default() && !past_reshape => {
                let taps = conv.window.kernel[0] * conv.window.kernel[1];
                fold(&mut conv.weight, &mut conv.bias, conv.groups, taps, &mul, &add)
            }
            _ => false,
        };
        if is_folded {
            removal.replace(id, input);
        }
    }
    removal.apply(graph)
}

/// A reshape, or an affine map that was folded already.
fn is_passed(graph: &Graph, removal: &Removal, id: NodeId) -> bool {
    let node = graph.node(id);
    removal.resolve(id) != id || (node.op == Op::Reshape && node.activation.is_none())
}

/// `run` values of a weight row belong to one input channel. False, and nothing done, where a result leaves the range of f32.
fn fold(weight: &mut Tensor, bias: &mut Option<Vec<f32>>, groups: usize, run: usize, mul: &[f32], add: &[f32]) -> bool {
    let outputs = weight.dims()[0];
    let row = weight.data().len() / outputs;
    let channels_of_group = row / run;
    let mut folded = Vec::with_capacity(weight.data().len());
    let mut shifted = Vec::with_capacity(outputs);
    for o in 0..outputs {
        let first = o / (outputs / groups) * channels_of_group;
        let mut shift = bias.as_ref().map_or(0.0, |bias| f64::from(bias[o]));
        for (at, &w) in weight.data()[o * row..(o + 1) * row].iter().enumerate() {
            let channel = first + at / run;
            folded.push((f64::from(w) * f64::from(mul[channel])) as f32);
            shift += f64::from(w) * f64::from(add[channel]);
        }
        shifted.push(shift as f32);
    }
    if !folded.iter().chain(&shifted).all(|value| value.is_finite()) {
        return false;
    }
    *weight = weight.with_data(folded);
    *bias = Some(shifted);
    true
}
