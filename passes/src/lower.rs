//! Quantized graph to what runs: operators of the runtime, packed weights, constants, memory plan.
//!
//! Takes a [`Quantized`] graph, returns everything an artifact stores for execution. The plan names no instruction set:
//! what depends on one is planned when the artifact is loaded. Transposes and reshapes disappear into the strides of who
//! reads them, and into the order of weights, where they can.

mod codes;
mod islands;
mod layer;
mod lowering;
pub mod memory_plan;
mod place;
mod table;

use crate::quantize::{QuantizeError, Quantized};
use releqc_runtime::program::Program;
use thiserror::Error;

/// Why a quantized graph cannot be lowered.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum LowerError {
    /// A ratio of scales is out of range.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A tensor or the arena is too large for the format.
    #[error("{node}: {what} is {value}; at most {limit} is supported")]
    TooLarge {
        /// ONNX node name.
        node: String,
        /// What is too large.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// An operator that has no form in this place.
    #[error("{node}: {what}")]
    Unsupported {
        /// ONNX node name.
        node: String,
        /// What was seen, and what is supported.
        what: String,
    },
}

/// The executable form of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// Operators, tensors and memory plan.
    pub program: Program,
    /// Biases, multipliers, tables and constant operands.
    pub constants: Vec<u8>,
    /// Packed codes.
    pub weights: Vec<u8>,
}

/// Lowers every node.
///
/// # Errors
/// A node that the runtime's operators cannot express.
pub fn lower(quantized: &Quantized) -> Result<Lowered, LowerError> {
    let mut lowering = lowering::Lowering::new(quantized)?;
    for (id, node) in quantized.graph.iter() {
        lowering.node(id, node)?;
    }
    lowering.finish()
}
