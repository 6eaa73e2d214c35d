//! Artifacts as C99 for microcontrollers: one source, one header, no allocation, no libraries.
//!
//! [`emit`] takes a checked artifact. It yields a program that computes the bytes of the reference executor
//! (docs/quantization.md). Weights stay packed at their widths and are unpacked four outputs at a time; activations lie at the
//! arena offsets of the artifact. Operators on floats are not taken: they are named and refused.

mod calls;
mod header;
mod literal;
mod places;
mod primitives;
mod source;
mod weights;

use releqc_runtime::format::Artifact;
use thiserror::Error;

/// The two files of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// `NAME.h`.
    pub header: String,
    /// `NAME.c`.
    pub source: String,
    /// Bytes of the static arena.
    pub arena_bytes: usize,
    /// Bytes of the static buffers beside the arena: unpacked weights, floats between operators.
    pub scratch_bytes: usize,
    /// Bytes of weights, biases, multipliers and tables, which go to read-only memory.
    pub constant_bytes: usize,
    /// Whether there is a function that takes pixels.
    pub takes_pixels: bool,
}

/// Why there is no C for a network.
#[derive(Debug, Error)]
pub enum EmitError {
    /// The name cannot stand in C.
    #[error(
        "name {0:?}: a letter and then letters, digits or _ are required, at most 63 in all and no word of the language"
    )]
    Name(String),
    /// The network computes on floats.
    #[error("emit-c takes operators on codes; this network has {operators}")]
    Operators {
        /// Labels and counts.
        operators: String,
    },
}

/// Writes `artifact` as C whose functions and macros begin with `name`.
///
/// # Errors
/// When `name` is no identifier of C, or for operators on floats, all of them named.
pub fn emit(artifact: &Artifact, name: &str) -> Result<Emitted, EmitError> {
    if !literal::is_identifier(name) {
        return Err(EmitError::Name(name.to_owned()));
    }
    refuse_floats(artifact)?;
    Ok(source::write(artifact, name))
}

fn refuse_floats(artifact: &Artifact) -> Result<(), EmitError> {
    let mut found: Vec<(&str, usize)> = Vec::new();
    for label in artifact.program().ops.iter().filter(|op| op.is_float()).map(|op| op.label()) {
        match found.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => found.push((label, 1)),
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let named =
        |(label, count): &(&str, usize)| if *count == 1 { (*label).to_owned() } else { format!("{count} {label}") };
    Err(EmitError::Operators { operators: found.iter().map(named).collect::<Vec<_>>().join(", ") })
}
