//! Folds batch normalisation inside layers into their weights and biases.
//!
//! Takes a verified graph. Returns one with the same nodes under the same ids in which no conv or fully connected node has a
//! `batch_norm`: `W'[o] = W[o] * m[o]`, `b'[o] = (b[o] - mean[o]) * m[o] + beta[o]`, `m = gamma / sqrt(variance + epsilon)`,
//! computed in f64 and rounded once.
//! Does not touch batch normalisation that stands alone.

use crate::ir::{BatchNorm, Graph, Op, Tensor};

/// The graph with batch normalisation folded into the layers that own it; ids stay.
pub fn fold_batch_norm(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        let (weight, bias, norm) = match &mut node.op {
            Op::Conv(conv) => (&mut conv.weight, &mut conv.bias, conv.batch_norm.take()),
            Op::FullyConnected(fc) => (&mut fc.weight, &mut fc.bias, fc.batch_norm.take()),
            _ => continue,
        };
        if let Some(norm) = norm {
            fold(weight, bias, &norm);
        }
    }
    graph
}

fn fold(weight: &mut Tensor, bias: &mut Option<Vec<f32>>, norm: &BatchNorm) {
    let deviation = |o: usize| (f64::from(norm.variance[o]) + f64::from(norm.epsilon)).sqrt();
    let mul: Vec<f64> = (0..norm.gamma.len()).map(|o| f64::from(norm.gamma[o]) / deviation(o)).collect();
    let shifted = |(o, &m): (usize, &f64)| {
        let before = bias.as_ref().map_or(0.0, |bias| f64::from(bias[o]));
        ((before - f64::from(norm.mean[o])) * m + f64::from(norm.beta[o])) as f32
    };
    let shifted = mul.iter().enumerate().map(shifted).collect();
    *weight = scale_rows(weight, &mul);
    *bias = Some(shifted);
}

/// The weight with the row of every output multiplied, rounded once.
pub(super) fn scale_rows(weight: &Tensor, mul: &[f64]) -> Tensor {
    let row = weight.data().len() / mul.len().max(1);
    let rows = weight.data().chunks_exact(row.max(1)).zip(mul);
    weight.with_data(rows.flat_map(|(row, m)| row.iter().map(move |&w| (f64::from(w) * m) as f32)).collect::<Vec<_>>())
}
