//! The plan as ONNX nodes: which value stands for which tensor or float slot, in which extents.

use super::message::Message;
use super::places::Dense;
use super::{ExportError, ExportOptions, Exported, Format, Rounding, codes, floats, layer, places, rounding};
use crate::onnx::attribute::{int, ints, string};
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::onnx_protobuf::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use crate::onnx::writer::element_type;
use prost::Message as _;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::{ElementType, FloatId, Op, Port, Program, Tensor, TensorId};
use std::collections::BTreeMap;

pub(super) const OPSET: i64 = 21;
/// The version that came with operator set 21.
const IR_VERSION: i64 = 10;
const QONNX_DOMAIN: &str = "qonnx.custom_op.general";

/// Order of the values of a tensor in an ONNX value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    /// (channel, row, column).
    Channels,
    /// (row, column, channel), as the artifact has it.
    Rows,
}

/// A value that holds a tensor or a slot.
#[derive(Clone, Debug)]
struct View {
    layout: Layout,
    shape: Vec<usize>,
    value: String,
}

/// Codes as real values, or floats.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Codes, dequantized with this scale.
    Codes(TensorId, f32),
    /// A slot.
    Floats(FloatId),
}

/// Why an operator has no form; the caller names it.
pub(super) type Written = Result<(), String>;

pub(super) struct Network<'a> {
    pub(super) artifact: &'a Artifact,
    pub(super) program: &'a Program,
    pub(super) options: ExportOptions,
    pub(super) message: Message,
    tensors: Vec<Vec<View>>,
    slots: Vec<Vec<View>>,
    /// Dequantized tensors: tensor, bits of the scale, codes.
    reals: BTreeMap<(u32, u32, String), String>,
}

/// Writes an artifact.
pub(super) fn write(artifact: &Artifact, options: ExportOptions) -> Result<Exported, ExportError> {
    let program = artifact.program();
    let mut network = Network {
        artifact,
        program,
        options,
        message: Message::default(),
        tensors: vec![Vec::new(); program.tensors.len()],
        slots: vec![Vec::new(); program.floats.len()],
        reals: BTreeMap::new(),
    };
    for (port, _) in program.inputs.iter().chain(&program.outputs) {
        network.message.reserve(&port.name);
    }
    for (port, slot) in &program.inputs {
        network.input(port, *slot);
    }
    let mut operators = Vec::new();
    let mut roundings = Vec::new();
    for op in &program.ops {
        let name = name_of(program, op);
        if let Err(why) = network.operator(op, &name) {
            operators.push((name.clone(), why));
            break;
        }
        if let Some(kind) = rounding::of(op) {
            roundings.push(Rounding { name, op: op.label(), kind });
        }
    }
    if !operators.is_empty() {
        return Err(ExportError { operators });
    }
    network.outputs();
    let nodes = network.message.nodes.len();
    Ok(Exported { bytes: network.model().encode_to_vec(), nodes, roundings })
}

/// What reports call an operator: its layer, the tensor it writes, or its number among the slots.
fn name_of(program: &Program, op: &Op) -> String {
    match (op, op.writes(), op.writes_floats()) {
        (Op::Conv(conv), ..) => conv.name.clone(),
        (_, Some(y), _) => program.tensor(y).name.clone(),
        (_, _, Some(y)) => format!("{}_{}", op.label(), y.0),
        _ => op.label().to_owned(),
    }
}

impl Network<'_> {
    fn operator(&mut self, op: &Op, name: &str) -> Written {
        match op {
            Op::Conv(conv) => layer::write(self, conv),
            _ if op.is_float() => floats::write(self, op, name),
            _ => codes::write(self, op, name),
        }
    }

    fn input(&mut self, port: &Port, slot: FloatId) {
        let shape = dims(port);
        let value = match port.element {
            ElementType::F32 => port.name.clone(),
            _ => self.cast(&port.name, DataType::Float),
        };
        self.define_floats(slot, &shape, value);
    }

    /// Gives the network's outputs their names.
    fn outputs(&mut self) {
        let program = self.program;
        for (port, slot) in &program.outputs {
            let value = self.floats(*slot, &dims(port));
            let made = self.message.nodes.iter().position(|node| node.output.contains(&value));
            let is_port = program.inputs.iter().chain(&program.outputs).any(|(port, _)| port.name == value);
            if let (Some(made), ElementType::F32, false) = (made, port.element, is_port) {
                self.rename(made, &value, &port.name);
                continue;
            }
            let (op, attributes) = match port.element {
                ElementType::F32 => ("Identity", vec![]),
                element => ("Cast", vec![int("to", element_type(element) as i64)]),
            };
            self.message.node(op, &format!("{}:output", port.name), &[&value], attributes);
            if let Some(node) = self.message.nodes.last_mut() {
                node.output = vec![port.name.clone()];
            }
        }
    }

    /// Gives the value that node `made` yields another name.
    fn rename(&mut self, made: usize, from: &str, to: &str) {
        let nodes = self.message.nodes[made..].iter_mut();
        let names = nodes.flat_map(|node| node.output.iter_mut().chain(&mut node.input));
        let views = self.slots.iter_mut().flatten().map(|view| &mut view.value);
        names.chain(views).filter(|name| *name == from).for_each(|name| to.clone_into(name));
    }

    fn model(self) -> ModelProto {
        let set = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
        let mut opset_import = vec![set("", OPSET)];
        if self.options.format == Format::Qonnx {
            opset_import.push(set(QONNX_DOMAIN, 1));
        }
        let widths = self.program.convs().map(|conv| format!("{} {}", conv.name, conv.bits.bits()));
        let widths = ("releqc.widths".to_owned(), widths.collect::<Vec<_>>().join("\n"));
        let metadata = self.artifact.metadata().iter().map(|(key, value)| (key.clone(), value.clone()));
        let entry = |(key, value)| StringStringEntryProto { key: Some(key), value: Some(value) };
        ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import,
            producer_name: Some("releqc".into()),
            graph: Some(GraphProto {
                name: Some(self.artifact.metadata().get("model.name").cloned().unwrap_or_default()),
                input: self.program.inputs.iter().map(|(port, _)| value_info(port)).collect(),
                output: self.program.outputs.iter().map(|(port, _)| value_info(port)).collect(),
                node: self.message.nodes,
                initializer: self.message.initializers,
                ..Default::default()
            }),
            metadata_props: metadata.chain([widths]).map(entry).collect(),
            ..Default::default()
        }
    }

    /// Whether tensors are u8.
    pub(super) fn is_qdq(&self) -> bool {
        self.options.format == Format::Qdq
    }

    pub(super) fn cast(&mut self, x: &str, to: DataType) -> String {
        self.message.node("Cast", &format!("{x}:cast"), &[x], vec![int("to", to as i64)])
    }

    /// A value that holds a tensor: codes, or with QONNX their real values.
    pub(super) fn carrier(&mut self, id: TensorId, layout: Layout, shape: &[usize]) -> String {
        let [h, w, c] = extents(self.program.tensor(id));
        let layout = if c == 1 || h * w == 1 { Layout::Channels } else { layout };
        let views = &self.tensors[id.0 as usize];
        if let Some(view) = views.iter().find(|view| view.layout == layout && view.shape == shape) {
            return view.value.clone();
        }
        let value = if let Some(view) = views.iter().find(|view| view.layout == layout) {
            let value = view.value.clone();
            self.message.reshape(&value, shape)
        } else {
            let (other, from, to, permutation) = match layout {
                Layout::Rows => (Layout::Channels, [1, c, h, w], [1, h, w, c], vec![0, 2, 3, 1]),
                Layout::Channels => (Layout::Rows, [1, h, w, c], [1, c, h, w], vec![0, 3, 1, 2]),
            };
            let x = self.carrier(id, other, &from);
            let value = self.message.node("Transpose", &format!("{x}:moved"), &[&x], vec![ints("perm", permutation)]);
            self.tensors[id.0 as usize].push(View { layout, shape: to.to_vec(), value: value.clone() });
            if shape == to {
                return value;
            }
            self.message.reshape(&value, shape)
        };
        self.define(id, layout, shape, value.clone());
        value
    }

    /// Says which value holds a tensor.
    pub(super) fn define(&mut self, id: TensorId, layout: Layout, shape: &[usize], value: String) {
        let [h, w, c] = extents(self.program.tensor(id));
        let layout = if c == 1 || h * w == 1 { Layout::Channels } else { layout };
        self.tensors[id.0 as usize].push(View { layout, shape: shape.to_vec(), value });
    }

    /// The real values of a tensor, `(q - z) * scale`.
    pub(super) fn real(&mut self, id: TensorId, scale: f32, layout: Layout, shape: &[usize]) -> String {
        let x = self.carrier(id, layout, shape);
        let tensor = self.program.tensor(id);
        let key = (id.0, scale.to_bits(), x.clone());
        if let Some(value) = self.reals.get(&key) {
            return value.clone();
        }
        let value = if self.is_qdq() {
            let [scale, zero] = self.scale_and_zero(id, scale);
            self.message.node("DequantizeLinear", &format!("{}:real", tensor.name), &[&x, &scale, &zero], vec![])
        } else if scale.to_bits() == tensor.scale.to_bits() {
            x
        } else {
            let ratio = (f64::from(scale) / f64::from(tensor.scale)) as f32;
            let ratio = self.message.f32(&format!("{}:ratio", tensor.name), ratio);
            self.message.node("Mul", &format!("{}:rescaled", tensor.name), &[&x, &ratio], vec![])
        };
        self.reals.insert(key, value.clone());
        value
    }

    /// .. in the order of images, `[1, c, h, w]`.
    pub(super) fn image(&mut self, id: TensorId, scale: f32) -> String {
        let [h, w, c] = extents(self.program.tensor(id));
        self.real(id, scale, Layout::Channels, &[1, c, h, w])
    }

    /// Quantizes real values to the codes of a tensor, clamped to `lo..=hi`.
    pub(super) fn store(&mut self, x: &str, id: TensorId, clamp: [u8; 2], layout: Layout, shape: &[usize]) {
        let tensor = self.program.tensor(id);
        let (name, z, [lo, hi]) = (&tensor.name, tensor.zero_point, clamp);
        let real = |code: u8| (f32::from(code) - f32::from(z)) * tensor.scale;
        let mut value = x.to_owned();
        if self.is_qdq() {
            let [scale, zero] = self.scale_and_zero(id, tensor.scale);
            value = self.message.node("QuantizeLinear", &format!("{name}:codes"), &[&value, &scale, &zero], vec![]);
        }
        if clamp != [0, 255] {
            let [lo, hi] = if self.is_qdq() {
                [lo, hi].map(|code| self.message.tensor(&format!("{name}:code"), DataType::Uint8, &[], vec![code]))
            } else {
                [lo, hi].map(|code| self.message.f32(&format!("{name}:bound"), real(code)))
            };
            value = self.message.node("Clip", &format!("{name}:clipped"), &[&value, &lo, &hi], vec![]);
        }
        if !self.is_qdq() {
            let bits = (u8::BITS - hi.leading_zeros()).max(2) as u8;
            value = self.quant(&format!("{name}:quant"), &value, &[tensor.scale], &[], z, bits, false);
        }
        self.define(id, layout, shape, value);
    }

    /// A `Quant` node: real values on the grid of a scale.
    #[allow(clippy::too_many_arguments, reason = "they are the inputs of the operator")]
    pub(super) fn quant(
        &mut self,
        wanted: &str,
        x: &str,
        scales: &[f32],
        scale_dims: &[usize],
        zero_point: u8,
        bits: u8,
        weights: bool,
    ) -> String {
        let scale = self.message.f32s(&format!("{wanted}:scale"), scale_dims, scales);
        let zero = self.message.f32(&format!("{wanted}:zero_point"), zero_point.into());
        let width = self.message.f32(&format!("{wanted}:bits"), bits.into());
        let flag = i64::from(weights);
        let attributes = vec![int("signed", flag), int("narrow", flag), string("rounding_mode", "ROUND")];
        self.message.nodes_of(QONNX_DOMAIN, "Quant", wanted, &[x, &scale, &zero, &width], attributes, 1).remove(0)
    }

    /// Scale and zero point of a tensor as initializers.
    fn scale_and_zero(&mut self, id: TensorId, scale: f32) -> [String; 2] {
        let tensor = self.program.tensor(id);
        let (name, zero) = (&tensor.name, vec![tensor.zero_point]);
        let zero = self.message.tensor(&format!("{name}:zero_point"), DataType::Uint8, &[], zero);
        [self.message.f32(&format!("{name}:scale"), scale), zero]
    }

    /// The codes of a tensor as i32.
    pub(super) fn indices(&mut self, id: TensorId, layout: Layout, shape: &[usize]) -> String {
        let tensor = self.program.tensor(id);
        let x = self.carrier(id, layout, shape);
        if self.is_qdq() {
            return self.cast(&x, DataType::Int32);
        }
        let name = &tensor.name;
        let scale = self.message.f32(&format!("{name}:scale"), tensor.scale);
        let zero = self.message.f32(&format!("{name}:zero"), tensor.zero_point.into());
        let steps = self.message.node("Div", &format!("{name}:steps"), &[&x, &scale], vec![]);
        let codes = self.message.node("Add", &format!("{name}:shifted"), &[&steps, &zero], vec![]);
        let codes = self.message.node("Round", &format!("{name}:round"), &[&codes], vec![]);
        self.cast(&codes, DataType::Int32)
    }

    /// Codes as an initializer: u8, or with QONNX what they stand for.
    pub(super) fn stored_codes(&mut self, wanted: &str, of: TensorId, dims: &[usize], codes: &[u8]) -> String {
        let tensor = self.program.tensor(of);
        if self.is_qdq() {
            return self.message.tensor(wanted, DataType::Uint8, dims, codes.to_vec());
        }
        let z = f32::from(tensor.zero_point);
        let values: Vec<f32> = codes.iter().map(|&code| (f32::from(code) - z) * tensor.scale).collect();
        self.message.f32s(wanted, dims, &values)
    }

    /// A value that holds a slot in these extents.
    pub(super) fn floats(&mut self, id: FloatId, shape: &[usize]) -> String {
        let views = &self.slots[id.0 as usize];
        if let Some(view) = views.iter().find(|view| view.shape == shape) {
            return view.value.clone();
        }
        let from = views.first().map(|view| view.value.clone()).unwrap_or_default();
        let value = self.message.reshape(&from, shape);
        self.define_floats(id, shape, value.clone());
        value
    }

    /// The extents in which a slot was made.
    pub(super) fn extents_of(&self, id: FloatId) -> Vec<usize> {
        self.slots[id.0 as usize].first().map_or_else(Vec::new, |view| view.shape.clone())
    }

    /// A result of several operands in all of its extents: repeated along axes that no operand has.
    pub(super) fn whole(&mut self, x: String, extents: &[u32], strides: &[&[u32]]) -> String {
        let repeats = |axis: usize| extents[axis] > 1 && strides.iter().all(|strides| strides[axis] == 0);
        if !(0..extents.len()).any(repeats) {
            return x;
        }
        self.expanded(&x, &widened(extents))
    }

    pub(super) fn expanded(&mut self, x: &str, shape: &[usize]) -> String {
        let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let target = self.message.i64s(&format!("{x}:shape"), &shape);
        self.message.node("Expand", &format!("{x}:expanded"), &[x, &target], vec![])
    }

    pub(super) fn define_floats(&mut self, id: FloatId, shape: &[usize], value: String) {
        self.slots[id.0 as usize].push(View { layout: Layout::Channels, shape: shape.to_vec(), value });
    }

    fn source(&mut self, source: Source, shape: &[usize]) -> String {
        match source {
            Source::Codes(id, scale) => self.real(id, scale, Layout::Rows, shape),
            Source::Floats(id) => self.floats(id, shape),
        }
    }

    /// An operand in extents that ONNX broadcasts to those of the operation.
    pub(super) fn strided(&mut self, source: Source, extents: &[u32], strides: &[u32]) -> String {
        let (extents, strides) = (widened(extents), widened(strides));
        let len = match source {
            Source::Codes(id, _) => self.program.tensor(id).len(),
            Source::Floats(id) => self.program.float_len(id),
        };
        let Some(dense) = Dense::of(&extents, &strides, len) else {
            let flat = self.source(source, &[len]);
            let walked: Vec<i64> = places::walked(&extents, &strides).into_iter().map(|p| p as i64).collect();
            let indices = self.message.i64s(&format!("{flat}:places"), &walked);
            let gathered = self.message.node("Gather", &format!("{flat}:gathered"), &[&flat, &indices], vec![]);
            return self.message.reshape(&gathered, &extents);
        };
        if dense.is_in_order() {
            return self.source(source, &dense.shape);
        }
        let x = self.source(source, &dense.source);
        let permutation = dense.permutation.iter().map(|&p| p as i64).collect();
        let moved = self.message.node("Transpose", &format!("{x}:moved"), &[&x], vec![ints("perm", permutation)]);
        self.message.reshape(&moved, &dense.shape)
    }
}

pub(super) fn widened(values: &[u32]) -> Vec<usize> {
    values.iter().map(|&v| v as usize).collect()
}

/// Rows, columns and channels.
pub(super) fn extents(tensor: &Tensor) -> [usize; 3] {
    [tensor.height, tensor.width, tensor.channels].map(|extent| extent as usize)
}

fn dims(port: &Port) -> Vec<usize> {
    widened(&port.dims)
}

fn value_info(port: &Port) -> ValueInfoProto {
    let fixed = |&d: &u32| Dimension { value: Some(dimension::Value::DimValue(d.into())), ..Default::default() };
    let shape = TensorShapeProto { dim: port.dims.iter().map(fixed).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element_type(port.element) as i32), shape: Some(shape) };
    ValueInfoProto {
        name: Some(port.name.clone()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}
