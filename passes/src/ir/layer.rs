//! Layers with weights in one form, whether convolution or fully connected.

use super::{Node, Op, Tensor};

/// The weights of a layer as `[output][input of its group][tap]`; a fully connected layer has one group and one tap.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'n> {
    /// Of `outputs * inputs * taps` values.
    pub weight: &'n Tensor,
    /// One value an output.
    pub bias: Option<&'n [f32]>,
    /// Output channels of all groups.
    pub outputs: usize,
    /// Input channels of one group.
    pub inputs: usize,
    /// Positions of the kernel.
    pub taps: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Layer<'_> {
    /// Products that an output sums.
    pub fn depth(&self) -> usize {
        self.inputs * self.taps
    }

    /// Channel of the operand that a weight multiplies.
    pub fn channel(&self, weight: usize) -> usize {
        let (output, input) = (weight / self.depth(), weight / self.taps % self.inputs);
        output / (self.outputs / self.groups) * self.inputs + input
    }
}

impl Node {
    /// Its weights; `None` where it owns none.
    pub fn layer(&self) -> Option<Layer<'_>> {
        let (weight, bias, taps, groups) = match &self.op {
            Op::Conv(conv) => (&conv.weight, &conv.bias, conv.window.kernel.iter().product(), conv.groups),
            Op::FullyConnected(layer) => (&layer.weight, &layer.bias, 1, 1),
            _ => return None,
        };
        let [outputs, inputs] = [weight.dims()[0], weight.dims()[1]];
        Some(Layer { weight, bias: bias.as_deref(), outputs, inputs, taps, groups })
    }

    /// Weights and bias, to be changed; `None` where it owns none.
    pub fn layer_mut(&mut self) -> Option<(&mut Tensor, &mut Option<Vec<f32>>)> {
        match &mut self.op {
            Op::Conv(conv) => Some((&mut conv.weight, &mut conv.bias)),
            Op::FullyConnected(layer) => Some((&mut layer.weight, &mut layer.bias)),
            _ => None,
        }
    }
}
