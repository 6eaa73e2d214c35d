//! What import reports, and how it becomes one error.

use crate::onnx::ReadError;
use std::collections::BTreeMap;
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
    /// ONNX operator of the node it is about, with its domain where that is not the default one.
    pub operator: Option<String>,
    /// What was seen, then what is required.
    pub problem: String,
    /// What the user can do, such as a flag to give.
    pub advice: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

/// Findings that say the same of several nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// ONNX operator of the nodes.
    pub operator: Option<String>,
    /// What was seen, then what is required.
    pub problem: String,
    /// Number of findings.
    pub count: usize,
    /// The first nodes, values or graphs it is about, at most [`Group::EXAMPLES`].
    pub examples: Vec<String>,
    /// What the user can do, for the first of them.
    pub advice: Option<String>,
}

impl Group {
    /// Most examples of a group.
    pub const EXAMPLES: usize = 3;

    /// The findings by kind, operator and problem, in order of their first appearance.
    pub fn of(findings: &[Finding]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut places = BTreeMap::new();
        for finding in findings {
            let key = (finding.kind, &finding.operator, &finding.problem);
            let place = *places.entry(key).or_insert_with(|| {
                groups.push(Group {
                    kind: finding.kind,
                    operator: finding.operator.clone(),
                    problem: finding.problem.clone(),
                    count: 0,
                    examples: Vec::new(),
                    advice: finding.advice.clone(),
                });
                groups.len() - 1
            });
            let group = &mut groups[place];
            group.count += 1;
            if group.examples.len() < Group::EXAMPLES {
                group.examples.push(finding.subject.clone());
            }
        }
        groups
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.examples.join(", "))?;
        if self.count > self.examples.len() {
            write!(f, " and {} more", self.count - self.examples.len())?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(advice) = &self.advice {
            write!(f, " ({advice})")?;
        }
        Ok(())
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
    match &Group::of(findings)[..] {
        [] => "import refused the model".into(),
        [only] => only.to_string(),
        [first, rest @ ..] => {
            let count: usize = rest.iter().map(|group| group.count).sum();
            format!("{first} (and {count} more)")
        }
    }
}

/// A finding whose subject is known to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
    pub(super) advice: Option<String>,
}

impl Problem {
    pub(super) fn about(self, subject: &str) -> Finding {
        let Problem { kind, text, advice } = self;
        Finding { kind, subject: subject.to_owned(), operator: None, problem: text, advice }
    }

    /// The same with what the user can do.
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Problem { advice: Some(advice.into()), ..self }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotOnnx(text) => invalid(text),
            ReadError::Invalid { .. } => invalid(error.to_string()),
            ReadError::Unsupported { .. } => unsupported(error.to_string()),
        }
    }
}

pub(super) fn invalid(text: impl Into<String>) -> Problem {
    Problem { kind: ErrorKind::Invalid, text: text.into(), advice: None }
}

pub(super) fn unsupported(text: impl Into<String>) -> Problem {
    Problem { kind: ErrorKind::Unsupported, text: text.into(), advice: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_findings_become_one_group() {
        let finding = |subject: &str, text: &str| unsupported(text).about(subject);
        let findings = [finding("a", "x"), finding("b", "y"), finding("c", "x"), finding("d", "x"), finding("e", "x")];
        let groups = Group::of(&findings);
        assert_eq!(groups.iter().map(|group| group.count).collect::<Vec<_>>(), [4, 1]);
        assert_eq!(groups[0].to_string(), "a, c, d and 1 more: x");
    }
}
