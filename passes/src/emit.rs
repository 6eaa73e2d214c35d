//! The last stage: everything an artifact holds, to its bytes.

use crate::data::Preprocessing;
use crate::lower::Lowered;
use releqc_runtime::format::{ArtifactParts, Metadata, encode};

/// Bytes of `model.rq`: program, constants, weights and the accelerator's program, with `metadata`.
///
/// The same arguments give the same bytes.
pub fn emit(lowered: Lowered, metadata: Metadata) -> Vec<u8> {
    let accelerator = releqc_runtime::accel::lower(&lowered.program);
    let Lowered { program, constants, weights } = lowered;
    encode(&ArtifactParts { metadata, program, constants, weights, accelerator })
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
