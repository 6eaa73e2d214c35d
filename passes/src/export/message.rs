//! The ONNX model under construction: nodes, initializers and names that nothing else has.

use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::onnx_protobuf::{AttributeProto, NodeProto, TensorProto};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes and initializers in the order they were asked for.
#[derive(Default)]
pub(super) struct Message {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: Vec<TensorProto>,
    taken: BTreeSet<String>,
    /// How often a name was wanted that is taken.
    numbers: BTreeMap<String, usize>,
    /// Small initializers by their content, so that equal ones are written once.
    shared: BTreeMap<(i32, Vec<usize>, Vec<u8>), String>,
}

/// Initializers up to this many bytes are shared.
const SHARED_BYTES: usize = 64;

impl Message {
    /// Keeps a name for what comes later, such as a port.
    pub(super) fn reserve(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// A name nothing has, as close to `wanted` as possible.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            let number = self.numbers.entry(wanted.to_owned()).or_insert(0);
            *number += 1;
            name = format!("{wanted}_{number}");
        }
        name
    }

    /// Adds a node; its name and the value it yields are `wanted`, or close to it.
    pub(super) fn node(&mut self, op: &str, wanted: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.nodes_of("", op, wanted, inputs, attributes, 1).remove(0)
    }

    /// .. of a domain, with several results.
    pub(super) fn nodes_of(
        &mut self,
        domain: &str,
        op: &str,
        wanted: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        results: usize,
    ) -> Vec<String> {
        let name = self.unique(wanted);
        let further = (1..results).map(|i| self.unique(&format!("{wanted}:{i}"))).collect::<Vec<_>>();
        let output: Vec<String> = std::iter::once(name.clone()).chain(further).collect();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: output.clone(),
            name: Some(name),
            op_type: Some(op.to_owned()),
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            attribute,
            ..Default::default()
        });
        output
    }

    /// Adds an initializer of raw little-endian bytes, or yields an equal one.
    pub(super) fn tensor(&mut self, wanted: &str, kind: DataType, dims: &[usize], raw: Vec<u8>) -> String {
        let key = (raw.len() <= SHARED_BYTES).then(|| (kind as i32, dims.to_vec(), raw.clone()));
        if let Some(name) = key.as_ref().and_then(|key| self.shared.get(key)) {
            return name.clone();
        }
        let name = self.own_tensor(wanted, kind, dims, raw);
        if let Some(key) = key {
            self.shared.insert(key, name.clone());
        }
        name
    }

    /// .. that no other node reads: engines that rewrite an operand in place take it twice otherwise.
    pub(super) fn own_tensor(&mut self, wanted: &str, kind: DataType, dims: &[usize], raw: Vec<u8>) -> String {
        let name = self.unique(wanted);
        self.initializers.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: Some(kind as i32),
            raw_data: Some(raw),
            ..Default::default()
        });
        name
    }

    pub(super) fn f32s(&mut self, wanted: &str, dims: &[usize], values: &[f32]) -> String {
        self.tensor(wanted, DataType::Float, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(super) fn f32(&mut self, wanted: &str, value: f32) -> String {
        self.f32s(wanted, &[], &[value])
    }

    pub(super) fn i32s(&mut self, wanted: &str, dims: &[usize], values: &[i32]) -> String {
        self.tensor(wanted, DataType::Int32, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(super) fn i64s(&mut self, wanted: &str, values: &[i64]) -> String {
        self.tensor(wanted, DataType::Int64, &[values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A value in other extents.
    pub(super) fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let target: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let target = self.i64s(&format!("{x}:shape"), &target);
        self.node("Reshape", &format!("{x}:reshaped"), &[x, &target], vec![])
    }
}
