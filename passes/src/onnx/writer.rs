//! A float graph as an ONNX file.
//!
//! Takes a verified graph; returns the same bytes for the same graph and metadata. Importing them gives the graph back; parts
//! of a node that ONNX has as nodes of their own (batch normalisation inside a layer, `activation`, the flattening of a fully
//! connected layer's input) become nodes named `{node}:{part}`, which canonicalisation joins again.
//! The batch axis is the symbol `N`, the operator set 17.

mod operators;

use super::attribute::{float, int, ints as attribute};
use super::onnx_protobuf::tensor_proto::DataType;
use super::onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use super::onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::ir::{BatchNorm, Clip, ElementType, Graph, Node, Op, Shape, Window};
use prost::Message;
use std::collections::BTreeSet;

/// An operator that has no ONNX form here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {label} cannot be written as an annotated network yet")]
pub struct Unwritable {
    /// ONNX node name.
    pub node: String,
    /// Its operator.
    pub label: &'static str,
}

const OPSET: i64 = 17;
/// The version that came with operator set 17.
const IR_VERSION: i64 = 8;

/// The bytes of `graph` as an ONNX model, with `metadata` as its `metadata_props`.
///
/// # Errors
/// [`Unwritable`] for the first node whose operator has no ONNX form here.
pub fn write(graph: &Graph, metadata: &[(String, String)]) -> Result<Vec<u8>, Unwritable> {
    let mut writer = Writer::of(graph);
    for (index, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<String> = node.inputs.iter().map(|input| writer.values[input.0].clone()).collect();
        let value = writer.node(graph, index, node, &inputs)?;
        writer.values.push(value);
    }
    for (position, (name, id)) in graph.outputs.iter().enumerate() {
        // A node writes its first output's name itself; further names are copies.
        let node = graph.node(*id);
        if node.is_input() && node.name == *name {
            continue;
        }
        if graph.outputs.iter().position(|(_, other)| other == id) != Some(position) || node.is_input() {
            let source = writer.values[id.0].clone();
            let copy = writer.unique(&format!("{name}:copy"));
            writer.push(&copy, "Identity", vec![source], name.clone(), vec![]);
        }
    }
    let outputs =
        graph.outputs.iter().map(|(name, id)| value_info(name, &graph.node(*id).shape, DataType::Float)).collect();
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some("releqc".into()),
        graph: Some(GraphProto {
            name: Some(graph.name.clone()),
            input: graph
                .inputs()
                .map(|(_, node)| value_info(&node.name, &node.shape, element_type_of(&node.op)))
                .collect(),
            output: outputs,
            node: writer.nodes,
            initializer: writer.initializers,
            ..Default::default()
        }),
        metadata_props: metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) })
            .collect(),
        ..Default::default()
    };
    Ok(model.encode_to_vec())
}

struct Writer {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// The ONNX value of each node written so far.
    values: Vec<String>,
    /// Names of nodes and values that are taken.
    taken: BTreeSet<String>,
}

impl Writer {
    fn of(graph: &Graph) -> Self {
        let names = graph.nodes.iter().map(|node| node.name.clone());
        let taken = names.chain(graph.outputs.iter().map(|(name, _)| name.clone())).collect();
        Writer { nodes: Vec::new(), initializers: Vec::new(), values: Vec::new(), taken }
    }

    /// A name nothing has, as close to `wanted` as possible.
    fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            name.push('\'');
        }
        name
    }

    fn push(&mut self, name: &str, op_type: &str, input: Vec<String>, output: String, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input,
            output: vec![output],
            name: Some(name.to_owned()),
            op_type: Some(op_type.to_owned()),
            attribute,
            ..Default::default()
        });
    }

    fn floats(&mut self, wanted: &str, dims: &[usize], values: &[f32]) -> String {
        let name = self.unique(wanted);
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(&name, DataType::Float, dims, raw);
        name
    }

    fn tensor(&mut self, name: &str, kind: DataType, dims: &[usize], raw: Vec<u8>) {
        self.initializers.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: Some(kind as i32),
            raw_data: Some(raw),
            ..Default::default()
        });
    }

    /// Writes one node of the graph as one or more of ONNX; returns the value that stands for it.
    fn node(&mut self, graph: &Graph, index: usize, node: &Node, inputs: &[String]) -> Result<String, Unwritable> {
        if node.is_input() {
            return Ok(node.name.clone());
        }
        let x = inputs.to_vec();
        let mut parts: Vec<Part> = Vec::new();
        let name = node.name.as_str();
        match &node.op {
            Op::Input(_) => {}
            Op::Constant(tensor) => return Ok(self.floats(name, tensor.dims(), tensor.data())),
            Op::Conv(conv) => {
                let mut operands = x;
                operands.push(self.floats(&format!("{name}.weight"), conv.weight.dims(), conv.weight.data()));
                operands
                    .extend(conv.bias.as_ref().map(|bias| self.floats(&format!("{name}.bias"), &[bias.len()], bias)));
                let mut attributes = window_attributes(&conv.window, true);
                attributes.push(int("group", conv.groups as i64));
                parts.push(Part::new("", "Conv", operands, attributes));
                self.batch_norm(&mut parts, "bn", name, conv.batch_norm.as_ref());
            }
            Op::FullyConnected(fc) => {
                let flat = graph.node(node.inputs[0]).shape.rank() == 2;
                let weight = self.floats(&format!("{name}.weight"), fc.weight.dims(), fc.weight.data());
                let mut operands = [x, vec![weight]].concat();
                operands.extend(fc.bias.as_ref().map(|bias| self.floats(&format!("{name}.bias"), &[bias.len()], bias)));
                if !flat {
                    return Err(Unwritable { node: node.name.clone(), label: node.op.label() });
                }
                parts.push(Part::new("", "Gemm", operands, vec![int("transB", 1)]));
                self.batch_norm(&mut parts, "bn", name, fc.batch_norm.as_ref());
            }
            Op::BatchNorm(norm) => {
                self.batch_norm(&mut parts, "", name, Some(norm));
                parts[0].operands.splice(0..0, x);
            }
            Op::ChannelAffine { mul, add } => self.affine(&mut parts, node, x, mul, add),
            Op::Clip(clip) => {
                self.clip(&mut parts, "", name, *clip);
                parts[0].operands.splice(0..0, x);
            }
            Op::MaxPool(window) => parts.push(Part::new("", "MaxPool", x, window_attributes(window, true))),
            Op::AveragePool { window, count_include_pad } => {
                let mut attributes = window_attributes(window, false);
                attributes.push(int("count_include_pad", i64::from(*count_include_pad)));
                parts.push(Part::new("", "AveragePool", x, attributes));
            }
            Op::Reshape => self.reshape(&mut parts, "", name, x, &node.shape),
            _ => match operators::parts(self, node, x) {
                Some(own) => parts = own,
                None => return Err(Unwritable { node: node.name.clone(), label: node.op.label() }),
            },
        }
        if let Some(clip) = node.activation {
            self.clip(&mut parts, "clip", name, clip);
        }
        Ok(self.chain(graph, index, name, parts))
    }

    /// Writes the parts one after the other; each but the first reads the one before as its first operand.
    fn chain(&mut self, graph: &Graph, index: usize, name: &str, parts: Vec<Part>) -> String {
        let last = parts.len() - 1;
        let mut before: Option<String> = None;
        for (position, part) in parts.into_iter().enumerate() {
            let node_name =
                if part.suffix.is_empty() { name.to_owned() } else { self.unique(&format!("{name}:{}", part.suffix)) };
            let output = graph
                .outputs
                .iter()
                .find(|(_, id)| position == last && id.0 == index)
                .map(|(output, _)| output.clone());
            let value = match output {
                Some(output) => output,
                // The node's own name is free as a value unless an output of another node has it.
                None if graph.outputs.iter().all(|(output, _)| *output != node_name) => node_name.clone(),
                None => self.unique(&format!("{node_name}:value")),
            };
            let operands = before.take().into_iter().chain(part.operands).collect();
            self.push(&node_name, part.op_type, operands, value.clone(), part.attributes);
            before = Some(value);
        }
        before.unwrap_or_default()
    }

    fn batch_norm(&mut self, parts: &mut Vec<Part>, suffix: &'static str, name: &str, norm: Option<&BatchNorm>) {
        let Some(norm) = norm else { return };
        let vectors =
            [("gamma", &norm.gamma), ("beta", &norm.beta), ("mean", &norm.mean), ("variance", &norm.variance)];
        let operands = vectors.map(|(what, values)| self.floats(&format!("{name}.{what}"), &[values.len()], values));
        parts.push(Part::new(suffix, "BatchNormalization", operands.to_vec(), vec![float("epsilon", norm.epsilon)]));
    }

    fn clip(&mut self, parts: &mut Vec<Part>, suffix: &'static str, name: &str, clip: Clip) {
        if clip == Clip::RELU {
            return parts.push(Part::new(suffix, "Relu", vec![], vec![]));
        }
        let mut operands = vec![String::new(); 2];
        if clip.min != f32::NEG_INFINITY {
            operands[0] = self.floats(&format!("{name}.min"), &[], &[clip.min]);
        }
        if clip.max != f32::INFINITY {
            operands[1] = self.floats(&format!("{name}.max"), &[], &[clip.max]);
        }
        while operands.last().is_some_and(String::is_empty) {
            operands.pop();
        }
        parts.push(Part::new(suffix, "Clip", operands, vec![]));
    }

    fn affine(&mut self, parts: &mut Vec<Part>, node: &Node, x: Vec<String>, mul: &[f32], add: &[f32]) {
        let mut dims = vec![1; node.shape.rank().saturating_sub(1)];
        dims[0] = mul.len();
        let name = &node.name;
        let scales = mul.iter().any(|&m| m != 1.0);
        if mul.iter().all(|&m| m == -1.0) {
            let minuend = self.floats(&format!("{name}.minuend"), &dims, add);
            return parts.push(Part::new("", "Sub", [vec![minuend], x].concat(), vec![]));
        }
        let mut operands = x;
        if scales {
            operands.push(self.floats(&format!("{name}.mul"), &dims, mul));
            parts.push(Part::new("", "Mul", std::mem::take(&mut operands), vec![]));
        }
        if !scales || add.iter().any(|&a| a != 0.0) {
            operands.push(self.floats(&format!("{name}.add"), &dims, add));
            parts.push(Part::new(if scales { "add" } else { "" }, "Add", operands, vec![]));
        }
    }

    fn reshape(&mut self, parts: &mut Vec<Part>, suffix: &'static str, name: &str, x: Vec<String>, shape: &Shape) {
        if shape.is_vector() {
            return parts.push(Part::new(suffix, "Flatten", x, vec![int("axis", 1)]));
        }
        // 0 keeps the batch.
        let extent = |(axis, &d): (usize, &usize)| if axis == 0 && d == 1 { 0 } else { d as i64 };
        let raw: Vec<u8> = shape.dims().iter().enumerate().map(extent).flat_map(i64::to_le_bytes).collect();
        let target = self.unique(&format!("{name}.shape"));
        self.tensor(&target, DataType::Int64, &[shape.rank()], raw);
        parts.push(Part::new(suffix, "Reshape", [x, vec![target]].concat(), vec![]));
    }
}

/// One ONNX node of a chain, without its name and result.
struct Part {
    /// Empty for the part that bears the node's name.
    suffix: &'static str,
    op_type: &'static str,
    operands: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl Part {
    fn new(
        suffix: &'static str,
        op_type: &'static str,
        operands: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> Self {
        Part { suffix, op_type, operands, attributes }
    }
}

fn element_type_of(op: &Op) -> DataType {
    if let Op::Input(element) = op { element_type(*element) } else { DataType::Float }
}

/// The ONNX type of an element.
pub(crate) fn element_type(element: ElementType) -> DataType {
    match element {
        ElementType::F32 => DataType::Float,
        ElementType::F16 => DataType::Float16,
        ElementType::Bf16 => DataType::Bfloat16,
        ElementType::F64 => DataType::Double,
        ElementType::I8 => DataType::Int8,
        ElementType::U8 => DataType::Uint8,
        ElementType::I16 => DataType::Int16,
        ElementType::U16 => DataType::Uint16,
        ElementType::I32 => DataType::Int32,
        ElementType::U32 => DataType::Uint32,
        ElementType::I64 => DataType::Int64,
        ElementType::U64 => DataType::Uint64,
        ElementType::Bool => DataType::Bool,
    }
}

fn value_info(name: &str, shape: &Shape, element: DataType) -> ValueInfoProto {
    let batch = Dimension { value: Some(dimension::Value::DimParam("N".into())), ..Default::default() };
    let fixed = |&d: &usize| Dimension { value: Some(dimension::Value::DimValue(d as i64)), ..Default::default() };
    let dim = match shape.dims() {
        [1, sample @ ..] => std::iter::once(batch).chain(sample.iter().map(fixed)).collect(),
        dims => dims.iter().map(fixed).collect(),
    };
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn window_attributes(window: &Window, dilations: bool) -> Vec<AttributeProto> {
    let p = window.padding;
    let mut attributes = vec![
        ints("kernel_shape", &window.kernel),
        ints("strides", &window.stride),
        ints("pads", &[p.top, p.left, p.bottom, p.right]),
    ];
    if dilations {
        attributes.push(ints("dilations", &window.dilation));
    }
    attributes
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    attribute(name, values.iter().map(|&v| v as i64).collect())
}
