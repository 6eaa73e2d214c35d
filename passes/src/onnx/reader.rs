//! Bytes to messages, and tensor messages to values.

use super::onnx_protobuf::tensor_proto::{DataLocation, DataType};
use super::onnx_protobuf::{ModelProto, TensorProto};
use crate::ir::Tensor;
use prost::Message;

/// Why bytes or a tensor message could not be read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes are no ONNX model.
    #[error("{0}")]
    NotOnnx(String),
    /// A tensor whose fields contradict each other.
    #[error("tensor {name:?}: {problem}")]
    Invalid {
        /// Name of the tensor, may be empty.
        name: String,
        /// What was seen and what is required.
        problem: String,
    },
    /// A tensor stored in a way that is not supported.
    #[error("tensor {name:?}: {problem}")]
    Unsupported {
        /// Name of the tensor, may be empty.
        name: String,
        /// What was seen and what is required.
        problem: String,
    },
}

/// Decodes a serialised `ModelProto`.
///
/// # Errors
/// [`ReadError::NotOnnx`] where the bytes are no protobuf message, or one without a graph.
pub fn decode_model(bytes: &[u8]) -> Result<ModelProto, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::NotOnnx("the file is empty; an ONNX model is required".into()));
    }
    let model = ModelProto::decode(bytes).map_err(|error| {
        let text = bytes.len() >= 4
            && bytes.iter().take(512).all(|&b| b == b'\t' || b == b'\n' || b == b'\r' || (32..127).contains(&b));
        ReadError::NotOnnx(if text {
            "not an ONNX model: the file holds text".into()
        } else {
            format!("not an ONNX model, or a truncated one: {error}")
        })
    })?;
    if model.graph.is_none() {
        return Err(ReadError::NotOnnx("not an ONNX model: it holds no graph".into()));
    }
    Ok(model)
}

/// The `metadata_props` of a model, in file order.
pub fn metadata(model: &ModelProto) -> Vec<(String, String)> {
    let pairs = model.metadata_props.iter();
    pairs.map(|p| (p.key.clone().unwrap_or_default(), p.value.clone().unwrap_or_default())).collect()
}

/// The name ONNX gives an element type, such as `FLOAT`.
pub fn element_type_name(code: i32) -> String {
    DataType::try_from(code).map_or_else(|_| format!("type {code}"), |t| t.as_str_name().to_owned())
}

/// Extents of a tensor message.
///
/// # Errors
/// [`ReadError::Invalid`] for a negative extent or a number of elements beyond the address space.
pub fn tensor_dims(tensor: &TensorProto) -> Result<Vec<usize>, ReadError> {
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    dims.filter(|dims| dims.iter().try_fold(8usize, |a, &d| a.checked_mul(d.max(1))).is_some()).ok_or_else(|| {
        invalid(tensor, format!("dims {:?}; each must be >= 0 and their product must fit memory", tensor.dims))
    })
}

/// The values of a tensor as f32: FLOAT as it is; FLOAT16 and BFLOAT16 widened; DOUBLE and the integer types up to
/// 64 bits rounded to nearest.
///
/// # Errors
/// [`ReadError::Invalid`] where dims and data disagree, [`ReadError::Unsupported`] for other element types and for data kept
/// outside the file.
pub fn tensor_f32(tensor: &TensorProto) -> Result<Tensor, ReadError> {
    let dims = tensor_dims(tensor)?;
    let len: usize = dims.iter().product();
    let raw = raw_bytes(tensor, len)?;
    let ints = || tensor.int32_data.iter();
    let values: Vec<f32> = match (element_type(tensor)?, raw) {
        (DataType::Float, Some(raw)) => each(raw, f32::from_le_bytes),
        (DataType::Float, None) => tensor.float_data.clone(),
        (DataType::Double, Some(raw)) => each(raw, |b| f64::from_le_bytes(b) as f32),
        (DataType::Double, None) => tensor.double_data.iter().map(|&v| v as f32).collect(),
        (DataType::Float16, Some(raw)) => each(raw, |b| half_to_f32(u16::from_le_bytes(b))),
        (DataType::Float16, None) => ints().map(|&v| half_to_f32(low_half(v))).collect(),
        (DataType::Bfloat16, Some(raw)) => each(raw, |b| brain_to_f32(u16::from_le_bytes(b))),
        (DataType::Bfloat16, None) => ints().map(|&v| brain_to_f32(low_half(v))).collect(),
        _ => tensor_i64(tensor)?.1.into_iter().map(|v| v as f32).collect(),
    };
    filled(tensor, len, values.len())?;
    Tensor::new(dims, values).ok_or_else(|| invalid(tensor, "dims and data disagree".into()))
}

/// Extents and values of an integer tensor.
///
/// # Errors
/// As [`tensor_f32`]; floating-point tensors are [`ReadError::Unsupported`] here.
pub fn tensor_i64(tensor: &TensorProto) -> Result<(Vec<usize>, Vec<i64>), ReadError> {
    let dims = tensor_dims(tensor)?;
    let len: usize = dims.iter().product();
    let raw = raw_bytes(tensor, len)?;
    let ints = || tensor.int32_data.iter().map(|&v| i64::from(v)).collect::<Vec<i64>>();
    let unsigned = || tensor.uint64_data.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect::<Vec<i64>>();
    let kind = element_type(tensor)?;
    let values = match (kind, raw) {
        (DataType::Int64, Some(raw)) => each(raw, i64::from_le_bytes),
        (DataType::Int64, None) => tensor.int64_data.clone(),
        (DataType::Int32, Some(raw)) => each(raw, |b| i64::from(i32::from_le_bytes(b))),
        (DataType::Int16, Some(raw)) => each(raw, |b| i64::from(i16::from_le_bytes(b))),
        (DataType::Int8, Some(raw)) => each(raw, |b| i64::from(i8::from_le_bytes(b))),
        (DataType::Uint8 | DataType::Bool, Some(raw)) => each(raw, |b| i64::from(u8::from_le_bytes(b))),
        (DataType::Int4 | DataType::Uint4 | DataType::Int2 | DataType::Uint2, Some(raw)) => {
            unpacked(kind, len, raw.iter().copied())
        }
        (DataType::Int4 | DataType::Uint4 | DataType::Int2 | DataType::Uint2, None) => {
            unpacked(kind, len, tensor.int32_data.iter().map(|&v| (v & 0xff) as u8))
        }
        (DataType::Uint16, Some(raw)) => each(raw, |b| i64::from(u16::from_le_bytes(b))),
        (DataType::Uint32, Some(raw)) => each(raw, |b| i64::from(u32::from_le_bytes(b))),
        (DataType::Uint64, Some(raw)) => each(raw, |b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)),
        (DataType::Uint32 | DataType::Uint64, None) => unsigned(),
        (
            DataType::Int32 | DataType::Int16 | DataType::Int8 | DataType::Uint8 | DataType::Uint16 | DataType::Bool,
            None,
        ) => ints(),
        (other, _) => {
            return Err(unsupported(
                tensor,
                format!("element type {}; an integer type is required", other.as_str_name()),
            ));
        }
    };
    filled(tensor, len, values.len())?;
    Ok((dims, values))
}

/// Bytes of `raw_data` that extents and element type ask for.
pub(super) fn stored_bytes(tensor: &TensorProto) -> Result<u64, ReadError> {
    let elements = tensor_dims(tensor)?.iter().map(|&d| d as u64).product::<u64>();
    let bits = element_bits(stated_type(tensor)?).unwrap_or(0) as u64;
    Ok(elements.saturating_mul(bits).div_ceil(8))
}

/// The element type, restricted to those whose values can be read; checks that the data is inside the file.
fn element_type(tensor: &TensorProto) -> Result<DataType, ReadError> {
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return Err(unsupported(tensor, "external data that was not read; the values must be inside the model".into()));
    }
    if tensor.segment.is_some() {
        return Err(unsupported(tensor, "stored in segments; the values must be in one message".into()));
    }
    stated_type(tensor)
}

fn stated_type(tensor: &TensorProto) -> Result<DataType, ReadError> {
    let code = tensor.data_type.unwrap_or(0);
    match DataType::try_from(code) {
        Ok(DataType::Undefined) | Err(_) => {
            Err(invalid(tensor, format!("element type {code}; an ONNX element type is required")))
        }
        Ok(kind) if element_bits(kind).is_some() => Ok(kind),
        Ok(kind) => Err(unsupported(
            tensor,
            format!("element type {}; a float of 16 to 64 bits or an integer is required", kind.as_str_name()),
        )),
    }
}

/// Bits of one element in `raw_data`; `None` for types that are not read.
fn element_bits(kind: DataType) -> Option<usize> {
    Some(match kind {
        DataType::Int2 | DataType::Uint2 => 2,
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 8,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 64,
        _ => return None,
    })
}

/// `raw_data` with its length checked; `None` where the values are in a typed field.
fn raw_bytes(tensor: &TensorProto, len: usize) -> Result<Option<&[u8]>, ReadError> {
    let bits = element_bits(element_type(tensor)?).unwrap_or(8);
    match tensor.raw_data.as_deref() {
        Some(raw) if !raw.is_empty() => {
            let required = len.checked_mul(bits).map(|bits| bits.div_ceil(8));
            if required != Some(raw.len()) {
                let problem = format!(
                    "{} bytes of data for dims {:?}; {} are required",
                    raw.len(),
                    tensor.dims,
                    required.unwrap_or(usize::MAX)
                );
                return Err(invalid(tensor, problem));
            }
            Ok(Some(raw))
        }
        _ => Ok(None),
    }
}

/// Values of 4 or 2 bits, the first of a byte in its low bits.
fn unpacked(kind: DataType, len: usize, bytes: impl Iterator<Item = u8>) -> Vec<i64> {
    let (bits, signed) = match kind {
        DataType::Int4 => (4, true),
        DataType::Uint4 => (4, false),
        DataType::Int2 => (2, true),
        _ => (2, false),
    };
    let mask = (1u8 << bits) - 1;
    let values = bytes.flat_map(|byte| (0..8 / bits).map(move |place| byte >> (place * bits) & mask));
    let value = |code: u8| {
        let negative = signed && code >> (bits - 1) == 1;
        i64::from(code) - if negative { 1 << bits } else { 0 }
    };
    values.take(len).map(value).collect()
}

fn filled(tensor: &TensorProto, len: usize, seen: usize) -> Result<(), ReadError> {
    if len == seen {
        return Ok(());
    }
    Err(invalid(tensor, format!("{seen} values for dims {:?}; {len} are required", tensor.dims)))
}

fn each<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|&bytes| read(bytes)).collect()
}

fn low_half(value: i32) -> u16 {
    (value & 0xffff) as u16
}

fn brain_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE 754 binary16 to binary32, exact.
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    let magnitude = match exponent {
        0 => return f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        31 => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

fn invalid(tensor: &TensorProto, problem: String) -> ReadError {
    ReadError::Invalid { name: tensor.name.clone().unwrap_or_default(), problem }
}

fn unsupported(tensor: &TensorProto, problem: String) -> ReadError {
    ReadError::Unsupported { name: tensor.name.clone().unwrap_or_default(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x7bff, 65504.0),
            (0x8000, -0.0),
        ] {
            assert_eq!(half_to_f32(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(half_to_f32(0x7c00).is_infinite() && half_to_f32(0x7e00).is_nan());
    }

    #[test]
    fn raw_and_typed_fields_agree() {
        let typed = TensorProto {
            dims: vec![2],
            data_type: Some(DataType::Float as i32),
            float_data: vec![1.5, -2.0],
            ..Default::default()
        };
        let raw: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let raw = TensorProto {
            dims: vec![2],
            data_type: Some(DataType::Float as i32),
            raw_data: Some(raw),
            ..Default::default()
        };
        assert_eq!(tensor_f32(&typed).unwrap().data(), tensor_f32(&raw).unwrap().data());
    }

    #[test]
    fn a_short_tensor_is_refused_by_name() {
        let tensor = TensorProto {
            name: Some("w".into()),
            dims: vec![3],
            data_type: Some(DataType::Float as i32),
            raw_data: Some(vec![0; 8]),
            ..Default::default()
        };
        assert_eq!(
            tensor_f32(&tensor).unwrap_err().to_string(),
            "tensor \"w\": 8 bytes of data for dims [3]; 12 are required"
        );
    }

    #[test]
    fn values_of_a_few_bits_are_packed_from_the_low_end() {
        let packed = |kind: DataType, dims: i64, raw: Vec<u8>| TensorProto {
            dims: vec![dims],
            data_type: Some(kind as i32),
            raw_data: Some(raw),
            ..Default::default()
        };
        assert_eq!(tensor_i64(&packed(DataType::Int4, 3, vec![0xf7, 0x08])).unwrap().1, [7, -1, -8]);
        assert_eq!(tensor_i64(&packed(DataType::Uint4, 2, vec![0xf7])).unwrap().1, [7, 15]);
        assert_eq!(tensor_i64(&packed(DataType::Int2, 4, vec![0b1001_1100])).unwrap().1, [0, -1, 1, -2]);
        assert!(tensor_i64(&packed(DataType::Int4, 3, vec![0xf7])).is_err());
        let typed = TensorProto {
            dims: vec![3],
            data_type: Some(DataType::Int4 as i32),
            int32_data: vec![0xf7, 0x08],
            ..Default::default()
        };
        assert_eq!(tensor_i64(&typed).unwrap().1, [7, -1, -8]);
    }

    #[test]
    fn external_data_is_refused() {
        let tensor = TensorProto { dims: vec![1], data_type: Some(1), data_location: Some(1), ..Default::default() };
        assert!(matches!(tensor_f32(&tensor), Err(ReadError::Unsupported { .. })));
    }
}
