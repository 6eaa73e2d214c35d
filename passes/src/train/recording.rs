//! One forward pass of a [`Network`] on the tape.

use super::buffers::Buffers;
use super::kernels::epilogue::{Codes, Epilogue};
use super::kernels::simd::Isa;
use super::layers::{
    Affine, Concat, NormMode, Normalize, Permute, Pooling, ProductLayer, RoundWeights, Statistics, Sum,
};
use super::network::{Kind, Layer, Network, Step};
use super::tape::{self, Differentiable};
use crate::activation::ActivationQuant;
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// How weights and tensors are rounded while training.
#[derive(Debug)]
pub(crate) struct Rounding {
    /// One a weight layer.
    pub(crate) weights: Vec<Arc<RoundWeights>>,
    /// Parameter of each weight layer's steps.
    pub(crate) weight_steps: Vec<usize>,
    /// Codes of every node's tensor.
    pub(crate) activations: Vec<ActivationQuant>,
    /// Parameter of each rounded tensor's step, where steps are learned.
    pub(crate) activation_steps: Vec<Option<usize>>,
}

impl ActivationQuant {
    /// The codes in the form of an epilogue.
    pub(crate) fn codes(&self) -> Codes {
        let zero = f32::from(self.zero_point);
        Codes { scale: self.scale, low: -zero, high: f32::from(self.largest) - zero }
    }
}

/// A forward pass.
pub(crate) struct Recording<'a> {
    pub(crate) isa: Isa,
    pub(crate) network: &'a Network,
    /// Every parameter as a tensor, in the order of the network's list and the rounding's additions.
    pub(crate) parameters: &'a [Tensor<1>],
    pub(crate) statistics: &'a [Statistics],
    pub(crate) rounding: Option<&'a Rounding>,
    pub(crate) norm: NormMode,
    pub(crate) buffers: &'a Arc<Buffers>,
}

impl Recording<'_> {
    fn apply(&self, layer: Arc<dyn Differentiable>, inputs: &[&Tensor<1>]) -> Tensor<1> {
        tape::apply(layer, inputs, self.buffers)
    }

    /// The values of these nodes, which the outputs depend on or are, for a batch; and the normalisations executed, in the order of the
    /// statistics.
    pub(crate) fn values_of(
        &self,
        batch: &[f32],
        device: &Device,
        nodes: &[usize],
    ) -> (Vec<Tensor<1>>, Vec<Arc<Normalize>>) {
        let samples = batch.len() / self.network.input_len();
        let mut norms = Vec::new();
        let mut tensors: Vec<Option<Tensor<1>>> = Vec::with_capacity(self.network.steps.len());
        for (node, step) in self.network.steps.iter().enumerate() {
            let input = |i: usize| tensors[step.inputs[i]].as_ref().expect("inputs precede their users");
            let result = match &step.kind {
                _ if !step.used => None,
                Kind::Input(input) => {
                    let values = tape::constant(self.network.input_of(step, input, batch), device);
                    Some(self.finish(node, step, values))
                }
                Kind::Constant(values) if values.is_empty() => None,
                Kind::Constant(values) => Some(tape::constant(values.repeat(samples), device)),
                Kind::Product(layer) => {
                    let x = self.encoded(step, input(0));
                    Some(self.product(node, step, layer, &x, &mut norms))
                }
                Kind::Affine { mul, add } => Some(self.affine(node, step, input(0), mul.clone(), add.clone())),
                Kind::Same => Some(self.finish(node, step, input(0).clone())),
                Kind::Pool(pool) => {
                    let layer = Pooling { isa: self.isa, pool: Arc::clone(pool) };
                    let x = self.encoded(step, input(0));
                    Some(self.finish(node, step, self.apply(Arc::new(layer), &[&x])))
                }
                Kind::Permute(from) => {
                    let moved = self.apply(Arc::new(Permute { from: Arc::clone(from) }), &[input(0)]);
                    Some(self.finish(node, step, moved))
                }
                Kind::Add => Some(self.sum(node, step, (0..step.inputs.len()).map(input).collect())),
                Kind::Concat => {
                    let mut whole = input(0).clone();
                    let mut channels = self.network.steps[step.inputs[0]].layout.image[2];
                    for i in 1..step.inputs.len() {
                        let more = self.network.steps[step.inputs[i]].layout.image[2];
                        whole = self.apply(Arc::new(Concat { channels: [channels, more] }), &[&whole, input(i)]);
                        channels += more;
                    }
                    Some(self.finish(node, step, whole))
                }
                Kind::General(layers) => {
                    // Constant operands are the layers' own.
                    let is_constant = |&&input: &&usize| matches!(self.network.steps[input].kind, Kind::Constant(_));
                    let mut varying = step.inputs.iter().filter(|input| !is_constant(input));
                    let mut before: Option<Tensor<1>> = None;
                    for layer in layers {
                        let count = layer.inputs() - usize::from(before.is_some());
                        let next = varying.by_ref().take(count);
                        let next = next.map(|&i| tensors[i].as_ref().expect("inputs precede their users"));
                        let inputs: Vec<&Tensor<1>> = before.iter().chain(next).collect();
                        let whole = self.apply(Arc::clone(layer) as _, &inputs);
                        before = Some(whole);
                    }
                    before.map(|whole| self.finish(node, step, whole))
                }
            };
            tensors.push(result);
        }
        let value = |&node: &usize| tensors[node].clone().expect("an output depends on it");
        (nodes.iter().map(value).collect(), norms)
    }

    /// The input of a step in codes, where it is floats.
    fn encoded(&self, step: &Step, input: &Tensor<1>) -> Tensor<1> {
        let (Some(rounding), true) = (self.rounding, step.encodes) else { return input.clone() };
        let node = step.inputs[0];
        let epilogue = Epilogue { codes: Some(rounding.activations[node].codes()), ..Epilogue::NONE };
        let sample = self.network.steps[node].len();
        self.apply(Arc::new(Affine { isa: self.isa, mul: vec![1.0], add: vec![0.0], sample, epilogue }), &[input])
    }

    fn product(
        &self,
        node: usize,
        step: &Step,
        layer: &Layer,
        input: &Tensor<1>,
        norms: &mut Vec<Arc<Normalize>>,
    ) -> Tensor<1> {
        let mut x = input.clone();
        if let Some(from) = &layer.flatten {
            x = self.apply(Arc::new(Permute { from: Arc::clone(from) }), &[&x]);
        }
        let mut weight = self.parameters[layer.weight].clone();
        if let Some(rounding) = self.rounding {
            let round = Arc::clone(&rounding.weights[layer.index]);
            weight = self.apply(round, &[&weight, &self.parameters[rounding.weight_steps[layer.index]]]);
        }
        let product = Arc::new(ProductLayer { isa: self.isa, product: Arc::clone(&layer.product) });
        let y = match layer.bias {
            Some(bias) => self.apply(product, &[&x, &weight, &self.parameters[bias]]),
            None => self.apply(product, &[&x, &weight]),
        };
        let restored = |y: Tensor<1>| match &layer.restore {
            Some(from) => self.apply(Arc::new(Permute { from: Arc::clone(from) }), &[&y]),
            None => y,
        };
        let Some(norm) = &layer.norm else {
            return restored(self.finish(node, step, y));
        };
        let normalize = Arc::new(Normalize {
            isa: self.isa,
            channels: layer.outputs(),
            sample: step.len(),
            epsilon: norm.epsilon,
            mode: self.norm,
            running: self.statistics[norm.statistics].clone(),
            epilogue: self.epilogue(node, step),
            batch: Default::default(),
        });
        norms.push(Arc::clone(&normalize));
        let (gamma, beta) = (&self.parameters[norm.gamma], &self.parameters[norm.beta]);
        restored(match self.step_of(node) {
            Some(step) => self.apply(normalize, &[&y, gamma, beta, step]),
            None => self.apply(normalize, &[&y, gamma, beta]),
        })
    }

    fn sum(&self, node: usize, step: &Step, inputs: Vec<&Tensor<1>>) -> Tensor<1> {
        let mut total = inputs[0].clone();
        for (i, input) in inputs.iter().enumerate().skip(1) {
            let last = i + 1 == inputs.len() && self.step_of(node).is_none();
            let epilogue = if last { self.epilogue(node, step) } else { Epilogue::NONE };
            total = self.apply(Arc::new(Sum { isa: self.isa, epilogue }), &[&total, input]);
        }
        if self.step_of(node).is_some() { self.finish(node, step, total) } else { total }
    }

    /// Clip and rounding of a tensor that nothing else has applied them to.
    fn finish(&self, node: usize, step: &Step, tensor: Tensor<1>) -> Tensor<1> {
        if self.epilogue(node, step).is_none() {
            return tensor;
        }
        self.affine(node, step, &tensor, vec![1.0], vec![0.0])
    }

    fn affine(&self, node: usize, step: &Step, tensor: &Tensor<1>, mul: Vec<f32>, add: Vec<f32>) -> Tensor<1> {
        let layer = Affine { isa: self.isa, mul, add, sample: step.len(), epilogue: self.epilogue(node, step) };
        match self.step_of(node) {
            Some(step) => self.apply(Arc::new(layer), &[tensor, step]),
            None => self.apply(Arc::new(layer), &[tensor]),
        }
    }

    fn epilogue(&self, node: usize, step: &Step) -> Epilogue {
        let codes = self.rounding.filter(|_| step.rounded).map(|r| r.activations[node].codes());
        step.epilogue(codes)
    }

    fn step_of(&self, node: usize) -> Option<&Tensor<1>> {
        let parameter = self.rounding?.activation_steps[node]?;
        Some(&self.parameters[parameter])
    }
}

impl Step {
    /// The clip of the node with these codes.
    pub(crate) fn epilogue(&self, codes: Option<Codes>) -> Epilogue {
        let clip = self.clip.unwrap_or(crate::ir::Clip { min: f32::NEG_INFINITY, max: f32::INFINITY });
        Epilogue { min: clip.min, max: clip.max, codes }
    }
}
