//! Moves clips up past nodes that only move or select values, towards the layer they can join.
//!
//! Takes any verified graph. Where a clip is the only reader of a max pool or a reshape, the two change places: the maximum of
//! clipped values is the clipped maximum, exactly. Names stay with their operators.
//! Does not pass a node with an activation, an output, or one with a second reader; does not pass average pools, sums and
//! concats.

use super::edit::sole_user;
use crate::ir::{Graph, NodeId, Op};

pub(super) fn hoist_clip(mut graph: Graph) -> Graph {
    // Who reads whom stays: only what stands at the two places changes.
    let users = graph.users();
    // From the input on: a clip stops below another one, which has moved already.
    for index in 1..graph.nodes.len() {
        let mut clip = NodeId(index);
        while let Some(upper) = passable(&graph, &users, clip) {
            swap(&mut graph, upper, clip);
            clip = upper;
        }
    }
    graph
}

/// The node above a clip that it can pass.
fn passable(graph: &Graph, users: &[Vec<NodeId>], clip: NodeId) -> Option<NodeId> {
    let node = graph.node(clip);
    if !matches!(node.op, Op::Clip(_)) || node.activation.is_some() {
        return None;
    }
    let upper = node.inputs[0];
    let above = graph.node(upper);
    let moves = matches!(above.op, Op::MaxPool(_) | Op::Reshape) && above.activation.is_none();
    (moves && sole_user(graph, users, upper) == Some(clip)).then_some(upper)
}

/// `upper` becomes the clip, `lower` the node it passed.
fn swap(graph: &mut Graph, upper: NodeId, lower: NodeId) {
    let before = graph.node(graph.node(upper).inputs[0]).shape.clone();
    let (head, tail) = graph.nodes.split_at_mut(lower.0);
    let (above, below) = (&mut head[upper.0], &mut tail[0]);
    std::mem::swap(&mut above.name, &mut below.name);
    std::mem::swap(&mut above.op, &mut below.op);
    above.shape = before;
}
