//! Builds float graphs layer by layer, with seeded random weights.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use releqc_passes::ir::{
    BatchNorm, Clip, Conv, ElementType, FullyConnected, Graph, Node, NodeId, Op, Padding, Shape, Tensor, Window,
};

/// A graph under construction; every method appends one node and returns its id.
pub struct GraphBuilder {
    graph: Graph,
    rng: ChaCha8Rng,
}

/// Square window of `kernel` taps and `stride` with `pad` cells on every side.
fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        padding: Padding { top: pad, left: pad, bottom: pad, right: pad },
    }
}

impl GraphBuilder {
    /// A graph with only its input.
    pub fn new(name: &str, input: Shape, seed: u64) -> (Self, NodeId) {
        let node = Node {
            name: "input".into(),
            op: Op::Input(ElementType::F32),
            inputs: vec![],
            shape: input,
            activation: None,
        };
        let graph = Graph { name: name.into(), nodes: vec![node], outputs: vec![] };
        (GraphBuilder { graph, rng: ChaCha8Rng::seed_from_u64(seed) }, NodeId(0))
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<NodeId>, shape: Shape) -> NodeId {
        self.graph.nodes.push(Node { name: name.into(), op, inputs, shape, activation: None });
        NodeId(self.graph.nodes.len() - 1)
    }

    /// Uniform in `-bound..bound`.
    fn uniform(&mut self, bound: f32) -> f32 {
        ((self.rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0) * bound
    }

    /// He initialisation, uniform: variance `2 / fan_in`.
    fn weights(&mut self, dims: Vec<usize>) -> Tensor {
        let fan_in: usize = dims[1..].iter().product();
        let bound = (6.0 / fan_in as f32).sqrt();
        let data: Vec<f32> = (0..dims.iter().product()).map(|_| self.uniform(bound)).collect();
        Tensor::new(dims, data).expect("one value an element")
    }

    fn image(&self, id: NodeId) -> [usize; 3] {
        self.graph.node(id).shape.chw()
    }

    /// Convolution with a square kernel and small random biases.
    pub fn conv(&mut self, name: &str, x: NodeId, outputs: usize, kernel: usize, stride: usize, pad: usize) -> NodeId {
        self.grouped_conv(name, x, outputs, kernel, stride, pad, 1)
    }

    /// Grouped convolution; `groups` equal to the inputs is depthwise.
    #[allow(clippy::too_many_arguments, reason = "the attributes of a convolution")]
    pub fn grouped_conv(
        &mut self,
        name: &str,
        x: NodeId,
        outputs: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
        groups: usize,
    ) -> NodeId {
        let [inputs, height, width] = self.image(x);
        let window = window(kernel, stride, pad);
        let weight = self.weights(vec![outputs, inputs / groups, kernel, kernel]);
        let bias = (0..outputs).map(|_| self.uniform(0.05)).collect();
        let [h, w] = window.output(height, width).expect("the window fits");
        let conv = Conv { weight, bias: Some(bias), window, groups, batch_norm: None };
        self.push(name, Op::Conv(conv), vec![x], Shape::image(outputs, h, w))
    }

    /// Batch normalisation with statistics near those of a normalised tensor.
    pub fn batch_norm(&mut self, name: &str, x: NodeId) -> NodeId {
        let shape = self.graph.node(x).shape.clone();
        let channels = shape.chw()[0];
        let mut around =
            |centre: f32, spread: f32| (0..channels).map(|_| centre + self.uniform(spread)).collect::<Vec<_>>();
        let (gamma, beta, mean, variance) = (around(1.0, 0.2), around(0.0, 0.1), around(0.0, 0.1), around(1.0, 0.2));
        let bn = BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 };
        self.push(name, Op::BatchNorm(bn), vec![x], shape)
    }

    /// A clip; ReLU is [`Clip::RELU`].
    pub fn clip(&mut self, name: &str, x: NodeId, clip: Clip) -> NodeId {
        let shape = self.graph.node(x).shape.clone();
        self.push(name, Op::Clip(clip), vec![x], shape)
    }

    /// Max pooling without padding.
    pub fn max_pool(&mut self, name: &str, x: NodeId, kernel: usize, stride: usize) -> NodeId {
        let [c, h, w] = self.image(x);
        let window = window(kernel, stride, 0);
        let [h, w] = window.output(h, w).expect("the window fits");
        self.push(name, Op::MaxPool(window), vec![x], Shape::image(c, h, w))
    }

    /// Average pooling, padding not counted.
    pub fn average_pool(&mut self, name: &str, x: NodeId, kernel: usize, stride: usize, pad: usize) -> NodeId {
        let [c, h, w] = self.image(x);
        let window = window(kernel, stride, pad);
        let [h, w] = window.output(h, w).expect("the window fits");
        let op = Op::AveragePool { window, count_include_pad: false };
        self.push(name, op, vec![x], Shape::image(c, h, w))
    }

    /// Mean over the whole image.
    pub fn global_average_pool(&mut self, name: &str, x: NodeId) -> NodeId {
        let [_, h, w] = self.image(x);
        assert_eq!(h, w, "the builder makes square windows");
        self.average_pool(name, x, h, 1, 0)
    }

    /// Elementwise sum.
    pub fn add(&mut self, name: &str, a: NodeId, b: NodeId) -> NodeId {
        let shape = self.graph.node(a).shape.clone();
        self.push(name, Op::ADD, vec![a, b], shape)
    }

    /// Channels of all inputs, one after the other.
    pub fn concat(&mut self, name: &str, xs: &[NodeId]) -> NodeId {
        let [_, h, w] = self.image(xs[0]);
        let channels = xs.iter().map(|&x| self.image(x)[0]).sum();
        self.push(name, Op::Concat { axis: 1 }, xs.to_vec(), Shape::image(channels, h, w))
    }

    /// All values as one vector.
    pub fn flatten(&mut self, name: &str, x: NodeId) -> NodeId {
        let len = self.graph.node(x).shape.len();
        self.push(name, Op::Reshape, vec![x], Shape::vector(len))
    }

    /// Fully connected layer with small random biases.
    pub fn fully_connected(&mut self, name: &str, x: NodeId, outputs: usize) -> NodeId {
        let inputs = self.graph.node(x).shape.len();
        let weight = self.weights(vec![outputs, inputs]);
        let bias = (0..outputs).map(|_| self.uniform(0.05)).collect();
        let fc = FullyConnected { weight, bias: Some(bias), batch_norm: None };
        self.push(name, Op::FullyConnected(fc), vec![x], Shape::vector(outputs))
    }

    /// Softmax over a vector.
    pub fn softmax(&mut self, name: &str, x: NodeId) -> NodeId {
        let shape = self.graph.node(x).shape.clone();
        self.push(name, Op::Softmax { axis: 1, log: false }, vec![x], shape)
    }

    /// The finished graph with one output.
    pub fn finish(mut self, output: NodeId) -> Graph {
        self.graph.outputs.push(("output".into(), output));
        self.graph
    }
}
