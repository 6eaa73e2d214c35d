//! Trains LeNet on MNIST in float, then retrains it under given widths:
//! `cargo run --release -p releqc-passes --example train_lenet -- DATA_FOLDER [FLOAT_STEPS] [STEPS] [WIDTHS ..]`,
//! a width list being comma-separated. The data folder holds the gzip-compressed IDX files; needs `gzip`.
#![allow(clippy::print_stdout, clippy::panic, reason = "an example that reports to a terminal")]

use releqc_passes::calibrate::Calibrated;
use releqc_passes::data::{Dataset, Preprocessing, Samples};
use releqc_passes::ir::{
    Clip, Conv, ElementType, FullyConnected, Graph, Node, NodeId, Op, Padding, Shape, Tensor, Window,
};
use releqc_passes::train::{Augmentation, Evaluator, Inference, Recipe, Trainer, init_random, train_float};
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Instant;

fn idx(path: &str) -> Vec<u8> {
    let out = Command::new("gzip").args(["-dc", path]).output().expect("gzip runs");
    assert!(out.status.success(), "{path}: not readable");
    let dims = usize::from(out.stdout[3]);
    out.stdout[4 + 4 * dims..].to_vec()
}

fn mnist(folder: &str, part: &str) -> Dataset {
    let pixels = idx(&format!("{folder}/{part}-images-idx3-ubyte.gz"));
    let labels = idx(&format!("{folder}/{part}-labels-idx1-ubyte.gz")).into_iter().map(u32::from).collect();
    let preprocessing = Preprocessing::Normalize { mean: vec![0.1307], std: vec![0.3081] };
    Dataset::new(Shape::image(1, 28, 28), Samples::Pixels(pixels, preprocessing), Some(labels)).expect("whole images")
}

fn lenet() -> Graph {
    let window = |kernel: usize, stride: usize| Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        padding: Padding::default(),
    };
    let zeros = |dims: &[usize]| Tensor::new(dims.to_vec(), vec![0.0; dims.iter().product()]).expect("extents match");
    let mut nodes: Vec<Node> = Vec::new();
    let mut push = |name: &str, op: Op, shape: Shape, activation: Option<Clip>| {
        let inputs = if nodes.is_empty() { vec![] } else { vec![NodeId(nodes.len() - 1)] };
        nodes.push(Node { name: name.into(), op, inputs, shape, activation });
    };
    let conv = |dims: [usize; 4]| {
        Op::Conv(Conv {
            weight: zeros(&dims),
            bias: Some(vec![0.0; dims[0]]),
            window: window(dims[2], 1),
            groups: 1,
            batch_norm: None,
        })
    };
    let fc = |o: usize, i: usize| {
        Op::FullyConnected(FullyConnected { weight: zeros(&[o, i]), bias: Some(vec![0.0; o]), batch_norm: None })
    };
    push("input", Op::Input(ElementType::F32), Shape::image(1, 28, 28), None);
    push("conv1", conv([20, 1, 5, 5]), Shape::image(20, 24, 24), None);
    push("pool1", Op::MaxPool(window(2, 2)), Shape::image(20, 12, 12), None);
    push("conv2", conv([50, 20, 5, 5]), Shape::image(50, 8, 8), None);
    push("pool2", Op::MaxPool(window(2, 2)), Shape::image(50, 4, 4), None);
    push("flatten", Op::Reshape, Shape::vector(800), None);
    push("fc1", fc(500, 800), Shape::vector(500), Some(Clip::RELU));
    push("fc2", fc(10, 500), Shape::vector(10), None);
    Graph { name: "lenet".into(), nodes, outputs: vec![("logits".into(), NodeId(7))] }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = args.first().map_or("../shared/data/mnist", String::as_str);
    let float_steps = args.get(1).map_or(3000, |a| a.parse().expect("a number"));
    let steps = args.get(2).map_or(300, |a| a.parse().expect("a number"));
    let (train, test) = (mnist(folder, "train"), mnist(folder, "t10k-first5000"));
    let start = Instant::now();
    let graph = init_random(&lenet(), 1).expect("LeNet can be trained");
    let recipe = Recipe {
        batch: 64,
        learning_rate: 0.01,
        augmentation: Augmentation { shift: 2, flip: false },
        ..Recipe::float(float_steps)
    };
    let graph = train_float(&graph, &train, &recipe, 1, |p| {
        if p.step % 250 == 0 {
            println!(
                "  {} loss {:.4} accuracy {:.3} {:.1} s",
                p.step,
                p.loss,
                p.accuracy,
                start.elapsed().as_secs_f32()
            );
        }
        ControlFlow::Continue(())
    })
    .expect("LeNet can be trained");
    let evaluator = Evaluator::new(&graph, &test).expect("the data fit");
    let float = evaluator.float().accuracy.expect("labels") * 100.0;
    println!("float: {float:.2} % in {:.1} s", start.elapsed().as_secs_f32());
    let ranges = Inference::float(&graph).expect("valid").ranges(&train.select(&(0..256).collect::<Vec<_>>()));
    let factors = vec![None; graph.nodes.len()];
    let calibrated = Calibrated {
        graph: graph.clone(),
        folded: graph,
        ranges,
        factors,
        floats: Default::default(),
        narrow: Default::default(),
    };
    let env = |name: &str, default: f32| std::env::var(name).map_or(default, |v| v.parse().expect("a number"));
    let recipe = Recipe {
        augmentation: Augmentation::NONE,
        learning_rate: env("LR", 0.01),
        batch: env("BATCH", 64.0) as usize,
        distillation: env("DISTIL", 0.9),
        temperature: env("TEMP", 2.0),
        learn_activation_steps: env("ACT", 0.0) > 0.0,
        steps,
        ..Recipe::short()
    };
    let trainer = Trainer::new(&calibrated, &train, recipe, 7).expect("the data fit");
    let default = ["8,8,8,8", "2,2,3,2", "2,2,2,2"].map(String::from);
    let lists = if args.len() > 3 { args[3..].to_vec() } else { default.to_vec() };
    for list in lists {
        let bits: Vec<_> = list.split(',').map(|b| BitWidth::new(b.parse().expect("a width")).expect("2..8")).collect();
        let start = Instant::now();
        let result = trainer.retrain(&bits, |_| ControlFlow::Continue(())).expect("four widths");
        let seconds = start.elapsed().as_secs_f32();
        let accuracy = evaluator.evaluate(&result.annotated).expect("valid").accuracy.expect("labels") * 100.0;
        println!(
            "[{list}] {accuracy:.2} % (loss {:+.2} points), train accuracy {:.2} %, {seconds:.1} s",
            float - accuracy,
            result.train_accuracy * 100.0
        );
    }
}
