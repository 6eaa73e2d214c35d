//! What a compilation tells its caller; the JSON of the command line.

use super::metric::Metric;
use super::{CompileOptions, Quantity, packed_bytes};
use crate::quantize::Quantized;
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{CostReport, LayerCost};
use releqc_runtime::format::Artifact;
use serde::Serialize;

/// A loss above what may be lost by less than this share of it is rounding.
pub(super) const ROUNDING: f64 = 1e-6;

/// Accuracy before and after, measured on the artifact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// What is counted.
    pub metric: Metric,
    /// Of the float network: a share is 0..=1, an error in its own unit; infinite, `null` in JSON, for [`Metric::Snr`].
    pub float: f64,
    /// Of the artifact, likewise; in dB for [`Metric::Snr`].
    pub quantized: f64,
    /// What losses are counted from, 0..=1: the float network's, or that of the 8-bit network after the same retraining where that
    /// is lower. As a rule it is lower where the float network was trained on the samples held back: they are no longer remembered.
    pub reference: f64,
    /// What the goal is judged on, in points, 0..=100, or in the unit of an error; negative where nothing is lost.
    pub loss_points: f64,
    /// Which network lost them.
    pub loss_of: LossOf,
    /// Which samples.
    pub split: &'static str,
    /// How many.
    pub samples: usize,
    /// The copy of the float network that widths were judged on, where the float network may have seen the samples: it answers them as well
    /// as the training samples.
    pub unlearned: Option<UnlearnedAccuracy>,
}

/// Which network a loss belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LossOf {
    /// The artifact: `reference - quantized`, or `unlearned.reference - quantized` where there is a copy.
    Artifact,
    /// The copy: `unlearned.reference - unlearned.quantized`.
    Unlearned,
}

/// The same widths and retraining on a copy of the float network that was made to forget the validation samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnlearnedAccuracy {
    /// Of the copy in float, 0..=1.
    pub float: f64,
    /// What losses are counted from, 0..=1: of the copy in float, or with 8 bits after the same retraining where that is lower.
    pub reference: f64,
    /// Of the copy at the chosen widths, 0..=1.
    pub quantized: f64,
}

impl Accuracy {
    /// Points lost by which network. With an unlearned copy those that the copy lost, or those that the artifact lies below the copy's reference where
    /// that is more: memory can only raise the artifact's figure.
    pub(super) fn lost(reference: f64, quantized: f64, unlearned: Option<&UnlearnedAccuracy>) -> (f64, LossOf) {
        let (lost, of) = match unlearned {
            Some(copy) if copy.quantized <= quantized => (copy.reference - copy.quantized, LossOf::Unlearned),
            Some(copy) => (copy.reference - quantized, LossOf::Artifact),
            None => (reference - quantized, LossOf::Artifact),
        };
        (100.0 * lost, of)
    }
}

/// One weight layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// ONNX node name.
    pub name: String,
    /// Kind of layer.
    pub op: &'static str,
    /// Width of its weights.
    pub bits: u8,
    /// Width of the codes that it reads.
    pub activation_bits: u8,
    /// Number of weights.
    pub weights: u64,
    /// Multiply-accumulates a sample.
    pub macs: u64,
    /// Packed bytes.
    pub bytes: u64,
    /// Points of agreement lost with this layer alone at its width, without retraining.
    pub sensitivity: f64,
}

/// Bytes of the network in several forms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeReport {
    /// The artifact.
    pub artifact: u64,
    /// Packed weights in it.
    pub weights: u64,
    /// All weights as f32.
    pub float_weights: u64,
    /// All weights as one byte each.
    pub int8_weights: u64,
}

/// A method at the agent's number of evaluations, where there was time for one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodReport {
    /// agent, uniform, sensitivity, programme, hessian, random.
    pub name: String,
    /// Its best widths.
    pub widths: Vec<u8>,
    /// Their mean.
    pub average_bits: f64,
    /// Points lost in the search's evaluation.
    pub loss: f64,
    /// Points that they are believed to lose, after the evaluations of all methods.
    pub believed_loss: f64,
    /// What they are ranked by: the reward of the measured or of the believed loss, whichever is lower.
    pub reward: f64,
    /// Evaluations it made.
    pub evaluations: usize,
    /// Time that it took; what another method had evaluated before took none.
    pub seconds: f64,
    /// Points lost after the long retraining, where these widths got one.
    pub long_run_loss: Option<f64>,
    /// Whether that kept the goal.
    pub kept: Option<bool>,
    /// Its choice on the samples that nothing was chosen on, after the retraining of the result: where methods have equal time.
    pub confirmation: Option<Confirmation>,
}

/// A choice that got the long retraining.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finalist {
    /// Widths.
    pub widths: Vec<u8>,
    /// Their mean.
    pub average_bits: f64,
    /// Points lost in the search's evaluation; `None` where it was derived from a choice that kept the goal.
    pub evaluated_loss: Option<f64>,
    /// Points lost after the long retraining.
    pub loss: f64,
    /// Whether that keeps the goal, the noise of the validation samples taken into account.
    pub kept: bool,
}

/// What an artifact takes of a budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetReport {
    /// What is counted.
    pub budget: Quantity,
    /// In which unit.
    pub unit: &'static str,
    /// The most that was allowed.
    pub limit: f64,
    /// What the artifact takes.
    pub reached: f64,
    /// Whether that is inside.
    pub met: bool,
}

/// The chosen widths on held-back samples that nothing was chosen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confirmation {
    /// What is counted.
    pub metric: Metric,
    /// How many samples.
    pub samples: usize,
    /// Of the float network: a share is 0..=1, an error in its own unit; infinite, `null` in JSON, for [`Metric::Snr`].
    pub float: f64,
    /// What losses are counted from; for [`Metric::Snr`] the ratio that is asked for, dB.
    pub reference: f64,
    /// With the chosen widths, of the network that losses are those of.
    pub quantized: f64,
    /// Of the artifact.
    pub artifact: f64,
    /// `reference - quantized` in points or dB, or what was added to an error, in its unit.
    pub loss_points: f64,
    /// Lower end of the interval that holds the true loss with a probability of 95 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Which network lost them.
    pub loss_of: LossOf,
}

/// One choice of the front of cost against accuracy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParetoPoint {
    /// Widths.
    pub widths: Vec<u8>,
    /// Their mean.
    pub average_bits: f64,
    /// Cost over that of 8 bits.
    pub relative_cost: f64,
    /// Points lost in the search's evaluation.
    pub loss: f64,
    /// Whether it is what the artifact holds.
    pub chosen: bool,
}

/// Points lost more (below 0: less) with one layer at another width than the chosen one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WidthCost {
    /// The width.
    pub bits: u8,
    /// Points.
    pub loss: f64,
    /// Whether exactly this change was evaluated; otherwise the surrogate's estimate.
    pub measured: bool,
}

/// What a layer costs in accuracy at every width.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerExplanation {
    /// ONNX node name.
    pub name: String,
    /// Every width of the action set.
    pub widths: Vec<WidthCost>,
}

/// One evaluation of the search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// agent, careful (the agent with the goal itself as limit), uniform, sensitivity, programme, hessian, random.
    pub method: String,
    /// Widths.
    pub widths: Vec<u8>,
    /// Their mean.
    pub average_bits: f64,
    /// Cost over that of 8 bits.
    pub relative_cost: f64,
    /// Points lost.
    pub loss: f64,
    /// Reward.
    pub reward: f64,
    /// Entropy of the policy in nats a layer, before an evaluation of the agent; `None` for others.
    pub entropy: Option<f64>,
}

/// An operator of the accelerator's program, one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AcceleratorStep {
    /// ONNX name of a weight layer, kind of another operator.
    pub name: String,
    /// Width of its weights.
    pub bits: Option<u8>,
    /// Cycles.
    pub cycles: u64,
    /// Cycles with weights of 8 bits.
    pub cycles_8bit: u64,
    /// Energy.
    pub energy_pj: f64,
}

/// What the search did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SearchReport {
    /// Episodes that asked for an evaluation.
    pub episodes: usize,
    /// Evaluations of agent and baselines, stored ones included.
    pub evaluations: usize,
    /// Evaluations of the agent with the goal itself as limit, which the long runs may fall back on; not in the comparison of methods.
    pub careful: usize,
    /// Evaluations that were computed now and not read from the store.
    pub paid: usize,
    /// Answers that other processes computed for this search, long runs included.
    pub helped: usize,
    /// Answers that this process computed although another one did so at the same time.
    pub repeated: usize,
    /// Episodes played on the surrogate.
    pub virtual_episodes: usize,
    /// Why it ended.
    pub end: String,
    /// Points that an evaluation might lose: more than the goal where a long retraining follows. `None` where the least loss inside budgets
    /// was looked for.
    pub limit: Option<f64>,
    /// What evaluations are compared with: an accuracy, 0..=1, a ratio in dB, or the float network's error.
    pub reference: f64,
    /// Methods that evaluated the widths of the artifact, the agent first; `long runs` where none did and the long retraining derived them,
    /// `no method` where nothing was evaluated.
    pub found_by: Vec<String>,
    /// Agent and baselines.
    pub methods: Vec<MethodReport>,
    /// Choices that got the long retraining, in order.
    pub finalists: Vec<Finalist>,
    /// The front, cheapest first.
    pub pareto: Vec<ParetoPoint>,
    /// What each layer costs at each width, the others as in the artifact.
    pub explanation: Vec<LayerExplanation>,
    /// Every evaluation, in order, method after method.
    pub history: Vec<EvaluationReport>,
    /// In which unit losses are.
    #[serde(skip)]
    pub unit: LossUnit,
}

/// What losses are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LossUnit {
    /// Hundredths of all answers.
    #[default]
    Points,
    /// dB of a signal-to-noise ratio.
    Decibels,
    /// The unit of an error.
    Errors,
}

/// Everything about a compilation but the bytes.
#[derive(Clone, Debug, Serialize)]
pub struct CompileReport {
    /// ONNX graph name.
    pub network: String,
    /// Plain mean of the widths.
    pub average_bits: f64,
    /// Weight layers in execution order.
    pub layers: Vec<LayerReport>,
    /// Accuracy before and after.
    pub accuracy: Accuracy,
    /// Points that may be lost, where there is a goal.
    pub max_loss: Option<f64>,
    /// Whether the goal was missed on the validation samples, or a budget.
    pub goal_missed: bool,
    /// Budgets, where there are any.
    pub budgets: Vec<BudgetReport>,
    /// The loss on held-back samples that nothing was chosen on, after a search with enough of them.
    pub confirmation: Option<Confirmation>,
    /// Sizes.
    pub size: SizeReport,
    /// Accelerator cycles over those at 8 bit, inverted: above 1 is faster.
    pub accelerator_speedup: f64,
    /// Accelerator energy at 8 bit over energy.
    pub accelerator_energy_ratio: f64,
    /// The accelerator's program in execution order.
    pub accelerator: Vec<AcceleratorStep>,
    /// What the search did, where there was one.
    pub search: Option<SearchReport>,
    /// Seed.
    pub seed: u64,
    /// What was assumed because nothing stated it.
    pub assumptions: Vec<String>,
}

impl AcceleratorStep {
    fn new((layer, at_8_bits): (&LayerCost, &LayerCost)) -> Self {
        AcceleratorStep {
            name: layer.name.clone(),
            bits: layer.bits.map(BitWidth::bits),
            cycles: layer.cycles.0,
            cycles_8bit: at_8_bits.cycles.0,
            energy_pj: layer.energy.total().0,
        }
    }
}

impl SearchReport {
    /// With losses in the unit of the metric. Of an error a point of the search is `unit`, counted from the error `float` of the float
    /// network.
    pub(super) fn in_units(mut self, metric: Metric, unit: f64, float: f64) -> Self {
        if metric == Metric::Snr {
            // A point is a dB.
            self.unit = LossUnit::Decibels;
            self.reference *= 100.0;
        }
        if !metric.is_error() {
            return self;
        }
        self.unit = LossUnit::Errors;
        let scale = |loss: &mut f64| *loss *= unit;
        self.limit.iter_mut().for_each(scale);
        self.reference = float;
        for method in &mut self.methods {
            scale(&mut method.loss);
            scale(&mut method.believed_loss);
            method.long_run_loss.iter_mut().for_each(scale);
        }
        for finalist in &mut self.finalists {
            scale(&mut finalist.loss);
            finalist.evaluated_loss.iter_mut().for_each(scale);
        }
        self.pareto.iter_mut().for_each(|point| scale(&mut point.loss));
        self.explanation.iter_mut().flat_map(|layer| &mut layer.widths).for_each(|width| scale(&mut width.loss));
        self.history.iter_mut().for_each(|evaluation| scale(&mut evaluation.loss));
        self
    }
}

impl CompileReport {
    #[allow(clippy::too_many_arguments, reason = "gathers the results of every stage")]
    pub(super) fn new(
        artifact: &Artifact,
        quantized: &Quantized,
        cost: CostReport,
        accuracy: Accuracy,
        budgets: Vec<BudgetReport>,
        confirmation: Option<Confirmation>,
        search: Option<SearchReport>,
        sensitivity: &[f64],
        options: &CompileOptions,
    ) -> Self {
        let layers: Vec<LayerReport> = quantized
            .layers
            .iter()
            .zip(sensitivity)
            .map(|((&id, layer), &sensitivity)| {
                let node = quantized.graph.node(id);
                LayerReport {
                    name: node.name.clone(),
                    op: node.op.label(),
                    bits: layer.bits.bits(),
                    activation_bits: quantized.activations[node.inputs[0].0].bits().bits(),
                    weights: layer.codes.len() as u64,
                    macs: quantized.graph.macs(id),
                    bytes: releqc_runtime::pack::packed_len(layer.biases.len(), layer.depth, layer.bits).unwrap_or(0)
                        as u64,
                    sensitivity,
                }
            })
            .collect();
        let weights: u64 = layers.iter().map(|l| l.weights).sum();
        let size = SizeReport {
            artifact: artifact.size_bytes() as u64,
            weights: packed_bytes(quantized),
            float_weights: 4 * weights,
            int8_weights: weights,
        };
        let mut assumptions = Vec::new();
        if accuracy.split == "synthetic" && accuracy.metric == Metric::Snr {
            assumptions.push("no data: inputs were synthesised, noise is against the float network on them".into());
        } else if accuracy.split == "synthetic" {
            assumptions
                .push("no data: inputs were synthesised, accuracy is agreement with the float network on them".into());
        } else if accuracy.metric == Metric::Agreement {
            assumptions.push("no labels: accuracy is agreement with the float network".into());
        }
        // A loss that is no number keeps no goal.
        let keeps = accuracy.loss_points <= options.max_loss + ROUNDING * options.max_loss.max(1e-6);
        let loses_more = options.goal && accuracy.metric != Metric::Snr && !keeps;
        let goal_missed = loses_more || budgets.iter().any(|budget| !budget.met);
        CompileReport {
            network: quantized.graph.name.clone(),
            average_bits: layers.iter().map(|l| f64::from(l.bits)).sum::<f64>() / layers.len() as f64,
            layers,
            goal_missed,
            accuracy,
            budgets,
            confirmation,
            max_loss: options.goal.then_some(options.max_loss),
            size,
            accelerator_speedup: cost.speedup(),
            accelerator_energy_ratio: cost.energy_ratio(),
            accelerator: cost.program.layers.iter().zip(&cost.baseline_8bit.layers).map(AcceleratorStep::new).collect(),
            search,
            seed: options.seed,
            assumptions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_loss_counts_and_says_whose_it_is() {
        let copy = UnlearnedAccuracy { float: 0.9, reference: 0.75, quantized: 0.5 };
        assert_eq!(Accuracy::lost(1.0, 0.75, None), (25.0, LossOf::Artifact));
        assert_eq!(Accuracy::lost(1.0, 0.75, Some(&copy)), (25.0, LossOf::Unlearned));
        assert_eq!(Accuracy::lost(1.0, 0.25, Some(&copy)), (50.0, LossOf::Artifact));
    }
}
