//! What batch normalisation and biases tell of inputs whose range nobody states.

#![allow(clippy::unwrap_used, reason = "a test")]

use releqc_passes::ir::{BatchNorm, ElementType, FullyConnected, Graph, Node, NodeId, Op, Shape, Tensor};
use releqc_passes::synthesize::{InputRange, NORMALIZED, RangeSource};

/// A line of operators on vectors behind an input of `len` values.
fn graph(len: usize, ops: Vec<(Op, usize)>) -> Graph {
    let node = |op, inputs, len| Node { name: "x".into(), op, inputs, shape: Shape::vector(len), activation: None };
    let mut nodes = vec![node(Op::Input(ElementType::F32), vec![], len)];
    for (op, len) in ops {
        let inputs = vec![NodeId(nodes.len() - 1)];
        nodes.push(node(op, inputs, len));
    }
    let outputs = vec![("y".to_owned(), NodeId(nodes.len() - 1))];
    Graph { name: "g".into(), nodes, outputs }
}

fn norm(mean: Vec<f32>, variance: Vec<f32>) -> BatchNorm {
    let ones = vec![1.0; mean.len()];
    BatchNorm { gamma: ones.clone(), beta: ones, mean, variance, epsilon: 1e-5 }
}

/// Sums of the weights 1 and -2, one weight an output.
fn layer(batch_norm: Option<BatchNorm>) -> Op {
    Op::FullyConnected(FullyConnected {
        weight: Tensor::new(vec![2, 1], vec![1.0, -2.0]).unwrap(),
        bias: Some(vec![3.0, 0.0]),
        batch_norm,
    })
}

fn range(graph: &Graph) -> ((f32, f32), RangeSource) {
    let range = &InputRange::of(graph, None, &[])[0];
    (range.ends(), range.source)
}

/// The range that the statistics tell, up to the step that its ends are multiples of.
fn told(graph: &Graph, (low, high): (f32, f32)) {
    let ((a, b), source) = range(graph);
    let step = (high - low) / 64.0;
    assert_eq!(source, RangeSource::Statistics);
    assert!((a - low).abs() <= step && (b - high).abs() <= step, "{a}..{b} instead of {low}..{high}");
    assert!(a <= low && high <= b, "{a}..{b} holds less than {low}..{high}");
}

#[test]
fn a_normalisation_of_the_input_holds_its_statistics() {
    let norm = Op::BatchNorm(norm(vec![30.0, -5.0], vec![4.0, 1.0]));
    told(&graph(2, vec![(norm.clone(), 2)]), (-8.0, 36.0));
    // Behind a constant map they are those of the map's results.
    let halved = Op::ChannelAffine { mul: vec![0.5; 2], add: vec![1.0; 2] };
    told(&graph(2, vec![(halved, 2), (norm, 2)]), (-18.0, 70.0));
}

#[test]
fn a_normalised_layer_tells_what_it_reads() {
    // Values of mean 100 and deviation 20.
    told(&graph(1, vec![(layer(Some(norm(vec![103.0, -200.0], vec![400.0, 1600.0]))), 2)]), (40.0, 160.0));
}

#[test]
fn what_is_no_contradiction_stays_assumed() {
    let assumed = (NORMALIZED, RangeSource::Assumed);
    // Values of mean 0.5 and deviation 0.9.
    let usual = norm(vec![3.5, -1.0], vec![0.81, 3.24]);
    assert_eq!(range(&graph(1, vec![(layer(Some(usual)), 2)])), assumed);
    assert_eq!(range(&graph(1, vec![(layer(None), 2)])), assumed);
    for (mean, variance) in [(f32::NAN, 1.0), (0.0, f32::INFINITY), (1e38, 1e38), (0.0, 0.0)] {
        let odd = norm(vec![mean; 2], vec![variance; 2]);
        assert_eq!(range(&graph(1, vec![(layer(Some(odd)), 2)])).1, RangeSource::Assumed, "{mean} {variance}");
    }
    // A range that the caller states counts, whatever the statistics.
    let far = graph(1, vec![(layer(Some(norm(vec![103.0, -200.0], vec![400.0, 1600.0]))), 2)]);
    let stated = InputRange::of(&far, None, &[(None, (-1.0, 1.0))]);
    assert_eq!((stated[0].ends(), stated[0].source), ((-1.0, 1.0), RangeSource::Stated));
}

/// Nine outputs, one without weights, that are 0 at an input of `mean`, give or take `spread`, and a layer behind them.
fn biased(mean: f32, spread: f32) -> Graph {
    let weights = [1.0f32, -2.0, 0.5, 1.5, -1.0, -0.5, 2.0, 0.25, 0.0];
    let bias = weights.iter().enumerate().map(|(i, w)| -mean * w + spread * (i % 2) as f32).collect();
    let weight = Tensor::new(vec![9, 1], weights.to_vec()).unwrap();
    let first = FullyConnected { weight, bias: Some(bias), batch_norm: None };
    let last = FullyConnected { weight: Tensor::new(vec![1, 9], vec![1.0; 9]).unwrap(), bias: None, batch_norm: None };
    graph(1, vec![(Op::FullyConnected(first), 9), (Op::FullyConnected(last), 1)])
}

#[test]
fn large_biases_tell_what_a_layer_reads() {
    for (mean, (low, high)) in [(100.0, (0.0, 300.0)), (-40.0, (-120.0, 0.0))] {
        let ((a, b), source) = range(&biased(mean, 0.0));
        assert_eq!(source, RangeSource::Biases);
        assert!((a - low).abs() <= 5.0 && (b - high).abs() <= 5.0, "{a}..{b} instead of {low}..{high}");
    }
    // As usual, and of an output.
    let assumed = (NORMALIZED, RangeSource::Assumed);
    assert_eq!(range(&biased(5.0, 1.0)), assumed);
    assert_eq!(range(&graph(1, vec![(layer(None), 2)])), assumed);
    assert_eq!(range(&biased(f32::NAN, 0.0)), assumed);
    // Biases of what becomes the output tell of targets, also behind another operator.
    let mut of_targets = biased(100.0, 0.0);
    of_targets.nodes[2].op = Op::Softmax { axis: 1, log: false };
    of_targets.nodes[2].shape = of_targets.nodes[1].shape.clone();
    assert_eq!(range(&of_targets), assumed);
}
