//! Retrains an ONNX network under given widths and reports accuracy on the test part, without quantizing or writing anything:
//! `cargo run --release -p releqc-passes --example retrain -- MODEL DATA MEAN STD STEPS WIDTHS [WIDTHS ..]`.
//!
//! MEAN and STD are comma-separated values a channel, or both `raw`; WIDTHS is a comma-separated list, one width alone meaning
//! that width everywhere but 8 bits in the first and last layer. LR, BATCH, SHIFT and HOLD (momentum,from,to of oscillating weights) in the
//! environment change the recipe; NORM=0 leaves batch normalisation folded where it is.
#![allow(clippy::print_stdout, reason = "an example that reports to a terminal")]

use releqc_passes::annotate::annotate;
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::data::{Preprocessing, Reading, load};
use releqc_passes::import::from_onnx;
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::train::{Augmentation, Evaluator, NormStatistics, Oscillation, Recipe, Trainer, with_batch_norm};
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter_map(|v| v.parse().ok()).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, mean, std, steps, lists @ ..] = &args[..] else {
        return println!("usage: retrain MODEL DATA MEAN STD STEPS WIDTHS [WIDTHS ..]");
    };
    let env = |name: &str, default: f32| std::env::var(name).map_or(default, |v| v.parse().expect("a number"));
    let graph = from_onnx(&std::fs::read(model).expect("the model is readable")).expect("the model can be imported");
    let mut graph = canonicalize(graph).expect("the model can be rewritten");
    let folded = fold_batch_norm(&graph);
    let preprocessing = match &mean[..] {
        "raw" => Preprocessing::Raw,
        _ => Preprocessing::Normalize { mean: numbers(mean), std: numbers(std) },
    };
    let splits = load(Path::new(folder), &Reading::of(&folded.input_shape()).with(preprocessing.clone()))
        .expect("the data are readable");
    let (all, test) = (splits.train.expect("a train part"), splits.test.expect("a test part"));
    let (train, validation) = all.split(1, 1.0 / 6.0);
    let samples: Vec<Vec<f32>> = (0..128)
        .map(|i| {
            let mut sample = vec![0.0; train.shape().len()];
            train.read(i, &mut sample);
            sample
        })
        .collect();
    if env("NORM", 1.0) > 0.0 {
        graph = with_batch_norm(&graph, &train, 1).expect("a trainable graph");
    }
    let start = Instant::now();
    let calibrated = calibrate(graph, folded, &samples, &Stated::default(), Ends::LeastError, Granularity::Tensor);
    println!("calibrated in {:.1} s", start.elapsed().as_secs_f32());
    let start = Instant::now();
    let evaluator = Evaluator::new(&calibrated.folded, &test).expect("the data fit");
    let float = 100.0 * evaluator.float().accuracy.expect("labels");
    let held_back = Evaluator::new(&calibrated.folded, &validation).expect("the data fit");
    println!(
        "float {float:.2} % of {} test samples, {:.2} % of {} held back ({:.1} s)",
        test.len(),
        100.0 * held_back.float().accuracy.expect("labels"),
        validation.len(),
        start.elapsed().as_secs_f32()
    );
    let steps: usize = steps.parse().expect("a number of steps");
    let wanted = Augmentation { shift: env("SHIFT", 4.0) as usize, flip: env("FLIP", 1.0) > 0.0 };
    let augmentation = wanted.borne_by(&calibrated.folded, &train, 1).expect("a trainable graph");
    println!("images are changed by {augmentation:?}");
    let oscillation = std::env::var("HOLD").ok().map(|text| match numbers(&text)[..] {
        [momentum, from, to] => Oscillation { momentum, from, to },
        _ => unreachable!("HOLD is momentum,from,to"),
    });
    let recipe = Recipe {
        learning_rate: env("LR", 0.02),
        batch: env("BATCH", 128.0) as usize,
        augmentation,
        learn_activation_steps: env("ACT", 0.0) > 0.0,
        norm: if env("FROZEN", 0.0) > 0.0 { NormStatistics::Frozen } else { NormStatistics::Batch },
        oscillation,
        ..Recipe::full(steps)
    };
    let trainer = Trainer::new(&calibrated, &train, recipe, 1).expect("the data fit");
    let layers = calibrated.folded.weight_layers().len();
    for list in lists {
        let mut widths: Vec<u8> = numbers(list);
        if let [width] = widths[..] {
            widths = vec![width; layers];
            (widths[0], widths[layers - 1]) = (8, 8);
        }
        let widths: Vec<BitWidth> = widths.into_iter().filter_map(BitWidth::new).collect();
        let before = evaluator.evaluate(&annotate(&calibrated, &widths)).expect("a trainable graph");
        let start = Instant::now();
        let result = trainer.retrain(&widths, |p| {
            if p.step % 25 == 0 {
                println!(
                    "  {} loss {:.4} batch {:.3} {:.0} s",
                    p.step,
                    p.loss,
                    p.accuracy,
                    start.elapsed().as_secs_f32()
                );
            }
            ControlFlow::Continue(())
        });
        let result = result.expect("one width a layer");
        let after = evaluator.evaluate(&result.annotated).expect("a trainable graph");
        let held_back = held_back.evaluate(&result.annotated).expect("a trainable graph");
        println!(
            "[{list}] before {:.2} % after {:.2} % (loss {:+.2}) held back {:.2} % train {:.2} % {:.0} s",
            100.0 * before.accuracy.expect("labels"),
            100.0 * after.accuracy.expect("labels"),
            float - 100.0 * after.accuracy.expect("labels"),
            100.0 * held_back.accuracy.expect("labels"),
            100.0 * result.train_accuracy,
            start.elapsed().as_secs_f32()
        );
    }
}
