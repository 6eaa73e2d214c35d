//! Retraining under given widths, training from random weights, and evaluation.

use super::batches::Batches;
use super::export::{annotated_graph, float_graph};
use super::inference::Inference;
use super::kernels::simd::Isa;
use super::layers::{RoundWeights, WeightRounding, largest};
use super::network::{Network, NetworkError, Parameter, Role};
use super::recipe::{Augmentation, Comparison, NormStatistics, Recipe, WeightMethod};
use super::recording::Rounding;
use super::session::{Lesson, Outcome, Progress, State, train};
use super::statistics;
use super::steps::initial_steps;
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::data::Dataset;
use crate::ir::{Graph, Op};
use crate::random::{Purpose, stream};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

/// A training run that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The graph has no training form.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Widths and weight layers differ in number.
    #[error("{given} widths for {layers} weight layers; one each is needed")]
    Widths {
        /// Widths given.
        given: usize,
        /// Weight layers of the graph.
        layers: usize,
    },
    /// Classes of several outputs.
    #[error("the network has {0} outputs; classes are compared of exactly 1")]
    Outputs(usize),
    /// Samples that are not inputs of the network.
    #[error("samples of shape {seen}; the network reads {required}")]
    SampleShape {
        /// Shape of the samples.
        seen: String,
        /// Shape of the network's input.
        required: String,
    },
    /// No samples.
    #[error("no training samples")]
    Empty,
    /// Labels are needed and absent.
    #[error("the samples have no labels; training from random weights needs them")]
    NoLabels,
    /// Parameters that are not those of the network.
    #[error("the parameters kept are not those of this network; remove them from the store")]
    Parameters,
    /// A class the network does not know.
    #[error("label {label} of sample {sample}; the network has {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// Which sample.
        sample: usize,
        /// Number of logits.
        classes: usize,
    },
}

/// Result of a retraining.
#[derive(Clone, Debug)]
pub struct Retrained {
    /// The folded graph with weights exactly on their codes.
    pub annotated: Annotated,
    /// Updates done.
    pub steps: usize,
    /// Mean loss of the last tenth of the run.
    pub loss: f32,
    /// Mean accuracy on the training batches of the last tenth (against the float network's classes without labels).
    pub train_accuracy: f32,
    /// Whether `progress` ended it early.
    pub stopped: bool,
}

/// Retrains one calibrated graph on one data set, under any widths.
#[derive(Debug)]
pub struct Trainer<'a> {
    calibrated: &'a Calibrated,
    data: &'a Dataset,
    recipe: Recipe,
    seed: u64,
    network: Network,
    teacher: Inference,
    teacher_logits: OnceLock<Vec<f32>>,
    start: OnceLock<State>,
}

impl<'a> Trainer<'a> {
    /// Prepares retraining of `calibrated` on `train`; without labels the float network alone is the target.
    ///
    /// # Errors
    /// Where graph and data do not fit each other or the graph has no training form.
    pub fn new(calibrated: &'a Calibrated, train: &'a Dataset, recipe: Recipe, seed: u64) -> Result<Self, TrainError> {
        let network = Network::new(&calibrated.graph)?;
        check_data(&calibrated.graph, &network, train, recipe.compares)?;
        let teacher = Inference::float(&calibrated.folded)?;
        Ok(Trainer {
            calibrated,
            data: train,
            recipe,
            seed,
            network,
            teacher,
            teacher_logits: OnceLock::new(),
            start: OnceLock::new(),
        })
    }

    /// The recipe it follows.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Retrains from the float weights with one width a weight layer, in the order of [`Graph::weight_layers`]. The result
    /// is a function of graph, data, recipe, widths and seed alone. `progress` may end the run after any update.
    ///
    /// # Errors
    /// Where the number of widths is not that of the weight layers.
    pub fn retrain(
        &self,
        bits: &[BitWidth],
        mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Retrained, TrainError> {
        let (state, rounding, outcome) = self.run(bits, &mut progress)?;
        Ok(Retrained {
            annotated: annotated_graph(&self.calibrated.folded, &self.network, &state, &rounding, bits),
            steps: outcome.steps,
            loss: outcome.loss,
            train_accuracy: outcome.accuracy,
            stopped: outcome.stopped,
        })
    }

    /// The same run; what it has learned in place of the network made of it. [`annotated`](Self::annotated) makes that.
    ///
    /// # Errors
    /// As [`retrain`](Self::retrain).
    pub fn parameters(
        &self,
        bits: &[BitWidth],
        mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        Ok(self.run(bits, &mut progress)?.0.vectors())
    }

    /// The network that [`retrain`](Self::retrain) yields, of the parameters that [`parameters`](Self::parameters) does.
    ///
    /// # Errors
    /// [`TrainError::Parameters`] for those of another network; as [`retrain`](Self::retrain).
    pub fn annotated(&self, bits: &[BitWidth], parameters: &[Vec<f32>]) -> Result<Annotated, TrainError> {
        let (start, rounding) = self.start(bits)?;
        let state = start.with_vectors(parameters).ok_or(TrainError::Parameters)?;
        Ok(annotated_graph(&self.calibrated.folded, &self.network, &state, &rounding, bits))
    }

    fn run(
        &self,
        bits: &[BitWidth],
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(State, Rounding, Outcome), TrainError> {
        let (mut state, rounding) = self.start(bits)?;
        let of_classes = self.recipe.compares == Comparison::Classes;
        let distils = self.recipe.distillation > 0.0 || self.data.labels().is_none() || !of_classes;
        let fixed = self.recipe.augmentation == Augmentation::NONE && of_classes;
        let lesson = Lesson {
            data: self.data,
            teacher: distils.then_some(&self.teacher),
            teacher_logits: (distils && fixed)
                .then(|| &self.teacher_logits.get_or_init(|| self.teacher.logits(self.data))[..]),
            recipe: &self.recipe,
            seed: self.seed,
        };
        let outcome = train(&self.network, &mut state, Some(&rounding), &lesson, progress);
        Ok((state, rounding, outcome))
    }

    /// A whole run with what only tests look at.
    #[cfg(test)]
    pub(crate) fn retrained_state(&self, bits: &[BitWidth]) -> Result<(State, Rounding, Annotated), TrainError> {
        let (state, rounding, _) = self.run(bits, &mut |_| ControlFlow::Continue(()))?;
        let annotated = annotated_graph(&self.calibrated.folded, &self.network, &state, &rounding, bits);
        Ok((state, rounding, annotated))
    }

    /// The float network in the form that training starts from.
    fn float_state(&self) -> State {
        let Recipe { steps, batch, augmentation, norm, norm_batches, .. } = self.recipe;
        let mut state =
            State { parameters: self.network.parameters.clone(), statistics: self.network.statistics.clone() };
        if steps > 0 && norm == NormStatistics::Batch {
            let mut batches = Batches::new(self.data, batch, augmentation, stream(self.seed, Purpose::Statistics));
            statistics::adopt(&self.network, &mut state, &mut batches, norm_batches);
        }
        state
    }

    /// The state before the first update: float weights, steps by the recipe's method.
    fn start(&self, bits: &[BitWidth]) -> Result<(State, Rounding), TrainError> {
        let layers = self.network.layers().count();
        if bits.len() != layers {
            return Err(TrainError::Widths { given: bits.len(), layers });
        }
        let State { mut parameters, statistics } = self.start.get_or_init(|| self.float_state()).clone();
        let mut rounding = Rounding {
            weights: Vec::new(),
            weight_steps: Vec::new(),
            activations: self.calibrated.activations(),
            activation_steps: vec![None; self.network.steps.len()],
        };
        for ((_, layer), width) in self.network.layers().zip(bits) {
            let max_code = f32::from(width.max_code());
            let steps = initial_steps(&parameters[layer.weight].values, layer.outputs(), max_code, self.recipe.method);
            rounding.weight_steps.push(parameters.len());
            parameters.push(Parameter { values: steps, role: Role::WeightStep });
            let kind = match self.recipe.method {
                WeightMethod::DoReFa => WeightRounding::Tanh,
                WeightMethod::LearnedSteps | WeightMethod::Wrpn => WeightRounding::Steps,
            };
            rounding.weights.push(Arc::new(RoundWeights { isa: Isa::detect(), max_code, rounding: kind }));
        }
        if self.recipe.learn_activation_steps {
            for (node, step) in self.network.steps.iter().enumerate().filter(|(_, s)| s.rounded) {
                if step.inputs.is_empty() {
                    continue;
                }
                rounding.activation_steps[node] = Some(parameters.len());
                let scale = rounding.activations[node].scale;
                parameters.push(Parameter { values: vec![scale], role: Role::ActivationStep });
            }
        }
        Ok((State { parameters, statistics }, rounding))
    }
}

pub(super) fn check_data(
    graph: &Graph,
    network: &Network,
    data: &Dataset,
    compares: Comparison,
) -> Result<(), TrainError> {
    if data.is_empty() {
        return Err(TrainError::Empty);
    }
    // Samples of several inputs are one vector.
    let [channels, rows, columns] = data.shape().chw();
    let fits = match network.reads_plain() {
        true => channels == 1 || rows * columns == 1,
        false => data.shape().chw() == graph.input_shape().chw(),
    };
    if data.shape().len() != network.input_len() || !fits {
        let shapes: Vec<String> = graph.inputs().map(|(_, node)| node.shape.to_string()).collect();
        return Err(TrainError::SampleShape { seen: data.shape().to_string(), required: shapes.join(" and ") });
    }
    if compares == Comparison::Values {
        return Ok(());
    }
    if network.ends.len() != 1 {
        return Err(TrainError::Outputs(network.ends.len()));
    }
    let classes = network.classes();
    let wrong = data.labels().and_then(|l| l.iter().position(|&l| l as usize >= classes).map(|i| (i, l[i])));
    match wrong {
        Some((sample, label)) => Err(TrainError::Label { label, sample, classes }),
        None => Ok(()),
    }
}

/// Trains the weights a graph has, in float, with labels.
///
/// # Errors
/// Where graph and data do not fit each other, labels are absent or the graph has no training form.
pub fn train_float(
    graph: &Graph,
    data: &Dataset,
    recipe: &Recipe,
    seed: u64,
    progress: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Graph, TrainError> {
    with_parameters(graph, &train_float_parameters(graph, data, recipe, seed, progress)?)
}

/// The same; what it has learned in place of the graph made of it. [`with_parameters`] makes that.
///
/// # Errors
/// As [`train_float`].
pub fn train_float_parameters(
    graph: &Graph,
    data: &Dataset,
    recipe: &Recipe,
    seed: u64,
    mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let network = Network::new(graph)?;
    check_data(graph, &network, data, Comparison::Classes)?;
    if data.labels().is_none() {
        return Err(TrainError::NoLabels);
    }
    let mut state = State { parameters: network.parameters.clone(), statistics: network.statistics.clone() };
    let recipe = &Recipe { compares: Comparison::Classes, ..recipe.clone() };
    let lesson = Lesson { data, teacher: None, teacher_logits: None, recipe, seed };
    train(&network, &mut state, None, &lesson, &mut progress);
    Ok(state.vectors())
}

/// `graph` with what [`train_float_parameters`] has learned.
///
/// # Errors
/// [`TrainError::Parameters`] for what was learned of another graph.
pub fn with_parameters(graph: &Graph, parameters: &[Vec<f32>]) -> Result<Graph, TrainError> {
    let network = Network::new(graph)?;
    let start = State { parameters: network.parameters.clone(), statistics: network.statistics.clone() };
    let state = start.with_vectors(parameters).ok_or(TrainError::Parameters)?;
    Ok(float_graph(graph, &network, &state))
}

/// The graph with random weights: normal of variance 2 / inputs (He et al. 2015), biases 0, normalisation at identity.
///
/// # Errors
/// Where the graph has no training form.
pub fn init_random(graph: &Graph, seed: u64) -> Result<Graph, NetworkError> {
    let network = Network::new(graph)?;
    let mut random = stream(seed, Purpose::Weights);
    let mut state = State { parameters: network.parameters.clone(), statistics: network.statistics.clone() };
    for (id, layer) in network.layers() {
        let fan_in = match &graph.node(id).op {
            Op::Conv(conv) => conv.weight.dims()[1..].iter().product::<usize>(),
            _ => network.steps[network.steps[id.0].inputs[0]].len(),
        };
        let deviation = (2.0 / fan_in as f32).sqrt();
        state.parameters[layer.weight].values.iter_mut().for_each(|w| *w = deviation * normal(&mut random));
        if let Some(bias) = layer.bias {
            state.parameters[bias].values.fill(0.0);
        }
        if let Some(norm) = &layer.norm {
            state.parameters[norm.gamma].values.fill(1.0);
            state.parameters[norm.beta].values.fill(0.0);
            state.statistics[norm.statistics].mean.fill(0.0);
            state.statistics[norm.statistics].variance.fill(1.0);
        }
    }
    Ok(float_graph(graph, &network, &state))
}

/// A normally distributed number (Box and Muller 1958).
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
    let radius = (-2.0 * uniform().ln()).sqrt();
    (radius * (2.0 * std::f64::consts::PI * uniform()).cos()) as f32
}

/// How a network does on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of samples whose class is the label, where there are labels.
    pub accuracy: Option<f64>,
    /// Share of samples whose class is the float network's.
    pub agreement: f64,
    /// Samples.
    pub samples: usize,
}

/// Compares networks with the float network on one data set.
#[derive(Debug)]
pub struct Evaluator<'a> {
    data: &'a Dataset,
    float_classes: Vec<usize>,
}

impl<'a> Evaluator<'a> {
    /// Runs the float network once.
    ///
    /// # Errors
    /// Where graph and data do not fit each other or the graph has no training form.
    pub fn new(folded: &Graph, data: &'a Dataset) -> Result<Self, TrainError> {
        check_data(folded, &Network::new(folded)?, data, Comparison::Classes)?;
        Ok(Evaluator { data, float_classes: classes(&Inference::float(folded)?, data) })
    }

    /// The float network itself.
    pub fn float(&self) -> Evaluation {
        self.judge(&self.float_classes)
    }

    /// A network with weights on their codes and tensors of 8 bits.
    ///
    /// # Errors
    /// Where the graph has no training form.
    pub fn evaluate(&self, annotated: &Annotated) -> Result<Evaluation, TrainError> {
        Ok(self.judge(&classes(&Inference::annotated(annotated)?, self.data)))
    }

    fn judge(&self, seen: &[usize]) -> Evaluation {
        let samples = seen.len();
        let share = |right: usize| right as f64 / samples as f64;
        let same = |labels: &[u32]| seen.iter().zip(labels).filter(|(s, l)| **s == **l as usize).count();
        Evaluation {
            accuracy: self.data.labels().map(|labels| share(same(labels))),
            agreement: share(seen.iter().zip(&self.float_classes).filter(|(a, b)| a == b).count()),
            samples,
        }
    }
}

fn classes(inference: &Inference, data: &Dataset) -> Vec<usize> {
    inference.logits(data).chunks_exact(inference.classes()).map(largest).collect()
}
