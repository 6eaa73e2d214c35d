//! Cast and CastLike: inside, every value is f32 already.
//!
//! Takes an activation; floats are cut towards zero on the way to an integer type, and anything but 0 is true. Half precision is not
//! rounded to, and integers do not wrap.

use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::import::types;
use crate::ir::{ElementType, Function};
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

pub(super) const RULES: &[(&str, Rule)] = &[("Cast", cast), ("CastLike", cast_like)];

fn cast(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let wanted = types::data_type(step.attributes().required_int("to")?)?;
    to(b, step, wanted)
}

fn cast_like(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let wanted = b.kind(step, 1).ok_or_else(|| invalid("CastLike without a second input; it is required"))?;
    to(b, step, wanted)
}

fn to(b: &mut Builder<'_>, step: &Step, wanted: DataType) -> Result<Vec<Value>, Problem> {
    let (from, to) = (b.element(step, 0)?, types::element(wanted)?);
    let x = b.node(step, 0)?;
    one(match to {
        ElementType::Bool if from != ElementType::Bool => b.unary(Function::IsNonzero, x)?,
        to if to.is_integer() && !from.is_integer() && from != ElementType::Bool => b.unary(Function::Trunc, x)?,
        _ => x,
    })
}
