//! Files as exporters write them: functions, branches, names, batches, several inputs, quantized constants, and hostile ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::compiles::supported;
use common::onnx_builder::Attr::{Int, Ints};
use common::onnx_builder::{Model, value};
use common::{Random, evaluate};
use releqc_passes::import::{ErrorKind, Group, ImportOptions, check, from_onnx, import};
use releqc_passes::ir::{ElementType, Graph, Op};
use releqc_passes::onnx::onnx_protobuf::attribute_proto::AttributeType;
use releqc_passes::onnx::onnx_protobuf::tensor_shape_proto::dimension::Value::DimValue;
use releqc_passes::onnx::onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, type_proto,
};
use std::time::Instant;

fn graph(model: &Model) -> Graph {
    supported(&model.bytes(), &ImportOptions::default()).unwrap();
    from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:#?}", error.findings()))
}

fn findings(model: &Model) -> Vec<String> {
    match from_onnx(&model.bytes()) {
        Ok(graph) => panic!("imported:\n{graph}"),
        Err(error) => error.findings().iter().map(ToString::to_string).collect(),
    }
}

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto { op_type: Some(op_type.into()), input: names(inputs), output: names(outputs), ..Default::default() }
}

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["slope".into()],
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        ..Default::default()
    }
}

fn own(mut node: NodeProto) -> NodeProto {
    node.domain = Some("own".into());
    node
}

fn main_graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn set_batch(model: &mut ModelProto, input: usize, batch: i64) {
    let kind = main_graph(model).input[input].r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = kind else { panic!("{kind:?}") };
    tensor.shape.as_mut().unwrap().dim[0].value = Some(DimValue(batch));
}

fn set_output(model: &mut ModelProto, dims: &[i64]) {
    main_graph(model).output[0] = value("y", Some(&dims[1..]));
    let kind = main_graph(model).output[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = kind else { panic!("{kind:?}") };
    tensor.shape.as_mut().unwrap().dim[0].value = Some(DimValue(dims[0]));
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let mut leaky = node("LeakyRelu", &["a"], &["t"]);
    leaky.attribute.push(AttributeProto {
        name: Some("alpha".into()),
        ref_attr_name: Some("slope".into()),
        r#type: Some(AttributeType::Float as i32),
        ..Default::default()
    });
    let inner = function("Inner", vec![leaky, node("Abs", &["t"], &["b"])]);
    let mut outer_call = own(node("Inner", &["a"], &["b"]));
    outer_call.attribute.push(AttributeProto {
        name: Some("slope".into()),
        f: Some(0.5),
        r#type: Some(AttributeType::Float as i32),
        ..Default::default()
    });
    let outer = function("Outer", vec![outer_call]);
    let model = Model::new(17, &[4]).edit(|m| {
        m.functions = vec![inner, outer];
        main_graph(m).node.push(own(node("Outer", &["x"], &["y"])));
    });
    assert_eq!(evaluate(&graph(&model), &[-2.0, -1.0, 0.0, 3.0]), [1.0, 0.5, 0.0, 3.0]);
}

#[test]
fn a_function_that_calls_itself_is_refused() {
    let model = Model::new(17, &[4]).edit(|m| {
        m.functions = vec![function("Loop", vec![own(node("Loop", &["a"], &["b"]))])];
        main_graph(m).node.push(own(node("Loop", &["x"], &["y"])));
    });
    assert!(findings(&model)[0].contains("recursion"), "{:?}", findings(&model));
}

/// 2^60 nodes in a few hundred bytes.
#[test]
fn functions_that_double_end() {
    let call = |name: String, from: &str, to: &str| own(node(&name, &[from], &[to]));
    let model = Model::new(17, &[4]).edit(|m| {
        for level in 0..60 {
            let next = format!("F{}", level + 1);
            m.functions.push(function(&format!("F{level}"), vec![call(next.clone(), "a", "t"), call(next, "t", "b")]));
        }
        m.functions.push(function("F60", vec![node("Identity", &["a"], &["b"])]));
        main_graph(m).node.push(own(node("F0", &["x"], &["y"])));
    });
    assert!(findings(&model)[0].contains("at most so many"), "{:?}", findings(&model));
}

/// The node of an If that reads `condition` and yields `y`.
fn choice(condition: &str, yes: GraphProto, no: GraphProto) -> NodeProto {
    let attribute = |name: &str, graph: GraphProto| AttributeProto {
        name: Some(name.into()),
        g: Some(graph),
        r#type: Some(AttributeType::Graph as i32),
        ..Default::default()
    };
    let mut choice = node("If", &[condition], &["y"]);
    choice.attribute = vec![attribute("then_branch", yes), attribute("else_branch", no)];
    choice
}

fn branch(op: &str, input: &str) -> GraphProto {
    GraphProto { node: vec![node(op, &[input], &["b"])], output: vec![value("b", None)], ..Default::default() }
}

#[test]
fn a_branch_with_a_constant_condition_is_inlined() {
    let model = |condition: &str| {
        Model::new(17, &[4]).floats("zero", &[], &[0.0]).floats("one", &[], &[1.0]).edit(|m| {
            let choice = choice("c", branch("Neg", "x"), branch("Abs", "x"));
            main_graph(m).node = vec![node("Greater", &[condition, "zero"], &["c"]), choice];
        })
    };
    assert_eq!(evaluate(&graph(&model("one")), &[1.0, -2.0, 3.0, 4.0]), [-1.0, 2.0, -3.0, -4.0]);
    assert_eq!(evaluate(&graph(&model("zero")), &[1.0, -2.0, 3.0, 4.0]), [1.0, 2.0, 3.0, 4.0]);
    assert!(findings(&model("x"))[0].contains("condition"), "{:?}", findings(&model("x")));
}

#[test]
fn a_condition_that_depends_on_the_input_selects_between_both_branches() {
    // The sign of the sum decides.
    let model = |yes: GraphProto, no: GraphProto| {
        Model::new(17, &[4])
            .floats("zero", &[], &[0.0])
            .floats("k", &[1, 4], &[5.0, 6.0, 7.0, 8.0])
            .node("ReduceSum", &["x"], "s", &[("keepdims", Int(0))])
            .node("Greater", &["s", "zero"], "c", &[])
            .edit(|m| main_graph(m).node.push(choice("c", yes, no)))
    };
    let negated = graph(&model(branch("Neg", "x"), branch("Abs", "x")));
    assert_eq!(evaluate(&negated, &[1.0, -2.0, 3.0, 4.0]), [-1.0, 2.0, -3.0, -4.0]);
    assert_eq!(evaluate(&negated, &[1.0, -2.0, -3.0, 3.0]), [1.0, 2.0, 3.0, 3.0]);
    // A constant of a branch, and the value of an If inside the other.
    let inner = GraphProto {
        node: vec![{
            let mut inner = choice("c", branch("Abs", "k"), branch("Neg", "x"));
            inner.output = vec!["b".into()];
            inner
        }],
        output: vec![value("b", None)],
        ..Default::default()
    };
    let nested = graph(&model(branch("Identity", "k"), inner));
    assert_eq!(evaluate(&nested, &[1.0, 0.0, 0.0, 0.0]), [5.0, 6.0, 7.0, 8.0]);
    assert_eq!(evaluate(&nested, &[-1.0, 0.0, 0.0, 0.0]), [1.0, 0.0, 0.0, 0.0]);
    // A branch that no runtime could run: the other one is taken.
    let impossible = GraphProto {
        node: vec![node("MatMul", &["x", "k"], &["b"])],
        output: vec![value("b", None)],
        ..Default::default()
    };
    let only = graph(&model(branch("Neg", "x"), impossible.clone()));
    assert_eq!(evaluate(&only, &[-1.0, 0.0, 2.0, -3.0]), [1.0, 0.0, -2.0, 3.0]);
    let neither = findings(&model(impossible.clone(), impossible));
    assert_eq!(neither.len(), 2, "{neither:?}");
    // Branches of different shapes cannot be selected between.
    let shapes = findings(&model(branch("Neg", "x"), branch("Identity", "s")));
    assert!(shapes[0].contains("[1, 4] and []; one shape is required"), "{shapes:?}");
    let types = findings(&model(branch("Neg", "x"), branch("Shape", "x")));
    assert!(types[0].contains("FLOAT and INT64; one element type is required"), "{types:?}");
}

/// Anchors of a detector, say: an output that is the same for every input.
#[test]
fn an_output_may_be_constant_where_another_is_not() {
    let model = Model::new(17, &[2])
        .floats("anchors", &[3], &[1.0, 2.0, 3.0])
        .node("Neg", &["x"], "y", &[])
        .edit(|m| main_graph(m).output.push(value("anchors", None)));
    assert_eq!(evaluate(&graph(&model), &[5.0, 6.0]), [-5.0, -6.0, 1.0, 2.0, 3.0]);
}

#[test]
fn names_are_made_unique_and_kept_where_they_can_be() {
    let mut model = Model::new(17, &[4]).node("Abs", &["x"], "t", &[]).node("Neg", &["t"], "y", &[]);
    model.graph().node[0].name = Some("x".into());
    model.graph().node[1].name = Some("x".into());
    let names: Vec<String> = graph(&model).nodes.iter().map(|node| node.name.clone()).collect();
    assert_eq!(names, ["x", "t", "y"]);
}

#[test]
fn a_fixed_batch_becomes_one_where_samples_stay_apart() {
    let model = |shape: &[i64]| {
        Model::new(17, &[2, 3]).ints("s", shape).node("Reshape", &["x", "s"], "t", &[]).node("Abs", &["t"], "y", &[])
    };
    let batch = model(&[4, 6]).edit(|m| {
        set_batch(m, 0, 4);
        set_output(m, &[4, 6]);
    });
    assert_eq!(graph(&batch).input_shape().dims(), [1, 2, 3]);
    // The mean over the batch: what one sample gives depends on the others.
    let mixed = Model::new(13, &[3])
        .node("ReduceMean", &["x"], "m", &[("axes", Ints(vec![0]))])
        .node("Sub", &["x", "m"], "y", &[])
        .edit(|m| {
            set_batch(m, 0, 4);
            set_output(m, &[4, 3]);
        });
    assert_eq!(graph(&mixed).input_shape().dims(), [4, 3]);
    // A first axis of time is no batch, whatever has it: windows, reversed order, recurrence.
    let windows = Model::new(17, &[3])
        .node("Transpose", &["x"], "t", &[("perm", Ints(vec![1, 0]))])
        .ints("first", &[0])
        .node("Unsqueeze", &["t", "first"], "r", &[])
        .weight("w", &[3, 3, 3])
        .node("Conv", &["r", "w"], "c", &[("pads", Ints(vec![1, 1]))])
        .node("Squeeze", &["c", "first"], "b", &[])
        .node("Transpose", &["b"], "y", &[("perm", Ints(vec![1, 0]))]);
    let reversed = Model::new(17, &[3]).ints("from", &[-1]).ints("to", &[-100]).ints("axes", &[0]).node(
        "Slice",
        &["x", "from", "to", "axes", "from"],
        "y",
        &[],
    );
    let recurrent = Model::new(17, &[1, 3]).weight("w", &[1, 4, 3]).weight("r", &[1, 4, 4]).node(
        "RNN",
        &["x", "w", "r"],
        "y",
        &[("hidden_size", Int(4))],
    );
    for (model, own, outputs) in [
        (windows, vec![5, 3], vec![5, 3]),
        (reversed, vec![5, 3], vec![5, 3]),
        (recurrent, vec![5, 1, 3], vec![5, 1, 1, 4]),
    ] {
        let model = model.edit(|m| {
            set_batch(m, 0, 5);
            set_output(m, &outputs);
        });
        assert_eq!(graph(&model).input_shape().dims(), own);
    }
    // Extents that are given are meant.
    let options = ImportOptions { shapes: [("x".to_owned(), vec![4, 2, 3])].into(), ..Default::default() };
    assert_eq!(import(&batch.bytes(), &options).unwrap().input_shape().dims(), [4, 2, 3]);
}

#[test]
fn inputs_that_nothing_reads_and_initialisers_that_are_inputs_are_no_inputs() {
    let model = Model::new(17, &[3]).floats("c", &[3], &[1.0, 2.0, 3.0]).node("Add", &["x", "c"], "y", &[]).edit(|m| {
        main_graph(m).input.push(value("unused", Some(&[7])));
        main_graph(m).input.push(value("c", Some(&[])));
    });
    assert_eq!(graph(&model).inputs().count(), 1);
}

#[test]
fn several_inputs_of_several_types_make_one_sample() {
    let model = Model::new(17, &[3])
        .node("Cast", &["z"], "f", &[("to", Int(1))])
        .node("Add", &["x", "f"], "y", &[])
        .edit(|m| {
            let mut second = value("z", Some(&[3]));
            let Some(type_proto::Value::TensorType(tensor)) = second.r#type.as_mut().unwrap().value.as_mut() else {
                panic!("a tensor");
            };
            tensor.elem_type = Some(7);
            main_graph(m).input.push(second);
        });
    let graph = graph(&model);
    assert!(matches!(graph.nodes[1].op, Op::Input(ElementType::I64)));
    assert_eq!(evaluate(&graph, &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]), [11.0, 22.0, 33.0]);
}

#[test]
fn a_cut_leaves_out_what_is_behind_it() {
    let model = Model::new(17, &[4]).node("Abs", &["x"], "t", &[]).node("NonMaxSuppression", &["t"], "y", &[]);
    let report = check(&model.bytes(), &ImportOptions::default()).unwrap();
    let groups = Group::of(&report.findings);
    assert_eq!(groups[0].operator.as_deref(), Some("NonMaxSuppression"));
    assert_eq!(groups[0].advice.as_deref(), Some("compile up to what it reads: --cut t"));
    for cut in ["t", "abs_t"] {
        let options = ImportOptions { cut: vec![cut.into()], ..Default::default() };
        assert_eq!(import(&model.bytes(), &options).unwrap().outputs[0].0, "t");
    }
    let options = ImportOptions { cut: vec!["nothing".into()], ..Default::default() };
    assert_eq!(import(&model.bytes(), &options).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Every sample of a batch of images as if it were alone.
#[test]
fn convolutions_and_pools_of_a_batch_keep_samples_apart() {
    let attributes = || {
        vec![
            ("pads", Ints(vec![1, 0, 2, 1])),
            ("strides", Ints(vec![2, 1])),
            ("dilations", Ints(vec![1, 2])),
            ("kernel_shape", Ints(vec![3, 2])),
        ]
    };
    for op in ["Conv", "MaxPool", "AveragePool"] {
        let model = |batch: i64| {
            let attributes = attributes();
            let inputs: &[&str] = if op == "Conv" { &["x", "w"] } else { &["x"] };
            // The last axis is the sum of the batch, so that it cannot become 1.
            Model::new(19, &[2, 5, 6]).weight("w", &[3, 2, 3, 2]).node(op, inputs, "y", &attributes).edit(|m| {
                set_batch(m, 0, batch);
            })
        };
        let input = Random(3).floats(3 * 60);
        let whole = evaluate(&graph(&model(3)), &input);
        let single = graph(&model(1));
        let apart: Vec<f32> = input.chunks_exact(60).flat_map(|sample| evaluate(&single, sample)).collect();
        assert_eq!(whole, apart, "{op}");
    }
}

#[test]
fn a_window_over_three_axes_is_one_over_two_where_it_can_be() {
    let model = Model::new(17, &[2, 4, 5, 3]).weight("w", &[3, 2, 1, 2, 3]).node("Conv", &["x", "w"], "y", &[]);
    assert_eq!(graph(&model).nodes.last().unwrap().shape.dims(), [1, 3, 4, 4, 1]);
    let pool = Model::new(17, &[2, 4, 4, 6]).node(
        "MaxPool",
        &["x"],
        "y",
        &[("kernel_shape", Ints(vec![2, 2, 3])), ("strides", Ints(vec![2, 2, 3]))],
    );
    let x: Vec<f32> = (0..2 * 4 * 4 * 6).map(|i| i as f32).collect();
    let y = evaluate(&graph(&pool), &x);
    assert_eq!((y.len(), y[0]), (16, (24 + 6 + 2) as f32));
}

#[test]
fn quantize_and_dequantize_around_an_activation_are_a_clip() {
    let model = |last: &str| {
        Model::new(17, &[2, 2])
            .floats("s", &[], &[0.5])
            .edit(|m| {
                main_graph(m).initializer.push(TensorProto {
                    name: Some("z".into()),
                    data_type: Some(2),
                    int32_data: vec![128],
                    ..Default::default()
                });
            })
            .node("QuantizeLinear", &["x", "s", "z"], "q", &[])
            .node("Transpose", &["q"], "t", &[("perm", Ints(vec![0, 2, 1]))])
            .node("DequantizeLinear", &["t", last, "z"], "y", &[])
    };
    // 0.3 is no code: the clip leaves it.
    assert_eq!(evaluate(&graph(&model("s")), &[0.3, 100.0, -100.0, 1.0]), [0.3, -64.0, 63.5, 1.0]);
    let other = model("s2").floats("s2", &[], &[1.0]);
    assert_eq!(evaluate(&graph(&other), &[0.3, 100.0, -100.0, 1.0]), [1.0, -128.0, 127.0, 2.0]);
}

/// Some hundred bytes that would become gigabytes.
#[test]
fn bombs_are_refused_before_they_go_off() {
    let add = |model: Model| model.node("Add", &["x", "c"], "y", &[]);
    let mut doubling = Model::new(17, &[3]).ints("c0", &[1, 2, 3, 4]);
    for level in 0..40 {
        let (from, to) = (format!("c{level}"), format!("c{}", level + 1));
        doubling = doubling.node("Concat", &[&from, &from], &to, &[("axis", Int(0))]);
    }
    let bombs = [
        add(Model::new(17, &[3]).ints("s", &[1 << 20, 1 << 20]).node("ConstantOfShape", &["s"], "c", &[])),
        add(Model::new(17, &[3]).ints("s", &[1 << 31]).node("ConstantOfShape", &["s"], "c", &[])),
        add(Model::new(17, &[3]).floats("e", &[], &[1e9]).floats("o", &[], &[0.0]).floats("d", &[], &[1.0]).node(
            "Range",
            &["o", "e", "d"],
            "c",
            &[],
        )),
        add(Model::new(17, &[3]).ints("s", &[1 << 16, 1 << 16]).floats("v", &[1], &[1.0]).node(
            "Expand",
            &["v", "s"],
            "c",
            &[],
        )),
        add(Model::new(17, &[3]).ints("s", &[1 << 40]).floats("v", &[1], &[1.0]).node("Tile", &["v", "s"], "c", &[])),
        Model::new(17, &[3]).ints("s", &[1, 1 << 40]).node("Tile", &["x", "s"], "y", &[]),
        Model::new(17, &[3]).ints("s", &[1 << 40, 3]).node("Expand", &["x", "s"], "y", &[]),
        Model::new(17, &[3]).ints("p", &[0, 1 << 27, 0, 1 << 27]).node("Pad", &["x", "p"], "y", &[]),
        doubling.node("Add", &["x", "c40"], "y", &[]),
    ];
    for (index, bomb) in bombs.iter().enumerate() {
        let start = Instant::now();
        let findings = findings(bomb);
        assert_eq!(findings.len(), 1, "{index}: {findings:?}");
        assert!(start.elapsed().as_secs() < 5, "{index}: {:?}", start.elapsed());
    }
}

/// What is behind a refused node is not judged by what is not known of it.
#[test]
fn findings_behind_a_refused_node_are_true() {
    let model = Model::new(17, &[4])
        .weight("w", &[5, 2])
        .node("NonMaxSuppression", &["x"], "t", &[])
        .node("MatMul", &["t", "w"], "u", &[])
        .node("Mystery", &["u"], "y", &[]);
    assert_eq!(
        findings(&model),
        [
            "nonmaxsuppression_t: operator NonMaxSuppression; how many results it has depends on the network's input",
            "mystery_y: operator Mystery; it is not supported"
        ]
    );
}
