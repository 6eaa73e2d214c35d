//! `releqc eval`: accuracy of an artifact on labelled data.

use super::Context;
use crate::args::Eval;
use crate::artifact::{self, only_input, sample_shape};
use crate::executor::{Choice, map_samples};
use crate::failure::{Failure, Outcome};
use releqc_passes::data::{self, Dataset, Part, Preprocessing};
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
}

pub(super) fn execute(args: &Eval, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let preprocessing = match args.pixels.stated()? {
        Some(stated) => stated,
        None => recorded(&artifact),
    };
    let (part, data) = samples(&artifact, &args.data, &preprocessing)?;
    let labels = labels(&artifact, &args.data, &data)?;
    let bar = context.console.bar("eval", data.len() as u64);
    let choice = Choice::cpu(args.isa, context.threads);
    let class = |outputs: Vec<Vec<f32>>| outputs.first().map_or(0, |first| largest(first));
    let classes = map_samples(&artifact, choice, data.len(), |i, out| data.read(i, out), class, || bar.advance())?;
    drop(bar);
    let correct = classes.iter().zip(labels).filter(|(class, label)| class == label).count();
    let report = Report {
        top1: correct as f64 / data.len() as f64,
        correct,
        samples: data.len(),
        split: part.name(),
        preprocessing: preprocessing.to_string(),
        seconds: context.seconds(),
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

/// The preprocessing that the artifact states.
fn recorded(artifact: &Artifact) -> Preprocessing {
    Preprocessing::recorded(artifact.metadata()).unwrap_or_else(|| {
        let unit = Preprocessing::unit();
        tracing::warn!(
            "the artifact records no preprocessing; assumed: {unit} (--mean, --std, --raw-pixels state another)"
        );
        unit
    })
}

fn samples(artifact: &Artifact, path: &Path, preprocessing: &Preprocessing) -> Result<(Part, Dataset), Failure> {
    let shape = sample_shape(only_input(&artifact)?)?;
    let (part, data) = data::load_for_evaluation(path, Some(preprocessing), &shape).map_err(Failure::input)?;
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
