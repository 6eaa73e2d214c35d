//! `releqc check`: what of a network is supported, before any work.

use super::Context;
use crate::args::Check;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::report::{Align, Table};
use releqc_passes::compile;
use releqc_passes::import::{self, ErrorKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Serialize)]
struct Report {
    supported: bool,
    nodes: Vec<Node>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    op: String,
}

#[derive(Serialize)]
struct Finding {
    kind: &'static str,
    node: String,
    problem: String,
}

pub(super) fn execute(args: &Check, context: &Context) -> Result<Outcome, Failure> {
    let bytes = input::model(&args.model)?;
    let path = args.model.display();
    let found = compile::check(&bytes, &args.import.options()).map_err(|error| match error.kind() {
        ErrorKind::Unsupported => Failure::unsupported(format!("{path}: {error}")),
        ErrorKind::Invalid => Failure::input(format!("{path}: {error}")),
        ErrorKind::Violation => Failure::defect(format!("{path}: {error}")),
    })?;
    let finding = |finding: &import::Finding| Finding {
        kind: match finding.kind {
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Violation => "defect",
        },
        node: finding.subject.clone(),
        problem: finding.problem.clone(),
    };
    let report = Report {
        supported: found.findings.is_empty(),
        nodes: found.supported.into_iter().map(|(name, op)| Node { name, op }).collect(),
        findings: found.findings.iter().map(finding).collect(),
    };
    if report.supported {
        context.console.result(&report, || report.text())?;
        return Ok(Outcome::Done);
    }
    // The report is the answer on a terminal; with --json the error object carries the count and the first finding.
    if !context.console.is_json() {
        context.console.result(&report, || report.text())?;
    }
    let count = report.findings.len();
    let message = match report.findings.first() {
        Some(first) if count > 1 => format!("{path}: {}: {} (and {} more)", first.node, first.problem, count - 1),
        Some(first) => format!("{path}: {}: {}", first.node, first.problem),
        None => format!("{path}: refused"),
    };
    let kinds = || found.findings.iter().map(|finding| finding.kind);
    let failure = if kinds().any(|kind| kind == ErrorKind::Violation) {
        Failure::defect(message)
    } else if kinds().any(|kind| kind == ErrorKind::Invalid) {
        Failure::input(message)
    } else {
        Failure::unsupported(message)
    };
    Err(failure.with_details(&report))
}

impl Report {
    fn text(&self) -> String {
        let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &self.nodes {
            *operators.entry(&node.op).or_default() += 1;
        }
        let mut text = String::new();
        let mut table = Table::new(&[("operator", Align::Left), ("nodes", Align::Right)]);
        for (op, count) in operators {
            table.row([op.to_owned(), count.to_string()]);
        }
        let _ = write!(text, "{table}");
        if self.supported {
            let _ = writeln!(text, "\nsupported: all {} nodes", self.nodes.len());
        } else {
            let _ = writeln!(text, "\nnot supported:");
            for finding in &self.findings {
                let _ = writeln!(text, "  {} ({}): {}", finding.node, finding.kind, finding.problem);
            }
        }
        text
    }
}
