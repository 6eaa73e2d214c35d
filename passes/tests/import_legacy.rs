//! Operators that tract does not know, against their formulas.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::evaluate;
use common::onnx_builder::Attr::{Float, Int};
use common::onnx_builder::Model;
use releqc_passes::import::from_onnx;
use releqc_passes::onnx::onnx_protobuf::tensor_proto::DataType;
use releqc_passes::onnx::onnx_protobuf::{OperatorSetIdProto, TensorProto};

/// Values of onnxruntime 1.32's kernel of this operator.
#[test]
fn parametric_softplus() {
    let attributes = [("alpha", Float(0.5)), ("beta", Float(2.0))];
    let model = Model::new(7, &[7]).node("ParametricSoftplus", &["x"], "y", &attributes);
    let graph = from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
    let seen = evaluate(&graph, &[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    let expected = [1.237_826e-3, 9.074_981e-3, 6.346_402e-2, 0.346_573_6, 1.063_464, 2.009_075, 3.001_238];
    assert_eq!(seen.len(), expected.len());
    for (seen, expected) in seen.iter().zip(expected) {
        assert!((seen - expected).abs() < 1e-6, "{seen} instead of {expected}");
    }
}

/// Axes count from either end of the result, as in onnxruntime's definition of this operator.
#[test]
fn expand_dims() {
    for (axis, expected) in
        [(1, vec![1, 1, 2, 3]), (-1, vec![1, 2, 3, 1]), (3, vec![1, 2, 3, 1]), (-2, vec![1, 2, 1, 3])]
    {
        let model = Model::new(17, &[2, 3]).node("ExpandDims", &["x", "axis"], "y", &[]).edit(|m| {
            let graph = m.graph.as_mut().unwrap();
            graph.node[0].domain = Some("com.microsoft".into());
            graph.initializer.push(TensorProto {
                name: Some("axis".into()),
                data_type: Some(DataType::Int32 as i32),
                int32_data: vec![axis],
                ..Default::default()
            });
            let domain = OperatorSetIdProto { domain: Some("com.microsoft".into()), version: Some(1) };
            m.opset_import.push(domain);
        });
        let graph = from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
        let output = graph.outputs[0].1;
        assert_eq!(graph.node(output).shape.dims(), expected, "axis {axis}");
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(evaluate(&graph, &x), x, "axis {axis}");
    }
}

/// `min(max(x, lower), upper)`, where the bounds are computed.
#[test]
fn clip_between_values_of_the_input() {
    let model = |bounds: &[&str]| {
        let inputs: Vec<&str> = ["x"].iter().chain(bounds).copied().collect();
        Model::new(17, &[4])
            .floats("three", &[], &[3.0])
            .node("ReduceMean", &["x"], "mean", &[("keepdims", Int(0))])
            .node("Clip", &inputs, "y", &[])
    };
    let x = [1.0, 2.0, 3.0, 10.0];
    for (bounds, expected) in [
        (["mean", ""], [4.0, 4.0, 4.0, 10.0]),
        (["", "mean"], [1.0, 2.0, 3.0, 4.0]),
        (["three", "mean"], [3.0, 3.0, 3.0, 4.0]),
        (["mean", "three"], [3.0, 3.0, 3.0, 3.0]),
    ] {
        let graph = from_onnx(&model(&bounds).bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
        assert_eq!(evaluate(&graph, &x), expected, "{bounds:?}");
    }
}

/// Before opset 7 the axes of a second operand begin where `axis` says, and those of a slope are the channels.
#[test]
fn operands_of_opset_6() {
    let x: Vec<f32> = (0u8..8).map(|value| f32::from(value) - 4.0).collect();
    let at = |axis: Option<i64>| {
        let mut attributes = vec![("broadcast", Int(1))];
        attributes.extend(axis.map(|axis| ("axis", Int(axis))));
        let model =
            Model::new(6, &[2, 2, 2]).floats("c", &[2], &[10.0, 20.0]).node("Add", &["x", "c"], "y", &attributes);
        evaluate(&from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings())), &x)
    };
    let added = |position: fn(usize) -> usize| -> Vec<f32> {
        x.iter().enumerate().map(|(at, value)| value + [10.0, 20.0][position(at)]).collect()
    };
    assert_eq!(at(Some(1)), added(|at| at / 4));
    assert_eq!(at(Some(2)), added(|at| at / 2 % 2));
    assert_eq!(at(None), added(|at| at % 2));

    let prelu = |opset: i64| {
        let model = Model::new(opset, &[2, 2, 2]).floats("s", &[2], &[0.5, 0.25]).node("PRelu", &["x", "s"], "y", &[]);
        evaluate(&from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings())), &x)
    };
    assert_eq!(prelu(6), [-2.0, -1.5, -1.0, -0.5, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(prelu(7), [-2.0, -0.75, -1.0, -0.25, 0.0, 1.0, 2.0, 3.0]);
    let outside = Model::new(6, &[2]).floats("c", &[2, 2], &[0.0; 4]).node(
        "Add",
        &["x", "c"],
        "y",
        &[("broadcast", Int(1)), ("axis", Int(1))],
    );
    let error = from_onnx(&outside.bytes()).unwrap_err();
    assert!(error.findings()[0].to_string().contains("must lie inside"), "{:?}", error.findings());
}
