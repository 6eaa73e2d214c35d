//! The weight layers of an artifact.

use releqc_passes::code_widths::code_widths;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::{LayerKind, Op};
use serde::Serialize;

/// One weight layer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Layer {
    /// ONNX node name.
    pub(crate) name: String,
    /// `conv` or `fully_connected`.
    pub(crate) op: &'static str,
    /// Width of its weights.
    pub(crate) bits: u8,
    /// Width of the codes that it reads.
    pub(crate) activation_bits: u8,
    /// Number of weights.
    pub(crate) weights: u64,
    /// Multiply-accumulates a sample.
    pub(crate) macs: u64,
    /// Packed weights.
    pub(crate) bytes: u64,
    /// Input, (channels, rows, columns).
    pub(crate) input: [u32; 3],
    /// Kernel, rows and columns.
    pub(crate) kernel: [u32; 2],
    /// Output channels.
    pub(crate) outputs: u32,
}

/// The layers that own weights, in execution order.
pub(crate) fn layers(artifact: &Artifact) -> Vec<Layer> {
    let program = artifact.program();
    let widths = code_widths(artifact);
    let layer = |op: &Op| {
        let Op::Conv(conv) = op else { return None };
        let x = program.tensor(conv.x);
        Some(Layer {
            name: conv.name.clone(),
            op: match conv.kind {
                LayerKind::Conv if conv.groups > 1 => "conv_grouped",
                LayerKind::Conv => "conv",
                LayerKind::FullyConnected => "fully_connected",
            },
            bits: conv.bits.bits(),
            activation_bits: widths[conv.x.0 as usize],
            weights: program.weights(conv),
            macs: program.macs(conv),
            bytes: artifact.weight_range(conv).len() as u64,
            input: [x.channels, x.height, x.width],
            kernel: conv.window.kernel,
            outputs: conv.outputs,
        })
    };
    program.ops.iter().filter_map(layer).collect()
}

/// The plain mean of the widths, as in the paper's tables; 0 without weight layers.
pub(crate) fn average_bits(layers: &[Layer]) -> f64 {
    let sum: f64 = layers.iter().map(|layer| f64::from(layer.bits)).sum();
    sum / layers.len().max(1) as f64
}
