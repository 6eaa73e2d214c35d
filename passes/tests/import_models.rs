//! Every shared model computes what tract's own optimised execution computes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::{Random, evaluate, shared_models, tract_outputs};
use releqc_passes::import::from_onnx;
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};

/// Largest difference to tract, relative to the largest output: f32 sums in another order over at most 60 layers.
const TOLERANCE: f32 = 1e-3;

#[test]
fn shared_models_agree_with_tract() {
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
        match from_onnx(&bytes) {
            Err(error) => wrong.push(format!("{name}: {:?}", error.findings())),
            Ok(graph) => {
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
