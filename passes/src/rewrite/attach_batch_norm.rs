//! Moves batch normalisation and constant affine maps into the layer they follow.
//!
//! Takes any verified graph. A BatchNorm whose operand is a conv or fully connected layer without batch normalisation joins
//! the layer's `batch_norm`; a constant addition joins its bias; another affine map becomes its batch normalisation
//! (mean 0, variance 1, epsilon 0) or is multiplied into the one that is there. The layer keeps its name.
//! Does not touch a layer with a second reader, with an activation, or that is an output; does not change weights.

use super::edit::{Removal, sole_user};
use crate::ir::{BatchNorm, Graph, NodeId, Op};

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
        let (bias, batch_norm, outputs) = match &mut graph.nodes[layer.0].op {
            Op::Conv(conv) => (&mut conv.bias, &mut conv.batch_norm, conv.weight.dims()[0]),
            Op::FullyConnected(fc) => (&mut fc.bias, &mut fc.batch_norm, fc.weight.dims()[0]),
            _ => continue,
        };
        let attached = match (&node.op, batch_norm.as_mut()) {
            (Op::BatchNorm(norm), None) => {
                *batch_norm = Some(norm.clone());
                true
            }
            (Op::ChannelAffine { mul, add }, None) if mul.iter().all(|&m| m == 1.0) => {
                let before = bias.take().unwrap_or_else(|| vec![0.0; outputs]);
                *bias = Some(before.iter().zip(add).map(|(b, a)| b + a).collect());
                true
            }
            (Op::ChannelAffine { mul, add }, None) => {
                *batch_norm = Some(affine_norm(mul.clone(), add.clone()));
                true
            }
            (Op::ChannelAffine { mul, add }, Some(norm)) => {
                for c in 0..outputs {
                    let (m, a) = (f64::from(mul[c]), f64::from(add[c]));
                    norm.gamma[c] = (f64::from(norm.gamma[c]) * m) as f32;
                    norm.beta[c] = (f64::from(norm.beta[c]) * m + a) as f32;
                }
                true
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

fn affine_norm(mul: Vec<f32>, add: Vec<f32>) -> BatchNorm {
    let channels = mul.len();
    BatchNorm { gamma: mul, beta: add, mean: vec![0.0; channels], variance: vec![1.0; channels], epsilon: 0.0 }
}
