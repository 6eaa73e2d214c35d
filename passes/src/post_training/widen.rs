//! Layers whose operand is carried in two planes of 8 bits.
//!
//! Takes a calibrated graph and the tensors; returns the graph in which every layer that reads one of them reads it twice: rounded
//! to codes, and what that leaves over as codes of a finer scale. Both products use the same weights; their sum is that of an
//! operand of 16 bits. Between such layers values stay floats. No executor learns anything new.

use crate::activation::ActivationQuant;
use crate::calibrate::{Calibrated, Range};
use crate::domain::needs_codes;
use crate::equalize::{self, ChannelFactors};
use crate::ir::{BinaryKind, Clip, Function, Graph, Node, NodeId, Op};
use releqc_runtime::BitWidth;
use std::collections::{BTreeMap, BTreeSet};

/// A graph with wide tensors.
#[derive(Clone, Debug)]
pub(super) struct Widened {
    /// The graph, its ranges, and what must stay floats.
    pub(super) calibrated: Calibrated,
    /// For each of its weight layers, the position of the layer that it was.
    layers: Vec<usize>,
}

impl Widened {
    /// The widths of its layers, where the layers that they were have `widths`.
    pub(super) fn widths(&self, widths: &[BitWidth]) -> Vec<BitWidth> {
        self.layers.iter().map(|&layer| widths[layer]).collect()
    }
}

/// How far the range of a wide tensor goes beyond what was seen: it has bits to spare.
const ROOM: f32 = 2.0;

/// Whether a tensor can be carried in two planes: not where only codes come.
pub(super) fn can_be_wide(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match &node.op {
        Op::Constant(_) => false,
        op if op.moves() => can_be_wide(graph, node.inputs[0]),
        _ => node.owns_weights() || !needs_codes(node),
    }
}

/// Carries the tensors of `wide` in two planes.
pub(super) fn widen(calibrated: &Calibrated, wide: &BTreeSet<NodeId>) -> Widened {
    let graph = &calibrated.folded;
    let floats = floats(graph, wide);
    let mut rebuilt = Rebuilt::default();
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let mut planes: BTreeMap<NodeId, [NodeId; 2]> = BTreeMap::new();
    let mut position = 0;
    // Inputs come before all other nodes.
    let mut wide_inputs = Vec::new();
    for (id, node) in graph.iter() {
        if !node.is_input() {
            planes.extend(wide_inputs.drain(..).map(|(id, at)| (id, rebuilt.split(at))));
        }
        let (range, factors) = (calibrated.ranges[id.0], calibrated.factors[id.0].clone());
        let node_is_input = node.is_input();
        let mut node = node.clone();
        let operand = node.inputs.first().copied();
        node.inputs.iter_mut().for_each(|input| *input = new[input.0]);
        let at = match operand.and_then(|operand| planes.get(&operand)).filter(|_| node.owns_weights()) {
            Some(planes) => rebuilt.twice(node, *planes, position, range, factors),
            None => {
                if node.owns_weights() {
                    rebuilt.layers.push(position);
                }
                rebuilt.push(node, range, factors, floats.contains(&id))
            }
        };
        position += usize::from(graph.node(id).owns_weights());
        new.push(at);
        match wide.contains(&id) {
            true if node_is_input => wide_inputs.push((id, at)),
            true => {
                let split = rebuilt.split(at);
                planes.insert(id, split);
            }
            false => {}
        }
    }
    let outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), new[id.0])).collect();
    let folded = Graph { name: graph.name.clone(), nodes: rebuilt.nodes, outputs };
    let Rebuilt { ranges, factors, floats, layers, .. } = rebuilt;
    let narrow = calibrated.narrow.iter().map(|(id, bits)| (new[id.0], *bits)).collect();
    Widened { calibrated: Calibrated { graph: folded.clone(), folded, ranges, factors, floats, narrow }, layers }
}

/// The tensors, and what they are made of up to the results of layers: all that must not be rounded.
pub(super) fn floats(graph: &Graph, wide: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let mut floats = BTreeSet::new();
    let mut open: Vec<NodeId> = wide.iter().copied().collect();
    while let Some(id) = open.pop() {
        let node = graph.node(id);
        let only_codes = needs_codes(node) && !node.owns_weights();
        if only_codes || matches!(node.op, Op::Constant(_)) || !floats.insert(id) || node.owns_weights() {
            continue;
        }
        open.extend(&node.inputs);
    }
    floats
}

#[derive(Default)]
struct Rebuilt {
    nodes: Vec<Node>,
    ranges: Vec<Range>,
    factors: Vec<ChannelFactors>,
    floats: BTreeSet<NodeId>,
    layers: Vec<usize>,
}

impl Rebuilt {
    fn push(&mut self, node: Node, range: Range, factors: ChannelFactors, float: bool) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        self.ranges.push(range);
        self.factors.push(factors);
        if float {
            self.floats.insert(id);
        }
        id
    }

    /// What a tensor's codes stand for, and the rest.
    fn split(&mut self, id: NodeId) -> [NodeId; 2] {
        let (node, range, factors) = (self.nodes[id.0].clone(), self.ranges[id.0], self.factors[id.0].clone());
        let ActivationQuant { scale, zero_point, .. } =
            ActivationQuant::of(Range { min: range.min * ROOM, max: range.max * ROOM }, BitWidth::MAX);
        let zero = f32::from(zero_point);
        let own = |suffix: &str, op: Op, inputs: Vec<NodeId>| Node {
            name: format!("{}:{suffix}", node.name),
            op,
            inputs,
            shape: node.shape.clone(),
            activation: None,
        };
        let times = |mul: &dyn Fn(f32) -> f32| match &factors {
            None => Op::Unary(Function::Scale { mul: mul(scale), add: 0.0 }),
            Some(factors) => Op::ChannelAffine {
                mul: factors.iter().map(|factor| mul(scale * factor)).collect(),
                add: vec![0.0; equalize::channels(&node.shape).0],
            },
        };
        let nothing = Range { min: 0.0, max: 0.0 };
        let steps = self.push(own("steps", times(&|step| 1.0 / step), vec![id]), nothing, None, true);
        let whole = Node {
            activation: Some(Clip { min: -zero, max: 255.0 - zero }),
            ..own("whole", Op::Unary(Function::Round), vec![steps])
        };
        let whole = self.push(whole, nothing, None, true);
        let range = Range { min: -zero * scale, max: (255.0 - zero) * scale };
        let high = self.push(own("high", times(&|step| step), vec![whole]), range, factors.clone(), true);
        let range = Range { min: -scale / 2.0, max: scale / 2.0 };
        let low = own("low", Op::Binary(BinaryKind::Sub), vec![id, high]);
        [high, self.push(low, range, factors.clone(), true)]
    }

    /// A layer on both planes, and their sum.
    fn twice(
        &mut self,
        node: Node,
        [high, low]: [NodeId; 2],
        position: usize,
        range: Range,
        factors: ChannelFactors,
    ) -> NodeId {
        let nothing = Range { min: 0.0, max: 0.0 };
        let mut without_bias = node.op.clone();
        match &mut without_bias {
            Op::Conv(conv) => conv.bias = None,
            Op::FullyConnected(layer) => layer.bias = None,
            _ => {}
        }
        let on = |op: Op, name: String, inputs: Vec<NodeId>| Node {
            name,
            op,
            inputs,
            shape: node.shape.clone(),
            activation: None,
        };
        self.layers.extend([position, position]);
        let high = self.push(on(node.op.clone(), node.name.clone(), vec![high]), nothing, None, true);
        let low = self.push(on(without_bias, format!("{}:low", node.name), vec![low]), nothing, None, true);
        let sum = on(Op::Binary(BinaryKind::Add), format!("{}:sum", node.name), vec![high, low]);
        self.push(Node { activation: node.activation, ..sum }, range, factors, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Ends, Granularity, Stated, calibrate};
    use crate::float_exec::FloatExecutor;
    use crate::ir::{Conv, ElementType, Padding, Shape, Tensor, Window};
    use crate::post_training::{Rounding, quantize_after_training};

    /// Two 1x1 convolutions over an image, the second of what a sum gives.
    fn calibrated() -> (Calibrated, Vec<Vec<f32>>) {
        let conv = |weights: [f32; 4]| {
            let window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: Padding::default() };
            let weight = Tensor::new(vec![2, 2, 1, 1], weights.to_vec()).expect("four weights");
            Op::Conv(Conv { weight, bias: Some(vec![0.25, -0.5]), window, groups: 1, batch_norm: None })
        };
        let node = |name: &str, op: Op, inputs: &[usize]| Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|&i| NodeId(i)).collect(),
            shape: Shape::image(2, 4, 4),
            activation: None,
        };
        let nodes = vec![
            node("x", Op::Input(ElementType::F32), &[]),
            node("first", conv([0.5, -0.25, 1.0, 0.125]), &[0]),
            node("sum", Op::Binary(BinaryKind::Add), &[0, 1]),
            node("second", conv([1.0, -1.0, 0.5, 1.0]), &[2]),
        ];
        let graph = Graph { name: "wide".into(), nodes, outputs: vec![("y".into(), NodeId(3))] };
        let sample = |k: usize| (0..32).map(|i| ((i * 37 + k * 101) % 97) as f32 / 48.5 - 1.0).collect();
        let samples: Vec<Vec<f32>> = (0..16).map(sample).collect();
        let calibrated =
            calibrate(graph.clone(), graph, &samples, &Stated::default(), Ends::LeastError, Granularity::Tensor);
        (calibrated, samples)
    }

    #[test]
    fn inputs_stay_in_front_where_the_first_of_them_is_wide() {
        let layer = |weights: Vec<f32>| {
            let weight = Tensor::new(vec![2, 2], weights).expect("four weights");
            Op::FullyConnected(crate::ir::FullyConnected { weight, bias: None, batch_norm: None })
        };
        let node = |name: &str, op: Op, inputs: &[usize]| Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|&i| NodeId(i)).collect(),
            shape: Shape::vector(2),
            activation: None,
        };
        let nodes = vec![
            node("x", Op::Input(ElementType::F32), &[]),
            node("z", Op::Input(ElementType::F32), &[]),
            node("first", layer(vec![0.5, -0.25, 1.0, 0.125]), &[0]),
            node("product", Op::Binary(BinaryKind::Mul), &[2, 1]),
            node("second", layer(vec![1.0, -1.0, 0.5, 1.0]), &[3]),
        ];
        let outputs = vec![("a".into(), NodeId(2)), ("b".into(), NodeId(4))];
        let graph = Graph { name: "two inputs".into(), nodes, outputs };
        let samples: Vec<Vec<f32>> =
            (0..8).map(|k| (0..4).map(|i| ((i * 37 + k * 11) % 9) as f32 - 4.0).collect()).collect();
        let calibrated =
            calibrate(graph.clone(), graph, &samples, &Stated::default(), Ends::LeastError, Granularity::Tensor);
        let widened = widen(&calibrated, &BTreeSet::from([NodeId(0), NodeId(3)]));
        let folded = &widened.calibrated.folded;
        assert_eq!(crate::verify::violations(folded), []);
        assert_eq!(folded.inputs().map(|(_, node)| node.name.as_str()).collect::<Vec<_>>(), ["x", "z"]);
        let float = FloatExecutor::new(&calibrated.folded).all_outputs(&samples);
        let same = FloatExecutor::new(folded).all_outputs(&samples);
        for (a, b) in float.iter().flatten().zip(same.iter().flatten()) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let layers = folded.weight_layers().len();
        let trained =
            quantize_after_training(&widened.calibrated, &vec![BitWidth::MAX; layers], &samples, Rounding::ON_SAMPLES);
        assert!(crate::lower::lower(&crate::quantize::quantize(trained.annotated).expect("scales")).is_ok());
    }

    #[test]
    fn both_planes_together_are_the_tensor_and_have_the_noise_of_16_bits() {
        let (calibrated, samples) = calibrated();
        let wide = BTreeSet::from([NodeId(0), NodeId(2)]);
        let widened = widen(&calibrated, &wide);
        assert_eq!(widened.layers, [0, 0, 1, 1]);
        assert_eq!(crate::verify::violations(&widened.calibrated.folded), []);
        let float = FloatExecutor::new(&calibrated.folded).outputs(&samples);
        let same = FloatExecutor::new(&widened.calibrated.folded).outputs(&samples);
        for (a, b) in float.iter().flatten().zip(same.iter().flatten()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let noise = |calibrated: &Calibrated, layers: usize| {
            quantize_after_training(calibrated, &vec![BitWidth::MAX; layers], &samples, Rounding::ON_SAMPLES).decibels()
        };
        // What is left is the rounding of weights.
        let (narrow, wide) = (noise(&calibrated, 2), noise(&widened.calibrated, 4));
        assert!(narrow < 50.0 && wide > narrow + 6.0, "{narrow} dB, wide {wide} dB");
    }
}
