//! The policy and value network: one LSTM over the layer sequence, shared by two heads.
//!
//! Sizes of the paper (confirmed in the released code): LSTM 128; policy head 128-128-softmax over the action set; value
//! head 128-64-1. The four gates of a step are one product, and the input's part of all steps is one product.

use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Tensor, TensorData};

use super::random::Draws;
use super::state::FEATURES;

/// Units of the LSTM and of the first layers of the heads.
pub const UNITS: usize = 128;
const VALUE_UNITS: usize = 64;

#[derive(Module, Debug)]
struct Dense {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Dense {
    /// Weights with normal entries of standard deviation `gain / sqrt(inputs)`, bias 0.
    fn new(inputs: usize, outputs: usize, gain: f64, draws: &mut Draws, device: &Device) -> Self {
        let spread = gain / (inputs as f64).sqrt();
        let values: Vec<f32> = (0..inputs * outputs).map(|_| (spread * draws.normal()) as f32).collect();
        Dense {
            weight: Param::from_data(TensorData::new(values, [inputs, outputs]), device),
            bias: Param::from_data(TensorData::new(vec![0.0f32; outputs], [outputs]), device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

/// The network. Its parameters are a function of the seed alone.
#[derive(Module, Debug)]
pub struct Policy {
    input: Dense,
    recurrent: Param<Tensor<2>>,
    policy: Vec<Dense>,
    value: Vec<Dense>,
}

/// What the LSTM carries from layer to layer, each `[batch, UNITS]`.
#[derive(Clone, Debug)]
pub struct Memory {
    hidden: Tensor<2>,
    cell: Tensor<2>,
}

impl Policy {
    /// A network for `actions` widths on `device`.
    pub(crate) fn new(actions: usize, draws: &mut Draws, device: &Device) -> Self {
        let mut dense = |inputs, outputs, gain| Dense::new(inputs, outputs, gain, draws, device);
        // The features lie within -1..=1 and differ little from layer to layer: a wide first layer tells layers apart.
        let input = dense(FEATURES, 4 * UNITS, 2.0);
        let recurrent = dense(UNITS, 4 * UNITS, 1.0).weight;
        // The small last layer makes the first policy nearly uniform.
        let policy = vec![dense(UNITS, UNITS, 1.0), dense(UNITS, UNITS, 1.0), dense(UNITS, actions, 0.01)];
        let value = vec![dense(UNITS, UNITS, 1.0), dense(UNITS, VALUE_UNITS, 1.0), dense(VALUE_UNITS, 1, 0.1)];
        Policy { input, recurrent, policy, value }
    }

    /// The memory before the first layer.
    pub fn start(&self, batch: usize, device: &Device) -> Memory {
        let zero = || Tensor::zeros([batch, UNITS], device);
        Memory { hidden: zero(), cell: zero() }
    }

    /// One step for `[batch, FEATURES]` states: action probabilities `[batch, actions]`, values `[batch]`, and the next memory.
    pub fn step(&self, states: Tensor<2>, memory: Memory) -> (Tensor<2>, Tensor<1>, Memory) {
        let memory = self.advance(self.input.forward(states), memory);
        let (logits, values) = self.heads(memory.hidden.clone());
        (softmax(logits, 1), values, memory)
    }

    /// All steps of `[layers * batch, FEATURES]` states, layer by layer: logits `[layers * batch, actions]` and values
    /// `[layers * batch]`.
    pub fn sequence(&self, states: Tensor<2>, layers: usize, device: &Device) -> (Tensor<2>, Tensor<1>) {
        let batch = states.dims()[0] / layers;
        let projected = self.input.forward(states);
        let mut memory = self.start(batch, device);
        let mut hidden = Vec::with_capacity(layers);
        for layer in 0..layers {
            let rows = projected.clone().narrow(0, layer * batch, batch);
            memory = self.advance(rows, memory);
            hidden.push(memory.hidden.clone());
        }
        self.heads(Tensor::cat(hidden, 0))
    }

    /// The LSTM cell (Hochreiter and Schmidhuber, 1997, with forget gate), gates in the order input, forget, output, candidate.
    fn advance(&self, projected: Tensor<2>, memory: Memory) -> Memory {
        let gates = projected + memory.hidden.matmul(self.recurrent.val());
        let open = sigmoid(gates.clone().narrow(1, 0, 3 * UNITS));
        let candidate = gates.narrow(1, 3 * UNITS, UNITS).tanh();
        let [input, forget, output] = [0, 1, 2].map(|gate| open.clone().narrow(1, gate * UNITS, UNITS));
        let cell = forget * memory.cell + input * candidate;
        Memory { hidden: output * cell.clone().tanh(), cell }
    }

    fn heads(&self, hidden: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
        let head = |layers: &[Dense]| {
            let last = layers.len() - 1;
            layers.iter().enumerate().fold(hidden.clone(), |x, (index, layer)| {
                let x = layer.forward(x);
                if index < last { x.tanh() } else { x }
            })
        };
        (head(&self.policy), head(&self.value).flatten::<1>(0, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;
    use burn::tensor::activation::softmax;

    #[test]
    fn a_sequence_gives_what_its_steps_give() {
        let device = Device::flex();
        let policy = Policy::new(4, &mut Draws::new(9, Purpose::Agent), &device);
        let (layers, batch) = (5, 3);
        let mut draws = Draws::new(1, Purpose::Agent);
        let values: Vec<f32> = (0..layers * batch * FEATURES).map(|_| draws.normal() as f32).collect();
        let states = Tensor::<2>::from_data(TensorData::new(values, [layers * batch, FEATURES]), &device);
        let (logits, values) = policy.sequence(states.clone(), layers, &device);
        let whole: Vec<f32> = softmax(logits, 1).into_data().iter::<f32>().collect();
        let whole_values: Vec<f32> = values.into_data().iter::<f32>().collect();
        let mut memory = policy.start(batch, &device);
        let (mut single, mut single_values) = (Vec::new(), Vec::new());
        for layer in 0..layers {
            let rows = states.clone().narrow(0, layer * batch, batch);
            let (probabilities, values, next) = policy.step(rows, memory);
            memory = next;
            single.extend(probabilities.into_data().iter::<f32>());
            single_values.extend(values.into_data().iter::<f32>());
        }
        for (a, b) in whole.iter().chain(&whole_values).zip(single.iter().chain(&single_values)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert!(single.chunks(4).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    }

    #[test]
    fn the_heads_have_the_papers_sizes() {
        let policy = Policy::new(7, &mut Draws::new(9, Purpose::Agent), &Device::flex());
        let lstm = FEATURES * 512 + 512 + 128 * 512;
        let heads = (128 * 128 + 128) * 2 + (128 * 7 + 7) + (128 * 128 + 128) + (128 * 64 + 64) + (64 + 1);
        assert_eq!(policy.num_params(), lstm + heads);
    }
}
