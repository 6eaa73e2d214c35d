//! Random graphs of every operator of the IR, in every place the shape rule allows: any rank, several inputs and
//! outputs, nodes read twice, movements right before and behind layers.

use super::Random;
use releqc_passes::ir::{
    AxisMap, BatchNorm, BinaryKind, Clip, Conv, ElementType, FullyConnected, Function, Graph, Node, NodeId, Op,
    Padding, Recurrent, RecurrentKind, ReduceKind, Shape, Tensor, Window,
};

/// Which operators a graph may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of them.
    Any,
    /// Those whose result moves little where their operands do: what graphs before and after a rewrite are compared
    /// with.
    Smooth,
}

/// Most values of a tensor.
const MOST_VALUES: usize = 200;

/// A graph of some 3 to 17 nodes; the same for the same seed.
pub fn random_net(seed: u64, kind: Kind) -> Graph {
    let mut net = RandomNet { random: Random(seed), kind, nodes: Vec::new(), read: Vec::new() };
    net.inputs();
    for _ in 0..2 + net.random.below(11) {
        net.grow();
    }
    net.heads();
    net.finish(format!("random {seed} {kind:?}"))
}

/// A graph under construction.
struct RandomNet {
    random: Random,
    kind: Kind,
    nodes: Vec<Node>,
    /// Whether somebody reads a node.
    read: Vec<bool>,
}

impl RandomNet {
    fn inputs(&mut self) {
        for _ in 0..[1, 1, 1, 2, 3][self.random.below(5)] {
            let shape = self.any_shape();
            self.add(Op::Input(ElementType::F32), vec![], shape);
        }
    }

    fn any_shape(&mut self) -> Shape {
        let extents = |random: &mut Random, most: &[usize]| most.iter().map(|&most| 1 + random.below(most)).collect();
        let most: &[usize] = match self.random.below(20) {
            0..=9 => &[1, 6, 6, 6],
            10..=12 => &[1, 6, 8],
            13..=14 => &[1, 24],
            15 => &[24],
            16 => &[2, 4, 3, 6],
            17 => &[3, 4, 5],
            18 => &[1, 3, 2, 4, 3],
            _ => &[],
        };
        Shape::new(extents(&mut self.random, most))
    }

    /// Layers behind some of the nodes that nobody reads, so that they are codes.
    fn heads(&mut self) {
        for index in 0..self.nodes.len() {
            if !self.read[index] && self.chance(50) {
                let x = NodeId(index);
                let x = if self.chance(50) { self.reshape(x) } else { x };
                self.dense(x, 2);
            }
        }
    }

    /// Every node that nobody reads is an output, and so are some others.
    fn finish(mut self, name: String) -> Graph {
        let mut outputs = Vec::new();
        for index in 0..self.nodes.len() {
            let unread = !self.read[index] && !self.nodes[index].is_input();
            if unread || self.random.below(12) == 0 {
                outputs.push((format!("y{index}"), NodeId(index)));
            }
        }
        if outputs.is_empty() {
            outputs.push(("y".into(), NodeId(self.nodes.len() - 1)));
        }
        Graph { name, nodes: self.nodes, outputs }
    }

    fn add(&mut self, op: Op, inputs: Vec<NodeId>, shape: Shape) -> NodeId {
        inputs.iter().for_each(|input| self.read[input.0] = true);
        let name = format!("{}{}", op.label(), self.nodes.len());
        self.nodes.push(Node { name, op, inputs, shape, activation: None });
        self.read.push(false);
        NodeId(self.nodes.len() - 1)
    }

    /// Adds a node where its operands fit it and its result is not too large.
    fn node(&mut self, op: Op, inputs: Vec<NodeId>) -> Option<NodeId> {
        let shapes: Vec<Shape> = inputs.iter().map(|&input| self.shape(input)).collect();
        let shapes: Vec<&Shape> = shapes.iter().collect();
        let shape = op.shape(&shapes, &Shape::new(vec![])).ok()?;
        (!shape.is_empty() && shape.len() <= MOST_VALUES).then(|| self.add(op, inputs, shape))
    }

    fn shape(&self, id: NodeId) -> Shape {
        self.nodes[id.0].shape.clone()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    /// A node to read: mostly one that nobody reads yet.
    fn operand(&mut self) -> NodeId {
        let unread: Vec<usize> = (0..self.nodes.len()).filter(|&index| !self.read[index]).collect();
        if !unread.is_empty() && self.chance(70) {
            return NodeId(unread[self.random.below(unread.len())]);
        }
        NodeId(self.random.below(self.nodes.len()))
    }

    /// An operand with two axes or more.
    fn matrix(&mut self) -> NodeId {
        let x = self.operand();
        if self.shape(x).rank() < 2 { self.reshape(x) } else { x }
    }

    /// An operand of four axes, under another shape where it has others.
    fn image(&mut self) -> NodeId {
        let x = self.operand();
        let shape = self.shape(x);
        let again = self.chance(if shape.rank() == 4 && shape.dims()[0] == 1 { 15 } else { 97 });
        if shape.rank() == 4 && !again {
            return x;
        }
        let mut dims = vec![1];
        dims.extend(self.factors(shape.len(), 3));
        self.add(Op::Reshape, vec![x], Shape::new(dims))
    }

    /// `count` extents of so many values.
    fn factors(&mut self, len: usize, count: usize) -> Vec<usize> {
        let mut dims = vec![1; count];
        let mut rest = len;
        for factor in 2..=len {
            while rest.is_multiple_of(factor) {
                dims[self.random.below(count)] *= factor;
                rest /= factor;
            }
        }
        dims
    }

    fn reshape(&mut self, x: NodeId) -> NodeId {
        let count = 2 + self.random.below(3);
        let mut dims = self.factors(self.shape(x).len(), count);
        if self.chance(70) {
            dims.insert(0, 1);
        }
        self.add(Op::Reshape, vec![x], Shape::new(dims))
    }

    fn tensor(&mut self, dims: Vec<usize>, scale: f32) -> Tensor {
        let values: Vec<f32> = self.random.floats(dims.iter().product()).iter().map(|v| v * scale).collect();
        Tensor::new(dims, values).unwrap()
    }

    fn constant(&mut self, dims: Vec<usize>) -> NodeId {
        let tensor = self.tensor(dims.clone(), 1.0);
        self.add(Op::Constant(tensor), vec![], Shape::new(dims))
    }

    fn clip_range(&mut self) -> Clip {
        let infinite = f32::INFINITY;
        let (min, max) = [
            (0.0, infinite),
            (0.0, infinite),
            (0.0, 0.6),
            (-0.3, 0.4),
            (-infinite, 0.2),
            (0.1, 0.5),
            (-0.5, -0.1),
            (-0.2, infinite),
        ][self.random.below(8)];
        Clip { min, max }
    }

    /// One operator more, and what belongs to it; nothing where its operands do not fit.
    fn grow(&mut self) {
        let Some(id) = self.operator() else { return };
        let node = &self.nodes[id.0];
        let moves = node.op.moves() || matches!(node.op, Op::Input(_) | Op::Constant(_));
        if self.chance(20) {
            let clip = Op::Clip(self.clip_range());
            self.node(clip, vec![id]);
        } else if !moves && self.chance(8) {
            self.nodes[id.0].activation = Some(self.clip_range());
        }
    }

    fn operator(&mut self) -> Option<NodeId> {
        match self.random.below(40) {
            0..=5 => self.conv(),
            6..=8 => self.fully_connected(),
            9 => self.flattened(),
            10..=12 => self.pool(),
            13..=15 => self.binary(),
            16..=17 => self.concat(),
            18..=19 => self.transpose(),
            20..=21 => self.gather(),
            22 => self.padded(),
            23..=25 => {
                let x = self.operand();
                Some(self.reshape(x))
            }
            26 => {
                let (x, clip) = (self.operand(), self.clip_range());
                self.node(Op::Clip(clip), vec![x])
            }
            27 => self.softmax(),
            28 => self.prelu(),
            29..=30 => self.unary(),
            31 => self.gated(),
            32 => self.batch_norm(),
            33 => self.affine(),
            34 => self.reduce(),
            35 => self.product(),
            36 => self.select(),
            37 => self.resample(),
            38 => self.recurrent(),
            _ => self.lookup(),
        }
    }

    /// A window that fits `[N, C, H, W]`; for pools one without dilation whose every position sees the image.
    fn window(&mut self, shape: &Shape, pool: bool) -> Option<Window> {
        let [images, _, height, width] = *shape.dims() else { return None };
        let kernel = [1 + self.random.below(height.min(3)), 1 + self.random.below(width.min(4))];
        let mut pads: [usize; 4] = std::array::from_fn(|side| self.random.below(kernel[side % 2]));
        if self.chance(40) {
            pads = [0; 4];
        }
        let [top, left, bottom, right] = pads;
        let mut window = Window {
            kernel,
            stride: [1 + self.random.below(2), 1 + self.random.below(2)],
            dilation: if pool { [1, 1] } else { [1 + self.random.below(2), 1 + self.random.below(2)] },
            padding: Padding { top, left, bottom, right },
        };
        if images > 1 && self.chance(97) {
            (window.kernel[0], window.stride[0]) = (1, 1);
            (window.padding.top, window.padding.bottom) = (0, 0);
        }
        let fits = window.output(height, width).is_some_and(|extents| !extents.contains(&0));
        (fits && (!pool || window.every_position_sees_image(height, width))).then_some(window)
    }

    fn conv(&mut self) -> Option<NodeId> {
        let x = self.image();
        let shape = self.shape(x);
        let window = self.window(&shape, false)?;
        let channels = shape.dims()[1];
        let divisors: Vec<usize> = (1..=channels).filter(|&groups| channels.is_multiple_of(groups)).collect();
        let groups = if self.chance(50) { 1 } else { divisors[self.random.below(divisors.len())] };
        let outputs = groups * (1 + self.random.below(3));
        let dims = vec![outputs, channels / groups, window.kernel[0], window.kernel[1]];
        let (weight, bias) = self.weight(dims);
        self.node(Op::Conv(Conv { weight, bias, window, groups, batch_norm: None }), vec![x])
    }

    /// Weights for sums of about 1, and maybe a bias.
    fn weight(&mut self, dims: Vec<usize>) -> (Tensor, Option<Vec<f32>>) {
        let outputs = dims[0];
        let depth: usize = dims[1..].iter().product();
        let weight = self.tensor(dims, 1.5 / (depth as f32).sqrt());
        (weight, self.chance(60).then(|| self.random.floats(outputs)))
    }

    fn dense(&mut self, x: NodeId, outputs: usize) -> Option<NodeId> {
        let inputs = *self.shape(x).dims().last()?;
        let (weight, bias) = self.weight(vec![outputs, inputs]);
        self.node(Op::FullyConnected(FullyConnected { weight, bias, batch_norm: None }), vec![x])
    }

    fn fully_connected(&mut self) -> Option<NodeId> {
        let (x, outputs) = (self.operand(), 1 + self.random.below(8));
        let y = self.dense(x, outputs)?;
        if self.chance(30) {
            let bias = if self.chance(50) { vec![outputs] } else { vec![1] };
            let bias = self.constant(bias);
            let operands = if self.chance(50) { vec![y, bias] } else { vec![bias, y] };
            return self.node(Op::ADD, operands);
        }
        Some(y)
    }

    /// A fully connected layer behind a flattening.
    fn flattened(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let flat = Shape::vector(self.shape(x).len());
        let x = self.add(Op::Reshape, vec![x], flat);
        let outputs = 1 + self.random.below(8);
        self.dense(x, outputs)
    }

    fn pool(&mut self) -> Option<NodeId> {
        let x = self.image();
        let mut window = self.window(&self.shape(x), true)?;
        if self.chance(20) {
            let shape = self.shape(x);
            let whole = [shape.dims()[2], shape.dims()[3]];
            if shape.dims()[0] == 1 {
                window = Window { kernel: whole, stride: [1, 1], dilation: [1, 1], padding: Padding::default() };
            }
        }
        let count_include_pad = self.chance(50);
        let op = if self.chance(50) { Op::MaxPool(window) } else { Op::AveragePool { window, count_include_pad } };
        self.node(op, vec![x])
    }

    /// Zeros around an image that a window or something else reads.
    fn padded(&mut self) -> Option<NodeId> {
        let x = self.image();
        let dims = self.shape(x).dims().to_vec();
        let around = |random: &mut Random, extent: usize| {
            let none = |count: usize| std::iter::repeat_n(None, count);
            let (before, behind) = (random.below(3), random.below(2));
            AxisMap::Indices(none(before).chain((0..extent).map(Some)).chain(none(behind)).collect())
        };
        let rows = around(&mut self.random, dims[2]);
        let columns = around(&mut self.random, dims[3]);
        let fill = [0.0, 0.0, 0.0, f32::MIN][self.random.below(4)];
        let x = if self.chance(30) { self.node(Op::Clip(Clip::RELU), vec![x])? } else { x };
        let y = self.node(Op::Gather { maps: vec![AxisMap::All, AxisMap::All, rows, columns], fill }, vec![x])?;
        let shape = self.shape(y);
        let window = self.window(&shape, true)?;
        let count_include_pad = self.chance(50);
        match self.random.below(3) {
            0 => {
                let dims = vec![2, shape.dims()[1], window.kernel[0], window.kernel[1]];
                let (weight, bias) = self.weight(dims);
                self.node(Op::Conv(Conv { weight, bias, window, groups: 1, batch_norm: None }), vec![y])
            }
            1 => self.node(Op::MaxPool(window), vec![y]),
            _ => self.node(Op::AveragePool { window, count_include_pad }, vec![y]),
        }
    }

    /// A node that broadcasts with `x`: another one, a constant, or `x`.
    fn partner(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x);
        let fits = |other: &Node| Op::ADD.shape(&[&shape, &other.shape], &shape).is_ok();
        let others: Vec<usize> = (0..self.nodes.len()).filter(|&i| i != x.0 && fits(&self.nodes[i])).collect();
        match self.random.below(10) {
            0..=5 if !others.is_empty() => NodeId(others[self.random.below(others.len())]),
            0 => x,
            _ => {
                let rank = shape.rank();
                let first = self.random.below(rank + 1);
                let kept = shape.dims()[first..].to_vec();
                let dims = kept.into_iter().map(|extent| if self.random.below(3) == 0 { 1 } else { extent }).collect();
                self.constant(dims)
            }
        }
    }

    fn either_way(&mut self, kind: BinaryKind, x: NodeId, y: NodeId) -> Option<NodeId> {
        let operands = if self.chance(50) { vec![x, y] } else { vec![y, x] };
        self.node(Op::Binary(kind), operands)
    }

    fn binary(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let y = self.partner(x);
        let kind = if self.kind == Kind::Any && self.chance(30) {
            BinaryKind::ALL[self.random.below(BinaryKind::ALL.len())]
        } else {
            use BinaryKind::{Add, Max, Min, Mul, PRelu, Sub};
            [Add, Sub, Mul, Min, Max, Add, PRelu][self.random.below(7)]
        };
        self.either_way(kind, x, y)
    }

    fn concat(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let shape = self.shape(x);
        if shape.rank() == 0 {
            return None;
        }
        let axis = self.random.below(shape.rank());
        let op = Op::Concat { axis };
        let mut parts = vec![x];
        for _ in 0..self.random.below(3) {
            let fits = |other: &Node| op.shape(&[&shape, &other.shape], &shape).is_ok();
            let others: Vec<usize> = (0..self.nodes.len()).filter(|&i| fits(&self.nodes[i])).collect();
            let other = if self.chance(25) {
                let mut dims = shape.dims().to_vec();
                dims[axis] = 1 + self.random.below(3);
                self.constant(dims)
            } else {
                NodeId(others[self.random.below(others.len())])
            };
            let at = self.random.below(parts.len() + 1);
            parts.insert(at, other);
        }
        self.node(op, parts)
    }

    fn transpose(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let mut perm: Vec<usize> = (0..self.shape(x).rank()).collect();
        for i in (1..perm.len()).rev() {
            perm.swap(i, self.random.below(i + 1));
        }
        self.node(Op::Transpose { perm }, vec![x])
    }

    fn gather(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let maps = self.shape(x).dims().iter().map(|&extent| self.axis_map(extent)).collect();
        let fill = [0.0, 0.0, 0.0, 0.5][self.random.below(4)];
        self.node(Op::Gather { maps, fill }, vec![x])
    }

    fn axis_map(&mut self, extent: usize) -> AxisMap {
        let random = &mut self.random;
        match random.below(8) {
            0 => AxisMap::strided(extent - 1, -1, extent),
            1 => {
                let first = random.below(extent);
                AxisMap::strided(first, 1, 1 + random.below(extent - first))
            }
            2 => AxisMap::strided(0, 2, extent.div_ceil(2)),
            3 => AxisMap::Indices((0..1 + random.below(5)).map(|_| Some(random.below(extent))).collect()),
            4 => {
                let count = 1 + random.below(extent + 2);
                let index = |i: usize, random: &mut Random| (random.below(4) != 0).then_some(i % extent);
                AxisMap::Indices((0..count).map(|i| index(i, random)).collect())
            }
            _ => AxisMap::All,
        }
    }

    fn softmax(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let rank = self.shape(x).rank();
        let axis = self.random.below(rank.max(1));
        let log = self.chance(25);
        self.node(Op::Softmax { axis, log }, vec![x])
    }

    /// Channels of an operand with two axes or more.
    fn channelled(&mut self) -> (NodeId, usize) {
        let x = self.matrix();
        (x, self.shape(x).dims()[1])
    }

    fn prelu(&mut self) -> Option<NodeId> {
        let (x, channels) = self.channelled();
        let slope = self.random.floats(channels);
        self.node(Op::PRelu { slope }, vec![x])
    }

    fn batch_norm(&mut self) -> Option<NodeId> {
        let (x, channels) = self.channelled();
        let norm = BatchNorm {
            gamma: self.random.floats(channels),
            beta: self.random.floats(channels),
            mean: self.random.floats(channels),
            variance: self.random.floats(channels).iter().map(|v| v.abs() + 0.3).collect(),
            epsilon: 1e-3,
        };
        self.node(Op::BatchNorm(norm), vec![x])
    }

    fn affine(&mut self) -> Option<NodeId> {
        let (x, channels) = self.channelled();
        let uniform = self.chance(30);
        let mut values = |otherwise: f32| match self.random.below(3) {
            0 => vec![otherwise; channels],
            _ if uniform => vec![self.random.float(); channels],
            _ => self.random.floats(channels),
        };
        let (mul, add) = (values(1.0), values(0.0));
        self.node(Op::ChannelAffine { mul, add }, vec![x])
    }

    fn function(&mut self) -> Function {
        use Function::*;
        let smooth = [
            Identity,
            Sigmoid,
            Tanh,
            HardSigmoid { alpha: 0.2, beta: 0.5 },
            HardSwish,
            Silu,
            Swish { alpha: 1.702 },
            LeakyRelu { alpha: 0.1 },
            Elu { alpha: 1.0 },
            Selu { alpha: 1.673, gamma: 1.05 },
            Celu { alpha: 0.75 },
            Gelu,
            GeluTanh,
            Softplus,
            Softsign,
            Mish,
            Clip { min: -0.4, max: 0.7 },
            Scale { mul: -0.5, add: 0.25 },
            Abs,
            Neg,
            Sin,
            Erf,
            Atan,
        ];
        let others = [
            Exp,
            Log,
            Sqrt,
            Reciprocal,
            Sign,
            Round,
            Floor,
            Ceil,
            Trunc,
            ThresholdedRelu { alpha: 0.3 },
            Shrink { lambd: 0.3, bias: 0.1 },
            Not,
            IsNaN,
            IsInf { negative: 1.0, positive: 0.0 },
            IsNonzero,
            Pow { exponent: 1.5 },
            PowerOf { base: 2.0 },
            ScaledTanh { alpha: 1.7, beta: 0.7 },
            Acosh,
            Tan,
        ];
        if self.kind == Kind::Any && self.chance(35) {
            others[self.random.below(others.len())]
        } else {
            smooth[self.random.below(smooth.len())]
        }
    }

    fn unary(&mut self) -> Option<NodeId> {
        let (x, function) = (self.operand(), self.function());
        self.node(Op::Unary(function), vec![x])
    }

    /// A function of one value written out in several nodes.
    fn gated(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let form = self.random.below(4);
        let mut function = |function: Function, x: NodeId| self.node(Op::Unary(function), vec![x]);
        let (kind, gate) = match form {
            0 => (BinaryKind::Mul, function(Function::Sigmoid, x)?),
            1 => (BinaryKind::Mul, function(Function::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x)?),
            2 => {
                let inner = function(Function::Softplus, x)?;
                (BinaryKind::Mul, function(Function::Tanh, inner)?)
            }
            _ => (BinaryKind::Max, function(Function::Scale { mul: 0.25, add: 0.0 }, x)?),
        };
        self.either_way(kind, x, gate)
    }

    fn reduce(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let rank = self.shape(x).rank();
        let mut axes: Vec<usize> = (0..rank).filter(|_| self.random.below(2) == 0).collect();
        if axes.is_empty() {
            axes = (0..rank).take(1).collect();
        }
        use ReduceKind::{L1, L2, LogSumExp, Max, Mean, Min, Prod, Sum, SumSquare};
        let smooth = [Mean, Sum, Max, Min, Prod, L1, L2, SumSquare, LogSumExp];
        let kind = match self.kind {
            Kind::Any => ReduceKind::ALL[self.random.below(ReduceKind::ALL.len())],
            Kind::Smooth => smooth[self.random.below(smooth.len())],
        };
        self.node(Op::Reduce { kind, axes }, vec![x])
    }

    /// A product with a transposed operand, a constant, or a node that fits.
    fn product(&mut self) -> Option<NodeId> {
        let x = self.matrix();
        let shape = self.shape(x);
        let fits = |other: &Node| Op::MatMul.shape(&[&shape, &other.shape], &shape).is_ok();
        let others: Vec<usize> = (0..self.nodes.len()).filter(|&i| fits(&self.nodes[i])).collect();
        let other = match self.random.below(4) {
            0 => self.constant(vec![shape.dims()[shape.rank() - 1], 3]),
            1 if !others.is_empty() => NodeId(others[self.random.below(others.len())]),
            _ => {
                let mut perm: Vec<usize> = (0..shape.rank()).collect();
                perm.swap(shape.rank() - 1, shape.rank() - 2);
                self.node(Op::Transpose { perm }, vec![x])?
            }
        };
        self.node(Op::MatMul, vec![x, other])
    }

    fn select(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let y = self.partner(x);
        // Constants decide in smooth graphs: what is computed may be near 0.
        let condition = match self.kind {
            Kind::Any => self.partner(x),
            Kind::Smooth => {
                let dims = self.shape(x).dims().to_vec();
                let values: Vec<f32> = (0..self.shape(x).len()).map(|_| self.random.below(2) as f32).collect();
                let shape = self.shape(x);
                self.add(Op::Constant(Tensor::new(dims, values).unwrap()), vec![], shape)
            }
        };
        self.node(Op::Select, vec![condition, x, y])
    }

    fn resample(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let shape = self.shape(x);
        if shape.rank() == 0 {
            return None;
        }
        let axis = self.random.below(shape.rank());
        let extent = shape.dims()[axis];
        let tap = |random: &mut Random| (random.below(extent), random.float());
        let taps = (0..1 + self.random.below(5))
            .map(|_| (0..1 + self.random.below(3)).map(|_| tap(&mut self.random)).collect())
            .collect();
        self.node(Op::Resample { axis, taps }, vec![x])
    }

    /// A recurrent layer behind the product of its input, with or without a state at the beginning.
    fn recurrent(&mut self) -> Option<NodeId> {
        let x = self.operand();
        let dims = self.factors(self.shape(x).len(), 3);
        let (steps, batch) = (dims[0].min(8), dims[1]);
        if steps != dims[0] {
            return None;
        }
        let rows = self.add(Op::Reshape, vec![x], Shape::new(dims));
        let kind = RecurrentKind::ALL[self.random.below(RecurrentKind::ALL.len())];
        let hidden = 1 + self.random.below(3);
        let width = kind.gates() * hidden;
        let products = self.dense(rows, width)?;
        let (weight, _) = self.weight(vec![width, hidden]);
        let peepholes = kind.initial_states() == 2 && self.chance(50);
        let functions = [Function::Sigmoid, Function::Tanh, Function::Tanh];
        let cell = Recurrent {
            kind,
            reverse: self.chance(50),
            functions: functions[..kind.functions()].to_vec(),
            clip: if self.chance(30) { 0.5 } else { f32::INFINITY },
            weight,
            bias: self.random.floats(width),
            peepholes: if peepholes { self.random.floats(3 * hidden) } else { vec![] },
        };
        let mut operands = vec![products];
        for _ in 0..self.random.below(kind.initial_states() + 1) {
            let state = self.constant(vec![batch, hidden]);
            operands.push(state);
        }
        self.node(Op::Recurrent(cell), operands)
    }

    fn lookup(&mut self) -> Option<NodeId> {
        if self.kind == Kind::Smooth {
            return self.conv();
        }
        let x = self.operand();
        let dims = if self.chance(50) { vec![4] } else { vec![4, 3] };
        let table = self.tensor(dims, 2.0);
        self.node(Op::Lookup { table }, vec![x])
    }
}
