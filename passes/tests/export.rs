//! Exported networks: their form, their codes, and what they compute.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use insta::assert_snapshot;
use releqc_models::TEST_NETS;
use releqc_passes::annotate::annotate;
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::emit::emit;
use releqc_passes::equalize::Equalization;
use releqc_passes::export::{ExportOptions, Format, RoundingKind, export};
use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::ir::Graph;
use releqc_passes::lower::lower;
use releqc_passes::onnx::onnx_protobuf::ModelProto;
use releqc_passes::onnx::onnx_protobuf::tensor_proto::DataType;
use releqc_passes::quantize::quantize;
use releqc_passes::random::{Purpose, stream};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::synthesize::{InputRange, synthesize};
use releqc_passes::{import, onnx};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::AccelConfig;
use releqc_runtime::format::{Artifact, LoadOptions, Metadata};
use releqc_runtime::pack::unpack;
use releqc_runtime::reference::Reference;
use std::collections::BTreeSet;
use std::fmt::Write;

const QDQ: ExportOptions = ExportOptions { format: Format::Qdq, int4: false };
const QDQ4: ExportOptions = ExportOptions { format: Format::Qdq, int4: true };
const QONNX: ExportOptions = ExportOptions { format: Format::Qonnx, int4: false };

/// Widths 2, 3, .. 8, 2, .. over the layers, so that every width occurs.
fn artifact(graph: &Graph) -> Artifact {
    let widths: Vec<BitWidth> =
        (0..graph.weight_layers().len()).map(|i| BitWidth::new(2 + (i % 7) as u8).unwrap()).collect();
    let range = InputRange::of(graph, None, &[]);
    let samples = synthesize(graph, &range, 16, stream(7, Purpose::Synthesis));
    let granularity = Granularity::Channel(Equalization::CANDIDATES[1]);
    let ends = Ends::LeastError;
    let calibrated = calibrate(graph.clone(), graph.clone(), &samples, &Stated::default(), ends, granularity);
    let lowered = lower(&quantize(annotate(&calibrated, &widths)).unwrap()).unwrap();
    Artifact::from_bytes(emit(lowered, Metadata::default(), &AccelConfig::default()).unwrap(), LoadOptions::default())
        .unwrap()
}

/// A code of 8 bits that differs here and there leaves this much; any wrong scale does not.
const LEAST_SNR_DB: f64 = 30.0;

/// One line an initializer, a node, a port.
fn text(model: &ModelProto) -> String {
    let graph = model.graph.as_ref().unwrap();
    let mut text = String::new();
    for set in &model.opset_import {
        let _ = writeln!(text, "opset {:?} {}", set.domain(), set.version());
    }
    for tensor in &graph.initializer {
        let kind = DataType::try_from(tensor.data_type()).unwrap();
        let _ = writeln!(text, "{} = {kind:?} {:?}", tensor.name(), tensor.dims);
    }
    for node in &graph.node {
        let _ = write!(text, "{} = {}({})", node.output.join(", "), node.op_type(), node.input.join(", "));
        for attribute in &node.attribute {
            let _ = write!(text, " {}", attribute.name());
            match (&attribute.ints[..], attribute.i, attribute.f, &attribute.s) {
                ([], Some(i), ..) => write!(text, " {i}").unwrap(),
                ([], _, Some(f), _) => write!(text, " {f}").unwrap(),
                ([], _, _, Some(s)) => write!(text, " {}", String::from_utf8_lossy(s)).unwrap(),
                (ints, ..) => write!(text, " {ints:?}").unwrap(),
            }
        }
        text.push('\n');
    }
    for port in graph.input.iter().chain(&graph.output) {
        let _ = writeln!(text, "port {}", port.name());
    }
    text
}

#[test]
fn the_form_of_the_test_nets() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for (name, net) in TEST_NETS {
            let artifact = artifact(&net());
            let mut forms = String::new();
            for (format, options) in [("qdq", QDQ4), ("qonnx", QONNX)] {
                let model = onnx::decode_model(&export(&artifact, options).unwrap().bytes).unwrap();
                let _ = writeln!(forms, "== {format}\n{}", text(&model));
            }
            assert_snapshot!(format!("export_{name}"), forms);
        }
    });
}

#[test]
fn every_name_is_defined_once_before_it_is_read_and_ports_keep_theirs() {
    for (name, net) in TEST_NETS {
        let artifact = artifact(&net());
        for options in [QDQ, QDQ4, QONNX] {
            let model = onnx::decode_model(&export(&artifact, options).unwrap().bytes).unwrap();
            let graph = model.graph.unwrap();
            assert_eq!((model.ir_version, model.opset_import[0].version), (Some(10), Some(21)), "{name}");
            let ports = artifact.program().inputs.iter().map(|(port, _)| port.name.as_str());
            assert!(ports.eq(graph.input.iter().map(|port| port.name())), "{name}");
            let ports = artifact.program().outputs.iter().map(|(port, _)| port.name.as_str());
            assert!(ports.eq(graph.output.iter().map(|port| port.name())), "{name}");
            let mut known: BTreeSet<&str> = graph.input.iter().map(|port| port.name()).collect();
            for tensor in &graph.initializer {
                assert!(known.insert(tensor.name()), "{name}: {} twice", tensor.name());
            }
            for node in &graph.node {
                for input in node.input.iter().filter(|input| !input.is_empty()) {
                    assert!(known.contains(input.as_str()), "{name}: {input} is read before it is there");
                }
                for output in &node.output {
                    assert!(known.insert(output), "{name}: {output} twice");
                }
            }
            assert!(graph.output.iter().all(|port| known.contains(port.name())), "{name}");
        }
    }
}

#[test]
fn weights_are_the_codes_of_the_artifact() {
    for (name, net) in TEST_NETS {
        let artifact = artifact(&net());
        let exported = export(&artifact, QDQ4).unwrap();
        let model = onnx::decode_model(&exported.bytes).unwrap();
        let graph = model.graph.unwrap();
        for conv in artifact.program().convs() {
            let depth = conv.depth(artifact.program().tensor(conv.x));
            let mut own = unpack(artifact.weights(conv), conv.outputs as usize, depth, conv.bits);
            let wanted = format!("{}.weight", conv.name);
            let tensor = graph.initializer.iter().find(|tensor| tensor.name() == wanted).unwrap();
            let raw = tensor.raw_data();
            let mut stored: Vec<i8> = match DataType::try_from(tensor.data_type()).unwrap() {
                DataType::Int8 => raw.iter().map(|b| b.cast_signed()).collect(),
                DataType::Int4 => {
                    raw.iter().flat_map(|b| [(b << 4).cast_signed() >> 4, b.cast_signed() >> 4]).collect()
                }
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(tensor.data_type() == DataType::Int4 as i32, conv.bits.bits() <= 4, "{name}: {wanted}");
            stored.truncate(own.len());
            // Per output the same codes, in another order.
            for (own, stored) in own.chunks_exact_mut(depth).zip(stored.chunks_exact_mut(depth)) {
                own.sort_unstable();
                stored.sort_unstable();
                assert_eq!(own, stored, "{name}: {wanted}");
            }
        }
    }
}

/// The project's own import computes the exported network in floats: an oracle that shares nothing
/// with the executors on codes but the reading of the plan.
#[test]
fn the_exported_network_computes_what_the_artifact_does() {
    for (name, net) in TEST_NETS {
        let artifact = artifact(&net());
        let bytes = export(&artifact, QDQ).unwrap().bytes;
        let graph = import::import(&bytes, &import::ImportOptions::default());
        let graph = graph.unwrap_or_else(|error| panic!("{name}: {error}"));
        let graph = fold_batch_norm(&canonicalize(graph).unwrap());
        let floats = FloatExecutor::new(&graph);
        let reference = Reference::new(&artifact);
        let len = artifact.program().input_len();
        let (mut signal, mut noise) = (0.0, 0.0);
        for seed in 0..8u32 {
            let sample: Vec<f32> =
                (0..len as u32).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 250.0 - 2.0).collect();
            let want = reference.run(&sample).unwrap().concat();
            let found = floats.run(&sample, |_, _| ()).concat();
            for (want, found) in want.iter().zip(&found) {
                signal += f64::from(*want).powi(2);
                noise += f64::from(want - found).powi(2);
            }
        }
        assert!(signal > 0.0, "{name}: outputs of zeros prove nothing");
        let snr = 10.0 * (signal / noise).log10();
        assert!(snr > LEAST_SNR_DB, "{name}: {snr:.1} dB");
    }
}

#[test]
fn the_same_artifact_exports_to_the_same_bytes_and_says_where_codes_may_differ() {
    let (_, net) = TEST_NETS[0];
    let artifact = artifact(&net());
    for options in [QDQ, QDQ4, QONNX] {
        let exported = export(&artifact, options).unwrap();
        assert_eq!(exported, export(&artifact, options).unwrap());
        let layers = exported.roundings.iter().filter(|rounding| rounding.kind == RoundingKind::Product).count();
        assert!(layers > 0 && layers <= artifact.program().convs().count());
    }
}
