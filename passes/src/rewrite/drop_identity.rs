//! Drops nodes that change nothing.
//!
//! Takes any verified graph. Returns it without: reshapes to the shape they read, reshapes read by fully connected layers
//! (which flatten by themselves) and other reshapes only, concats of one tensor, clips to (-inf, inf), affine maps `x * 1 + 0`, windows of one
//! cell with stride 1.
//! Does not touch a node with an activation, and keeps an output's shape.

use super::edit::Removal;
use crate::ir::{AxisMap, Function, Graph, NodeId, Op, Padding, Window};

pub(super) fn drop_identity(graph: Graph) -> Graph {
    let mut removal = Removal::of(&graph);
    let users = graph.users();
    for (id, node) in graph.iter() {
        let Some(&input) = node.inputs.first() else { continue };
        let same_shape = graph.node(input).shape == node.shape;
        let identity = match &node.op {
            Op::Reshape => same_shape || only_reshaped(&graph, &users, id),
            Op::Transpose { perm } => perm.iter().enumerate().all(|(to, &from)| to == from),
            Op::Gather { maps, .. } => maps.iter().all(|map| *map == AxisMap::All),
            Op::Unary(function) => *function == Function::Identity,
            Op::Concat { .. } => node.inputs.len() == 1,
            Op::Clip(clip) => clip.min == f32::NEG_INFINITY && clip.max == f32::INFINITY,
            Op::ChannelAffine { mul, add } => mul.iter().all(|&m| m == 1.0) && add.iter().all(|&a| a == 0.0),
            Op::MaxPool(window) | Op::AveragePool { window, .. } => same_shape && is_one_cell(window),
            _ => false,
        };
        if identity && node.activation.is_none() {
            removal.replace(id, input);
        }
    }
    removal.apply(graph)
}

/// True where every reader reshapes it again, to another shape: a reader that changes nothing goes itself.
fn only_reshaped(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    let is_output = graph.outputs.iter().any(|(_, output)| *output == id);
    let shape = &graph.node(id).shape;
    let reshapes = |&user: &NodeId| graph.node(user).op == Op::Reshape && graph.node(user).shape != *shape;
    !is_output && users[id.0].iter().all(reshapes)
}

fn is_one_cell(window: &Window) -> bool {
    window.kernel == [1, 1] && window.stride == [1, 1] && window.padding == Padding::default()
}
