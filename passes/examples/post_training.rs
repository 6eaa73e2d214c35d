//! What each ingredient of quantization without retraining is worth, one added after the other:
//! `cargo run --release -p releqc-passes --example post_training -- MODEL DATA MEAN STD BITS [BITS ..]`.
//!
//! MEAN and STD are comma-separated values a channel, or both `raw`. Ranges and rounding see 256 samples of the training part and no
//! label; top-1 is that of artifacts on the test part. The first row has the whole reach of every tensor, one scale each, and each weight
//! rounded to the nearest, the largest at the end.
#![allow(clippy::print_stdout, reason = "an example that reports to a terminal")]

use releqc_passes::annotate::{Annotated, WeightScales, annotate_with};
use releqc_passes::calibrate::{Calibrated, Ends, Granularity, Stated, calibrate};
use releqc_passes::data::{Dataset, Preprocessing, Reading, load};
use releqc_passes::emit::emit;
use releqc_passes::evaluate::{agreement, predictions};
use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::import::from_onnx;
use releqc_passes::lower::lower;
use releqc_passes::post_training::{Rounding, best_ranges, quantize_after_training};
use releqc_passes::quantize::quantize;
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::AccelConfig;
use releqc_runtime::format::{Artifact, LoadOptions, Metadata};
use std::path::Path;

const SAMPLES: usize = 256;

fn numbers(text: &str) -> Vec<f32> {
    text.split(',').filter_map(|v| v.parse().ok()).collect()
}

/// `count` samples spread over all.
fn some(data: &Dataset, count: usize) -> Vec<Vec<f32>> {
    let count = count.min(data.len());
    let sample = |i: usize| {
        let mut values = vec![0.0; data.shape().len()];
        data.read(i * data.len() / count, &mut values);
        values
    };
    (0..count).map(sample).collect()
}

/// Top-1 of the artifact, in per cent.
fn accuracy(annotated: Annotated, test: &Dataset) -> f64 {
    let lowered = lower(&quantize(annotated).expect("scales fit")).expect("the network lowers");
    let bytes = emit(lowered, Metadata::default(), &AccelConfig::default()).expect("a program fits the accelerator");
    let artifact = Artifact::from_bytes(bytes, LoadOptions::default()).expect("what is written is readable");
    100.0 * agreement(&predictions(&artifact, test).expect("the data fit"), test.labels().expect("labels"))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, mean, std, widths @ ..] = &args[..] else {
        return println!("usage: post_training MODEL DATA MEAN STD BITS [BITS ..]");
    };
    let graph = from_onnx(&std::fs::read(model).expect("the model is readable")).expect("the model can be imported");
    let graph = canonicalize(graph).expect("the model can be rewritten");
    let folded = fold_batch_norm(&graph);
    let preprocessing = match &mean[..] {
        "raw" => Preprocessing::Raw,
        _ => Preprocessing::Normalize { mean: numbers(mean), std: numbers(std) },
    };
    let reading = Reading::of(&folded.input_shape()).with(preprocessing);
    let splits = load(Path::new(folder), &reading).expect("the data are readable");
    let (train, test) = (splits.train.expect("a train part"), splits.test.expect("a test part"));
    let samples = some(&train, SAMPLES);
    let calibrated = |granularity: Granularity, ends: Ends| {
        calibrate(graph.clone(), folded.clone(), &samples, &Stated::default(), ends, granularity)
    };
    let reach = calibrated(Granularity::Tensor, Ends::OF_SAMPLES);
    let least = calibrated(Granularity::Tensor, Ends::LeastError);
    let ends = [Ends::LeastError, Ends::OF_SAMPLES];
    let (granularity, chosen) = best_ranges(&graph, &folded, &samples, &Stated::default(), &ends);
    let best = calibrated(granularity, chosen);
    let classes: Vec<u32> = FloatExecutor::new(&folded)
        .outputs(&some(&test, test.len()))
        .iter()
        .map(|output| releqc_passes::evaluate::largest(output))
        .collect();
    println!(
        "{model}: float {:.2} % of {} test samples",
        100.0 * agreement(&classes, test.labels().expect("labels")),
        test.len()
    );
    for bits in widths {
        let width = BitWidth::new(bits.parse().expect("a width")).expect("2..=8");
        let widths = vec![width; folded.weight_layers().len()];
        let nearest = |calibrated: &Calibrated, scales: WeightScales| annotate_with(calibrated, &widths, scales);
        let corrected = |calibrated: &Calibrated, rounding: Rounding| {
            quantize_after_training(calibrated, &widths, &samples, rounding).annotated
        };
        let rows = [
            ("nearest, the whole reach", nearest(&reach, WeightScales::Largest)),
            ("+ scales of weights by least error", nearest(&reach, WeightScales::LeastError)),
            ("+ ranges of tensors by least error", nearest(&least, WeightScales::LeastError)),
            ("+ biases corrected", corrected(&least, Rounding::Nearest)),
            ("+ factors of channels, ends by trial", corrected(&best, Rounding::Nearest)),
            ("+ weights rounded for the results", corrected(&best, Rounding::ON_SAMPLES)),
            ("the last without factors", corrected(&least, Rounding::ON_SAMPLES)),
        ];
        for (name, annotated) in rows {
            println!("{bits} bits  {name:38} {:.2} %", accuracy(annotated, &test));
        }
    }
}
