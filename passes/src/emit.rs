//! The last stage: everything an artifact holds, to its bytes.

use crate::data::Preprocessing;
use crate::lower::Lowered;
use releqc_runtime::accel::{self, AccelConfig, AccelError};
use releqc_runtime::format::{ArtifactParts, Metadata, encode};

/// Bytes of `model.rq`: program, constants, weights and the program of the accelerator, with `metadata`.
///
/// The same arguments give the same bytes.
///
/// # Errors
/// When an operator does not fit the accelerator's instruction set.
pub fn emit(lowered: Lowered, metadata: Metadata) -> Result<Vec<u8>, AccelError> {
    let accelerator = accel::lower(&lowered.program, &AccelConfig::default())?;
    let Lowered { program, constants, weights } = lowered;
    Ok(encode(&ArtifactParts { metadata, program, constants, weights, accelerator }))
}

/// Metadata keys of the recorded preprocessing: `preprocessing` is `raw` or `normalize`; then `.mean` and `.std` hold
/// comma-separated numbers in their shortest form that reads back the same.
pub fn preprocessing_metadata(preprocessing: &Preprocessing) -> Metadata {
    let numbers = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    match preprocessing {
        Preprocessing::Raw => Metadata::from([("preprocessing".into(), "raw".into())]),
        Preprocessing::Normalize { mean, std } => Metadata::from([
            ("preprocessing".into(), "normalize".into()),
            ("preprocessing.mean".into(), numbers(mean)),
            ("preprocessing.std".into(), numbers(std)),
        ]),
    }
}
