//! What import refuses: the kind and the text of every finding.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::onnx_builder::Attr::{Float, Int, Ints, Text};
use common::onnx_builder::{Model, value};
use common::{Random, nets};
use releqc_passes::import::{ErrorKind, ImportError, ImportOptions, check, from_onnx};
use releqc_passes::onnx::onnx_protobuf::{
    GraphProto, ModelProto, NodeProto, StringStringEntryProto, tensor_shape_proto, type_proto,
};
use releqc_passes::onnx::write;

fn refused(bytes: &[u8]) -> ImportError {
    match from_onnx(bytes) {
        Ok(graph) => panic!("imported:\n{graph}"),
        Err(error) => error,
    }
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn node(model: &mut ModelProto, index: usize) -> &mut NodeProto {
    &mut graph(model).node[index]
}

fn relu(opset: i64) -> Model {
    Model::new(opset, &[3, 4, 4]).node("Relu", &["x"], "y", &[])
}

fn conv(attributes: &[(&str, common::onnx_builder::Attr)]) -> Model {
    Model::new(17, &[3, 4, 4]).weight("w", &[2, 3, 3, 3]).node("Conv", &["x", "w"], "y", attributes)
}

fn pool(attributes: &[(&str, common::onnx_builder::Attr)]) -> Model {
    Model::new(17, &[3, 4, 4]).node("MaxPool", &["x"], "y", attributes)
}

fn input_type(model: &mut ModelProto) -> &mut type_proto::Tensor {
    match graph(model).input[0].r#type.as_mut().unwrap().value.as_mut().unwrap() {
        type_proto::Value::TensorType(tensor) => tensor,
        other => panic!("{other:?}"),
    }
}

fn input_dim(model: &mut ModelProto, axis: usize) -> &mut Option<tensor_shape_proto::dimension::Value> {
    &mut input_type(model).shape.as_mut().unwrap().dim[axis].value
}

/// Models that must be refused, by a name that says what is wrong.
fn bad_models() -> Vec<(&'static str, Model)> {
    use tensor_shape_proto::dimension::Value::{DimParam, DimValue};
    let linear = |dims: &[i64]| Model::new(17, &[5]).weight("w", dims).node("Gemm", &["x", "w"], "y", &[]);
    vec![
        ("opset_missing", relu(17).edit(|m| m.opset_import.clear())),
        ("opset_old", relu(5)),
        ("input_without_shape", relu(17).edit(|m| input_type(m).shape = None)),
        ("input_dynamic_height", relu(17).edit(|m| *input_dim(m, 2) = Some(DimParam("H".into())))),
        ("input_extent_zero", relu(17).edit(|m| *input_dim(m, 1) = Some(DimValue(0)))),
        ("input_huge", relu(17).edit(|m| *input_dim(m, 1) = Some(DimValue(i64::MAX)))),
        ("no_input", relu(17).edit(|m| graph(m).input.clear())),
        ("no_output", relu(17).edit(|m| graph(m).output.clear())),
        ("unknown_output", relu(17).edit(|m| graph(m).output[0].name = Some("nowhere".into()))),
        ("constant_output", relu(17).floats("c", &[1], &[1.0]).edit(|m| graph(m).output = vec![value("c", None)])),
        ("unknown_value", relu(17).edit(|m| node(m, 0).input[0] = "nothing".into())),
        (
            "nodes_out_of_order",
            relu(17)
                .node("Relu", &["y"], "z", &[])
                .edit(|m| graph(m).node.swap(0, 1))
                .edit(|m| graph(m).output[0].name = Some("z".into())),
        ),
        (
            "value_defined_twice",
            relu(17).node("Relu", &["x"], "y", &[]).edit(|m| node(m, 1).name = Some("other".into())),
        ),
        ("foreign_domain", relu(17).edit(|m| node(m, 0).domain = Some("com.acme".into()))),
        (
            "unsupported_operators",
            relu(17)
                .node("NonMaxSuppression", &["y"], "a", &[])
                .node("StringNormalizer", &["a"], "z", &[])
                .edit(|m| graph(m).output[0].name = Some("z".into())),
        ),
        ("wrong_attribute_type", conv(&[("group", Float(1.0))])),
        ("stride_zero", conv(&[("strides", Ints(vec![0, 1]))])),
        ("pads_of_wrong_length", conv(&[("pads", Ints(vec![1, 1]))])),
        ("pads_odd", conv(&[("pads", Ints(vec![1, 1, 1]))])),
        ("pads_negative", conv(&[("pads", Ints(vec![-1, 0, 0, 0]))])),
        ("dilation_huge", conv(&[("dilations", Ints(vec![1 << 40, 1]))])),
        ("window_larger_than_image", conv(&[("dilations", Ints(vec![3, 3]))])),
        ("auto_pad_unknown", conv(&[("auto_pad", Text("SOMETIMES"))])),
        ("group_zero", conv(&[("group", Int(0))])),
        ("group_does_not_divide", conv(&[("group", Int(3))])),
        ("kernel_shape_against_weight", conv(&[("kernel_shape", Ints(vec![5, 5]))])),
        ("conv_channels", Model::new(17, &[4, 4, 4]).weight("w", &[2, 3, 3, 3]).node("Conv", &["x", "w"], "y", &[])),
        (
            "conv_bias_length",
            Model::new(17, &[3, 4, 4]).weight("w", &[2, 3, 3, 3]).weight("b", &[3]).node(
                "Conv",
                &["x", "w", "b"],
                "y",
                &[],
            ),
        ),
        ("conv_3d", Model::new(17, &[3, 4, 4]).weight("w", &[2, 3, 1, 1, 1]).node("Conv", &["x", "w"], "y", &[])),
        ("conv_without_weight", Model::new(17, &[3, 4, 4]).node("Conv", &["x"], "y", &[])),
        (
            "conv_weight_not_constant",
            Model::new(17, &[3, 4, 4]).node("Relu", &["x"], "r", &[]).node("Conv", &["x", "r"], "y", &[]),
        ),
        ("pool_without_kernel", pool(&[])),
        ("pool_over_one_axis_of_two", pool(&[("kernel_shape", Ints(vec![2]))])),
        ("pool_sees_padding_alone", pool(&[("kernel_shape", Ints(vec![2, 2])), ("pads", Ints(vec![2, 2, 2, 2]))])),
        (
            "pool_indices",
            pool(&[("kernel_shape", Ints(vec![2, 2]))])
                .edit(|m| node(m, 0).output.push("i".into()))
                .edit(|m| graph(m).output.push(value("i", None))),
        ),
        ("clip_attributes_from_opset_11", Model::new(13, &[3]).node("Clip", &["x"], "y", &[("min", Float(0.0))])),
        ("gemm_features", linear(&[4, 2])),
        (
            "gemm_transposed_activation",
            Model::new(17, &[5]).weight("w", &[5, 2]).node("Gemm", &["x", "w"], "y", &[("transA", Int(1))]),
        ),
        ("matmul_of_activations", Model::new(17, &[5]).node("MatMul", &["x", "x"], "y", &[])),
        (
            "batch_norm_variance_negative",
            Model::new(17, &[2, 2, 2]).weight("p", &[2]).floats("v", &[2], &[1.0, -1.0]).node(
                "BatchNormalization",
                &["x", "p", "p", "p", "v"],
                "y",
                &[],
            ),
        ),
        (
            "batch_norm_training",
            Model::new(17, &[2, 2, 2]).weight("p", &[2]).node(
                "BatchNormalization",
                &["x", "p", "p", "p", "p"],
                "y",
                &[("training_mode", Int(1))],
            ),
        ),
        (
            "weight_not_finite",
            Model::new(17, &[2]).floats("w", &[1, 2], &[f32::INFINITY, 1.0]).node(
                "Gemm",
                &["x", "w"],
                "y",
                &[("transB", Int(1))],
            ),
        ),
        (
            "weight_nan",
            Model::new(17, &[2]).floats("w", &[1, 2], &[f32::NAN, 1.0]).node(
                "Gemm",
                &["x", "w"],
                "y",
                &[("transB", Int(1))],
            ),
        ),
        ("weight_data_missing", conv(&[]).edit(|m| graph(m).initializer[0].float_data.truncate(5))),
        ("weight_dims_negative", conv(&[]).edit(|m| graph(m).initializer[0].dims[0] = -2)),
        (
            "weight_external",
            conv(&[]).edit(|m| graph(m).initializer[0].external_data.push(StringStringEntryProto::default())),
        ),
        ("weight_int4", conv(&[]).edit(|m| graph(m).initializer[0].data_type = Some(22))),
        ("weight_of_text", conv(&[]).edit(|m| graph(m).initializer[0].data_type = Some(8))),
        ("weight_twice", conv(&[]).weight("w", &[2, 3, 3, 3])),
        (
            "fold_huge",
            Model::new(17, &[3]).ints("s", &[1 << 40]).node("ConstantOfShape", &["s"], "c", &[]).node(
                "Add",
                &["x", "c"],
                "y",
                &[],
            ),
        ),
        (
            "constant_without_value",
            Model::new(17, &[3]).node("Constant", &[], "c", &[]).node("Add", &["x", "c"], "y", &[]),
        ),
        (
            "allowzero",
            Model::new(17, &[3]).ints("s", &[0, 3]).node("Reshape", &["x", "s"], "y", &[("allowzero", Int(1))]),
        ),
        ("reshape_of_other_size", Model::new(17, &[3]).ints("s", &[1, 4]).node("Reshape", &["x", "s"], "y", &[])),
    ]
}

/// Models that look odd and are none the worse for it.
fn odd_models() -> Vec<(&'static str, Model)> {
    use tensor_shape_proto::dimension::Value::DimValue;
    vec![
        ("opset_new", relu(99)),
        ("input_of_integers", relu(17).edit(|m| input_type(m).elem_type = Some(7))),
        ("input_batch_of_8", relu(17).edit(|m| *input_dim(m, 0) = Some(DimValue(8)))),
        ("two_inputs", relu(17).edit(|m| graph(m).input.push(value("z", Some(&[3]))))),
        (
            "duplicate_node_names",
            relu(17).node("Relu", &["y"], "z", &[]).edit(|m| node(m, 1).name = Some("relu_y".into())),
        ),
        ("model_functions", relu(17).edit(|m| m.functions.push(Default::default()))),
        (
            "quantized_activations",
            relu(17)
                .floats("s", &[], &[0.1])
                .node("QuantizeLinear", &["y", "s"], "q", &[])
                .edit(|m| graph(m).output[0].name = Some("q".into())),
        ),
        (
            "clip_min_above_max",
            Model::new(10, &[3]).node("Clip", &["x"], "y", &[("min", Float(1.0)), ("max", Float(0.0))]),
        ),
        ("product_of_activations", Model::new(17, &[5]).node("Mul", &["x", "x"], "y", &[])),
        (
            "division_by_zero",
            Model::new(17, &[3]).floats("c", &[3], &[1.0, 0.0, 1.0]).node("Div", &["x", "c"], "y", &[]),
        ),
        (
            "constant_varies_inside_a_channel",
            Model::new(17, &[1, 1, 2]).floats("c", &[2], &[1.0, 2.0]).node("Mul", &["x", "c"], "y", &[]),
        ),
        ("concat_of_rows", Model::new(17, &[1, 2, 2]).node("Concat", &["x", "x"], "y", &[("axis", Int(2))])),
        ("flatten_of_the_batch", Model::new(17, &[1, 2, 2]).node("Flatten", &["x"], "y", &[("axis", Int(0))])),
        (
            "transpose_to_rows",
            Model::new(17, &[3, 2, 2]).node("Transpose", &["x"], "y", &[("perm", Ints(vec![0, 2, 3, 1]))]),
        ),
        ("softmax_of_each_row", Model::new(17, &[3, 2, 2]).node("Softmax", &["x"], "y", &[])),
        (
            "pad_before_a_max_pool",
            Model::new(17, &[1, 2, 2]).ints("p", &[0, 0, 1, 1, 0, 0, 1, 1]).node("Pad", &["x", "p"], "t", &[]).node(
                "MaxPool",
                &["t"],
                "y",
                &[("kernel_shape", Ints(vec![2, 2]))],
            ),
        ),
        ("five_axes", Model::new(17, &[4, 2, 2]).ints("s", &[0, 2, 2, 2, 2]).node("Reshape", &["x", "s"], "y", &[])),
    ]
}

#[test]
fn nothing_is_refused_needlessly() {
    for (name, model) in odd_models() {
        if let Err(error) = from_onnx(&model.bytes()) {
            panic!("{name}: {:?}", error.findings());
        }
    }
}

#[test]
fn every_bad_model_is_refused_with_its_reason() {
    let mut text = String::new();
    for (name, model) in bad_models() {
        let error = refused(&model.bytes());
        assert_ne!(error.kind(), ErrorKind::Violation, "{name}: {error}");
        text.push_str(&format!("{name}: {:?}\n", error.kind()));
        for finding in error.findings() {
            text.push_str(&format!("    {finding}\n"));
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("import_refusals", text));
}

#[test]
fn bytes_that_are_no_model() {
    let model = write(&nets::plain(), &[]).unwrap();
    for (bytes, message) in [
        (&b""[..], "the file is empty; an ONNX model is required"),
        (b"label,width\n1,2\n", "not an ONNX model: the file holds text"),
        (&[8, 8], "not an ONNX model: it holds no graph"),
    ] {
        let error = refused(bytes);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, message));
        assert!(check(bytes, &ImportOptions::default()).is_err());
    }
    for cut in [3, model.len() / 3, model.len() - 1] {
        assert_eq!(refused(&model[..cut]).kind(), ErrorKind::Invalid, "cut at {cut}");
    }
}

#[test]
fn check_lists_every_node_and_every_finding() {
    let model = relu(17)
        .node("NonMaxSuppression", &["y"], "a", &[])
        .node("Relu", &["a"], "b", &[])
        .node("StringNormalizer", &["b"], "z", &[])
        .edit(|m| graph(m).output[0].name = Some("z".into()));
    let report = check(&model.bytes(), &ImportOptions::default()).unwrap();
    let subjects: Vec<_> = report.findings.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects, ["nonmaxsuppression_a", "stringnormalizer_z"]);
    assert_eq!(report.supported, [("relu_y".into(), "Relu".into()), ("relu_b".into(), "Relu".to_owned())]);
    let good = check(&write(&nets::plain(), &[]).unwrap(), &ImportOptions::default()).unwrap();
    assert_eq!((good.findings.len(), good.supported.len()), (0, 9));
}

/// A changed byte, a cut, a doubled or an overwritten run: import answers, and never by a panic of its own or of tract.
#[test]
fn damaged_models_never_panic() {
    let mut random = Random(2026);
    let mut answers = [0usize; 2];
    for (graph, model) in nets::written() {
        for round in 0..1500 {
            let mut bytes = model.clone();
            for _ in 0..1 + round % 3 {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => {
                        let run: Vec<u8> = bytes[at..(at + 1 + random.below(16)).min(bytes.len())].to_vec();
                        bytes.splice(at..at, run);
                    }
                }
            }
            match from_onnx(&bytes) {
                Ok(_) => answers[0] += 1,
                Err(error) => {
                    answers[1] += 1;
                    assert_ne!(
                        error.kind(),
                        ErrorKind::Violation,
                        "{} round {round}: {:?}",
                        graph.name,
                        error.findings()
                    );
                }
            }
        }
    }
    println!("imported {}, refused {}", answers[0], answers[1]);
    assert!(answers.iter().all(|&count| count > 100), "{answers:?}");
}

/// Numbers that no file should have, at every place of the message that holds one.
#[test]
fn hostile_numbers_never_panic() {
    let numbers = [0, -1, 1 << 20, i64::MAX, i64::MIN];
    for (_, bytes) in nets::written() {
        let model = releqc_passes::onnx::decode_model(&bytes).unwrap();
        let count = numbers_of(&mut model.clone()).count();
        for place in 0..count {
            for number in numbers {
                let mut bad = model.clone();
                *numbers_of(&mut bad).nth(place).unwrap() = number;
                if let Err(error) = from_onnx(&Model { proto: bad }.bytes()) {
                    assert_ne!(error.kind(), ErrorKind::Violation, "{number}: {:?}", error.findings());
                }
            }
        }
    }
}

/// Every integer attribute and every extent of an initialiser.
fn numbers_of(model: &mut ModelProto) -> impl Iterator<Item = &mut i64> {
    let graph = graph(model);
    let attributes = graph.node.iter_mut().flat_map(|node| node.attribute.iter_mut());
    let attributes = attributes.flat_map(|a| a.ints.iter_mut().chain(a.i.as_mut()));
    attributes.chain(graph.initializer.iter_mut().flat_map(|tensor| tensor.dims.iter_mut()))
}
