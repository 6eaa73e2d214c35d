//! `releqc run`: an artifact on the rows of an array.

use super::Context;
use crate::args::{Executor, Run};
use crate::artifact;
use crate::executor::{Choice, all_cores, map_samples};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::rows::{Rows, stacked};
use crate::saturation::{self, Saturation};
use releqc_passes::data::npy;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Port;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Report {
    outputs: Vec<OutputReport>,
    seconds: f64,
    executor: &'static str,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct OutputReport {
    name: String,
    shape: Vec<usize>,
    /// A path that is no UTF-8 is shown as far as it is.
    file: Option<String>,
}

pub(super) fn execute(args: &Run, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let mut inputs = vec![args.artifact.clone()];
    inputs.extend(Rows::files(&args.input, artifact.program())?);
    let outputs = places(args.output.as_deref(), &artifact, &inputs)?;
    let rows = Rows::read(&args.input, artifact.program())?;
    let threads = context.threads.unwrap_or_else(all_cores);
    let choice = Choice { executor: args.executor, cpu: args.isa, threads };
    let results = compute(&artifact, choice, &rows, context)?;
    let written = write(&artifact, &results, &outputs)?;
    let executor = match args.executor {
        Executor::Cpu => "cpu",
        Executor::Reference => "reference",
        Executor::Accelerator => "accelerator",
    };
    let warnings = warnings(&artifact, &rows);
    let report = Report { outputs: written, seconds: context.seconds(), executor, warnings };
    context.console.summary(&report, || report.text(&results))?;
    Ok(Outcome::Done)
}

/// Says on stderr which inputs saturate, and yields the lines.
pub(super) fn warnings(artifact: &Artifact, rows: &Rows) -> Vec<String> {
    let mut saturation = Saturation::of(artifact.program());
    let mut sample = vec![0.0; artifact.program().input_len()];
    for index in 0..rows.count {
        rows.copy_to(index, &mut sample);
        saturation.count(&sample);
    }
    let warnings = saturation.warnings();
    saturation::warn(&warnings);
    warnings
}

/// The outputs of every row.
pub(super) fn compute(
    artifact: &Artifact,
    choice: Choice,
    rows: &Rows,
    context: &Context,
) -> Result<Vec<Vec<Vec<f32>>>, Failure> {
    let bar = context.console.bar("run", rows.count as u64);
    map_samples(artifact, choice, rows.count, |i, out| rows.copy_to(i, out), |outputs| outputs, || bar.advance())
}

/// A file for each output of the network: the first is `first`, further ones lie beside it.
pub(super) fn places(first: Option<&Path>, artifact: &Artifact, inputs: &[PathBuf]) -> Result<Vec<Output>, Failure> {
    let Some(first) = first else { return Ok(Vec::new()) };
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let mut names = BTreeSet::new();
    let place = |(index, (port, _)): (usize, &(Port, _))| {
        let path = if index == 0 { first.to_owned() } else { beside(first, &port.name) };
        if !names.insert(path.clone()) {
            return Err(Failure::input(format!(
                "output {}: two outputs of the network have this name",
                path.display()
            )));
        }
        Output::at(&path, &inputs)
    };
    artifact.program().outputs.iter().enumerate().map(place).collect()
}

/// `y.NAME.npy` for `y.npy`, with nothing in NAME that could leave the folder.
fn beside(first: &Path, name: &str) -> PathBuf {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let mut file = first.file_stem().unwrap_or_default().to_owned();
    file.push(format!(".{}.npy", name.chars().map(safe).collect::<String>()));
    first.with_file_name(file)
}

fn write(artifact: &Artifact, results: &[Vec<Vec<f32>>], outputs: &[Output]) -> Result<Vec<OutputReport>, Failure> {
    let mut reports = Vec::new();
    for (index, (port, _)) in artifact.program().outputs.iter().enumerate() {
        let shape = stacked(results.len(), &port.dims);
        let file = outputs.get(index);
        if let Some(file) = file {
            let values: Vec<f32> = results.iter().flat_map(|row| row[index].iter().copied()).collect();
            file.write(|mut out| npy::write(&mut out, &shape, &values))?;
        }
        let file = file.map(|file| file.path().to_string_lossy().into_owned());
        reports.push(OutputReport { name: port.name.clone(), shape, file });
    }
    Ok(reports)
}

/// Writes the outputs of a run of another command.
pub(super) fn write_all(artifact: &Artifact, results: &[Vec<Vec<f32>>], outputs: &[Output]) -> Result<(), Failure> {
    write(artifact, results, outputs).map(|_| ())
}

/// Rows of which the largest value is shown where no file is asked for.
const SHOWN_ROWS: usize = 20;

impl Report {
    fn text(&self, results: &[Vec<Vec<f32>>]) -> String {
        let mut text = String::new();
        for output in &self.outputs {
            let file = output.file.as_ref().map(|file| format!(" -> {file}")).unwrap_or_default();
            let _ = writeln!(text, "output {:?} {:?}{file}", output.name, output.shape);
        }
        if self.outputs.iter().all(|output| output.file.is_none()) {
            for (index, row) in results.iter().enumerate().take(SHOWN_ROWS) {
                let Some(first) = row.first() else { continue };
                let class = releqc_passes::evaluate::largest(first) as usize;
                let _ = writeln!(text, "row {index}: largest value {} at {class}", first[class]);
            }
            if results.len() > SHOWN_ROWS {
                let _ = writeln!(text, "and {} more rows; --output writes them all", results.len() - SHOWN_ROWS);
            }
        }
        let _ = writeln!(text, "{} rows in {:.3} s", results.len(), self.seconds);
        text
    }
}
