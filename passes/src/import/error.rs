//! What import reports, and how it becomes one error.

use crate::onnx::ReadError;
use std::fmt;

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The file is no valid ONNX model.
    Invalid,
    /// A valid model that is outside what is supported.
    Unsupported,
    /// A defect of this program.
    Violation,
}

/// One thing that stands against importing a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// The node, value or graph it is about.
    pub subject: String,
    /// What was seen, then what is required.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

/// Why a model could not be imported.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImportError {
    /// The bytes are no ONNX model.
    #[error(transparent)]
    Read(ReadError),
    /// The model was refused.
    #[error("{}", first_and_count(.findings))]
    Refused {
        /// The worst kind among the findings; invalid comes before unsupported.
        kind: ErrorKind,
        /// Everything that was found, at least one.
        findings: Vec<Finding>,
    },
}

impl ImportError {
    pub(super) fn refused(mut findings: Vec<Finding>) -> Self {
        let kinds = findings.iter().map(|finding| finding.kind);
        let kind = if kinds.clone().any(|kind| kind == ErrorKind::Violation) {
            ErrorKind::Violation
        } else {
            kinds.min().unwrap_or(ErrorKind::Violation)
        };
        // The message shows the first finding: it has to be one of the kind that decides.
        findings.sort_by_key(|finding| finding.kind != kind);
        ImportError::Refused { kind, findings }
    }

    /// Invalid input, unsupported model or defect.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ImportError::Read(ReadError::Unsupported { .. }) => ErrorKind::Unsupported,
            ImportError::Read(_) => ErrorKind::Invalid,
            ImportError::Refused { kind, .. } => *kind,
        }
    }

    /// Everything that was found; empty where the bytes were no model at all.
    pub fn findings(&self) -> &[Finding] {
        match self {
            ImportError::Read(_) => &[],
            ImportError::Refused { findings, .. } => findings,
        }
    }
}

fn first_and_count(findings: &[Finding]) -> String {
    match findings {
        [] => "import refused the model".into(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// A finding whose subject is known to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn about(self, subject: &str) -> Finding {
        Finding { kind: self.kind, subject: subject.to_owned(), problem: self.text }
    }
}

pub(super) fn invalid(text: impl Into<String>) -> Problem {
    Problem { kind: ErrorKind::Invalid, text: text.into() }
}

pub(super) fn unsupported(text: impl Into<String>) -> Problem {
    Problem { kind: ErrorKind::Unsupported, text: text.into() }
}
