//! Values that are known when the network is compiled: initialisers, and what folding makes of them.

use super::error::{Problem, invalid, unsupported};
use super::types;
use crate::ir::Tensor;
use crate::onnx::onnx_protobuf::TensorProto;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::{tensor_f32, tensor_i64};
use std::sync::Arc;

/// A dense row-major constant of any element type.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    dims: Vec<usize>,
    kind: DataType,
    data: Data,
}

/// Integers keep all of their bits; floats are f32.
#[derive(Clone, Debug)]
enum Data {
    Floats(Arc<[f32]>),
    /// Integers of at most 8 bits, and booleans.
    Narrow(Arc<[i16]>),
    Wide(Arc<[i64]>),
}

/// Whether values of this type fit [`Data::Narrow`].
fn is_narrow(kind: DataType) -> bool {
    matches!(kind, DataType::Bool)
        || !matches!(kind, DataType::Int16 | DataType::Uint16) && types::code_range(kind).is_some()
}

impl Constant {
    /// The values of a tensor message.
    pub(super) fn read(tensor: &TensorProto) -> Result<Self, Problem> {
        let kind = types::data_type(i64::from(tensor.data_type()))?;
        if types::is_float(kind) {
            let values = tensor_f32(tensor)?;
            return Ok(Constant { dims: values.dims().to_vec(), kind, data: Data::Floats(values.shared()) });
        }
        let (dims, values) = tensor_i64(tensor)?;
        Ok(Constant { dims, kind, data: Data::integers(kind, values) })
    }

    /// f32 values; `None` where they are not as many as the extents say.
    pub(super) fn of_floats(dims: Vec<usize>, values: Vec<f32>) -> Option<Self> {
        let fits = element_count(&dims) == Some(values.len());
        fits.then(|| Constant { dims, kind: DataType::Float, data: Data::Floats(values.into()) })
    }

    /// One axis of i64 values.
    pub(super) fn of_ints(values: Vec<i64>) -> Self {
        Constant { dims: vec![values.len()], kind: DataType::Int64, data: Data::Wide(values.into()) }
    }

    /// One i64 value without axes.
    pub(super) fn of_int(value: i64) -> Self {
        Constant { dims: vec![], kind: DataType::Int64, data: Data::Wide(vec![value].into()) }
    }

    /// Values of an element type, rounded to it; `values` are as many as the extents say.
    pub(super) fn of_numbers(dims: Vec<usize>, kind: DataType, values: &[f64]) -> Self {
        let data = if types::is_float(kind) {
            Data::Floats(values.iter().map(|&v| v as f32).collect())
        } else if kind == DataType::Bool {
            Data::Narrow(values.iter().map(|&v| i16::from(v != 0.0)).collect())
        } else {
            // Beyond the range of i64 the cast yields its bounds, NaN yields 0.
            Data::integers(kind, values.iter().map(|&v| v as i64).collect())
        };
        Constant { dims, kind, data }
    }

    /// `count` times the same value.
    pub(super) fn filled(dims: Vec<usize>, kind: DataType, value: f64, count: usize) -> Self {
        let one = Constant::of_numbers(vec![], kind, &[value]);
        let data = match one.data {
            Data::Floats(values) => Data::Floats(vec![values[0]; count].into()),
            Data::Narrow(values) => Data::Narrow(vec![values[0]; count].into()),
            Data::Wide(values) => Data::Wide(vec![values[0]; count].into()),
        };
        Constant { dims, kind, data }
    }

    /// f32 values of an element type, shared where it is a float type.
    pub(super) fn of_shared(dims: Vec<usize>, kind: DataType, values: Arc<[f32]>) -> Self {
        if types::is_float(kind) {
            return Constant { dims, kind, data: Data::Floats(values) };
        }
        let numbers: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        Constant::of_numbers(dims, kind, &numbers)
    }

    /// Extents, outermost first.
    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => values.len(),
            Data::Narrow(values) => values.len(),
            Data::Wide(values) => values.len(),
        }
    }

    /// Element type of ONNX.
    pub(super) fn kind(&self) -> DataType {
        self.kind
    }

    /// The values as f32, integers rounded where they have more than 24 bits.
    pub(super) fn floats(&self) -> Vec<f32> {
        self.shared().to_vec()
    }

    /// The values as f32, shared where they are stored so.
    pub(super) fn shared(&self) -> Arc<[f32]> {
        match &self.data {
            Data::Floats(values) => Arc::clone(values),
            Data::Narrow(values) => values.iter().map(|&v| f32::from(v)).collect(),
            Data::Wide(values) => values.iter().map(|&v| v as f32).collect(),
        }
    }

    /// The values as integers, floats cut towards zero.
    pub(super) fn ints(&self) -> Vec<i64> {
        match &self.data {
            Data::Floats(values) => values.iter().map(|&v| v as i64).collect(),
            Data::Narrow(values) => values.iter().map(|&v| i64::from(v)).collect(),
            Data::Wide(values) => values.to_vec(),
        }
    }

    /// The values as f64: exact for floats, and for integers of 53 bits.
    pub(super) fn numbers(&self) -> Vec<f64> {
        match &self.data {
            Data::Floats(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Data::Narrow(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Data::Wide(values) => values.iter().map(|&v| v as f64).collect(),
        }
    }

    /// The values where they are stored as f32.
    pub(super) fn stored_floats(&self) -> Option<&Arc<[f32]>> {
        match &self.data {
            Data::Floats(values) => Some(values),
            _ => None,
        }
    }

    /// As a weight of the graph.
    ///
    /// # Errors
    /// Where a value is no finite number, or there is none.
    pub(super) fn tensor(&self) -> Result<Tensor, Problem> {
        let values = self.shared();
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(invalid(format!(
                "a constant of shape {:?} with {value}; finite values are required",
                self.dims
            )));
        }
        self.to_tensor(values)
    }

    /// As an operand: canonical, an infinity as the greatest number of its sign.
    ///
    /// # Errors
    /// Where a value is not a number, or there is none.
    pub(super) fn operand(&self) -> Result<Tensor, Problem> {
        let values = self.shared();
        let canonical = |value: &f32| releqc_runtime::float::canonical(*value).to_bits() == value.to_bits();
        if values.iter().all(|value| value.is_finite() && canonical(value)) {
            return self.to_tensor(values);
        }
        if values.iter().any(|value| value.is_nan()) {
            return Err(unsupported(format!("a constant of shape {:?} with NaN; numbers are required", self.dims)));
        }
        let canonical = |value: &f32| releqc_runtime::float::canonical(value.clamp(f32::MIN, f32::MAX));
        self.to_tensor(values.iter().map(canonical).collect())
    }

    fn to_tensor(&self, values: Arc<[f32]>) -> Result<Tensor, Problem> {
        let tensor = Tensor::new(self.dims.clone(), values).filter(|tensor| !tensor.data().is_empty());
        tensor.ok_or_else(|| unsupported(format!("a constant of shape {:?}; at least 1 value is required", self.dims)))
    }
}

impl Data {
    fn integers(kind: DataType, values: Vec<i64>) -> Self {
        if is_narrow(kind) {
            let clamped = |v: i64| i16::try_from(v.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(0);
            return Data::Narrow(values.into_iter().map(clamped).collect());
        }
        Data::Wide(values.into())
    }
}

/// Number of elements; `None` beyond the address space.
pub(super) fn element_count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_bits() {
        let wide = Constant::of_ints(vec![i64::MAX, -3]);
        assert_eq!(wide.ints(), [i64::MAX, -3]);
        assert_eq!(Constant::of_numbers(vec![2], DataType::Int64, &wide.numbers()).ints(), [i64::MAX, -3]);
        let truth = Constant::of_numbers(vec![2], DataType::Bool, &[0.5, 0.0]);
        assert_eq!((truth.ints(), truth.floats()), (vec![1, 0], vec![1.0, 0.0]));
        assert!(Constant::of_floats(vec![3], vec![1.0]).is_none());
    }

    #[test]
    fn an_infinite_operand_becomes_finite_and_nan_is_refused() {
        let mask = Constant::of_floats(vec![2], vec![f32::NEG_INFINITY, 0.0]).unwrap();
        assert_eq!(mask.operand().unwrap().data(), [f32::MIN, 0.0]);
        assert!(mask.tensor().is_err());
        assert!(Constant::of_floats(vec![1], vec![f32::NAN]).unwrap().operand().is_err());
    }
}
