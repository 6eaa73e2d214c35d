//! An artifact as an ONNX network with its codes, for other engines.
//!
//! Takes a loaded artifact alone; returns the bytes of an ONNX model, the same for the same
//! artifact. Weights, scales, zero points and tables are those of the artifact; nothing is
//! quantized again. Other engines compute in their own order and with their own rounding:
//! [`Exported::roundings`] says where a code may differ by one. Read docs/export.md first.
//!
//! * [`Format::Qdq`]: tensors are u8, `QuantizeLinear` and `DequantizeLinear` stand around float
//!   operators (operator set 21);
//! * [`Format::Qonnx`]: tensors are floats that went through `Quant` nodes, whose widths are those
//!   of the artifact.

mod codes;
mod floats;
mod function;
mod layer;
mod message;
mod network;
mod places;
mod recurrent;
mod rounding;

pub use rounding::{Rounding, RoundingKind};

use releqc_runtime::format::Artifact;
use std::fmt;

/// What an exported network is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `QuantizeLinear` and `DequantizeLinear` of ONNX.
    Qdq,
    /// `Quant` of the domain `qonnx.custom_op.general`.
    Qonnx,
}

/// What an export may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// Form of the network.
    pub format: Format,
    /// With [`Format::Qdq`]: weights of at most 4 bits are stored as INT4 in place of INT8.
    pub int4: bool,
}

/// An exported network.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The ONNX model.
    pub bytes: Vec<u8>,
    /// ONNX nodes in it.
    pub nodes: usize,
    /// Operators whose results another engine may round otherwise, in execution order.
    pub roundings: Vec<Rounding>,
}

/// Operators of a plan that have no form in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ExportError {
    /// Name and operator of each.
    pub operators: Vec<(String, String)>,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.operators.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>();
        write!(f, "it cannot be exported: {}", named.join("; "))
    }
}

/// Writes an artifact as an ONNX network.
///
/// # Errors
/// [`ExportError`] with every operator that has no form in the format.
pub fn export(artifact: &Artifact, options: ExportOptions) -> Result<Exported, ExportError> {
    network::write(artifact, options)
}
