//! What is wrong with a program.

use crate::RunError;
use thiserror::Error;

/// Why an accelerator program cannot be written, read, assembled or run.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum AccelError {
    /// The artifact was written without an accelerator program.
    #[error("the artifact holds no accelerator program")]
    Missing,
    /// The header is damaged.
    #[error("header: {0}")]
    Header(String),
    /// Written for a later instruction set.
    #[error("instruction set {major}.{minor}; this simulator executes 3.0")]
    Isa {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// Compiled for other hardware.
    #[error("compiled for hardware configuration {found}, this machine is {machine}")]
    Config {
        /// Hash in the header.
        found: String,
        /// Hash of the machine.
        machine: String,
    },
    /// An instruction is malformed or would leave its memories.
    #[error("instruction {at} ({mnemonic}): {what}")]
    Instruction {
        /// Index in the program.
        at: usize,
        /// Which instruction.
        mnemonic: String,
        /// What was seen and what is required.
        what: String,
    },
    /// Its instructions are in no safe order, or it reads what it has not written.
    #[error("{0}")]
    Refused(String),
    /// A line of assembly text cannot be read.
    #[error("line {line}: {what}")]
    Text {
        /// Counted from 1.
        line: usize,
        /// What was seen and what is required.
        what: String,
    },
    /// An operator does not fit the instruction set.
    #[error("operator {operator} ({label}): {what}")]
    Lower {
        /// Index in the network's operators.
        operator: usize,
        /// Its kind.
        label: String,
        /// What was seen and what is required.
        what: String,
    },
}

impl From<AccelError> for RunError {
    fn from(error: AccelError) -> Self {
        RunError::Accelerator(error.to_string())
    }
}
