//! Why an artifact cannot be loaded or run.

use crate::program::{FloatId, Port, Program};
use thiserror::Error;

/// What is wrong with the bytes of an artifact.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum FormatError {
    /// The file does not begin with the magic bytes.
    #[error("not a releqc artifact: it does not begin with the magic bytes of the format")]
    Magic,
    /// Written by another major version of the format.
    #[error("artifact format {major}.{minor} cannot be read by this runtime; it reads 2.x")]
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// Fewer or more bytes than the header states.
    #[error("the artifact has {found} bytes, its header says {stated}; it is truncated or has grown")]
    Length {
        /// Bytes in the file.
        found: u64,
        /// Bytes the header states.
        stated: u64,
    },
    /// A hash does not match its bytes.
    #[error("{part} is damaged: its hash does not match its bytes")]
    Hash {
        /// Header or section name.
        part: String,
    },
    /// A field is out of its range.
    #[error("{part}: {what}")]
    Malformed {
        /// Section or record.
        part: String,
        /// What was seen and what is required.
        what: String,
    },
    /// Activations or outputs would need more memory than the caller allows.
    #[error("activations or outputs need {needed} bytes, the limit is {limit}")]
    ActivationMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// Most characters of a name in a message: a message is no larger than a file justifies.
const MOST_NAME_CHARS: usize = 80;

/// A name from a file, for a message.
pub(crate) fn quoted(name: &str) -> String {
    match name.char_indices().nth(MOST_NAME_CHARS) {
        Some((end, _)) => format!("{:?}..", &name[..end]),
        None => format!("{name:?}"),
    }
}

impl FormatError {
    pub(crate) fn malformed(part: impl Into<String>, what: impl Into<String>) -> Self {
        FormatError::Malformed { part: part.into(), what: what.into() }
    }
}

/// Why a network cannot be run on this input or machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The input has the wrong number of values.
    #[error("input {inputs}: {found} values, so a multiple of {required} is required")]
    InputLength {
        /// Name and extents of each input.
        inputs: String,
        /// Values given.
        found: usize,
        /// Values of one sample.
        required: usize,
    },
    /// An output buffer has the wrong number of values.
    #[error("output buffer: {found} values given, {required} required")]
    OutputLength {
        /// Values given.
        found: usize,
        /// Values required.
        required: usize,
    },
    /// The machine lacks the instruction set asked for.
    #[error("this machine cannot run {isa}; it has {available}")]
    Isa {
        /// Asked for.
        isa: String,
        /// What there is.
        available: String,
    },
    /// A session would need too much memory.
    #[error("a session of this network needs {needed} bytes of memory; at most {limit} are allowed")]
    Memory {
        /// Bytes of codes and floats, of all samples of a batch.
        needed: u64,
        /// Allowed.
        limit: u64,
    },
    /// Pixels cannot become inputs.
    #[error("pixels as input: {0}")]
    Pixels(String),
    /// The accelerator program is missing or malformed.
    #[error("accelerator program: {0}")]
    Accelerator(String),
}

impl RunError {
    /// That `found` values are not whole samples of a network.
    pub(crate) fn input_length(program: &Program, found: usize) -> Self {
        let input = |(port, _): &(Port, FloatId)| format!("{:?} {:?}", port.name, port.dims);
        let inputs: Vec<String> = program.inputs.iter().map(input).collect();
        RunError::InputLength { inputs: inputs.join(", "), found, required: program.input_len() }
    }
}
