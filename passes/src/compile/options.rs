//! What a caller asks of a compilation.

use super::error::CompileError;
use super::metric::Metric;
use crate::activation_bits::ActivationBits;
use crate::calibrate::Range;
use crate::data::planes::Planes;
use crate::data::{Dataset, Geometry, Preprocessing};
use crate::import::ImportOptions;
use crate::ir::{Graph, NodeId};
use crate::search::Ingredients;
use crate::synthesize::InputRange;
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::CostModel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Data, split, with labels or without. The test part never enters a compilation.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Calibration and retraining learn from it.
    pub training: Dataset,
    /// Decides whether the accuracy goal is met.
    pub validation: Dataset,
    /// Names the data in the keys of the evaluation store; a hash of the files, say.
    pub fingerprint: String,
}

/// Who chooses the widths.
#[derive(Clone, Debug, PartialEq)]
pub enum WidthPolicy {
    /// One width for all layers.
    Uniform(BitWidth),
    /// One width a weight layer, in ONNX node order.
    PerLayer(Vec<BitWidth>),
    /// The search.
    Search,
}

/// How much retraining the chosen widths get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrain {
    /// None: codes as they are rounded after training.
    None,
    /// Scales, codes and biases fitted to the float network without labels.
    Reconstruct,
    /// The run that an evaluation of the search gets.
    Short,
    /// The long run.
    Full,
}

/// How weights of less than 8 bits become codes where nothing is retrained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundingKind {
    /// For the results of their layer.
    Results,
    /// Each to the nearest.
    Nearest,
}

/// What the reward counts as quantization cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostKind {
    /// Weights (weighed with memory energy) and multiply-accumulates, times bits, as in the paper.
    Paper,
    /// Plain mean of the bits.
    Mean,
    /// Latency of the CPU kernels, measured on this machine.
    Cpu,
    /// Cycles of the accelerator.
    Accelerator,
    /// Energy of the accelerator.
    Energy,
    /// Bytes of packed weights.
    Size,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Plain mean of the widths.
    AverageBits,
    /// The whole artifact.
    Size,
    /// Memory that a session takes for values, which widths do not change.
    Ram,
    /// Median latency of a sample on one thread of this machine.
    Latency,
    /// Cycles of the simulated accelerator.
    Cycles,
    /// Energy of the simulated accelerator.
    Energy,
}

impl Quantity {
    /// The unit in which it is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Quantity::AverageBits => "bits",
            Quantity::Size | Quantity::Ram => "bytes",
            Quantity::Latency => "us",
            Quantity::Cycles => "cycles",
            Quantity::Energy => "pJ",
        }
    }

    /// Whether the choice of widths changes it.
    pub fn depends_on_widths(self) -> bool {
        self != Quantity::Ram
    }
}

/// The most that an artifact may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Of what.
    pub quantity: Quantity,
    /// In its unit, above 0.
    pub limit: f64,
}

/// Which reward the agent gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewardKind {
    /// Knows the limit: inside it the cheaper the better, outside worse with every point.
    Constrained,
    /// The paper's shaped reward.
    Paper,
}

/// Where the evaluations of a search are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// In memory, as long as the compilation lasts.
    Memory,
    /// In a folder. What another search has kept there is removed unread.
    New(PathBuf),
    /// In a folder that may be there already; what it holds for the same search is not evaluated again.
    Resumed(PathBuf),
    /// In a folder that other processes work on too; what is to be evaluated is made known there. The data are those that the search is given.
    Shared(Sharing, Option<DataSource>),
}

/// Data, as a process on another machine finds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSource {
    /// The words of `--data`, with absolute paths.
    pub words: Vec<String>,
    /// What was known of the pixels before the data were read.
    pub preprocessing: Option<Preprocessing>,
    /// Whether the user stated that for just these data.
    pub stated: bool,
    /// What the data must turn out to be.
    pub fingerprint: String,
}

/// How a process works with others on a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The folder.
    pub folder: PathBuf,
    /// A name for this process that no other one has on any machine.
    pub owner: String,
    /// Others take the work of this process over when it has shown no sign of life for so long.
    pub lease: Duration,
}

/// Signal-to-noise ratio that is asked of networks whose output is no vector of classes, dB.
pub const MIN_SNR: f64 = 30.0;

/// Everything a compilation depends on besides model and data.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// How the model is read.
    pub import: ImportOptions,
    /// Who chooses the widths.
    pub widths: WidthPolicy,
    /// Retraining of the result.
    pub retrain: Retrain,
    /// Whether a network that is not judged by right answers is retrained too, short or full: on the values of its outputs.
    pub retrain_values: bool,
    /// Rounding where nothing is retrained.
    pub rounding: RoundingKind,
    /// Widths of tensors.
    pub activation_bits: ActivationBits,
    /// By what the network is judged. `None`: the share of right classes where one output is a vector of classes and the labels, if there are
    /// any, are class indices, else the signal-to-noise ratio.
    pub metric: Option<Metric>,
    /// Points of accuracy that the search may lose; of an error what it may grow by, in its unit.
    pub max_loss: f64,
    /// Signal-to-noise ratio in dB that a search keeps where the output is no vector of classes, [`MIN_SNR`] where nothing is asked. Where
    /// values of 8 bits do not reach it without retraining, layers read 16; of a vector of classes only if it is asked for.
    pub min_snr: Option<f64>,
    /// Whether a result that loses more has missed a goal; otherwise nothing is asked of it.
    pub goal: bool,
    /// Widths the search may choose from, ascending.
    pub action_set: Vec<BitWidth>,
    /// Evaluations the agent may make; `None` takes what the network's size affords.
    pub episodes: Option<usize>,
    /// Choices that are asked for before the first of them is answered, at least 1; what is found depends on it.
    pub parallel: usize,
    /// The time of each method of the comparison, in place of equal numbers of evaluations. What one has paid for costs the others the same.
    pub method_time: Option<Duration>,
    /// What the agent is helped with.
    pub ingredients: Ingredients,
    /// What the reward counts as cost.
    pub cost: CostKind,
    /// The accelerator that the artifact holds a program for, and its energies.
    pub accelerator: CostModel,
    /// Which reward.
    pub reward: RewardKind,
    /// Whether the baselines are run at the agent's number of evaluations.
    pub baselines: bool,
    /// What the artifact may take. Without a goal a search then looks for the least loss inside them; with one the cheapest inside both.
    pub budgets: Vec<Budget>,
    /// Seed of every random choice.
    pub seed: u64,
    /// How pixels become inputs; recorded in the artifact and, without data, the range of synthesised inputs.
    pub preprocessing: Option<Preprocessing>,
    /// How pictures were brought to the network's size; recorded in the artifact.
    pub geometry: Geometry,
    /// Smallest and largest value of inputs, by name or for all that are not named.
    pub input_ranges: Vec<(Option<String>, (f32, f32))>,
    /// Whether to write the annotated network too.
    pub annotated: bool,
    /// Where evaluations are kept.
    pub store: Store,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            widths: WidthPolicy::Search,
            retrain: Retrain::Full,
            retrain_values: false,
            rounding: RoundingKind::Results,
            activation_bits: ActivationBits::default(),
            metric: None,
            max_loss: 0.0,
            min_snr: None,
            goal: false,
            action_set: BitWidth::all().collect(),
            episodes: None,
            parallel: 1,
            method_time: None,
            ingredients: Ingredients::default(),
            cost: CostKind::Mean,
            accelerator: CostModel::default(),
            reward: RewardKind::Constrained,
            baselines: true,
            budgets: Vec::new(),
            seed: 0,
            preprocessing: None,
            geometry: Geometry::default(),
            input_ranges: Vec::new(),
            import: ImportOptions::default(),
            annotated: false,
            store: Store::Memory,
        }
    }
}

impl CompileOptions {
    /// Whether the search looks for the least loss inside budgets.
    pub(super) fn wants_least_loss(&self) -> bool {
        let spends = self.budgets.iter().any(|budget| budget.quantity.depends_on_widths());
        spends && !self.goal && self.reward == RewardKind::Constrained
    }

    /// Checks the options against the network and yields the number of weight layers.
    pub(super) fn check(&self, graph: &Graph, data: Option<&Labelled>) -> Result<usize, CompileError> {
        let layers = graph.weight_layers();
        let option = |text: String| Err(CompileError::Option(text));
        if layers.is_empty() {
            return Err(CompileError::NoWeights { network: graph.name.clone() });
        }
        match &self.widths {
            WidthPolicy::PerLayer(widths) if widths.len() != layers.len() => {
                let names: Vec<_> = layers.iter().map(|&id| graph.node(id).name.as_str()).collect();
                let (given, wanted) = (widths.len(), layers.len());
                let names = names.join(", ");
                return option(format!(
                    "--bits: {given} widths given, the network has {wanted} weight layers ({names})"
                ));
            }
            WidthPolicy::Search if self.action_set.len() < 2 => {
                return option("--widths: a search needs at least two widths; use --bits for one".into());
            }
            _ => {}
        }
        if self.method_time.is_some() && !self.baselines {
            return option("--method-time: there is one method".into());
        }
        if self.parallel == 0 {
            return option("--parallel: 0; at least 1 is required".into());
        }
        for name in self.input_ranges.iter().filter_map(|(name, _)| name.as_ref()) {
            if !graph.inputs().any(|(_, input)| input.name == *name) {
                let names: Vec<&str> = graph.inputs().map(|(_, input)| input.name.as_str()).collect();
                return option(format!("--input-range: no input {name:?}; the network has {}", names.join(", ")));
            }
        }
        let channels = graph.inputs().map(|(_, input)| Planes::of(&input.shape).channels).max().unwrap_or(1);
        if let Some(Preprocessing::Normalize { mean, std }) = &self.preprocessing {
            for (name, values) in [("--mean", mean), ("--std", std)] {
                if values.len() != 1 && values.len() != channels {
                    let given = values.len();
                    return option(format!("{name}: {given} values given, the input has {channels} channels"));
                }
            }
        }
        if let Some(data) = data {
            let classes = graph.node(graph.outputs[0].1).shape.len();
            let of_classes = self.metric.is_none_or(Metric::is_share);
            for (part, set) in [("training", &data.training), ("validation", &data.validation)] {
                if *set.shape() != graph.input_shape() {
                    let (found, wanted) = (set.shape(), graph.input_shape());
                    return option(format!("--data: samples of {found}, the network's input is {wanted}"));
                }
                if set.is_empty() {
                    return option("--data: no samples to learn from or to validate on".into());
                }
                let unknown = |&(_, &label): &(usize, &u32)| of_classes && label as usize >= classes;
                if let Some((sample, label)) = set.labels().unwrap_or_default().iter().enumerate().find(unknown) {
                    return option(format!(
                        "--data: {part} sample {sample} has label {label}; the network has {classes} classes"
                    ));
                }
            }
        }
        Ok(layers.len())
    }

    /// The quantized range of the inputs for which the caller states one.
    pub(super) fn stated_ranges(&self, graph: &Graph, ranges: &[InputRange]) -> BTreeMap<NodeId, Range> {
        let is_stated = |name: &str| self.input_ranges.iter().any(|(of, _)| of.as_ref().is_none_or(|of| of == name));
        let inputs = graph.inputs().zip(ranges).filter(|((_, node), _)| is_stated(&node.name));
        inputs
            .map(|((id, _), range)| {
                let (low, high) = range.ends();
                (id, Range { min: low.min(0.0), max: high.max(0.0) })
            })
            .collect()
    }
}

/// News for whoever watches.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A stage begins.
    Stage(&'static str),
    /// A layer's sensitivity was measured.
    Sensitivity {
        /// Measurements done.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// An evaluation of the search is done.
    Evaluated {
        /// Who asked: agent, careful, uniform, sensitivity, programme, hessian or random.
        method: &'static str,
        /// Evaluations made, of all methods so far.
        evaluations: usize,
        /// At most, of all methods; `None` where time limits them.
        limit: Option<usize>,
        /// Time that the methods have left together, where it limits each of them.
        turns_left: Option<Duration>,
        /// What is measured.
        metric: Metric,
        /// Widths just evaluated.
        widths: Vec<BitWidth>,
        /// Their cost over that of 8 bits.
        relative_cost: f64,
        /// What the metric says of them: a share, 0..=1, a ratio in dB, or an error.
        accuracy: f64,
        /// What they lose: points, dB below the ratio that is asked for, or what is added to the error.
        loss: f64,
        /// Reward of that measurement.
        reward: f64,
        /// Whether the limits of the search are kept.
        accepted: bool,
        /// Whether it was computed before.
        stored: bool,
        /// Since the search began.
        seconds: f64,
        /// The preferred widths so far.
        best: Vec<BitWidth>,
        /// What those lose.
        best_loss: f64,
    },
    /// An update of a retraining run is done.
    Retraining {
        /// Updates done.
        step: usize,
        /// Of how many.
        steps: usize,
        /// Loss of the batch.
        loss: f32,
    },
    /// Something the user should know.
    Note(String),
    /// Something that probably is not what the caller wants.
    Warning(String),
}

/// How a compilation speaks with its caller.
pub struct Hooks<'a> {
    /// Gets every event.
    pub events: &'a mut dyn FnMut(Event),
    /// True ends the compilation as soon as possible.
    pub interrupted: &'a dyn Fn() -> bool,
    /// Time left of a budget; `None` where there is none. The search ends while there is time for the long retraining, and with its best
    /// result so far.
    pub remaining: &'a dyn Fn() -> Option<Duration>,
}

impl Hooks<'_> {
    pub(super) fn report(&mut self, event: Event) {
        (self.events)(event);
    }

    pub(super) fn stage(&mut self, name: &'static str) {
        self.report(Event::Stage(name));
    }

    pub(super) fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    pub(super) fn time_left(&self) -> Option<Duration> {
        (self.remaining)()
    }

    pub(super) fn check_interrupt(&self) -> Result<(), CompileError> {
        if self.is_interrupted() { Err(CompileError::Interrupted) } else { Ok(()) }
    }
}
