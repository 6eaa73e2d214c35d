//! Typed reading of a node's attributes.

use super::error::{Problem, invalid};
use crate::onnx::onnx_protobuf::attribute_proto::AttributeType;
use crate::onnx::onnx_protobuf::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The attributes of one node.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Attributes(node)
    }

    /// The attribute of this name where it has the type; an attribute without a type (IR version 1) has any.
    fn find(&self, name: &str, kind: AttributeType) -> Result<Option<&'a AttributeProto>, Problem> {
        let Some(found) = self.0.attribute.iter().find(|a| a.name() == name) else { return Ok(None) };
        if found.ref_attr_name.as_deref().is_some_and(|r| !r.is_empty()) {
            return Err(invalid(format!(
                "attribute {name} refers to a function's attribute; only allowed in a function"
            )));
        }
        match found.r#type {
            Some(code) if code != kind as i32 && code != AttributeType::Undefined as i32 => {
                let seen = AttributeType::try_from(code).map_or("unknown", |t| t.as_str_name());
                Err(invalid(format!("attribute {name} of type {seen}; {} is required", kind.as_str_name())))
            }
            _ => Ok(Some(found)),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.attribute.iter().any(|a| a.name() == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, Problem> {
        Ok(self.find(name, AttributeType::Int)?.map_or(default, |a| a.i.unwrap_or(0)))
    }

    /// An integer attribute that the operator requires.
    pub(super) fn required_int(&self, name: &str) -> Result<i64, Problem> {
        let found = self.find(name, AttributeType::Int)?;
        found.map(|a| a.i.unwrap_or(0)).ok_or_else(|| invalid(format!("no attribute {name}; it is required")))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            seen => Err(invalid(format!("{name} {seen}; 0 or 1 is required"))),
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, Problem> {
        let value = self.find(name, AttributeType::Float)?.map_or(default, |a| a.f.unwrap_or(0.0));
        if value.is_nan() {
            return Err(invalid(format!("{name} NaN; a number is required")));
        }
        Ok(value)
    }

    /// A float attribute that may be NaN; `None` where it is not given.
    pub(super) fn raw_float(&self, name: &str) -> Result<Option<f32>, Problem> {
        Ok(self.find(name, AttributeType::Float)?.map(|a| a.f.unwrap_or(0.0)))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Problem> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Problem> {
        Ok(self.find(name, AttributeType::Floats)?.map(|a| a.floats.clone()))
    }

    pub(super) fn string(&self, name: &str, default: &'a str) -> Result<&'a str, Problem> {
        let Some(found) = self.find(name, AttributeType::String)? else { return Ok(default) };
        text(found.s.as_deref().unwrap_or_default(), name)
    }

    pub(super) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        let Some(found) = self.find(name, AttributeType::Strings)? else { return Ok(None) };
        let texts = found.strings.iter().map(|bytes| text(bytes, name).map(str::to_owned));
        texts.collect::<Result<Vec<String>, Problem>>().map(Some)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, Problem> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// The graph of a branch.
    pub(super) fn graph(&self, name: &str) -> Result<&'a GraphProto, Problem> {
        let found = self.find(name, AttributeType::Graph)?.and_then(|a| a.g.as_ref());
        found.ok_or_else(|| invalid(format!("no attribute {name}; a graph is required")))
    }

    /// The first attribute, of nodes whose one attribute may have one of many names.
    pub(super) fn only(&self) -> Result<&'a AttributeProto, Problem> {
        match &self.0.attribute[..] {
            [only] => Ok(only),
            all => Err(invalid(format!("{} attributes; exactly 1 is required", all.len()))),
        }
    }
}

fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| invalid(format!("attribute {name} is no UTF-8 text")))
}
