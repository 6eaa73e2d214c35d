//! The agent's view of one layer: the paper's state embedding, and what was added to it.
//!
//! Of the paper (ReLeQ, table of the state embedding; confirmed in the released code): layer index over the number of layers;
//! output channels n, input channels c and kernel k, each min-max normalised over the layers; standard deviation of the
//! weights; current bits over 8; State_Quantization; State_Accuracy. The last three change during an episode.
//!
//! Added here: the sensitivity of the layer (of the profile, or of the prior without one), the layer's share of the cost at
//! 8 bit, the width just chosen for the layer before, and the position of the layer as four cosines: from the index alone the policy
//! is slow to tell a layer from its neighbours. In the paper the accuracy is measured after the last layer only, so
//! that State_Accuracy is stale while the layers are visited; here it is the surrogate's expectation for what was chosen so
//! far with the remaining layers at the widest width.

use releqc_runtime::BitWidth;

use super::cost::CostModel;
use super::environment::Problem;
use super::prior::DamagePrior;

/// Number of features of a state.
pub const FEATURES: usize = 15;

/// Features of every layer that do not change during a search.
#[derive(Clone, Debug)]
pub struct Embedding {
    fixed: Vec<[f32; 7]>,
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic {
    /// Width of the layer before the choice: the widest, because every episode starts there.
    pub current: BitWidth,
    /// Width chosen for the layer before.
    pub before: BitWidth,
    /// Cost of the choices so far over the cost at 8 bit.
    pub state_quantization: f64,
    /// Accuracy over the reference accuracy.
    pub state_accuracy: f64,
}

impl Embedding {
    /// The fixed features of `problem`.
    pub fn new(problem: &Problem, cost: &CostModel, prior: &DamagePrior) -> Self {
        let layers = &problem.layers;
        let outputs = normalised(layers.iter().map(|l| l.outputs as f64));
        let inputs = normalised(layers.iter().map(|l| l.inputs as f64));
        let kernels = normalised(layers.iter().map(|l| l.kernel as f64));
        let shares: Vec<f64> = (0..layers.len()).map(|l| cost.of_layer(l, BitWidth::MAX)).collect();
        let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let fixed = (0..layers.len())
            .map(|l| {
                [
                    l as f32 / layers.len() as f32,
                    outputs[l],
                    inputs[l],
                    kernels[l],
                    layers[l].weight_std,
                    prior.sensitivity(l) as f32,
                    (shares[l] / most) as f32,
                ]
            })
            .collect();
        Embedding { fixed }
    }

    /// The state in which the width of `layer` is chosen.
    pub fn state(&self, layer: usize, dynamic: &Dynamic) -> [f32; FEATURES] {
        let mut state = [0.0; FEATURES];
        state[..7].copy_from_slice(&self.fixed[layer]);
        let share = |width: BitWidth| f32::from(width.bits()) / f32::from(BitWidth::MAX.bits());
        state[7] = share(dynamic.current);
        state[8] = share(dynamic.before);
        state[9] = dynamic.state_quantization as f32;
        state[10] = dynamic.state_accuracy as f32;
        state[11..].copy_from_slice(&position(layer, self.fixed.len()));
        state
    }
}

/// Cosines of 1, 2, 4 and 8 half turns over the depth of the network.
pub(super) fn position(layer: usize, layers: usize) -> [f32; 4] {
    let place = (layer as f32 + 0.5) / layers as f32;
    [1.0, 2.0, 4.0, 8.0].map(|half_turns: f32| (half_turns * std::f32::consts::PI * place).cos())
}

/// Min-max normalised to 0..=1; all 0 where the values do not differ.
fn normalised(values: impl Iterator<Item = f64> + Clone) -> Vec<f32> {
    let (low, high) = values.clone().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let range = high - low;
    values.map(|v| if range > 0.0 { ((v - low) / range) as f32 } else { 0.0 }).collect()
}
