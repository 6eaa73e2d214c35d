//! The float graph: what import produces, rewrites change, and every later stage reads.
//!
//! A graph is a list of nodes in execution order. Each node yields one tensor. Shapes are those of one sample:
//! the batch axis is never part of the IR.
//!
//! Invariant: nothing in this module knows ONNX, tract or Burn.

mod op;
mod tensor;
mod text;

pub use op::{BatchNorm, Clip, Conv, FullyConnected, Op, Padding, Window};
pub use tensor::Tensor;

use std::fmt;

/// Position of a node in its [`Graph`]; also names the tensor the node yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Shape of one sample: `[channels, height, width]` or `[features]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// `[channels, height, width]`.
    pub fn image(channels: usize, height: usize, width: usize) -> Self {
        Shape(vec![channels, height, width])
    }

    /// `[features]`.
    pub fn vector(features: usize) -> Self {
        Shape(vec![features])
    }

    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// True when the shape holds no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height and width; a vector of F features is F channels of 1x1.
    pub fn chw(&self) -> [usize; 3] {
        match self.0[..] {
            [c, h, w] => [c, h, w],
            [f] => [f, 1, 1],
            _ => unreachable!("Shape is built only by image() and vector()"),
        }
    }

    /// True for `[features]`.
    pub fn is_vector(&self) -> bool {
        self.0.len() == 1
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// A network with one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// ONNX graph name.
    pub name: String,
    /// Nodes in execution order; the first is the [`Op::Input`].
    pub nodes: Vec<Node>,
    /// The nodes whose results leave the network, with the ONNX names of those outputs.
    pub outputs: Vec<(String, NodeId)>,
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

    /// The shape of the network's input.
    pub fn input_shape(&self) -> &Shape {
        &self.nodes[0].shape
    }

    /// The layers that own weights (conv, fully connected), in ONNX node order: what the search gives widths to.
    pub fn weight_layers(&self) -> Vec<NodeId> {
        self.iter().filter(|(_, n)| matches!(n.op, Op::Conv(_) | Op::FullyConnected(_))).map(|(id, _)| id).collect()
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
                let [_, h, w] = node.shape.chw();
                conv.weight.data().len() as u64 * (h * w) as u64
            }
            Op::FullyConnected(fc) => fc.weight.data().len() as u64,
            _ => 0,
        }
    }
}
