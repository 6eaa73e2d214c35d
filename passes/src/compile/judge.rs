//! What an artifact is worth: right answers, signal over noise, or errors, measured on the validation samples.
//!
//! The search knows one scale for all: an accuracy of which a hundredth is a point. Of an error a point is what may be lost of it.

use super::metric::Metric;
use super::report::{Accuracy, LossOf, UnlearnedAccuracy};
use super::signal::{Signal, is_classifier};
use super::targets::Targets;
use super::{CompileError, Event, Hooks, Material, build};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::data::Dataset;
use crate::evaluate::{agreement, hits, is_among, largest};
use crate::float_exec::FloatExecutor;
use releqc_runtime::format::Artifact;
use std::collections::BTreeSet;

/// How much more signal-to-noise ratio in dB a search asks for on synthesised samples: real inputs have less of it.
const SYNTHETIC_MARGIN: f64 = 6.0;

/// How many times better than chance a float network is at least that was given the inputs it was trained on.
const CHANCE: f64 = 1.5;

/// What is asked of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Asked {
    /// By what it is judged; by its kind where nothing is said.
    pub(crate) metric: Option<Metric>,
    /// The signal-to-noise ratio that is asked for, dB.
    pub(crate) min_snr: f64,
    /// What may be lost, in points or in the unit of an error.
    pub(crate) max_loss: f64,
}

/// What the float network makes of the validation samples.
enum Yard {
    Answers {
        metric: Metric,
        /// Its class of each sample.
        classes: Vec<u32>,
        /// Whether it answers each sample right.
        right: Vec<bool>,
    },
    Signal(Signal),
    Targets(Targets),
}

/// Compares artifacts with the float network on the validation samples.
pub(crate) struct Judge {
    yard: Yard,
    asked: Asked,
}

/// What an artifact is worth.
pub(crate) struct Score {
    /// Share of right answers; a signal-to-noise ratio in hundredths: a point is a dB; of an error 1 less what is
    /// lost of it in hundredths of what may be, 0..=1.
    pub(crate) accuracy: f64,
    /// Whether each sample is answered right; empty where no answers are counted.
    pub(crate) right: Vec<bool>,
}

impl Judge {
    /// # Errors
    /// Where the samples have no labels that the metric needs.
    pub(super) fn new(calibrated: &Calibrated, validation: &Dataset, asked: Asked) -> Result<Self, CompileError> {
        let of_answers = is_classifier(&calibrated.folded) && validation.targets().is_none();
        let yard = match asked.metric {
            None if of_answers => Yard::answers(calibrated, validation, Metric::Top1)?,
            None | Some(Metric::Snr) => Yard::Signal(Signal::of(calibrated, validation)),
            Some(metric) if metric.is_error() => {
                Yard::Targets(Targets::of(calibrated, validation, metric, asked.max_loss)?)
            }
            Some(metric) => Yard::answers(calibrated, validation, metric)?,
        };
        Ok(Judge { yard, asked })
    }

    /// The same for another network.
    pub(super) fn of_copy(&self, calibrated: &Calibrated, validation: &Dataset) -> Result<Self, CompileError> {
        Judge::new(calibrated, validation, self.asked)
    }

    /// What an artifact is worth on the validation samples.
    pub(crate) fn score(&self, artifact: &Artifact, material: &Material<'_>) -> Result<Score, CompileError> {
        let alone = |accuracy: f64| Score { accuracy, right: Vec::new() };
        Ok(match &self.yard {
            Yard::Signal(signal) => alone(signal.decibels(artifact)? / 100.0),
            Yard::Targets(targets) => {
                let lost = targets.error(artifact, material.validation())? - targets.float;
                let worth = (1.0 - lost / targets.unit / 100.0).clamp(0.0, 1.0);
                alone(if worth.is_nan() { 0.0 } else { worth })
            }
            Yard::Answers { metric, classes, .. } => {
                let expected = material.validation().labels().unwrap_or(classes);
                let right = hits(artifact, material.validation(), expected, metric.answers())?;
                Score { accuracy: share(&right), right }
            }
        })
    }

    /// What losses are counted from, as [`Score::accuracy`] counts: the float network's. Of a signal-to-noise ratio the one that is asked
    /// for and what may be lost of it, so that what loses no more has that ratio.
    pub(crate) fn reference(&self, material: &Material<'_>, max_loss: f64) -> f64 {
        match &self.yard {
            Yard::Signal(_) => {
                let margin = if material.is_synthetic() { SYNTHETIC_MARGIN } else { 0.0 };
                (self.asked.min_snr + margin + max_loss) / 100.0
            }
            Yard::Targets(_) => 1.0,
            Yard::Answers { right, .. } => share(right),
        }
    }

    /// The error of the float network; 0 where no errors are measured.
    pub(crate) fn float_error(&self) -> f64 {
        if let Yard::Targets(targets) = &self.yard { targets.float } else { 0.0 }
    }

    /// What one point of a loss is, in the unit of the metric.
    pub(crate) fn unit(&self) -> f64 {
        if let Yard::Targets(targets) = &self.yard { targets.unit } else { 1.0 }
    }

    /// The accuracy of [`Judge::score`] of what a quantization is deployed as.
    pub(super) fn worth(&self, annotated: &Annotated, material: &Material<'_>) -> Result<f64, CompileError> {
        Ok(self.score(&build(annotated.clone())?, material)?.accuracy)
    }

    /// An accuracy as the search counts it, as the metric does: a share, dB, or an error.
    pub(crate) fn in_its_unit(&self, accuracy: f64) -> f64 {
        match &self.yard {
            Yard::Answers { .. } => accuracy,
            Yard::Signal(_) => 100.0 * accuracy,
            Yard::Targets(targets) => targets.float + 100.0 * (1.0 - accuracy) * targets.unit,
        }
    }

    /// What a score depends on besides the samples, as text for keys.
    pub(super) fn terms(&self) -> String {
        format!("{:?} {}", self.metric(), self.unit())
    }

    /// Whether right answers are counted.
    pub(crate) fn counts_answers(&self) -> bool {
        matches!(self.yard, Yard::Answers { .. })
    }

    /// The signal-to-noise ratio that is asked for of a network whose answers are not counted, dB.
    pub(crate) fn min_snr(&self) -> f64 {
        self.asked.min_snr
    }

    /// By what the network is judged.
    pub(crate) fn metric(&self) -> Metric {
        match &self.yard {
            Yard::Answers { metric, .. } => *metric,
            Yard::Signal(_) => Metric::Snr,
            Yard::Targets(targets) => targets.metric(),
        }
    }

    /// Classes of the float network on the validation samples; none where no answers are counted.
    pub(crate) fn float_classes(&self) -> &[u32] {
        if let Yard::Answers { classes, .. } = &self.yard { classes } else { &[] }
    }

    /// Whether the float network answers each sample right; none where no answers are counted.
    pub(crate) fn float_right(&self) -> &[bool] {
        if let Yard::Answers { right, .. } = &self.yard { right } else { &[] }
    }

    /// Says so where the float network answers the labels hardly better than by chance: as a rule its inputs are not what it was trained on.
    pub(super) fn warn_of_chance(&self, material: &Material<'_>, hooks: &mut Hooks<'_>) {
        let Some(labels) = material.validation().labels().filter(|_| self.counts_answers()) else { return };
        let classes = labels.iter().collect::<BTreeSet<_>>().len();
        let float = agreement(self.float_classes(), labels);
        if classes > 1 && float * classes as f64 <= CHANCE {
            hooks.report(Event::Warning(format!(
                "the float network answers {:.2} % of the validation samples right, where chance among {classes} classes is {:.2} %: are --mean, --std or \
                --raw-pixels, and the labels, those it was trained with?",
                100.0 * float,
                100.0 / classes as f64
            )));
        }
    }

    /// The classes that count as right: the labels, or the float network's where there are none.
    pub(crate) fn expected<'a>(&'a self, material: &'a Material<'_>) -> &'a [u32] {
        material.validation().labels().unwrap_or(self.float_classes())
    }

    /// Before and after, on the validation samples.
    pub(super) fn accuracy(
        &self,
        artifact: &Artifact,
        material: &Material<'_>,
        reference: Option<f64>,
        unlearned: Option<UnlearnedAccuracy>,
    ) -> Result<Accuracy, CompileError> {
        let validation = material.validation();
        let split = if material.is_synthetic() { "synthetic" } else { "validation" };
        let of_artifact = |float: f64, reference: f64, quantized: f64, loss_points: f64, samples: usize| Accuracy {
            metric: self.metric(),
            float,
            reference,
            quantized,
            loss_points,
            loss_of: LossOf::Artifact,
            split,
            samples,
            unlearned: None,
        };
        match &self.yard {
            Yard::Signal(signal) => {
                let (decibels, asked) = (signal.decibels(artifact)?, self.asked.min_snr);
                let lost = (asked - decibels).max(0.0);
                Ok(of_artifact(f64::INFINITY, asked, decibels, lost, signal.samples()))
            }
            Yard::Targets(targets) => {
                let error = targets.error(artifact, validation)?;
                Ok(of_artifact(targets.float, targets.float, error, error - targets.float, targets.samples()))
            }
            Yard::Answers { metric, right, .. } => {
                let quantized = share(&hits(artifact, validation, self.expected(material), metric.answers())?);
                let float = share(right);
                let reference = reference.unwrap_or(float);
                let (loss_points, loss_of) = Accuracy::lost(reference, quantized, unlearned.as_ref());
                let accuracy = of_artifact(float, reference, quantized, loss_points, validation.len());
                Ok(Accuracy { loss_of, unlearned, ..accuracy })
            }
        }
    }
}

impl Yard {
    fn answers(calibrated: &Calibrated, validation: &Dataset, metric: Metric) -> Result<Self, CompileError> {
        if validation.targets().is_some() {
            let what = "a share of right answers needs labels that are class indices; these are numbers";
            return Err(CompileError::Option(format!("--metric: {what}")));
        }
        let labels = validation.labels();
        let metric = if metric == Metric::Top1 && labels.is_none() { Metric::Agreement } else { metric };
        if labels.is_none() && metric != Metric::Agreement {
            let what = "the share among the five largest values needs labels: an array y of class indices beside x";
            return Err(CompileError::Option(format!("--metric: {what}")));
        }
        let answers = float_answers(calibrated, validation, labels, metric.answers());
        let (classes, right) = answers.into_iter().unzip();
        Ok(Yard::Answers { metric, classes, right })
    }
}

/// Share of right answers, 0..=1; 0 for none.
pub(super) fn share(right: &[bool]) -> f64 {
    right.iter().filter(|&&right| right).count() as f64 / right.len().max(1) as f64
}

/// The class that the float network gives each sample by its first output, and whether the expected one (its own where there is none) is
/// among the `top` largest values. The classes are what a search without labels asks for, and the noise of a measured loss is counted
/// against them, so a search follows the sums of the fast path of training, which are those of the machine's instruction set. A network
/// that retraining does not take (several outputs, say) is run by the plain executor.
pub(super) fn float_answers(
    calibrated: &Calibrated,
    data: &Dataset,
    expected: Option<&[u32]>,
    top: usize,
) -> Vec<(u32, bool)> {
    let answer = |index: usize, values: &[f32]| {
        (largest(values), expected.is_none_or(|expected| is_among(values, expected[index], top)))
    };
    let Ok(inference) = crate::train::Inference::float(&calibrated.folded) else {
        let executor = FloatExecutor::new(&calibrated.folded);
        let sample = |i: usize| {
            let mut values = vec![0.0; data.shape().len()];
            data.read(i, &mut values);
            values
        };
        let samples: Vec<Vec<f32>> = (0..data.len()).map(sample).collect();
        return executor.outputs(&samples).iter().enumerate().map(|(i, first)| answer(i, first)).collect();
    };
    let classes = inference.classes();
    inference.logits(data).chunks_exact(classes).enumerate().map(|(i, values)| answer(i, values)).collect()
}
