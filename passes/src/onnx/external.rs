//! Tensors whose values lie in files beside the model, as exporters write them above some size.
//!
//! Takes the bytes of a model and a reader of the files beside it; returns a model that holds all of its values. Reads no file
//! itself, and asks for none outside the model's folder. Models without such tensors come back as they are.

use super::onnx_protobuf::tensor_proto::DataLocation;
use super::onnx_protobuf::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::reader::stored_bytes;
use super::{ReadError, decode_model};
use prost::Message;
use std::path::{Component, Path};

/// Most bytes of all tensors of a model together: what protocol buffers can hold.
pub const MAX_EXTERNAL_BYTES: u64 = 2 << 30;

/// What a tensor says of where its values lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Name of a file in the model's folder, or below it.
    pub file: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Why values beside a model cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor {tensor:?}: external data: {problem}")]
pub struct ExternalError {
    /// Name of the tensor.
    pub tensor: String,
    /// What was seen, and what is required.
    pub problem: String,
}

/// The model with all values inside it. `read` yields the bytes of a location, or says why it cannot.
///
/// # Errors
/// A location outside the model's folder, of another length than the tensor's, or that cannot be read. Bytes that are no
/// model come back as they are: reading them says what is wrong.
pub fn embed(
    model: Vec<u8>,
    read: &mut dyn FnMut(&Location) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, ExternalError> {
    let Ok(mut message) = decode_model(&model) else { return Ok(model) };
    let mut embedding = Embedding { read, bytes: 0, found: false };
    if let Some(graph) = &mut message.graph {
        embedding.graph(graph)?;
    }
    for function in &mut message.functions {
        embedding.nodes(&mut function.node)?;
    }
    Ok(if embedding.found { message.encode_to_vec() } else { model })
}

struct Embedding<'a> {
    read: &'a mut dyn FnMut(&Location) -> Result<Vec<u8>, String>,
    bytes: u64,
    found: bool,
}

impl Embedding<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), ExternalError> {
        graph.initializer.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
        self.nodes(&mut graph.node)
    }

    fn nodes(&mut self, nodes: &mut [NodeProto]) -> Result<(), ExternalError> {
        nodes.iter_mut().flat_map(|node| &mut node.attribute).try_for_each(|attribute| self.attribute(attribute))
    }

    fn attribute(&mut self, attribute: &mut AttributeProto) -> Result<(), ExternalError> {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(|tensor| self.tensor(tensor))?;
        attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|graph| self.graph(graph))
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<(), ExternalError> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let name = tensor.name().to_owned();
        let error = |problem: String| ExternalError { tensor: name.clone(), problem };
        let location = location(tensor).map_err(error)?;
        self.bytes = self.bytes.saturating_add(location.len);
        if self.bytes > MAX_EXTERNAL_BYTES {
            return Err(error(format!("{} bytes in all; at most {MAX_EXTERNAL_BYTES} are supported", self.bytes)));
        }
        let bytes = (self.read)(&location).map_err(error)?;
        if bytes.len() as u64 != location.len {
            return Err(error(format!("{} bytes; {} are required", bytes.len(), location.len)));
        }
        tensor.raw_data = Some(bytes);
        tensor.data_location = None;
        tensor.external_data.clear();
        self.found = true;
        Ok(())
    }
}

/// Where the values of a tensor lie, checked against its extents and type.
fn location(tensor: &TensorProto) -> Result<Location, String> {
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
    let number = |key: &str| {
        let text = entry(key);
        text.map(|text| text.parse::<u64>().map_err(|_| format!("{key} {text:?}; a number is required"))).transpose()
    };
    let file = entry("location").filter(|file| !file.is_empty()).ok_or("no location; a file name is required")?;
    let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || file.contains('\\') || file.contains('\0') {
        return Err(format!("location {file:?}; a file in the model's folder is required"));
    }
    let required = stored_bytes(tensor).map_err(|error: ReadError| error.to_string())?;
    let len = number("length")?.unwrap_or(required);
    if len != required {
        return Err(format!("{len} bytes; {required} are required by extents and type"));
    }
    Ok(Location { file: file.to_owned(), offset: number("offset")?.unwrap_or(0), len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::onnx_protobuf::{ModelProto, StringStringEntryProto};

    fn model(location: &str, length: &str) -> Vec<u8> {
        let entry =
            |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
        let tensor = TensorProto {
            name: Some("w".into()),
            dims: vec![2],
            data_type: Some(1),
            data_location: Some(DataLocation::External as i32),
            external_data: vec![entry("location", location), entry("offset", "4"), entry("length", length)],
            ..Default::default()
        };
        let graph = GraphProto { initializer: vec![tensor], ..Default::default() };
        ModelProto { graph: Some(graph), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn values_come_from_the_folder_alone() {
        let mut read = |location: &Location| {
            assert_eq!((location.file.as_str(), location.offset), ("w.data", 4));
            Ok(vec![7; location.len as usize])
        };
        let embedded = decode_model(&embed(model("w.data", "8"), &mut read).unwrap()).unwrap();
        assert_eq!(embedded.graph.unwrap().initializer[0].raw_data, Some(vec![7; 8]));
        for bad in ["../w.data", "/etc/passwd", "a/../../w", "", "..\\w"] {
            assert!(embed(model(bad, "8"), &mut |_| panic!("not asked")).is_err(), "{bad}");
        }
        assert!(embed(model("w.data", "12"), &mut |_| panic!("not asked")).is_err());
        assert!(embed(model("w.data", "8"), &mut |_| Ok(vec![])).is_err());
    }
}
