//! The walk through a network in two worlds: floats, and what codes stand for.

use super::{PostTrained, bias};
use crate::annotate::{Annotated, WeightQuant, coded_weights};
use crate::domain::{Domain, domains, needs_codes};
use crate::equalize::ChannelFactors;
use crate::float_exec::{Operand, Single};
use crate::ir::{Graph, Node, NodeId, Op};
use crate::quantize::keeps_codes;
use rayon::prelude::*;

/// Values of the largest tensor of a chunk of samples.
const CHUNK_VALUES: usize = 1 << 20;

/// What rounding costs at a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Sum of squares of the float values.
    pub power: f64,
    /// Sum of squares of what codes differ from them by.
    pub error: f64,
    /// The same where only this node rounds, its operands being exact.
    pub own: f64,
}

impl Noise {
    /// Signal-to-noise ratio, dB.
    pub fn decibels(&self) -> f64 {
        10.0 * (self.power / self.error).log10()
    }
}

/// Samples that pass through the network together.
struct Chunk {
    samples: usize,
    /// Per node; empty where nobody reads it any more.
    float: Vec<Vec<f32>>,
    codes: Vec<Vec<f32>>,
}

/// A walk that stands in front of a node.
pub struct Walk {
    float: Graph,
    annotated: Annotated,
    domains: Vec<Domain>,
    /// Per node, the nodes whose values nobody reads after it.
    released: Vec<Vec<NodeId>>,
    chunks: Vec<Chunk>,
    inputs: Vec<Vec<Vec<f32>>>,
    noise: Vec<Noise>,
}

impl Walk {
    /// A walk in front of the first node.
    pub fn new(mut annotated: Annotated, samples: &[Vec<f32>]) -> Self {
        assert!(!samples.is_empty(), "quantization after training needs at least one sample");
        let float = annotated.graph.clone();
        let domains = domains(&float, &annotated.floats);
        for (id, node) in float.iter() {
            if keeps_codes(node) && domains[id.0] == Domain::Codes {
                annotated.activations[id.0] = annotated.activations[node.inputs[0].0];
            }
        }
        let largest = float.nodes.iter().map(|node| node.shape.len()).max().unwrap_or(1);
        let size = (CHUNK_VALUES / largest.max(1)).clamp(1, 32);
        let inputs: Vec<Vec<Vec<f32>>> = samples.chunks(size).map(<[Vec<f32>]>::to_vec).collect();
        let empty = || vec![Vec::new(); float.nodes.len()];
        let chunk = |samples: &Vec<Vec<f32>>| Chunk { samples: samples.len(), float: empty(), codes: empty() };
        let chunks = inputs.iter().map(chunk).collect();
        let mut released = vec![Vec::new(); float.nodes.len()];
        let mut last_use: Vec<usize> = (0..float.nodes.len()).collect();
        float.iter().for_each(|(id, node)| node.inputs.iter().for_each(|input| last_use[input.0] = id.0));
        last_use.iter().enumerate().for_each(|(node, &last)| released[last].push(NodeId(node)));
        let noise = vec![Noise::default(); float.nodes.len()];
        Walk { domains, float, annotated, released, chunks, inputs, noise }
    }

    /// Takes the next node.
    pub fn advance(&mut self, id: NodeId) {
        let node = self.float.node(id);
        match &node.op {
            Op::Input(_) => self.input(id),
            Op::Constant(_) => {}
            _ if node.owns_weights() => self.layer(id),
            _ => self.other(id),
        }
        self.round(id);
        for chunk in &mut self.chunks {
            for done in &self.released[id.0] {
                (chunk.float[done.0], chunk.codes[done.0]) = (Vec::new(), Vec::new());
            }
        }
    }

    /// The result.
    pub fn finish(self) -> PostTrained {
        PostTrained { annotated: self.annotated, noise: self.noise }
    }

    fn input(&mut self, id: NodeId) {
        let first: usize = self.float.nodes[..id.0].iter().map(|node| node.shape.len()).sum();
        let len = self.float.node(id).shape.len();
        for (chunk, inputs) in self.chunks.iter_mut().zip(&self.inputs) {
            let values: Vec<f32> = inputs.iter().flat_map(|sample| &sample[first..][..len]).copied().collect();
            (chunk.float[id.0], chunk.codes[id.0]) = (values.clone(), values);
        }
    }

    fn other(&mut self, id: NodeId) {
        let node = self.float.node(id);
        let single = Single::new(&self.float, node.clone());
        self.both(id, &single, &single);
    }

    /// A layer with weights: its results without bias correction tell the correction.
    fn layer(&mut self, id: NodeId) {
        let node = self.float.node(id);
        let clip = node.activation;
        let bare = Node { activation: None, ..node.clone() };
        let rounded = rounded(
            &Node { activation: None, ..node.clone() },
            &self.annotated.weights[&id],
            &self.annotated.factors[node.inputs[0].0],
        );
        let (float, codes) = (Single::new(&self.float, bare), Single::new(&self.float, rounded));
        self.both(id, &float, &codes);
        let pairs: Vec<(&[f32], &[f32])> =
            self.chunks.iter().map(|chunk| (&chunk.float[id.0][..], &chunk.codes[id.0][..])).collect();
        let node = &mut self.annotated.graph.nodes[id.0];
        let shift = bias::shift(node, &pairs);
        bias::add(node, &shift);
        let (channels, inner) = bias::channels(node);
        self.chunks.par_iter_mut().for_each(|chunk| {
            let lines = chunk.codes[id.0].chunks_exact_mut(inner);
            lines.zip((0..channels).cycle()).for_each(|(line, c)| line.iter_mut().for_each(|v| *v += shift[c] as f32));
            for v in chunk.float[id.0].iter_mut().chain(&mut chunk.codes[id.0]) {
                *v = clip.map_or(*v, |clip| v.max(clip.min).min(clip.max));
            }
        });
    }

    /// Runs a node in both worlds.
    fn both(&mut self, id: NodeId, float: &Single, codes: &Single) {
        let (graph, domains, annotated) = (&self.float, &self.domains, &self.annotated);
        let node = graph.node(id);
        let reads_codes = |input: NodeId| domains[input.0] == Domain::Codes || needs_codes(node);
        let operand = |values: &'_ [Vec<f32>], input: NodeId, rounds: bool| {
            let round = |values: &[f32]| {
                let mut values = values.to_vec();
                if rounds {
                    annotated.round(input, &mut values);
                }
                values
            };
            match &graph.node(input).op {
                Op::Constant(tensor) => Operand::Constant(round(tensor.data())),
                _ => Operand::Samples(round(&values[input.0])),
            }
        };
        self.chunks.par_iter_mut().for_each(|chunk| {
            let exact: Vec<Operand> = node.inputs.iter().map(|&x| operand(&chunk.float, x, false)).collect();
            let y = float.run(&exact, chunk.samples);
            let coarse: Vec<Operand> = node.inputs.iter().map(|&x| operand(&chunk.codes, x, reads_codes(x))).collect();
            let z = codes.run(&coarse, chunk.samples);
            (chunk.float[id.0], chunk.codes[id.0]) = (y, z);
        });
    }

    /// Rounds what lives as codes, and measures.
    fn round(&mut self, id: NodeId) {
        let (annotated, has_codes) = (&self.annotated, self.domains[id.0] == Domain::Codes);
        let measure = |chunk: &mut Chunk| {
            let mut own = chunk.float[id.0].clone();
            if has_codes {
                annotated.round(id, &mut chunk.codes[id.0]);
                annotated.round(id, &mut own);
            }
            let float = &chunk.float[id.0];
            let error = |codes: &[f32]| {
                float.iter().zip(codes).map(|(&y, &z)| (f64::from(y) - f64::from(z)).powi(2)).sum::<f64>()
            };
            let power = float.iter().map(|&y| f64::from(y).powi(2)).sum();
            Noise { power, error: error(&chunk.codes[id.0]), own: error(&own) }
        };
        let measured: Vec<Noise> = self.chunks.par_iter_mut().map(measure).collect();
        for part in measured {
            let noise = &mut self.noise[id.0];
            noise.power += part.power;
            noise.error += part.error;
            noise.own += part.own;
        }
    }
}

/// The layer with the weights that its codes stand for.
fn rounded(node: &Node, quant: &WeightQuant, factors: &ChannelFactors) -> Node {
    let mut node = node.clone();
    let coded = coded_weights(&node, factors);
    let weight = match &mut node.op {
        Op::Conv(conv) => &mut conv.weight,
        Op::FullyConnected(layer) => &mut layer.weight,
        other => unreachable!("{} owns no weights", other.label()),
    };
    let max_code = f32::from(quant.bits.max_code());
    let depth = weight.data().len() / quant.scales.len();
    let mut values = weight.data().to_vec();
    let rows = values.chunks_exact_mut(depth).zip(coded.data().chunks_exact(depth));
    for ((row, coded), &scale) in rows.zip(&quant.scales) {
        for (w, &coded) in row.iter_mut().zip(coded) {
            // Of a weight of 0 there is no factor, and it needs none.
            let factor = if *w == 0.0 { 1.0 } else { coded / *w };
            *w = (coded / scale).round_ties_even().clamp(-max_code, max_code) * scale / factor;
        }
    }
    *weight = weight.with_data(values);
    node
}
