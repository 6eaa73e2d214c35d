//! ONNX bytes to the float graph.
//!
//! The order of work: the message is decoded and validated as a whole ([`source`]), every operator's attributes are parsed
//! into one typed form ([`operator`]), tract infers the shape of every value and folds constant chains ([`infer`]), and the
//! nodes are mapped one by one to the IR ([`build`]). Structure and names come from the message, shapes and computed
//! constants from tract.
//!
//! Invariant: tract is named in [`infer`] only, and sees no message that was not validated.

mod attributes;
mod build;
mod error;
mod infer;
mod layout;
mod linear;
mod operator;
mod pointwise;
mod pool;
mod source;
mod window;

pub use error::{ErrorKind, Finding, ImportError};

use crate::ir::Graph;
use crate::onnx::{ReadError, decode_model};
use crate::verify;
use error::Problem;

/// What [`check`] found out about a model.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nodes that contribute to an output and are supported: node name and ONNX operator, in file order.
    pub supported: Vec<(String, String)>,
    /// Everything that stands against compiling the model; empty where it imports.
    pub findings: Vec<Finding>,
}

/// Reads an ONNX model as a float graph, uncanonicalised: one IR node an ONNX node, names kept, batch axis removed.
///
/// # Errors
/// [`ImportError`] with every finding, not only the first.
pub fn from_onnx(bytes: &[u8]) -> Result<Graph, ImportError> {
    let (_, result) = import(bytes);
    result
}

/// What of a model is supported and what is not.
///
/// # Errors
/// [`ImportError`] where the bytes are no ONNX model at all; what is wrong inside a model is in the report.
pub fn check(bytes: &[u8]) -> Result<Report, ImportError> {
    let (supported, result) = import(bytes);
    let findings = match result {
        Ok(_) => Vec::new(),
        Err(ImportError::Read(error)) => return Err(ImportError::Read(error)),
        Err(error) => error.findings().to_vec(),
    };
    let supported =
        supported.into_iter().filter(|(name, _)| !findings.iter().any(|finding| finding.subject == *name)).collect();
    Ok(Report { supported, findings })
}

fn import(bytes: &[u8]) -> (Vec<(String, String)>, Result<Graph, ImportError>) {
    let model = match decode_model(bytes) {
        Ok(model) => model,
        Err(error) => return (Vec::new(), Err(ImportError::Read(error))),
    };
    let mut findings = Vec::new();
    let source = source::Source::new(model, &mut findings);
    let nodes = source.steps.iter().map(|step| (step.name.clone(), step.op_type().to_owned())).collect();
    if !findings.is_empty() {
        return (nodes, Err(ImportError::refused(findings)));
    }
    let graph = infer::infer(&source).map_err(|finding| vec![finding]).and_then(|facts| build::graph(&source, &facts));
    let graph = match graph {
        Ok(graph) => graph,
        Err(findings) => return (nodes, Err(ImportError::refused(findings))),
    };
    let violations = verify::violations(&graph);
    if violations.is_empty() {
        return (nodes, Ok(graph));
    }
    let findings = violations
        .into_iter()
        .map(|violation| {
            let kind = if violation.is_bad_parameter() { ErrorKind::Invalid } else { ErrorKind::Violation };
            Finding { kind, subject: violation.node, problem: violation.problem }
        })
        .collect();
    (nodes, Err(ImportError::refused(findings)))
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::NotOnnx(_) | ReadError::Invalid { .. } => ErrorKind::Invalid,
            ReadError::Unsupported { .. } => ErrorKind::Unsupported,
        };
        Problem { kind, text: error.to_string() }
    }
}
