//! Ensembles of trees, against values of onnxruntime 1.32.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::compiles::supported;
use common::evaluate;
use common::onnx_builder::Attr::{self, Floats, Int, Ints, Text, Texts};
use common::onnx_builder::{Model, value};
use releqc_passes::import::{ImportOptions, from_onnx};
use releqc_passes::onnx::onnx_protobuf::OperatorSetIdProto;

/// Features, among them one that equals two thresholds, and one that is no number where that counts as true.
const SAMPLES: [[f32; 3]; 5] =
    [[0.0, -2.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 1.0], [0.5, -1.0, 0.5], [f32::NAN, 0.0, 0.1]];

/// A tree of five nodes, one of three and one that is a leaf.
fn nodes(modes: [&'static str; 2]) -> Vec<(&'static str, Attr)> {
    let [first, second] = modes;
    vec![
        ("nodes_treeids", Ints(vec![0, 0, 0, 0, 0, 1, 1, 1, 2])),
        ("nodes_nodeids", Ints(vec![0, 1, 2, 3, 4, 0, 1, 2, 0])),
        ("nodes_featureids", Ints(vec![0, 1, 0, 0, 0, 2, 0, 0, 0])),
        ("nodes_modes", Texts(vec![first, "BRANCH_LEQ", "LEAF", "LEAF", "LEAF", second, "LEAF", "LEAF", "LEAF"])),
        ("nodes_values", Floats(vec![0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        ("nodes_truenodeids", Ints(vec![1, 3, 0, 0, 0, 1, 0, 0, 0])),
        ("nodes_falsenodeids", Ints(vec![2, 4, 0, 0, 0, 2, 0, 0, 0])),
        ("nodes_missing_value_tracks_true", Ints(vec![1, 0, 0, 0, 0, 0, 0, 0, 0])),
    ]
}

const USUAL: [&str; 2] = ["BRANCH_LEQ", "BRANCH_GT"];
const POSITIVE: [f32; 6] = [0.2, 0.1, 0.3, 0.4, 0.2, 0.1];
const MIXED: [f32; 6] = [-0.9, 0.7, 0.3, -0.4, 0.6, 0.1];

fn weights(of: [&'static str; 4], ids: [i64; 6], weights: [f32; 6]) -> Vec<(&'static str, Attr)> {
    let [trees, nodes, targets, values] = of;
    vec![
        (trees, Ints(vec![0, 0, 0, 1, 1, 2])),
        (nodes, Ints(vec![3, 4, 2, 1, 2, 0])),
        (targets, Ints(ids.to_vec())),
        (values, Floats(weights.to_vec())),
    ]
}

fn in_ml(model: Model, outputs: &[&str]) -> Model {
    model.edit(|m| {
        m.opset_import.push(OperatorSetIdProto { domain: Some("ai.onnx.ml".into()), version: Some(3) });
        let graph = m.graph.as_mut().unwrap();
        graph.node[0].domain = Some("ai.onnx.ml".into());
        graph.node[0].output = outputs.iter().map(|&name| name.to_owned()).collect();
        graph.output = outputs.iter().map(|name| value(name, None)).collect();
    })
}

fn regressor(nodes: Vec<(&'static str, Attr)>, ids: [i64; 6], others: Vec<(&'static str, Attr)>) -> Model {
    let of = ["target_treeids", "target_nodeids", "target_ids", "target_weights"];
    let attributes: Vec<_> = nodes.into_iter().chain(weights(of, ids, MIXED)).chain(others).collect();
    in_ml(Model::new(17, &[3]).node("TreeEnsembleRegressor", &["x"], "y", &attributes), &["y"])
}

fn classifier(ids: [i64; 6], values: [f32; 6], labels: Vec<i64>, others: Vec<(&'static str, Attr)>) -> Model {
    let of = ["class_treeids", "class_nodeids", "class_ids", "class_weights"];
    let mut attributes: Vec<_> = nodes(USUAL).into_iter().chain(weights(of, ids, values)).chain(others).collect();
    attributes.push(("classlabels_int64s", Ints(labels)));
    in_ml(Model::new(17, &[3]).node("TreeEnsembleClassifier", &["x"], "y", &attributes), &["label", "y"])
}

/// Label and scores, or values, of each sample.
fn check(model: &Model, expected: &[&[f32]; 5]) {
    supported(&model.bytes(), &ImportOptions::default()).unwrap();
    let graph = from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
    for (x, expected) in SAMPLES.iter().zip(expected) {
        let seen = evaluate(&graph, x);
        assert_eq!(seen.len(), expected.len());
        for (seen, expected) in seen.iter().zip(*expected) {
            assert!((seen - expected).abs() < 1e-6, "{seen} instead of {expected} for {x:?}");
        }
    }
}

#[test]
fn trees_are_added() {
    let base = || vec![("base_values", Floats(vec![2.0])), ("n_targets", Int(1))];
    for (aggregate, expected) in [
        ("SUM", [0.8, 3.4, 2.0, 0.8, 2.4]),
        ("AVERAGE", [1.6, 2.466_667, 2.0, 1.6, 2.133_333]),
        ("MIN", [1.1, 2.1, 1.6, 1.1, 1.6]),
        ("MAX", [2.1, 2.7, 2.3, 2.1, 2.7]),
    ] {
        let mut others = base();
        others.push(("aggregate_function", Text(aggregate)));
        let model = regressor(nodes(USUAL), [0; 6], others);
        check(&model, &expected.each_ref().map(std::slice::from_ref));
    }
    let two = regressor(nodes(USUAL), [0, 1, 0, 1, 0, 1], vec![("n_targets", Int(2))]);
    check(&two, &[&[-0.9, -0.3], &[0.6, 0.8], &[0.3, -0.3], &[-0.9, -0.3], &[0.0, 0.4]]);
}

#[test]
fn every_comparison() {
    for (mode, expected) in [
        ("BRANCH_LEQ", [-0.2, 0.4, 1.0, -0.2, 1.4]),
        ("BRANCH_LT", [-0.2, 0.4, 1.0, 1.0, 1.4]),
        ("BRANCH_GTE", [0.0, 1.0, 0.4, -1.2, 0.4]),
        ("BRANCH_GT", [0.0, 1.0, 0.4, 0.0, 0.4]),
        ("BRANCH_EQ", [1.0, 1.0, 1.0, -0.2, 1.4]),
        ("BRANCH_NEQ", [-1.2, 0.4, 0.4, 0.0, 0.4]),
    ] {
        let model = regressor(nodes([mode, mode]), [0; 6], vec![]);
        check(&model, &expected.each_ref().map(std::slice::from_ref));
    }
}

#[test]
fn two_classes_with_weights_of_one() {
    let one = |values, others| classifier([0; 6], values, vec![10, 20], others);
    check(
        &one(POSITIVE, vec![]),
        &[&[20.0, 0.3, 0.7], &[10.0, 0.6, 0.4], &[20.0, 0.2, 0.8], &[20.0, 0.3, 0.7], &[20.0, 0.4, 0.6]],
    );
    check(
        &one(POSITIVE, vec![("post_transform", Text("LOGISTIC")), ("base_values", Floats(vec![0.25]))]),
        &[
            &[20.0, 0.278_884_8, 0.721_115_2],
            &[20.0, 0.342_989_6, 0.657_010_4],
            &[20.0, 0.259_225_1, 0.740_774_9],
            &[20.0, 0.278_884_8, 0.721_115_2],
            &[20.0, 0.299_432_8, 0.700_567_2],
        ],
    );
    check(
        &one(MIXED, vec![("base_values", Floats(vec![0.25]))]),
        &[&[10.0, 0.95, -0.95], &[20.0, -1.65, 1.65], &[20.0, -0.25, 0.25], &[10.0, 0.95, -0.95], &[20.0, -0.65, 0.65]],
    );
    check(
        &classifier([1; 6], POSITIVE, vec![10, 20], vec![]),
        &[&[20.0, 0.0, 0.7], &[10.0, 0.0, 0.4], &[20.0, 0.0, 0.8], &[20.0, 0.0, 0.7], &[20.0, 0.0, 0.6]],
    );
}

#[test]
fn several_classes() {
    let ids = [0, 1, 2, 1, 0, 2];
    let base = || ("base_values", Floats(vec![0.1, 0.2, 0.3]));
    check(
        &classifier(ids, POSITIVE, vec![5, 6, 9], vec![base()]),
        &[
            &[6.0, 0.3, 0.6, 0.4],
            &[9.0, 0.3, 0.3, 0.4],
            &[9.0, 0.1, 0.6, 0.7],
            &[6.0, 0.3, 0.6, 0.4],
            &[6.0, 0.1, 0.7, 0.4],
        ],
    );
    check(
        &classifier(ids, MIXED, vec![5, 6, 9], vec![base(), ("post_transform", Text("SOFTMAX"))]),
        &[
            &[9.0, 0.162_807_2, 0.296_654, 0.540_538_8],
            &[6.0, 0.337_584_6, 0.412_326_7, 0.250_088_8],
            &[9.0, 0.280_667_3, 0.207_923_5, 0.511_409_2],
            &[9.0, 0.162_807_2, 0.296_654, 0.540_538_8],
            &[6.0, 0.260_302_5, 0.388_325_8, 0.351_371_7],
        ],
    );
}

#[test]
fn a_class_that_a_sample_may_not_reach_is_refused_without_base_values() {
    let sparse = classifier([0, 1, 2, 1, 0, 2], MIXED, vec![5, 6, 9], vec![]);
    let error = from_onnx(&sparse.bytes()).unwrap_err();
    assert!(error.findings()[0].to_string().contains("no leaf with a weight for some class"), "{:?}", error.findings());
    let large = classifier([0, 1, 2, 1, 0, 2], MIXED, vec![5, 6, 16_777_217], vec![]);
    let error = from_onnx(&large.bytes()).unwrap_err();
    assert!(error.findings()[0].to_string().contains("class label 16777217"), "{:?}", error.findings());
}

#[test]
fn what_is_no_tree_is_refused() {
    let findings = |change: fn(&mut Vec<(&'static str, Attr)>)| {
        let mut nodes = nodes(USUAL);
        change(&mut nodes);
        let error = from_onnx(&regressor(nodes, [0; 6], vec![]).bytes()).unwrap_err();
        error.findings()[0].to_string()
    };
    let circle = findings(|nodes| nodes[5].1 = Ints(vec![1, 0, 0, 0, 0, 1, 0, 0, 0]));
    assert!(circle.contains("circle"), "{circle}");
    let shared = findings(|nodes| nodes[6].1 = Ints(vec![1, 4, 0, 0, 0, 2, 0, 0, 0]));
    assert!(shared.contains("two parents"), "{shared}");
    let lost = findings(|nodes| nodes[5].1 = Ints(vec![7, 3, 0, 0, 0, 1, 0, 0, 0]));
    assert!(lost.contains("tree 0 has no node 7"), "{lost}");
    let short = findings(|nodes| nodes[4].1 = Floats(vec![0.5]));
    assert!(short.contains("1 values of nodes_values; 9 are required"), "{short}");
    let both = from_onnx(&classifier([0, 1, 0, 1, 0, 1], MIXED, vec![0, 1], vec![]).bytes()).unwrap_err();
    assert!(both.findings()[0].to_string().contains("both of two classes"), "{:?}", both.findings());
}
