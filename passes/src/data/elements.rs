//! Array values as values of an input, which are f32 whatever the ONNX element type is.

use super::npy::{Array, Values};
use crate::ir::ElementType;
use std::ops::RangeInclusive;

/// Largest magnitude of an integer up to which every integer is an f32.
const EXACT: u64 = 1 << 24;

/// The values of `array` for an input of type `element`: any float type for a float input; for an integer or bool input any integer or
/// bool type, or floats, where every value is one that the input can hold.
///
/// # Errors
/// What was seen and what is required.
pub fn input_values(array: Array, element: ElementType) -> Result<Vec<f32>, String> {
    let Array { dtype, values, .. } = array;
    let Some(range) = range(element) else {
        return match values {
            Values::F32(values) => Ok(values),
            _ => Err(format!("type {dtype}; f4, f2 or f8 is required")),
        };
    };
    let integer = |value: i64| match range.contains(&value) {
        true if value.unsigned_abs() <= EXACT || value as f32 as i128 == i128::from(value) => Ok(value as f32),
        true => Err(format!("the value {value} cannot be told from its neighbours: integers are exact up to {EXACT}")),
        false => Err(format!("the value {value}; {} to {} is required", range.start(), range.end())),
    };
    match values {
        Values::U8(values) => values.into_iter().map(|v| integer(v.into())).collect(),
        Values::I8(values) => values.into_iter().map(|v| integer(v.into())).collect(),
        Values::Integers(values) => values.into_iter().map(integer).collect(),
        Values::F32(values) => {
            let whole = |value: f32| match value.fract() == 0.0 && value.abs() <= EXACT as f32 {
                true => integer(value as i64),
                false => Err(format!("type {dtype} with the value {value}; an integer type is required")),
            };
            values.into_iter().map(whole).collect()
        }
    }
}

/// What an integer type holds; `None` for floats. NumPy's u64 comes as i64, so its upper half is out of range like that of i64.
fn range(element: ElementType) -> Option<RangeInclusive<i64>> {
    Some(match element {
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::F64 => return None,
        ElementType::I8 => i8::MIN.into()..=i8::MAX.into(),
        ElementType::U8 => 0..=u8::MAX.into(),
        ElementType::I16 => i16::MIN.into()..=i16::MAX.into(),
        ElementType::U16 => 0..=u16::MAX.into(),
        ElementType::I32 => i32::MIN.into()..=i32::MAX.into(),
        ElementType::U32 => 0..=u32::MAX.into(),
        ElementType::I64 => i64::MIN..=i64::MAX,
        ElementType::U64 => 0..=i64::MAX,
        ElementType::Bool => 0..=1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(values: Values, element: ElementType) -> Result<Vec<f32>, String> {
        input_values(Array { dims: vec![1], dtype: "<xx".into(), values }, element)
    }

    #[test]
    fn types_are_checked_against_the_input() {
        assert_eq!(taken(Values::F32(vec![0.5]), ElementType::F16), Ok(vec![0.5]));
        assert!(taken(Values::U8(vec![1]), ElementType::F32).is_err());
        assert_eq!(taken(Values::Integers(vec![-3]), ElementType::I64), Ok(vec![-3.0]));
        assert_eq!(taken(Values::F32(vec![7.0]), ElementType::I32), Ok(vec![7.0]));
        assert!(taken(Values::F32(vec![7.5]), ElementType::I32).is_err());
        assert!(taken(Values::F32(vec![f32::NAN]), ElementType::I32).is_err());
        assert!(taken(Values::Integers(vec![256]), ElementType::U8).is_err());
        assert!(taken(Values::Integers(vec![2]), ElementType::Bool).is_err());
    }

    #[test]
    fn integers_that_f32_cannot_hold_are_refused() {
        assert!(taken(Values::Integers(vec![1 << 24]), ElementType::I64).is_ok());
        assert!(taken(Values::Integers(vec![(1 << 24) + 1]), ElementType::I64).is_err());
        assert!(taken(Values::Integers(vec![i64::MIN]), ElementType::I64).is_ok());
        assert!(taken(Values::Integers(vec![i64::MAX]), ElementType::I64).is_err());
    }
}
