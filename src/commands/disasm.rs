//! `releqc disasm`: the CPU plan and the accelerator program as text.

use super::Context;
use crate::args::Disasm;
use crate::artifact;
use crate::failure::{Failure, Outcome};
use releqc_runtime::accel::AccelProgram;
use releqc_runtime::accel::text::disassemble;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    plan: String,
    accelerator: Option<String>,
}

pub(super) fn execute(args: &Disasm, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let network = artifact.program();
    let accelerator = match artifact.accelerator() {
        [] => None,
        bytes => {
            let program = AccelProgram::decode(bytes);
            let program = program.map_err(|error| Failure::input(format!("accelerator program: {error}")))?;
            Some(disassemble(&program, Some(network)))
        }
    };
    let report = Report { plan: releqc_runtime::text::plan(network), accelerator };
    context.console.result(&report, || {
        let accelerator = report.accelerator.as_deref().unwrap_or("; the artifact holds no accelerator program\n");
        format!("{}\n{accelerator}", report.plan)
    })?;
    Ok(Outcome::Done)
}
