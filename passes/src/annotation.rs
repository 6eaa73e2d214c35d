//! An annotated graph as an ONNX file and back: what makes the result of a search reproducible everywhere.
//!
//! The file is the folded float network; its `metadata_props` carry widths, weight scales and activation quantization.
//! Compiling it needs no data and no search and gives the same artifact, as every number is written exactly.

use crate::activation::ActivationQuant;
use crate::annotate::{Annotated, WeightQuant};
use crate::data::Preprocessing;
use crate::domain::is_pool;
use crate::equalize;
use crate::ir::{Graph, NodeId, Op};
use crate::onnx;
use releqc_runtime::BitWidth;
use releqc_runtime::format::Metadata;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// Key of the annotation in `metadata_props`.
const KEY: &str = "releqc.annotation";
/// Version of its form.
const VERSION: u32 = 1;

/// Why a network's annotation cannot be used.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum AnnotationError {
    /// Not the JSON that `--annotated` writes.
    #[error("metadata {KEY:?}: {0}; write it with --annotated")]
    Unreadable(String),
    /// Of another version.
    #[error("metadata {KEY:?} has version {found}; this compiler reads {VERSION}")]
    Version {
        /// Version found.
        found: u32,
    },
    /// It does not fit the network.
    #[error("metadata {KEY:?}: node {node:?}: {problem}")]
    Node {
        /// ONNX node name.
        node: String,
        /// What was seen and what is required.
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Annotation {
    version: u32,
    preprocessing: Metadata,
    weights: BTreeMap<String, Weights>,
    activations: BTreeMap<String, (f32, u8)>,
    /// Widths of tensors that have fewer than 8 bits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    activation_bits: BTreeMap<String, u8>,
    /// Where the channels of a tensor have factors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    factors: BTreeMap<String, Vec<f32>>,
    /// Nodes whose values stay floats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    floats: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Weights {
    bits: u8,
    scales: Vec<f32>,
}

/// The ONNX file of an annotated graph.
///
/// # Errors
/// [`onnx::Unwritable`] for an operator that cannot be written.
pub fn write(annotated: &Annotated, preprocessing: Option<&Preprocessing>) -> Result<Vec<u8>, onnx::Unwritable> {
    let graph = &annotated.graph;
    let mut recorded = Metadata::new();
    if let Some(preprocessing) = preprocessing {
        preprocessing.record(&mut recorded);
    }
    let weights = |(id, quant): (&NodeId, &WeightQuant)| {
        (graph.node(*id).name.clone(), Weights { bits: quant.bits.bits(), scales: quant.scales.clone() })
    };
    let activations = graph.nodes.iter().zip(&annotated.activations);
    let narrow = activations.clone().filter(|(_, quant)| quant.largest < u8::MAX);
    let factors = graph.nodes.iter().zip(&annotated.factors);
    let factors = factors.filter_map(|(node, f)| f.as_ref().map(|f| (node.name.clone(), f.to_vec()))).collect();
    let annotation = Annotation {
        version: VERSION,
        preprocessing: recorded,
        weights: annotated.weights.iter().map(weights).collect(),
        activations: activations.map(|(node, a)| (node.name.clone(), (a.scale, a.zero_point))).collect(),
        activation_bits: narrow.map(|(node, quant)| (node.name.clone(), quant.bits().bits())).collect(),
        factors,
        floats: annotated.floats.iter().map(|id| graph.node(*id).name.clone()).collect(),
    };
    let text = serde_json::to_string(&annotation).expect("numbers and text have a JSON form");
    onnx::write(graph, &[(KEY.to_owned(), text)])
}

fn find(model: &[u8]) -> Result<Option<Annotation>, AnnotationError> {
    let Ok(message) = onnx::decode_model(model) else { return Ok(None) };
    let Some((_, text)) = onnx::metadata(&message).into_iter().find(|(key, _)| key == KEY) else { return Ok(None) };
    let annotation: Annotation =
        serde_json::from_str(&text).map_err(|error| AnnotationError::Unreadable(error.to_string()))?;
    if annotation.version != VERSION {
        return Err(AnnotationError::Version { found: annotation.version });
    }
    Ok(Some(annotation))
}

/// What an annotation says that needs no graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// How pixels became the network's inputs, where that was stated.
    pub preprocessing: Option<Preprocessing>,
}

/// The header of the annotation of `model`; `None` where the model has none, or is none.
///
/// # Errors
/// When the annotation cannot be read.
pub fn header(model: &[u8]) -> Result<Option<Header>, AnnotationError> {
    let header = |annotation: Annotation| Header { preprocessing: Preprocessing::recorded(&annotation.preprocessing) };
    Ok(find(model)?.map(header))
}

/// The annotation of a folded graph read from `model`; `None` where the model has none.
///
/// # Errors
/// When it cannot be read or does not fit the graph.
pub fn read(model: &[u8], folded: &Graph) -> Result<Option<Annotated>, AnnotationError> {
    let Some(annotation) = find(model)? else { return Ok(None) };
    let fault = |node: &str, problem: String| AnnotationError::Node { node: node.to_owned(), problem };
    let positive = |scale: f32| scale.is_finite() && scale > 0.0;
    let mut weights = BTreeMap::new();
    for (id, node) in folded.iter() {
        let Some(layer) = node.layer() else { continue };
        let given = annotation.weights.get(&node.name).ok_or_else(|| fault(&node.name, "has no widths".into()))?;
        let bits = BitWidth::new(given.bits);
        let bits = bits.ok_or_else(|| fault(&node.name, format!("width {}; 2..=8 is required", given.bits)))?;
        let outputs = layer.outputs;
        if given.scales.len() != outputs || !given.scales.iter().all(|&s| positive(s)) {
            let problem = format!("{} scales; {outputs} numbers > 0 are required", given.scales.len());
            return Err(fault(&node.name, problem));
        }
        weights.insert(id, WeightQuant { bits, scales: given.scales.clone() });
    }
    let activation = |node: &crate::ir::Node| {
        if let Op::Constant(_) = &node.op {
            return Ok(ActivationQuant { scale: 1.0, zero_point: 0, largest: u8::MAX });
        }
        let given = annotation.activations.get(&node.name);
        let (scale, zero_point) = *given.ok_or_else(|| fault(&node.name, "has no activation scale".into()))?;
        if !ActivationQuant::SCALES.contains(&scale) {
            return Err(fault(&node.name, format!("activation scale {scale}; 2^-30..=2^30 is required")));
        }
        let bits = annotation.activation_bits.get(&node.name).copied().unwrap_or(BitWidth::MAX.bits());
        let width = BitWidth::new(bits)
            .ok_or_else(|| fault(&node.name, format!("activation width {bits}; 2..=8 is required")))?;
        let largest = ActivationQuant::largest_code(width);
        if zero_point > largest {
            return Err(fault(
                &node.name,
                format!("zero point {zero_point}; at most {largest} is required at {bits} bits"),
            ));
        }
        Ok(ActivationQuant { scale, zero_point, largest })
    };
    let activations = folded.nodes.iter().map(activation).collect::<Result<_, _>>()?;
    let factors = |node: &crate::ir::Node| {
        let Some(given) = annotation.factors.get(&node.name) else { return Ok(None) };
        let channels = equalize::channels(&node.shape).0;
        if given.len() != channels || !given.iter().all(|&f| positive(f)) {
            let problem = format!("{} factors; {channels} numbers > 0 are required", given.len());
            return Err(fault(&node.name, problem));
        }
        Ok(Some(given.clone().into()))
    };
    let factors = folded.nodes.iter().map(factors).collect::<Result<_, _>>()?;
    let float = |name: &String| {
        let node = folded.nodes.iter().position(|node| node.name == *name && !is_pool(node));
        node.map(NodeId).ok_or_else(|| fault(name, "is to stay floats; a node that is no pool is required".into()))
    };
    let floats = annotation.floats.iter().map(float).collect::<Result<_, _>>()?;
    Ok(Some(Annotated { graph: folded.clone(), weights, activations, factors, floats }))
}
