//! The IR graph in the form training and evaluation execute: NHWC images, HWIO weights, parameters in one list.
//!
//! Does not round anything and knows no widths. A softmax that ends a network of one output is left out: training and accuracy read
//! the logits before it. Operators without a kernel here run by [`General`].

use super::general::{General, Given};
use super::kernels::convolution::{Convolution, Geometry};
use super::kernels::depthwise::Depthwise;
use super::kernels::linear::Linear;
use super::kernels::pool::{Pool, PoolKind};
use super::layers::{Permute, Product, Statistics};
use super::layout::Layout;
use crate::domain::{Domain, domains, keeps_codes, needs_codes};
use crate::float_exec::{Buffers, Operand, Single};
use crate::ir::{BatchNorm, BinaryKind, Clip, Graph, Node, NodeId, Op, Shape, Tensor, Window};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A graph that cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Nothing in it varies with its inputs.
    #[error("{node}: it does not depend on the inputs; an output that does is required")]
    Constant {
        /// Name of the output's node.
        node: String,
    },
    /// Extents that contradict each other.
    #[error("{node}: {seen}; {required}")]
    Invalid {
        /// Name of the node.
        node: String,
        /// What was found.
        seen: String,
        /// What is needed.
        required: String,
    },
}

/// A network ready to execute.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) steps: Vec<Step>,
    /// The node whose values are the logits; the first of [`ends`](Self::ends).
    pub(crate) logits: usize,
    /// The nodes of all outputs, each once.
    pub(crate) ends: Vec<usize>,
    /// The initial values of all parameters.
    pub(crate) parameters: Vec<Parameter>,
    /// The initial running statistics of all batch normalisations.
    pub(crate) statistics: Vec<Statistics>,
}

/// One node; its place in the list is its [`NodeId`].
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<usize>,
    /// Where its values lie.
    pub(crate) layout: Layout,
    pub(crate) clip: Option<Clip>,
    /// Whether an output depends on it.
    pub(crate) used: bool,
    /// Whether its values become 8-bit codes of their own.
    pub(crate) rounded: bool,
    /// Whether it only moves the codes of its input (max pooling, reshape).
    pub(crate) moves: bool,
    /// Whether it reads floats as codes, which they become on the way.
    pub(crate) encodes: bool,
}

impl Step {
    /// Values of one sample.
    pub(crate) fn len(&self) -> usize {
        self.layout.len()
    }
}

/// What a node computes, before its clip.
#[derive(Debug)]
pub(crate) enum Kind {
    Input(Input),
    /// The same values for every sample; empty where nobody reads them from here.
    Constant(Vec<f32>),
    Product(Layer),
    /// Per-channel constants.
    Affine {
        mul: Vec<f32>,
        add: Vec<f32>,
    },
    /// The input as it is, apart from clip and rounding.
    Same,
    Pool(Arc<Pool>),
    Add,
    Concat,
    /// Values in another order.
    Permute(Arc<[usize]>),
    /// The first on its inputs, each other one on the result before it and the inputs that follow.
    General(Vec<Arc<General>>),
}

/// Which values of a sample an input is.
#[derive(Debug)]
pub(crate) struct Input {
    /// Where they begin.
    first: usize,
    /// Where each comes from, where the samples lie in ONNX's order.
    from: Option<Arc<[usize]>>,
}

/// A layer with weights; numbers are places in [`Network::parameters`].
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) product: Arc<Product>,
    /// Order of its input values, where channels are not what it sums over.
    pub(crate) flatten: Option<Arc<[usize]>>,
    /// Order of its results, where channels are not what it yields.
    pub(crate) restore: Option<Arc<[usize]>>,
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) norm: Option<Norm>,
    /// Its place among the weight layers.
    pub(crate) index: usize,
}

impl Layer {
    /// Output channels, one scale each.
    pub(crate) fn outputs(&self) -> usize {
        match &*self.product {
            Product::Convolution(c) => c.geometry().output[2],
            Product::Depthwise(d) => d.geometry().output[2],
            Product::Linear(l) => l.outputs,
        }
    }
}

/// The batch normalisation of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) gamma: usize,
    pub(crate) beta: usize,
    pub(crate) epsilon: f32,
    /// Place in [`Network::statistics`].
    pub(crate) statistics: usize,
}

/// A trained vector.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) values: Vec<f32>,
    pub(crate) role: Role,
}

/// What a parameter is; weight decay applies to weights alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Weight,
    Bias,
    Norm,
    /// Steps of a weight layer's codes.
    WeightStep,
    /// Step of a tensor's codes.
    ActivationStep,
}

impl Network {
    /// Plans a graph with or without its batch normalisation folded.
    pub(crate) fn new(graph: &Graph) -> Result<Self, NetworkError> {
        let mut outputs: Vec<NodeId> = graph.outputs.iter().map(|(_, id)| *id).collect();
        if let [logits] = &mut outputs[..] {
            while let Op::Softmax { .. } = graph.node(*logits).op {
                *logits = graph.node(*logits).inputs[0];
            }
        }
        let mut ends: Vec<usize> = Vec::new();
        for id in &outputs {
            if !ends.contains(&id.0) {
                ends.push(id.0);
            }
        }
        let used = ancestors(graph, &ends);
        let domains = domains(graph, &BTreeSet::new());
        let mut network = Network {
            steps: Vec::with_capacity(graph.nodes.len()),
            logits: ends.first().copied().unwrap_or_default(),
            ends,
            parameters: Vec::new(),
            statistics: Vec::new(),
        };
        let constants = constants(graph, &used);
        let (mut layers, mut first) = (0, 0);
        let several = graph.inputs().count() > 1;
        for (id, node) in graph.iter() {
            let layout = Layout::of(&node.shape);
            let kind = match &node.op {
                Op::Input(_) => {
                    let from = if several || layout.images > 1 { layout.plain_to_own() } else { None };
                    Kind::Input(Input { first, from })
                }
                _ if constants[id.0].is_some() => Kind::Constant(Vec::new()),
                _ if used[id.0] => network.kind(graph, node, layers, &constants)?,
                _ => Kind::Same,
            };
            first += if node.is_input() { node.shape.len() } else { 0 };
            layers += usize::from(node.owns_weights());
            let is_codes = domains[id.0] == Domain::Codes;
            let moves = is_codes && keeps_codes(node);
            network.steps.push(Step {
                kind,
                inputs: node.inputs.iter().map(|i| i.0).collect(),
                layout,
                clip: clip(node),
                used: used[id.0],
                moves,
                rounded: used[id.0] && is_codes && !moves,
                encodes: needs_codes(node) && domains[node.inputs[0].0] == Domain::Float,
            });
        }
        network.demand(&constants);
        for &end in &network.ends {
            if constants[end].is_some() {
                return Err(NetworkError::Constant { node: graph.nodes[end].name.clone() });
            }
        }
        Ok(network)
    }

    /// Gives the constants that layers on the tape read their values.
    fn demand(&mut self, constants: &[Option<Vec<f32>>]) {
        let mut demanded = BTreeSet::new();
        for step in self.steps.iter().filter(|step| step.used) {
            if !matches!(step.kind, Kind::General(_) | Kind::Constant(_)) {
                demanded.extend(step.inputs.iter().copied());
            }
        }
        for node in demanded {
            if let (Some(plain), step) = (&constants[node], &mut self.steps[node]) {
                let values = match step.layout.plain_to_own() {
                    Some(from) => from.iter().map(|&i| plain[i]).collect(),
                    None => plain.clone(),
                };
                step.kind = Kind::Constant(values);
            }
        }
    }

    fn parameter(&mut self, values: Vec<f32>, role: Role) -> usize {
        self.parameters.push(Parameter { values, role });
        self.parameters.len() - 1
    }

    fn kind(
        &mut self,
        graph: &Graph,
        node: &Node,
        index: usize,
        constants: &[Option<Vec<f32>>],
    ) -> Result<Kind, NetworkError> {
        let shape = |input: usize| &graph.node(node.inputs[input]).shape;
        let layout = |input: usize| Layout::of(shape(input));
        let own = Layout::of(&node.shape);
        let varies = node.inputs.iter().all(|input| constants[input.0].is_none());
        let alike = || node.inputs.iter().all(|&input| graph.node(input).shape == node.shape);
        Ok(match &node.op {
            Op::Conv(conv) => {
                let geometry = geometry(&conv.window, conv.groups, layout(0).image, own.image);
                check(
                    node,
                    conv.weight.dims(),
                    &[
                        geometry.output[2],
                        geometry.input[2] / conv.groups.max(1),
                        geometry.kernel[0],
                        geometry.kernel[1],
                    ],
                )?;
                let weight = self.parameter(hwio(&conv.weight), Role::Weight);
                let product = match geometry.is_depthwise() {
                    true => Product::Depthwise(Depthwise::new(geometry)),
                    false => Product::Convolution(Convolution::new(geometry)),
                };
                let bias = conv.bias.clone().map(|b| self.parameter(b, Role::Bias));
                let norm = conv.batch_norm.as_ref().map(|bn| self.norm(bn));
                let product = Arc::new(product);
                Kind::Product(Layer { product, flatten: None, restore: None, weight, bias, norm, index })
            }
            Op::FullyConnected(fc) => {
                let last = |shape: &Shape| shape.dims().last().copied().unwrap_or(1);
                let (inputs, outputs) = (last(shape(0)), last(&node.shape));
                check(node, fc.weight.dims(), &[outputs, inputs])?;
                let weight = self.parameter(hwio(&fc.weight), Role::Weight);
                let product = Arc::new(Product::Linear(Linear { inputs, outputs }));
                let bias = fc.bias.clone().map(|b| self.parameter(b, Role::Bias));
                let norm = fc.batch_norm.as_ref().map(|bn| self.norm(bn));
                let (flatten, restore) = (layout(0).to_plain(), own.plain_to_own());
                Kind::Product(Layer { product, flatten, restore, weight, bias, norm, index })
            }
            Op::BatchNorm(bn) => {
                let (mul, add) = bn.affine();
                Kind::Affine { mul, add }
            }
            Op::ChannelAffine { mul, add } => Kind::Affine { mul: mul.clone(), add: add.clone() },
            Op::Clip(_) => Kind::Same,
            Op::MaxPool(window) => Kind::Pool(Arc::new(pool(window, PoolKind::Max, layout(0).image, own.image))),
            Op::AveragePool { window, count_include_pad } => {
                let kind = PoolKind::Average { count_include_pad: *count_include_pad };
                Kind::Pool(Arc::new(pool(window, kind, layout(0).image, own.image)))
            }
            Op::Binary(BinaryKind::Add) if varies && alike() => Kind::Add,
            Op::Concat { axis: 1 } if varies && node.shape.rank() > 1 => Kind::Concat,
            Op::Reshape => layout(0).reshaped(own).map_or(Kind::Same, Kind::Permute),
            _ => {
                let operand = |input: &NodeId| Given {
                    shape: &graph.node(*input).shape,
                    constant: constants[input.0].as_deref(),
                };
                let operands: Vec<Given<'_>> = node.inputs.iter().map(operand).collect();
                Kind::General(General::chain(graph, node, &operands))
            }
        })
    }

    fn norm(&mut self, bn: &BatchNorm) -> Norm {
        self.statistics.push(Statistics { mean: bn.mean.clone(), variance: bn.variance.clone() });
        Norm {
            gamma: self.parameter(bn.gamma.clone(), Role::Norm),
            beta: self.parameter(bn.beta.clone(), Role::Norm),
            epsilon: bn.epsilon,
            statistics: self.statistics.len() - 1,
        }
    }

    /// The layers with weights, each with its node, in the order of [`Graph::weight_layers`].
    pub(crate) fn layers(&self) -> impl Iterator<Item = (NodeId, &Layer)> {
        self.steps.iter().enumerate().filter_map(|(i, step)| match &step.kind {
            Kind::Product(layer) => Some((NodeId(i), layer)),
            _ => None,
        })
    }

    /// Values of one sample of all inputs.
    pub(crate) fn input_len(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.kind, Kind::Input(_))).map(Step::len).sum()
    }

    /// Whether samples lie in ONNX's order, not channels last.
    pub(crate) fn reads_plain(&self) -> bool {
        let inputs = || self.steps.iter().filter(|step| matches!(step.kind, Kind::Input(_)));
        inputs().count() > 1 || inputs().any(|step| step.layout.images > 1)
    }

    /// The values of an input in a batch.
    pub(crate) fn input_of(&self, step: &Step, input: &Input, batch: &[f32]) -> Vec<f32> {
        let (whole, len) = (self.input_len(), step.len());
        let mut values = vec![0.0; batch.len() / whole * len];
        for (sample, to) in batch.chunks_exact(whole).zip(values.chunks_exact_mut(len)) {
            let own = &sample[input.first..][..len];
            match &input.from {
                Some(from) => Permute::gather(from, own, to),
                None => to.copy_from_slice(own),
            }
        }
        values
    }

    /// Number of logits.
    pub(crate) fn classes(&self) -> usize {
        self.steps[self.logits].len()
    }
}

fn ancestors(graph: &Graph, from: &[usize]) -> Vec<bool> {
    let mut used: Vec<bool> = graph.nodes.iter().map(Node::is_input).collect();
    from.iter().for_each(|&end| used[end] = true);
    for (id, node) in graph.iter().collect::<Vec<_>>().into_iter().rev() {
        if used[id.0] {
            node.inputs.iter().for_each(|i| used[i.0] = true);
        }
    }
    used
}

/// The values, in ONNX's order, of the used nodes that no input reaches; layers with weights are none of them.
fn constants(graph: &Graph, used: &[bool]) -> Vec<Option<Vec<f32>>> {
    let mut constants: Vec<Option<Vec<f32>>> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let values = match &node.op {
            Op::Constant(tensor) => Some(tensor.data().to_vec()),
            _ if !used[id.0] || node.inputs.is_empty() || node.owns_weights() => None,
            _ => {
                let operands: Option<Vec<Operand<'_>>> = node
                    .inputs
                    .iter()
                    .map(|input| constants[input.0].as_deref().map(|v| Operand::Constant(Cow::Borrowed(v))))
                    .collect();
                let run = |operands: Vec<Operand<'_>>| {
                    Single::new(graph, node.clone()).run(&operands, 1, &mut Buffers::default())
                };
                operands.map(run)
            }
        };
        constants.push(values);
    }
    constants
}

/// The clip of a node and of a standing clip operator together.
fn clip(node: &Node) -> Option<Clip> {
    match (&node.op, node.activation) {
        (Op::Clip(own), None) => Some(*own),
        (Op::Clip(own), Some(then)) => {
            let inside = |v: f32| v.max(then.min).min(then.max);
            Some(Clip { min: inside(own.min), max: inside(own.max) })
        }
        (_, activation) => activation,
    }
}

fn check(node: &Node, seen: &[usize], required: &[usize]) -> Result<(), NetworkError> {
    if seen == required {
        return Ok(());
    }
    Err(NetworkError::Invalid {
        node: node.name.clone(),
        seen: format!("weight of extents {seen:?}"),
        required: format!("its inputs and outputs need {required:?}"),
    })
}

fn geometry(window: &Window, groups: usize, input: [usize; 3], output: [usize; 3]) -> Geometry {
    Geometry {
        input,
        output,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        before: [window.padding.top, window.padding.left],
        groups,
    }
}

fn pool(window: &Window, kind: PoolKind, input: [usize; 3], output: [usize; 3]) -> Pool {
    Pool {
        input,
        output: [output[0], output[1]],
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        before: [window.padding.top, window.padding.left],
        after: [window.padding.bottom, window.padding.right],
        kind,
    }
}

/// `[O, I, H, W]` (or `[O, I]`) to `[H, W, I, O]`.
pub(crate) fn hwio(weight: &Tensor) -> Vec<f32> {
    let (outputs, inputs, taps) = oihw(weight);
    let mut out = Vec::with_capacity(weight.data().len());
    for tap in 0..taps {
        for i in 0..inputs {
            out.extend((0..outputs).map(|o| weight.data()[(o * inputs + i) * taps + tap]));
        }
    }
    out
}

/// The way back of [`hwio`], for a weight of the extents of `like`.
pub(crate) fn from_hwio<T: Copy>(values: &[T], like: &Tensor) -> Vec<T> {
    let (outputs, inputs, taps) = oihw(like);
    let mut out = Vec::with_capacity(values.len());
    for o in 0..outputs {
        for i in 0..inputs {
            out.extend((0..taps).map(|tap| values[(tap * inputs + i) * outputs + o]));
        }
    }
    out
}

/// Output channels, inputs of each, taps.
fn oihw(weight: &Tensor) -> (usize, usize, usize) {
    let dims = weight.dims();
    (dims[0], dims[1], dims[2..].iter().product())
}
