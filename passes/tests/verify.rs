//! One minimal bad graph for every invariant, and good graphs without findings.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::nets;
use releqc_passes::ir::{Clip, Conv, ElementType, Graph, NodeId, Op, Shape};
use releqc_passes::verify::{Invariant, violations};

/// The net `plain` with one thing broken breaks exactly the expected invariants.
fn check(expected: &[Invariant], node: &str, edit: impl FnOnce(&mut Graph)) {
    let mut graph = nets::plain();
    edit(&mut graph);
    let found = violations(&graph);
    let mut seen: Vec<Invariant> = found.iter().map(|v| v.invariant).collect();
    seen.sort_unstable();
    seen.dedup();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{found:#?}");
    assert!(found.iter().any(|v| v.node == node), "{found:#?}");
}

fn conv(graph: &mut Graph) -> &mut Conv {
    match &mut graph.nodes[1].op {
        Op::Conv(conv) => conv,
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_graphs_have_no_violations() {
    for graph in nets::all() {
        assert_eq!(violations(&graph), [], "{graph}");
    }
}

#[test]
fn one_input() {
    check(&[Invariant::Inputs], "input", |g| g.nodes[0].activation = Some(Clip::RELU));
    check(&[Invariant::Inputs, Invariant::Arity], "clip4", |g| g.nodes[4].op = Op::Input(ElementType::F32));
}

#[test]
fn outputs() {
    check(&[Invariant::Outputs], "far", |g| g.outputs.push(("far".into(), NodeId(99))));
    check(&[Invariant::Outputs], "probabilities", |g| g.outputs.push(g.outputs[0].clone()));
    let mut none = nets::plain();
    none.outputs.clear();
    assert!(violations(&none).iter().any(|v| v.invariant == Invariant::Outputs));
}

#[test]
fn names() {
    check(&[Invariant::Names], "conv1", |g| g.nodes[2].name = "conv1".into());
    check(&[Invariant::Names], "%2", |g| g.nodes[2].name.clear());
}

#[test]
fn order() {
    check(&[Invariant::Order], "clip4", |g| g.nodes[4].inputs = vec![NodeId(4)]);
    check(&[Invariant::Order], "clip4", |g| g.nodes[4].inputs = vec![NodeId(99)]);
}

#[test]
fn arity() {
    check(&[Invariant::Arity], "clip4", |g| g.nodes[4].inputs.push(NodeId(3)));
    check(&[Invariant::Arity, Invariant::NoDeadNode], "clip4", |g| g.nodes[4].inputs.clear());
}

#[test]
fn no_dead_node() {
    check(&[Invariant::NoDeadNode], "softmax9", |g| g.outputs[0].1 = NodeId(8));
}

#[test]
fn shapes() {
    check(&[Invariant::Shapes], "batch_norm2", |g| g.nodes[2].shape = Shape::image(4, 4, 16));
    check(&[Invariant::Shapes, Invariant::Parameters], "reshape5", |g| g.nodes[5].shape = Shape::vector(63));
    check(&[Invariant::Shapes], "conv1", |g| g.nodes[1].shape = Shape::image(4, 7, 8));
    check(&[Invariant::Shapes], "softmax9", |g| g.nodes[9].shape = Shape::vector(0));
}

#[test]
fn parameters() {
    check(&[Invariant::Parameters], "conv1", |g| conv(g).bias = Some(vec![0.0; 3]));
    check(&[Invariant::Parameters], "conv1", |g| conv(g).groups = 2);
    check(&[Invariant::Parameters], "conv1", |g| conv(g).groups = 0);
    check(&[Invariant::Parameters], "batch_norm2", |g| match &mut g.nodes[2].op {
        Op::BatchNorm(norm) => norm.beta.truncate(1),
        other => panic!("{other:?}"),
    });
}

#[test]
fn finite() {
    check(&[Invariant::Finite], "conv1", |g| conv(g).bias = Some(vec![f32::NAN; 4]));
    check(&[Invariant::Finite], "conv1", |g| {
        let mut values = conv(g).weight.data().to_vec();
        values[3] = f32::INFINITY;
        conv(g).weight = conv(g).weight.with_data(values);
    });
    check(&[Invariant::Finite], "batch_norm2", |g| match &mut g.nodes[2].op {
        Op::BatchNorm(norm) => norm.variance[1] = -0.001,
        other => panic!("{other:?}"),
    });
}

#[test]
fn windows() {
    check(&[Invariant::Windows], "conv1", |g| conv(g).window.stride = [0, 1]);
    check(&[Invariant::Windows], "conv1", |g| conv(g).window.dilation = [9, 9]);
    check(&[Invariant::Windows, Invariant::Shapes], "max_pool3", |g| match &mut g.nodes[3].op {
        Op::MaxPool(window) => window.padding.top = 2,
        other => panic!("{other:?}"),
    });
}

#[test]
fn clips() {
    check(&[Invariant::Clips], "clip4", |g| g.nodes[4].op = Op::Clip(Clip { min: 1.0, max: 0.0 }));
    check(&[Invariant::Clips], "conv1", |g| g.nodes[1].activation = Some(Clip { min: f32::NAN, max: 0.0 }));
}
