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
    groups: Vec<Group>,
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
    operator: Option<String>,
    problem: String,
}

/// Findings of one operator that say the same.
#[derive(Serialize)]
struct Group {
    kind: &'static str,
    operator: Option<String>,
    problem: String,
    count: usize,
    examples: Vec<String>,
    advice: Option<String>,
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Violation => "defect",
    }
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
        kind: word(finding.kind),
        node: finding.subject.clone(),
        operator: finding.operator.clone(),
        problem: finding.problem.clone(),
    };
    let group = |group: import::Group| Group {
        kind: word(group.kind),
        operator: group.operator,
        problem: group.problem,
        count: group.count,
        examples: group.examples,
        advice: group.advice,
    };
    let report = Report {
        supported: found.findings.is_empty(),
        nodes: found.supported.into_iter().map(|(name, op)| Node { name, op }).collect(),
        findings: found.findings.iter().map(finding).collect(),
        groups: import::Group::of(&found.findings).into_iter().map(group).collect(),
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
            let mut table = Table::new(&[
                ("operator", Align::Left),
                ("findings", Align::Right),
                ("", Align::Left),
                ("problem", Align::Left),
                ("nodes", Align::Left),
            ]);
            for group in &self.groups {
                let more = group.count - group.examples.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let advice = group.advice.as_ref().map(|advice| format!(" ({advice})")).unwrap_or_default();
                table.row([
                    group.operator.clone().unwrap_or_default(),
                    group.count.to_string(),
                    group.kind.into(),
                    format!("{}{advice}", group.problem),
                    format!("{}{more}", group.examples.join(", ")),
                ]);
            }
            let _ = write!(text, "\nnot supported:\n{table}");
        }
        text
    }
}
