//! Joins constant affine maps that follow each other.
//!
//! Takes any verified graph. An affine map that is the only reader of another one without activation joins it:
//! `(x * m1 + a1) * m2 + a2 = x * (m1 * m2) + (a1 * m2 + a2)`, in f64, rounded once. The first keeps its name.
//! Does not touch batch normalisation, outputs, a map with a second reader, or maps whose products leave the range of f32.

use super::edit::{Removal, sole_user};
use crate::ir::{Graph, NodeId, Op};

pub(super) fn merge_affine(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    for index in 1..graph.nodes.len() {
        let id = NodeId(index);
        let node = graph.node(id).clone();
        let Op::ChannelAffine { mul, add } = &node.op else { continue };
        let operand = node.inputs[0];
        let first = removal.resolve(operand);
        if sole_user(&graph, &users, operand) != Some(id) || graph.node(first).activation.is_some() {
            continue;
        }
        let target = &mut graph.nodes[first.0];
        let Op::ChannelAffine { mul: first_mul, add: first_add } = &mut target.op else { continue };
        let joined = |c: usize| {
            let (m, a) = (f64::from(mul[c]), f64::from(add[c]));
            ((f64::from(first_mul[c]) * m) as f32, (f64::from(first_add[c]) * m + a) as f32)
        };
        let (muls, adds): (Vec<f32>, Vec<f32>) = (0..mul.len()).map(joined).unzip();
        if !muls.iter().chain(&adds).all(|value| value.is_finite()) {
            continue;
        }
        (*first_mul, *first_add) = (muls, adds);
        target.activation = node.activation;
        removal.replace(id, first);
    }
    removal.apply(graph)
}
