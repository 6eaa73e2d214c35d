//! ONNX models from bytes that choose: operators, operands, attributes, constants and shapes.
//!
//! A node stays where the model with it still imports, so that most models are valid and each choice of an operator counts; every model
//! that was tried is an input of the import all the same.

use prost::Message;
use releqc_passes::import::{self, from_onnx};
use releqc_passes::onnx::onnx_protobuf::attribute_proto::AttributeType;
use releqc_passes::onnx::onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use releqc_passes::onnx::onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use std::sync::LazyLock;

/// Most nodes that are kept, and that are tried.
const MOST_NODES: usize = 7;
const MOST_TRIALS: usize = 12;

/// Most values of a constant.
const MOST_CONSTANTS: i64 = 4096;

/// Operators whose operands and attributes must fit each other. An operand is `x` a value of the network, `y` another, `w` weights of a
/// convolution, `m` a matrix for the last axis, `c` one value a channel, `l` one a position of the last axis, `s` as `x`, `b` as `x` with
/// axes of 1, `1` a scalar, `i` a few small integers, `d` extents, `p` pads, `f` positive factors, `.` none.
const ROWS: &[(&str, &str, &str)] = &[
    ("Conv", "xwc", "kernel_shape pads strides dilations group auto_pad"),
    ("Conv", "xw", "pads"),
    ("Conv", "xw", "strides"),
    ("ConvTranspose", "xw", "pads strides dilations group output_padding auto_pad"),
    ("MaxPool", "x", "kernel_shape pads strides dilations ceil_mode auto_pad"),
    ("AveragePool", "x", "kernel_shape pads strides ceil_mode count_include_pad auto_pad"),
    ("LpPool", "x", "kernel_shape pads strides p"),
    ("GlobalAveragePool", "x", ""),
    ("GlobalMaxPool", "x", ""),
    ("Gemm", "xml", "alpha beta transB"),
    ("MatMul", "xm", ""),
    ("MatMul", "xy", ""),
    ("BatchNormalization", "xcccc", "epsilon"),
    ("InstanceNormalization", "xcc", "epsilon"),
    ("LayerNormalization", "xll", "axis epsilon"),
    ("Add", "xb", ""),
    ("Add", "xy", ""),
    ("Sub", "bx", ""),
    ("Mul", "xb", ""),
    ("Mul", "xy", ""),
    ("Div", "xb", ""),
    ("Pow", "x1", ""),
    ("Max", "xb", ""),
    ("Min", "xy", ""),
    ("PRelu", "xb", ""),
    ("Where", "bxy", ""),
    ("Clip", "x11", ""),
    ("Clip", "x", "min max"),
    ("Concat", "xy", "axis"),
    ("Concat", "xs", "axis"),
    ("Split", "x", "axis num_outputs"),
    ("Slice", "xiiii", ""),
    ("Gather", "xi", "axis"),
    ("Reshape", "xd", "allowzero"),
    ("Flatten", "x", "axis"),
    ("Transpose", "x", "perm"),
    ("Squeeze", "xi", ""),
    ("Unsqueeze", "xi", ""),
    ("Pad", "xp1", "mode"),
    ("Resize", "x.f", "mode coordinate_transformation_mode nearest_mode"),
    ("Upsample", "xf", "mode"),
    ("Expand", "xd", ""),
    ("Tile", "xf", ""),
    ("ReduceMean", "xi", "keepdims"),
    ("ReduceMax", "x", "axes keepdims"),
    ("ReduceSum", "xi", "keepdims"),
    ("Softmax", "x", "axis"),
    ("LogSoftmax", "x", "axis"),
    ("DepthToSpace", "x", "blocksize mode"),
    ("SpaceToDepth", "x", "blocksize"),
    ("LeakyRelu", "x", "alpha"),
    ("Elu", "x", "alpha"),
    ("HardSigmoid", "x", "alpha beta"),
    ("Relu", "x", ""),
    ("Cast", "x", "to"),
    ("QuantizeLinear", "x11", ""),
    ("Einsum", "xy", "equation"),
];

static OPERATORS: LazyLock<Vec<&'static str>> = LazyLock::new(import::operators);

/// Bytes that choose; zeros where they have ended.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// `0..n`.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Mostly a value in -2..2.
    fn float(&mut self) -> f32 {
        match self.byte() {
            0 => 0.0,
            1 => 1.0,
            2 => self.of(&[1e-30, 1e30, 3e38, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-42, -1e10]),
            byte => f32::from(byte.cast_signed()) / 64.0,
        }
    }
}

/// A model under construction.
struct Draft {
    model: ModelProto,
    /// Names and extents of the values there are.
    values: Vec<(String, Vec<i64>)>,
    /// Names given so far.
    names: usize,
}

/// The model that the bytes choose.
pub fn network(bytes: &[u8]) -> Vec<u8> {
    let mut choices = Choices(bytes);
    let c = &mut choices;
    let opset = 7 + c.below(20) as i64;
    let rank = c.of(&[4usize, 4, 4, 2, 3, 1, 5]);
    let mut dims: Vec<i64> = (0..rank).map(|_| 1 + c.below(6) as i64).collect();
    dims[0] = c.of(&[1, 1, 1, 1, 2]);
    let mut draft = Draft::new(opset, dims);
    for _ in 0..MOST_TRIALS {
        if choices.0.is_empty() || draft.graph().node.len() >= MOST_NODES {
            break;
        }
        draft.try_node(&mut choices);
    }
    let layers = ["Conv", "Gemm", "MatMul", "ConvTranspose"];
    if !draft.graph().node.iter().any(|node| layers.contains(&node.op_type())) {
        // Without a layer there is nothing to compile.
        draft.try_layer(&mut choices);
    }
    if choices.below(4) == 1 && draft.values.len() > 2 {
        let at = choices.below(draft.values.len() - 1);
        let name = draft.values[at].0.clone();
        draft.graph().output.push(ValueInfoProto { name: Some(name), ..Default::default() });
    }
    draft.model.encode_to_vec()
}

impl Draft {
    fn new(opset: i64, dims: Vec<i64>) -> Self {
        let extent = |&dim: &i64| Dimension { value: Some(dimension::Value::DimValue(dim)), ..Default::default() };
        let shape = TensorShapeProto { dim: dims.iter().map(extent).collect() };
        let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
        let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        let input = ValueInfoProto { name: Some("x".into()), r#type: Some(kind), ..Default::default() };
        let graph = GraphProto { name: Some("network".into()), input: vec![input], ..Default::default() };
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            graph: Some(graph),
            ..Default::default()
        };
        Draft { model, values: vec![("x".into(), dims)], names: 0 }
    }

    fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.get_or_insert_default()
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    fn try_node(&mut self, c: &mut Choices<'_>) {
        // The last value is read most often.
        let at = if c.below(4) == 1 { c.below(self.values.len()) } else { self.values.len() - 1 };
        let x = self.values[at].clone();
        let (operator, operands, attributes) = match c.byte() {
            byte if byte < 200 => ROWS[usize::from(byte) % ROWS.len()],
            _ => (c.of(&OPERATORS[..]), c.of(&["x", "x", "xy", "xb", "xi", "x1", "xsc", "xxx"]), "axis mode"),
        };
        self.try_with(c, &x, operator, operands, attributes);
    }

    fn try_layer(&mut self, c: &mut Choices<'_>) {
        let x = self.values[self.values.len() - 1].clone();
        if x.1.len() < 2 || !self.try_with(c, &x, "MatMul", "xm", "") {
            let x = self.values[0].clone();
            self.try_with(c, &x, "MatMul", "xm", "");
        }
    }

    /// Adds the node where the model imports with it.
    fn try_with(
        &mut self,
        c: &mut Choices<'_>,
        x: &(String, Vec<i64>),
        operator: &str,
        operands: &str,
        attributes: &str,
    ) -> bool {
        let constants = self.graph().initializer.len();
        let input = operands.chars().map(|kind| self.operand(c, x, kind)).collect();
        let mut attribute = Vec::new();
        for name in attributes.split_whitespace() {
            if c.below(3) != 1 {
                attribute.push(attribute_of(c, name, x.1.len()));
            }
        }
        let output = self.name("v");
        let node = NodeProto {
            name: Some(self.name("n")),
            op_type: Some(operator.into()),
            input,
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        };
        let graph = self.graph();
        let before = std::mem::take(&mut graph.output);
        graph.node.push(node);
        graph.output = vec![ValueInfoProto { name: Some(output.clone()), ..Default::default() }];
        if let Ok(imported) = from_onnx(&self.model.encode_to_vec())
            && let Some(shape) = imported.outputs.first().map(|(_, id)| &imported.node(*id).shape)
        {
            let dims = shape.dims().iter().map(|&dim| dim as i64).collect();
            self.values.push((output, dims));
            return true;
        }
        let graph = self.graph();
        graph.node.pop();
        graph.initializer.truncate(constants);
        graph.output = before;
        false
    }

    /// The name of an operand, made where it is a constant.
    fn operand(&mut self, c: &mut Choices<'_>, (x, dims): &(String, Vec<i64>), kind: char) -> String {
        let rank = dims.len();
        let channels = *dims.get(1).or(dims.first()).unwrap_or(&1);
        let last = *dims.last().unwrap_or(&1);
        match kind {
            'x' => x.clone(),
            'y' => {
                let at = c.below(self.values.len());
                self.values[at].0.clone()
            }
            'w' => {
                let group = c.of(&[1, 1, 1, channels]);
                let mut dims = vec![1 + c.below(5) as i64, (channels / group).max(1)];
                dims.extend((2..rank.max(3)).map(|_| 1 + c.below(3) as i64));
                self.floats(c, dims)
            }
            'm' => {
                let outputs = 1 + c.below(6) as i64;
                let dims = if c.below(3) == 1 { vec![outputs, last] } else { vec![last, outputs] };
                self.floats(c, dims)
            }
            'c' => self.floats(c, vec![channels]),
            'l' => self.floats(c, vec![last]),
            's' => self.floats(c, dims.clone()),
            'b' => {
                let kept = c.byte();
                let skipped = c.of(&[0, 0, 1, rank]);
                let axis = |(i, &dim): (usize, &i64)| if kept >> (i % 8) & 1 == 1 { dim } else { 1 };
                let dims = dims.iter().enumerate().skip(skipped).map(axis).collect();
                self.floats(c, dims)
            }
            '1' => self.floats(c, vec![]),
            'i' => {
                let values = (0..1 + c.below(3)).map(|_| i64::from(c.of(&[0i8, 1, 2, 3, -1, -2, 4, 127]))).collect();
                self.integers(values)
            }
            'd' => self.integers(extents(c, dims)),
            'p' => {
                let pads = (0..2 * rank).map(|_| i64::from(c.of(&[0i8, 0, 0, 1, 2, -1]))).collect();
                self.integers(pads)
            }
            'f' => {
                let factors: Vec<f32> = (0..rank).map(|_| c.of(&[1.0, 1.0, 2.0, 0.5, 1.5, 3.0])).collect();
                if c.below(4) == 1 {
                    return self.integers(factors.iter().map(|&factor| factor as i64).collect());
                }
                let dims = vec![factors.len() as i64];
                self.tensor(dims, factors)
            }
            _ => String::new(),
        }
    }

    fn floats(&mut self, c: &mut Choices<'_>, dims: Vec<i64>) -> String {
        let len = dims.iter().product::<i64>().clamp(0, MOST_CONSTANTS) as usize;
        // A few values, repeated with steps: the bytes are for other choices.
        let few: Vec<f32> = (0..1 + c.below(4)).map(|_| c.float()).collect();
        let step = c.float();
        let value = |i: usize| few[i % few.len()] + if i < few.len() { 0.0 } else { step * (i % 7) as f32 };
        self.tensor(dims, (0..len).map(value).collect())
    }

    fn tensor(&mut self, dims: Vec<i64>, float_data: Vec<f32>) -> String {
        let name = self.name("c");
        let tensor =
            TensorProto { name: Some(name.clone()), dims, data_type: Some(1), float_data, ..Default::default() };
        self.graph().initializer.push(tensor);
        name
    }

    fn integers(&mut self, int64_data: Vec<i64>) -> String {
        let name = self.name("c");
        let dims = vec![int64_data.len() as i64];
        let tensor =
            TensorProto { name: Some(name.clone()), dims, data_type: Some(7), int64_data, ..Default::default() };
        self.graph().initializer.push(tensor);
        name
    }
}

/// Extents for a Reshape or Expand of a value of `dims`.
fn extents(c: &mut Choices<'_>, dims: &[i64]) -> Vec<i64> {
    let len: i64 = dims.iter().product();
    match c.below(8) {
        0 => vec![*dims.first().unwrap_or(&1), -1],
        1 => vec![0, -1, 1],
        2 => dims.iter().rev().copied().collect(),
        3 => [dims, &[1]].concat(),
        4 => vec![1, len],
        5 => {
            let mut dims = dims.to_vec();
            if !dims.is_empty() {
                let at = c.below(dims.len());
                let last = dims.len() - 1;
                dims.swap(at, last);
            }
            dims
        }
        6 => [&[-1], dims].concat(),
        _ => (0..1 + c.below(4)).map(|_| i64::from(c.of(&[-1i8, 0, 1, 2, 3, 4]))).collect(),
    }
}

/// An attribute of this name for a value of this rank.
fn attribute_of(c: &mut Choices<'_>, name: &str, rank: usize) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.into()), ..Default::default() };
    let axes = rank.saturating_sub(2).max(1);
    let ints = |c: &mut Choices<'_>, count: usize, values: &[i64]| (0..count).map(|_| c.of(values)).collect();
    let kind = match name {
        "kernel_shape" => {
            attribute.ints = ints(c, axes, &[1, 2, 3, 2, 5]);
            AttributeType::Ints
        }
        "strides" | "dilations" => {
            attribute.ints = ints(c, axes, &[1, 2, 1, 3, 0]);
            AttributeType::Ints
        }
        "pads" => {
            attribute.ints = ints(c, 2 * axes, &[0, 1, 0, 2, 1, -1]);
            AttributeType::Ints
        }
        "output_padding" => {
            attribute.ints = ints(c, axes, &[0, 1]);
            AttributeType::Ints
        }
        "axes" => {
            let count = 1 + c.below(2);
            attribute.ints = ints(c, count, &[1, 2, -1, 0, 3]);
            AttributeType::Ints
        }
        "perm" => {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            for i in (1..rank).rev() {
                perm.swap(i, c.below(i + 1));
            }
            attribute.ints = perm;
            AttributeType::Ints
        }
        "alpha" | "beta" | "min" | "max" | "epsilon" => {
            attribute.f = Some(c.float());
            AttributeType::Float
        }
        "auto_pad" => text(&mut attribute, c.of(&["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])),
        "mode" => {
            text(&mut attribute, c.of(&["constant", "reflect", "edge", "nearest", "linear", "cubic", "DCR", "CRD"]))
        }
        "coordinate_transformation_mode" => {
            let modes = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"];
            text(&mut attribute, c.of(&modes))
        }
        "nearest_mode" => text(&mut attribute, c.of(&["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])),
        "equation" => {
            text(&mut attribute, c.of(&["ij,jk->ik", "bij,bjk->bik", "bchw,bkhw->bck", "ij,ij->i", "i,j->ij"]))
        }
        "group" => {
            attribute.i = Some(c.of(&[1, 2, 3, 4, 5, 6]));
            AttributeType::Int
        }
        "to" => {
            attribute.i = Some(c.of(&[1, 10, 11, 6, 7, 9, 16]));
            AttributeType::Int
        }
        _ => {
            attribute.i = Some(c.of(&[1, 0, -1, 2, 3, -2]));
            AttributeType::Int
        }
    };
    attribute.r#type = Some(kind as i32);
    attribute
}

fn text(attribute: &mut AttributeProto, value: &str) -> AttributeType {
    attribute.s = Some(value.as_bytes().to_vec());
    AttributeType::String
}
