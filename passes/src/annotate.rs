//! What quantization a graph gets: widths and scales beside the float graph, nothing rounded yet.

use crate::ir::{Graph, NodeId};
use releqc_runtime::BitWidth;
use std::collections::BTreeMap;

/// Quantization of one layer's weights: `code = clamp(rne(w / scale[c]), -max_code, max_code)`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightQuant {
    /// Width of the codes.
    pub bits: BitWidth,
    /// One step an output channel, finite and > 0.
    pub scales: Vec<f32>,
}

/// Quantization of one activation tensor: `q = clamp(rne(x / scale) + zero_point, 0, 255)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationQuant {
    /// Step, finite and > 0.
    pub scale: f32,
    /// The code of 0.0.
    pub zero_point: u8,
}

/// A folded float graph with the quantization of each weight layer and of each tensor.
#[derive(Clone, Debug)]
pub struct Annotated {
    /// No batch normalisation inside conv or fully connected nodes.
    pub graph: Graph,
    /// One entry a weight layer.
    pub weights: BTreeMap<NodeId, WeightQuant>,
    /// One entry a node; of an output that leaves as logits it is unused.
    pub activations: Vec<ActivationQuant>,
}
