//! Every shared model either computes what tract's own optimised execution computes, or is refused with a clear reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::{Random, evaluate, shared_models, tract_outputs};
use releqc_passes::import::{ErrorKind, from_onnx};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};

/// Largest difference to tract, relative to the largest output: f32 sums in another order over at most 60 layers.
const TOLERANCE: f32 = 1e-3;

/// Files that are refused, with a part of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("cifar10_resnet20.onnx", "Slice"),
    ("cifar10_resnet20_bn.onnx", "Slice"),
    ("espcn_subpixel_float.onnx", "DepthToSpace"),
    ("ultraface_slim320_nopost.onnx", "Transpose"),
    ("vnn21_marabou-cifar10_cifar10_small.onnx", "Transpose"),
];

#[test]
fn shared_models_agree_with_tract_or_are_refused() {
    let Some(folder) = shared_models() else { return };
    let mut files: Vec<_> = [folder.clone(), folder.join("thirdparty")]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let reason = REFUSED.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
        match (from_onnx(&bytes), reason) {
            (Err(error), Some(reason)) => {
                println!("{name}: refused, {error}");
                let stated = error.findings().iter().any(|finding| finding.to_string().contains(reason));
                if error.kind() != ErrorKind::Unsupported || !stated {
                    wrong.push(format!("{name}: {:?} {error}", error.kind()));
                }
            }
            (Err(error), None) => wrong.push(format!("{name}: {:?}", error.findings())),
            (Ok(_), Some(_)) => wrong.push(format!("{name}: imported, it is listed as refused")),
            (Ok(graph), None) => {
                let canonical = canonicalize(graph.clone()).unwrap();
                let folded = fold_batch_norm(&canonical);
                let input = Random(7).floats(graph.input_shape().len());
                let expected = tract_outputs(&bytes, &input);
                let scale = expected.iter().fold(1e-6f32, |a, v| a.max(v.abs()));
                for (stage, graph) in [("imported", &graph), ("canonical", &canonical), ("folded", &folded)] {
                    let seen = evaluate(graph, &input);
                    assert_eq!(seen.len(), expected.len(), "{name} {stage}");
                    let differences = seen.iter().zip(&expected).map(|(s, e)| (s - e).abs() / scale);
                    let worst = differences.clone().fold(0f32, f32::max);
                    println!("{name}: {stage}, {} nodes, difference {worst:.1e}", graph.nodes.len());
                    if differences.clone().any(|d| d.is_nan() || d > TOLERANCE) {
                        wrong.push(format!("{name} {stage}: difference {worst}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
