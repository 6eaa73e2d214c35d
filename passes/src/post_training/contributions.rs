//! Which tensors' rounding the outputs suffer from.
//!
//! Takes a calibrated graph and a few samples; for each tensor that a layer reads, rounds it for its layers alone and follows the
//! difference through the float network. Roundings of different tensors hardly know of each other, so that their noises add up.

use super::sums;
use super::widen::{can_be_wide, floats};
use crate::annotate::{Annotated, WeightScales, annotate_with};
use crate::calibrate::Calibrated;
use crate::domain::keeps_codes;
use crate::float_exec::{Buffers, Operand, Single};
use crate::ir::{Graph, NodeId, Op};
use rayon::prelude::*;
use releqc_runtime::BitWidth;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// For each tensor that a layer reads, its noise in parts of the signal, of each output.
pub(super) fn contributions(calibrated: &Calibrated, samples: &[Vec<f32>]) -> BTreeMap<NodeId, Vec<f64>> {
    let graph = &calibrated.folded;
    let widths = vec![BitWidth::MAX; graph.weight_layers().len()];
    let annotated = annotate_with(calibrated, &widths, WeightScales::Largest);
    let network = Network::of(graph, samples);
    let layers = graph.iter().filter(|(_, node)| node.owns_weights());
    // Tensors that were asked to have few bits do not get many, and are not left floats for the sake of others.
    let keeps_narrow = |id: &NodeId| {
        let made_of = floats(graph, &BTreeSet::from([*id]));
        !made_of.iter().chain([&codes_of(graph, *id)]).any(|id| calibrated.narrow.contains_key(id))
    };
    let operands = layers.map(|(_, node)| node.inputs[0]).filter(keeps_narrow);
    let operands: BTreeSet<NodeId> = operands.collect();
    let operands: Vec<NodeId> = operands.into_iter().collect();
    operands.into_par_iter().map(|id| (id, network.noise(&annotated, id))).collect()
}

/// The tensor whose codes these are.
fn codes_of(graph: &Graph, id: NodeId) -> NodeId {
    let node = graph.node(id);
    if keeps_codes(node) { codes_of(graph, node.inputs[0]) } else { id }
}

/// The float network with all its values.
struct Network<'g> {
    graph: &'g Graph,
    nodes: Vec<Option<Single>>,
    /// Per node, the values of all samples; of constants none.
    values: Vec<Vec<f32>>,
    samples: usize,
    /// Per node, the nodes whose values nobody reads after it.
    released: Vec<Vec<NodeId>>,
}

impl<'g> Network<'g> {
    fn of(graph: &'g Graph, samples: &[Vec<f32>]) -> Self {
        let mut network = Network {
            graph,
            nodes: Vec::new(),
            values: Vec::new(),
            samples: samples.len(),
            released: graph.released(),
        };
        let mut first = 0;
        for (_, node) in graph.iter() {
            let (single, value) = match &node.op {
                Op::Input(_) => {
                    let own = first..first + node.shape.len();
                    first = own.end;
                    (None, samples.iter().flat_map(|sample| &sample[own.clone()]).copied().collect())
                }
                Op::Constant(_) => (None, Vec::new()),
                _ => {
                    let single = Single::new(graph, node.clone());
                    let operands: Vec<Operand<'_>> = node.inputs.iter().map(|x| network.operand(*x)).collect();
                    let y = single.run(&operands, samples.len(), &mut Buffers::default());
                    (Some(single), y)
                }
            };
            network.nodes.push(single);
            network.values.push(value);
        }
        network
    }

    fn operand(&self, id: NodeId) -> Operand<'_> {
        match &self.graph.node(id).op {
            Op::Constant(tensor) => Operand::Constant(Cow::Borrowed(tensor.data())),
            _ => Operand::Samples(Cow::Borrowed(&self.values[id.0])),
        }
    }

    /// Noise over signal of each output where `rounded` is rounded for the layers that read it.
    fn noise(&self, annotated: &Annotated, rounded: NodeId) -> Vec<f64> {
        let mut changed: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
        let mut codes = self.values[rounded.0].clone();
        annotated.round(rounded, &mut codes);
        let mut buffers = Buffers::default();
        for (id, node) in self.graph.iter().skip(rounded.0 + 1) {
            let reads_codes = node.owns_weights() && node.inputs[0] == rounded;
            let Some(single) = &self.nodes[id.0] else { continue };
            if !reads_codes && !node.inputs.iter().any(|x| changed.contains_key(x)) {
                continue;
            }
            let operand = |(i, x): (usize, &NodeId)| match changed.get(x) {
                _ if reads_codes && i == 0 => Operand::Samples(Cow::Borrowed(&codes)),
                Some(values) => Operand::Samples(Cow::Borrowed(values)),
                None => self.operand(*x),
            };
            let operands: Vec<Operand<'_>> = node.inputs.iter().enumerate().map(operand).collect();
            let y = single.run(&operands, self.samples, &mut buffers);
            drop(operands);
            changed.insert(id, y);
            for done in &self.released[id.0] {
                changed.remove(done).into_iter().for_each(|values| buffers.give_back(values));
            }
        }
        let of_output = |(_, id): &(String, NodeId)| {
            let (float, Some(noisy)) = (&self.values[id.0], changed.get(id)) else { return 0.0 };
            let error = sums::square_error(float, noisy);
            if error > 0.0 { error / sums::power(float).max(f64::MIN_POSITIVE) } else { 0.0 }
        };
        self.graph.outputs.iter().map(of_output).collect()
    }
}

/// What each tensor that can be wide contributes, and what carrying it wide costs in multiply-accumulates.
pub(super) struct Choices<'c> {
    /// Noise over signal of each output, all tensors together.
    noise: Vec<f64>,
    open: Vec<(NodeId, &'c Vec<f64>, f64)>,
}

impl<'c> Choices<'c> {
    pub(super) fn of(graph: &Graph, contributions: &'c BTreeMap<NodeId, Vec<f64>>) -> Self {
        let mut all = vec![0.0; graph.outputs.len()];
        for noise in contributions.values() {
            all.iter_mut().zip(noise).for_each(|(all, noise)| *all += noise);
        }
        let mut macs: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (layer, node) in graph.iter().filter(|(_, node)| node.owns_weights()) {
            *macs.entry(node.inputs[0]).or_default() += graph.macs(layer);
        }
        let cost = |id: NodeId| {
            let of_readers = macs.get(&id).copied().unwrap_or_default();
            (of_readers + COST_OF_A_VALUE * graph.node(id).shape.len() as u64) as f64
        };
        let wide = contributions.iter().filter(|(id, _)| can_be_wide(graph, **id));
        Choices { noise: all, open: wide.map(|(&id, noise)| (id, noise, cost(id))).collect() }
    }

    /// Tensors without whose rounding every output has a signal-to-noise ratio of `wanted` dB, chosen one by one by what they gain for
    /// their multiply-accumulates; all that help where that is not enough.
    pub(super) fn cheapest(&self, wanted: f64) -> BTreeSet<NodeId> {
        let allowed = 10f64.powf(-wanted / 10.0);
        let (mut left, mut open) = (self.noise.clone(), self.open.clone());
        let mut chosen = BTreeSet::new();
        while left.iter().any(|&left| left > allowed) {
            let gain = |(_, noise, cost): &(NodeId, &Vec<f64>, f64)| {
                let parts = left.iter().zip(*noise).filter(|(left, _)| **left > allowed);
                parts.map(|(left, noise)| noise / left).sum::<f64>() / cost
            };
            let best = (0..open.len()).max_by(|&a, &b| gain(&open[a]).total_cmp(&gain(&open[b])).then(b.cmp(&a)));
            let Some(best) = best.filter(|&best| gain(&open[best]) > 0.0) else { break };
            let (id, noise, _) = open.remove(best);
            left.iter_mut().zip(noise).for_each(|(left, noise)| *left = (*left - noise).max(0.0));
            chosen.insert(id);
        }
        chosen
    }
}

/// What carrying a value as floats costs, in multiply-accumulates.
const COST_OF_A_VALUE: u64 = 64;
