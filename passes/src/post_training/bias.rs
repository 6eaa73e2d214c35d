//! Correction of biases: the mean that rounding shifts a channel by is taken back (Nagel et al., 2019, arXiv 1906.04721).

use crate::ir::{Node, Op};

/// Mean of `float - codes` of each output channel, 0 where it is not finite; both hold the results of a layer in ONNX order.
pub(super) fn shift(node: &Node, chunks: &[(&[f32], &[f32])]) -> Vec<f64> {
    let (channels, inner) = channels(node);
    let mut sums = vec![0.0f64; channels];
    let mut count = 0usize;
    for (float, codes) in chunks {
        let lines = float.chunks_exact(inner).zip(codes.chunks_exact(inner));
        for ((float, codes), sum) in lines.zip((0..channels).cycle()) {
            let difference = |(f, c): (&f32, &f32)| f64::from(*f) - f64::from(*c);
            sums[sum] += float.iter().zip(codes).map(difference).sum::<f64>();
        }
        count += float.len() / channels;
    }
    let mean = |sum: &f64| sum / count.max(1) as f64;
    sums.iter().map(mean).map(|mean| if mean.is_finite() { mean } else { 0.0 }).collect()
}

/// Adds the shift to the bias of a layer, and to its results.
pub(super) fn add(node: &mut Node, shift: &[f64]) {
    let bias = match &mut node.op {
        Op::Conv(conv) => &mut conv.bias,
        Op::FullyConnected(layer) => &mut layer.bias,
        other => unreachable!("{} owns no weights", other.label()),
    };
    let bias = bias.get_or_insert_with(|| vec![0.0; shift.len()]);
    bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias = (f64::from(*bias) + shift) as f32);
}

/// Number of output channels and positions of each that lie together.
pub(super) fn channels(node: &Node) -> (usize, usize) {
    match &node.op {
        Op::Conv(conv) => (conv.weight.dims()[0], node.shape.dims()[2..].iter().product()),
        Op::FullyConnected(layer) => (layer.weight.dims()[0], 1),
        other => unreachable!("{} owns no weights", other.label()),
    }
}
