//! The walk through a network: the world of floats once, and beside it worlds of codes, each with a quantization of its own.

use super::rounding::{LayerRounding, Prepared};
use super::{PostTrained, Rounding, bias, sums};
use crate::annotate::{Annotated, coded_weights, to_steps};
use crate::domain::{Domain, domains, keeps_codes, needs_codes};
use crate::equalize::ChannelFactors;
use crate::float_exec::{Buffers, Operand, Single};
use crate::ir::{Clip, Graph, Node, NodeId, Op};
use crate::simd::Isa;
use rayon::prelude::*;
use releqc_runtime::BitWidth;
use std::borrow::Cow;
use std::sync::Arc;

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

/// Samples that pass through a world together.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) samples: usize,
    /// Per node; empty where nobody reads it any more.
    pub(super) values: Vec<Vec<f32>>,
    pub(super) buffers: Buffers,
}

/// A quantization, and what values become under it.
pub(super) struct World {
    pub(super) annotated: Annotated,
    domains: Vec<Domain>,
    rounding: Rounding,
    pub(super) chunks: Vec<Chunk>,
    pub(super) noise: Vec<Noise>,
    /// What the next layer is rounded by, where it is known; `None` inside where that is to the nearest.
    pub(super) given: Option<Option<Arc<Prepared>>>,
    /// The same of the last layer, where its width asked for it.
    pub(super) prepared: Option<Option<Arc<Prepared>>>,
}

/// The world of floats, as a walk meets it node by node.
pub(super) trait Floats {
    /// Brings the values of an input, or of another node, here without its clip where it is a layer.
    fn arrive(&mut self, graph: &Graph, id: NodeId, bare: &Node);
    /// What runs the node that arrived last, which is neither input nor layer.
    fn single(&self) -> &Single;
    /// Clips the values of the layer that arrived last.
    fn clip(&mut self, id: NodeId, clip: Clip);
    /// The values.
    fn chunks(&self) -> &[Chunk];
    /// Leaves values that nobody reads any more.
    fn leave(&mut self, nodes: &[NodeId]);
}

/// Who looks on while the worlds pass a layer.
pub(super) trait Watcher {
    /// Before it.
    fn before(&mut self, world: &mut World);
    /// Behind it, with its clip.
    fn behind(&mut self, id: NodeId, world: &mut World);
}

/// Nobody.
struct Nobody;

impl Watcher for Nobody {
    fn before(&mut self, _: &mut World) {}
    fn behind(&mut self, _: NodeId, _: &mut World) {}
}

/// Takes the world of floats and beside it `worlds` through a graph, from the node `first` on.
pub(super) fn through(
    graph: &Graph,
    first: NodeId,
    float: &mut impl Floats,
    worlds: &mut [World],
    watcher: &mut impl Watcher,
) {
    let released = graph.released();
    for (id, node) in graph.iter().skip(first.0) {
        if let Op::Constant(_) = node.op {
            continue;
        }
        let bare = bare(node);
        float.arrive(graph, id, &bare);
        if node.is_input() {
            let chunks = float.chunks();
            worlds.par_iter_mut().for_each(|world| world.input(id, chunks));
        } else if node.owns_weights() {
            worlds.iter_mut().for_each(|world| watcher.before(world));
            let chunks = float.chunks();
            worlds.par_iter_mut().for_each(|world| world.layer(graph, id, &bare, chunks));
            if let Some(clip) = node.activation {
                float.clip(id, clip);
                worlds.par_iter_mut().for_each(|world| world.clip(id, clip));
            }
            worlds.iter_mut().for_each(|world| watcher.behind(id, world));
        } else {
            let single = float.single();
            worlds.par_iter_mut().for_each(|world| world.run(graph, id, single));
        }
        let chunks = float.chunks();
        worlds.par_iter_mut().for_each(|world| world.round(id, chunks));
        worlds.iter_mut().for_each(|world| leave(&mut world.chunks, &released[id.0]));
        float.leave(&released[id.0]);
    }
}

/// A layer without its clip, which comes after the correction of its bias; another node as it is.
pub(super) fn bare(node: &Node) -> Node {
    Node { activation: node.activation.filter(|_| !node.owns_weights()), ..node.clone() }
}

pub(super) fn leave(chunks: &mut [Chunk], nodes: &[NodeId]) {
    for chunk in chunks {
        for node in nodes {
            chunk.buffers.give_back(std::mem::take(&mut chunk.values[node.0]));
        }
    }
}

/// The world of floats computed on the way.
pub(super) struct Passing<'s> {
    pub(super) chunks: Vec<Chunk>,
    samples: &'s [Vec<f32>],
    /// Values of a sample that inputs have taken.
    taken: usize,
    pub(super) single: Option<Single>,
}

impl<'s> Passing<'s> {
    pub(super) fn new(graph: &Graph, samples: &'s [Vec<f32>]) -> Self {
        Passing { chunks: chunks_of(graph, samples), samples, taken: 0, single: None }
    }
}

impl Floats for Passing<'_> {
    fn arrive(&mut self, graph: &Graph, id: NodeId, bare: &Node) {
        if bare.is_input() {
            let own = self.taken..self.taken + bare.shape.len();
            self.taken = own.end;
            let mut rest = self.samples;
            for chunk in &mut self.chunks {
                let (inputs, others) = rest.split_at(chunk.samples);
                rest = others;
                chunk.values[id.0] = inputs.iter().flat_map(|sample| &sample[own.clone()]).copied().collect();
            }
            return;
        }
        let single = Single::new(graph, bare.clone());
        self.chunks.par_iter_mut().for_each(|chunk| run(graph, id, &single, chunk));
        self.single = Some(single);
    }

    fn single(&self) -> &Single {
        self.single.as_ref().expect("a node has arrived")
    }

    fn clip(&mut self, id: NodeId, clip: Clip) {
        self.chunks.par_iter_mut().for_each(|chunk| clip_all(&mut chunk.values[id.0], clip));
    }

    fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    fn leave(&mut self, nodes: &[NodeId]) {
        leave(&mut self.chunks, nodes);
    }
}

/// Takes the samples through a graph in the quantizations of `worlds`, all of that graph; corrects the biases of each.
///
/// # Panics
/// When there is no sample.
pub(super) fn walk(worlds: Vec<Annotated>, samples: &[Vec<f32>], rounding: Rounding) -> Vec<PostTrained> {
    assert!(!samples.is_empty(), "quantization after training needs at least one sample");
    let Some(first) = worlds.first() else { return Vec::new() };
    let graph = first.graph.clone();
    let mut worlds: Vec<World> =
        worlds.into_iter().map(|annotated| World::new(annotated, chunks_of(&graph, samples), rounding)).collect();
    through(&graph, NodeId(0), &mut Passing::new(&graph, samples), &mut worlds, &mut Nobody);
    worlds.into_iter().map(World::into_trained).collect()
}

/// Samples of a chunk.
fn chunk_size(graph: &Graph) -> usize {
    let largest = graph.nodes.iter().map(|node| node.shape.len()).max().unwrap_or(1);
    (CHUNK_VALUES / largest.max(1)).clamp(1, 32)
}

/// The samples in chunks, without values.
pub(super) fn chunks_of(graph: &Graph, samples: &[Vec<f32>]) -> Vec<Chunk> {
    let chunk = |samples: &[Vec<f32>]| Chunk {
        samples: samples.len(),
        values: vec![Vec::new(); graph.nodes.len()],
        ..Chunk::default()
    };
    samples.chunks(chunk_size(graph)).map(chunk).collect()
}

/// Runs a node on floats.
fn run(graph: &Graph, id: NodeId, single: &Single, chunk: &mut Chunk) {
    let Chunk { samples, values, buffers } = chunk;
    let operand = |x: &NodeId| match &graph.node(*x).op {
        Op::Constant(tensor) => Operand::Constant(Cow::Borrowed(tensor.data())),
        _ => Operand::Samples(Cow::Borrowed(&values[x.0])),
    };
    let operands: Vec<Operand<'_>> = graph.node(id).inputs.iter().map(operand).collect();
    let y = single.run(&operands, *samples, buffers);
    drop(operands);
    values[id.0] = y;
}

fn clip_all(values: &mut [f32], clip: Clip) {
    values.iter_mut().for_each(|v| *v = v.max(clip.min).min(clip.max));
}

impl World {
    pub(super) fn new(mut annotated: Annotated, chunks: Vec<Chunk>, rounding: Rounding) -> Self {
        let domains = domains(&annotated.graph, &annotated.floats);
        for (id, node) in annotated.graph.iter() {
            if keeps_codes(node) && domains[id.0] == Domain::Codes {
                annotated.activations[id.0] = annotated.activations[node.inputs[0].0];
            }
        }
        let noise = vec![Noise::default(); annotated.graph.nodes.len()];
        World { annotated, domains, rounding, chunks, noise, given: None, prepared: None }
    }

    pub(super) fn into_trained(self) -> PostTrained {
        PostTrained { annotated: self.annotated, noise: self.noise }
    }

    fn input(&mut self, id: NodeId, float: &[Chunk]) {
        for (chunk, float) in self.chunks.iter_mut().zip(float) {
            chunk.values[id.0] = float.values[id.0].clone();
        }
    }

    /// Runs a node on what the codes of its operands stand for.
    fn run(&mut self, graph: &Graph, id: NodeId, single: &Single) {
        let (domains, annotated) = (&self.domains, &self.annotated);
        let node = graph.node(id);
        self.chunks.par_iter_mut().for_each(|chunk| {
            let Chunk { samples, values, buffers } = chunk;
            let operand = |&x: &NodeId| {
                let is_codes = domains[x.0] == Domain::Codes;
                let rounded = |values: &[f32]| {
                    let mut values = values.to_vec();
                    annotated.round(x, &mut values);
                    Cow::Owned(values)
                };
                match &graph.node(x).op {
                    Op::Constant(tensor) if is_codes || needs_codes(node) => Operand::Constant(rounded(tensor.data())),
                    Op::Constant(tensor) => Operand::Constant(Cow::Borrowed(tensor.data())),
                    _ if needs_codes(node) && !is_codes => Operand::Samples(rounded(&values[x.0])),
                    _ => Operand::Samples(Cow::Borrowed(&values[x.0])),
                }
            };
            let operands: Vec<Operand<'_>> = node.inputs.iter().map(operand).collect();
            let y = single.run(&operands, *samples, buffers);
            drop(operands);
            values[id.0] = y;
        });
    }

    /// A layer with weights, without its clip: its results without bias correction tell the correction.
    fn layer(&mut self, graph: &Graph, id: NodeId, bare: &Node, float: &[Chunk]) {
        let coded = self.coded(graph, id, bare, float);
        let coded = Single::new(graph, coded);
        self.run(graph, id, &coded);
        let pairs = float.iter().zip(&self.chunks);
        let shift = bias::shift(bare, pairs.map(|(float, codes)| (&float.values[id.0][..], &codes.values[id.0][..])));
        bias::add(&mut self.annotated.graph.nodes[id.0], &shift);
        let (channels, inner) = bias::channels(bare);
        self.chunks.par_iter_mut().for_each(|chunk| {
            let lines = chunk.values[id.0].chunks_exact_mut(inner);
            lines.zip((0..channels).cycle()).for_each(|(line, c)| line.iter_mut().for_each(|v| *v += shift[c] as f32));
        });
    }

    /// The layer with the weights that its codes stand for, chosen on the samples where they are narrow.
    fn coded(&mut self, graph: &Graph, id: NodeId, bare: &Node, float: &[Chunk]) -> Node {
        let x = bare.inputs[0];
        let factors = self.annotated.factors[x.0].clone();
        let mut quant = self.annotated.weights[&id].clone();
        let damping = match self.rounding {
            Rounding::Results { damping, every_width } if every_width || quant.bits < BitWidth::MAX => Some(damping),
            _ => None,
        };
        let given = self.given.take();
        let prepared = damping.map(|damping| {
            if let Some(given) = given {
                return given;
            }
            let rounded = self.codes_of(graph, x);
            let codes: Vec<&[f32]> = rounded.iter().map(|values| &values[..]).collect();
            let floats = match &graph.node(x).op {
                Op::Constant(tensor) => vec![tensor.data(); codes.len()],
                _ => float.iter().map(|chunk| &chunk.values[x.0][..]).collect(),
            };
            let shape = &graph.node(x).shape;
            LayerRounding { node: bare, shape, factors: &factors, codes, floats, damping }.prepare().map(Arc::new)
        });
        let chosen = prepared.as_ref().and_then(|prepared| Some(prepared.as_ref()?.steps(&mut quant)));
        self.prepared = prepared;
        let is_chosen = chosen.is_some();
        let layer = bare.layer().expect("a layer with weights");
        let steps = chosen.unwrap_or_else(|| {
            let mut steps = coded_weights(&layer, &factors).into_owned();
            let rows = steps.chunks_exact_mut(layer.depth()).zip(&quant.scales);
            rows.for_each(|(row, &scale)| to_steps(Isa::detect(), row, scale, f32::from(quant.bits.max_code())));
            steps
        });
        let node = with_steps(bare, steps, &quant.scales, &factors);
        if is_chosen {
            // What is written down is on the grid already.
            let weight = node.layer().expect("a layer with weights").weight.clone();
            let (own, _) = self.annotated.graph.nodes[id.0].layer_mut().expect("a layer with weights");
            *own = weight;
            self.annotated.weights.insert(id, quant);
        }
        node
    }

    /// What the codes of a tensor stand for, chunk by chunk.
    fn codes_of(&self, graph: &Graph, x: NodeId) -> Vec<Vec<f32>> {
        let constant = match &graph.node(x).op {
            Op::Constant(tensor) => Some(tensor.data()),
            _ => None,
        };
        let codes = |chunk: &Chunk| {
            let mut values = constant.unwrap_or(&chunk.values[x.0]).to_vec();
            self.annotated.round(x, &mut values);
            values
        };
        self.chunks.iter().map(codes).collect()
    }

    fn clip(&mut self, id: NodeId, clip: Clip) {
        self.chunks.par_iter_mut().for_each(|chunk| clip_all(&mut chunk.values[id.0], clip));
    }

    /// Rounds what lives as codes, and measures.
    fn round(&mut self, id: NodeId, float: &[Chunk]) {
        let (annotated, has_codes) = (&self.annotated, self.domains[id.0] == Domain::Codes);
        let measure = |(chunk, float): (&mut Chunk, &Chunk)| {
            let (codes, float) = (&mut chunk.values[id.0], &float.values[id.0]);
            let mut own = 0.0;
            if has_codes {
                annotated.round(id, codes);
                let mut alone = chunk.buffers.take(float.len());
                alone.copy_from_slice(float);
                annotated.round(id, &mut alone);
                own = sums::square_error(float, &alone);
                chunk.buffers.give_back(alone);
            }
            Noise { power: sums::power(float), error: sums::square_error(float, codes), own }
        };
        let measured: Vec<Noise> = self.chunks.par_iter_mut().zip(float).map(measure).collect();
        for part in measured {
            let noise = &mut self.noise[id.0];
            noise.power += part.power;
            noise.error += part.error;
            noise.own += part.own;
        }
    }
}

/// The layer with the weights that codes stand for.
fn with_steps(node: &Node, mut steps: Vec<f32>, scales: &[f32], factors: &ChannelFactors) -> Node {
    let layer = node.layer().expect("a layer with weights");
    for (row, &scale) in steps.chunks_exact_mut(layer.depth()).zip(scales) {
        row.iter_mut().for_each(|step| *step *= scale);
    }
    if let Some(factors) = factors {
        steps.iter_mut().enumerate().for_each(|(i, w)| *w /= factors[layer.channel(i)]);
    }
    let mut node = node.clone();
    let (weight, _) = node.layer_mut().expect("a layer with weights");
    *weight = weight.with_data(steps);
    node
}
