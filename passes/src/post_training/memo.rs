//! Quantization after training at many choices of widths: what choices that begin alike have in common is computed once.
//!
//! What a walk is before a layer depends on the widths of the layers before it alone. So the state before each layer is kept under
//! those widths, with the factors of the layer's sums of products, and the world of floats is walked once. What comes out
//! is what [`quantize_after_training`] gives, byte for byte.

use super::rounding::Prepared;
use super::walk::{Chunk, Floats, Noise, Passing, Watcher, World, bare, chunks_of, through};
use super::{PostTrained, Rounding, affordable, quantize_after_training};
use crate::annotate::{Annotated, WeightQuant, annotate};
use crate::calibrate::Calibrated;
use crate::float_exec::Single;
use crate::ir::{Clip, Graph, Node, NodeId, Op};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::swap;
use std::sync::Arc;

/// Bytes of the world of floats, at most: a larger one is walked anew for every choice.
const MOST_FLOATS: usize = 1 << 28;

/// Bytes of states that are kept, about; what was not used for longest goes first.
const MOST_KEPT: usize = 1 << 29;

/// A network on its samples, with what was computed of it.
pub struct Memo<'a> {
    calibrated: &'a Calibrated,
    samples: Vec<Vec<f32>>,
    rounding: Rounding,
    memory: RefCell<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The quantization of all weights at each width.
    scales: Scales,
    /// `None` before the first choice.
    floats: Option<Remembered>,
    kept: Kept,
}

type Scales = BTreeMap<BitWidth, BTreeMap<NodeId, WeightQuant>>;

/// The world of floats, with the values of every node.
struct Remembered {
    chunks: Vec<Chunk>,
    /// Of layers with a clip their results before it, chunk by chunk.
    bare: BTreeMap<NodeId, Vec<Vec<f32>>>,
    /// Per node, what runs it, for other nodes than layers.
    singles: Vec<Option<Single>>,
    /// The node that arrived last.
    at: usize,
}

/// The state of a walk before a layer.
struct State {
    /// Per chunk and node.
    values: Vec<Vec<Vec<f32>>>,
    noise: Vec<Noise>,
    layers: Vec<Arc<Done>>,
    /// Of the layer to come, once it was computed; `None` inside where the layer is rounded to the nearest.
    prepared: Option<Option<Arc<Prepared>>>,
    used: u64,
}

/// A layer with its codes and its bias.
struct Done {
    id: NodeId,
    node: Node,
    quant: WeightQuant,
}

/// States by the widths before them.
#[derive(Default)]
struct Kept {
    states: BTreeMap<Vec<BitWidth>, State>,
    bytes: usize,
    clock: u64,
}

impl std::fmt::Debug for Memo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memo").field("states", &self.memory.borrow().kept.states.len()).finish_non_exhaustive()
    }
}

impl<'a> Memo<'a> {
    /// Computes nothing yet.
    ///
    /// # Panics
    /// Later, when there is no sample.
    pub fn new(calibrated: &'a Calibrated, samples: &[Vec<f32>], rounding: Rounding) -> Self {
        let samples = affordable(&calibrated.folded, samples);
        Memo { calibrated, samples, rounding, memory: RefCell::default() }
    }

    /// As [`quantize_after_training`] on the network and samples of this memo.
    ///
    /// # Panics
    /// When the number of widths is not that of the weight layers.
    pub fn quantize(&self, widths: &[BitWidth]) -> PostTrained {
        let graph = &self.calibrated.folded;
        let values: usize = graph.nodes.iter().map(|node| node.shape.len()).sum();
        if 4 * values * self.samples.len() > MOST_FLOATS {
            return quantize_after_training(self.calibrated, widths, &self.samples, self.rounding);
        }
        let memory = &mut *self.memory.borrow_mut();
        let annotated = self.annotated(widths, &mut memory.scales);
        let floats = memory.floats.get_or_insert_with(|| Remembered::new(self.calibrated, &self.samples));
        self.walk(annotated, widths, floats, &mut memory.kept)
    }

    /// As [`annotate`].
    fn annotated(&self, widths: &[BitWidth], scales: &mut Scales) -> Annotated {
        let layers = self.calibrated.folded.weight_layers();
        assert_eq!(layers.len(), widths.len(), "one width a weight layer");
        let mut annotated: Option<Annotated> = None;
        for &bits in widths {
            scales.entry(bits).or_insert_with(|| {
                let uniform = annotate(self.calibrated, &vec![bits; layers.len()]);
                let weights = uniform.weights.clone();
                annotated = Some(uniform);
                weights
            });
        }
        let mut annotated = annotated.unwrap_or_else(|| Annotated {
            graph: self.calibrated.folded.clone(),
            weights: BTreeMap::new(),
            activations: self.calibrated.activations(),
            factors: self.calibrated.factors.clone(),
            floats: self.calibrated.floats.clone(),
        });
        annotated.weights = layers.iter().zip(widths).map(|(&id, bits)| (id, scales[bits][&id].clone())).collect();
        annotated
    }

    fn walk(&self, annotated: Annotated, widths: &[BitWidth], floats: &mut Remembered, kept: &mut Kept) -> PostTrained {
        let graph = &self.calibrated.folded;
        let mut world = World::new(annotated, chunks_of(graph, &self.samples), self.rounding);
        let layers = graph.weight_layers();
        let mut done: Vec<Arc<Done>> = Vec::with_capacity(layers.len());
        let begun = (0..layers.len()).rev().find(|&count| kept.states.contains_key(&widths[..count]));
        if let Some(state) = begun.and_then(|count| kept.states.get(&widths[..count])) {
            done.clone_from(&state.layers);
            world.resume(&state.values, &state.noise);
            for layer in &done {
                world.annotated.graph.nodes[layer.id.0] = layer.node.clone();
                world.annotated.weights.insert(layer.id, layer.quant.clone());
            }
        }
        let first = begun.map_or(0, |count| layers[count].0);
        let mut worlds = [world];
        let mut keeper = Keeper { widths, done, kept };
        through(graph, NodeId(first), floats, &mut worlds, &mut keeper);
        keeper.kept.forget();
        let [world] = worlds;
        world.into_trained()
    }
}

/// Keeps the state before each layer, and what the layer was rounded by.
struct Keeper<'a> {
    widths: &'a [BitWidth],
    /// The layers behind the world.
    done: Vec<Arc<Done>>,
    kept: &'a mut Kept,
}

impl Watcher for Keeper<'_> {
    fn before(&mut self, world: &mut World) {
        let before = &self.widths[..self.done.len()];
        self.kept.begin(before, world, &self.done);
        world.given = self.kept.prepared(before);
    }

    fn behind(&mut self, id: NodeId, world: &mut World) {
        if let Some(prepared) = world.prepared.take() {
            self.kept.prepare(&self.widths[..self.done.len()], prepared);
        }
        let (node, quant) = (&world.annotated.graph.nodes[id.0], &world.annotated.weights[&id]);
        self.done.push(Arc::new(Done { id, node: node.clone(), quant: quant.clone() }));
    }
}

impl Remembered {
    fn new(calibrated: &Calibrated, samples: &[Vec<f32>]) -> Self {
        let graph = &calibrated.folded;
        let mut passing = Passing::new(graph, samples);
        let (mut kept, mut singles) = (BTreeMap::new(), Vec::with_capacity(graph.nodes.len()));
        for (id, node) in graph.iter() {
            let mut single = None;
            if !matches!(node.op, Op::Constant(_)) {
                passing.arrive(graph, id, &bare(node));
                single = passing.single.take().filter(|_| !node.owns_weights());
            }
            if let Some(clip) = node.activation.filter(|_| node.owns_weights()) {
                kept.insert(id, passing.chunks.iter().map(|chunk| chunk.values[id.0].clone()).collect());
                passing.clip(id, clip);
            }
            singles.push(single);
        }
        Remembered { chunks: passing.chunks, bare: kept, singles, at: 0 }
    }

    /// Exchanges the results of a layer for those before its clip, or back.
    fn swap_bare(&mut self, id: NodeId) {
        for (chunk, bare) in self.chunks.iter_mut().zip(self.bare.get_mut(&id).into_iter().flatten()) {
            swap(&mut chunk.values[id.0], bare);
        }
    }
}

impl Floats for Remembered {
    fn arrive(&mut self, _: &Graph, id: NodeId, _: &Node) {
        self.at = id.0;
        self.swap_bare(id);
    }

    fn single(&self) -> &Single {
        self.singles[self.at].as_ref().expect("neither input nor layer")
    }

    fn clip(&mut self, id: NodeId, _: Clip) {
        self.swap_bare(id);
    }

    fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    fn leave(&mut self, _: &[NodeId]) {}
}

impl State {
    fn bytes(&self) -> usize {
        let values: usize = self.values.iter().flatten().map(|values| 4 * values.len()).sum();
        // Codes are shared with the states that follow; each counts those of its last layer.
        let codes = self.layers.last().and_then(|done| done.node.layer().map(|layer| 4 * layer.weight.data().len()));
        let prepared = self.prepared.iter().flatten().map(|prepared| prepared.bytes()).sum::<usize>();
        values + codes.unwrap_or(0) + prepared
    }
}

impl Kept {
    /// Keeps the state of a world, where none is.
    fn begin(&mut self, before: &[BitWidth], world: &World, layers: &[Arc<Done>]) {
        self.clock += 1;
        if let Some(state) = self.states.get_mut(before) {
            state.used = self.clock;
            return;
        }
        let (values, noise) = world.state();
        let state = State { values, noise, layers: layers.to_vec(), prepared: None, used: self.clock };
        self.bytes += state.bytes();
        self.states.insert(before.to_vec(), state);
    }

    fn prepared(&self, before: &[BitWidth]) -> Option<Option<Arc<Prepared>>> {
        self.states.get(before).and_then(|state| state.prepared.clone())
    }

    fn prepare(&mut self, before: &[BitWidth], prepared: Option<Arc<Prepared>>) {
        if let Some(state) = self.states.get_mut(before).filter(|state| state.prepared.is_none()) {
            self.bytes += prepared.as_ref().map_or(0, |prepared| prepared.bytes());
            state.prepared = Some(prepared);
        }
    }

    /// Leaves no more than memory allows.
    fn forget(&mut self) {
        while self.bytes > MOST_KEPT {
            let oldest = self.states.iter().min_by_key(|(_, state)| state.used).map(|(before, _)| before.clone());
            let Some(state) = oldest.and_then(|before| self.states.remove(&before)) else { return };
            self.bytes -= state.bytes();
        }
    }
}

impl World {
    /// The values that somebody still reads, and the noise so far.
    fn state(&self) -> (Vec<Vec<Vec<f32>>>, Vec<Noise>) {
        (self.chunks.iter().map(|chunk| chunk.values.clone()).collect(), self.noise.clone())
    }

    fn resume(&mut self, values: &[Vec<Vec<f32>>], noise: &[Noise]) {
        for (chunk, values) in self.chunks.iter_mut().zip(values) {
            chunk.values.clone_from(values);
        }
        self.noise.copy_from_slice(noise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Ends, Granularity, Stated, calibrate};
    use crate::rewrite::{canonicalize, fold_batch_norm};
    use crate::{annotate, import};

    fn network(name: &str) -> (Calibrated, Vec<Vec<f32>>) {
        let path = format!("{}/../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let graph = import::from_onnx(&std::fs::read(path).expect("the zoo is there")).expect("imports");
        let graph = canonicalize(graph).expect("canonical");
        let folded = fold_batch_norm(&graph);
        let len = graph.input_shape().len();
        let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0;
        let samples: Vec<Vec<f32>> = (0..40).map(|s| (0..len).map(|i| value(i + 7919 * s)).collect()).collect();
        let calibrated = calibrate(graph, folded, &samples, &Stated::default(), Ends::LeastError, Granularity::Tensor);
        (calibrated, samples)
    }

    #[test]
    fn what_is_remembered_gives_the_same_bytes() {
        for name in ["tiny_residual", "tiny_branches", "tiny_chain"] {
            let (calibrated, samples) = network(name);
            let layers = calibrated.folded.weight_layers().len();
            let memo = Memo::new(&calibrated, &samples, Rounding::ON_SYNTHESISED);
            let choice = |number: usize| -> Vec<BitWidth> {
                let bits = |layer: usize| [2, 4, 8][(number * 7 + layer * number / 3) % 3];
                (0..layers).map(|layer| BitWidth::new(bits(layer)).expect("2..=8")).collect()
            };
            for number in 0..8 {
                let widths = choice(number);
                let fresh = quantize_after_training(&calibrated, &widths, &samples, Rounding::ON_SYNTHESISED);
                for _ in 0..2 {
                    let remembered = memo.quantize(&widths);
                    assert_eq!(remembered.noise, fresh.noise, "{name} {widths:?}");
                    assert_eq!(remembered.annotated.weights, fresh.annotated.weights, "{name} {widths:?}");
                    let nodes = |a: &annotate::Annotated| format!("{:?}", a.graph.nodes);
                    assert_eq!(nodes(&remembered.annotated), nodes(&fresh.annotated), "{name} {widths:?}");
                    assert_eq!(remembered.annotated.activations, fresh.annotated.activations);
                }
                if number == 5 {
                    let kept = &mut memo.memory.borrow_mut().kept;
                    kept.bytes += MOST_KEPT;
                    kept.forget();
                    assert!(kept.states.len() <= 1, "what does not fit is forgotten");
                    kept.bytes = kept.states.values().map(State::bytes).sum();
                }
            }
        }
    }
}
