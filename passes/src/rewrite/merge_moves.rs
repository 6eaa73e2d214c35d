//! Merges movements that follow one another.
//!
//! Takes any verified graph. A transpose of a transpose, and a gather of a gather, become one node with the name of the first,
//! where the first has no other reader and no activation. Does not merge gathers that fill with different values.

use super::edit::{Removal, sole_user};
use crate::ir::{AxisMap, Graph, NodeId, Op};

pub(super) fn merge_moves(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    for index in 1..graph.nodes.len() {
        let id = NodeId(index);
        let node = graph.node(id).clone();
        let &[operand] = &node.inputs[..] else { continue };
        let first = removal.resolve(operand);
        if sole_user(&graph, &users, operand) != Some(id) || graph.node(first).activation.is_some() {
            continue;
        }
        let before = graph.node(graph.node(first).inputs.first().copied().unwrap_or(first)).shape.clone();
        let Some(merged) = merged(&graph.node(first).op, &node.op, before.dims()) else { continue };
        let target = &mut graph.nodes[first.0];
        target.op = merged;
        target.shape = node.shape;
        target.activation = node.activation;
        removal.replace(id, first);
    }
    removal.apply(graph)
}

/// `second` after `first` as one operator.
fn merged(first: &Op, second: &Op, operand: &[usize]) -> Option<Op> {
    match (first, second) {
        (Op::Transpose { perm: inner }, Op::Transpose { perm: outer }) => {
            Some(Op::Transpose { perm: outer.iter().map(|&axis| inner[axis]).collect() })
        }
        (Op::Gather { maps: inner, fill: a }, Op::Gather { maps: outer, fill: b }) => {
            let fill = match (first.fills(), second.fills()) {
                (true, true) if a.to_bits() != b.to_bits() => return None,
                (true, _) => *a,
                _ => *b,
            };
            let maps =
                inner.iter().zip(outer).zip(operand).map(|((inner, outer), &extent)| composed(inner, outer, extent));
            Some(Op::Gather { maps: maps.collect(), fill })
        }
        _ => None,
    }
}

fn composed(inner: &AxisMap, outer: &AxisMap, extent: usize) -> AxisMap {
    if let AxisMap::All = outer {
        return inner.clone();
    }
    let middle = inner.extent(extent);
    let at = |position: usize| outer.at(position).and_then(|position| inner.at(position));
    AxisMap::Indices((0..outer.extent(middle)).map(at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_composed() {
        let pad = AxisMap::Indices(vec![None, Some(0), Some(1), Some(2), None]);
        let flip = AxisMap::strided(4, -1, 5);
        assert_eq!(composed(&pad, &flip, 3), AxisMap::Indices(vec![None, Some(2), Some(1), Some(0), None]));
        assert_eq!(composed(&AxisMap::All, &flip, 5), flip);
        assert_eq!(composed(&pad, &AxisMap::All, 3), pad);
    }
}
