//! Operators that make values out of nothing, of shapes, or of other constants.
//!
//! Every result is sized before it is made. Refuses what would depend on the network's input, but for its shape, which is known.

use super::axis;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::constant::element_count;
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::import::types;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("EyeLike", eye_like),
    ("NonZero", non_zero),
    ("Range", range),
    ("Shape", shape),
    ("Size", size),
];

fn known(constant: Constant) -> Result<Vec<Value>, Problem> {
    Ok(vec![Value::Constant(constant.into())])
}

/// The tensor of a Constant node, whichever attribute holds it.
fn constant(_: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attribute = step.attributes().only()?;
    let floats =
        |dims, values: Vec<f32>| Constant::of_floats(dims, values).ok_or_else(|| invalid("Constant; no value"));
    known(match attribute.name() {
        "value" => {
            let tensor = attribute.t.as_ref();
            Constant::read(tensor.ok_or_else(|| invalid("Constant without a value; a tensor is required"))?)?
        }
        "value_float" => floats(vec![], vec![attribute.f.unwrap_or(0.0)])?,
        "value_floats" => floats(vec![attribute.floats.len()], attribute.floats.clone())?,
        "value_int" => Constant::of_int(attribute.i.unwrap_or(0)),
        "value_ints" => Constant::of_ints(attribute.ints.clone()),
        other => {
            return Err(unsupported(format!("Constant with {other}; a tensor, floats or ints are supported")));
        }
    })
}

fn constant_of_shape(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let stated = b.required(step, 0)?.ints();
    let dims = stated.iter().map(|&v| axis::count(v, "an extent of")).collect::<Result<Vec<usize>, _>>()?;
    let value = step.attributes().tensor("value")?.map(Constant::read).transpose()?;
    let (kind, value) = match &value {
        None => (DataType::Float, 0.0),
        Some(value) => match value.numbers()[..] {
            [only] => (value.kind(), only),
            _ => return Err(invalid(format!("value of shape {:?}; one value is required", value.dims()))),
        },
    };
    let count = element_count(&dims).unwrap_or(usize::MAX);
    b.spend(count, "ConstantOfShape")?;
    known(Constant::filled(dims, kind, value, count))
}

fn range(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let number = |index| -> Result<f64, Problem> {
        let constant = b.required(step, index)?;
        match constant.numbers()[..] {
            [only] => Ok(only),
            _ => Err(invalid(format!("input {index} of shape {:?}; one number is required", constant.dims()))),
        }
    };
    let [start, limit, delta] = [number(0)?, number(1)?, number(2)?];
    let steps = ((limit - start) / delta).ceil();
    if delta == 0.0 || steps.is_nan() {
        return Err(invalid(format!("Range from {start} to {limit} by {delta}; it must end")));
    }
    // Saturates: what is too large is refused by the budget.
    let count = steps.max(0.0) as usize;
    b.spend(count, "Range")?;
    let kind = b.kind(step, 0).unwrap_or(DataType::Float);
    let values: Vec<f64> = (0..count).map(|i| start + i as f64 * delta).collect();
    known(Constant::of_numbers(vec![count], kind, &values))
}

/// Extents of an input.
fn dims_of(b: &Builder<'_>, step: &Step) -> Result<Vec<usize>, Problem> {
    match b.value(step, 0)? {
        Some(Value::Node(node)) => Ok(b.dims(node)),
        Some(Value::Constant(constant)) => Ok(constant.dims().to_vec()),
        Some(Value::Sequence(_)) => Err(unsupported(format!("{} of a sequence; a tensor is required", step.op_type()))),
        None => Err(invalid(format!("{} without an input; it requires one", step.op_type()))),
    }
}

fn shape(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let dims: Vec<i64> = dims_of(b, step)?.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
    let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
    let place = |value: i64| {
        let from_start = if value < 0 { value.saturating_add(rank) } else { value };
        usize::try_from(from_start.clamp(0, rank)).unwrap_or(0)
    };
    let attributes = step.attributes();
    let (start, end) = (place(attributes.int("start", 0)?), place(attributes.int("end", rank)?));
    known(Constant::of_ints(dims[start..end.max(start)].to_vec()))
}

fn size(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let count = element_count(&dims_of(b, step)?).and_then(|count| i64::try_from(count).ok());
    known(Constant::of_int(count.unwrap_or(i64::MAX)))
}

/// Positions of what is not 0, one column each.
fn non_zero(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let constant = b.required(step, 0)?;
    let dims = constant.dims();
    b.spend(constant.len().saturating_mul(dims.len().max(1)), "NonZero")?;
    let values = constant.numbers();
    let found: Vec<Vec<usize>> =
        axis::positions(dims).zip(&values).filter(|(_, value)| **value != 0.0).map(|(at, _)| at).collect();
    let rows = (0..dims.len()).flat_map(|axis| found.iter().map(move |at| at[axis] as f64));
    known(Constant::of_numbers(vec![dims.len(), found.len()], DataType::Int64, &rows.collect::<Vec<f64>>()))
}

/// Ones on a diagonal.
fn eye_like(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let dims = dims_of(b, step)?;
    let [rows, columns] = dims[..] else {
        return Err(invalid(format!("EyeLike of shape {dims:?}; 2 axes are required")));
    };
    let attributes = step.attributes();
    let kind = match attributes.int("dtype", 0)? {
        0 => b.kind(step, 0).unwrap_or(DataType::Float),
        stated => types::data_type(stated)?,
    };
    let offset = attributes.int("k", 0)?;
    b.spend(rows.saturating_mul(columns), "EyeLike")?;
    let on = |row: usize, column: usize| {
        i64::try_from(row).ok().and_then(|row| row.checked_add(offset)) == i64::try_from(column).ok()
    };
    let values: Vec<f64> =
        (0..rows).flat_map(|row| (0..columns).map(move |column| f64::from(u8::from(on(row, column))))).collect();
    known(Constant::of_numbers(dims, kind, &values))
}
