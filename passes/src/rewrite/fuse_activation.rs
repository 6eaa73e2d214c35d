//! Moves clips into the `activation` of the node they follow.
//!
//! Takes any verified graph. A clip that is the only reader of a conv, fully connected, batch normalisation, affine, sum,
//! average pool or concat node, or of another clip, joins it: its bounds narrow those already there. The producer keeps its name.
//! Does not touch a producer that is an output or has a second reader, nor input, reshape, max pool and softmax.

use super::edit::{Removal, sole_user};
use crate::ir::{BinaryKind, Graph, NodeId, Op};

pub(super) fn fuse_activation(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    for index in 1..graph.nodes.len() {
        let id = NodeId(index);
        let node = graph.node(id);
        let Op::Clip(clip) = node.op else { continue };
        let (outer, operand) = (node.activation, node.inputs[0]);
        let producer = removal.resolve(operand);
        if sole_user(&graph, &users, operand) != Some(id) {
            continue;
        }
        let bounds = outer.map_or(clip, |outer| clip.then(outer));
        let target = &mut graph.nodes[producer.0];
        match &mut target.op {
            Op::Clip(inner) if target.activation.is_none() => *inner = inner.then(bounds),
            Op::Conv(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::ChannelAffine { .. }
            | Op::Binary(BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Min | BinaryKind::Max)
            | Op::PRelu { .. }
            | Op::Unary(_)
            | Op::Concat { .. }
            | Op::AveragePool { .. }
            | Op::Clip(_) => {
                target.activation = Some(target.activation.map_or(bounds, |inner| inner.then(bounds)));
            }
            _ => continue,
        }
        removal.replace(id, producer);
    }
    removal.apply(graph)
}
