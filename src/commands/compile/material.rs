//! The data that a compilation learns from and judges on.

use crate::args;
use crate::failure::Failure;
use crate::rows;
use releqc_passes::compile::{CompileOptions, Labelled, Retrain};
use releqc_passes::data::{self, Dataset, Reading, Splits};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Validation samples taken from the training data where there is no validation part: at most this many ..
const VALIDATION_SAMPLES: f64 = 5000.0;
/// .. and at most this share.
const VALIDATION_SHARE: f64 = 1.0 / 6.0;

/// Samples without labels up to which all of them serve both for calibration and to be measured on: nothing is learned by heart from them.
const FEW: usize = 256;

/// The files and folders that `--data` names.
pub(super) fn paths(given: &[OsString]) -> Vec<PathBuf> {
    let path = |word: &OsString| match rows::named(word) {
        Some((_, file)) if !Path::new(word).exists() => file,
        _ => PathBuf::from(word),
    };
    given.iter().map(path).collect()
}

/// The data, where there are any.
pub(in crate::commands) fn read(given: &[OsString], reading: &Reading, seed: u64) -> Result<Option<Labelled>, Failure> {
    if given.is_empty() {
        return Ok(None);
    }
    let splits = splits(given, reading)?;
    let shown = given.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(", ");
    let what = |what: &str| Failure::input(format!("data {shown}: {what}"));
    let train = splits.train.ok_or_else(|| what("no training part; names with train mark it"))?;
    if let (None, Some(done), true) = (&reading.preprocessing, train.preprocessing(), reading.takes_floats()) {
        tracing::info!("no --mean, --std or --raw-pixels: assumed {done}");
    }
    let (training, validation) = match splits.validation {
        Some(validation) => (train, validation),
        None => divided(train, seed),
    };
    if training.is_empty() || validation.is_empty() {
        return Err(what("too few samples: at least some to learn from and some to validate on are required"));
    }
    let fingerprint = format!("{} {}", training.fingerprint(), validation.fingerprint());
    Ok(Some(Labelled { training, validation, fingerprint }))
}

/// A path, or `NAME=X.npy` for each input.
fn splits(given: &[OsString], reading: &Reading) -> Result<Splits, Failure> {
    let is_input = |name: &str| reading.inputs.iter().any(|input| input.name == name);
    let named: Option<Vec<(String, PathBuf)>> = given.iter().map(|word| rows::named(word)).collect();
    match (named, given) {
        (Some(named), _) if named.iter().any(|(name, _)| is_input(name)) => {
            let (read, unread): (Vec<_>, Vec<_>) = named.into_iter().partition(|(name, _)| is_input(name));
            unread.iter().for_each(|(name, _)| tracing::warn!("--data: no input {name:?} is read by the network"));
            let files: BTreeMap<String, PathBuf> = read.into_iter().collect();
            data::load_arrays(&files, reading).map_err(Failure::input)
        }
        (_, [path]) => data::load_for_compilation(Path::new(path), reading).map_err(Failure::input),
        _ => {
            let names: Vec<&str> = reading.inputs.iter().map(|input| input.name.as_str()).collect();
            let what = format!("--data: one path, or NAME=X.npy for each input ({}) is required", names.join(", "));
            Err(Failure::input(what))
        }
    }
}

/// Training and validation samples of one part.
fn divided(train: Dataset, seed: u64) -> (Dataset, Dataset) {
    if train.labels().is_none() && train.len() <= FEW {
        tracing::info!("{} samples without labels: all are calibrated on and measured on", train.len());
        return (train.clone(), train);
    }
    let share = (VALIDATION_SAMPLES / train.len().max(1) as f64).min(VALIDATION_SHARE);
    let (training, validation) = train.split(seed, share);
    tracing::info!(
        "{} validation samples taken from the training part, {} left to learn from",
        validation.len(),
        training.len()
    );
    (training, validation)
}

/// Fits the options to what the data turned out to be.
pub(super) fn settle(options: &mut CompileOptions, data: &Labelled, args: &args::Compile) {
    // What was done to pixels is recorded even where it was assumed.
    if options.preprocessing.is_none() {
        options.preprocessing = data.training.preprocessing().cloned();
    }
    if data.training.labels().is_none() {
        if args.retrain.is_none() {
            options.retrain = Retrain::None;
        }
        options.goal = args.max_loss.is_some();
    }
}
