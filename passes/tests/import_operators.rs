//! Each operator in each supported form: import and tract's own execution agree on random input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::compiles::supported;
use common::onnx_builder::Attr::{Float, Int, Ints, Text};
use common::onnx_builder::{Attr, Model};
use common::{Random, evaluate, tract_outputs};
use releqc_passes::import::{ImportOptions, from_onnx};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};

/// f32 sums of at most some hundred products.
const TOLERANCE: f32 = 1e-5;

/// Imports, canonicalises and folds; all agree with tract, and tract's result is not trivial.
fn check(model: Model) {
    let bytes = model.bytes();
    supported(&bytes, &ImportOptions::default()).unwrap();
    let graph = from_onnx(&bytes).unwrap_or_else(|error| panic!("{:?}", error.findings()));
    let input = Random(5).floats(graph.input_shape().len());
    let expected = tract_outputs(&bytes, &input);
    let scale = expected.iter().fold(0f32, |a, v| a.max(v.abs()));
    assert!(scale > 1e-3, "{expected:?}");
    let canonical = canonicalize(graph.clone()).unwrap();
    for graph in [&graph, &canonical, &fold_batch_norm(&canonical)] {
        let seen = evaluate(graph, &input);
        assert_eq!(seen.len(), expected.len(), "{graph}");
        for (s, e) in seen.iter().zip(&expected) {
            assert!((s - e).abs() <= TOLERANCE * scale.max(1.0), "{s} instead of {e}\n{graph}");
        }
    }
}

fn conv(dims: &[i64], weight: &[i64], attributes: &[(&str, Attr)]) -> Model {
    Model::new(17, dims).weight("w", weight).weight("b", &weight[..1]).node("Conv", &["x", "w", "b"], "y", attributes)
}

#[test]
fn convolutions() {
    check(conv(&[3, 6, 7], &[4, 3, 3, 3], &[]));
    check(conv(&[4, 6, 7], &[4, 1, 3, 3], &[("group", Int(4)), ("pads", Ints(vec![1, 1, 1, 1]))]));
    check(conv(
        &[4, 6, 7],
        &[6, 2, 3, 2],
        &[("group", Int(2)), ("pads", Ints(vec![0, 1, 2, 0])), ("strides", Ints(vec![2, 1]))],
    ));
    check(conv(&[2, 9, 9], &[3, 2, 3, 3], &[("dilations", Ints(vec![2, 3])), ("pads", Ints(vec![2, 2, 2, 2]))]));
    for auto_pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        check(conv(&[2, 7, 8], &[3, 2, 2, 3], &[("auto_pad", Text(auto_pad)), ("strides", Ints(vec![2, 3]))]));
    }
}

#[test]
fn a_convolution_over_one_axis_is_a_row() {
    check(conv(&[3, 11], &[4, 3, 3], &[("pads", Ints(vec![2, 1])), ("strides", Ints(vec![2]))]));
}

#[test]
fn an_empty_bias_is_no_bias() {
    let model = |inputs: &[&str]| Model::new(17, &[2, 4, 4]).weight("w", &[3, 2, 1, 1]).node("Conv", inputs, "y", &[]);
    assert_eq!(from_onnx(&model(&["x", "w", ""]).bytes()).unwrap(), from_onnx(&model(&["x", "w"]).bytes()).unwrap());
    check(model(&["x", "w"]));
}

#[test]
fn matrix_products() {
    check(Model::new(17, &[5]).weight("w", &[5, 4]).weight("c", &[4]).node(
        "Gemm",
        &["x", "w", "c"],
        "y",
        &[("alpha", Float(0.5)), ("beta", Float(-2.0))],
    ));
    check(Model::new(17, &[5]).weight("w", &[4, 5]).weight("c", &[1, 1]).node(
        "Gemm",
        &["x", "w", "c"],
        "y",
        &[("transB", Int(1))],
    ));
    check(Model::new(17, &[5]).weight("w", &[4, 5]).node("Gemm", &["x", "w"], "y", &[("transB", Int(1))]));
    check(Model::new(17, &[5]).weight("w", &[5, 4]).weight("b", &[4]).node("MatMul", &["x", "w"], "t", &[]).node(
        "Add",
        &["b", "t"],
        "y",
        &[],
    ));
    check(Model::new(17, &[1, 5]).weight("w", &[5, 4]).node("MatMul", &["x", "w"], "y", &[]));
}

#[test]
fn a_weight_that_is_computed_from_constants() {
    let model = Model::new(17, &[6]).weight("w", &[2, 3, 4]).ints("shape", &[6, 4]);
    check(model.node("Reshape", &["w", "shape"], "w2", &[]).node("MatMul", &["x", "w2"], "y", &[]));
    let model = Model::new(17, &[6]).weight("w", &[4, 6]).node("Transpose", &["w"], "t", &[("perm", Ints(vec![1, 0]))]);
    check(model.node("MatMul", &["x", "t"], "y", &[]));
    // A dequantised weight: integers, scale, zero point.
    let model = Model::new(17, &[6]).floats("s", &[], &[0.25]).edit(|m| {
        let codes = (0..24).map(|i| i * 7 % 23 - 11).collect();
        m.graph.as_mut().unwrap().initializer.push(releqc_passes::onnx::onnx_protobuf::TensorProto {
            name: Some("q".into()),
            dims: vec![6, 4],
            data_type: Some(3),
            int32_data: codes,
            ..Default::default()
        });
    });
    check(model.node("DequantizeLinear", &["q", "s"], "w", &[]).node("MatMul", &["x", "w"], "y", &[]));
}

#[test]
fn batch_normalisation() {
    let model = Model::new(17, &[3, 4, 5]).weight("g", &[3]).weight("b", &[3]).weight("m", &[3]).floats(
        "v",
        &[3],
        &[0.3, 1.0, 2.0],
    );
    check(model.node("BatchNormalization", &["x", "g", "b", "m", "v"], "y", &[("epsilon", Float(0.01))]));
    let model =
        Model::new(9, &[3]).weight("g", &[3]).weight("b", &[3]).weight("m", &[3]).floats("v", &[3], &[0.3, 1.0, 2.0]);
    check(model.node("BatchNormalization", &["x", "g", "b", "m", "v"], "y", &[]));
}

#[test]
fn clips() {
    check(Model::new(17, &[40]).node("Relu", &["x"], "y", &[]));
    check(Model::new(10, &[40]).node("Clip", &["x"], "y", &[("min", Float(-0.2)), ("max", Float(0.4))]));
    check(Model::new(10, &[40]).node("Clip", &["x"], "y", &[("max", Float(0.4))]));
    check(Model::new(17, &[40]).floats("lo", &[], &[-0.2]).floats("hi", &[], &[0.4]).node(
        "Clip",
        &["x", "lo", "hi"],
        "y",
        &[],
    ));
    check(Model::new(17, &[40]).floats("hi", &[], &[0.4]).node("Clip", &["x", "", "hi"], "y", &[]));
    check(Model::new(17, &[40]).floats("lo", &[], &[0.1]).node("Clip", &["x", "lo"], "y", &[]));
}

#[test]
fn pools() {
    let windows = || vec![("kernel_shape", Ints(vec![3, 2])), ("strides", Ints(vec![2, 2]))];
    for op in ["MaxPool", "AveragePool"] {
        check(Model::new(17, &[2, 7, 8]).node(op, &["x"], "y", &windows()));
        let padded = || [windows(), vec![("pads", Ints(vec![1, 0, 1, 1]))]].concat_attrs();
        check(Model::new(17, &[2, 7, 8]).node(op, &["x"], "y", &padded()));
        check(Model::new(17, &[2, 7, 8]).node(
            op,
            &["x"],
            "y",
            &[windows(), vec![("auto_pad", Text("SAME_UPPER"))]].concat_attrs(),
        ));
        check(Model::new(17, &[2, 8, 7]).node(
            op,
            &["x"],
            "y",
            &[windows(), vec![("ceil_mode", Int(1))]].concat_attrs(),
        ));
    }
    let include = [windows(), vec![("pads", Ints(vec![1, 0, 1, 1])), ("count_include_pad", Int(1))]].concat_attrs();
    check(Model::new(17, &[2, 7, 8]).node("AveragePool", &["x"], "y", &include));
    check(Model::new(17, &[2, 7, 8]).node(
        "MaxPool",
        &["x"],
        "y",
        &[("kernel_shape", Ints(vec![2, 2])), ("dilations", Ints(vec![2, 3]))],
    ));
    check(Model::new(17, &[2, 9]).node(
        "MaxPool",
        &["x"],
        "y",
        &[("kernel_shape", Ints(vec![3])), ("strides", Ints(vec![2]))],
    ));
}

#[test]
fn global_pools() {
    check(Model::new(17, &[3, 4, 5]).node("GlobalAveragePool", &["x"], "y", &[]));
    check(Model::new(17, &[3, 4, 5]).node("GlobalMaxPool", &["x"], "y", &[]));
    check(Model::new(17, &[3, 4, 5]).node(
        "ReduceMean",
        &["x"],
        "y",
        &[("axes", Ints(vec![2, 3])), ("keepdims", Int(0))],
    ));
    check(Model::new(17, &[3, 4, 5]).node("ReduceMean", &["x"], "y", &[("axes", Ints(vec![-1, -2]))]));
    check(Model::new(18, &[3, 4, 5]).ints("axes", &[2, 3]).node("ReduceMean", &["x", "axes"], "y", &[]));
}

#[test]
fn constant_arithmetic() {
    for op in ["Add", "Sub", "Mul", "Div"] {
        check(Model::new(17, &[3, 2, 2]).weight("c", &[3, 1, 1]).node(op, &["x", "c"], "y", &[]));
        check(Model::new(17, &[3, 2, 2]).floats("c", &[], &[0.7]).node(op, &["x", "c"], "y", &[]));
        check(Model::new(17, &[3]).weight("c", &[1, 3]).node(op, &["x", "c"], "y", &[]));
    }
    for op in ["Add", "Sub", "Mul"] {
        check(Model::new(17, &[3, 2, 2]).weight("c", &[1, 3, 1, 1]).node(op, &["c", "x"], "y", &[]));
    }
    check(Model::new(17, &[2, 1, 2]).floats("c", &[2, 1, 2], &[0.5, 0.5, 2.0, 2.0]).node("Mul", &["x", "c"], "y", &[]));
}

#[test]
fn sums_and_concats() {
    let relu = |model: Model| model.node("Relu", &["x"], "r", &[]);
    check(relu(Model::new(17, &[3, 2, 2])).node("Add", &["x", "r"], "y", &[]));
    check(relu(Model::new(17, &[3, 2, 2])).node("Sum", &["x", "r"], "y", &[]));
    check(relu(Model::new(17, &[3, 2, 2])).node("Concat", &["x", "r", "x"], "y", &[("axis", Int(1))]));
    check(relu(Model::new(17, &[3, 2, 2])).node("Concat", &["x", "r"], "y", &[("axis", Int(-3))]));
    check(relu(Model::new(17, &[3])).node("Concat", &["x", "r"], "y", &[("axis", Int(-1))]));
}

#[test]
fn layouts() {
    check(Model::new(17, &[3, 2, 2]).node("Flatten", &["x"], "y", &[]));
    check(Model::new(17, &[3, 2, 2]).ints("s", &[0, -1]).node("Reshape", &["x", "s"], "y", &[]));
    check(Model::new(17, &[12]).ints("s", &[-1, 3, 2, 2]).node("Reshape", &["x", "s"], "y", &[]));
    check(Model::new(17, &[3, 1, 1]).ints("a", &[2, 3]).node("Squeeze", &["x", "a"], "y", &[]));
    check(Model::new(11, &[3]).node("Unsqueeze", &["x"], "y", &[("axes", Ints(vec![2, 3]))]));
    check(Model::new(17, &[3, 1, 1]).node("Transpose", &["x"], "y", &[("perm", Ints(vec![0, 2, 3, 1]))]));
    check(Model::new(17, &[3]).node("Dropout", &["x"], "d", &[]).node("Identity", &["d"], "y", &[]));
}

#[test]
fn a_shape_computed_from_the_input() {
    let model = Model::new(17, &[3, 2, 2]).ints("zero", &[0]).ints("rest", &[-1]).node("Shape", &["x"], "s", &[]);
    let model =
        model.node("Gather", &["s", "zero"], "n", &[]).node("Concat", &["n", "rest"], "to", &[("axis", Int(0))]);
    check(model.node("Reshape", &["x", "to"], "y", &[]));
}

#[test]
fn softmaxes() {
    for op in ["Softmax", "LogSoftmax"] {
        check(Model::new(17, &[5]).node(op, &["x"], "y", &[]));
        check(Model::new(17, &[5, 1, 1]).node(op, &["x"], "y", &[("axis", Int(1))]));
        check(Model::new(11, &[2, 3, 2]).node(op, &["x"], "y", &[]));
    }
}

#[test]
fn a_pad_joins_the_window_that_reads_it() {
    let padded = |model: Model| model.ints("p", &[0, 0, 1, 0, 0, 0, 0, 2]).node("Pad", &["x", "p"], "t", &[]);
    check(padded(Model::new(17, &[2, 5, 5]).weight("w", &[3, 2, 3, 3])).node(
        "Conv",
        &["t", "w"],
        "y",
        &[("pads", Ints(vec![1, 1, 1, 1]))],
    ));
    check(padded(Model::new(17, &[2, 5, 5])).node("AveragePool", &["t"], "y", &[("kernel_shape", Ints(vec![3, 3]))]));
    let model = Model::new(10, &[2, 5, 5]).weight("w", &[3, 2, 3, 3]);
    check(model.node("Pad", &["x"], "t", &[("pads", Ints(vec![0, 0, 1, 1, 0, 0, 1, 1]))]).node(
        "Conv",
        &["t", "w"],
        "y",
        &[],
    ));
}

/// Lists of attributes as one.
trait ConcatAttrs {
    fn concat_attrs(self) -> Vec<(&'static str, Attr)>;
}

impl ConcatAttrs for [Vec<(&'static str, Attr)>; 2] {
    fn concat_attrs(self) -> Vec<(&'static str, Attr)> {
        self.into_iter().flatten().collect()
    }
}
