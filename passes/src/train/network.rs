//! The IR graph in the form training and evaluation execute: NHWC images, HWIO weights, parameters in one list.
//!
//! Does not round anything and knows no widths. A softmax that ends the network is left out: training and accuracy read
//! the logits before it.

use super::kernels::convolution::{Convolution, Geometry};
use super::kernels::depthwise::Depthwise;
use super::kernels::linear::Linear;
use super::kernels::pool::{Pool, PoolKind};
use super::layers::{Product, Statistics};
use crate::ir::{BatchNorm, BinaryKind, Clip, Graph, Node, NodeId, Op, Tensor, Window};
use std::sync::Arc;

/// A graph that cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The operator has no training form.
    #[error("{node}: {label} in the middle of the network cannot be retrained; it may only end it")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// Its operator.
        label: &'static str,
    },
    /// More or fewer than one output.
    #[error("the network has {0} outputs; retraining needs exactly 1")]
    Outputs(usize),
    /// More than one input.
    #[error("the network has {0} inputs; retraining needs exactly 1")]
    Inputs(usize),
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
    /// The node whose values are the logits.
    pub(crate) logits: usize,
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
    /// Height, width, channels; a vector is 1x1.
    pub(crate) image: [usize; 3],
    pub(crate) clip: Option<Clip>,
    /// Whether the logits depend on it.
    pub(crate) used: bool,
    /// Whether its values become 8-bit codes of their own.
    pub(crate) rounded: bool,
    /// Whether it only moves the codes of its input (max pooling, reshape).
    pub(crate) moves: bool,
}

impl Step {
    /// Values of one sample.
    pub(crate) fn len(&self) -> usize {
        self.image.iter().product()
    }
}

/// What a node computes, before its clip.
#[derive(Debug)]
pub(crate) enum Kind {
    Input,
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
}

/// A layer with weights; numbers are places in [`Network::parameters`].
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) product: Arc<Product>,
    /// Order of its input values, where an image is read as a vector.
    pub(crate) flatten: Option<Arc<[usize]>>,
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) norm: Option<Norm>,
    /// Its place among the weight layers.
    pub(crate) index: usize,
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
        let [(_, output)] = &graph.outputs[..] else {
            return Err(NetworkError::Outputs(graph.outputs.len()));
        };
        let inputs = graph.inputs().count();
        if inputs != 1 {
            return Err(NetworkError::Inputs(inputs));
        }
        let mut logits = *output;
        while let Op::Softmax { .. } = graph.node(logits).op {
            logits = graph.node(logits).inputs[0];
        }
        let used = ancestors(graph, logits);
        let float = float_results(graph);
        let mut network =
            Network { steps: Vec::new(), logits: logits.0, parameters: Vec::new(), statistics: Vec::new() };
        let mut layers = 0;
        for (id, node) in graph.iter() {
            let kind = if used[id.0] { network.kind(graph, node, layers)? } else { Kind::Same };
            layers += usize::from(matches!(node.op, Op::Conv(_) | Op::FullyConnected(_)));
            let moves = matches!(node.op, Op::MaxPool(_) | Op::Reshape);
            network.steps.push(Step {
                kind,
                inputs: node.inputs.iter().map(|i| i.0).collect(),
                image: hwc(node),
                clip: clip(node),
                used: used[id.0],
                moves,
                rounded: used[id.0] && !moves && !float[id.0],
            });
        }
        Ok(network)
    }

    fn parameter(&mut self, values: Vec<f32>, role: Role) -> usize {
        self.parameters.push(Parameter { values, role });
        self.parameters.len() - 1
    }

    fn kind(&mut self, graph: &Graph, node: &Node, index: usize) -> Result<Kind, NetworkError> {
        let image = |input: usize| hwc(graph.node(node.inputs[input]));
        Ok(match &node.op {
            Op::Input(_) => Kind::Input,
            Op::Conv(conv) => {
                let geometry = geometry(&conv.window, conv.groups, image(0), hwc(node));
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
                Kind::Product(Layer { product: Arc::new(product), flatten: None, weight, bias, norm, index })
            }
            Op::FullyConnected(fc) => {
                let inputs = image(0).iter().product();
                check(node, fc.weight.dims(), &[node.shape.len(), inputs])?;
                let weight = self.parameter(hwio(&fc.weight), Role::Weight);
                let product = Arc::new(Product::Linear(Linear { inputs, outputs: node.shape.len() }));
                let bias = fc.bias.clone().map(|b| self.parameter(b, Role::Bias));
                let norm = fc.batch_norm.as_ref().map(|bn| self.norm(bn));
                let flatten = reorder(image(0), [1, 1, inputs]);
                Kind::Product(Layer { product, flatten, weight, bias, norm, index })
            }
            Op::BatchNorm(bn) => {
                let (mul, add) = bn.affine();
                Kind::Affine { mul, add }
            }
            Op::ChannelAffine { mul, add } => Kind::Affine { mul: mul.clone(), add: add.clone() },
            Op::Clip(_) => Kind::Same,
            Op::MaxPool(window) => Kind::Pool(Arc::new(pool(window, PoolKind::Max, image(0), hwc(node)))),
            Op::AveragePool { window, count_include_pad } => {
                let kind = PoolKind::Average { count_include_pad: *count_include_pad };
                Kind::Pool(Arc::new(pool(window, kind, image(0), hwc(node))))
            }
            Op::Binary(BinaryKind::Add) => Kind::Add,
            Op::Concat { .. } => Kind::Concat,
            Op::Reshape => reorder(image(0), hwc(node)).map_or(Kind::Same, Kind::Permute),
            _ => {
                return Err(NetworkError::Unsupported { node: node.name.clone(), label: node.op.label() });
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

    /// Values of one input sample.
    pub(crate) fn input_len(&self) -> usize {
        self.steps[0].len()
    }

    /// Number of logits.
    pub(crate) fn classes(&self) -> usize {
        self.steps[self.logits].len()
    }
}

/// The nodes whose results the integer artifact gives as f32: floats can leave them and nothing needs their codes.
/// The rule of the quantizer, see docs/quantization.md.
fn float_results(graph: &Graph) -> Vec<bool> {
    let users = graph.users();
    let owns_weights = |id: NodeId| matches!(graph.node(id).op, Op::Conv(_) | Op::FullyConnected(_));
    let mut float = vec![false; graph.nodes.len()];
    for (id, node) in graph.iter().collect::<Vec<_>>().into_iter().rev() {
        let capable = match node.op {
            Op::Conv(_) | Op::FullyConnected(_) | Op::Reshape => node.activation.is_none(),
            Op::Softmax { .. } => true,
            _ => false,
        };
        float[id.0] = capable && users[id.0].iter().all(|&user| float[user.0] && !owns_weights(user));
    }
    float
}

fn ancestors(graph: &Graph, from: NodeId) -> Vec<bool> {
    let mut used = vec![false; graph.nodes.len()];
    used[0] = true;
    used[from.0] = true;
    for (id, node) in graph.iter().collect::<Vec<_>>().into_iter().rev() {
        if used[id.0] {
            node.inputs.iter().for_each(|i| used[i.0] = true);
        }
    }
    used
}

fn hwc(node: &Node) -> [usize; 3] {
    let [c, h, w] = node.shape.chw();
    [h, w, c]
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

/// Where each NHWC value of `to` comes from in `from`, both in (channel, row, column) order; `None` where nothing moves.
fn reorder(from: [usize; 3], to: [usize; 3]) -> Option<Arc<[usize]>> {
    let mut table = Vec::with_capacity(to.iter().product());
    for y in 0..to[0] {
        for x in 0..to[1] {
            for c in 0..to[2] {
                let plain = (c * to[0] + y) * to[1] + x;
                let (channel, cell) = (plain / (from[0] * from[1]), plain % (from[0] * from[1]));
                table.push(cell * from[2] + channel);
            }
        }
    }
    let moves = table.iter().enumerate().any(|(i, &t)| i != t);
    moves.then(|| table.into())
}
