//! Retraining on random graphs of every operator: its forward pass is that of the plain executor, and an update follows the
//! differences of the loss.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where something is not as it should be")]

mod common;

use common::random_net::{Kind, random_net};
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::data::{Dataset, Samples};
use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::ir::{Graph, Shape};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::train::{Augmentation, Comparison, Inference, NetworkError, Recipe, TrainError, Trainer};
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;

const SAMPLES: usize = 6;

/// Samples of all inputs, one after the other.
fn dataset(graph: &Graph, seed: u64) -> Dataset {
    let len: usize = graph.inputs().map(|(_, node)| node.shape.len()).sum();
    let mut random = common::Random(seed + 1);
    let values: Vec<f32> = (0..SAMPLES * len).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
    let mut shapes = graph.inputs().map(|(_, node)| node.shape.clone());
    let shape = match (shapes.next(), shapes.next()) {
        (Some(only), None) if only.dims().first() == Some(&1) => only,
        _ => Shape::vector(len),
    };
    Dataset::new(shape, Samples::Values(values), None).unwrap()
}

fn samples(data: &Dataset) -> Vec<Vec<f32>> {
    let read = |i: usize| {
        let mut values = vec![0.0; data.shape().len()];
        data.read(i, &mut values);
        values
    };
    (0..data.len()).map(read).collect()
}

#[test]
fn every_random_graph_runs_as_in_the_plain_executor() {
    let mut compared = 0;
    for seed in 0..400 {
        let graph = random_net(seed, Kind::Smooth);
        let Ok(graph) = canonicalize(graph) else { continue };
        let folded = fold_batch_norm(&graph);
        let data = dataset(&folded, seed);
        let inference = match Inference::float(&folded) {
            Ok(inference) => inference,
            Err(NetworkError::Constant { .. }) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        // Training reads the logits before a softmax that ends the network.
        if folded.outputs.len() == 1 && folded.node(folded.outputs[0].1).op.label().contains("softmax") {
            continue;
        }
        let found = inference.logits(&data);
        let expected: Vec<f32> = FloatExecutor::new(&folded).outputs(&samples(&data)).concat();
        let (mut error, mut power) = (0.0, 0.0);
        for (&a, &b) in found.iter().zip(&expected) {
            error += f64::from(a - b).powi(2);
            power += f64::from(b).powi(2);
        }
        assert_eq!(found.len(), expected.len(), "seed {seed}");
        if !f64::is_finite(power) {
            continue;
        }
        assert!(error <= 1e-8 * power + 1e-12, "seed {seed}: error {error:e} of {power:e}\n{folded}");
        compared += 1;
    }
    assert!(compared > 200, "{compared} graphs were compared");
}

/// Several inputs, several outputs, every operator: an update of the weights by their gradients lowers what they differ by.
#[test]
fn every_random_graph_is_retrained_on_values() {
    let mut better = 0;
    let mut trained = 0;
    for seed in 0..60 {
        let graph = random_net(seed, Kind::Smooth);
        let Ok(graph) = canonicalize(graph) else { continue };
        let folded = fold_batch_norm(&graph);
        let layers = folded.weight_layers().len();
        if layers == 0 {
            continue;
        }
        let data = dataset(&folded, seed);
        let inputs = samples(&data);
        let outputs = FloatExecutor::new(&folded).all_outputs(&inputs);
        if outputs.iter().flatten().any(|v| !v.is_finite()) {
            continue;
        }
        let calibrated = calibrate(graph, folded, &inputs, &Stated::default(), Ends::LeastError, Granularity::Tensor);
        let recipe = Recipe {
            steps: 20,
            batch: SAMPLES,
            learning_rate: 0.005,
            augmentation: Augmentation::NONE,
            compares: Comparison::Values,
            ..Recipe::short()
        };
        let trainer = match Trainer::new(&calibrated, &data, recipe, seed) {
            Ok(trainer) => trainer,
            Err(TrainError::Network(NetworkError::Constant { .. })) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let mut losses = Vec::new();
        let widths = vec![BitWidth::new(3).unwrap(); layers];
        let retrained = trainer.retrain(&widths, |progress| {
            losses.push(progress.loss);
            ControlFlow::Continue(())
        });
        let retrained = retrained.unwrap();
        assert!(losses.iter().all(|loss| loss.is_finite()), "seed {seed}: {losses:?}");
        assert_eq!(retrained.annotated.weights.len(), layers);
        trained += 1;
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        better += usize::from(mean(&losses[15..]) < mean(&losses[..2]));
    }
    assert!(trained > 30, "{trained} graphs were retrained");
    assert!(better * 10 >= trained * 7, "{better} of {trained} came nearer");
}
