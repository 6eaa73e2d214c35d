//! Reconstruction: codes, scales and biases of a rounded network, fitted to the results of the float network without labels.
//!
//! Every update compares what both networks make of a batch: at their end, and wherever they are one tensor wide. BRECQ (Li et al., arXiv
//! 2102.05426) fits one such block after the other; here all learn together, each on what the rounded blocks before it give. Codes
//! follow their weights as in LSQ (Esser et al. 2020), and a weight begins inside the cell of its code, at the side of its float value, so
//! that the first update starts from the network as it was rounded.

use super::batches::Batches;
use super::buffers::Buffers;
use super::export::annotated_graph;
use super::inference::Inference;
use super::kernels::simd::Isa;
use super::layers::{Distance, Loss, NormMode, RoundWeights, Targets, WeightRounding};
use super::network::{Network, Parameter, Role};
use super::recipe::{Augmentation, Comparison};
use super::recording::{Recording, Rounding};
use super::session::{Progress, State};
use super::tape::{apply, constant, values};
use super::trainer::{TrainError, check_data};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::data::Dataset;
use crate::random::{Purpose, stream};
use burn::tensor::{Device, Tensor};
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What the end of the network is compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// Logits of classes: `T^2 KL(softmax(float / T) || softmax(codes / T))` (Hinton et al. 2015).
    Classes {
        /// `T`.
        temperature: f32,
    },
    /// Values: the mean over the outputs of the square error in parts of the power.
    Values,
}

/// How a rounded network is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// Number of updates.
    pub updates: usize,
    /// Samples of an update.
    pub batch: usize,
    /// How far an update moves a weight at most, about, in codes; falls to 0 along half a cosine.
    pub rate: f32,
    /// What the end of the network is compared by.
    pub aim: Aim,
    /// Weight of the mean over the blocks of their square error in parts of their power.
    pub blocks: f32,
    /// How far from the middle of its code's cell a weight begins at most, in codes, below 0.5.
    pub lean: f32,
}

impl Reconstruction {
    /// The constants that were measured (docs/training.md).
    pub fn new(updates: usize, aim: Aim) -> Self {
        Reconstruction { updates, batch: 64, rate: 0.01, aim, blocks: 1.0, lean: 0.25 }
    }

    fn rate_at(&self, update: usize) -> f32 {
        let warmup = self.updates / 20;
        if update < warmup {
            return self.rate * (update + 1) as f32 / (warmup + 1) as f32;
        }
        let progress = (update - warmup) as f32 / (self.updates - warmup).max(1) as f32;
        self.rate * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
    }
}

/// Fits rounded forms of one float network on one data set.
#[derive(Debug)]
pub struct Reconstructor<'a> {
    calibrated: &'a Calibrated,
    data: &'a Dataset,
    recipe: Reconstruction,
    seed: u64,
    float: Network,
    teacher: Inference,
    /// Ends of the blocks, then the outputs.
    ends: Vec<usize>,
}

/// Steps of a tensor's codes, were they of 8 bits, that a bias is moved by where a weight is moved by one of its own: a 32nd of the
/// range.
const BIAS_UNIT: f32 = 8.0;
/// Share of itself that a step of weights is moved by where a weight is moved by one code.
const STEP_UNIT: f32 = 0.05;
/// Smallest step of weights relative to where it started.
const SMALLEST_STEP: f32 = 0.2;

impl<'a> Reconstructor<'a> {
    /// Prepares the fitting of rounded forms of `calibrated` on samples, whose labels are not looked at.
    ///
    /// # Errors
    /// Where graph and data do not fit each other or the graph has no training form.
    pub fn new(
        calibrated: &'a Calibrated,
        data: &'a Dataset,
        recipe: Reconstruction,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let float = Network::new(&calibrated.folded)?;
        let compares = match recipe.aim {
            Aim::Classes { .. } => Comparison::Classes,
            Aim::Values => Comparison::Values,
        };
        check_data(&calibrated.folded, &float, data, compares)?;
        let teacher = Inference::float(&calibrated.folded)?;
        let mut ends = float.block_ends();
        ends.extend(&float.ends);
        Ok(Reconstructor { calibrated, data, recipe, seed, float, teacher, ends })
    }

    /// Fits `start`, a rounded form of the float network whose tensors have one scale each; weights of the result lie exactly on their
    /// codes. A function of graph, samples, recipe, start and seed alone. `progress` may end the run after any update.
    ///
    /// # Errors
    /// Where the graph has no training form.
    pub fn fit(
        &self,
        start: &Annotated,
        mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Annotated, TrainError> {
        let network = Network::new(&start.graph)?;
        let (mut state, rounding, units) = self.start(&network, start);
        let mut batches =
            Batches::new(self.data, self.recipe.batch, Augmentation::NONE, stream(self.seed, Purpose::Reconstruction));
        let buffers = Arc::new(Buffers::default());
        let mut adam = Adam::new(&state.parameters);
        let first = state.parameters.clone();
        for update in 0..self.recipe.updates {
            let (gradients, loss, accuracy) =
                self.gradients(&network, &state, &rounding, batches.next().input, &buffers);
            adam.apply(&mut state.parameters, &units, &gradients, self.recipe.rate_at(update));
            for (parameter, first) in state.parameters.iter_mut().zip(&first) {
                if parameter.role == Role::WeightStep {
                    let steps = parameter.values.iter_mut().zip(&first.values);
                    steps.for_each(|(step, first)| *step = step.max(SMALLEST_STEP * first));
                }
            }
            let (step, steps) = (update + 1, self.recipe.updates);
            if progress(&Progress { step, steps, loss, accuracy }).is_break() {
                break;
            }
        }
        let widths: Vec<BitWidth> = start.weights.values().map(|quant| quant.bits).collect();
        Ok(annotated_graph(&self.calibrated.folded, &network, &state, &rounding, &widths))
    }

    /// Parameters, how they are rounded, and the unit that each moves in.
    fn start(&self, network: &Network, start: &Annotated) -> (State, Rounding, Vec<Vec<f32>>) {
        let mut parameters = network.parameters.clone();
        let mut units: Vec<Vec<f32>> = parameters.iter().map(|_| vec![0.0]).collect();
        let mut rounding = Rounding {
            weights: Vec::new(),
            weight_steps: Vec::new(),
            activations: start.activations.clone(),
            activation_steps: vec![None; network.steps.len()],
        };
        for ((id, layer), (_, float)) in network.layers().zip(self.float.layers()) {
            let quant = &start.weights[&id];
            let max_code = f32::from(quant.bits.max_code());
            let floats = &self.float.parameters[float.weight].values;
            let rows = parameters[layer.weight].values.chunks_exact_mut(quant.scales.len());
            for (row, floats) in rows.zip(floats.chunks_exact(quant.scales.len())) {
                for ((w, float), scale) in row.iter_mut().zip(floats).zip(&quant.scales) {
                    let code = (*w / scale).round_ties_even().clamp(-max_code, max_code);
                    let lean = (float / scale - code).clamp(-self.recipe.lean, self.recipe.lean);
                    *w = (code + lean).clamp(-max_code, max_code) * scale;
                }
            }
            units[layer.weight].clone_from(&quant.scales);
            if let Some(bias) = layer.bias {
                let quant = start.activations[id.0];
                units[bias] = vec![BIAS_UNIT * quant.scale * f32::from(quant.largest) / 255.0];
            }
            rounding.weight_steps.push(parameters.len());
            parameters.push(Parameter { values: quant.scales.clone(), role: Role::WeightStep });
            units.push(quant.scales.iter().map(|scale| STEP_UNIT * scale).collect());
            let round = RoundWeights { isa: Isa::detect(), max_code, rounding: WeightRounding::Steps };
            rounding.weights.push(Arc::new(round));
        }
        (State { parameters, statistics: network.statistics.clone() }, rounding, units)
    }

    /// Gradients of every parameter on a batch, its loss, and the share of its samples whose class is the float network's.
    fn gradients(
        &self,
        network: &Network,
        state: &State,
        rounding: &Rounding,
        batch: Vec<f32>,
        buffers: &Arc<Buffers>,
    ) -> (Vec<Option<Vec<f32>>>, f32, f32) {
        let device = Device::flex().autodiff();
        let mut targets = self.teacher.values_of(&batch, &self.ends);
        let tensors: Vec<Tensor<1>> =
            state.parameters.iter().map(|p| constant(p.values.clone(), &device).require_grad()).collect();
        let recording = Recording {
            isa: Isa::detect(),
            network,
            parameters: &tensors,
            statistics: &state.statistics,
            rounding: Some(rounding),
            norm: NormMode::Fixed,
            buffers,
        };
        let (mut seen, _) = recording.values_of(&batch, &device, &self.ends);
        let blocks = seen.len() - self.float.ends.len();
        let (outputs, mut wanted) = (seen.split_off(blocks), targets.split_off(blocks));
        let mut classes = None;
        let mut total = match self.recipe.aim {
            Aim::Classes { temperature } => {
                let target = wanted.swap_remove(0);
                let loss = Arc::new(Loss {
                    classes: network.classes(),
                    temperature,
                    weight: 1.0,
                    targets: Targets { labels: None, teacher: Some(target) },
                    result: Default::default(),
                });
                classes = Some(Arc::clone(&loss));
                apply(loss, &[&outputs[0]], buffers)
            }
            Aim::Values => {
                let weight = 1.0 / outputs.len() as f32;
                let distance = |(output, target)| apply(Arc::new(Distance::new(target, weight)), &[output], buffers);
                let parts = outputs.iter().zip(wanted).map(distance);
                parts.reduce(|sum, part| sum + part).expect("a network has outputs")
            }
        };
        if self.recipe.blocks > 0.0 {
            let weight = self.recipe.blocks / seen.len().max(1) as f32;
            for (seen, target) in seen.iter().zip(targets) {
                total = total + apply(Arc::new(Distance::new(target, weight)), &[seen], buffers);
            }
        }
        drop((seen, outputs));
        let loss = values(total.clone())[0];
        let mut gradients = total.backward();
        let gradients = tensors.iter().map(|t| t.grad_remove(&mut gradients).map(values)).collect();
        (gradients, loss, classes.map_or(0.0, |loss| loss.summary().1))
    }
}

/// Adam with beta 0.9 and 0.999 (Kingma and Ba 2015), each parameter counted in its unit.
struct Adam {
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    update: i32,
}

/// Where gradients vanish nothing moves.
const TINY: f32 = 1e-12;

impl Adam {
    fn new(parameters: &[Parameter]) -> Self {
        let zeros = || parameters.iter().map(|p| vec![0.0; p.values.len()]).collect::<Vec<_>>();
        Adam { first: zeros(), second: zeros(), update: 0 }
    }

    fn apply(&mut self, parameters: &mut [Parameter], units: &[Vec<f32>], gradients: &[Option<Vec<f32>>], rate: f32) {
        self.update += 1;
        let correction = [1.0 - 0.9f32.powi(self.update), 1.0 - 0.999f32.powi(self.update)];
        let moments = self.first.iter_mut().zip(&mut self.second);
        for (((parameter, unit), gradient), (first, second)) in
            parameters.iter_mut().zip(units).zip(gradients).zip(moments)
        {
            // One batch that overflows must not cost the run.
            let Some(gradient) = gradient.as_ref().filter(|g| g.iter().all(|g| g.is_finite())) else { continue };
            let rows = parameter.values.chunks_mut(unit.len()).zip(gradient.chunks(unit.len()));
            let moments = first.chunks_mut(unit.len()).zip(second.chunks_mut(unit.len()));
            for ((row, gradient), (first, second)) in rows.zip(moments) {
                for ((((w, g), m), v), unit) in row.iter_mut().zip(gradient).zip(first).zip(second).zip(unit) {
                    let g = unit * g;
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    *w -= rate * unit * (*m / correction[0]) / ((*v / correction[1]).sqrt() + TINY);
                }
            }
        }
    }
}
