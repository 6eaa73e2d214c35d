//! The float network against its artifact, tensor by tensor.
//!
//! Takes the float graph that was compiled, the artifact and samples; returns the signal-to-noise
//! ratio of every tensor whose name both have. Edits nothing.

use crate::code_widths::largest_codes;
use crate::float_exec::FloatExecutor;
use crate::ir::{BinaryKind, Graph, NodeId, Shape};
use rayon::prelude::*;
use releqc_runtime::RunError;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::{Destination, FloatId, Op, Program, Tensor, TensorId};
use releqc_runtime::reference::{Observed, Reference};
use std::collections::{BTreeMap, BTreeSet};

/// Decibels that factors of channels must gain before they are taken to be there.
const FACTORS_GAIN_DB: f64 = 6.0;

/// What the name of the second half of a layer that reads 16 bits ends in.
const LOW: &str = ":low";

/// A tensor in the float network and in the artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Name of the ONNX node that yields it, or of the output.
    pub name: String,
    /// Operator of the plan.
    pub op: &'static str,
    /// Width of the weights of the layer that yields it.
    pub bits: Option<u8>,
    /// Scale of its codes; `None` for floats.
    pub scale: Option<f32>,
    /// Values of a sample.
    pub len: usize,
    /// Sum of squares over sum of squared differences, in dB; infinite where nothing differs.
    pub snr_db: f64,
    /// The greatest difference.
    pub largest_error: f64,
    /// Share of codes at the ends of their range, 0..=1; `None` for floats.
    pub saturated: Option<f64>,
    /// Whether its channels stand for values times a factor each, which was estimated here.
    pub factors: bool,
}

/// Results of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Worst first.
    pub tensors: Vec<Comparison>,
    /// Tensors of the artifact that the float network has not by that name.
    pub unmatched: usize,
    /// Samples.
    pub samples: usize,
}

/// Sums over one channel.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    signal: f64,
    products: f64,
    codes: f64,
    noise: f64,
}

/// What is known of a tensor after some samples.
#[derive(Clone, Debug, Default)]
struct Seen {
    channels: Vec<Sums>,
    largest_error: f64,
    saturated: u64,
    values: u64,
}

/// Where a tensor of the plan has its counterpart.
struct Pair {
    /// Position in the plan of the operator whose result is compared.
    op: usize,
    /// Position of the operator that it is the result of: not the same where a layer reads 16 bits.
    layer: usize,
    node: NodeId,
    /// With its largest code.
    tensor: Option<(TensorId, u8)>,
}

/// Compares on `count` samples, each the values of all inputs, that `read` writes.
///
/// # Errors
/// When samples do not fit the artifact.
pub fn compare(
    graph: &Graph,
    artifact: &Artifact,
    count: usize,
    read: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Compared, RunError> {
    let program = artifact.program();
    let (pairs, unmatched) = pairs(graph, program, &largest_codes(artifact));
    let floats = FloatExecutor::new(graph);
    let reference = Reference::new(artifact);
    let per_sample = (0..count).into_par_iter().map(|index| {
        let mut sample = vec![0.0; program.input_len()];
        read(index, &mut sample);
        one(graph, program, &pairs, &floats, &reference, &sample)
    });
    let per_sample: Vec<Vec<Seen>> = per_sample.collect::<Result<_, _>>()?;
    let mut tensors: Vec<Comparison> = pairs
        .iter()
        .enumerate()
        .map(|(at, pair)| comparison(program, pair, per_sample.iter().map(|seen| &seen[at])))
        .collect();
    tensors.sort_by(|a, b| a.snr_db.total_cmp(&b.snr_db));
    Ok(Compared { tensors, unmatched, samples: count })
}

/// Layers that read 16 bits: two on 8 bits each, and the sum of what they give.
#[derive(Debug, Default)]
struct Wide {
    /// Position of the layer by that of the sum, clipped where the node is.
    sums: BTreeMap<usize, usize>,
    /// Positions of both layers.
    halves: BTreeSet<usize>,
}

impl Wide {
    fn of(graph: &Graph, program: &Program) -> Self {
        let clipped: BTreeSet<&str> =
            graph.nodes.iter().filter(|node| node.activation.is_some()).map(|node| node.name.as_str()).collect();
        let layers: BTreeMap<FloatId, (usize, &str)> = program
            .ops
            .iter()
            .enumerate()
            .filter_map(|(at, op)| match op {
                Op::Conv(conv) => Some((op.writes_floats()?, (at, conv.name.as_str()))),
                _ => None,
            })
            .collect();
        let mut wide = Wide::default();
        for (at, op) in program.ops.iter().enumerate() {
            if let Op::FloatBinary { kind: BinaryKind::Add, a, b, .. } = op
                && let (Some(&(high, name)), Some(&(low, other))) = (layers.get(a), layers.get(b))
                && other.strip_prefix(name) == Some(LOW)
            {
                wide.sums.insert(at + usize::from(clipped.contains(name)), high);
                wide.halves.extend([high, low]);
            }
        }
        wide
    }
}

fn pairs(graph: &Graph, program: &Program, largest: &[u8]) -> (Vec<Pair>, usize) {
    let wide = Wide::of(graph, program);
    let mut nodes: BTreeMap<&str, NodeId> = graph.iter().map(|(id, node)| (node.name.as_str(), id)).collect();
    let outputs: BTreeMap<&str, NodeId> = graph.outputs.iter().map(|(name, id)| (name.as_str(), *id)).collect();
    let mut pairs = Vec::new();
    let mut unmatched = 0;
    for (at, op) in program.ops.iter().enumerate().filter(|(at, _)| !wide.halves.contains(at)) {
        let layer = wide.sums.get(&at).copied().unwrap_or(at);
        let port = op.writes_floats().and_then(|y| program.outputs.iter().find(|(_, slot)| *slot == y));
        let (name, tensor) = match (&program.ops[layer], op.writes(), port) {
            (_, Some(y), _) => (program.tensor(y).name.as_str(), Some(y)),
            (_, _, Some((port, _))) => (port.name.as_str(), None),
            (Op::Conv(conv), ..) => (conv.name.as_str(), None),
            _ => continue,
        };
        let len = match (tensor, op.writes_floats()) {
            (Some(y), _) => program.tensor(y).len(),
            (None, Some(y)) => program.float_len(y),
            (None, None) => 0,
        };
        let node = if port.is_some() { outputs.get(name).copied() } else { nodes.remove(name) };
        match node.filter(|node| graph.node(*node).shape.len() == len) {
            Some(node) => {
                pairs.push(Pair { op: at, layer, node, tensor: tensor.map(|y| (y, largest[y.0 as usize])) });
            }
            None => unmatched += 1,
        }
    }
    (pairs, unmatched)
}

fn one(
    graph: &Graph,
    program: &Program,
    pairs: &[Pair],
    floats: &FloatExecutor<'_>,
    reference: &Reference,
    sample: &[f32],
) -> Result<Vec<Seen>, RunError> {
    let mut expected: BTreeMap<NodeId, Vec<f32>> = pairs.iter().map(|pair| (pair.node, Vec::new())).collect();
    floats.run(sample, |id, values| {
        if let Some(kept) = expected.get_mut(&id) {
            *kept = values.to_vec();
        }
    });
    let mut seen = Vec::with_capacity(pairs.len());
    let mut at = 0;
    reference.observe(sample, |_, observed| {
        if let Some(pair) = pairs.get(seen.len()).filter(|pair| pair.op == at) {
            let empty = Vec::new();
            let expected = expected.get(&pair.node).unwrap_or(&empty);
            seen.push(match (observed, pair.tensor) {
                (Observed::Codes(codes), Some((id, largest))) => {
                    let tensor = (program.tensor(id), largest);
                    of_codes(tensor, codes, expected, &graph.node(pair.node).shape)
                }
                (Observed::Floats(values), _) => Seen::of(1, expected.iter().zip(values).map(|(&x, &y)| (0, x, y))),
                (Observed::Codes(_), None) => Seen::default(),
            });
        }
        at += 1;
    })?;
    Ok(seen)
}

/// Codes lie with the channels of ONNX innermost, or in the order of ONNX: whichever comes nearer.
fn of_codes((tensor, largest): (&Tensor, u8), codes: &[u8], expected: &[f32], shape: &Shape) -> Seen {
    let dims = shape.dims();
    let channels = dims.get(1).copied().unwrap_or(1);
    let inner: usize = dims.iter().skip(2).product();
    let real = |q: u8| (f32::from(q) - f32::from(tensor.zero_point)) * tensor.scale;
    let channel = |i: usize| i / inner % channels;
    let as_it_is = expected.iter().enumerate().map(|(i, &x)| (channel(i), x, real(codes[i])));
    let last = |i: usize| (i / (inner * channels) * inner + i % inner) * channels + channel(i);
    let channels_last = expected.iter().enumerate().map(|(i, &x)| (channel(i), x, real(codes[last(i)])));
    let (a, b) = (Seen::of(channels, as_it_is), Seen::of(channels, channels_last));
    let mut best = if a.noise() < b.noise() { a } else { b };
    best.saturated = codes.iter().filter(|&&q| q == 0 || q == largest).count() as u64;
    // The least code of a tensor without negative values is 0 itself.
    if tensor.zero_point == 0 {
        best.saturated = codes.iter().filter(|&&q| q == largest).count() as u64;
    }
    best
}

impl Seen {
    fn of(channels: usize, values: impl Iterator<Item = (usize, f32, f32)>) -> Self {
        let mut seen = Seen { channels: vec![Sums::default(); channels], ..Seen::default() };
        for (channel, x, y) in values {
            let (x, y) = (f64::from(x), f64::from(y));
            let sums = &mut seen.channels[channel];
            sums.signal += x * x;
            sums.products += x * y;
            sums.codes += y * y;
            sums.noise += (x - y) * (x - y);
            seen.largest_error = seen.largest_error.max((x - y).abs());
            seen.values += 1;
        }
        seen
    }

    fn noise(&self) -> f64 {
        self.channels.iter().map(|sums| sums.noise).sum()
    }
}

fn comparison<'s>(program: &Program, pair: &Pair, seen: impl Iterator<Item = &'s Seen>) -> Comparison {
    let mut all = Seen::default();
    for seen in seen {
        all.channels.resize(seen.channels.len().max(all.channels.len()), Sums::default());
        for (sum, own) in all.channels.iter_mut().zip(&seen.channels) {
            sum.signal += own.signal;
            sum.products += own.products;
            sum.codes += own.codes;
            sum.noise += own.noise;
        }
        all.largest_error = all.largest_error.max(seen.largest_error);
        all.saturated += seen.saturated;
        all.values += seen.values;
    }
    let signal: f64 = all.channels.iter().map(|sums| sums.signal).sum();
    let plain = decibels(signal, all.noise());
    // Noise that is left where every channel has the factor of least squares.
    let left = |sums: &Sums| match sums.codes > 0.0 {
        true => (sums.signal - sums.products * sums.products / sums.codes).max(0.0),
        false => sums.signal,
    };
    let fitted = decibels(signal, all.channels.iter().map(left).sum());
    let factors = pair.tensor.is_some() && all.channels.len() > 1 && fitted > plain + FACTORS_GAIN_DB;
    let (op, result) = (&program.ops[pair.layer], &program.ops[pair.op]);
    let (name, bits) = match op {
        Op::Conv(conv) => (conv.name.clone(), Some(conv.bits.bits())),
        _ => (String::new(), None),
    };
    let port = result.writes_floats().and_then(|y| program.outputs.iter().find(|(_, slot)| *slot == y));
    let tensor = pair.tensor.map(|(id, _)| program.tensor(id));
    let is_logits = matches!(op, Op::Conv(conv) if matches!(conv.destination, Destination::Logits { .. }));
    let name = match (tensor, port) {
        (Some(tensor), _) => tensor.name.clone(),
        (None, Some((port, _))) => port.name.clone(),
        (None, None) if is_logits => name,
        (None, None) => op.label().into(),
    };
    Comparison {
        name,
        op: op.label(),
        bits,
        scale: tensor.map(|tensor| tensor.scale),
        len: pair
            .tensor
            .map_or(0, |(id, _)| program.tensor(id).len())
            .max(result.writes_floats().map_or(0, |y| program.float_len(y))),
        snr_db: if factors { fitted } else { plain },
        largest_error: all.largest_error,
        saturated: tensor.map(|_| all.saturated as f64 / all.values.max(1) as f64),
        factors,
    }
}

fn decibels(signal: f64, noise: f64) -> f64 {
    if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() }
}
