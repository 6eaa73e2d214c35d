//! Times training steps of the networks that a peer script in another framework times too, one JSON object a line:
//! `cargo run --release -p releqc-passes --example train_bench -- [--threads 1] [--seconds 6] [NAME ..]`.
//!
//! A step is batch assembly, forward, backward and SGD with momentum; `float` in f32, `rounded` with 4-bit weights, 8-bit
//! tensors and labels, `distilled` with the float network's logits computed for every batch as well. `forward_ms` is the
//! evaluation path without a tape. Each is [median, least, processor time of all threads] in milliseconds; on a busy machine
//! only the last two mean anything.
#![allow(clippy::print_stdout, reason = "an example that reports to a terminal")]

use releqc_passes::calibrate::{Calibrated, Range};
use releqc_passes::data::{Dataset, Samples};
use releqc_passes::ir::{
    BatchNorm, Clip, Conv, ElementType, FullyConnected, Graph, Node, NodeId, Op, Padding, Shape, Tensor, Window,
};
use releqc_passes::train::{Augmentation, Inference, Recipe, Trainer, init_random, train_float};
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;
use std::time::Instant;

/// A graph under construction.
struct Builder {
    nodes: Vec<Node>,
}

fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        padding: Padding { top: pad, left: pad, bottom: pad, right: pad },
    }
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::new(dims.to_vec(), vec![0.0; dims.iter().product()]).expect("extents match")
}

impl Builder {
    fn new(c: usize, h: usize, w: usize) -> Self {
        let node = Node {
            name: "input".into(),
            op: Op::Input(ElementType::F32),
            inputs: vec![],
            shape: Shape::image(c, h, w),
            activation: None,
        };
        Builder { nodes: vec![node] }
    }

    fn push(&mut self, op: Op, inputs: Vec<NodeId>, shape: Shape, activation: Option<Clip>) -> NodeId {
        let name = format!("{}{}", op.label(), self.nodes.len());
        self.nodes.push(Node { name, op, inputs, shape, activation });
        NodeId(self.nodes.len() - 1)
    }

    fn image(&self, id: NodeId) -> [usize; 3] {
        self.nodes[id.0].shape.chw()
    }

    #[expect(clippy::too_many_arguments, reason = "the attributes of a convolution")]
    fn conv(
        &mut self,
        x: NodeId,
        o: usize,
        k: usize,
        s: usize,
        p: usize,
        groups: usize,
        bn: bool,
        act: Option<Clip>,
    ) -> NodeId {
        let [c, h, w] = self.image(x);
        let window = window(k, s, p);
        let [oh, ow] = window.output(h, w).expect("the window fits");
        let batch_norm = bn.then(|| BatchNorm {
            gamma: vec![1.0; o],
            beta: vec![0.0; o],
            mean: vec![0.0; o],
            variance: vec![1.0; o],
            epsilon: 1e-5,
        });
        let bias = (!bn).then(|| vec![0.0; o]);
        let op = Op::Conv(Conv { weight: zeros(&[o, c / groups, k, k]), bias, window, groups, batch_norm });
        self.push(op, vec![x], Shape::image(o, oh, ow), act)
    }

    fn max_pool(&mut self, x: NodeId) -> NodeId {
        let [c, h, w] = self.image(x);
        self.push(Op::MaxPool(window(2, 2, 0)), vec![x], Shape::image(c, h / 2, w / 2), None)
    }

    fn fc(&mut self, x: NodeId, o: usize, activation: Option<Clip>) -> NodeId {
        let i = self.nodes[x.0].shape.len();
        let x =
            if self.nodes[x.0].shape.is_vector() { x } else { self.push(Op::Reshape, vec![x], Shape::vector(i), None) };
        let op =
            Op::FullyConnected(FullyConnected { weight: zeros(&[o, i]), bias: Some(vec![0.0; o]), batch_norm: None });
        self.push(op, vec![x], Shape::vector(o), activation)
    }

    fn head(&mut self, x: NodeId) -> NodeId {
        let [c, h, _] = self.image(x);
        let op = Op::AveragePool { window: window(h, 1, 0), count_include_pad: false };
        let x = self.push(op, vec![x], Shape::image(c, 1, 1), None);
        self.fc(x, 10, None)
    }

    fn finish(self) -> Graph {
        let last = NodeId(self.nodes.len() - 1);
        Graph { name: "bench".into(), nodes: self.nodes, outputs: vec![("logits".into(), last)] }
    }
}

fn lenet() -> (Graph, usize) {
    let mut b = Builder::new(1, 28, 28);
    let x = b.conv(NodeId(0), 20, 5, 1, 0, 1, false, None);
    let x = b.max_pool(x);
    let x = b.conv(x, 50, 5, 1, 0, 1, false, None);
    let x = b.max_pool(x);
    let x = b.fc(x, 500, Some(Clip::RELU));
    b.fc(x, 10, None);
    (b.finish(), 64)
}

fn resnet20() -> (Graph, usize) {
    let relu = Some(Clip::RELU);
    let mut b = Builder::new(3, 32, 32);
    let mut x = b.conv(NodeId(0), 16, 3, 1, 1, 1, true, relu);
    let mut channels = 16;
    for (stage, outputs) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let main = b.conv(x, outputs, 3, stride, 1, 1, true, relu);
            let main = b.conv(main, outputs, 3, 1, 1, 1, true, None);
            let skip = if channels == outputs { x } else { b.conv(x, outputs, 1, stride, 0, 1, true, None) };
            let shape = b.nodes[main.0].shape.clone();
            x = b.push(Op::ADD, vec![main, skip], shape, relu);
            channels = outputs;
        }
    }
    b.head(x);
    (b.finish(), 128)
}

fn conv256() -> (Graph, usize) {
    let mut b = Builder::new(256, 8, 8);
    let x = b.conv(NodeId(0), 256, 3, 1, 1, 1, false, None);
    b.head(x);
    (b.finish(), 64)
}

fn depthwise() -> (Graph, usize) {
    let mut b = Builder::new(128, 16, 16);
    let x = b.conv(NodeId(0), 128, 3, 1, 1, 128, true, Some(Clip::RELU));
    let x = b.conv(x, 128, 1, 1, 0, 1, true, Some(Clip::RELU));
    b.head(x);
    (b.finish(), 64)
}

/// Processor seconds of all threads of this process so far, in steps of 10 ms; 0 where /proc is not.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Median of the times between calls of the closure it hands out, in milliseconds.
struct Stopwatch {
    last: Instant,
    samples: Vec<f64>,
    start: Instant,
    processor: f64,
    seconds: f64,
}

impl Stopwatch {
    fn new(seconds: f64) -> Self {
        let now = Instant::now();
        Stopwatch { last: now, samples: Vec::new(), start: now, processor: processor_seconds(), seconds }
    }

    fn lap(&mut self) -> ControlFlow<()> {
        let now = Instant::now();
        self.samples.push((now - self.last).as_secs_f64() * 1e3);
        self.last = now;
        let done = self.samples.len() > 5 && (now - self.start).as_secs_f64() > self.seconds;
        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Median milliseconds, least milliseconds, and processor milliseconds on average.
    fn result(mut self) -> [f64; 3] {
        let processor = (processor_seconds() - self.processor) / self.samples.len() as f64 * 1e3;
        self.samples.drain(..2);
        self.samples.sort_by(f64::total_cmp);
        [self.samples[self.samples.len() / 2], self.samples[0], processor].map(|v| (v * 100.0).round() / 100.0)
    }
}

fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) - 0.5
    };
    (0..len).map(|_| (3.4 * next()) as f32).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: f64| {
        let value = args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
        value.map_or(default, |v| v.parse().expect("a number"))
    };
    let threads = option("--threads", 1.0) as usize;
    let seconds = option("--seconds", 6.0);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    for (name, make) in [
        ("lenet", lenet as fn() -> (Graph, usize)),
        ("resnet20", resnet20),
        ("conv256", conv256),
        ("depthwise", depthwise),
    ] {
        let chosen = args.iter().any(|a| ["lenet", "resnet20", "conv256", "depthwise"].contains(&a.as_str()));
        if chosen && !args.iter().any(|a| a == name) {
            continue;
        }
        let (graph, batch) = make();
        let graph = init_random(&graph, 1).expect("a trainable graph");
        let shape = graph.input_shape();
        let values = noise(2 * batch * shape.len());
        let labels = (0..2 * batch).map(|i| (i % 10) as u32).collect();
        let data = Dataset::new(shape, Samples::Values(values), Some(labels)).expect("whole samples");
        let recipe = Recipe {
            batch,
            learning_rate: 0.001,
            distillation: 0.0,
            augmentation: Augmentation::NONE,
            norm_batches: 0,
            ..Recipe::full(1_000_000)
        };
        let mut watch = Stopwatch::new(seconds);
        train_float(&graph, &data, &recipe, 1, |_| watch.lap()).expect("a trainable graph");
        let float = watch.result();
        let folded = Graph { ..graph.clone() };
        let ranges = vec![Range { min: -4.0, max: 4.0 }; graph.nodes.len()];
        let factors = vec![None; graph.nodes.len()];
        let calibrated =
            Calibrated { graph, folded, ranges, factors, floats: Default::default(), narrow: Default::default() };
        let bits = vec![BitWidth::new(4).expect("2..8"); calibrated.graph.weight_layers().len()];
        let timed = |recipe: &Recipe| {
            let trainer = Trainer::new(&calibrated, &data, recipe.clone(), 1).expect("a trainable graph");
            let mut watch = Stopwatch::new(seconds);
            trainer.retrain(&bits, |_| watch.lap()).expect("as many widths as layers");
            watch.result()
        };
        let rounded = timed(&recipe);
        let augmentation = Augmentation { shift: 4, flip: true };
        let distilled = timed(&Recipe { distillation: 0.9, augmentation, ..recipe.clone() });
        let inference = Inference::float(&calibrated.folded).expect("a trainable graph");
        let half = data.select(&(0..batch).collect::<Vec<_>>());
        let mut watch = Stopwatch::new(seconds);
        while watch.lap().is_continue() {
            inference.logits(&half);
        }
        let forward = watch.result();
        println!(
            "{{\"network\": \"{name}\", \"threads\": {threads}, \"step_ms\": {float:?}, \"rounded_ms\": {rounded:?}, \
             \"distilled_ms\": {distilled:?}, \"forward_ms\": {forward:?}}}"
        );
    }
}
