//! Which values live as codes and which as floats.
//!
//! Takes a canonical graph; returns a domain for each node. A value that is float stays float until a layer with weights
//! needs codes; what feeds floats alone is computed as floats from the start, so that nothing is rounded in between.

use crate::ir::{BinaryKind, Graph, Node, NodeId, Op};
use std::collections::BTreeSet;

/// Where the value of a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// u8 codes.
    Codes,
    /// f32: straight from accumulators, or of an operator that has no integer form.
    Float,
}

/// The domain of every node. An input or a constant is [`Domain::Codes`] where somebody needs its codes; the nodes of `floats` are
/// floats in any case, and must be no pools.
pub fn domains(graph: &Graph, floats: &BTreeSet<NodeId>) -> Vec<Domain> {
    let mut domains: Vec<Domain> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let reads_floats = node.inputs.iter().any(|input| domains[input.0] == Domain::Float);
        let float = floats.contains(&id) || !needs_codes(node) && (reads_floats || !has_integer_form(node));
        domains.push(if float { Domain::Float } else { Domain::Codes });
    }
    let users = graph.users();
    for (id, node) in graph.iter().collect::<Vec<_>>().into_iter().rev() {
        let reads_floats = |user: &NodeId| domains[user.0] == Domain::Float && !needs_codes(graph.node(*user));
        if !is_pool(node) && users[id.0].iter().all(reads_floats) {
            domains[id.0] = Domain::Float;
        }
    }
    domains
}

/// Whether it reads its operands as codes, whatever it yields.
pub(crate) fn needs_codes(node: &Node) -> bool {
    node.owns_weights() || is_pool(node)
}

/// Whether its codes are codes of its operand.
pub(crate) fn keeps_codes(node: &Node) -> bool {
    node.op.moves() || matches!(node.op, Op::MaxPool(_))
}

pub(crate) fn is_pool(node: &Node) -> bool {
    matches!(node.op, Op::MaxPool(_) | Op::AveragePool { .. })
}

/// Whether it is computed on codes where its operands are codes.
fn has_integer_form(node: &Node) -> bool {
    match &node.op {
        Op::Input(_)
        | Op::Constant(_)
        | Op::Conv(_)
        | Op::FullyConnected(_)
        | Op::BatchNorm(_)
        | Op::ChannelAffine { .. }
        | Op::Clip(_)
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::PRelu { .. }
        | Op::Concat { .. }
        | Op::Transpose { .. }
        | Op::Reshape => true,
        // The code of 0 is exact; another fill value need not be in the operand's range.
        Op::Gather { fill, .. } => *fill == 0.0 || !node.op.fills(),
        // A square has twice the range in decibels: few of its values are many steps.
        Op::Binary(BinaryKind::Mul) if node.inputs[0] == node.inputs[1] => false,
        Op::Binary(kind) => {
            matches!(kind, BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Min | BinaryKind::Max)
        }
        Op::Unary(function) => function.does_on_codes(),
        Op::Select
        | Op::Reduce { .. }
        | Op::MatMul
        | Op::Softmax { .. }
        | Op::Resample { .. }
        | Op::Recurrent(_)
        | Op::Lookup { .. } => false,
    }
}
