//! Typed reading of a node's attributes.

use super::error::{Problem, invalid};
use crate::onnx::onnx_protobuf::attribute_proto::AttributeType;
use crate::onnx::onnx_protobuf::{AttributeProto, NodeProto};

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

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Problem> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub(super) fn string(&self, name: &str, default: &'a str) -> Result<&'a str, Problem> {
        let Some(found) = self.find(name, AttributeType::String)? else { return Ok(default) };
        std::str::from_utf8(found.s.as_deref().unwrap_or_default())
            .map_err(|_| invalid(format!("attribute {name} is no UTF-8 text")))
    }
}
