//! Activation ranges measured on samples.

use crate::ir::Graph;

/// Range of a tensor's values chosen for quantization; always contains 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At most 0.
    pub min: f32,
    /// At least 0.
    pub max: f32,
}

/// A canonical graph, its folded twin, and the range of every tensor.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// Batch normalisation still apart, as retraining needs it.
    pub graph: Graph,
    /// The same nodes under the same ids, batch normalisation folded into the weights.
    pub folded: Graph,
    /// One range a node, after its activation.
    pub ranges: Vec<Range>,
}
