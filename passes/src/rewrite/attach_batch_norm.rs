//! Moves batch normalisation and constant affine maps into the layer they follow.
//!
//! Takes any verified graph. A BatchNorm whose operand is a conv or fully connected layer without batch normalisation joins
//! the layer's `batch_norm`; a constant affine map is multiplied into the layer's weights and bias, or into the gamma and beta that
//! are there: it has no statistics, and retraining must not take any for it. In f64, rounded once. The layer keeps its name.
//! Does not touch a layer with a second reader, with an activation, or that is an output, nor a map whose products leave the range of f32.

use super::edit::{Removal, sole_user};
use super::fold_batch_norm::scale_rows;
use crate::ir::{Graph, NodeId, Op};

pub(super) fn attach_batch_norm(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    for index in 1..graph.nodes.len() {
        let id = NodeId(index);
        let node = graph.node(id).clone();
        let Some(&operand) = node.inputs.first() else { continue };
        // What was attached before stands for its layer; the last of the chain must be read by this node alone.
        let layer = removal.resolve(operand);
        if sole_user(&graph, &users, operand) != Some(id) || graph.node(layer).activation.is_some() {
            continue;
        }
        // Of a fully connected layer the last axis is normalised; axis 1 is that axis of features alone.
        let last_axis = graph.node(layer).shape.rank() == 2;
        if matches!(graph.node(layer).op, Op::FullyConnected(_)) && !last_axis {
            continue;
        }
        let (weight, bias, batch_norm) = match &mut graph.nodes[layer.0].op {
            Op::Conv(conv) => (&mut conv.weight, &mut conv.bias, &mut conv.batch_norm),
            // Its outputs lie on the last axis, the channels of a map on axis 1.
            Op::FullyConnected(fc) if node.shape.rank() == 2 => (&mut fc.weight, &mut fc.bias, &mut fc.batch_norm),
            _ => continue,
        };
        let attached = match (&node.op, batch_norm.as_mut()) {
            (Op::BatchNorm(norm), None) => {
                *batch_norm = Some(norm.clone());
                true
            }
            (Op::ChannelAffine { mul, add }, None) => {
                let wide: Vec<f64> = mul.iter().map(|&m| f64::from(m)).collect();
                let scaled = scale_rows(weight, &wide);
                let shifted = |(c, &a): (usize, &f32)| {
                    let before = bias.as_ref().map_or(0.0, |bias| f64::from(bias[c]));
                    (before * wide[c] + f64::from(a)) as f32
                };
                let shifted: Vec<f32> = add.iter().enumerate().map(shifted).collect();
                let is_finite = scaled.data().iter().chain(&shifted).all(|value| value.is_finite());
                if is_finite {
                    (*weight, *bias) = (scaled, Some(shifted));
                }
                is_finite
            }
            (Op::ChannelAffine { mul, add }, Some(norm)) => {
                let joined = |c: usize| {
                    let (m, a) = (f64::from(mul[c]), f64::from(add[c]));
                    ((f64::from(norm.gamma[c]) * m) as f32, (f64::from(norm.beta[c]) * m + a) as f32)
                };
                let (gamma, beta): (Vec<f32>, Vec<f32>) = (0..mul.len()).map(joined).unzip();
                let is_finite = gamma.iter().chain(&beta).all(|value| value.is_finite());
                if is_finite {
                    (norm.gamma, norm.beta) = (gamma, beta);
                }
                is_finite
            }
            _ => false,
        };
        if attached {
            graph.nodes[layer.0].activation = node.activation;
            removal.replace(id, layer);
        }
    }
    removal.apply(graph)
}
