//! Batch normalisation put back into layers that exporters have folded it into.
//!
//! Takes a graph and samples. Returns the graph, with the same nodes under the same ids, whose convolutions normalise their results by the mean
//! and variance that these have on the samples, and then undo it: the function stays what it was, and training can normalise by its
//! batches. Does not touch a graph that has batch normalisation, nor a convolution without a bias, which folding always leaves.

use super::batches::Batches;
use super::export::float_graph;
use super::network::{Network, NetworkError};
use super::recipe::{Augmentation, Recipe};
use super::session::State;
use super::statistics;
use crate::data::Dataset;
use crate::ir::{BatchNorm, Graph, Op};
use crate::random::{Purpose, stream};

/// What exporters add to variances by default.
const EPSILON: f32 = 1e-5;

/// Convolutions without normalisation, at least: shallower networks are trained without it as well.
const LEAST: usize = 6;

/// The graph with batch normalisation put back, where it looks folded away: a network of some depth without any.
///
/// # Errors
/// Where the graph has no training form.
pub fn with_batch_norm(graph: &Graph, data: &Dataset, seed: u64) -> Result<Graph, NetworkError> {
    let normalized = |op: &Op| match op {
        Op::Conv(conv) => conv.batch_norm.is_some(),
        Op::FullyConnected(fc) => fc.batch_norm.is_some(),
        op => matches!(op, Op::BatchNorm(_)),
    };
    let folded = |op: &Op| matches!(op, Op::Conv(conv) if conv.bias.is_some());
    let count = graph.nodes.iter().filter(|node| folded(&node.op)).count();
    if count < LEAST || data.is_empty() || graph.nodes.iter().any(|node| normalized(&node.op)) {
        return Ok(graph.clone());
    }
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        if let Op::Conv(conv) = &mut node.op
            && let Some(bias) = conv.bias.take()
        {
            // The identity but for the bias.
            let ones = vec![1.0; bias.len()];
            conv.batch_norm = Some(BatchNorm {
                mean: vec![0.0; bias.len()],
                variance: vec![1.0 - EPSILON; bias.len()],
                gamma: ones,
                beta: bias,
                epsilon: EPSILON,
            });
        }
    }
    let network = Network::new(&graph)?;
    let mut state = State { parameters: network.parameters.clone(), statistics: network.statistics.clone() };
    let Recipe { batch, norm_batches, .. } = Recipe::short();
    let mut batches = Batches::new(data, batch, Augmentation::NONE, stream(seed, Purpose::Statistics));
    statistics::adopt(&network, &mut state, &mut batches, norm_batches);
    Ok(float_graph(&graph, &network, &state))
}
