//! Joins functions of one value that a network writes out in several nodes.
//!
//! Takes any verified graph. A product or maximum of two values that both come from one `x` becomes one function of `x`, and a factor
//! beside it where there is one:
//!
//! | written out | becomes |
//! |---|---|
//! | `x * sigmoid(a x)` | `silu`, `swish` |
//! | `x * clip(x + 3, 0, 6)`, `x * hard_sigmoid(x)` with slope 1/6 | `hard_swish` |
//! | `x * tanh(softplus(x))` | `mish` |
//! | `x * (1 + erf(x / sqrt 2))` | `gelu` |
//! | `x * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` | `gelu_tanh` |
//! | `max(x, a x)` with 0 < a < 1 | `leaky_relu` |
//!
//! Factors and constants are found wherever they stand, and compared to six digits. Inner nodes that nobody reads any more go.
//! Does not look through nodes with an activation.

use super::edit::{Rebuild, without_unread};
use crate::ir::{BinaryKind, Clip, Function, Graph, Node, NodeId, Op};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

pub(super) fn fuse_function(graph: Graph) -> Graph {
    let mut rebuild = Rebuild::of(&graph);
    for (id, node) in graph.iter() {
        let Some((x, function, factor)) = found(&graph, node) else {
            rebuild.keep(id);
            continue;
        };
        let function = Node { op: Op::Unary(function), inputs: vec![x], activation: None, ..node.clone() };
        if is_near(factor, 1.0) {
            rebuild.replace(id, Node { activation: node.activation, ..function });
            continue;
        }
        let inner = rebuild.insert(Node { name: format!("{}:function", node.name), ..function });
        let channels = if node.shape.rank() < 2 { None } else { Some(node.shape.channels()) };
        let mul = factor as f32;
        let op = match channels {
            Some(channels) => Op::ChannelAffine { mul: vec![mul; channels], add: vec![0.0; channels] },
            None => Op::Unary(Function::Scale { mul, add: 0.0 }),
        };
        rebuild.replace_inserted(id, Node { op, activation: node.activation, ..node.clone() }, inner);
    }
    without_unread(&rebuild.finish())
}

fn is_near(seen: f64, wanted: f64) -> bool {
    (seen - wanted).abs() <= 1e-6 * wanted.abs().max(1.0)
}

/// `mul * value + add`.
#[derive(Clone, Copy)]
struct Affine {
    value: NodeId,
    mul: f64,
    add: f64,
}

/// What stands below affine maps that are the same everywhere.
fn affine(graph: &Graph, id: NodeId) -> Affine {
    affine_of(graph, None, id)
}

/// As [`affine`], but not below `x`.
fn affine_of(graph: &Graph, x: Option<NodeId>, id: NodeId) -> Affine {
    let node = graph.node(id);
    let identity = Affine { value: id, mul: 1.0, add: 0.0 };
    if node.activation.is_some() || x == Some(id) {
        return identity;
    }
    let (mul, add) = match &node.op {
        Op::ChannelAffine { mul, add } if uniform(mul) && uniform(add) => (mul[0], add[0]),
        Op::Unary(Function::Scale { mul, add }) => (*mul, *add),
        Op::Unary(Function::Neg) => (-1.0, 0.0),
        _ => return identity,
    };
    let inner = affine_of(graph, x, node.inputs[0]);
    let mul = f64::from(mul);
    Affine { value: inner.value, mul: inner.mul * mul, add: inner.add * mul + f64::from(add) }
}

fn uniform(values: &[f32]) -> bool {
    values.iter().all(|value| *value == values[0])
}

/// The operand of a function without activation.
fn operand(graph: &Graph, id: NodeId) -> Option<(Function, NodeId)> {
    match graph.node(id) {
        Node { op: Op::Unary(function), inputs, activation: None, .. } => Some((*function, inputs[0])),
        _ => None,
    }
}

/// The `x`, function and factor that a node amounts to.
fn found(graph: &Graph, node: &Node) -> Option<(NodeId, Function, f64)> {
    let Op::Binary(kind) = node.op else { return None };
    let pairs = [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])];
    pairs.into_iter().find_map(|(x, gate)| {
        if graph.node(x).shape != node.shape || graph.node(gate).shape != node.shape {
            return None;
        }
        match kind {
            BinaryKind::Mul => gated(graph, x, gate),
            BinaryKind::Max => leaky(graph, x, gate),
            _ => None,
        }
    })
}

fn leaky(graph: &Graph, x: NodeId, scaled: NodeId) -> Option<(NodeId, Function, f64)> {
    let scaled = affine_of(graph, Some(x), scaled);
    let alpha = scaled.mul;
    (scaled.value == x && scaled.add == 0.0 && alpha > 0.0 && alpha < 1.0).then_some((
        x,
        Function::LeakyRelu { alpha: alpha as f32 },
        1.0,
    ))
}

/// `value(x) * gate(x)`, where x is the value or what it is a multiple of.
fn gated(graph: &Graph, value: NodeId, gate: NodeId) -> Option<(NodeId, Function, f64)> {
    let below = affine(graph, value);
    let itself = Affine { value, mul: 1.0, add: 0.0 };
    let candidates = [itself, below].into_iter().filter(|candidate| candidate.add == 0.0);
    candidates.into_iter().find_map(|candidate| gated_by(graph, candidate, gate))
}

fn gated_by(graph: &Graph, value: Affine, gate: NodeId) -> Option<(NodeId, Function, f64)> {
    let x = value.value;
    if let Some((function, factor)) = clamped(graph, x, gate).and_then(hard_swish) {
        return Some((x, function, value.mul * factor));
    }
    let outer = affine(graph, gate);
    let (function, inside) = operand(graph, outer.value)?;
    let inner = affine_of(graph, Some(x), inside);
    let scaled = inner.value == x && inner.add == 0.0;
    let (function, factor) = match function {
        Function::Sigmoid if scaled && outer.add == 0.0 => {
            let alpha = inner.mul as f32;
            (if alpha == 1.0 { Function::Silu } else { Function::Swish { alpha } }, outer.mul)
        }
        Function::HardSigmoid { alpha, beta } if scaled && outer.add == 0.0 => {
            let line = Clamped { mul: f64::from(alpha) * inner.mul, add: beta.into(), lo: 0.0, hi: 1.0 };
            let (function, factor) = hard_swish(line)?;
            (function, factor * outer.mul)
        }
        Function::Erf if scaled && is_near(outer.mul, outer.add) && is_near(inner.mul, FRAC_1_SQRT_2) => {
            (Function::Gelu, 2.0 * outer.mul)
        }
        Function::Tanh if is_near(outer.mul, outer.add) && is_gelu_cubic(graph, x, inside) => {
            (Function::GeluTanh, 2.0 * outer.mul)
        }
        Function::Tanh if outer.add == 0.0 && operand(graph, inside) == Some((Function::Softplus, x)) => {
            (Function::Mish, outer.mul)
        }
        _ => return None,
    };
    Some((x, function, value.mul * factor))
}

/// `min(max(mul * x + add, lo), hi)`.
#[derive(Clone, Copy)]
struct Clamped {
    mul: f64,
    add: f64,
    lo: f64,
    hi: f64,
}

/// A chain of affine maps and clips from `x` as one.
fn clamped(graph: &Graph, x: NodeId, id: NodeId) -> Option<Clamped> {
    if id == x {
        return Some(Clamped { mul: 1.0, add: 0.0, lo: f64::NEG_INFINITY, hi: f64::INFINITY });
    }
    let node = graph.node(id);
    let clip = |inner: Clamped, Clip { min, max }: Clip| {
        let (min, max) = (f64::from(min), f64::from(max));
        Clamped { lo: inner.lo.max(min).min(max), hi: inner.hi.max(min).min(max), ..inner }
    };
    let result = match &node.op {
        Op::Clip(own) => clip(clamped(graph, x, node.inputs[0])?, *own),
        Op::ChannelAffine { mul, add } if uniform(mul) && uniform(add) && mul[0] > 0.0 => {
            let inner = clamped(graph, x, node.inputs[0])?;
            let (mul, add) = (f64::from(mul[0]), f64::from(add[0]));
            let apply = |v: f64| v * mul + add;
            Clamped { mul: inner.mul * mul, add: apply(inner.add), lo: apply(inner.lo), hi: apply(inner.hi) }
        }
        _ => return None,
    };
    Some(node.activation.map_or(result, |activation| clip(result, activation)))
}

/// `k * clip(x / 6 + 1/2, 0, 1)` as the gate of `k * hard_swish(x)`.
fn hard_swish(line: Clamped) -> Option<(Function, f64)> {
    let k = line.mul * 6.0;
    let fits = k > 0.0 && is_near(line.add / k, 0.5) && line.lo == 0.0 && is_near(line.hi / k, 1.0);
    fits.then_some((Function::HardSwish, k))
}

/// `sqrt(2 / pi) (x + 0.044715 x^3)`.
fn is_gelu_cubic(graph: &Graph, x: NodeId, id: NodeId) -> bool {
    let c = FRAC_2_PI.sqrt();
    let wanted = [0.0, c, 0.0, c * 0.044715];
    polynomial(graph, x, id, 8).is_some_and(|seen| seen.iter().zip(wanted).all(|(&seen, wanted)| is_near(seen, wanted)))
}

/// Coefficients of 1, `x`, `x^2` and `x^3`, where a value is such a polynomial.
fn polynomial(graph: &Graph, x: NodeId, id: NodeId, depth: usize) -> Option<[f64; 4]> {
    let depth = depth.checked_sub(1)?;
    let outer = affine_of(graph, Some(x), id);
    let inner = if outer.value == x {
        [0.0, 1.0, 0.0, 0.0]
    } else {
        let node = graph.node(outer.value);
        if node.activation.is_some() {
            return None;
        }
        let of_operand = |operand: usize| polynomial(graph, x, node.inputs[operand], depth);
        match node.op {
            Op::Unary(Function::Pow { exponent: 2.0 }) => of_operand(0).and_then(|p| product(p, p))?,
            Op::Unary(Function::Pow { exponent: 3.0 }) => {
                of_operand(0).and_then(|p| product(p, p).and_then(|square| product(square, p)))?
            }
            Op::Binary(BinaryKind::Add) => {
                let (a, b) = (of_operand(0)?, of_operand(1)?);
                std::array::from_fn(|power| a[power] + b[power])
            }
            Op::Binary(BinaryKind::Mul) => product(of_operand(0)?, of_operand(1)?)?,
            _ => return None,
        }
    };
    let mut scaled = inner.map(|coefficient| coefficient * outer.mul);
    scaled[0] += outer.add;
    Some(scaled)
}

/// The product of two polynomials, where its degree is at most 3.
fn product(a: [f64; 4], b: [f64; 4]) -> Option<[f64; 4]> {
    let mut result = [0.0; 4];
    for (i, a) in a.into_iter().enumerate() {
        for (j, b) in b.into_iter().enumerate().filter(|(_, b)| a * b != 0.0) {
            *result.get_mut(i + j)? += a * b;
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{ElementType, Shape};

    /// Nodes of shape [1, 2, 3] over one input, the last one the output.
    fn graph(ops: Vec<(Op, Vec<usize>)>) -> Graph {
        let shape = Shape::new(vec![1, 2, 3]);
        let node = |(i, (op, inputs)): (usize, (Op, Vec<usize>))| Node {
            name: format!("n{i}"),
            op,
            inputs: inputs.into_iter().map(NodeId).collect(),
            shape: shape.clone(),
            activation: None,
        };
        let all = [(Op::Input(ElementType::F32), vec![])].into_iter().chain(ops);
        let nodes: Vec<Node> = all.enumerate().map(node).collect();
        let last = NodeId(nodes.len() - 1);
        Graph { name: "test".into(), nodes, outputs: vec![("y".into(), last)] }
    }

    fn line(mul: f32, add: f32) -> Op {
        Op::ChannelAffine { mul: vec![mul; 2], add: vec![add; 2] }
    }

    /// The function that the output has become, and the factor behind it.
    fn fused(ops: Vec<(Op, Vec<usize>)>) -> Option<(Function, f32)> {
        let graph = fuse_function(graph(ops));
        let output = graph.node(graph.outputs[0].1);
        let (node, factor) = match &output.op {
            Op::ChannelAffine { mul, .. } => (graph.node(output.inputs[0]), mul[0]),
            _ => (output, 1.0),
        };
        match node.op {
            Op::Unary(function) if node.inputs == [NodeId(0)] => Some((function, factor)),
            _ => None,
        }
    }

    const MUL: Op = Op::Binary(BinaryKind::Mul);

    #[test]
    fn gates_of_their_own_value_are_found() {
        let sigmoid = || (Op::Unary(Function::Sigmoid), vec![0]);
        assert_eq!(fused(vec![sigmoid(), (MUL, vec![0, 1])]), Some((Function::Silu, 1.0)));
        assert_eq!(fused(vec![sigmoid(), (MUL, vec![1, 0])]), Some((Function::Silu, 1.0)));
        let clip = || Op::Clip(Clip { min: 0.0, max: 6.0 });
        let written_out = vec![(line(1.0, 3.0), vec![0]), (clip(), vec![1]), (MUL, vec![0, 2])];
        assert_eq!(fused(written_out), Some((Function::HardSwish, 6.0)));
        let divided =
            vec![(line(1.0, 3.0), vec![0]), (clip(), vec![1]), (line(1.0 / 6.0, 0.0), vec![2]), (MUL, vec![0, 3])];
        assert_eq!(fused(divided), Some((Function::HardSwish, 1.0)));
        let hard_sigmoid = Op::Unary(Function::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
        assert_eq!(fused(vec![(hard_sigmoid, vec![0]), (MUL, vec![0, 1])]), Some((Function::HardSwish, 1.0)));
        let mish =
            vec![(Op::Unary(Function::Softplus), vec![0]), (Op::Unary(Function::Tanh), vec![1]), (MUL, vec![0, 2])];
        assert_eq!(fused(mish), Some((Function::Mish, 1.0)));
    }

    #[test]
    fn a_gate_is_found_on_a_value_that_is_itself_an_affine_map() {
        let clip = Op::Clip(Clip { min: 0.0, max: 6.0 });
        let ops = vec![(line(2.0, 1.0), vec![0]), (line(1.0, 3.0), vec![1]), (clip, vec![2]), (MUL, vec![1, 3])];
        let seen = fuse_function(graph(ops));
        let found = seen.nodes.iter().find(|node| matches!(node.op, Op::Unary(Function::HardSwish)));
        assert_eq!(found.map(|node| node.inputs.clone()), Some(vec![NodeId(1)]), "{seen}");
    }

    #[test]
    fn both_forms_of_gelu_are_found() {
        let erf = vec![
            (line(FRAC_1_SQRT_2 as f32, 0.0), vec![0]),
            (Op::Unary(Function::Erf), vec![1]),
            (line(1.0, 1.0), vec![2]),
            (MUL, vec![0, 3]),
            (line(0.5, 0.0), vec![4]),
        ];
        let seen = fuse_function(graph(erf));
        assert!(matches!(seen.node(NodeId(seen.nodes.len() - 3)).op, Op::Unary(Function::Gelu)), "{seen}");
        let cubic = |cube: Vec<(Op, Vec<usize>)>| {
            let at = cube.len();
            let mut ops = cube;
            ops.extend([
                (line(0.044_715, 0.0), vec![at]),
                (Op::ADD, vec![0, at + 1]),
                (line(0.797_884_6, 0.0), vec![at + 2]),
                (Op::Unary(Function::Tanh), vec![at + 3]),
                (line(0.5, 0.5), vec![at + 4]),
                (MUL, vec![at + 5, 0]),
            ]);
            fused(ops)
        };
        let power = vec![(Op::Unary(Function::Pow { exponent: 3.0 }), vec![0])];
        assert_eq!(cubic(power), Some((Function::GeluTanh, 1.0)));
        let products = vec![(Op::Unary(Function::Pow { exponent: 2.0 }), vec![0]), (MUL, vec![1, 0])];
        assert_eq!(cubic(products), Some((Function::GeluTanh, 1.0)));
        let products = vec![(line(2.0, 0.0), vec![0]), (MUL, vec![0, 1]), (line(0.5, 0.0), vec![2]), (MUL, vec![3, 0])];
        assert_eq!(cubic(products), Some((Function::GeluTanh, 1.0)));
    }

    #[test]
    fn a_maximum_of_a_value_and_a_part_of_it_is_leaky() {
        let max = Op::Binary(BinaryKind::Max);
        let seen = fused(vec![(line(0.25, 0.0), vec![0]), (max.clone(), vec![0, 1])]);
        assert_eq!(seen, Some((Function::LeakyRelu { alpha: 0.25 }, 1.0)));
        assert_eq!(fused(vec![(line(2.0, 0.0), vec![0]), (max, vec![0, 1])]), None);
    }

    #[test]
    fn other_gates_stay() {
        let other = vec![(line(1.0, 2.0), vec![0]), (Op::Unary(Function::Sigmoid), vec![1]), (MUL, vec![0, 2])];
        assert_eq!(fused(other), None);
    }
}
