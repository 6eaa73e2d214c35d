//! Trains the zoo's LeNet on MNIST and writes `models/lenet.onnx`.
//!
//! `cargo run --release -p releqc-models --example train_lenet -- DATA_FOLDER OUT.onnx`
//! The folder holds MNIST as IDX files; images are normalised with mean 0.1307 and std 0.3081.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to a terminal")]

use releqc_models::lenet;
use releqc_passes::data::{Dataset, Preprocessing, Reading, load};
use releqc_passes::evaluate::{agreement, largest};
use releqc_passes::onnx;
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::train::{Augmentation, Inference, Recipe, init_random, train_float};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

const SEED: u64 = 1;
const STEPS: usize = 6000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = &arguments[..] else {
        return Err("usage: train_lenet DATA_FOLDER OUT.onnx".into());
    };
    let preprocessing = Preprocessing::Normalize { mean: vec![0.1307], std: vec![0.3081] };
    let graph = canonicalize(lenet(SEED))?;
    let splits = load(Path::new(folder), &Reading::of(&graph.input_shape()).with(preprocessing.clone()))?;
    let train = splits.train.ok_or("the folder has no training part")?;
    let recipe =
        Recipe { augmentation: Augmentation { shift: 2, flip: false }, learning_rate: 0.03, ..Recipe::float(STEPS) };
    let trained = train_float(&init_random(&graph, SEED)?, &train, &recipe, SEED, |progress| {
        if progress.step % 250 == 0 {
            eprintln!("step {} of {}: loss {:.4}", progress.step, progress.steps, progress.loss);
        }
        ControlFlow::Continue(())
    })?;
    if let Some(test) = splits.test {
        println!("top-1 on {} test images: {:.4}", test.len(), top1(&trained, &test)?);
    }
    std::fs::write(out, onnx::write(&trained, &[])?)?;
    Ok(())
}

fn top1(graph: &releqc_passes::ir::Graph, data: &Dataset) -> Result<f64, Box<dyn Error>> {
    let inference = Inference::float(&fold_batch_norm(graph))?;
    let classes = inference.classes();
    let seen: Vec<u32> = inference.logits(data).chunks_exact(classes).map(largest).collect();
    Ok(agreement(&seen, data.labels().ok_or("the test part has no labels")?))
}
