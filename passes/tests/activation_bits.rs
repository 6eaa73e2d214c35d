//! Codes of fewer than 8 bits: every code of every tensor is seen as it is computed and held against the width that was asked for.
//! The codes of random graphs are held against the formulas of docs/quantization.md in random_graphs.rs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::Random;
use common::nets::Net;
use releqc_passes::activation_bits::{ActivationBits, ActivationBitsError};
use releqc_passes::code_widths::code_widths;
use releqc_passes::compile::{
    CompileError, CompileOptions, Compiled, Fault, Hooks, Labelled, Retrain, WidthPolicy, compile,
};
use releqc_passes::data::{Dataset, Samples};
use releqc_passes::import::from_onnx;
use releqc_passes::ir::Shape;
use releqc_passes::onnx;
use releqc_runtime::accel::Simulator;
use releqc_runtime::format::{Artifact, LoadOptions};
use releqc_runtime::program::Op;
use releqc_runtime::reference::{Observed, Reference};
use releqc_runtime::{BitWidth, Session, SessionOptions};
use std::collections::BTreeMap;

fn width(bits: u8) -> BitWidth {
    BitWidth::new(bits).unwrap()
}

fn model(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Random samples with the classes that a random rule gives them.
fn data(shape: &Shape, classes: usize) -> Labelled {
    let mut random = Random(3);
    let mut set = |count: usize| {
        let samples: Vec<Vec<f32>> = (0..count).map(|_| random.floats(shape.len())).collect();
        let class = |sample: &Vec<f32>| (sample.iter().sum::<f32>().abs() * 7.0) as u32 % classes as u32;
        let labels = samples.iter().map(class).collect();
        Dataset::new(shape.clone(), Samples::Values(samples.concat()), Some(labels)).unwrap()
    };
    Labelled { training: set(160), validation: set(40), fingerprint: "random".into() }
}

fn compiled(model: &[u8], bits: &ActivationBits, retrain: Retrain) -> Result<Compiled, CompileError> {
    let graph = from_onnx(model).unwrap();
    let classes = graph.node(graph.outputs[0].1).shape.len();
    let options = CompileOptions {
        widths: WidthPolicy::Uniform(width(4)),
        activation_bits: bits.clone(),
        retrain,
        annotated: true,
        ..CompileOptions::default()
    };
    let mut hooks = Hooks { events: &mut |_| {}, interrupted: &|| false, remaining: &|| None };
    compile(model, Some(&data(&graph.input_shape(), classes)), &options, &mut hooks)
}

/// The largest code of each tensor, by its name, on random samples that reach beyond the ranges; all executors agree on them.
fn largest_seen(artifact: &[u8]) -> BTreeMap<String, u8> {
    let artifact = Artifact::from_bytes(artifact, LoadOptions::default()).unwrap();
    let mut session = Session::new(&artifact, SessionOptions { threads: 1, ..SessionOptions::default() }).unwrap();
    let mut simulator = Simulator::new(&artifact).unwrap();
    let widths = code_widths(&artifact);
    let mut largest = BTreeMap::new();
    let mut random = Random(17);
    for _ in 0..8 {
        let mut sample = random.floats(artifact.program().input_len());
        sample.iter_mut().for_each(|v| *v *= 4.0);
        let reference = Reference::new(&artifact);
        let outputs = reference.observe(&sample, |op: &Op, observed| {
            if let (Some(y), Observed::Codes(codes)) = (op.writes(), observed) {
                let tensor = artifact.program().tensor(y);
                let seen = codes.iter().copied().max().unwrap_or(0);
                let bits = widths[y.0 as usize];
                assert!(u32::from(seen) < 1 << bits, "{}: {seen}, said to have {bits} bits", tensor.name);
                let entry = largest.entry(tensor.name.clone()).or_insert(0);
                *entry = seen.max(*entry);
            }
        });
        let expected = outputs.unwrap().concat();
        let mut kernels = vec![0.0; session.output_len()];
        session.run(&sample, &mut kernels).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&kernels), bits(&expected));
        assert_eq!(bits(&simulator.run(&sample).unwrap().concat()), bits(&expected));
    }
    largest
}

/// The tensors whose codes reach the end of exactly this width on `largest`.
fn of_width(largest: &BTreeMap<String, u8>, bits: u8) -> Vec<&str> {
    let bound = u8::MAX >> (8 - bits);
    largest.iter().filter(|(_, code)| **code == bound).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn one_width_is_for_what_inner_layers_read() {
    // Sums that only other sums read, inputs of the network and what the last layer reads keep 8 bits; a pool has the codes of what it
    // reads.
    let expected = [
        ("tiny_chain", vec!["conv1", "pool1", "conv2"]),
        ("tiny_residual", vec!["block_a", "depthwise", "stem", "sum"]),
        ("tiny_branches", vec!["join_bn"]),
        ("lenet", vec!["conv1", "pool1", "conv2", "pool2"]),
    ];
    for (name, narrow) in expected {
        for bits in [2, 4, 7] {
            let asked = ActivationBits { all: Some(width(bits)), named: vec![] };
            let artifact = compiled(&model(name), &asked, Retrain::None).unwrap().artifact;
            let largest = largest_seen(&artifact);
            let bound = u8::MAX >> (8 - bits);
            for tensor in &narrow {
                assert!(largest[*tensor] <= bound, "{name} at {bits} bits, {tensor}: {}", largest[*tensor]);
            }
            // Fewer codes than values differ by are all met.
            if bits <= 4 {
                let reach = |wide: bool| largest.iter().filter(move |(_, code)| (**code > bound) == wide);
                assert!(reach(true).all(|(tensor, _)| !narrow.contains(&tensor.as_str())), "{name}: {largest:?}");
                assert_eq!(reach(false).count(), narrow.len(), "{name} at {bits} bits: {largest:?}");
                assert!(narrow.iter().any(|tensor| largest[*tensor] == bound), "{name} at {bits}: {largest:?}");
            }
        }
    }
}

#[test]
fn single_tensors_have_the_width_of_their_name() {
    let named = vec![("input".into(), width(5)), ("block_b".into(), width(3)), ("pool".into(), width(2))];
    let asked = ActivationBits { all: None, named };
    let compiled = compiled(&model("tiny_residual"), &asked, Retrain::None).unwrap();
    let largest = largest_seen(&compiled.artifact);
    assert_eq!([largest["input"], largest["block_b"], largest["pool"]], [31, 7, 3]);
    assert!(of_width(&largest, 8).contains(&"stem"), "{largest:?}");
    let read: Vec<u8> = compiled.report.layers.iter().map(|layer| layer.activation_bits).collect();
    assert_eq!(read, [5, 8, 8, 8, 8, 2]);
}

#[test]
fn a_name_comes_before_the_width_of_all() {
    let asked = ActivationBits { all: Some(width(4)), named: vec![("stem".into(), BitWidth::MAX)] };
    let largest = largest_seen(&compiled(&model("tiny_residual"), &asked, Retrain::None).unwrap().artifact);
    assert!(largest["stem"] > 15 && largest["block_a"] <= 15, "{largest:?}");
}

#[test]
fn retrained_and_reconstructed_networks_keep_the_widths() {
    for retrain in [Retrain::Short, Retrain::Reconstruct] {
        let asked = ActivationBits { all: Some(width(3)), named: vec![] };
        let largest = largest_seen(&compiled(&model("tiny_chain"), &asked, retrain).unwrap().artifact);
        let narrow = ["conv1", "pool1", "conv2"].map(|tensor| largest[tensor]);
        assert!(narrow.iter().all(|code| *code <= 7), "{retrain:?}: {largest:?}");
        assert!(largest["fc1"] > 7, "{retrain:?}: {largest:?}");
    }
}

#[test]
fn an_annotated_network_gives_the_same_artifact_again() {
    let asked = ActivationBits { all: Some(width(4)), named: vec![("input".into(), width(6))] };
    let first = compiled(&model("tiny_branches"), &asked, Retrain::None).unwrap();
    let options = CompileOptions { widths: WidthPolicy::Search, ..CompileOptions::default() };
    let mut hooks = Hooks { events: &mut |_| {}, interrupted: &|| false, remaining: &|| None };
    let again = compile(&first.annotated.unwrap(), None, &options, &mut hooks).unwrap();
    assert_eq!(again.artifact, first.artifact);
}

#[test]
fn eight_bits_are_the_default_and_change_no_byte() {
    let plain = compiled(&model("tiny_branches"), &ActivationBits::default(), Retrain::None).unwrap();
    let asked = ActivationBits { all: Some(BitWidth::MAX), named: vec![("join_bn".into(), BitWidth::MAX)] };
    assert_eq!(compiled(&model("tiny_branches"), &asked, Retrain::None).unwrap().artifact, plain.artifact);
}

#[test]
fn what_has_no_codes_of_its_own_is_refused_by_name() {
    let refused = |name: &str, tensor: &str| {
        let asked = ActivationBits { all: None, named: vec![(tensor.into(), width(4))] };
        let error = compiled(&model(name), &asked, Retrain::None).unwrap_err();
        assert_eq!(error.fault(), Fault::Input);
        let CompileError::ActivationBits(error) = error else { panic!("{error}") };
        error
    };
    let moves = |source: &str, name: &str| ActivationBitsError::Moves { name: name.into(), source_name: source.into() };
    assert_eq!(refused("tiny_chain", "pool1"), moves("conv1", "pool1"));
    assert_eq!(refused("tiny_residual", "flatten"), moves("pool", "flatten"));
    assert_eq!(refused("tiny_chain", "fc2"), ActivationBitsError::Floats { name: "fc2".into() });
    let ActivationBitsError::Unknown { known, .. } = refused("tiny_chain", "relu1") else { panic!("unknown") };
    assert_eq!(known, ["input", "conv1", "conv2", "fc1"]);
}

/// The least square error of few codes lies far inside of the reach of values that are seldom large.
#[test]
fn few_codes_are_spent_on_what_is_frequent() {
    let mut net = Net::new("spread", Shape::vector(16), 5);
    let hidden = net.fc(releqc_passes::ir::NodeId(0), 32, false);
    let hidden = net.relu(hidden);
    let again = net.fc(hidden, 16, false);
    let again = net.relu(again);
    let classes = net.fc(again, 6, false);
    let graph = net.output(&[("classes", classes)]);
    let model = onnx::write(&graph, &[]).unwrap();
    let snr = |bits: u8| {
        let asked = ActivationBits { all: Some(width(bits)), named: vec![] };
        let artifact = compiled(&model, &asked, Retrain::None).unwrap().artifact;
        let artifact = Artifact::from_bytes(&artifact, LoadOptions::default()).unwrap();
        let reference = Reference::new(&artifact);
        let floats = releqc_passes::float_exec::FloatExecutor::new(&graph);
        let mut random = Random(99);
        let samples: Vec<Vec<f32>> = (0..64).map(|_| random.floats(16)).collect();
        let (mut power, mut error) = (0.0f64, 0.0f64);
        for (sample, float) in samples.iter().zip(floats.outputs(&samples)) {
            for (x, y) in float.iter().zip(reference.run(sample).unwrap().concat()) {
                power += f64::from(x * x);
                error += f64::from((x - y) * (x - y));
            }
        }
        10.0 * (power / error).log10()
    };
    let ratios = [2, 3, 4, 6].map(snr);
    assert!(ratios.windows(2).all(|pair| pair[1] > pair[0]), "{ratios:?}");
    assert!(ratios[0] > 3.0, "{ratios:?}");
}
