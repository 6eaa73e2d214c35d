//! `releqc sim`: cycles and energy on the accelerator, and its functional simulation.

mod by_hand;
mod files;
mod report;
mod sweep;

use super::{Context, run};
use crate::args::Sim;
use crate::artifact;
use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::output::Output;
use crate::rows::Rows;
use releqc_runtime::accel::Simulator;
use releqc_runtime::accel::cost::{estimate_on, timeline};
use releqc_runtime::accel::step::Sections;
use report::Report;
use std::path::Path;

pub(super) fn execute(args: &Sim, context: &Context) -> Result<Outcome, Failure> {
    let file = match (&args.program, &args.artifact) {
        (Some(program), _) => {
            let report = by_hand::execute(program, args)?;
            context.console.result(&report, || report.text())?;
            return Ok(Outcome::Done);
        }
        (None, Some(file)) => file,
        (None, None) => return Err(Failure::input("an artifact, or --program, is required")),
    };
    if args.output.is_some() && args.input.is_empty() {
        return Err(Failure::input("--output: --input is required with it"));
    }
    let artifact = artifact::open(file)?;
    let mut inputs = vec![file.clone()];
    inputs.extend(Rows::files(&args.input, artifact.program())?);
    let outputs = run::places(args.output.as_deref(), &artifact, &inputs)?;
    let read: Vec<&Path> = inputs.iter().map(std::path::PathBuf::as_path).collect();
    let place = |path: &Option<std::path::PathBuf>| path.as_deref().map(|path| Output::at(path, &read)).transpose();
    let (csv, trace) = (place(&args.csv)?, place(&args.trace)?);
    let (machine, program) = machine::of_artifact(&artifact, &args.machine)?;
    let model = machine::model(&machine);
    let refused = |error| Failure::input(format!("accelerator program: {error}"));
    let cost = estimate_on(&artifact, &program, &model).map_err(refused)?;
    let mut report = Report::new(&machine, &model, &cost, program.instructions.len());
    if let Some(place) = csv {
        place.write(|file| file.write_all(files::csv(&report).as_bytes()))?;
    }
    if let Some(place) = trace {
        let sections =
            Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
        let timeline = timeline(&program, sections, artifact.program(), &model).map_err(refused)?;
        place.write(|file| file.write_all(&files::trace(&timeline, artifact.program())))?;
    }
    if !args.sweep.is_empty() {
        report.sweep = Some(sweep::sweep(&args.sweep, &artifact, &model)?);
    }
    if !args.input.is_empty() {
        let rows = Rows::read(&args.input, artifact.program())?;
        report.warnings = run::warnings(&artifact, &rows);
        let mut simulator = Simulator::with_program(&artifact, &program, &model.config).map_err(refused)?;
        let mut sample = vec![0.0; artifact.program().input_len()];
        if let (Some(folder), true) = (&args.vectors, rows.count > 0) {
            rows.copy_to(0, &mut sample);
            let vectors = simulator.vectors(&program, &model.config, &sample).map_err(Failure::defect)?;
            report.replayed = Some(vectors.replayed);
            files::vectors(folder, &vectors, &model.config)?;
        }
        let bar = context.console.bar("run", rows.count as u64);
        let mut results = Vec::new();
        for index in 0..rows.count {
            if crate::console::interrupted() {
                return Err(Failure::interrupted("interrupted"));
            }
            rows.copy_to(index, &mut sample);
            results.push(simulator.run(&sample).map_err(Failure::defect)?);
            bar.advance();
        }
        drop(bar);
        run::write_all(&artifact, &results, &outputs)?;
        report.simulated_rows = Some(rows.count);
    }
    context.console.result(&report, || report.text())?;
    Ok(Outcome::Done)
}
