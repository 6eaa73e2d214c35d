//! States every invariant of the float graph and collects all violations.
//!
//! Takes any [`Graph`], however broken; returns what is wrong with it. Does not change it and does not stop at the first
//! finding. It runs after import and after every rewrite.

use crate::ir::{BatchNorm, Clip, Graph, MAX_RANK, Node, NodeId, Op, Shape, Window};
use std::collections::BTreeSet;
use std::fmt;

/// Which invariant of the graph is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// The first nodes are the inputs, at least one, and no other is; they have no activation.
    Inputs,
    /// There is an output; every output is a node of the graph; output names are unique and not empty.
    Outputs,
    /// Node names are unique and not empty.
    Names,
    /// Every operand precedes its reader.
    Order,
    /// A node has as many operands as its operator takes.
    Arity,
    /// Every node but an input is read or is an output.
    NoDeadNode,
    /// The shape of a node follows from its operator and operands, and has no extent of 0.
    Shapes,
    /// Weights, biases and per-channel parameters have the extents the operator and its input require.
    Parameters,
    /// Parameters are finite; variance + epsilon is > 0.
    Finite,
    /// Kernel, stride and dilation are >= 1; the window fits the image; a pool never looks at padding alone.
    Windows,
    /// Bounds of a clip are numbers, min <= max; what only moves values has no activation.
    Clips,
}

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// Name of the node, or of the output.
    pub node: String,
    /// What was seen, then what is required.
    pub problem: String,
}

impl Violation {
    /// True for what a bad file can bring in through parameter values; everything else is a defect of this program.
    pub fn is_bad_parameter(&self) -> bool {
        matches!(self.invariant, Invariant::Finite | Invariant::Clips)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.node, self.problem, self.invariant)
    }
}

/// Everything that is wrong with a graph; empty for a sound one.
pub fn violations(graph: &Graph) -> Vec<Violation> {
    let mut verifier = Verifier { graph, found: Vec::new() };
    verifier.names();
    verifier.outputs();
    for (id, node) in graph.iter() {
        if verifier.operands(id, node) {
            verifier.parameters(node);
            verifier.shape(node);
        }
    }
    if verifier.found.iter().all(|v| !matches!(v.invariant, Invariant::Order | Invariant::Outputs)) {
        verifier.dead_nodes();
    }
    verifier.found
}

struct Verifier<'a> {
    graph: &'a Graph,
    found: Vec<Violation>,
}

impl Verifier<'_> {
    fn report(&mut self, invariant: Invariant, node: &str, problem: String) {
        self.found.push(Violation { invariant, node: node.to_owned(), problem });
    }

    fn names(&mut self) {
        let mut seen = BTreeSet::new();
        for (id, node) in self.graph.iter() {
            if node.name.is_empty() {
                self.report(Invariant::Names, &format!("%{}", id.0), "empty name; a name is required".into());
            } else if !seen.insert(&node.name) {
                self.report(Invariant::Names, &node.name, "the name of two nodes; names must be unique".into());
            }
        }
    }

    fn outputs(&mut self) {
        if self.graph.outputs.is_empty() {
            self.report(Invariant::Outputs, &self.graph.name, "no output; at least 1 is required".into());
        }
        let mut seen = BTreeSet::new();
        for (name, id) in &self.graph.outputs {
            if id.0 >= self.graph.nodes.len() {
                let problem = format!("output of node %{}; the graph has {} nodes", id.0, self.graph.nodes.len());
                self.report(Invariant::Outputs, name, problem);
            }
            if name.is_empty() || !seen.insert(name) {
                self.report(Invariant::Outputs, name, "name of an output; it must be unique and not empty".into());
            }
        }
    }

    fn dead_nodes(&mut self) {
        let users = self.graph.users();
        for (id, node) in self.graph.iter() {
            if !node.is_input() && users[id.0].is_empty() && self.graph.outputs.iter().all(|(_, output)| *output != id)
            {
                self.report(
                    Invariant::NoDeadNode,
                    &node.name,
                    "result that nobody reads; it must be read or an output".into(),
                );
            }
        }
    }

    /// Number, order and place of the input; true where the operands can be looked at.
    fn operands(&mut self, id: NodeId, node: &Node) -> bool {
        let is_input = node.is_input();
        let in_place = if is_input { self.graph.nodes[..id.0].iter().all(Node::is_input) } else { id.0 > 0 };
        if !in_place {
            let problem =
                format!("{} at position {}; the inputs, at least one, are the first nodes", node.op.label(), id.0);
            self.report(Invariant::Inputs, &node.name, problem);
        }
        if is_input && node.activation.is_some() {
            self.report(Invariant::Inputs, &node.name, "an activation on an input; it has none".into());
        }
        let arity = node.op.arity();
        let mut sound = arity.contains(&node.inputs.len());
        if !sound {
            let problem =
                format!("{} with {} operands; {} required", node.op.label(), node.inputs.len(), arity.start());
            self.report(Invariant::Arity, &node.name, problem);
        }
        for input in &node.inputs {
            if input.0 >= id.0 {
                self.report(
                    Invariant::Order,
                    &node.name,
                    format!("%{} reads %{}; operands must precede it", id.0, input.0),
                );
                sound = false;
            }
        }
        sound
    }

    fn parameters(&mut self, node: &Node) {
        let channels = node.inputs.first().map_or(0, |&input| self.graph.node(input).shape.channels());
        match &node.op {
            Op::Conv(conv) => {
                let dims = conv.weight.dims();
                let [outputs, per_group, kh, kw] = dims[..] else {
                    return self.report(
                        Invariant::Parameters,
                        &node.name,
                        format!("weight of shape {dims:?}; 4 axes are required"),
                    );
                };
                let groups = conv.groups;
                if groups == 0
                    || outputs % groups != 0
                    || per_group * groups != channels
                    || [kh, kw] != conv.window.kernel
                {
                    let problem = format!(
                        "weight of shape {dims:?} with {groups} groups and kernel {:?} on {channels} channels; they must agree",
                        conv.window.kernel
                    );
                    self.report(Invariant::Parameters, &node.name, problem);
                }
                self.values(node, "weight", conv.weight.data(), conv.weight.data().len());
                self.bias_and_norm(node, conv.bias.as_deref(), conv.batch_norm.as_ref(), outputs);
            }
            Op::FullyConnected(fc) => {
                let dims = fc.weight.dims();
                let features =
                    node.inputs.first().and_then(|&input| self.graph.node(input).shape.dims().last().copied());
                if dims.len() != 2 || Some(dims[1]) != features {
                    let features = features.unwrap_or(0);
                    let problem =
                        format!("weight of shape {dims:?} on {features} features; [outputs, {features}] is required");
                    return self.report(Invariant::Parameters, &node.name, problem);
                }
                self.values(node, "weight", fc.weight.data(), fc.weight.data().len());
                self.bias_and_norm(node, fc.bias.as_deref(), fc.batch_norm.as_ref(), dims[0]);
            }
            Op::BatchNorm(norm) => self.batch_norm(node, norm, channels),
            Op::ChannelAffine { mul, add } => {
                self.values(node, "mul", mul, channels);
                self.values(node, "add", add, channels);
            }
            Op::Clip(clip) => self.clip(node, *clip),
            Op::MaxPool(window) => self.window(node, *window, true),
            Op::AveragePool { window, .. } => {
                if window.dilation != [1, 1] {
                    let problem = format!("average pool with dilation {:?}; 1 is required", window.dilation);
                    self.report(Invariant::Windows, &node.name, problem);
                }
                self.window(node, *window, true);
            }
            Op::PRelu { slope } => self.values(node, "slope", slope, channels),
            Op::Constant(tensor) | Op::Lookup { table: tensor } => {
                self.values(node, "values", tensor.data(), tensor.data().len());
            }
            Op::Unary(function) => {
                let parameters = function.parameters();
                self.values(node, "parameters", &parameters, parameters.len());
            }
            Op::Gather { fill, .. } => self.values(node, "fill", &[*fill], 1),
            Op::Resample { taps, .. } => {
                let weights: Vec<f32> = taps.iter().flatten().map(|&(_, weight)| weight).collect();
                self.values(node, "weights", &weights, weights.len());
            }
            Op::Recurrent(recurrent) => {
                let parts =
                    [("weight", recurrent.weight.data()), ("bias", &recurrent.bias), ("P", &recurrent.peepholes)];
                for (what, values) in parts {
                    self.values(node, what, values, values.len());
                }
            }
            Op::Input(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Concat { .. }
            | Op::Transpose { .. }
            | Op::Reshape
            | Op::Reduce { .. }
            | Op::MatMul
            | Op::Softmax { .. } => {}
        }
        if let Op::Conv(conv) = &node.op {
            self.window(node, conv.window, false);
        }
        if let Some(clip) = node.activation {
            self.clip(node, clip);
            if node.op.moves() {
                let problem = format!("an activation on {}, which only moves values; it has none", node.op.label());
                self.report(Invariant::Clips, &node.name, problem);
            }
        }
    }

    fn bias_and_norm(&mut self, node: &Node, bias: Option<&[f32]>, norm: Option<&BatchNorm>, outputs: usize) {
        if let Some(bias) = bias {
            self.values(node, "bias", bias, outputs);
        }
        if let Some(norm) = norm {
            self.batch_norm(node, norm, outputs);
        }
    }

    fn batch_norm(&mut self, node: &Node, norm: &BatchNorm, channels: usize) {
        let parameters =
            [("gamma", &norm.gamma), ("beta", &norm.beta), ("mean", &norm.mean), ("variance", &norm.variance)];
        for (what, values) in parameters {
            self.values(node, what, values, channels);
        }
        if norm.variance.iter().any(|&v| (v + norm.epsilon).is_nan() || v + norm.epsilon <= 0.0) {
            let problem = format!("variance + epsilon (epsilon {:e}) of 0 or less; it must be > 0", norm.epsilon);
            self.report(Invariant::Finite, &node.name, problem);
        }
    }

    fn values(&mut self, node: &Node, what: &str, values: &[f32], required: usize) {
        if values.len() != required {
            let problem = format!("{} values of {what}; {required} are required", values.len());
            self.report(Invariant::Parameters, &node.name, problem);
        }
        if let Some((at, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            self.report(Invariant::Finite, &node.name, format!("{what}[{at}] is {value}; finite values are required"));
        }
    }

    fn clip(&mut self, node: &Node, clip: Clip) {
        if clip.min.is_nan() || clip.max.is_nan() || clip.min > clip.max {
            let problem = format!("clip to {}..{}; numbers with min <= max are required", clip.min, clip.max);
            self.report(Invariant::Clips, &node.name, problem);
        }
    }

    fn window(&mut self, node: &Node, window: Window, pool: bool) {
        let steps = [window.kernel, window.stride, window.dilation];
        if steps.iter().flatten().any(|&v| v == 0) {
            let problem =
                format!("kernel {:?}, stride {:?}, dilation {:?}; each must be >= 1", steps[0], steps[1], steps[2]);
            return self.report(Invariant::Windows, &node.name, problem);
        }
        let operand = node.inputs.first().map(|&input| &self.graph.node(input).shape);
        let Some(&[_, _, height, width]) = operand.map(Shape::dims) else { return };
        if window.output(height, width).is_none() {
            let problem = format!("window {window} on an image of {height}x{width}; it must fit");
            self.report(Invariant::Windows, &node.name, problem);
        } else if pool && !window.every_position_sees_image(height, width) {
            let problem =
                format!("pool window {window} on an image of {height}x{width}; no position may see padding alone");
            self.report(Invariant::Windows, &node.name, problem);
        }
    }

    fn shape(&mut self, node: &Node) {
        let operands: Vec<&Shape> = node.inputs.iter().map(|&input| &self.graph.node(input).shape).collect();
        let seen = &node.shape;
        if seen.is_empty() || seen.rank() > MAX_RANK {
            let problem = format!("shape {seen}; at most {MAX_RANK} extents, each >= 1, are required");
            return self.report(Invariant::Shapes, &node.name, problem);
        }
        match node.op.shape(&operands, seen) {
            Ok(required) if *seen != required => {
                self.report(Invariant::Shapes, &node.name, format!("shape {seen}; {required} is required"));
            }
            Ok(_) => {}
            // What is no window has no result.
            Err(_) if self.found.iter().any(|v| v.invariant == Invariant::Windows && v.node == node.name) => {}
            Err(problem) => self.report(Invariant::Shapes, &node.name, problem),
        }
    }
}
