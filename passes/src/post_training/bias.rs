//! Correction of biases: the mean that rounding shifts a channel by is taken back (Nagel et al., 2019, arXiv 1906.04721).

use super::sums;
use crate::ir::{Node, Op};

/// Mean of `float - codes` of each output channel, 0 where it is not finite; both hold the results of a layer in ONNX order.
pub(super) fn shift<'c>(node: &Node, chunks: impl Iterator<Item = (&'c [f32], &'c [f32])>) -> Vec<f64> {
    let (channels, inner) = channels(node);
    let mut sums = vec![0.0f64; channels];
    let mut count = 0usize;
    for (float, codes) in chunks {
        sums::add_differences(float, codes, inner, &mut sums);
        count += float.len() / channels;
    }
    let mean = |sum: &f64| sum / count.max(1) as f64;
    sums.iter().map(mean).map(|mean| if mean.is_finite() { mean } else { 0.0 }).collect()
}

/// Adds the shift to the bias of a layer.
pub(super) fn add(node: &mut Node, shift: &[f64]) {
    let (_, bias) = node.layer_mut().expect("a layer with weights");
    let bias = bias.get_or_insert_with(|| vec![0.0; shift.len()]);
    bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias = (f64::from(*bias) + shift) as f32);
}

/// Number of output channels of a layer and positions of each that lie together.
pub(super) fn channels(node: &Node) -> (usize, usize) {
    let layer = node.layer().expect("a layer with weights");
    match &node.op {
        Op::Conv(_) => (layer.outputs, node.shape.dims()[2..].iter().product()),
        _ => (layer.outputs, 1),
    }
}
