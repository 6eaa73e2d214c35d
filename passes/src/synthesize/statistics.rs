//! The range of an input as the statistics of batch normalisation tell it, or large biases of the first layers.
//!
//! Takes a graph whose layers still own their normalisation. Follows an input to the normalisation that sees it first: one that reads
//! the input itself holds its mean `m` and variance `v`. One behind a layer holds those of `y[o] = sum w[o][i] x[i] + b[o]`, from which both
//! are fitted as if all values of the input had one mean and variance: `mean(y[o]) = m S[o] + b[o]` with `S[o]` the sum of the
//! weights by least squares; `var(y[o])` lies between `v Q[o]`, `Q[o]` their sum of squares, for values that do not depend on each
//! other, and `v S[o]^2` for values that are all one; `v` is what makes the sums over all outputs equal at the mean of both.
//!
//! Without normalisation a layer has its biases alone. One of many times the norm of its weights `w[o]` would let no input of about 1 count:
//! where half of them are such, results of mean 0 tell `m` as above, and values of one sign are taken to reach from 0 to `3 m`. Smaller
//! biases tell nothing: docs/decisions/0012-ranges-from-biases.md.

use crate::ir::{BatchNorm, Graph, Layer, NodeId, Op};

/// Deviations that a range reaches from its mean.
const DEVIATIONS: f64 = 3.0;

/// Ways from an input to a normalisation that are followed, at most.
const MOST_WAYS: usize = 256;

/// Parts of a range, between 2^6 and 2^7, that its ends are multiples of.
const PARTS: f64 = 64.0;

/// How many times the norm of its weights a large bias is.
const LARGE: f64 = 10.0;

/// Fewest outputs whose biases are taken for a sample of biases.
const FEWEST_OUTPUTS: usize = 8;

/// What told a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Batch normalisation.
    Statistics,
    /// A layer's biases.
    Biases,
}

/// Smallest and largest value of an input, as the first normalisations that see it tell, else the first layers' biases, and which it was;
/// `None` where there are none, or what they hold tells nothing.
pub(super) fn told(graph: &Graph, input: NodeId) -> Option<((f32, f32), Told)> {
    let users = graph.users();
    let (mut ranges, mut by_biases) = (Vec::new(), Vec::new());
    let mut seen = vec![(input, Affine::NONE)];
    for _ in 0..MOST_WAYS {
        let Some((id, map)) = seen.pop() else { break };
        for &reader in &users[id.0] {
            let node = graph.node(reader);
            match &node.op {
                // The same values in other places.
                Op::Reshape | Op::Transpose { .. } | Op::Gather { .. } if node.activation.is_none() => {
                    seen.push((reader, map));
                }
                Op::ChannelAffine { mul, add } if node.activation.is_none() => {
                    let maps = mul.iter().zip(add).map(|(&mul, &add)| map.then(mul.into(), add.into()));
                    seen.extend(maps.map(|map| (reader, map)));
                }
                Op::BatchNorm(norm) => ranges.extend(of_values(norm).into_iter().map(|range| map.undone(range))),
                Op::Conv(_) | Op::FullyConnected(_) => {
                    let norm = match &node.op {
                        Op::Conv(conv) => conv.batch_norm.as_ref(),
                        Op::FullyConnected(layer) => layer.batch_norm.as_ref(),
                        _ => None,
                    };
                    let Some(layer) = node.layer() else { continue };
                    match norm {
                        Some(norm) => ranges.extend(behind(&layer, norm).map(|range| map.undone(range))),
                        // The biases of outputs tell of targets.
                        None if !leads_to_a_layer(graph, &users, reader) => {}
                        None => by_biases.extend(of_biases(&layer).map(|range| map.undone(range))),
                    }
                }
                _ => {}
            }
        }
    }
    let (told, by) = if ranges.is_empty() { (by_biases, Told::Biases) } else { (ranges, Told::Statistics) };
    let whole =
        told.into_iter().flatten().filter(|end| end.is_finite()).fold(None, |whole: Option<(f64, f64)>, end| {
            Some(whole.map_or((end, end), |(low, high)| (low.min(end), high.max(end))))
        });
    let (low, high) = whole.filter(|(low, high)| low < high)?;
    let step = power_of_two(high - low) / PARTS;
    let (low, high) = (((low / step).floor() * step) as f32, ((high / step).ceil() * step) as f32);
    (low.is_finite() && high.is_finite() && low < high).then_some(((low, high), by))
}

/// Whether a layer with weights reads what becomes of a node.
fn leads_to_a_layer(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    let mut follows = vec![false; graph.nodes.len()];
    follows[id.0] = true;
    for at in id.0..graph.nodes.len() {
        if follows[at] {
            if at != id.0 && graph.nodes[at].owns_weights() {
                return true;
            }
            users[at].iter().for_each(|user| follows[user.0] = true);
        }
    }
    false
}

/// The largest power of two up to a positive normal number.
fn power_of_two(value: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff << 52;
    f64::from_bits(value.to_bits() & EXPONENT)
}

/// `x * mul + add`, what became of an input.
#[derive(Clone, Copy, Debug)]
struct Affine {
    mul: f64,
    add: f64,
}

impl Affine {
    const NONE: Affine = Affine { mul: 1.0, add: 0.0 };

    fn then(self, mul: f64, add: f64) -> Self {
        Affine { mul: self.mul * mul, add: self.add * mul + add }
    }

    /// The ends of the input whose result has these ends.
    fn undone(self, ends: [f64; 2]) -> [f64; 2] {
        ends.map(|end| (end - self.add) / self.mul)
    }
}

fn around(mean: f64, variance: f64) -> [f64; 2] {
    let reach = DEVIATIONS * variance.sqrt();
    [mean - reach, mean + reach]
}

/// The ends of every channel that a normalisation reads.
fn of_values(norm: &BatchNorm) -> Vec<[f64; 2]> {
    let channels = norm.mean.iter().zip(&norm.variance);
    channels.map(|(&mean, &variance)| around(mean.into(), variance.into())).collect()
}

/// The ends of what a layer reads whose results are normalised.
fn behind(layer: &Layer<'_>, norm: &BatchNorm) -> Option<[f64; 2]> {
    let [mut product, mut square, mut variance, mut gain] = [0.0f64; 4];
    for (o, row) in layer.weight.data().chunks_exact(layer.depth()).enumerate() {
        let sum: f64 = row.iter().map(|&w| f64::from(w)).sum();
        let squares: f64 = row.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        let bias = layer.bias.map_or(0.0, |bias| f64::from(bias[o]));
        product += sum * (f64::from(norm.mean[o]) - bias);
        square += sum * sum;
        variance += f64::from(norm.variance[o]);
        gain += (sum * sum + squares) / 2.0;
    }
    (square > 0.0 && gain > 0.0).then(|| around(product / square, variance / gain))
}

/// The ends of what a layer reads whose biases are large.
fn of_biases(layer: &Layer<'_>) -> Option<[f64; 2]> {
    let [mut product, mut square] = [0.0f64; 2];
    let mut times = Vec::new();
    for (row, &bias) in layer.weight.data().chunks_exact(layer.depth()).zip(layer.bias?) {
        let sum: f64 = row.iter().map(|&w| f64::from(w)).sum();
        let squares: f64 = row.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        if squares > 0.0 {
            product -= sum * f64::from(bias);
            square += sum * sum;
            times.push(f64::from(bias).abs() / squares.sqrt());
        }
    }
    times.sort_by(f64::total_cmp);
    let large = times.len() >= FEWEST_OUTPUTS && times[times.len() / 2] >= LARGE;
    let end = DEVIATIONS * product / square;
    (large && square > 0.0).then(|| [end.min(0.0), end.max(0.0)])
}
