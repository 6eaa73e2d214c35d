//! Operators over float slots: one scalar form each, used by every executor.
//!
//! A slot is a dense `f32` slice in ONNX order (last axis innermost). Its values are [`canonical`]:
//! no NaN but one, nothing that a machine may or may not flush to 0, no negative 0. Every function
//! here takes canonical values and yields such.
//!
//! What is more than one IEEE operation is computed in f64 in the order that its function states,
//! without fused operations that would change a bit, and rounded once to f32; `exp` and its like
//! come from `libm`. So the bytes of a result depend neither on the machine nor on its flush mode,
//! and a compiler may vectorise over results that do not depend on each other. Products of two f32
//! are exact in f64: fusing such a product with its sum changes nothing.
//!
//! # Panics
//! The functions trust [`crate::verify`]: a slice shorter than its extents say panics.

mod binary;
mod concat;
mod execute;
mod lookup;
mod matmul;
mod movement;
mod recurrent;
mod reduce;
mod resample;
mod select;
mod softmax;
mod unary;
mod walk;

pub use binary::{BinaryKind, binary};
pub use concat::concat;
pub(crate) use execute::{constants, decoded, execute};
pub use lookup::lookup;
pub use matmul::{MatMul, matmul};
pub use movement::{FILL, movement};
pub use recurrent::{Recurrent, RecurrentKind, recurrent};
pub use reduce::{ReduceKind, reduce};
pub use resample::resample;
pub use select::select;
pub use softmax::softmax;
pub use unary::unary;
pub use walk::MAX_EXTENTS;

/// A value as slots hold it: NaN is the one NaN `f32::NAN`, and what is subnormal or the least
/// normal number is 0, as is -0.
///
/// Rounding to the least normal number may come before a machine looks for subnormals, or after, so
/// that it is 0 too.
#[inline(always)]
pub fn canonical(v: f32) -> f32 {
    if v.is_nan() {
        f32::NAN
    } else if v.abs() <= f32::MIN_POSITIVE {
        0.0
    } else {
        v
    }
}
