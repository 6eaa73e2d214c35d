//! Evaluation without a tape: a few samples at a time pass through the whole network, so that activations stay in the
//! cache and no gradient is prepared.

use super::kernels::convolution::Convolution;
use super::kernels::epilogue::{self, Epilogue};
use super::kernels::simd::Isa;
use super::kernels::tiles::{PackedWeight, Position, Run, multiply};
use super::layers::{Permute, Product, inverse_deviation};
use super::network::{Kind, Layer, Network, NetworkError, Step};
use crate::activation::ActivationQuant;
use crate::annotate::Annotated;
use crate::calibrate::Range;
use crate::data::Dataset;
use crate::ir::Graph;
use rayon::prelude::*;

/// Samples that pass through the network together.
const SAMPLES_A_PASS: usize = 8;

/// A network with its weights prepared for evaluation.
#[derive(Debug)]
pub struct Inference {
    isa: Isa,
    network: Network,
    layers: Vec<Prepared>,
    activations: Option<Vec<ActivationQuant>>,
}

/// Weights with batch normalisation folded in, in the order the kernels read them.
#[derive(Debug)]
struct Prepared {
    packed: Vec<PackedWeight>,
    plain: Vec<f32>,
    bias: Vec<f32>,
}

impl Inference {
    /// The float network.
    ///
    /// # Errors
    /// Where the graph has no training form.
    pub fn float(graph: &Graph) -> Result<Self, NetworkError> {
        Inference::new(graph, None, |_, weight| weight)
    }

    /// The network with weights on their codes and 8-bit tensors, as the integer artifact computes it.
    ///
    /// # Errors
    /// Where the graph has no training form.
    pub fn annotated(annotated: &Annotated) -> Result<Self, NetworkError> {
        Inference::new(&annotated.graph, Some(annotated.activations.clone()), |node, mut weight| {
            if let Some(quant) = annotated.weights.get(&crate::ir::NodeId(node)) {
                let limit = f32::from(quant.bits.max_code());
                for row in weight.chunks_exact_mut(quant.scales.len()) {
                    for (w, &scale) in row.iter_mut().zip(&quant.scales) {
                        *w = (*w / scale).round_ties_even().clamp(-limit, limit) * scale;
                    }
                }
            }
            weight
        })
    }

    fn new(
        graph: &Graph,
        activations: Option<Vec<ActivationQuant>>,
        weights: impl Fn(usize, Vec<f32>) -> Vec<f32>,
    ) -> Result<Self, NetworkError> {
        let isa = Isa::detect();
        let network = Network::new(graph)?;
        let layers = network.layers().map(|(id, layer)| prepare(isa, &network, layer, |w| weights(id.0, w))).collect();
        Ok(Inference { isa, network, layers, activations })
    }

    /// Number of logits of a sample.
    pub fn classes(&self) -> usize {
        self.network.classes()
    }

    /// The logits of every sample, one row a sample, in ONNX's order; of several outputs the values of the first.
    pub fn logits(&self, data: &Dataset) -> Vec<f32> {
        let classes = self.classes();
        let mut logits = vec![0.0; data.len() * classes];
        let order = self.network.steps[self.network.logits].layout.to_plain();
        logits.par_chunks_mut(SAMPLES_A_PASS * classes).enumerate().for_each(|(pass, out)| {
            let samples = out.len() / classes;
            let mut input = vec![0.0; samples * self.network.input_len()];
            let mut plain = vec![0.0; self.network.input_len()];
            for (i, image) in input.chunks_exact_mut(self.network.input_len()).enumerate() {
                data.read(pass * SAMPLES_A_PASS + i, &mut plain);
                interleave(&plain, data.shape().chw(), image);
            }
            let values = self.pass(&input, &mut |_, _| {});
            match &order {
                Some(from) => Permute::gather(from, &values, out),
                None => out.copy_from_slice(&values),
            }
        });
        logits
    }

    /// Smallest and largest value of every node's tensor over all samples, 0 included; of a node the logits do not depend
    /// on, both are 0.
    pub fn ranges(&self, data: &Dataset) -> Vec<Range> {
        let mut ranges = vec![Range { min: 0.0, max: 0.0 }; self.network.steps.len()];
        let mut plain = vec![0.0; self.network.input_len()];
        for sample in 0..data.len() {
            let mut input = vec![0.0; plain.len()];
            data.read(sample, &mut plain);
            interleave(&plain, data.shape().chw(), &mut input);
            self.pass(&input, &mut |node, values| {
                let range = &mut ranges[node];
                range.min = values.iter().fold(range.min, |m, &v| m.min(v));
                range.max = values.iter().fold(range.max, |m, &v| m.max(v));
            });
        }
        ranges
    }

    /// The logits of a batch of NHWC inputs.
    pub(crate) fn logits_of(&self, batch: &[f32]) -> Vec<f32> {
        let (inputs, classes) = (self.network.input_len(), self.classes());
        let mut logits = vec![0.0; batch.len() / inputs * classes];
        let passes = batch.par_chunks(SAMPLES_A_PASS * inputs);
        logits
            .par_chunks_mut(SAMPLES_A_PASS * classes)
            .zip(passes)
            .for_each(|(out, input)| out.copy_from_slice(&self.pass(input, &mut |_, _| {})));
        logits
    }

    /// The values of these nodes for a batch of NHWC inputs, one buffer a node.
    pub(crate) fn values_of(&self, batch: &[f32], nodes: &[usize]) -> Vec<Vec<f32>> {
        let of_pass = |input: &[f32]| {
            let mut found = vec![Vec::new(); nodes.len()];
            self.pass(input, &mut |node, values| {
                if let Some(at) = nodes.iter().position(|&wanted| wanted == node) {
                    found[at] = values.to_vec();
                }
            });
            found
        };
        let passes: Vec<Vec<Vec<f32>>> =
            batch.par_chunks(SAMPLES_A_PASS * self.network.input_len()).map(of_pass).collect();
        (0..nodes.len()).map(|at| passes.iter().flat_map(|pass| &pass[at]).copied().collect()).collect()
    }

    /// Logits of a few samples; `seen` is shown the values of every node.
    fn pass(&self, input: &[f32], seen: &mut dyn FnMut(usize, &[f32])) -> Vec<f32> {
        let samples = input.len() / self.network.input_len();
        let steps = &self.network.steps;
        let mut last_use = vec![0; steps.len()];
        for (node, step) in steps.iter().enumerate().filter(|(_, s)| s.used) {
            step.inputs.iter().for_each(|&i| last_use[i] = node);
        }
        self.network.ends.iter().for_each(|&end| last_use[end] = steps.len());
        let mut tensors: Vec<Vec<f32>> = vec![Vec::new(); steps.len()];
        for (node, step) in steps.iter().enumerate().filter(|(_, s)| s.used) {
            // The input's buffer becomes the output where nothing moves and nobody else reads it.
            let reuses = matches!(step.kind, Kind::Same | Kind::Affine { .. })
                && last_use[step.inputs[0]] == node
                && !matches!(steps[step.inputs[0]].kind, Kind::Constant(_));
            let mut y = match &step.kind {
                Kind::Input(own) => self.network.input_of(step, own, input),
                Kind::Constant(values) => values.repeat(samples),
                _ if reuses => std::mem::take(&mut tensors[step.inputs[0]]),
                _ => vec![0.0; samples * step.len()],
            };
            self.step(step, &tensors, reuses, samples, &mut y);
            let codes = self.activations.as_ref().filter(|_| step.rounded).map(|a| a[node].codes());
            epilogue::apply(self.isa, &step.epilogue(codes), &mut y);
            seen(node, &y);
            tensors[node] = y;
            for &input in &step.inputs {
                if last_use[input] == node {
                    tensors[input] = Vec::new();
                }
            }
        }
        std::mem::take(&mut tensors[self.network.logits])
    }

    fn step(&self, step: &Step, tensors: &[Vec<f32>], in_place: bool, samples: usize, y: &mut [f32]) {
        let encoded = self.encoded(step, tensors);
        let input = |i: usize| encoded.as_deref().unwrap_or(&tensors[step.inputs[i]][..]);
        match &step.kind {
            Kind::Input(_) | Kind::Constant(_) => {}
            Kind::Same if in_place => {}
            Kind::Same => y.copy_from_slice(input(0)),
            Kind::Affine { mul, add } => {
                if !in_place {
                    y.copy_from_slice(input(0));
                }
                for pixel in y.chunks_exact_mut(mul.len()) {
                    for ((y, m), a) in pixel.iter_mut().zip(mul).zip(add) {
                        *y = *y * m + a;
                    }
                }
            }
            Kind::Product(layer) => self.product(layer, input(0), y),
            Kind::Pool(pool) => pool.forward_part(self.isa, input(0), y),
            Kind::Permute(from) => Permute::gather(from, input(0), y),
            Kind::Add => {
                y.copy_from_slice(input(0));
                for i in 1..step.inputs.len() {
                    for (y, x) in y.iter_mut().zip(input(i)) {
                        *y += x;
                    }
                }
            }
            Kind::Concat => {
                let mut start = 0;
                for i in 0..step.inputs.len() {
                    let channels = self.network.steps[step.inputs[i]].layout.image[2];
                    let pixels = y.chunks_exact_mut(step.layout.image[2]).zip(input(i).chunks_exact(channels));
                    pixels.for_each(|(y, x)| y[start..start + channels].copy_from_slice(x));
                    start += channels;
                }
            }
            Kind::General(layers) => {
                let is_constant = |&&input: &&usize| matches!(self.network.steps[input].kind, Kind::Constant(_));
                let mut varying = step.inputs.iter().filter(|input| !is_constant(input));
                let mut before: Option<Vec<f32>> = None;
                for layer in layers {
                    let count = layer.inputs() - usize::from(before.is_some());
                    let next = varying.by_ref().take(count).map(|&i| &tensors[i][..]);
                    let inputs: Vec<&[f32]> = before.iter().map(|values| &values[..]).chain(next).collect();
                    let mut whole = vec![0.0; samples * layer.len()];
                    layer.run(&inputs, samples, &mut whole);
                    before = Some(whole);
                }
                y.copy_from_slice(&before.unwrap_or_default());
            }
        }
    }

    /// The first operand as codes stand for it, where the step reads floats as codes.
    fn encoded(&self, step: &Step, tensors: &[Vec<f32>]) -> Option<Vec<f32>> {
        let activations = self.activations.as_ref().filter(|_| step.encodes)?;
        let mut values = tensors[step.inputs[0]].clone();
        let codes = Some(activations[step.inputs[0]].codes());
        epilogue::apply(self.isa, &Epilogue { codes, ..Epilogue::NONE }, &mut values);
        Some(values)
    }

    fn product(&self, layer: &Layer, x: &[f32], to: &mut [f32]) {
        let mut results = Vec::new();
        let y = match &layer.restore {
            None => &mut *to,
            Some(_) => {
                results.resize(to.len(), 0.0);
                &mut results[..]
            }
        };
        let prepared = &self.layers[layer.index];
        let bias = Some(&prepared.bias[..]);
        let mut moved = Vec::new();
        let x = match &layer.flatten {
            None => x,
            Some(from) => {
                moved.resize(x.len(), 0.0);
                Permute::gather(from, x, &mut moved);
                &moved
            }
        };
        match &*layer.product {
            Product::Convolution(c) => c.forward_part(self.isa, x, &prepared.packed, bias, &mut Vec::new(), y),
            Product::Depthwise(d) => d.forward_part(self.isa, x, &prepared.plain, bias, y),
            Product::Linear(l) => {
                let samples = x.len() / l.inputs;
                let positions: Vec<_> =
                    (0..samples).map(|n| Position { input: n * l.inputs, output: n * l.outputs }).collect();
                let runs = [Run { offset: 0, row: 0, len: l.inputs }];
                multiply(self.isa, x, &positions, &runs, &prepared.packed[0], bias, y);
            }
        }
        if let Some(from) = &layer.restore {
            Permute::gather(from, &results, to);
        }
    }
}

fn prepare(isa: Isa, network: &Network, layer: &Layer, weights: impl Fn(Vec<f32>) -> Vec<f32>) -> Prepared {
    let value = |p: usize| &network.parameters[p].values;
    let mut weight = weights(value(layer.weight).clone());
    let channels = layer.outputs();
    let mut bias = layer.bias.map_or_else(|| vec![0.0; channels], |b| value(b).clone());
    if let Some(norm) = &layer.norm {
        let statistics = &network.statistics[norm.statistics];
        for c in 0..channels {
            let mul = value(norm.gamma)[c] * inverse_deviation(statistics.variance[c], norm.epsilon) as f32;
            bias[c] = value(norm.beta)[c] + (bias[c] - statistics.mean[c]) * mul;
            weight.iter_mut().skip(c).step_by(channels).for_each(|w| *w *= mul);
        }
    }
    let packed = match &*layer.product {
        Product::Convolution(c) => Convolution::pack(c, isa, &weight),
        Product::Depthwise(_) => Vec::new(),
        Product::Linear(l) => {
            let rows: Vec<usize> = (0..l.inputs).map(|i| i * l.outputs).collect();
            vec![PackedWeight::new(isa, &rows, l.outputs, &weight, 1)]
        }
    };
    Prepared { packed, plain: weight, bias }
}

/// `[channel][row][column]` to `[row][column][channel]`.
pub(crate) fn interleave(plain: &[f32], [c, h, w]: [usize; 3], image: &mut [f32]) {
    if c == 1 {
        return image.copy_from_slice(plain);
    }
    for (channel, plane) in plain.chunks_exact(h * w).enumerate() {
        for (pixel, &value) in plane.iter().enumerate() {
            image[pixel * c + channel] = value;
        }
    }
}
