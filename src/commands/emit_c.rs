//! `releqc emit-c`: an artifact as C for microcontrollers.

use super::Context;
use crate::args::EmitC;
use crate::artifact;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::report::grouped;
use releqc_emit_c::{EmitError, Emitted, emit};
use serde::Serialize;
use std::fs;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    files: Vec<String>,
    functions: Vec<String>,
    arena_bytes: usize,
    scratch_bytes: usize,
    constant_bytes: usize,
}

pub(super) fn execute(args: &EmitC, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let name = args.name.clone().unwrap_or_else(|| name_of(&args.artifact));
    let emitted = emit(&artifact, &name).map_err(|error| match error {
        EmitError::Name(_) => Failure::input(error),
        EmitError::Operators { .. } => Failure::unsupported(error),
    })?;
    if !args.output.is_dir() {
        let made = fs::create_dir(&args.output);
        made.map_err(|error| Failure::input(format!("--output {}: {error}", args.output.display())))?;
    }
    let parts = [("h", &emitted.header), ("c", &emitted.source)];
    let place = |extension: &str| Output::at(&args.output.join(format!("{name}.{extension}")), &[&args.artifact]);
    let places = parts.iter().map(|(extension, _)| place(extension)).collect::<Result<Vec<_>, _>>()?;
    for (place, (_, text)) in places.iter().zip(parts) {
        place.write(|out| out.write_all(text.as_bytes()))?;
    }
    let report = Report::new(&emitted, &name, &places);
    context.console.summary(&report, || report.text())?;
    Ok(Outcome::Done)
}

/// The file's name as an identifier.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("net_{name}") }
}

impl Report {
    fn new(emitted: &Emitted, name: &str, places: &[Output]) -> Self {
        let mut functions = vec![format!("{name}_run")];
        functions.extend(emitted.takes_pixels.then(|| format!("{name}_run_u8")));
        Report {
            files: places.iter().map(|place| place.path().to_string_lossy().into_owned()).collect(),
            functions,
            arena_bytes: emitted.arena_bytes,
            scratch_bytes: emitted.scratch_bytes,
            constant_bytes: emitted.constant_bytes,
        }
    }

    fn text(&self) -> String {
        format!(
            "{}: {}\n{} bytes of constants; static memory: {} bytes of activations, {} of unpacked weights\n",
            self.files.join(", "),
            self.functions.join(", "),
            grouped(self.constant_bytes as u64),
            grouped(self.arena_bytes as u64),
            grouped(self.scratch_bytes as u64)
        )
    }
}
