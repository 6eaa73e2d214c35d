//! The last stage: everything an artifact holds, to its bytes.

use crate::lower::Lowered;
use releqc_runtime::accel::{self, AccelConfig, AccelError};
use releqc_runtime::format::{ArtifactParts, Metadata, encode};

/// Bytes of `model.rq`: program, constants, weights and the program of the accelerator `machine`, with `metadata`.
///
/// The same arguments give the same bytes.
///
/// # Errors
/// When an operator does not fit the accelerator's instruction set.
pub fn emit(lowered: Lowered, metadata: Metadata, machine: &AccelConfig) -> Result<Vec<u8>, AccelError> {
    let accelerator = accel::lower(&lowered.program, machine)?;
    let Lowered { program, constants, weights } = lowered;
    Ok(encode(&ArtifactParts { metadata, program, constants, weights, accelerator }))
}
