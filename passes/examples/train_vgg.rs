//! Trains VGG-11 or VGG-16 on CIFAR-10 in float and writes it as ONNX, batch normalisation folded as exporters do:
//! `cargo run --release -p releqc-passes --example train_vgg -- DATA OUT.onnx [11|16] [EPOCHS] [PART] [SEED]`.
//!
//! The layers are those of Simonyan and Zisserman 2015 (configurations A and D) at 32x32, with batch normalisation, and one layer of
//! 512 inputs as classifier. Images are mirrored and shifted by up to 4 pixels; the rate rises for a twentieth of the run and falls
//! along a cosine. PART divides the number of channels, for a short trial; EPOCHS may be a fraction.
#![allow(clippy::print_stdout, clippy::panic, reason = "an example that reports to a terminal")]

use releqc_passes::data::{Dataset, Preprocessing, Reading, load};
use releqc_passes::ir::{
    BatchNorm, Clip, Conv, ElementType, FullyConnected, Graph, Node, NodeId, Op, Padding, Shape, Tensor, Window,
};
use releqc_passes::onnx;
use releqc_passes::rewrite::fold_batch_norm;
use releqc_passes::train::{Augmentation, Evaluator, Recipe, init_random, train_float};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// Channels of each convolution; 0 stands for a pool that halves the image.
const VGG_11: &[usize] = &[64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0];
const VGG_16: &[usize] = &[64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0];

const CLASSES: usize = 10;
const BATCH: usize = 128;

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::new(dims.to_vec(), vec![0.0; dims.iter().product()]).expect("extents match")
}

fn conv(inputs: usize, outputs: usize) -> Op {
    let padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };
    Op::Conv(Conv {
        weight: zeros(&[outputs, inputs, 3, 3]),
        bias: None,
        window: Window { kernel: [3; 2], stride: [1; 2], dilation: [1; 2], padding },
        groups: 1,
        batch_norm: Some(BatchNorm {
            gamma: vec![1.0; outputs],
            beta: vec![0.0; outputs],
            mean: vec![0.0; outputs],
            variance: vec![1.0; outputs],
            epsilon: 1e-5,
        }),
    })
}

/// The network with each number of channels divided by `part`.
fn vgg(name: &str, layers: &[usize], part: usize) -> Graph {
    let mut nodes = vec![Node {
        name: "input".into(),
        op: Op::Input(ElementType::F32),
        inputs: Vec::new(),
        shape: Shape::image(3, 32, 32),
        activation: None,
    }];
    let mut push = |name: String, op: Op, shape: Shape, activation: Option<Clip>| {
        let inputs = vec![NodeId(nodes.len() - 1)];
        nodes.push(Node { name, op, inputs, shape, activation });
    };
    let halved = Window { kernel: [2; 2], stride: [2; 2], dilation: [1; 2], padding: Padding::default() };
    let (mut channels, mut size) = (3, 32);
    for (place, &layer) in layers.iter().enumerate() {
        if layer == 0 {
            size /= 2;
            push(format!("pool{place}"), Op::MaxPool(halved), Shape::image(channels, size, size), None);
        } else {
            let outputs = layer / part;
            let shape = Shape::image(outputs, size, size);
            push(format!("conv{place}"), conv(channels, outputs), shape, Some(Clip::RELU));
            channels = outputs;
        }
    }
    push("flatten".into(), Op::Reshape, Shape::vector(channels), None);
    let classifier =
        FullyConnected { weight: zeros(&[CLASSES, channels]), bias: Some(vec![0.0; CLASSES]), batch_norm: None };
    push("classifier".into(), Op::FullyConnected(classifier), Shape::vector(CLASSES), None);
    let last = NodeId(nodes.len() - 1);
    Graph { name: name.into(), nodes, outputs: vec![("logits".into(), last)] }
}

fn cifar10(folder: &str) -> (Dataset, Dataset) {
    let preprocessing = Preprocessing::Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
    let reading = Reading::of(&Shape::image(3, 32, 32)).with(preprocessing);
    let splits = load(Path::new(folder), &reading).expect("the data are readable");
    (splits.train.expect("a train part"), splits.test.expect("a test part"))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out, rest @ ..] = &args[..] else {
        return println!("usage: train_vgg DATA OUT.onnx [11|16] [EPOCHS] [PART] [SEED]");
    };
    let number = |at: usize, default: f32| rest.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (depth, epochs, part, seed) =
        (number(0, 11.0), number(1, 30.0), number(2, 1.0) as usize, number(3, 1.0) as u64);
    let (name, layers) = if depth == 16.0 { ("vgg16", VGG_16) } else { ("vgg11", VGG_11) };
    let (train, test) = cifar10(folder);
    let an_epoch = train.len() / BATCH;
    let steps = (epochs * an_epoch as f32).ceil() as usize;
    let recipe = Recipe {
        batch: BATCH,
        learning_rate: 0.1,
        warmup: steps / 20,
        augmentation: Augmentation { shift: 4, flip: true },
        ..Recipe::float(steps)
    };
    let start = Instant::now();
    let random = init_random(&vgg(name, layers, part), seed).expect("VGG can be trained");
    let (mut loss, mut right, mut count) = (0.0, 0.0, 0);
    let trained = train_float(&random, &train, &recipe, seed, |progress| {
        (loss, right, count) = (loss + progress.loss, right + progress.accuracy, count + 1);
        if count == an_epoch.min(50) || progress.step == steps {
            let (mean, share) = (loss / count as f32, 100.0 * right / count as f32);
            let seconds = start.elapsed().as_secs_f32();
            println!(
                "{:6} of {steps} updates, loss {mean:.4}, {share:.2} % of the batches, {seconds:.0} s",
                progress.step
            );
            (loss, right, count) = (0.0, 0.0, 0);
        }
        ControlFlow::Continue(())
    });
    let folded = fold_batch_norm(&trained.expect("VGG can be trained"));
    let seconds = start.elapsed().as_secs_f32();
    let evaluator = Evaluator::new(&folded, &test).expect("the data fit");
    let accuracy = 100.0 * evaluator.float().accuracy.expect("labels");
    println!("{name}: {accuracy:.2} % of {} test images, {seconds:.0} s of training", test.len());
    std::fs::write(out, onnx::write(&folded, &[]).expect("every operator has an ONNX form"))
        .expect("the file is writable");
}
