//! ONNX models node by node, good and bad ones, from the messages.

use prost::Message;
use releqc_passes::onnx::onnx_protobuf::attribute_proto::AttributeType;
use releqc_passes::onnx::onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use releqc_passes::onnx::onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// A model under construction; the fields stay open, so that tests can break them.
pub struct Model {
    pub proto: ModelProto,
}

/// An attribute's value.
pub enum Attr {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Text(&'static str),
    Texts(Vec<&'static str>),
}

impl Model {
    /// A model with input `x` of shape `[N, dims..]` and output `y`.
    pub fn new(opset: i64, dims: &[i64]) -> Self {
        let graph = GraphProto {
            name: Some("test".into()),
            input: vec![value("x", Some(dims))],
            output: vec![value("y", None)],
            ..Default::default()
        };
        let proto = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            graph: Some(graph),
            ..Default::default()
        };
        Model { proto }
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    /// A node named after its operator and output.
    pub fn node(mut self, op_type: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attr)]) -> Self {
        let attribute = attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        self.graph().node.push(NodeProto {
            name: Some(format!("{}_{output}", op_type.to_lowercase())),
            op_type: Some(op_type.into()),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![output.into()],
            attribute,
            ..Default::default()
        });
        self
    }

    /// An f32 initialiser.
    pub fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.graph().initializer.push(TensorProto {
            name: Some(name.into()),
            dims: dims.to_vec(),
            data_type: Some(1),
            float_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    /// An f32 initialiser with varied values in -1..1.
    pub fn weight(self, name: &str, dims: &[i64]) -> Self {
        let len = dims.iter().product::<i64>() as usize;
        let values = super::Random(len as u64).floats(len);
        self.floats(name, dims, &values)
    }

    /// An i64 initialiser.
    pub fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph().initializer.push(TensorProto {
            name: Some(name.into()),
            dims: vec![values.len() as i64],
            data_type: Some(7),
            int64_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    /// Anything else.
    pub fn edit(mut self, edit: impl FnOnce(&mut ModelProto)) -> Self {
        edit(&mut self.proto);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

pub fn value(name: &str, dims: Option<&[i64]>) -> ValueInfoProto {
    let batch = Dimension { value: Some(dimension::Value::DimParam("N".into())), ..Default::default() };
    let shape = dims.map(|dims| TensorShapeProto {
        dim: std::iter::once(batch)
            .chain(dims.iter().map(|&d| Dimension { value: Some(dimension::Value::DimValue(d)), ..Default::default() }))
            .collect(),
    });
    let tensor = type_proto::Tensor { elem_type: Some(1), shape };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..Default::default() }
}

fn attribute(name: &str, value: &Attr) -> AttributeProto {
    let mut a = AttributeProto { name: Some(name.into()), ..Default::default() };
    let kind = match value {
        Attr::Int(i) => {
            a.i = Some(*i);
            AttributeType::Int
        }
        Attr::Ints(ints) => {
            a.ints = ints.clone();
            AttributeType::Ints
        }
        Attr::Float(f) => {
            a.f = Some(*f);
            AttributeType::Float
        }
        Attr::Floats(floats) => {
            a.floats = floats.clone();
            AttributeType::Floats
        }
        Attr::Texts(texts) => {
            a.strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
        Attr::Text(s) => {
            a.s = Some(s.as_bytes().to_vec());
            AttributeType::String
        }
    };
    a.r#type = Some(kind as i32);
    a
}
