//! Moves element-by-element nodes up past nodes that only move or select values, towards the layer they can join.
//!
//! Takes any verified graph. Where such a node is the only reader of a node that moves values, the two change places; names stay
//! with their operators.
//!
//! | node | passes |
//! |---|---|
//! | clip | reshape, transpose, gather without fill, max pool: the maximum of clipped values is the clipped maximum, exactly |
//! | function of one value | reshape, transpose |
//! | map with one value a channel | reshape that keeps the first two axes |
//!
//! Does not pass a node with an activation, an output, or one with a second reader; does not pass average pools, sums and
//! concats.

use super::edit::sole_user;
use crate::ir::{Graph, NodeId, Op};

pub(super) fn hoist_pointwise(mut graph: Graph) -> Graph {
    // Who reads whom stays: only what stands at the two places changes.
    let users = graph.users();
    // From the input on: a node stops below another one, which has moved already.
    for index in 1..graph.nodes.len() {
        let mut node = NodeId(index);
        while let Some(upper) = passable(&graph, &users, node) {
            swap(&mut graph, upper, node);
            node = upper;
        }
    }
    graph
}

/// The node above `id` that it can pass.
fn passable(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let &[upper] = &node.inputs[..] else { return None };
    let above = graph.node(upper);
    if above.activation.is_some() || sole_user(graph, users, upper) != Some(id) {
        return None;
    }
    let passes = match (&node.op, &above.op) {
        (Op::Clip(_), Op::MaxPool(_) | Op::Reshape | Op::Transpose { .. }) => true,
        (Op::Clip(_), Op::Gather { .. }) => !above.op.fills(),
        (Op::Unary(_), Op::Reshape | Op::Transpose { .. }) => true,
        (Op::BatchNorm(_) | Op::ChannelAffine { .. } | Op::PRelu { .. }, Op::Reshape) => {
            let before = graph.node(above.inputs[0]).shape.dims();
            before.len() >= 2 && before.get(..2) == above.shape.dims().get(..2)
        }
        _ => false,
    };
    passes.then_some(upper)
}

/// `upper` becomes the node that passed, `lower` the one it passed; an activation goes with its node.
fn swap(graph: &mut Graph, upper: NodeId, lower: NodeId) {
    let before = graph.node(graph.node(upper).inputs[0]).shape.clone();
    let (head, tail) = graph.nodes.split_at_mut(lower.0);
    let (above, below) = (&mut head[upper.0], &mut tail[0]);
    std::mem::swap(&mut above.name, &mut below.name);
    std::mem::swap(&mut above.op, &mut below.op);
    std::mem::swap(&mut above.activation, &mut below.activation);
    above.shape = before;
}
