//! Functions of one value as ONNX operators.

use super::message::Message;
use super::network::OPSET;
use crate::onnx::functions::{self, NodeWriter};
use crate::onnx::onnx_protobuf::AttributeProto;
use releqc_runtime::function::Function;

/// Writes a function; returns the value that holds its results.
pub(super) fn write(message: &mut Message, function: Function, x: &str, name: &str) -> String {
    functions::write(&mut Named { message, name }, function, x, OPSET)
}

/// A message whose further nodes have names like one.
struct Named<'a> {
    message: &'a mut Message,
    name: &'a str,
}

impl NodeWriter for Named<'_> {
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.message.node(operator, self.name, inputs, attributes)
    }

    fn number(&mut self, value: f32) -> String {
        self.message.f32(&format!("{}.value", self.name), value)
    }
}
