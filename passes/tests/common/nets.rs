//! Small networks that together use every operator, and random ones.

use super::Random;
use releqc_passes::ir::{
    AxisMap, BatchNorm, BinaryKind, Clip, Conv, ElementType, FullyConnected, Graph, Node, NodeId, Op, Padding, Shape,
    Tensor, Window,
};
use releqc_passes::onnx::write;

/// A graph under construction; every method appends a node and returns its id.
pub struct Net {
    pub graph: Graph,
    random: Random,
}

pub fn window(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], pads: [usize; 4]) -> Window {
    let [top, left, bottom, right] = pads;
    Window { kernel, stride, dilation, padding: Padding { top, left, bottom, right } }
}

impl Net {
    pub fn new(name: &str, input: Shape, seed: u64) -> Self {
        let node = Node {
            name: "input".into(),
            op: Op::Input(ElementType::F32),
            inputs: vec![],
            shape: input,
            activation: None,
        };
        Net { graph: Graph { name: name.into(), nodes: vec![node], outputs: vec![] }, random: Random(seed) }
    }

    pub fn shape(&self, id: NodeId) -> Shape {
        self.graph.node(id).shape.clone()
    }

    pub fn push(&mut self, op: Op, inputs: Vec<NodeId>, shape: Shape) -> NodeId {
        let name = format!("{}{}", op.label(), self.graph.nodes.len());
        self.graph.nodes.push(Node { name, op, inputs, shape, activation: None });
        NodeId(self.graph.nodes.len() - 1)
    }

    pub fn conv(&mut self, x: NodeId, outputs: usize, window: Window, groups: usize, bias: bool) -> NodeId {
        let [channels, h, w] = self.shape(x).chw();
        let [kh, kw] = window.kernel;
        let dims = vec![outputs, channels / groups, kh, kw];
        let weight = self.tensor(dims);
        let bias = bias.then(|| self.random.floats(outputs));
        let [oh, ow] = window.output(h, w).unwrap();
        let conv = Conv { weight, bias, window, groups, batch_norm: None };
        self.push(Op::Conv(conv), vec![x], Shape::image(outputs, oh, ow))
    }

    pub fn tensor(&mut self, dims: Vec<usize>) -> Tensor {
        let fan_in: usize = dims[1..].iter().product();
        let scale = 1.0 / (fan_in as f32).sqrt();
        let values: Vec<f32> = self.random.floats(dims.iter().product()).iter().map(|v| v * scale).collect();
        Tensor::new(dims, values).unwrap()
    }

    pub fn fc(&mut self, x: NodeId, outputs: usize, bias: bool) -> NodeId {
        let features = self.shape(x).len();
        let weight = self.tensor(vec![outputs, features]);
        let bias = bias.then(|| self.random.floats(outputs));
        self.push(
            Op::FullyConnected(FullyConnected { weight, bias, batch_norm: None }),
            vec![x],
            Shape::vector(outputs),
        )
    }

    /// A layer over the last axis, without bias.
    pub fn fc_of_rows(&mut self, x: NodeId, outputs: usize) -> NodeId {
        let mut dims = self.shape(x).dims().to_vec();
        let weight = self.tensor(vec![outputs, dims.pop().unwrap()]);
        dims.push(outputs);
        let layer = FullyConnected { weight, bias: None, batch_norm: None };
        self.push(Op::FullyConnected(layer), vec![x], Shape::new(dims))
    }

    pub fn batch_norm(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x);
        let channels = shape.chw()[0];
        let norm = BatchNorm {
            gamma: self.random.floats(channels),
            beta: self.random.floats(channels),
            mean: self.random.floats(channels),
            variance: self.random.floats(channels).iter().map(|v| v.abs() + 0.1).collect(),
            epsilon: 1e-3,
        };
        self.push(Op::BatchNorm(norm), vec![x], shape)
    }

    /// Multiplication or addition of a constant, or constant minus x.
    pub fn affine(&mut self, x: NodeId, kind: usize) -> NodeId {
        let shape = self.shape(x);
        let channels = shape.chw()[0];
        let values = self.random.floats(channels);
        let (mul, add) = match kind {
            0 => (values, vec![0.0; channels]),
            1 => (vec![1.0; channels], values),
            _ => (vec![-1.0; channels], values),
        };
        self.push(Op::ChannelAffine { mul, add }, vec![x], shape)
    }

    pub fn clip(&mut self, x: NodeId, min: f32, max: f32) -> NodeId {
        let shape = self.shape(x);
        self.push(Op::Clip(Clip { min, max }), vec![x], shape)
    }

    pub fn relu(&mut self, x: NodeId) -> NodeId {
        self.clip(x, 0.0, f32::INFINITY)
    }

    pub fn max_pool(&mut self, x: NodeId, window: Window) -> NodeId {
        self.pool(x, window, Op::MaxPool(window))
    }

    pub fn average_pool(&mut self, x: NodeId, window: Window, count_include_pad: bool) -> NodeId {
        self.pool(x, window, Op::AveragePool { window, count_include_pad })
    }

    fn pool(&mut self, x: NodeId, window: Window, op: Op) -> NodeId {
        let [c, h, w] = self.shape(x).chw();
        let [oh, ow] = window.output(h, w).unwrap();
        self.push(op, vec![x], Shape::image(c, oh, ow))
    }

    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let shape = self.shape(a);
        self.push(Op::ADD, vec![a, b], shape)
    }

    pub fn concat(&mut self, inputs: Vec<NodeId>) -> NodeId {
        let channels = inputs.iter().map(|&x| self.shape(x).chw()[0]).sum();
        let first = self.shape(inputs[0]);
        let [_, h, w] = first.chw();
        let shape = if first.is_vector() { Shape::vector(channels) } else { Shape::image(channels, h, w) };
        self.push(Op::Concat { axis: 1 }, inputs, shape)
    }

    pub fn reshape(&mut self, x: NodeId, shape: Shape) -> NodeId {
        self.push(Op::Reshape, vec![x], shape)
    }

    pub fn softmax(&mut self, x: NodeId, log: bool) -> NodeId {
        let shape = self.shape(x);
        self.push(Op::Softmax { axis: 1, log }, vec![x], shape)
    }

    pub fn output(mut self, names: &[(&str, NodeId)]) -> Graph {
        self.graph.outputs = names.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
        self.graph
    }
}

pub const INPUT: NodeId = NodeId(0);

pub fn all() -> Vec<Graph> {
    vec![plain(), residual(), branches(), second_readers(), head_norm(), written_out()]
}

/// Those whose operators all have an ONNX form that comes back as it was, with their files.
pub fn written() -> Vec<(Graph, Vec<u8>)> {
    let file = |graph: Graph| match write(&graph, &[]) {
        Ok(bytes) => Some((graph, bytes)),
        Err(error) => {
            assert_eq!((graph.name.as_str(), error.label), ("written_out", "gather"), "{error}");
            None
        }
    };
    all().into_iter().filter_map(file).collect()
}

/// conv, batch norm, relu, pool, flatten, two fc, softmax.
pub fn plain() -> Graph {
    let mut net = Net::new("plain", Shape::image(1, 8, 8), 1);
    let conv = net.conv(INPUT, 4, window([3, 3], [1, 1], [1, 1], [1; 4]), 1, false);
    let norm = net.batch_norm(conv);
    let pool = net.max_pool(norm, window([2, 2], [2, 2], [1, 1], [0; 4]));
    let relu = net.relu(pool);
    let flat = net.reshape(relu, Shape::vector(64));
    let hidden = net.fc(flat, 8, true);
    let relu6 = net.clip(hidden, 0.0, 6.0);
    let logits = net.fc(relu6, 3, true);
    let softmax = net.softmax(logits, false);
    net.output(&[("probabilities", softmax)])
}

/// A residual block with depthwise, dilated and asymmetric windows and a global pool.
pub fn residual() -> Graph {
    let mut net = Net::new("residual", Shape::image(3, 9, 7), 2);
    let stem = net.conv(INPUT, 4, window([3, 3], [2, 2], [1, 1], [0, 0, 1, 1]), 1, true);
    let relu = net.relu(stem);
    let depthwise = net.conv(relu, 4, window([3, 3], [1, 1], [2, 2], [2; 4]), 4, false);
    let norm = net.batch_norm(depthwise);
    let relu6 = net.clip(norm, 0.0, 6.0);
    let pointwise = net.conv(relu6, 4, window([1, 1], [1, 1], [1, 1], [0; 4]), 2, true);
    let sum = net.add(pointwise, relu);
    let relu = net.relu(sum);
    let [_, h, w] = net.shape(relu).chw();
    let pool = net.average_pool(relu, window([h, w], [1, 1], [1, 1], [0; 4]), false);
    let flat = net.reshape(pool, Shape::vector(4));
    let logits = net.fc(flat, 5, false);
    let log = net.softmax(logits, true);
    net.output(&[("logits", logits), ("log", log)])
}

/// Concat of pooled branches, constant arithmetic, clips with one bound.
pub fn branches() -> Graph {
    let mut net = Net::new("branches", Shape::image(2, 6, 6), 3);
    let scaled = net.affine(INPUT, 0);
    let shifted = net.affine(scaled, 1);
    let max = net.max_pool(shifted, window([3, 3], [2, 2], [1, 1], [1; 4]));
    let mean = net.average_pool(shifted, window([3, 3], [2, 2], [1, 1], [1; 4]), true);
    let other = net.average_pool(shifted, window([3, 3], [2, 2], [1, 1], [1; 4]), false);
    let conv = net.conv(shifted, 3, window([2, 2], [2, 2], [1, 1], [0; 4]), 1, true);
    let negated = net.affine(conv, 2);
    let low = net.clip(negated, -0.5, f32::INFINITY);
    let high = net.clip(low, f32::NEG_INFINITY, 0.25);
    let all = net.concat(vec![max, mean, other, high]);
    let folded = net.reshape(all, Shape::image(27, 3, 1));
    let logits = net.conv(folded, 2, window([3, 1], [1, 1], [1, 1], [0; 4]), 1, true);
    net.output(&[("out", logits)])
}

/// Everything that keeps a rewrite from fusing: second readers and outputs.
pub fn second_readers() -> Graph {
    let mut net = Net::new("second_readers", Shape::image(2, 4, 4), 4);
    let conv = net.conv(INPUT, 2, window([3, 3], [1, 1], [1, 1], [1; 4]), 1, true);
    let norm = net.batch_norm(conv);
    let sum = net.add(norm, conv);
    let relu = net.relu(sum);
    let twice = net.add(relu, relu);
    let bare = net.conv(twice, 2, window([1, 1], [1, 1], [1, 1], [0; 4]), 1, false);
    let relu = net.relu(bare);
    net.output(&[("before", sum), ("bare", bare), ("after", relu)])
}

/// Batch normalisation after relu and flatten, before fc, and after the last fc.
pub fn head_norm() -> Graph {
    let mut net = Net::new("head_norm", Shape::image(2, 4, 4), 5);
    let conv = net.conv(INPUT, 3, window([2, 2], [2, 2], [1, 1], [0; 4]), 1, true);
    let relu = net.relu(conv);
    let norm = net.batch_norm(relu);
    let flat = net.reshape(norm, Shape::vector(12));
    let fc = net.fc(flat, 4, true);
    let norm = net.batch_norm(fc);
    let relu = net.relu(norm);
    let affine = net.affine(relu, 0);
    let shifted = net.affine(affine, 1);
    let last = net.fc(shifted, 2, false);
    let bias = net.affine(last, 1);
    net.output(&[("logits", bias)])
}

/// What exporters write in several nodes: padding, a hard swish, transposes in a row, a bias behind a product.
pub fn written_out() -> Graph {
    let mut net = Net::new("written_out", Shape::image(2, 6, 6), 6);
    let around = AxisMap::Indices([None].into_iter().chain((0..6).map(Some)).chain([None]).collect());
    let maps = vec![AxisMap::All, AxisMap::All, around.clone(), around];
    let padded = net.push(Op::Gather { maps, fill: 0.0 }, vec![INPUT], Shape::image(2, 8, 8));
    let conv = net.conv(padded, 4, window([3, 3], [1, 1], [1, 1], [0; 4]), 1, true);
    let shape = net.shape(conv);
    let line = |mul: f32, add: f32| Op::ChannelAffine { mul: vec![mul; 4], add: vec![add; 4] };
    let shifted = net.push(line(1.0, 3.0), vec![conv], shape.clone());
    let gate = net.clip(shifted, 0.0, 6.0);
    let product = net.push(Op::Binary(BinaryKind::Mul), vec![conv, gate], shape.clone());
    let swish = net.push(line(1.0 / 6.0, 0.0), vec![product], shape);
    let last = net.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, vec![swish], Shape::new(vec![1, 6, 6, 4]));
    let turned = net.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, vec![last], Shape::new(vec![1, 6, 6, 4]));
    let rows = net.reshape(turned, Shape::new(vec![1, 36, 4]));
    let weight = net.tensor(vec![5, 4]);
    let layer = FullyConnected { weight, bias: None, batch_norm: None };
    let products = net.push(Op::FullyConnected(layer), vec![rows], Shape::new(vec![1, 36, 5]));
    let values = net.tensor(vec![5]);
    let bias = net.push(Op::Constant(values), vec![], Shape::new(vec![5]));
    let sum = net.push(Op::ADD, vec![products, bias], Shape::new(vec![1, 36, 5]));
    net.output(&[("sum", sum)])
}

/// A network of up to 12 random nodes.
pub fn random(random: &mut Random) -> Graph {
    let shape = Shape::image(1 + random.below(4), 3 + random.below(6), 3 + random.below(6));
    let mut net = Net::new("random", shape, random.next());
    let mut x = INPUT;
    for _ in 0..1 + random.below(12) {
        let shape = net.shape(x);
        let [c, h, w] = shape.chw();
        x = match random.below(10) {
            0 | 1 if !shape.is_vector() => {
                let kernel = [1 + random.below(h.min(3)), 1 + random.below(w.min(3))];
                let pads = std::array::from_fn(|axis| random.below(kernel[axis % 2]));
                let groups = if random.below(2) == 0 { c } else { 1 };
                let stride = [1 + random.below(2), 1 + random.below(2)];
                net.conv(
                    x,
                    groups * (1 + random.below(3)),
                    window(kernel, stride, [1, 1], pads),
                    groups,
                    random.below(2) == 0,
                )
            }
            2 | 3 => net.batch_norm(x),
            4 => net.relu(x),
            5 => net.clip(x, -0.5, 0.5),
            6 => net.affine(x, random.below(3)),
            7 if !shape.is_vector() => net.max_pool(x, window([h.min(2), w.min(2)], [1, 2], [1, 1], [0; 4])),
            8 if !shape.is_vector() => net.reshape(x, Shape::vector(shape.len())),
            8 | 9 => net.fc(x, 1 + random.below(5), random.below(2) == 0),
            _ => net.add(x, x),
        };
        // A fully connected layer on an image flattens by itself; ONNX has a node for that.
        if let Op::FullyConnected(_) = net.graph.node(x).op
            && !net.shape(net.graph.node(x).inputs[0]).is_vector()
        {
            net.graph.nodes.pop();
            let image = NodeId(net.graph.nodes.len() - 1);
            let flat = net.reshape(image, Shape::vector(net.shape(image).len()));
            x = net.fc(flat, 2, true);
        }
    }
    net.output(&[("y", x)])
}
