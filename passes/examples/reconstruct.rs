//! Rounds an ONNX network after training, fits it to the float network without labels, and reports accuracy on the test part:
//! `cargo run --release -p releqc-passes --example reconstruct -- MODEL DATA MEAN STD UPDATES WIDTH [WIDTH ..]`.
//!
//! MEAN and STD are comma-separated values a channel, or both `raw`; WIDTH is that of all layers. RATE, BATCH, BLOCKS, LEAN, T (0: square
//! error of the logits) and SAMPLES (of the training part, 0: all) in the environment change the recipe.
#![allow(clippy::print_stdout, reason = "an example that reports to a terminal")]

use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::data::{Preprocessing, Reading, load};
use releqc_passes::import::from_onnx;
use releqc_passes::post_training::{Rounding, quantize_after_training};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::train::{Aim, Evaluator, Reconstruction, Reconstructor};
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter_map(|v| v.parse().ok()).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, mean, std, updates, widths @ ..] = &args[..] else {
        return println!("usage: reconstruct MODEL DATA MEAN STD UPDATES WIDTH [WIDTH ..]");
    };
    let env = |name: &str, default: f32| std::env::var(name).map_or(default, |v| v.parse().expect("a number"));
    let graph = from_onnx(&std::fs::read(model).expect("the model is readable")).expect("the model can be imported");
    let graph = canonicalize(graph).expect("the model can be rewritten");
    let folded = fold_batch_norm(&graph);
    let preprocessing = match &mean[..] {
        "raw" => Preprocessing::Raw,
        _ => Preprocessing::Normalize { mean: numbers(mean), std: numbers(std) },
    };
    let splits = load(Path::new(folder), &Reading::of(&folded.input_shape()).with(preprocessing))
        .expect("the data are readable");
    let (all, test) = (splits.train.expect("a train part"), splits.test.expect("a test part"));
    let (train, _) = all.split(1, 1.0 / 6.0);
    let chosen = |count: usize| (0..count).map(|i| i * train.len() / count).collect::<Vec<_>>();
    let samples: Vec<Vec<f32>> = chosen(256)
        .into_iter()
        .map(|i| {
            let mut sample = vec![0.0; train.shape().len()];
            train.read(i, &mut sample);
            sample
        })
        .collect();
    let learned = match env("SAMPLES", 0.0) as usize {
        0 => train.clone(),
        count => train.select(&chosen(count)),
    };
    let learned = learned.without_labels();
    let calibrated = calibrate(graph, folded, &samples, &Stated::default(), Ends::LeastError, Granularity::Tensor);
    let evaluator = Evaluator::new(&calibrated.folded, &test).expect("the data fit");
    let percent = |e: releqc_passes::train::Evaluation| 100.0 * e.accuracy.expect("labels");
    println!("float {:.2} %", percent(evaluator.float()));
    let aim = match env("T", 2.0) {
        0.0 => Aim::Values,
        temperature => Aim::Classes { temperature },
    };
    let plain = Reconstruction::new(updates.parse().expect("a number of updates"), aim);
    let recipe = Reconstruction {
        rate: env("RATE", plain.rate),
        batch: env("BATCH", plain.batch as f32) as usize,
        blocks: env("BLOCKS", plain.blocks),
        lean: env("LEAN", plain.lean),
        ..plain
    };
    println!("{recipe:?} on {} samples", learned.len());
    let fitter = Reconstructor::new(&calibrated, &learned, recipe, 1).expect("the data fit");
    for width in widths {
        let layers = calibrated.folded.weight_layers().len();
        let bits = vec![width.parse().ok().and_then(BitWidth::new).expect("a width of 2 to 8"); layers];
        let begin = Instant::now();
        let start = quantize_after_training(&calibrated, &bits, &samples, Rounding::ON_SAMPLES).annotated;
        let before = percent(evaluator.evaluate(&start).expect("a trainable graph"));
        let rounded = begin.elapsed().as_secs_f32();
        let begin = Instant::now();
        let fitted = fitter.fit(&start, |p| {
            if p.step % 100 == 0 || p.step == 1 {
                println!("  {} loss {:.4} {:.0} s", p.step, p.loss, begin.elapsed().as_secs_f32());
            }
            ControlFlow::Continue(())
        });
        let after = percent(evaluator.evaluate(&fitted.expect("a trainable graph")).expect("a trainable graph"));
        println!(
            "[{width}] rounded {before:.2} % ({rounded:.0} s) fitted {after:.2} % ({:.0} s)",
            begin.elapsed().as_secs_f32()
        );
    }
}
