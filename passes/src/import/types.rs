//! Element types of ONNX, and which type each operator's results have.

use super::attributes::Attributes;
use super::error::{Problem, invalid, unsupported};
use super::source::Step;
use crate::ir::ElementType;
use crate::onnx::element_type_name;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

/// The element type of a code.
pub(super) fn data_type(code: i64) -> Result<DataType, Problem> {
    i32::try_from(code)
        .ok()
        .and_then(|code| DataType::try_from(code).ok())
        .filter(|kind| *kind != DataType::Undefined)
        .ok_or_else(|| invalid(format!("element type {code}; an ONNX element type is required")))
}

/// How a network's input of this type is stated; 4 and 2 bits count as 8.
pub(super) fn element(kind: DataType) -> Result<ElementType, Problem> {
    Ok(match kind {
        DataType::Float => ElementType::F32,
        DataType::Float16 => ElementType::F16,
        DataType::Bfloat16 => ElementType::Bf16,
        DataType::Double => ElementType::F64,
        DataType::Int8 | DataType::Int4 | DataType::Int2 => ElementType::I8,
        DataType::Uint8 | DataType::Uint4 | DataType::Uint2 => ElementType::U8,
        DataType::Int16 => ElementType::I16,
        DataType::Uint16 => ElementType::U16,
        DataType::Int32 => ElementType::I32,
        DataType::Uint32 => ElementType::U32,
        DataType::Int64 => ElementType::I64,
        DataType::Uint64 => ElementType::U64,
        DataType::Bool => ElementType::Bool,
        other => {
            let name = element_type_name(other as i32);
            return Err(unsupported(format!("element type {name}; a float, an integer or BOOL is required")));
        }
    })
}

pub(super) fn is_float(kind: DataType) -> bool {
    matches!(kind, DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double)
}

/// Least and greatest value of an integer type of at most 16 bits, as quantized values have.
pub(super) fn code_range(kind: DataType) -> Option<(f32, f32)> {
    Some(match kind {
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint16 => (0.0, 65_535.0),
        DataType::Int16 => (-32_768.0, 32_767.0),
        DataType::Uint4 => (0.0, 15.0),
        DataType::Int4 => (-8.0, 7.0),
        DataType::Uint2 => (0.0, 3.0),
        DataType::Int2 => (-2.0, 1.0),
        _ => return None,
    })
}

/// The type of result `output` of a node whose inputs have these types; a missing input has none.
pub(super) fn result(step: &Step, output: usize, inputs: &[Option<DataType>]) -> DataType {
    let input = |index: usize| inputs.get(index).copied().flatten();
    let stated = |name: &str| stated(step.attributes(), name);
    let kind = match (step.op_type(), output) {
        ("Cast", _) => stated("to"),
        ("CastLike", _) | ("Where", _) => input(1),
        ("Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual", _)
        | ("And" | "Or" | "Xor" | "Not" | "IsNaN" | "IsInf", _)
        | ("Dropout", 1) => Some(DataType::Bool),
        ("Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero", _) | ("TopK" | "MaxPool", 1) => Some(DataType::Int64),
        ("QuantizeLinear", _) => stated("output_dtype").or(input(2)).or(Some(DataType::Uint8)),
        ("DequantizeLinear", _) => stated("output_dtype").or(Some(DataType::Float)),
        ("OneHot", _) => input(2),
        ("EyeLike" | "RandomNormalLike" | "RandomUniformLike", _) => stated("dtype").or(input(0)),
        ("DynamicQuantizeLinear", 0 | 2) => Some(DataType::Uint8),
        ("QLinearConv" | "QLinearMatMul", _) => input(7),
        ("QLinearConcat", _) => input(1),
        ("QGemm", _) => input(8).or(Some(DataType::Float)),
        ("MatMulIntegerToFloat", _) => Some(DataType::Float),
        ("ConvInteger" | "MatMulInteger", _) => Some(DataType::Int32),
        ("TreeEnsembleClassifier", 0) => Some(DataType::Int64),
        ("TreeEnsembleClassifier" | "TreeEnsembleRegressor", _) => Some(DataType::Float),
        ("Scaler" | "Normalizer" | "LinearRegressor" | "LinearClassifier" | "SVMRegressor", _) => Some(DataType::Float),
        ("SequenceEmpty", _) => stated("dtype"),
        ("SequenceInsert", _) => input(1),
        _ => input(0),
    };
    kind.or_else(|| inputs.iter().copied().flatten().next()).unwrap_or(DataType::Float)
}

fn stated(attributes: Attributes<'_>, name: &str) -> Option<DataType> {
    attributes.int(name, 0).ok().and_then(|code| data_type(code).ok())
}
