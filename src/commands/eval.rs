//! `releqc eval`: accuracy of an artifact on labelled data.

use super::Context;
use crate::args::Eval;
use crate::artifact;
use crate::executor::{Choice, map_samples};
use crate::failure::{Failure, Outcome};
use crate::saturation::{self, Saturation};
use releqc_passes::data::{self, Dataset, Geometry, Part, Preprocessing, Reading};
use releqc_passes::evaluate::largest;
use releqc_runtime::format::Artifact;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    top1: f64,
    correct: usize,
    samples: usize,
    split: &'static str,
    preprocessing: String,
    seconds: f64,
    warnings: Vec<String>,
}

pub(super) fn execute(args: &Eval, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let stated = args.pixels.stated()?;
    let metadata = artifact.metadata();
    let reading = Reading {
        inputs: artifact::inputs(&artifact),
        stated: stated.is_some(),
        preprocessing: stated.or_else(|| Preprocessing::recorded(metadata)),
        geometry: args.pixels.geometry().unwrap_or_else(|| Geometry::recorded(metadata)),
    };
    let (part, data) = samples(&args.data, &reading)?;
    let labels = labels(&artifact, &args.data, &data)?;
    let bar = context.console.bar("eval", data.len() as u64);
    let choice = Choice::cpu(args.isa, context.threads);
    let class = |outputs: Vec<Vec<f32>>| outputs.first().map_or(0, |first| largest(first));
    let classes = map_samples(&artifact, choice, data.len(), |i, out| data.read(i, out), class, || bar.advance())?;
    drop(bar);
    let warnings = warnings(&artifact, &data);
    let correct = classes.iter().zip(labels).filter(|(class, label)| class == label).count();
    let report = Report {
        top1: correct as f64 / data.len() as f64,
        correct,
        samples: data.len(),
        split: part.name(),
        preprocessing: preprocessing(&data, &reading),
        seconds: context.seconds(),
        warnings,
    };
    context.console.result(&report, || {
        let Report { correct, samples, split, preprocessing, seconds, .. } = &report;
        format!(
            "top-1 {:.2} %: {correct} of {samples} samples of the {split} part ({preprocessing}) in {seconds:.1} s\n",
            100.0 * report.top1
        )
    })?;
    Ok(Outcome::Done)
}

/// What was done to the stored numbers.
fn preprocessing(data: &Dataset, reading: &Reading) -> String {
    let Some(done) = data.preprocessing() else { return "inputs as they are".into() };
    if reading.preprocessing.is_none() && *done != Preprocessing::Raw {
        tracing::warn!(
            "the artifact records no preprocessing; assumed: {done} (--mean, --std, --raw-pixels state another)"
        );
    }
    if reading.geometry.is_none() { done.to_string() } else { format!("{}, {done}", reading.geometry) }
}

/// Says on stderr which inputs saturate, and yields the lines.
fn warnings(artifact: &Artifact, data: &Dataset) -> Vec<String> {
    let mut saturation = Saturation::of(artifact.program());
    let mut sample = vec![0.0; artifact.program().input_len()];
    for index in 0..data.len() {
        data.read(index, &mut sample);
        saturation.count(&sample);
    }
    let warnings = saturation.warnings();
    saturation::warn(&warnings);
    warnings
}

fn samples(path: &Path, reading: &Reading) -> Result<(Part, Dataset), Failure> {
    let (part, data) = data::load_for_evaluation(path, reading).map_err(Failure::input)?;
    match part {
        Part::Whole => tracing::info!("the names in {} state no test part: all samples are used", path.display()),
        Part::Validation => tracing::info!("{} has no test part: the validation part is used", path.display()),
        _ => {}
    }
    if data.is_empty() {
        return Err(Failure::input(format!("data {}: the {} part has no samples", path.display(), part.name())));
    }
    Ok((part, data))
}

/// The labels, each of which the network must be able to answer.
fn labels<'d>(artifact: &Artifact, path: &Path, data: &'d Dataset) -> Result<&'d [u32], Failure> {
    let labels = data.labels().ok_or_else(|| Failure::input(format!("data {}: no labels", path.display())))?;
    let classes = artifact.program().outputs.first().map_or(0, |(port, _)| port.len());
    match labels.iter().find(|label| **label as usize >= classes) {
        Some(label) => {
            let what = format!("data {}: label {label}; the network has {classes} outputs", path.display());
            Err(Failure::input(what))
        }
        None => Ok(labels),
    }
}
