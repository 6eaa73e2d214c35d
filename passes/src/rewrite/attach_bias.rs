//! Moves a constant addition over the last axis into the fully connected layer it follows.
//!
//! Takes any verified graph. Where the only reader of a fully connected layer adds a constant that has one value an output, or
//! one for all, the constant joins the layer's bias. Does not touch a layer with batch normalisation or an activation, a
//! constant that varies along another axis, or an output.

use super::edit::{Removal, sole_user, without_unread};
use crate::ir::{BinaryKind, Graph, NodeId, Op, Tensor};

pub(super) fn attach_bias(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    for index in 1..graph.nodes.len() {
        let id = NodeId(index);
        let node = graph.node(id).clone();
        let (Op::Binary(BinaryKind::Add), &[a, b]) = (&node.op, &node.inputs[..]) else { continue };
        for (layer, operand) in [(a, b), (b, a)] {
            let Op::Constant(constant) = &graph.node(operand).op else { continue };
            let constant = constant.clone();
            let fits = graph.node(layer).shape == node.shape
                && graph.node(layer).activation.is_none()
                && sole_user(&graph, &users, layer) == Some(id);
            let Op::FullyConnected(fc) = &mut graph.nodes[layer.0].op else { continue };
            let Some(add) = one_an_output(&constant, fc.weight.dims()[0]) else { continue };
            if fits && fc.batch_norm.is_none() {
                let before = fc.bias.take().unwrap_or_else(|| vec![0.0; add.len()]);
                fc.bias = Some(before.iter().zip(&add).map(|(b, a)| b + a).collect());
                graph.nodes[layer.0].activation = node.activation;
                removal.replace(id, layer);
                break;
            }
        }
    }
    without_unread(&removal.apply(graph))
}

fn one_an_output(constant: &Tensor, outputs: usize) -> Option<Vec<f32>> {
    let data = constant.data();
    match constant.dims() {
        _ if data.len() == 1 => Some(vec![data[0]; outputs]),
        [rest @ .., last] if *last == outputs && rest.iter().all(|&d| d == 1) => Some(data.to_vec()),
        _ => None,
    }
}
