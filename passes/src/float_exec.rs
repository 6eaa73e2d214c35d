//! Float execution of a folded graph in a fixed order of operations.
//!
//! Every sum of a layer is one chain of f32 products and sums in one order, each rounded, never fused, whatever the machine:
//! calibration on top of it gives the same bytes everywhere. Vectors run along positions, outputs and samples, which do not
//! depend on each other. What is no layer is computed by [`releqc_runtime::float`], as in an artifact. Not tract and not
//! Burn, whose kernels choose their order by instruction set.

mod convolution;
mod dense;
mod planes;
mod single;
mod slide;
mod step;
mod tile;

use crate::ir::{Clip, Graph, NodeId, Op};
use crate::simd::Isa;
use rayon::prelude::*;
use releqc_runtime::float::canonical;
pub use single::{Buffers, Operand, Single};
use std::borrow::Cow;
use step::{Operands, Step};

/// Most samples that pass through the network together.
const MAX_BATCH: usize = 32;

/// Values of the largest tensor of a batch: those of a few layers stay in the cache.
const BATCH_VALUES: usize = 1 << 20;

/// A graph with its weights laid out for execution.
#[derive(Debug)]
pub struct FloatExecutor<'g> {
    graph: &'g Graph,
    isa: Isa,
    /// Per node.
    steps: Vec<Step>,
    /// Per node, the nodes whose values nobody reads after it.
    released: Vec<Vec<NodeId>>,
    batch: usize,
}

/// Buffers that pass from one batch to the next.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Per node, the values of all samples of the batch; empty where they are not needed.
    values: Vec<Vec<f32>>,
    unused: Vec<Vec<f32>>,
    scratch: Scratch,
}

/// Buffers of single steps.
#[derive(Debug, Default)]
struct Scratch {
    panel: Vec<f32>,
    sums: Vec<f32>,
    moved: Vec<f32>,
}

/// What happens to every result: the form that slots hold, then the clip.
#[derive(Clone, Copy, Debug)]
struct Finish {
    min: f32,
    max: f32,
}

impl Finish {
    fn of(clip: Option<Clip>) -> Self {
        clip.map_or(Finish { min: f32::NEG_INFINITY, max: f32::INFINITY }, |clip| Finish {
            min: clip.min,
            max: clip.max,
        })
    }

    /// NaN stays NaN.
    #[inline(always)]
    fn of_value(self, v: f32) -> f32 {
        let v = canonical(v);
        let v = if v < self.min { self.min } else { v };
        if v > self.max { self.max } else { v }
    }

    fn apply(self, values: &mut [f32]) {
        values.iter_mut().for_each(|v| *v = self.of_value(*v));
    }

    fn copy(self, from: &[f32], to: &mut [f32]) {
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = self.of_value(from));
    }
}

/// The operands of one node.
struct Inputs<'a> {
    graph: &'a Graph,
    inputs: &'a [NodeId],
    values: &'a [Vec<f32>],
    samples: usize,
}

impl<'a> Inputs<'a> {
    fn constant(&self, operand: usize) -> Option<&'a [f32]> {
        match &self.graph.node(self.inputs[operand]).op {
            Op::Constant(tensor) => Some(tensor.data()),
            _ => None,
        }
    }
}

impl<'a> Operands<'a> for Inputs<'a> {
    fn sample(&self, operand: usize, sample: usize) -> &'a [f32] {
        self.constant(operand).unwrap_or_else(|| {
            let values = &self.values[self.inputs[operand].0];
            let len = values.len() / self.samples;
            &values[sample * len..][..len]
        })
    }

    fn all(&self, operand: usize) -> Cow<'a, [f32]> {
        match self.constant(operand) {
            Some(data) => Cow::Owned(data.repeat(self.samples)),
            None => Cow::Borrowed(&self.values[self.inputs[operand].0]),
        }
    }
}

impl<'g> FloatExecutor<'g> {
    /// Lays out the weights.
    ///
    /// # Panics
    /// When a conv or fully connected node still carries batch normalisation: the graph must be folded.
    pub fn new(graph: &'g Graph) -> Self {
        FloatExecutor::with(graph, Isa::detect())
    }

    fn with(graph: &'g Graph, isa: Isa) -> Self {
        let mut first = 0;
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            steps.push(Step::new(graph, node, first));
            first += if node.is_input() { node.shape.len() } else { 0 };
        }
        let released = graph.released();
        let largest = graph.nodes.iter().map(|node| node.shape.len()).max().unwrap_or(1);
        let batch = (BATCH_VALUES / largest.max(1)).clamp(1, MAX_BATCH);
        FloatExecutor { graph, isa, steps, released, batch }
    }

    /// Runs one sample: the values of all inputs one after the other, in ONNX order. `observe` sees the result of every node in
    /// ONNX order. Yields the outputs in ONNX order.
    ///
    /// # Panics
    /// When the sample has another length.
    pub fn run(&self, sample: &[f32], observe: impl FnMut(NodeId, &[f32])) -> Vec<Vec<f32>> {
        let mut workspace = Workspace::default();
        self.run_batch(&mut workspace, &[sample], observe);
        self.graph.outputs.iter().map(|(_, id)| self.result(&workspace, *id, 1).into_owned()).collect()
    }

    /// The first output of each sample, in order; samples run in parallel.
    pub fn outputs(&self, samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let (_, id) = self.graph.outputs[0];
        self.batches(samples, |batch, workspace| {
            self.run_batch(workspace, batch, |_, _| ());
            let values = self.result(workspace, id, batch.len());
            values.chunks_exact(values.len() / batch.len()).map(<[f32]>::to_vec).collect()
        })
    }

    /// The outputs of each sample, one after the other, in order; samples run in parallel.
    pub fn all_outputs(&self, samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
        self.batches(samples, |batch, workspace| {
            self.run_batch(workspace, batch, |_, _| ());
            let mut all = vec![Vec::new(); batch.len()];
            for (_, id) in &self.graph.outputs {
                let values = self.result(workspace, *id, batch.len());
                let one = values.len() / batch.len();
                all.iter_mut().zip(values.chunks_exact(one)).for_each(|(all, one)| all.extend_from_slice(one));
            }
            all
        })
    }

    /// Folds what `observe` sees of all samples: per batch a state from `start`, the states joined by `join`, in any order.
    pub fn fold<T: Send>(
        &self,
        samples: &[Vec<f32>],
        start: impl Fn() -> T + Sync + Send,
        observe: impl Fn(&mut T, NodeId, &[f32]) + Sync,
        join: impl Fn(T, T) -> T + Sync + Send,
    ) -> T {
        let of_batch = |(mut state, mut workspace): (T, Workspace), batch: &[Vec<f32>]| {
            let batch: Vec<&[f32]> = batch.iter().map(Vec::as_slice).collect();
            self.run_batch(&mut workspace, &batch, |id, values| observe(&mut state, id, values));
            (state, workspace)
        };
        let batches = samples.par_chunks(self.batch_of(samples.len()));
        let states = batches.fold(|| (start(), Workspace::default()), of_batch).map(|(state, _)| state);
        states.reduce(&start, join)
    }

    fn batches<T: Send>(
        &self,
        samples: &[Vec<f32>],
        run: impl Fn(&[&[f32]], &mut Workspace) -> Vec<T> + Sync + Send,
    ) -> Vec<T> {
        let of_batch = |workspace: &mut Workspace, batch: &[Vec<f32>]| {
            let batch: Vec<&[f32]> = batch.iter().map(Vec::as_slice).collect();
            run(&batch, workspace)
        };
        let batches = samples.par_chunks(self.batch_of(samples.len())).map_init(Workspace::default, of_batch);
        batches.flatten_iter().collect()
    }

    /// Samples of a batch, so that every thread gets some.
    fn batch_of(&self, samples: usize) -> usize {
        self.batch.min(samples.div_ceil(rayon::current_num_threads())).max(1)
    }

    /// Runs a batch; `observe` sees the results of every node, those of one sample behind those of another; of constants once.
    fn run_batch(&self, workspace: &mut Workspace, samples: &[&[f32]], mut observe: impl FnMut(NodeId, &[f32])) {
        let Workspace { values, unused, scratch } = workspace;
        unused.extend(values.drain(..).filter(|buffer| buffer.capacity() > 0));
        let expected = self.graph.sample_len();
        assert!(samples.iter().all(|sample| sample.len() == expected), "a sample has {expected} values");
        values.resize_with(self.graph.nodes.len(), Vec::new);
        for ((id, node), step) in self.graph.iter().zip(&self.steps) {
            if let Op::Constant(tensor) = &node.op {
                observe(id, tensor.data());
                continue;
            }
            let mut y = unused.pop().unwrap_or_default();
            let len = node.shape.len();
            y.resize(len * samples.len(), 0.0);
            if let Step::Input { first } = step {
                let finish = Finish::of(None);
                let rows = y.chunks_exact_mut(len).zip(samples);
                rows.for_each(|(y, sample)| finish.copy(&sample[*first..][..len], y));
            } else {
                let inputs = Inputs { graph: self.graph, inputs: &node.inputs, values, samples: samples.len() };
                step.run(self.isa, node, &inputs, &mut y, samples.len(), scratch);
            }
            observe(id, &y);
            values[id.0] = y;
            for done in &self.released[id.0] {
                unused.extend(Some(std::mem::take(&mut values[done.0])).filter(|buffer| buffer.capacity() > 0));
            }
        }
    }

    /// The values of an output for all samples of the batch last run.
    fn result<'w>(&'w self, workspace: &'w Workspace, id: NodeId, samples: usize) -> Cow<'w, [f32]> {
        match &self.graph.node(id).op {
            Op::Constant(tensor) => Cow::Owned(tensor.data().repeat(samples)),
            _ => Cow::Borrowed(&workspace.values[id.0]),
        }
    }
}
