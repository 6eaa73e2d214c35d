//! How curved the loss is in the weights of each layer: the mean of the diagonal of its Hessian.
//!
//! Hutchinson's estimator (Communications in Statistics 18, 1989): where the entries of v are -1 and 1 by chance, `E[v^T H v]` is the trace
//! of H. A product with H is a difference of gradients (f32) at weights moved forth and back along v, by a small part of the layer's own
//! size: `v^T (g(w + e v) - g(w - e v)) / 2 e`. One layer is moved at a time: what moves of other layers do to its gradient would be noise,
//! and far more of it than the estimate where their weights are larger. Dot products are summed in f64, in the order of the weights.

use super::batches::{Batch, Batches};
use super::buffers::Buffers;
use super::inference::Inference;
use super::kernels::simd::Isa;
use super::layers::{Distance, Loss, NormMode, Targets};
use super::network::Network;
use super::recipe::{Augmentation, Comparison};
use super::reconstruct::Aim;
use super::recording::Recording;
use super::tape::{apply, constant, values};
use super::trainer::{TrainError, check_data};
use crate::data::Dataset;
use crate::ir::Graph;
use crate::random::{Purpose, stream};
use burn::tensor::{Device, Tensor};
use rand_chacha::rand_core::Rng;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How far weights are moved, in parts of the root of their layer's mean square: far above the rounding of f32 gradients, and about as
/// far as 8 bits move them.
const STEP: f32 = 1.0 / 128.0;

/// How the Hessian is probed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Random vectors of each layer, each on a batch of its own; the relative error falls with the root of their number.
    pub draws: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// The loss: cross entropy with the labels, or with the float network's classes where there are none; of values the square error in
    /// parts of the power.
    pub aim: Aim,
}

/// The mean of the Hessian's diagonal over the weights of each layer, in the order of [`Graph::weight_layers`], in units of the loss a
/// square of weights; estimates, so they may lie below 0. `None` where `progress`, told the vectors done, ended it. A function of graph,
/// samples, probe and seed alone.
///
/// # Errors
/// Where graph and data do not fit each other or the graph has no training form.
pub fn mean_hessian_diagonals(
    graph: &Graph,
    data: &Dataset,
    probe: &Probe,
    seed: u64,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<f64>>, TrainError> {
    let network = Network::new(graph)?;
    let compares = match probe.aim {
        Aim::Classes { .. } => Comparison::Classes,
        Aim::Values => Comparison::Values,
    };
    check_data(graph, &network, data, compares)?;
    let point =
        Point { teacher: Inference::float(graph)?, network, data, probe, buffers: Arc::new(Buffers::default()) };
    let layers: Vec<usize> = point.network.layers().map(|(_, layer)| layer.weight).collect();
    let start: Vec<Vec<f32>> = point.network.parameters.iter().map(|p| p.values.clone()).collect();
    let steps: Vec<f32> = layers.iter().map(|&weight| STEP * spread(&start[weight])).collect();
    let mut batches = Batches::new(data, probe.batch, Augmentation::NONE, stream(seed, Purpose::CurvatureSamples));
    let mut signs = stream(seed, Purpose::Curvature);
    let mut sums = vec![0.0; layers.len()];
    for done in 1..=probe.draws {
        let batch = batches.next();
        for ((&weight, &step), sum) in layers.iter().zip(&steps).zip(&mut sums) {
            let sign = |random: u32| if random >> 31 == 0 { 1.0 } else { -1.0 };
            let direction: Vec<f32> = start[weight].iter().map(|_| sign(signs.next_u32())).collect();
            let moved = |way: f32| {
                let mut parameters = start.clone();
                parameters[weight].iter_mut().zip(&direction).for_each(|(w, v)| *w += way * step * v);
                parameters
            };
            let forth = point.gradient(moved(1.0), weight, &batch);
            let back = point.gradient(moved(-1.0), weight, &batch);
            let product: f64 = direction
                .iter()
                .zip(forth.iter().zip(&back))
                .map(|(v, (forth, back))| f64::from(*v) * (f64::from(*forth) - f64::from(*back)))
                .sum();
            *sum += product / (2.0 * f64::from(step) * direction.len().max(1) as f64);
        }
        if progress(done).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(sums.into_iter().map(|sum| sum / probe.draws.max(1) as f64).collect()))
}

/// Root of the mean square; 1 for a layer of zeros.
fn spread(weights: &[f32]) -> f32 {
    let square: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
    let root = (square / weights.len().max(1) as f64).sqrt() as f32;
    if root > f32::MIN_POSITIVE { root } else { 1.0 }
}

/// Where gradients are taken.
struct Point<'a> {
    network: Network,
    teacher: Inference,
    data: &'a Dataset,
    probe: &'a Probe,
    buffers: Arc<Buffers>,
}

impl Point<'_> {
    /// Gradient of one layer's weights on a batch, at these parameters.
    fn gradient(&self, parameters: Vec<Vec<f32>>, weight: usize, batch: &Batch) -> Vec<f32> {
        let device = Device::flex().autodiff();
        let tensors: Vec<Tensor<1>> =
            parameters.into_iter().map(|values| constant(values, &device).require_grad()).collect();
        let recording = Recording {
            isa: Isa::detect(),
            network: &self.network,
            parameters: &tensors,
            statistics: &self.network.statistics,
            rounding: None,
            norm: NormMode::Fixed,
            buffers: &self.buffers,
        };
        let ends = &self.network.ends;
        let (outputs, _) = recording.values_of(&batch.input, &device, ends);
        let teacher = || self.teacher.values_of(&batch.input, ends);
        let total = match self.probe.aim {
            Aim::Classes { temperature } => {
                let labels = self.data.labels().map(|labels| batch.samples.iter().map(|&s| labels[s]).collect());
                let teacher = labels.is_none().then(|| teacher().swap_remove(0));
                let loss = Loss {
                    classes: self.network.classes(),
                    temperature,
                    weight: 1.0,
                    targets: Targets { labels, teacher },
                    result: Default::default(),
                };
                apply(Arc::new(loss), &[&outputs[0]], &self.buffers)
            }
            Aim::Values => {
                let weight = 1.0 / outputs.len() as f32;
                let distance =
                    |(output, target)| apply(Arc::new(Distance::new(target, weight)), &[output], &self.buffers);
                let parts = outputs.iter().zip(teacher()).map(distance);
                parts.reduce(|sum, part| sum + part).expect("a network has outputs")
            }
        };
        let mut gradients = total.backward();
        let zeros = || vec![0.0; self.network.parameters[weight].values.len()];
        tensors[weight].grad_remove(&mut gradients).map_or_else(zeros, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;
    use crate::ir::{Clip, ElementType, FullyConnected, Node, NodeId, Op, Shape};

    /// Of hidden layers, one output after the other.
    const BIAS: [f32; 2] = [2.0, -2.0];

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = stream(seed, Purpose::Weights);
        (0..len).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
    }

    /// Fully connected layers of these extents, a ReLU after each but the last. It lets every second value through and stops the others,
    /// whatever the inputs: where a derivative jumps there is no second one.
    fn layers(extents: &[usize], seed: u64) -> Graph {
        let node = |name: String, op: Op, inputs: Vec<NodeId>, len: usize, activation: Option<Clip>| Node {
            name,
            op,
            inputs,
            shape: Shape::vector(len),
            activation,
        };
        let mut nodes = vec![node("input".into(), Op::Input(ElementType::F32), Vec::new(), extents[0], None)];
        for (index, pair) in extents.windows(2).enumerate() {
            let [inputs, outputs] = [pair[0], pair[1]];
            let hidden = index + 2 < extents.len();
            let scale = if hidden { 0.25 } else { 1.0 };
            let values: Vec<f32> =
                noise(inputs * outputs, seed + index as u64).into_iter().map(|w| scale * w).collect();
            let weight = crate::ir::Tensor::new(vec![outputs, inputs], values).unwrap();
            let bias = (0..outputs).map(|output| if hidden { BIAS[output % 2] } else { 0.0 }).collect();
            let layer = FullyConnected { weight, bias: Some(bias), batch_norm: None };
            let clip = hidden.then_some(Clip::RELU);
            nodes.push(node(format!("layer{index}"), Op::FullyConnected(layer), vec![NodeId(index)], outputs, clip));
        }
        let last = NodeId(nodes.len() - 1);
        Graph { name: "layers".into(), nodes, outputs: vec![("y".into(), last)] }
    }

    fn means(graph: &Graph, data: &Dataset, probe: Probe) -> Vec<f64> {
        mean_hessian_diagonals(graph, data, &probe, 7, |_| ControlFlow::Continue(())).unwrap().unwrap()
    }

    fn dataset(inputs: usize, values: Vec<f32>, labels: Option<Vec<u32>>) -> Dataset {
        Dataset::new(Shape::vector(inputs), Samples::Values(values), labels).unwrap()
    }

    /// `loss = sum (x w^T - y)^2 / sum y^2`, so the second derivative by a weight is `2 sum x_i^2 / sum y^2`.
    #[test]
    fn a_quadratic_has_the_trace_that_its_formula_says() {
        let (inputs, outputs, samples) = (12, 5, 40);
        let graph = layers(&[inputs, outputs], 3);
        let values = noise(samples * inputs, 9);
        let weight = graph.nodes[1].layer().unwrap().weight.data().to_vec();
        let product = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>();
        let rows: Vec<&[f32]> = values.chunks_exact(inputs).collect();
        let power: f64 =
            rows.iter().flat_map(|x| weight.chunks_exact(inputs).map(move |w| product(x, w).powi(2))).sum();
        let square: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let known = 2.0 * square / power / inputs as f64;
        let data = dataset(inputs, values.clone(), None);
        let found = means(&graph, &data, Probe { draws: 400, batch: samples, aim: Aim::Values });
        assert!((found[0] / known - 1.0).abs() < 0.02, "{found:?}, known {known}");

        // Inputs that never meet leave the Hessian diagonal, of which one vector tells the trace.
        let apart: Vec<f32> = (0..inputs * inputs).map(|i| if i % (inputs + 1) == 0 { 0.5 } else { 0.0 }).collect();
        let power: f64 = weight.iter().map(|w| 0.25 * f64::from(*w) * f64::from(*w)).sum();
        let known = 2.0 * 0.25 * inputs as f64 / power / inputs as f64;
        let found = means(&graph, &dataset(inputs, apart, None), Probe { draws: 1, batch: inputs, aim: Aim::Values });
        assert!((found[0] / known - 1.0).abs() < 1e-4, "{found:?}, known {known}");
    }

    /// Of a linear layer under cross entropy the trace is `sum |x|^2 (1 - sum p^2) / samples`.
    #[test]
    fn cross_entropy_has_the_trace_that_its_formula_says() {
        let (inputs, classes, samples) = (8, 4, 64);
        let graph = layers(&[inputs, classes], 5);
        let values = noise(samples * inputs, 2);
        let weight = graph.nodes[1].layer().unwrap().weight.data().to_vec();
        let mut trace = 0.0;
        for x in values.chunks_exact(inputs) {
            let logit = |w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>().exp();
            let powers: Vec<f64> = weight.chunks_exact(inputs).map(logit).collect();
            let all: f64 = powers.iter().sum();
            let squares: f64 = powers.iter().map(|p| (p / all).powi(2)).sum();
            let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            trace += square * (1.0 - squares) / samples as f64;
        }
        let known = trace / (inputs * classes) as f64;
        let probe = Probe { draws: 400, batch: samples, aim: Aim::Classes { temperature: 1.0 } };
        for labels in [None, Some((0..samples as u32).map(|i| i % classes as u32).collect())] {
            let found = means(&graph, &dataset(inputs, values.clone(), labels), probe);
            assert!((found[0] / known - 1.0).abs() < 0.03, "{found:?}, known {known}");
        }
    }

    /// The plain second difference of the loss by every single weight, in f64.
    #[test]
    fn deep_layers_have_the_diagonal_of_plain_second_differences() {
        let (extents, samples) = ([6, 10, 3], 32);
        let graph = layers(&extents, 11);
        let values = noise(samples * extents[0], 4);
        let weights: Vec<Vec<f64>> = graph
            .nodes
            .iter()
            .filter_map(|node| Some(node.layer()?.weight.data().iter().map(|w| f64::from(*w)).collect()))
            .collect();
        let logits = |weights: &[Vec<f64>], x: &[f32]| {
            let mut x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            for (index, weight) in weights.iter().enumerate() {
                let last = index + 1 == weights.len();
                let of = |(output, w): (usize, &[f64])| {
                    let y = w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
                    if last { y } else { (y + f64::from(BIAS[output % 2])).max(0.0) }
                };
                x = weight.chunks_exact(extents[index]).enumerate().map(of).collect();
            }
            x
        };
        let labels: Vec<u32> = (0..samples as u32).map(|i| i * 7 % 3).collect();
        let loss = |weights: &[Vec<f64>]| {
            let of = |(x, label): (&[f32], &u32)| {
                let logits = logits(weights, x);
                logits.iter().map(|y| y.exp()).sum::<f64>().ln() - logits[*label as usize]
            };
            values.chunks_exact(extents[0]).zip(&labels).map(of).sum::<f64>() / samples as f64
        };
        let (step, base) = (1e-4, loss(&weights));
        let known = (0..weights.len()).map(|layer| {
            let second = |index: usize| {
                let mut moved = weights.clone();
                moved[layer][index] += step;
                let forth = loss(&moved);
                moved[layer][index] -= 2.0 * step;
                (forth - 2.0 * base + loss(&moved)) / (step * step)
            };
            (0..weights[layer].len()).map(second).sum::<f64>() / weights[layer].len() as f64
        });
        let known: Vec<f64> = known.collect();
        let data = dataset(extents[0], values.clone(), Some(labels.clone()));
        let probe = Probe { draws: 2000, batch: samples, aim: Aim::Classes { temperature: 1.0 } };
        let found = means(&graph, &data, probe);
        for (found, known) in found.iter().zip(&known) {
            // Four standard errors of so many draws.
            assert!((found / known - 1.0).abs() < 0.1, "{found}, known {known}");
        }
        assert_eq!(found, means(&graph, &data, probe), "to the bit");
        let ended = mean_hessian_diagonals(&graph, &data, &probe, 7, |_| ControlFlow::Break(())).unwrap();
        assert!(ended.is_none());
    }
}
