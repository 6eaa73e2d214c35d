//! `releqc export`: an artifact as an ONNX network for other engines.

use super::Context;
use crate::args::{Export, ExportFormat};
use crate::artifact;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::report::{Align, Table, grouped};
use releqc_passes::export::{ExportOptions, Exported, Format, Rounding, export};
use releqc_runtime::format::Artifact;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Write;

/// Names that are shown of the operators of one kind.
const SHOWN: usize = 3;

#[derive(Serialize)]
struct Report<'a> {
    output: Cow<'a, str>,
    format: &'static str,
    size_bytes: usize,
    nodes: usize,
    may_differ: Vec<Difference>,
}

/// An operator whose result another engine may round otherwise.
#[derive(Serialize)]
struct Difference {
    name: String,
    op: &'static str,
    /// By how many codes at most where operands are equal; `null` for floats.
    codes: Option<u8>,
    reason: &'static str,
}

pub(super) fn execute(args: &Export, context: &Context) -> Result<Outcome, Failure> {
    if args.int4 && args.format != ExportFormat::Qdq {
        return Err(Failure::input("--int4 belongs to --format qdq; qonnx states every width"));
    }
    let place = Output::at(&args.output, &[&args.artifact])?;
    let artifact = artifact::open(&args.artifact)?;
    let options = ExportOptions { format: args.format.format(), int4: args.int4 };
    let exported =
        exported(&artifact, options).map_err(|error| error.prefixed(&args.artifact.display().to_string()))?;
    place.write(|file| file.write_all(&exported.bytes))?;
    let report = Report {
        output: args.output.to_string_lossy(),
        format: word(options.format),
        size_bytes: exported.bytes.len(),
        nodes: exported.nodes,
        may_differ: exported.roundings.iter().map(Difference::new).collect(),
    };
    context.console.summary(&report, || report.text(&exported.roundings))?;
    Ok(Outcome::Done)
}

/// Exports an artifact; operators without a form are exit code 3.
pub(super) fn exported(artifact: &Artifact, options: ExportOptions) -> Result<Exported, Failure> {
    export(artifact, options).map_err(Failure::unsupported)
}

fn word(format: Format) -> &'static str {
    match format {
        Format::Qdq => "qdq",
        Format::Qonnx => "qonnx",
    }
}

impl Difference {
    fn new(rounding: &Rounding) -> Self {
        Difference {
            name: rounding.name.clone(),
            op: rounding.op,
            codes: rounding.kind.codes(),
            reason: rounding.kind.reason(),
        }
    }
}

impl Report<'_> {
    fn text(&self, roundings: &[Rounding]) -> String {
        let mut text =
            format!("wrote {}: {} nodes, {} bytes\n", self.output, self.nodes, grouped(self.size_bytes as u64));
        let mut kinds: Vec<_> = roundings.iter().map(|rounding| rounding.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut table = Table::new(&[
            ("may differ", Align::Right),
            ("by codes", Align::Right),
            ("because", Align::Left),
            ("operators", Align::Left),
        ]);
        for kind in kinds {
            let names: Vec<&str> =
                roundings.iter().filter(|rounding| rounding.kind == kind).map(|rounding| &*rounding.name).collect();
            let more = names.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let shown = names[..names.len().min(SHOWN)].join(", ");
            table.row([
                names.len().to_string(),
                kind.codes().map_or_else(|| "floats".into(), |codes| codes.to_string()),
                kind.reason().into(),
                format!("{shown}{more}"),
            ]);
        }
        if !roundings.is_empty() {
            let _ = write!(text, "\n{table}");
        }
        text
    }
}
