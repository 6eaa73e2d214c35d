//! Whether samples of a batch stay apart: what a network makes of one sample alone is what it makes of it in a batch.
//!
//! Operators are asked, and since a file can move values in ways that they do not show, both networks are run on random samples.

use crate::float_exec::FloatExecutor;
use crate::ir::{AxisMap, ElementType, Graph, Node, Op};
use crate::random::{Purpose, stream};
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// Parts of an output's largest value that sums in another order may differ by.
const TOLERANCE: f32 = 1e-3;

/// Compares a network for one sample with the same network for a batch: no operator may span an axis that the batch is part of,
/// which is one whose extent differs. Nodes are matched by name.
pub(super) fn samples_stay_apart(single: &Graph, whole: &Graph) -> bool {
    let others: BTreeMap<&str, &Node> = whole.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    single.nodes.iter().all(|node| {
        others.get(node.name.as_str()).is_none_or(|other| {
            other.op.label() != node.op.label()
                || (0..node.inputs.len().min(other.inputs.len())).all(|operand| {
                    let dims = |graph: &Graph, node: &Node| graph.node(node.inputs[operand]).shape.dims().to_vec();
                    let (one, all) = (dims(single, node), dims(whole, other));
                    apart(&node.op, operand, &one, &all) && apart(&other.op, operand, &one, &all)
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
        Op::Conv(_) | Op::MaxPool(_) | Op::AveragePool { .. } => (1..rank).all(same),
        // The first axis of what they read is time.
        Op::Recurrent(_) => operand > 0 || same(0),
        _ => true,
    }
}

/// Whether the network for a batch gives each of `batch` random samples what the network for one gives it.
pub(super) fn gives_the_same(single: &Graph, whole: &Graph, batch: usize) -> bool {
    let mut random = stream(0, Purpose::BatchOfSamples);
    let mut draw = |kind: ElementType| match kind {
        ElementType::F32 => random.next_u32() as f32 / u32::MAX as f32 * 4.0 - 2.0,
        _ => (random.next_u32() >> 31) as f32,
    };
    let inputs: Vec<(ElementType, usize)> = single
        .inputs()
        .map(|(_, node)| (if let Op::Input(kind) = node.op { kind } else { ElementType::F32 }, node.shape.len()))
        .collect();
    let samples: Vec<Vec<Vec<f32>>> = (0..batch)
        .map(|_| inputs.iter().map(|&(kind, len)| (0..len).map(|_| draw(kind)).collect()).collect())
        .collect();
    let alone: Vec<Vec<f32>> = samples.iter().map(|inputs| inputs.concat()).collect();
    let together = (0..inputs.len()).flat_map(|input| samples.iter().flat_map(move |sample| sample[input].clone()));
    let alone = FloatExecutor::new(single).all_outputs(&alone);
    let together = FloatExecutor::new(whole).all_outputs(&[together.collect()]);
    let mut first = 0;
    single.outputs.iter().all(|(_, id)| {
        let len = single.node(*id).shape.len();
        let (own, all) = (first..first + len, first * batch..(first + len) * batch);
        first += len;
        let Some(all) = together.first().and_then(|values| values.get(all)) else { return false };
        let largest = all.iter().filter(|v| v.is_finite()).fold(0.0f32, |most, v| most.max(v.abs()));
        alone.iter().zip(all.chunks_exact(len.max(1))).all(|(alone, all)| {
            let alike =
                |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= TOLERANCE * largest || (a.is_nan() && b.is_nan());
            alone[own.clone()].iter().zip(all).all(alike)
        })
    })
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
