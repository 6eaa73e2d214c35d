//! Factors that let every channel of a tensor use all its codes.
//!
//! Takes a folded graph and the range of each channel of each tensor; returns, for each tensor, one factor a channel (axis 1):
//! a code q of channel c stands for `(q - zero_point) * scale * factor[c]`. A layer takes the factors of its operand into its
//! weights and those of its result into its multipliers, so that they cost nothing. Operators that move codes or add them want
//! the same factors on both sides; those channels are one group here. It is the cross-layer equalization of Nagel et al.
//! (arXiv 1906.04721) with activations that need not be piecewise linear.

use crate::calibrate::Observed;
use crate::domain::{Domain, domains};
use crate::ir::{BinaryKind, Clip, Graph, NodeId, Op, Shape};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One factor a channel, the largest 1; `None` where all are 1.
pub type ChannelFactors = Option<Arc<[f32]>>;

/// No factor is smaller: a channel that hardly moved on the samples may move elsewhere.
const SMALLEST: f32 = 1.0 / 256.0;

/// How far channels are refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equalization {
    /// A channel that came near its largest value in n samples may exceed it by `margin / sqrt(n)` of it.
    pub margin: f32,
    /// A channel whose noise is this part of what is usual in its tensor, refined as far as may be, is not refined any further: its
    /// range has room instead.
    pub matters: f64,
}

impl Equalization {
    /// From the most careful to the most eager.
    pub const CANDIDATES: [Equalization; 4] = [
        Equalization { margin: 4.0, matters: 3.0 },
        Equalization { margin: 4.0, matters: 0.2 },
        Equalization { margin: 1.5, matters: 0.2 },
        Equalization { margin: 1.0, matters: 0.02 },
    ];
}

/// A tensor whose channels all fill this share of its range has no factors.
const EVEN: f32 = 0.75;

/// The factor of a channel.
pub fn factor(factors: &ChannelFactors, channel: usize) -> f32 {
    factors.as_ref().map_or(1.0, |factors| factors[channel])
}

/// Channels of a tensor, and values of each that lie together.
pub fn channels(shape: &Shape) -> (usize, usize) {
    match shape.dims() {
        [_, channels, inner @ ..] => (*channels, inner.iter().product()),
        _ => (1, shape.len()),
    }
}

/// The values of whole samples with those of each channel divided by its factor.
pub fn divided(shape: &Shape, values: &[f32], factors: &ChannelFactors) -> Vec<f32> {
    let mut values = values.to_vec();
    if let Some(factors) = factors {
        let (_, inner) = channels(shape);
        let lines = values.chunks_exact_mut(inner).zip(factors.iter().cycle());
        lines.for_each(|(line, factor)| line.iter_mut().for_each(|v| *v /= factor));
    }
    values
}

/// The factors of every tensor. `observed` holds what was seen of each channel; inputs in `stated` have one scale for all
/// channels.
pub fn factors(
    graph: &Graph,
    observed: &[Vec<Observed>],
    equalization: Equalization,
    stated: impl Fn(NodeId) -> bool,
) -> Vec<ChannelFactors> {
    let mut groups = Groups::of(graph);
    let domains = domains(graph, &BTreeSet::new());
    for (id, node) in graph.iter() {
        if stated(id) {
            groups.even(id);
        }
        groups.tie_node(graph, &domains, id);
        // A bound that is not 0 is another code in every channel. Above 0 the range ends at an upper one, so that no channel
        // has codes beyond it; where values below 0 widen the range, some have.
        let bounded =
            |clip: Clip| (clip.min.is_finite() || clip.max.is_finite()) && (clip.min != 0.0 || clip.max < 0.0);
        let own = if let Op::Clip(clip) = node.op { bounded(clip) } else { false };
        if own || node.activation.is_some_and(bounded) {
            groups.even(id);
        }
    }
    let importance = importance(graph, &domains, observed);
    let shares = groups.factors(observed, &importance, equalization);
    let of_node = |id: NodeId| {
        let factors: Vec<f32> =
            (0..observed[id.0].len()).map(|c| shares[groups.root(groups.firsts[id.0] + c)]).collect();
        factors.iter().any(|&f| f != 1.0).then(|| factors.into())
    };
    graph.iter().map(|(id, _)| of_node(id)).collect()
}

fn amplitude(channel: &Observed) -> f32 {
    channel.range.amplitude()
}

/// How far a channel may go beyond what was seen: little where it came near to that in many samples.
fn margin(channel: &Observed, margin: f32) -> f32 {
    let half = amplitude(channel) / 2.0;
    let near = channel.peaks.iter().filter(|&&peak| peak >= half).count();
    1.0 + margin / (near.max(1) as f32).sqrt()
}

/// What noise of one in a channel does to what reads it: its power in the results of the layers it reaches, each result in
/// parts of its own range.
fn importance(graph: &Graph, domains: &[Domain], observed: &[Vec<Observed>]) -> Vec<Vec<f64>> {
    let mut importance: Vec<Vec<f64>> = observed.iter().map(|channels| vec![0.0; channels.len()]).collect();
    let range = |id: NodeId, c: usize| f64::from(amplitude(&observed[id.0][c])).powi(2);
    let inverse = |power: f64| if power > 0.0 { 1.0 / power } else { 0.0 };
    let whole = |id: NodeId| inverse((0..observed[id.0].len()).map(|c| range(id, c)).fold(0.0, f64::max));
    graph.outputs.iter().for_each(|(_, id)| importance[id.0].fill(whole(*id)));
    for (id, node) in graph.iter().collect::<Vec<_>>().into_iter().rev() {
        for (operand, &x) in node.inputs.iter().enumerate() {
            let count = importance[x.0].len();
            let mut add = |c: usize, power: f64| importance[x.0][c] += power;
            match &node.op {
                Op::Conv(_) | Op::FullyConnected(_) => {
                    let Some(layer) = node.layer().filter(|layer| layer.inputs * layer.groups == count) else {
                        continue;
                    };
                    let by_output = observed[id.0].len() == layer.outputs;
                    for (i, window) in layer.weight.data().chunks_exact(layer.taps).enumerate() {
                        let power: f64 = window.iter().map(|&w| f64::from(w).powi(2)).sum();
                        let relative = if by_output { inverse(range(id, i / layer.inputs)) } else { whole(id) };
                        add(layer.channel(i * layer.taps), power * relative);
                    }
                }
                _ if domains[id.0] == Domain::Float => (0..count).for_each(|c| add(c, whole(x))),
                Op::Concat { axis: 1 } => {
                    let before: usize = node.inputs[..operand].iter().map(|&x| observed[x.0].len()).sum();
                    let of: Vec<f64> = importance[id.0][before..before + count].to_vec();
                    of.into_iter().enumerate().for_each(|(c, power)| importance[x.0][c] += power);
                }
                Op::Gather { maps, .. } if maps.len() > 1 => {
                    for c in 0..importance[id.0].len() {
                        let power = importance[id.0][c];
                        if let Some(from) = maps[1].at(c) {
                            importance[x.0][from] += power;
                        }
                    }
                }
                op => {
                    let positions = match op {
                        Op::AveragePool { window, .. } => (window.kernel[0] * window.kernel[1]) as f64,
                        _ => 1.0,
                    };
                    // The same channels, or those that a reshape or a broadcast makes of them.
                    let of = importance[id.0].clone();
                    for (i, power) in of.iter().enumerate() {
                        importance[x.0][i * count / of.len()] += power / positions;
                    }
                }
            }
        }
    }
    importance
}

/// Channels that have one factor, as a forest: every channel of every tensor has a parent, or is the root of its group.
struct Groups {
    /// The first channel of each tensor.
    firsts: Vec<usize>,
    parents: Vec<usize>,
}

impl Groups {
    /// Every channel alone.
    fn of(graph: &Graph) -> Self {
        let mut count = 0;
        let firsts = graph.nodes.iter().map(|node| {
            let first = count;
            count += channels(&node.shape).0;
            first
        });
        Groups { firsts: firsts.collect(), parents: (0..count).collect() }
    }

    fn root(&self, mut at: usize) -> usize {
        while self.parents[at] != at {
            at = self.parents[at];
        }
        at
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }

    fn tie_channels(&mut self, (a, c): (NodeId, usize), (b, d): (NodeId, usize)) {
        self.tie(self.firsts[a.0] + c, self.firsts[b.0] + d);
    }

    /// One factor for all channels of a tensor.
    fn even(&mut self, id: NodeId) {
        let end = self.firsts.get(id.0 + 1).copied().unwrap_or(self.parents.len());
        (self.firsts[id.0]..end).for_each(|c| self.tie(self.firsts[id.0], c));
    }

    /// What a node asks of the channels of its operands and its result.
    fn tie_node(&mut self, graph: &Graph, domains: &[Domain], id: NodeId) {
        let node = graph.node(id);
        let (count, inner) = channels(&node.shape);
        let shape = |x: NodeId| &graph.node(x).shape;
        match &node.op {
            // The pixels of images are even, and may come as bytes.
            Op::Input(_) if node.shape.rank() != 2 => self.even(id),
            Op::Input(_) | Op::Constant(_) | Op::Conv(_) => {}
            Op::FullyConnected(_) => {
                // Weights run along the last axis.
                if shape(node.inputs[0]).rank() != 2 {
                    self.even(node.inputs[0]);
                    self.even(id);
                }
            }
            Op::MaxPool(_) | Op::AveragePool { .. } => {
                (0..count).for_each(|c| self.tie_channels((id, c), (node.inputs[0], c)));
            }
            _ if domains[id.0] == Domain::Float => {}
            Op::Unary(_) | Op::PRelu { .. } | Op::BatchNorm(_) | Op::ChannelAffine { .. } | Op::Clip(_) => {}
            Op::Binary(BinaryKind::Mul) => {
                let [a, b] = [node.inputs[0], node.inputs[1]];
                // Of a gate and what it opens, the gate is the smaller.
                let (gate, gated) = if shape(a).len() < shape(b).len() { (a, b) } else { (b, a) };
                self.even(gate);
                self.tie_broadcast(graph, gated, id);
            }
            Op::Binary(_) => node.inputs.iter().for_each(|&x| self.tie_broadcast(graph, x, id)),
            Op::Concat { axis: 1 } => {
                let mut first = 0;
                for &x in &node.inputs {
                    let count = channels(shape(x)).0;
                    (0..count).for_each(|c| self.tie_channels((id, first + c), (x, c)));
                    first += count;
                }
            }
            Op::Gather { maps, .. } if maps.len() > 1 => {
                for c in 0..count {
                    if let Some(from) = maps[1].at(c) {
                        self.tie_channels((id, c), (node.inputs[0], from));
                    }
                }
            }
            Op::Transpose { perm } if perm.get(1) == Some(&1) => {
                (0..count).for_each(|c| self.tie_channels((id, c), (node.inputs[0], c)));
            }
            Op::Reshape => {
                let x = node.inputs[0];
                let (from, inner_x) = channels(shape(x));
                // Both lie in the order of ONNX: a position of one is a position of the other.
                let step = inner.min(inner_x);
                for position in (0..node.shape.len()).step_by(step.max(1)) {
                    self.tie_channels((id, position / inner % count), (x, position / inner_x % from));
                    let last = position + step - 1;
                    self.tie_channels((id, last / inner % count), (x, last / inner_x % from));
                }
            }
            _ => node.inputs.iter().chain([&id]).for_each(|&x| self.even(x)),
        }
    }

    fn tie_broadcast(&mut self, graph: &Graph, x: NodeId, y: NodeId) {
        let (from, to) = (&graph.node(x).shape, &graph.node(y).shape);
        let (count, of) = (channels(to).0, channels(from).0);
        if from.rank() == to.rank() && of == count {
            (0..count).for_each(|c| self.tie_channels((x, c), (y, c)));
        } else {
            self.even(x);
            self.even(y);
            self.tie_channels((x, 0), (y, 0));
        }
    }

    /// The factor of each group, by its root: what part of the range of their tensors its channels take at most, but none so small that its
    /// noise no longer matters beside that of the others.
    fn factors(&self, observed: &[Vec<Observed>], importance: &[Vec<f64>], equalization: Equalization) -> Vec<f32> {
        let mut shares = vec![0.0f32; self.parents.len()];
        let mut noises = vec![0.0f64; self.parents.len()];
        let mut least = vec![0.0f32; self.parents.len()];
        for (node, channels) in observed.iter().enumerate() {
            let largest = channels.iter().map(amplitude).fold(0.0, f32::max);
            for (c, channel) in channels.iter().enumerate() {
                let root = self.root(self.firsts[node] + c);
                let own = (amplitude(channel) / largest * margin(channel, equalization.margin)).min(1.0);
                shares[root] = shares[root].max(if own > 0.0 { own } else { 0.0 });
                noises[root] += importance[node][c] * f64::from(largest).powi(2);
            }
        }
        let share = |share: f32| if share > 0.0 { share.max(SMALLEST) } else { 1.0 };
        // Where the tensors of a group differ, the one with the most to lose decides.
        for (node, channels) in observed.iter().enumerate() {
            let roots = || (0..channels.len()).map(|c| self.root(self.firsts[node] + c));
            let refined = |root: usize| noises[root] * f64::from(share(shares[root])).powi(2);
            let mean = roots().map(refined).sum::<f64>() / channels.len() as f64;
            for root in roots() {
                let enough = (equalization.matters * mean / noises[root]).sqrt() as f32;
                least[root] = least[root].max(if enough.is_finite() { enough } else { 1.0 });
            }
        }
        let factor = |(own, least): (f32, f32)| share(own).max(least.min(1.0));
        let mut factors: Vec<f32> = shares.into_iter().zip(least).map(factor).collect();
        self.even_components_stay(&mut factors);
        factors
    }

    /// Tensors that share groups, all of them even enough, get no factors.
    fn even_components_stay(&self, shares: &mut [f32]) {
        let mut components = Groups { firsts: self.firsts.clone(), parents: self.parents.clone() };
        (0..self.firsts.len()).for_each(|node| components.even(NodeId(node)));
        let mut least = vec![1.0f32; shares.len()];
        for at in 0..shares.len() {
            let (root, component) = (self.root(at), components.root(at));
            least[component] = least[component].min(shares[root]);
        }
        for at in 0..shares.len() {
            if least[components.root(at)] >= EVEN {
                shares[at] = 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Range;
    use crate::ir::{Conv, ElementType, FullyConnected, Node, Padding, Tensor, Window};

    const EAGER: Equalization = Equalization { margin: 0.0, matters: 1e-9 };

    fn node(op: Op, inputs: &[usize], dims: &[usize]) -> Node {
        Node {
            name: String::new(),
            op,
            inputs: inputs.iter().map(|&i| NodeId(i)).collect(),
            shape: Shape::new(dims.to_vec()),
            activation: None,
        }
    }

    fn conv(channels: usize) -> Op {
        let weight = Tensor::new(vec![channels, channels, 1, 1], vec![0.5; channels * channels]).expect("extents fit");
        let window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: Padding::default() };
        Op::Conv(Conv { weight, bias: None, window, groups: 1, batch_norm: None })
    }

    fn ranges(largest: &[f32]) -> Vec<Observed> {
        largest.iter().map(|&max| Observed { range: Range { min: 0.0, max }, peaks: vec![max; 1 << 20] }).collect()
    }

    #[test]
    fn what_is_added_has_the_same_factors_and_what_is_reshaped_too() {
        let image = [1, 2, 2, 2];
        let weight = Tensor::new(vec![2, 8], vec![0.5; 16]).expect("extents fit");
        let layer = Op::FullyConnected(FullyConnected { weight, bias: None, batch_norm: None });
        let graph = Graph {
            name: "sum".into(),
            nodes: vec![
                node(Op::Input(ElementType::F32), &[], &image),
                node(conv(2), &[0], &image),
                node(conv(2), &[0], &image),
                node(Op::Binary(BinaryKind::Add), &[1, 2], &image),
                node(Op::Reshape, &[3], &[1, 8]),
                node(layer, &[4], &[1, 2]),
            ],
            outputs: vec![("y".into(), NodeId(5))],
        };
        let observed = [
            ranges(&[1.0, 0.1]),
            ranges(&[8.0, 1.0]),
            ranges(&[2.0, 4.0]),
            ranges(&[8.0, 4.0]),
            ranges(&[8.0; 8]),
            ranges(&[1.0, 0.1]),
        ];
        let factors = factors(&graph, &observed, EAGER, |_| false);
        let of = |id: usize| factors[id].as_ref().map(|f| f.to_vec());
        // Pixels are even. Both channels reach all of some tensor: nothing to gain.
        assert_eq!([of(0), of(1), of(2), of(3), of(4)], [None, None, None, None, None]);
        assert_eq!(of(5), Some(vec![1.0, 0.1]));
        let observed = [
            ranges(&[1.0, 0.1]),
            ranges(&[8.0, 1.0]),
            ranges(&[4.0, 1.0]),
            ranges(&[8.0, 1.0]),
            ranges(&[8.0, 8.0, 8.0, 8.0, 1.0, 1.0, 1.0, 1.0]),
            ranges(&[1.0, 1.0]),
        ];
        let factors = super::factors(&graph, &observed, EAGER, |_| false);
        let of = |id: usize| factors[id].as_ref().map(|f| f.to_vec());
        let quarter = Some(vec![1.0, 0.25]);
        assert_eq!([of(1), of(2), of(3)], [quarter.clone(), quarter.clone(), quarter]);
        assert_eq!(of(4), Some(vec![1.0, 1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.25]));
        assert_eq!([of(0), of(5)], [None, None]);
    }
}
