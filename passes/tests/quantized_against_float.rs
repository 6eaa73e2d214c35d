//! The integer network stays near the float one, at 8 bits nearer than at 4, for every operator of the zoo's test nets.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use common::Random;
use common::onnx_builder::Model;
use common::random_net::{Kind, random_net};
use releqc_models::TEST_NETS;
use releqc_passes::annotate::{Annotated, annotate};
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::equalize::Equalization;
use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::import::from_onnx;
use releqc_passes::ir::Graph;
use releqc_passes::lower::lower;
use releqc_passes::post_training::{Rounding, quantize_after_training};
use releqc_passes::quantize::quantize;
use releqc_passes::random::{Purpose, stream};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::synthesize::{InputRange, synthesize};
use releqc_runtime::BitWidth;
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::reference::Reference;

/// Root mean square of the difference over that of the float outputs, on synthesised samples; with weights and biases as
/// quantization after training chooses them, or to the nearest.
fn relative_error(graph: &Graph, bits: u8, rounding: Option<Rounding>) -> f64 {
    let range = InputRange::of(graph, None, &[]);
    let samples = synthesize(graph, &range, 32, stream(7, Purpose::Synthesis));
    let calibrated = calibrate(
        graph.clone(),
        graph.clone(),
        &samples,
        &Stated::default(),
        Ends::LeastError,
        Granularity::Channel(Equalization::CANDIDATES[1]),
    );
    let widths = vec![BitWidth::new(bits).unwrap(); graph.weight_layers().len()];
    let annotated = match rounding {
        Some(rounding) => quantize_after_training(&calibrated, &widths, &samples, rounding).annotated,
        None => annotate(&calibrated, &widths),
    };
    let [power, error] = measured(graph, annotated, &samples).unwrap().remove(0);
    (error / power).sqrt()
}

/// Sums of the squares of each output's float values, and of what the artifact's differ from them by; `None` where a layer has no
/// scales.
fn measured(graph: &Graph, annotated: Annotated, samples: &[Vec<f32>]) -> Option<Vec<[f64; 2]>> {
    let lowered = lower(&quantize(annotated).ok()?).ok()?;
    let (program, constants, weights) = (lowered.program, lowered.constants, lowered.weights);
    let parts = ArtifactParts { program, constants, weights, ..ArtifactParts::default() };
    let artifact = Artifact::from_bytes(encode(&parts), LoadOptions::default()).unwrap();
    let reference = Reference::new(&artifact);
    let executor = FloatExecutor::new(graph);
    let mut sums = vec![[0.0; 2]; graph.outputs.len()];
    for sample in samples {
        let (expected, found) = (executor.run(sample, |_, _| ()), reference.run(sample).unwrap());
        for (sums, (expected, found)) in sums.iter_mut().zip(expected.iter().zip(&found)) {
            for (e, f) in expected.iter().zip(found) {
                sums[0] += f64::from(*e).powi(2);
                sums[1] += f64::from(e - f).powi(2);
            }
        }
    }
    Some(sums)
}

/// Rounding of weights and activations to 8 bits moves the outputs of these nets by about one part in a hundred.
const TOLERANCE_8_BITS: f64 = 0.03;

#[test]
fn eight_bits_are_near_and_four_bits_farther() {
    for (name, net) in TEST_NETS {
        let graph = net();
        let (eight, four) = (relative_error(&graph, 8, None), relative_error(&graph, 4, None));
        println!("{name}: relative error {eight:.4} at 8 bits, {four:.4} at 4");
        assert!(eight < TOLERANCE_8_BITS, "{name}: {eight}");
        assert!(four > eight && four < 0.5, "{name}: {four} at 4 bits, {eight} at 8");
    }
}

/// The mean that rounding shifts a channel by is taken at the codes that the artifact holds, those of constants too.
#[test]
fn corrected_biases_are_no_worse_for_networks_with_constants() {
    let features = |operator: &str, constant: &[f32]| {
        Model::new(17, &[6])
            .floats("c", &[6], constant)
            .node(operator, &["x", "c"], "m", &[])
            .weight("w", &[6, 5])
            .node("MatMul", &["m", "w"], "y", &[])
    };
    let maps = |operator: &str| {
        Model::new(17, &[2, 4, 4])
            .weight("c", &[1, 2, 4, 4])
            .node(operator, &["x", "c"], "m", &[])
            .weight("w", &[4, 2, 3, 3])
            .node("Conv", &["m", "w"], "y", &[])
    };
    let models = [
        ("max", features("Max", &[0.87, 0.45, 1.53, -1.16, 0.09, -1.88])),
        ("min", features("Min", &[0.3, -0.45, 1.53, -1.16, 0.09, -0.2])),
        ("small", features("Max", &[0.012, -0.03, 0.041, -0.007, 0.02, -0.001])),
        ("maps, max", maps("Max")),
        ("maps, add", maps("Add")),
        ("maps, mul", maps("Mul")),
    ];
    for (name, model) in models {
        let graph = fold_batch_norm(&canonicalize(from_onnx(&model.bytes()).unwrap()).unwrap());
        let (plain, corrected) =
            (relative_error(&graph, 8, None), relative_error(&graph, 8, Some(Rounding::ON_SAMPLES)));
        println!("{name}: relative error {plain:.4} as rounded, {corrected:.4} with corrected biases");
        assert!(corrected < TOLERANCE_8_BITS, "{name}: {corrected}");
        assert!(corrected < 1.1 * plain, "{name}: {corrected} for {plain}");
    }
}

/// The noise that quantization after training expects, from what codes stand for, is the noise of the artifact.
#[test]
fn expected_noise_is_measured_noise() {
    const GRAPHS: u64 = 1500;
    const SAMPLES: usize = 40;
    /// Of the float values' power: below it a few roundings that fall otherwise decide.
    const LITTLE: f64 = 1e-4;
    let (mut seen, mut other) = (0, Vec::new());
    for seed in 0..GRAPHS {
        let mut random = Random(seed ^ 0xca11);
        let graph = canonicalize(random_net(seed, Kind::Smooth)).unwrap();
        let folded = fold_batch_norm(&graph);
        let samples: Vec<Vec<f32>> = (0..SAMPLES).map(|_| random.floats(folded.sample_len())).collect();
        let granularity = match random.below(3) {
            0 => Granularity::Tensor,
            _ => Granularity::Channel(Equalization::CANDIDATES[random.below(Equalization::CANDIDATES.len())]),
        };
        let ends = if random.below(2) == 0 { Ends::LeastError } else { Ends::OF_SAMPLES };
        let calibrated = calibrate(graph, folded.clone(), &samples, &Stated::default(), ends, granularity);
        let widths: Vec<BitWidth> =
            folded.weight_layers().iter().map(|_| BitWidth::new(4 + random.below(5) as u8).unwrap()).collect();
        let rounding = if random.below(2) == 0 { Rounding::ON_SAMPLES } else { Rounding::Nearest };
        let trained = quantize_after_training(&calibrated, &widths, &samples, rounding);
        let Some(outputs) = measured(&folded, trained.annotated.clone(), &samples) else { continue };
        for ((name, id), [power, error]) in folded.outputs.iter().zip(outputs) {
            let expected = trained.noise[id.0].error.max(LITTLE * power);
            seen += 1;
            if error.is_nan() || error > 2.0 * expected {
                other.push(format!("{seed} {name}: noise {error:.3e} for {expected:.3e}, {ends:?} {granularity:?}"));
            }
        }
    }
    assert!(seen as u64 > GRAPHS, "{seen} outputs");
    assert!(other.is_empty(), "{} of {seen} outputs:\n{}", other.len(), other.join("\n"));
}
