//! The float graph: what import produces, rewrites change, and every later stage reads.
//!
//! A graph is a list of nodes in execution order. Each node yields one tensor of f32 values. Shapes are those of ONNX for one
//! sample: a batch axis is there with extent 1. Integers and booleans of ONNX are f32 values too, exact up to 2^24.
//!
//! Invariant: nothing in this module knows ONNX, tract or Burn.

pub mod access;
mod fingerprint;
mod layer;
mod op;
mod shape;
mod tensor;
mod text;

pub use layer::Layer;
pub use op::{AxisMap, BatchNorm, Clip, Conv, FullyConnected, Op, Padding, Recurrent, Window};
pub use releqc_runtime::float::{BinaryKind, RecurrentKind, ReduceKind};
pub use releqc_runtime::function::Function;
pub use releqc_runtime::program::ElementType;
pub use tensor::Tensor;

use std::fmt;

/// Position of a node in its [`Graph`]; also names the tensor the node yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Extents of one sample's tensor as ONNX has them, the batch axis included: `[1, C, H, W]`, `[1, F]`, `[1, T, D]`, `[]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(Vec<usize>);

/// Most axes of a tensor.
pub const MAX_RANK: usize = 8;

impl Shape {
    /// Any extents, outermost first.
    pub fn new(dims: Vec<usize>) -> Self {
        Shape(dims)
    }

    /// `[1, channels, height, width]`.
    pub fn image(channels: usize, height: usize, width: usize) -> Self {
        Shape(vec![1, channels, height, width])
    }

    /// `[1, features]`.
    pub fn vector(features: usize) -> Self {
        Shape(vec![1, features])
    }

    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// True when the shape holds no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height and width of a sample: axis 1 is the channels, the last axis the width, all between them the height. F features
    /// are F channels of 1x1; a shape without a batch axis of 1 is one channel.
    pub fn chw(&self) -> [usize; 3] {
        match self.0[..] {
            [] => [1, 1, 1],
            [f] => [f, 1, 1],
            [1, f] => [f, 1, 1],
            [1, c, ref rows @ .., w] => [c, rows.iter().product(), w],
            [ref rows @ .., w] => [1, rows.iter().product(), w],
        }
    }

    /// True for `[1, features]`.
    pub fn is_vector(&self) -> bool {
        matches!(self.0[..], [1, _])
    }

    /// Extent of axis 1, the channels; 1 where there is none.
    pub fn channels(&self) -> usize {
        self.0.get(1).copied().unwrap_or(1)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        let text: Vec<_> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&text.join("x"))
    }
}

/// One operator with its ONNX name, its inputs, its output shape and the clip applied to its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// ONNX node name (its first output where the node has none); unique in the graph.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The nodes whose results it reads; all precede it.
    pub inputs: Vec<NodeId>,
    /// Shape of its result.
    pub shape: Shape,
    /// Applied to the result, after everything else (ReLU, ReLU6, Clip).
    pub activation: Option<Clip>,
}

/// A network.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// ONNX graph name.
    pub name: String,
    /// Nodes in execution order; the first are the inputs, at least one.
    pub nodes: Vec<Node>,
    /// The nodes whose results leave the network, with the ONNX names of those outputs.
    pub outputs: Vec<(String, NodeId)>,
}

impl Node {
    /// Whether it is an input of the network.
    pub fn is_input(&self) -> bool {
        matches!(self.op, Op::Input(_))
    }

    /// Whether it owns weights that get a width.
    pub fn owns_weights(&self) -> bool {
        matches!(self.op, Op::Conv(_) | Op::FullyConnected(_))
    }
}

impl Graph {
    /// The node of an id of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// All nodes with their ids, in execution order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i), n))
    }

    /// The network's inputs, in the order in which a sample holds them.
    pub fn inputs(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.iter().take_while(|(_, node)| node.is_input())
    }

    /// Values of one sample: those of all inputs.
    pub fn sample_len(&self) -> usize {
        self.inputs().map(|(_, node)| node.shape.len()).sum()
    }

    /// The shape of a sample: that of the only input, else one vector of all inputs' values.
    pub fn input_shape(&self) -> Shape {
        let mut inputs = self.inputs();
        match (inputs.next(), inputs.next()) {
            (Some((_, only)), None) => only.shape.clone(),
            _ => Shape::vector(self.sample_len()),
        }
    }

    /// The layers that own weights (conv, fully connected), in ONNX node order: what the search gives widths to.
    pub fn weight_layers(&self) -> Vec<NodeId> {
        self.iter().filter(|(_, node)| node.owns_weights()).map(|(id, _)| id).collect()
    }

    /// Per node, the nodes whose values nobody reads after it; outputs are read to the end.
    pub fn released(&self) -> Vec<Vec<NodeId>> {
        let mut last_use: Vec<usize> = (0..self.nodes.len()).collect();
        self.iter().for_each(|(id, node)| node.inputs.iter().for_each(|input| last_use[input.0] = id.0));
        self.outputs.iter().for_each(|(_, id)| last_use[id.0] = self.nodes.len());
        let mut released = vec![Vec::new(); self.nodes.len()];
        for (node, &last) in last_use.iter().enumerate().filter(|&(_, &last)| last < self.nodes.len()) {
            released[last].push(NodeId(node));
        }
        released
    }

    /// For every node, the nodes that read it (a node that reads it twice is listed twice).
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for input in &node.inputs {
                users[input.0].push(id);
            }
        }
        users
    }

    /// Multiply-accumulates of one sample through this node; 0 for nodes without weights.
    pub fn macs(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        match &node.op {
            Op::Conv(conv) => {
                let positions = node.shape.len() / conv.weight.dims()[0].max(1);
                conv.weight.data().len() as u64 * positions as u64
            }
            Op::FullyConnected(fc) => {
                let positions = node.shape.len() / fc.weight.dims()[0].max(1);
                fc.weight.data().len() as u64 * positions as u64
            }
            _ => 0,
        }
    }
}
