//! ONNX bytes to the float graph.
//!
//! The order of work: the message is taken apart ([`source`]), the extents of its inputs are settled ([`inputs`]), and its live
//! nodes become nodes of the graph one by one ([`build`]), each by the rule of its operator ([`operators`]). Nodes on constants are
//! evaluated on the way ([`fold`]); functions and branches are inlined ([`control`]). Shapes follow from the operators of
//! the graph.
//!
//! Invariant: what is refused is refused with everything that stands against it, each finding true.
//! Invariant: memory is bounded by the size of the file and a constant ([`budget`]).

mod attributes;
mod batch;
mod budget;
mod build;
mod constant;
mod control;
mod error;
mod expand;
mod fold;
mod inputs;
mod operators;
mod source;
mod types;
mod window;

pub use error::{ErrorKind, Finding, Group, ImportError};

use crate::ir::Graph;
use crate::onnx::decode_model;
use crate::verify;
use error::Problem;
use std::collections::BTreeMap;

/// Turns one ONNX node into nodes of the graph: one value an output, in order; missing ones at the end are not provided.
type Rule = fn(&mut build::Builder<'_>, &source::Step) -> Result<Vec<build::Value>, Problem>;

/// What the user says about a model beyond its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImportOptions {
    /// Extents of inputs that the file leaves open, the batch included, by the input's name.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Values, or nodes whose first output they are, that become the outputs in place of the file's.
    pub cut: Vec<String>,
}

/// What [`check`] found out about a model.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nodes that contribute to an output and are supported: node name and ONNX operator, in file order.
    pub supported: Vec<(String, String)>,
    /// Everything that stands against compiling the model; empty where it imports.
    pub findings: Vec<Finding>,
}

/// Reads an ONNX model as a float graph, uncanonicalised, with a batch of 1 where the file leaves it open.
///
/// # Errors
/// [`ImportError`] with every finding, not only the first.
pub fn from_onnx(bytes: &[u8]) -> Result<Graph, ImportError> {
    import(bytes, &ImportOptions::default())
}

/// [`from_onnx`] with options.
///
/// # Errors
/// [`ImportError`] with every finding, not only the first.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Graph, ImportError> {
    run(bytes, options).1
}

/// What of a model is supported and what is not.
///
/// # Errors
/// [`ImportError`] where the bytes are no ONNX model at all; what is wrong inside a model is in the report.
pub fn check(bytes: &[u8], options: &ImportOptions) -> Result<Report, ImportError> {
    let (supported, result) = run(bytes, options);
    let findings = match result {
        Ok(_) => Vec::new(),
        Err(ImportError::Read(error)) => return Err(ImportError::Read(error)),
        Err(error) => error.findings().to_vec(),
    };
    let supported =
        supported.into_iter().filter(|(name, _)| !findings.iter().any(|finding| finding.subject == *name)).collect();
    Ok(Report { supported, findings })
}

/// Every ONNX operator that is supported in some form; those of other domains begin with it.
pub fn operators() -> Vec<&'static str> {
    operators::names()
}

/// Every ONNX operator that is refused in any form, with the reason, in alphabetical order.
pub fn refused_operators() -> &'static [(&'static str, &'static str)] {
    operators::REFUSED
}

fn run(bytes: &[u8], options: &ImportOptions) -> (Vec<(String, String)>, Result<Graph, ImportError>) {
    let model = match decode_model(bytes) {
        Ok(model) => model,
        Err(error) => return (Vec::new(), Err(ImportError::Read(error))),
    };
    let mut findings = Vec::new();
    let source = source::Source::new(model, &options.cut, &mut findings);
    let nodes = source.steps.iter().map(|step| (step.name.clone(), step.operator())).collect();
    let dims = inputs::resolve(&source.inputs, &options.shapes, &mut findings);
    if !findings.is_empty() {
        findings.extend(build::unsupported_operators(&source));
        return (nodes, Err(ImportError::refused(findings)));
    }
    // Extents that the user gives are meant.
    let batch = if options.shapes.is_empty() { inputs::fixed_batch(&dims) } else { None };
    match graph(&source, &dims, batch, bytes.len()) {
        Ok(graph) => (nodes, verified(graph)),
        Err(findings) => (nodes, Err(ImportError::refused(findings))),
    }
}

/// The graph. A batch above 1 that the whole file is made for is taken as 1 where every output has it and no operator mixes
/// the samples.
fn graph(
    source: &source::Source,
    dims: &[Vec<usize>],
    batch: Option<usize>,
    file_len: usize,
) -> Result<Graph, Vec<Finding>> {
    let whole = build::graph(source, dims, None, file_len);
    let (Some(batch), Ok(whole)) = (batch, &whole) else { return whole };
    if source.outputs.iter().any(|output| output.batch != Some(batch)) {
        return Ok(whole.clone());
    }
    let single: Vec<Vec<usize>> = dims.iter().map(|dims| [&[1], &dims[1..]].concat()).collect();
    match build::graph(source, &single, Some(batch), file_len) {
        Ok(single) if batch::samples_stay_apart(&single, whole) && batch::gives_the_same(&single, whole, batch) => {
            tracing::info!("a batch of {batch} that the file is fixed to is taken as 1: samples come one by one");
            Ok(single)
        }
        _ => Ok(whole.clone()),
    }
}

fn verified(graph: Graph) -> Result<Graph, ImportError> {
    let violations = verify::violations(&graph);
    if violations.is_empty() {
        return Ok(graph);
    }
    let findings = violations
        .into_iter()
        .map(|violation| {
            let kind = if violation.is_bad_parameter() { ErrorKind::Invalid } else { ErrorKind::Violation };
            Finding { kind, subject: violation.node, operator: None, problem: violation.problem, advice: None }
        })
        .collect();
    Err(ImportError::refused(findings))
}
