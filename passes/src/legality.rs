//! Whether a graph can be lowered, asked before any work is done on it.
//!
//! Takes a folded graph; lowers it with scales that stand for all. Weights, data and ranges do not count: what they can still
//! stand against (a layer whose sums leave i32) is not found here.

use crate::activation::ActivationQuant;
use crate::annotate::{Annotated, WeightQuant};
use crate::ir::Graph;
use crate::lower::{LowerError, lower};
use crate::quantize::quantize;
use releqc_runtime::BitWidth;
use std::collections::BTreeSet;

/// What stands against lowering the graph.
///
/// # Errors
/// The first operator that has no executable form in its place.
pub fn check(folded: &Graph) -> Result<(), LowerError> {
    let layers = folded.iter().filter_map(|(id, node)| Some((id, node.layer()?)));
    let weights =
        layers.map(|(id, layer)| (id, WeightQuant { bits: BitWidth::MAX, scales: vec![1.0; layer.outputs] })).collect();
    let activations = vec![ActivationQuant { scale: 1.0, zero_point: 128, largest: u8::MAX }; folded.nodes.len()];
    let factors = vec![None; folded.nodes.len()];
    let quantized =
        match quantize(Annotated { graph: folded.clone(), weights, activations, factors, floats: BTreeSet::new() }) {
            Ok(quantized) => quantized,
            // Of these scales, not of the graph.
            Err(_) => return Ok(()),
        };
    match lower(&quantized) {
        Ok(_) | Err(LowerError::Quantize(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
