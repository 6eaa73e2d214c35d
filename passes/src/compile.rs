//! The pipeline: ONNX bytes to the bytes of an artifact, readable top to bottom.
//!
//! Decides nothing itself: the stages do, and each stage's result is a type of its own.

mod budget;
mod confirm;
mod cost;
mod curvature;
mod divergence;
mod environment;
mod error;
mod exploration;
mod finish;
mod fixed;
mod hopeless;
mod judge;
mod key;
mod limits;
mod lookahead;
mod metric;
mod options;
mod prepare;
mod reconstruct;
mod report;
mod run;
mod search;
mod sensitivity;
mod serve;
mod signal;
mod targets;
mod task;
mod turn;
mod unlearn;
mod watch;
mod yardstick;

pub use error::{CompileError, Fault};
pub use metric::Metric;
pub use options::{
    Budget, CompileOptions, CostKind, DataSource, Event, Hooks, Labelled, MIN_SNR, Quantity, Retrain, RewardKind,
    RoundingKind, Sharing, Store, WidthPolicy,
};
pub use report::{
    AcceleratorStep, Accuracy, BudgetReport, CompileReport, Confirmation, EvaluationReport, Finalist, LayerExplanation,
    LayerReport, LossOf, LossUnit, MethodReport, ParetoPoint, SearchReport, SizeReport, UnlearnedAccuracy, WidthCost,
};
pub use serve::serve;
pub use task::Task;

use self::fixed::Fixed;
pub(crate) use self::judge::{Judge, Score};

use self::limits::Limits;
use self::prepare::{Prepared, prepare};
use self::reconstruct::Reconstruct;
use crate::annotate::Annotated;
use crate::annotation;
use crate::calibrate::{self, Calibrated};
use crate::data::{Dataset, Preprocessing, Samples};
use crate::emit::emit;
use crate::import::{self, ErrorKind, ImportError, ImportOptions};
use crate::ir::Graph;
use crate::legality;
use crate::lower::{LowerError, Lowered, lower};
use crate::post_training::Rounding;
use crate::quantize::{Quantized, quantize};
use crate::random::{Purpose, stream};
use crate::rewrite::{canonicalize, fold_batch_norm};
use crate::synthesize::{InputRange, sure_ones, synthesize};
use crate::train::{Recipe, Trainer};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::AccelConfig;
use releqc_runtime::format::{Artifact, LoadOptions, Metadata};
use releqc_runtime::reference::Reference;
use releqc_runtime::session::{Session, SessionOptions};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// What a compilation yields.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The bytes of `model.rq`.
    pub artifact: Vec<u8>,
    /// What was done and measured.
    pub report: CompileReport,
    /// The annotated network as ONNX, where it was asked for.
    pub annotated: Option<Vec<u8>>,
    /// Name and text of every stage, in order.
    pub stages: Vec<(String, String)>,
}

/// Samples that stand in for a data set where there is none: synthesised, labelled by nobody.
const SYNTHETIC_TRAINING: usize = 1024;
const SYNTHETIC_VALIDATION: usize = 2048;
const SYNTHETIC_CONFIRMATION: usize = 2048;

/// The share of held-back samples that nothing is chosen on, and how many there are at least for one to be set apart.
const CONFIRMATION_SHARE: f64 = 1.0 / 3.0;
const LEAST_DIVIDED: usize = 300;

/// Samples of given data that ranges are taken from, at least, whatever the time: fewer miss values that others have.
const LEAST_CALIBRATION: usize = 64;

/// Samples on which the finished artifact is run through the reference executor too.
const PROOF_SAMPLES: usize = 3;

/// Compiles a model.
///
/// # Errors
/// What is wrong with the model, the options or their combination; [`CompileError::Interrupted`] when
/// `hooks.interrupted` said so before there was anything to write.
pub fn compile(
    model: &[u8],
    data: Option<&Labelled>,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Compiled, CompileError> {
    let Prepared {
        calibrated,
        plain,
        material,
        judge,
        samples,
        stated,
        options,
        asked,
        preprocessing,
        annotation,
        layers,
        mut stages,
    } = prepare(model, data, options, hooks)?;
    let options = &options;
    let metadata = metadata(&calibrated, preprocessing.as_ref(), options);
    let reconstruct = Reconstruct {
        calibrated: &calibrated,
        plain: plain.as_ref(),
        material: &material,
        samples: &samples,
        options,
        of_classes: judge.counts_answers(),
    };
    let limits = Limits::new(&calibrated, metadata.clone(), options);
    let decision = match (annotation, &options.widths) {
        (Some(annotated), _) => Decision::of(annotated),
        (None, WidthPolicy::Uniform(bits)) => {
            Fixed::new(&reconstruct, &judge, &stated).decide(vec![*bits; layers], &samples, hooks)?
        }
        (None, WidthPolicy::PerLayer(widths)) => {
            Fixed::new(&reconstruct, &judge, &stated).decide(widths.clone(), &samples, hooks)?
        }
        (None, WidthPolicy::Search) => search::bitwidths(model, asked, &reconstruct, &judge, &limits, hooks)?,
    };

    hooks.stage("quantize");
    let Decision { annotated, calibrated: widened, noise, search, reference, unlearned, confirmation } = decision;
    stages.extend(noise.map(|text| ("post_training".to_owned(), text)));
    stages.push(("annotated".to_owned(), annotated.to_string()));
    let annotated_model =
        options.annotated.then(|| annotation::write(&annotated, preprocessing.as_ref())).transpose()?;
    let widths: Vec<BitWidth> = annotated.weights.values().map(|w| w.bits).collect();
    let quantized = quantize(annotated)?;
    stages.push(("quantized".to_owned(), quantized.to_string()));
    hooks.stage("lower");
    let lowered = lower(&quantized)?;
    let artifact = emit(lowered, metadata, &options.accelerator.config)?;

    hooks.stage("verify");
    let loaded = Artifact::from_bytes(artifact.clone(), LoadOptions::default()).map_err(CompileError::Unloadable)?;
    prove(&loaded, &samples)?;
    stages.push(("plan".to_owned(), releqc_runtime::text::plan(loaded.program())));
    let accelerator = releqc_runtime::accel::AccelProgram::decode(loaded.accelerator())?;
    stages.push((
        "accelerator".to_owned(),
        releqc_runtime::accel::text::disassemble(&accelerator, Some(loaded.program())),
    ));
    let cost = releqc_runtime::accel::cost::estimate_on(&loaded, &accelerator, &options.accelerator)?;
    stages.push(("cost".to_owned(), cost.to_string()));

    hooks.stage("measure");
    let sensitivity = sensitivity::alone(widened.as_ref().unwrap_or(&calibrated), &widths, &material)?;
    let accuracy = judge.accuracy(&loaded, &material, reference, unlearned)?;
    let budgets = limits.reports(&loaded, &widths)?;
    let report =
        CompileReport::new(&loaded, &quantized, cost, accuracy, budgets, confirmation, search, &sensitivity, options);
    Ok(Compiled { artifact, report, annotated: annotated_model, stages })
}

/// What of a model compiles, before any work on it.
///
/// # Errors
/// [`ImportError`] where the bytes are no ONNX model at all; what is wrong inside a model is in the report.
pub fn check(model: &[u8], options: &ImportOptions) -> Result<import::Report, ImportError> {
    let mut report = import::check(model, options)?;
    if !report.findings.is_empty() {
        return Ok(report);
    }
    let mut refuse = |kind, subject: &str, problem: String| {
        report.findings.push(import::Finding {
            kind,
            subject: subject.to_owned(),
            operator: None,
            problem,
            advice: None,
        });
    };
    let graph = match import::import(model, options).map(canonicalize) {
        Ok(Ok(graph)) => fold_batch_norm(&graph),
        Ok(Err(error)) => {
            refuse(ErrorKind::Violation, "graph", error.to_string());
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    if graph.weight_layers().is_empty() {
        let error = CompileError::NoWeights { network: graph.name.clone() };
        refuse(ErrorKind::Unsupported, &graph.name, error.to_string());
    } else if let Err(error) = legality::check(&graph) {
        let (subject, problem) = match &error {
            LowerError::TooLarge { node, .. } => (node.clone(), error.to_string()),
            LowerError::Unsupported { node, what } => (node.clone(), what.clone()),
            LowerError::Quantize(_) => (graph.name.clone(), error.to_string()),
        };
        refuse(ErrorKind::Unsupported, &subject, problem);
    }
    Ok(report)
}

/// How pixels become inputs of `model`: as `stated`, or as an annotated model has recorded it.
///
/// # Errors
/// Where both say something and it is not the same, or the annotation cannot be read.
pub fn preprocessing(model: &[u8], stated: Option<&Preprocessing>) -> Result<Option<Preprocessing>, CompileError> {
    let recorded = annotation::header(model)?.and_then(|header| header.preprocessing);
    match (stated, recorded) {
        (Some(stated), Some(recorded)) if !stated.agrees_with(&recorded) => Err(CompileError::Option(format!(
            "--mean, --std, --raw-pixels: {stated}; the annotated network was made for {recorded}, which is used where none is given"
        ))),
        (stated, recorded) => Ok(recorded.or(stated.cloned())),
    }
}

/// The bytes of the artifact of an annotated graph, without accelerator program and metadata.
pub(crate) fn encoded(annotated: Annotated) -> Result<Vec<u8>, CompileError> {
    let Lowered { program, constants, weights } = lower(&quantize(annotated)?)?;
    let parts = releqc_runtime::format::ArtifactParts { program, constants, weights, ..Default::default() };
    Ok(releqc_runtime::format::encode(&parts))
}

/// The bytes of the artifact of an annotated graph for a machine, without metadata.
fn emitted(annotated: Annotated, machine: &AccelConfig) -> Result<Vec<u8>, CompileError> {
    Ok(emit(lower(&quantize(annotated)?)?, Metadata::new(), machine)?)
}

/// The artifact of an annotated graph, loaded.
pub(crate) fn build(annotated: Annotated) -> Result<Artifact, CompileError> {
    Artifact::from_bytes(encoded(annotated)?, LoadOptions::default()).map_err(CompileError::Unloadable)
}

/// Widths with the graph annotated for them, and what the search did.
struct Decision {
    annotated: Annotated,
    /// The network whose layers those are, where some read wide values.
    calibrated: Option<Calibrated>,
    /// What rounding costs at every node, where that was measured.
    noise: Option<String>,
    search: Option<SearchReport>,
    /// The accuracy that losses are counted from, where it is not the float network's.
    reference: Option<f64>,
    /// What the copy that widths were judged on lost, where there was one.
    unlearned: Option<UnlearnedAccuracy>,
    /// The loss on samples that nothing was chosen on.
    confirmation: Option<Confirmation>,
}

impl Decision {
    /// A graph with nothing to say of how it came about.
    fn of(annotated: Annotated) -> Self {
        Decision {
            annotated,
            calibrated: None,
            noise: None,
            search: None,
            reference: None,
            unlearned: None,
            confirmation: None,
        }
    }
}

/// One retraining run with progress.
pub(crate) fn retrain(
    calibrated: &Calibrated,
    material: &Material<'_>,
    recipe: Recipe,
    widths: &[BitWidth],
    seed: u64,
    hooks: &mut Hooks<'_>,
) -> Result<Annotated, CompileError> {
    let trainer = Trainer::new(calibrated, material.training(), recipe, seed)?;
    let retrained = trainer.retrain(widths, |progress| {
        hooks.report(Event::Retraining { step: progress.step, steps: progress.steps, loss: progress.loss });
        if hooks.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    hooks.check_interrupt()?;
    Ok(retrained.annotated)
}

/// What the stages learn from and are measured on.
#[allow(clippy::large_enum_variant, reason = "one value a compilation")]
pub(crate) enum Material<'d> {
    /// The caller's data, with labels or without.
    Given {
        data: &'d Labelled,
        /// For judging widths: all that was held back, or what the confirmation leaves.
        validation: Cow<'d, Dataset>,
        /// What nothing is chosen on.
        confirmation: Option<Dataset>,
    },
    /// Synthesised through the network.
    Synthetic {
        /// For calibration and distillation.
        training: Dataset,
        /// For agreement with the float network.
        validation: Dataset,
        /// What nothing is chosen on.
        confirmation: Option<Dataset>,
    },
}

impl<'d> Material<'d> {
    fn gather(
        folded: &Graph,
        data: Option<&'d Labelled>,
        ranges: &[InputRange],
        searches: bool,
        options: &CompileOptions,
    ) -> Self {
        if let Some(data) = data {
            if !searches || data.validation.len() < LEAST_DIVIDED {
                return Material::Given { data, validation: Cow::Borrowed(&data.validation), confirmation: None };
            }
            let (validation, confirmation) = data.validation.split(options.seed, CONFIRMATION_SHARE);
            return Material::Given { data, validation: Cow::Owned(validation), confirmation: Some(confirmation) };
        }
        let learns = matches!(options.widths, WidthPolicy::Search) || options.retrain != Retrain::None;
        let (training, validation) = if learns { (SYNTHETIC_TRAINING, SYNTHETIC_VALIDATION) } else { (128, 256) };
        let affordable = calibrate::sample_budget(folded) * if learns { 4 } else { 1 };
        let draw = |count: usize, purpose: Purpose| {
            synthesize(folded, ranges, count.min(affordable), stream(options.seed, purpose))
        };
        let set = |samples: Vec<Vec<f32>>| {
            Dataset::new(folded.input_shape(), Samples::Values(samples.concat()), None)
                .expect("every synthesised sample has the input's shape")
        };
        let training = set(draw(training, Purpose::Synthesis));
        let validation = set(sure_ones(folded, draw(validation, Purpose::SyntheticValidation)));
        let confirmation =
            searches.then(|| set(sure_ones(folded, draw(SYNTHETIC_CONFIRMATION, Purpose::SyntheticConfirmation))));
        Material::Synthetic { training, validation, confirmation: confirmation.filter(|set| !set.is_empty()) }
    }

    /// Whether the samples have labels.
    pub(crate) fn is_labelled(&self) -> bool {
        self.validation().labels().is_some()
    }

    /// Whether the samples were synthesised.
    pub(crate) fn is_synthetic(&self) -> bool {
        matches!(self, Material::Synthetic { .. })
    }

    /// How weights are rounded on these samples.
    pub(crate) fn rounding(&self, kind: RoundingKind) -> Rounding {
        match kind {
            RoundingKind::Nearest => Rounding::Nearest,
            RoundingKind::Results if self.is_synthetic() => Rounding::ON_SYNTHESISED,
            RoundingKind::Results => Rounding::ON_SAMPLES,
        }
    }

    /// Names the samples in the keys of the evaluation store.
    pub(crate) fn fingerprint(&self) -> String {
        match self {
            Material::Given { data, confirmation: None, .. } => data.fingerprint.clone(),
            Material::Given { data, validation, .. } => format!("{} {}", data.fingerprint, validation.fingerprint()),
            Material::Synthetic { training, validation, .. } => {
                format!("synthetic {} {}", training.fingerprint(), validation.fingerprint())
            }
        }
    }

    /// What retraining and calibration see.
    pub(crate) fn training(&self) -> &Dataset {
        match self {
            Material::Given { data, .. } => &data.training,
            Material::Synthetic { training, .. } => training,
        }
    }

    /// What decides whether a goal is met.
    pub(crate) fn validation(&self) -> &Dataset {
        match self {
            Material::Given { validation, .. } => validation,
            Material::Synthetic { validation, .. } => validation,
        }
    }

    /// Held-back samples that nothing is chosen on, where there are enough.
    pub(crate) fn confirmation(&self) -> Option<&Dataset> {
        match self {
            Material::Given { confirmation, .. } | Material::Synthetic { confirmation, .. } => confirmation.as_ref(),
        }
    }

    /// Samples for calibration: spread evenly over the training set.
    pub(crate) fn calibration(&self, folded: &Graph) -> Vec<Vec<f32>> {
        let data = self.training();
        let least = if self.is_synthetic() { 0 } else { LEAST_CALIBRATION };
        let count = calibrate::sample_budget(folded).max(least).min(data.len());
        let sample = |i: usize| {
            let mut values = vec![0.0; data.shape().len()];
            data.read(i * data.len() / count, &mut values);
            values
        };
        (0..count).map(sample).collect()
    }
}

/// Runs a few samples through the reference executor and the CPU kernels; every byte must be equal.
fn prove(artifact: &Artifact, samples: &[Vec<f32>]) -> Result<(), CompileError> {
    let reference = Reference::new(artifact);
    let mut session = Session::new(artifact, SessionOptions::default())?;
    let mut output = vec![0.0; session.output_len()];
    for sample in samples.iter().take(PROOF_SAMPLES) {
        session.run(sample, &mut output)?;
        let expected = reference.run(sample)?.concat();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if bits(&expected) != bits(&output) {
            return Err(CompileError::ExecutorsDiffer { isa: session.isa().to_string() });
        }
    }
    Ok(())
}

fn metadata(calibrated: &Calibrated, preprocessing: Option<&Preprocessing>, options: &CompileOptions) -> Metadata {
    let mut metadata = Metadata::new();
    options.geometry.record(&mut metadata);
    if let Some(preprocessing) = preprocessing {
        preprocessing.record(&mut metadata);
    }
    metadata.insert("model.name".into(), calibrated.graph.name.clone());
    metadata.insert("producer".into(), concat!("releqc ", env!("CARGO_PKG_VERSION")).into());
    metadata
}

/// Sum over layers, for reports.
pub(crate) fn packed_bytes(quantized: &Quantized) -> u64 {
    let layer = |layer: &crate::quantize::QuantizedLayer| {
        releqc_runtime::pack::packed_len(layer.biases.len(), layer.depth, layer.bits).unwrap_or(0) as u64
    };
    quantized.layers.values().map(layer).sum()
}
