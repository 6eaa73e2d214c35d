//! `releqc eval`: accuracy or error of an artifact on labelled data.

use super::Context;
use crate::args::{Eval, MetricName};
use crate::artifact;
use crate::executor::{Choice, map_samples};
use crate::failure::{Failure, Outcome};
use crate::saturation::{self, Saturation};
use releqc_passes::compile::Metric;
use releqc_passes::data::{self, Dataset, Geometry, Part, Preprocessing, Reading};
use releqc_passes::evaluate::is_among;
use releqc_runtime::format::Artifact;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    measured: Measured,
    samples: usize,
    split: &'static str,
    preprocessing: String,
    seconds: f64,
    warnings: Vec<String>,
}

/// The figure, under the name of what was measured.
#[derive(Serialize)]
#[serde(rename_all = "lowercase", untagged)]
enum Measured {
    Top1 { top1: f64, correct: usize },
    Top5 { top5: f64, correct: usize },
    Mse { mse: f64 },
    Mae { mae: f64 },
}

impl Measured {
    fn text(&self, samples: usize) -> String {
        match self {
            Measured::Top1 { top1, correct } => format!("top-1 {:.2} %: {correct} of {samples} samples", 100.0 * top1),
            Measured::Top5 { top5, correct } => format!("top-5 {:.2} %: {correct} of {samples} samples", 100.0 * top5),
            Measured::Mse { mse } => format!("mean squared error {mse:.6}: {samples} samples"),
            Measured::Mae { mae } => format!("mean absolute error {mae:.6}: {samples} samples"),
        }
    }
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
    let metric = match args.metric.unwrap_or(MetricName::Top1) {
        MetricName::Snr => {
            return Err(Failure::input(
                "--metric snr: it is measured against the float network; releqc compare does it",
            ));
        }
        name => name.metric(),
    };
    let bar = context.console.bar("eval", data.len() as u64);
    let choice = Choice::cpu(args.isa, context.threads);
    let read = |i: usize, out: &mut [f32]| data.read(i, out);
    let measured = if metric.is_error() {
        let (wanted, len) = numbers(&artifact, &args.data, &data)?;
        let first = |outputs: Vec<Vec<f32>>| outputs.into_iter().next().unwrap_or_default();
        let outputs = map_samples(&artifact, choice, data.len(), read, first, || bar.advance())?;
        let errors = outputs.iter().zip(wanted.chunks_exact(len)).map(|(seen, wanted)| metric.error(seen, wanted));
        let error = errors.sum::<f64>() / data.len() as f64;
        if metric == Metric::Mse { Measured::Mse { mse: error } } else { Measured::Mae { mae: error } }
    } else {
        let labels = labels(&artifact, &args.data, &data)?;
        let first = |outputs: Vec<Vec<f32>>| outputs.into_iter().next().unwrap_or_default();
        let outputs = map_samples(&artifact, choice, data.len(), read, first, || bar.advance())?;
        let answers = outputs.iter().zip(labels);
        let correct = answers.filter(|(values, label)| is_among(values, **label, metric.answers())).count();
        let share = correct as f64 / data.len() as f64;
        match metric {
            Metric::Top5 => Measured::Top5 { top5: share, correct },
            _ => Measured::Top1 { top1: share, correct },
        }
    };
    drop(bar);
    let warnings = warnings(&artifact, &data);
    let report = Report {
        measured,
        samples: data.len(),
        split: part.name(),
        preprocessing: preprocessing(&data, &reading),
        seconds: context.seconds(),
        warnings,
    };
    context.console.result(&report, || {
        let Report { measured, samples, split, preprocessing, seconds, .. } = &report;
        let text = measured.text(*samples);
        format!("{text} of the {split} part ({preprocessing}) in {seconds:.1} s\n")
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

/// The labels as numbers, and how many there are of each sample: as many as the first output has values.
fn numbers(artifact: &Artifact, path: &Path, data: &Dataset) -> Result<(Vec<f32>, usize), Failure> {
    let wanted = data.numbers().ok_or_else(|| Failure::input(format!("data {}: no labels", path.display())))?;
    let len = artifact.program().outputs.first().map_or(0, |(port, _)| port.len());
    if len == 0 || wanted.len() != len * data.len() {
        let given = wanted.len() / data.len().max(1);
        let what = format!("{given} labels a sample; the network's first output has {len} values");
        return Err(Failure::input(format!("data {}: {what}", path.display())));
    }
    Ok((wanted, len))
}

/// The labels, each of which the network must be able to answer.
fn labels<'d>(artifact: &Artifact, path: &Path, data: &'d Dataset) -> Result<&'d [u32], Failure> {
    let missing = || match data.targets() {
        Some(_) => {
            format!("data {}: labels that are no class indices; --metric mse or mae measures them", path.display())
        }
        None => format!("data {}: no labels", path.display()),
    };
    let labels = data.labels().ok_or_else(|| Failure::input(missing()))?;
    let classes = artifact.program().outputs.first().map_or(0, |(port, _)| port.len());
    match labels.iter().find(|label| **label as usize >= classes) {
        Some(label) => {
            let what = format!("data {}: label {label}; the network has {classes} outputs", path.display());
            Err(Failure::input(what))
        }
        None => Ok(labels),
    }
}
