//! Whether samples of a batch stay apart: what a network makes of one sample alone is what it makes of it in a batch.

use crate::ir::{AxisMap, Graph, Node, Op};
use std::collections::BTreeMap;

/// Compares a network for one sample with the same network for a batch: no operator may span an axis that the batch is part of,
/// which is one whose extent differs. Nodes are matched by name.
pub(super) fn samples_stay_apart(single: &Graph, whole: &Graph) -> bool {
    let others: BTreeMap<&str, &Node> = whole.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    single.nodes.iter().all(|node| {
        others.get(node.name.as_str()).is_none_or(|other| {
            other.op.label() != node.op.label()
                || (0..node.inputs.len().min(other.inputs.len())).all(|operand| {
                    let dims = |graph: &Graph, node: &Node| graph.node(node.inputs[operand]).shape.dims().to_vec();
                    apart(&node.op, operand, &dims(single, node), &dims(whole, other))
                })
        })
    })
}

fn apart(op: &Op, operand: usize, single: &[usize], whole: &[usize]) -> bool {
    let same = |axis: usize| single.get(axis) == whole.get(axis);
    let rank = single.len();
    match op {
        Op::Reduce { axes, .. } => axes.iter().all(|&axis| same(axis)),
        Op::Softmax { axis, .. } | Op::Concat { axis } | Op::Resample { axis, .. } => same(*axis),
        Op::Gather { maps, .. } => maps.iter().enumerate().all(|(axis, map)| *map == AxisMap::All || same(axis)),
        Op::FullyConnected(_) => same(rank.saturating_sub(1)),
        Op::MatMul => same(rank.saturating_sub(if operand == 0 { 1 } else { 2 })),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ReduceKind;

    #[test]
    fn an_axis_with_the_batch_in_it_may_not_be_reduced() {
        let over = |axis| Op::Reduce { kind: ReduceKind::Sum, axes: vec![axis] };
        assert!(apart(&over(1), 0, &[1, 3], &[4, 3]));
        assert!(!apart(&over(0), 0, &[1, 3], &[4, 3]));
        assert!(!apart(&Op::MatMul, 1, &[1, 3], &[4, 3]));
    }
}
