//! Every gradient against differences of the executor's results.

use super::{General, Given};
use crate::ir::{
    AxisMap, BinaryKind, ElementType, Function, Graph, Node, NodeId, Op, Recurrent, RecurrentKind, ReduceKind, Shape,
    Tensor,
};
use crate::train::buffers::Buffers;
use crate::train::tape::{Differentiable, Gradient};

/// Step of the differences.
const STEP: f32 = 1.0 / 64.0;
const SAMPLES: usize = 2;

/// Values apart from each other and from 0 by more than what the differences move them; `shift` keeps those of two operands apart.
fn values(len: usize, seed: usize, shift: f32) -> Vec<f32> {
    let places = len.next_power_of_two().max(2);
    let at = |i: usize| (i * 5 + seed * 3) % places;
    (0..len).map(|i| (at(i) as f32 - places as f32 / 2.0) * 0.14 + 0.035 + shift).collect()
}

fn shapes(of: &[&[usize]]) -> Vec<Shape> {
    of.iter().map(|dims| Shape::new(dims.to_vec())).collect()
}

/// The derivative of the weighted sum of all results by one value, by differences of fourth order in f64.
fn difference(layer: &General, inputs: &[Vec<f32>], weights: &[f32], operand: usize, at: usize) -> f64 {
    let sum = |by: f32| {
        let mut moved = inputs.to_vec();
        moved[operand][at] += by;
        let slices: Vec<&[f32]> = moved.iter().map(|values| &values[..]).collect();
        let y = layer.forward(&slices, &Buffers::default());
        y.iter().zip(weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum::<f64>()
    };
    let step = f64::from(STEP);
    (sum(-2.0 * STEP) - 8.0 * sum(-STEP) + 8.0 * sum(STEP) - sum(2.0 * STEP)) / (12.0 * step)
}

/// Compares all gradients of an operator on operands of these shapes; those that `constant` names do not vary.
fn check_on(name: &str, op: &Op, operands: &[Shape], stated: Shape, constant: &[usize], shift: f32) {
    let node =
        |name: String, op: Op, inputs: Vec<NodeId>, shape: Shape| Node { name, op, inputs, shape, activation: None };
    let mut nodes: Vec<Node> = operands
        .iter()
        .enumerate()
        .map(|(i, shape)| node(format!("x{i}"), Op::Input(ElementType::F32), vec![], shape.clone()))
        .collect();
    let shape = op.shape(&operands.iter().collect::<Vec<_>>(), &stated).unwrap();
    let result = node("y".into(), op.clone(), (0..operands.len()).map(NodeId).collect(), shape);
    nodes.push(result.clone());
    let outputs = vec![("y".to_owned(), NodeId(operands.len()))];
    let graph = Graph { name: name.into(), nodes, outputs };
    let plain: Vec<Vec<f32>> = operands.iter().map(|shape| values(shape.len(), 1, 0.0)).collect();
    let given: Vec<Given<'_>> = operands
        .iter()
        .enumerate()
        .map(|(i, shape)| Given { shape, constant: constant.contains(&i).then(|| &plain[i][..]) })
        .collect();
    let layer = General::new(&graph, &result, &given);
    let varying: Vec<usize> = (0..operands.len()).filter(|i| !constant.contains(i)).collect();
    assert_eq!(layer.inputs(), varying.len());
    let inputs: Vec<Vec<f32>> =
        varying.iter().map(|&i| values(SAMPLES * operands[i].len(), i + 2, shift + 0.06 * i as f32)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(|values| &values[..]).collect();
    let y = layer.forward(&slices, &Buffers::default());
    let dy = values(y.len(), 4, 0.1);
    let gradients = layer.backward(&slices, &y, &dy, &vec![true; inputs.len()], &Buffers::default());
    let mut moves = false;
    for (operand, gradient) in gradients.into_iter().enumerate() {
        let Some(Gradient::Values(gradient)) = gradient else { panic!("{name}: a gradient of operand {operand}") };
        assert_eq!(gradient.len(), inputs[operand].len());
        for (at, &found) in gradient.iter().enumerate() {
            let expected = difference(&layer, &inputs, &dy, operand, at);
            moves |= expected != 0.0;
            let tolerance = 2e-4 * (1.0 + expected.abs());
            assert!(
                (f64::from(found) - expected).abs() <= tolerance,
                "{name}: operand {operand}, value {at}: {found} by the gradient, {expected} by differences"
            );
        }
    }
    assert!(moves, "{name}: some result changes");
}

fn check(name: &str, op: Op, operands: &[&[usize]]) {
    check_on(name, &op, &shapes(operands), Shape::new(vec![]), &[], 0.0);
}

#[test]
fn functions_and_slopes() {
    for function in [Function::Sigmoid, Function::Tanh, Function::Silu, Function::Exp, Function::Gelu, Function::Sin] {
        check(function.label(), Op::Unary(function), &[&[1, 3, 2, 2]]);
    }
    check("prelu", Op::PRelu { slope: vec![0.25, -0.5, 2.0] }, &[&[1, 3, 2, 2]]);
    let smooth =
        [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Min, BinaryKind::Max, BinaryKind::PRelu];
    for kind in smooth {
        check(kind.label(), Op::Binary(kind), &[&[1, 3, 2, 2], &[1, 3, 1, 1]]);
        check(kind.label(), Op::Binary(kind), &[&[2], &[1, 3, 2, 2]]);
    }
    // Operands above 0.
    for kind in [BinaryKind::Div, BinaryKind::Pow] {
        check_on(kind.label(), &Op::Binary(kind), &shapes(&[&[1, 2, 2], &[1, 1, 2]]), Shape::new(vec![]), &[], 2.0);
    }
    check_on(
        "constant",
        &Op::Binary(BinaryKind::Mul),
        &shapes(&[&[1, 3, 2, 2], &[3, 1, 1]]),
        Shape::new(vec![]),
        &[1],
        0.0,
    );
    check_on("select", &Op::Select, &shapes(&[&[2], &[3, 2], &[3, 1]]), Shape::new(vec![]), &[0], 0.0);
}

#[test]
fn movements() {
    check("transpose", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[&[1, 3, 2, 4]]);
    check("concat", Op::Concat { axis: 2 }, &[&[1, 3, 2, 2], &[1, 3, 1, 2], &[1, 3, 2, 2]]);
    let maps = vec![AxisMap::All, AxisMap::Indices(vec![Some(2), None, Some(0), Some(0)]), AxisMap::All];
    check("gather", Op::Gather { maps, fill: 0.5 }, &[&[1, 3, 2]]);
    let taps = vec![vec![(0, 0.25), (1, 0.75)], vec![(2, 1.0)], vec![(1, -0.5), (2, 1.5)], vec![(0, 1.0)]];
    check("resample", Op::Resample { axis: 2, taps }, &[&[1, 2, 3, 2]]);
    let reshape = Shape::new(vec![1, 4, 3]);
    check_on("reshape", &Op::Reshape, &shapes(&[&[1, 3, 2, 2]]), reshape, &[], 0.0);
}

#[test]
fn reductions_and_products() {
    let smooth = [
        ReduceKind::Mean,
        ReduceKind::Sum,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::SumSquare,
        ReduceKind::LogSumExp,
        ReduceKind::Prod,
    ];
    for kind in smooth {
        check(kind.label(), Op::Reduce { kind, axes: vec![2, 3] }, &[&[1, 3, 2, 2]]);
        check(kind.label(), Op::Reduce { kind, axes: vec![1, 3] }, &[&[1, 2, 3, 2]]);
    }
    let log_sum = Op::Reduce { kind: ReduceKind::LogSum, axes: vec![1] };
    check_on("log_sum", &log_sum, &shapes(&[&[1, 4]]), Shape::new(vec![]), &[], 2.0);
    check("mat_mul", Op::MatMul, &[&[1, 2, 3, 2], &[2, 2, 4]]);
    check("mat_mul of one matrix", Op::MatMul, &[&[3, 2], &[2, 2, 4]]);
    for log in [false, true] {
        check("softmax", Op::Softmax { axis: 1, log }, &[&[1, 4, 3]]);
        check("softmax", Op::Softmax { axis: 3, log }, &[&[1, 2, 3, 4]]);
    }
}

#[test]
fn time_is_gone_back_through() {
    let (steps, batch, hidden) = (3, 2, 2);
    let kinds = [
        RecurrentKind::Rnn,
        RecurrentKind::Gru,
        RecurrentKind::GruLinear,
        RecurrentKind::Lstm,
        RecurrentKind::LstmCoupled,
    ];
    for kind in kinds {
        for (reverse, peeps) in [(false, true), (true, false)] {
            let is_lstm = matches!(kind, RecurrentKind::Lstm | RecurrentKind::LstmCoupled);
            let all = [Function::Sigmoid, Function::Tanh, Function::Tanh];
            let functions =
                if kind == RecurrentKind::Rnn { vec![Function::Tanh] } else { all[..kind.functions()].to_vec() };
            let rows = kind.gates() * hidden;
            let cell = Recurrent {
                kind,
                reverse,
                functions,
                clip: f32::INFINITY,
                weight: Tensor::new(vec![rows, hidden], values(rows * hidden, 5, 0.0)).unwrap(),
                bias: values(rows, 6, 0.0),
                peepholes: if is_lstm && peeps { values(3 * hidden, 7, 0.0) } else { Vec::new() },
            };
            let state = [batch, hidden];
            let operands = [&[steps, batch, rows][..], &state, &state];
            let given = 1 + kind.initial_states();
            check(&format!("{} {reverse}", kind.label()), Op::Recurrent(cell.clone()), &operands[..given]);
            check(&format!("{} alone", kind.label()), Op::Recurrent(cell), &operands[..1]);
        }
    }
}

#[test]
fn steps_have_no_slope() {
    let shape = Shape::new(vec![1, 4]);
    let graph = Graph {
        name: "steps".into(),
        nodes: vec![
            Node {
                name: "x".into(),
                op: Op::Input(ElementType::F32),
                inputs: vec![],
                shape: shape.clone(),
                activation: None,
            },
            Node {
                name: "y".into(),
                op: Op::Reduce { kind: ReduceKind::ArgMax, axes: vec![1] },
                inputs: vec![NodeId(0)],
                shape: Shape::new(vec![1, 1]),
                activation: None,
            },
        ],
        outputs: vec![("y".into(), NodeId(1))],
    };
    let layer = General::new(&graph, &graph.nodes[1], &[Given { shape: &shape, constant: None }]);
    let x = [1.0, 3.0, 2.0, 0.0];
    assert_eq!(layer.forward(&[&x], &Buffers::default()), [1.0]);
    let gradients = layer.backward(&[&x], &[1.0], &[5.0], &[true], &Buffers::default());
    assert!(matches!(&gradients[..], [Some(Gradient::Values(dx))] if dx[..] == [0.0; 4]));
}

#[test]
fn many_operands_are_joined_in_parts() {
    let shapes: Vec<Shape> = (1..=9).map(|len| Shape::new(vec![1, 2, len])).collect();
    let mut nodes: Vec<Node> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| Node {
            name: format!("x{i}"),
            op: Op::Input(ElementType::F32),
            inputs: vec![],
            shape: shape.clone(),
            activation: None,
        })
        .collect();
    let inputs: Vec<NodeId> = (0..9).map(NodeId).collect();
    let node = Node {
        name: "y".into(),
        op: Op::Concat { axis: 2 },
        inputs,
        shape: Shape::new(vec![1, 2, 45]),
        activation: None,
    };
    nodes.push(node.clone());
    let graph = Graph { name: "concat".into(), nodes, outputs: vec![("y".into(), NodeId(9))] };
    let given: Vec<Given<'_>> = shapes.iter().map(|shape| Given { shape, constant: None }).collect();
    let layers = General::chain(&graph, &node, &given);
    assert_eq!(layers.iter().map(|layer| layer.inputs()).collect::<Vec<_>>(), [4, 4, 3]);
    assert_eq!(layers[2].len(), 90);
}
