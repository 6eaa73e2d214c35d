//! Maps the validated nodes to the IR, one after the other.
//!
//! Takes a [`Source`] and the facts of its values; returns the graph as ONNX states it: one IR node an ONNX node, activations
//! and batch normalisation apart. Does not rewrite; padding of a Pad node is the one thing that moves, into its reader's window.

use super::error::{Finding, Problem, unsupported};
use super::infer::{Fact, Facts};
use super::operator::Operator;
use super::source::{MAX_ELEMENTS, Source, Step};
use crate::ir::{ElementType, Graph, Node, NodeId, Op, Padding, Shape};
use crate::onnx::tensor_f32;
use std::collections::BTreeMap;

/// A constant operand: an initialiser, or what tract folded.
pub(super) struct Constant {
    pub(super) dims: Vec<usize>,
    pub(super) data: Vec<f32>,
}

/// Where an ONNX value is found: the node that yields it, and zeros a Pad node adds around it.
#[derive(Clone, Copy)]
pub(super) struct Value {
    pub(super) node: NodeId,
    pub(super) padding: Padding,
}

/// The graph under construction.
pub(super) struct Builder<'a> {
    source: &'a Source,
    facts: &'a Facts,
    nodes: Vec<Node>,
    /// `None` for a value whose node was refused.
    values: BTreeMap<&'a str, Option<Value>>,
}

/// The graph, or everything that stands against it.
pub(super) fn graph(source: &Source, facts: &Facts) -> Result<Graph, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut builder = Builder { source, facts, nodes: Vec::new(), values: BTreeMap::new() };
    let input = match sample_shape(&source.input_dims) {
        Ok(shape) => builder.push(source.input.clone(), Op::Input(ElementType::F32), vec![], shape),
        Err(problem) => return Err(vec![problem.about(&source.input)]),
    };
    // A node may bear the input's name; the input is the one that gives way.
    while source.steps.iter().any(|step| step.name == builder.nodes[0].name) {
        builder.nodes[0].name.push_str(":input");
    }
    builder.values.insert(&source.input, Some(Value { node: input, padding: Padding::default() }));
    for step in &source.steps {
        if step.operator == Operator::Constant {
            continue;
        }
        let refused = step.node.input.iter().any(|name| matches!(builder.values.get(name.as_str()), Some(None)));
        let value = if refused {
            None
        } else {
            builder.map(step).map_err(|problem| findings.push(problem.about(&step.name))).ok()
        };
        builder.values.insert(&step.node.output[0], value);
    }
    let mut outputs = Vec::new();
    for name in &source.outputs {
        match builder.values.get(name.as_str()) {
            Some(Some(value)) if value.padding == Padding::default() => outputs.push((name.clone(), value.node)),
            Some(Some(_)) => {
                findings.push(unsupported("a Pad node as output; only before Conv or AveragePool").about(name))
            }
            Some(None) => {}
            None => findings.push(unsupported("an output that does not depend on the input").about(name)),
        }
    }
    if findings.is_empty() {
        Ok(Graph { name: source.graph_name.clone(), nodes: builder.nodes, outputs })
    } else {
        Err(findings)
    }
}

impl Builder<'_> {
    fn map(&mut self, step: &Step) -> Result<Value, Problem> {
        match &step.operator {
            Operator::Conv { window, groups } => self.conv(step, window, *groups),
            Operator::MaxPool(window) => self.max_pool(step, window),
            Operator::AveragePool { window, count_include_pad } => self.average_pool(step, window, *count_include_pad),
            Operator::GlobalPool { max } => self.global_pool(step, *max),
            Operator::ReduceMean { axes, keep } => self.reduce_mean(step, axes.as_deref(), *keep),
            Operator::Gemm { alpha, beta, trans_b } => self.gemm(step, *alpha, *beta, *trans_b),
            Operator::MatMul => self.mat_mul(step),
            Operator::BatchNorm { epsilon } => self.batch_norm(step, *epsilon),
            Operator::Relu => self.relu(step),
            Operator::Clip { bounds } => self.clip(step, *bounds),
            Operator::Arithmetic(arithmetic) => self.arithmetic(step, *arithmetic),
            Operator::Concat { axis } => self.concat(step, *axis),
            Operator::Reshape => self.reshape(step),
            Operator::Flatten { axis } => self.flatten(step, *axis),
            Operator::Softmax { axis, log, coerced } => self.softmax(step, *axis, *log, *coerced),
            Operator::Same => self.same(step),
            Operator::Pad { pads, value } => self.pad(step, pads.as_deref(), *value),
            Operator::Transpose { perm } => self.transpose(step, perm.as_deref()),
            Operator::Constant => Err(unsupported("a constant where an activation is required")),
        }
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<NodeId>, shape: Shape) -> NodeId {
        self.nodes.push(Node { name, op, inputs, shape, activation: None });
        NodeId(self.nodes.len() - 1)
    }

    /// Adds the node of a step, whose shape is that of the step's result.
    pub(super) fn emit(&mut self, step: &Step, op: Op, inputs: Vec<NodeId>) -> Result<Value, Problem> {
        let shape = self.result_shape(step)?;
        Ok(self.emit_as(step.name.clone(), op, inputs, shape))
    }

    /// Adds a node of a given shape.
    pub(super) fn emit_as(&mut self, name: String, op: Op, inputs: Vec<NodeId>, shape: Shape) -> Value {
        Value { node: self.push(name, op, inputs, shape), padding: Padding::default() }
    }

    /// Adds a node that yields `shape`, and a reshape where ONNX has the elements under another one.
    pub(super) fn emit_reshaped(
        &mut self,
        step: &Step,
        op: Op,
        inputs: Vec<NodeId>,
        shape: Shape,
    ) -> Result<Value, Problem> {
        let wanted = self.result_shape(step)?;
        let same = wanted == shape;
        let value = self.emit_as(step.name.clone(), op, inputs, shape);
        if same {
            return Ok(value);
        }
        Ok(self.emit_as(format!("{}:reshape", step.name), Op::Reshape, vec![value.node], wanted))
    }

    /// Facts of a value; the input's are those of the source.
    pub(super) fn fact(&self, name: &str) -> Result<&Fact, Problem> {
        self.facts.get(name).ok_or_else(|| unsupported(format!("value {name:?}; its shape is not known")))
    }

    /// Extents of the step's result, batch included.
    pub(super) fn result_dims(&self, step: &Step) -> Result<&[usize], Problem> {
        Ok(&self.fact(&step.node.output[0])?.dims)
    }

    /// Shape of one sample of the step's result.
    pub(super) fn result_shape(&self, step: &Step) -> Result<Shape, Problem> {
        let fact = self.fact(&step.node.output[0])?;
        if !fact.is_float {
            return Err(unsupported("a result that is not f32; FLOAT is required"));
        }
        sample_shape(&fact.dims)
    }

    /// The activation at an input, without pending padding.
    pub(super) fn activation(&self, step: &Step, index: usize) -> Result<NodeId, Problem> {
        let value = self.padded_activation(step, index)?;
        if value.padding != Padding::default() {
            return Err(unsupported("reads a Pad node; only Conv and AveragePool may"));
        }
        Ok(value.node)
    }

    /// The activation at an input, with the zeros a Pad node puts around it.
    pub(super) fn padded_activation(&self, step: &Step, index: usize) -> Result<Value, Problem> {
        let name = step.input(index).unwrap_or_default();
        match self.values.get(name) {
            Some(Some(value)) => Ok(*value),
            _ => Err(unsupported(format!("input {name:?} is a constant; an activation is required"))),
        }
    }

    /// Whether the value at an input depends on the network's input.
    pub(super) fn is_activation(&self, step: &Step, index: usize) -> bool {
        step.input(index).is_some_and(|name| self.values.contains_key(name))
    }

    pub(super) fn shape_of(&self, id: NodeId) -> &Shape {
        &self.nodes[id.0].shape
    }

    /// The constant at an input; `None` where the node has no such input.
    pub(super) fn constant(&self, step: &Step, index: usize) -> Result<Option<Constant>, Problem> {
        let Some(name) = step.input(index) else { return Ok(None) };
        if let Some(tensor) = self.source.constants.get(name) {
            let tensor = tensor_f32(tensor)?;
            return Ok(Some(Constant { dims: tensor.dims().to_vec(), data: tensor.data().to_vec() }));
        }
        if self.values.contains_key(name) {
            return Err(unsupported(format!("input {name:?} depends on the network's input; a constant is required")));
        }
        let fact = self.fact(name)?;
        match &fact.constant {
            Some(data) => Ok(Some(Constant { dims: fact.dims.clone(), data: data.clone() })),
            None => Err(unsupported(format!("input {name:?} could not be computed; a constant is required"))),
        }
    }

    /// The constant at an input that the operator requires.
    pub(super) fn required_constant(&self, step: &Step, index: usize) -> Result<Constant, Problem> {
        self.constant(step, index)?.ok_or_else(|| unsupported(format!("no input {index}; a constant is required")))
    }
}

/// The shape of one sample from extents with the batch first.
pub(super) fn sample_shape(dims: &[usize]) -> Result<Shape, Problem> {
    let elements = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).unwrap_or(usize::MAX);
    if elements > MAX_ELEMENTS || elements == 0 {
        return Err(unsupported(format!("result of shape {dims:?}; 1 to {MAX_ELEMENTS} elements are supported")));
    }
    match *dims {
        [1, features] => Ok(Shape::vector(features)),
        [1, channels, width] => Ok(Shape::image(channels, 1, width)),
        [1, channels, height, width] => Ok(Shape::image(channels, height, width)),
        _ => Err(unsupported(format!("result of shape {dims:?}; a batch axis and 1 to 3 more are supported"))),
    }
}
