//! Shape inference and constant folding by tract.
//!
//! Takes a validated [`Source`]; returns the fact of every value an activation node reads or yields. To read a fact after
//! `into_typed()` and `prop_consts()`, however tract renamed and merged nodes, each such value is made an output
//! of the model handed to tract: outputs keep their order.
//! Does not optimise, and does not touch the order or the meaning of nodes.

use super::error::{ErrorKind, Finding, Problem, invalid, unsupported};
use super::operator::Operator;
use super::source::Source;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::onnx_protobuf::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use prost::Message;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use tract_onnx::prelude::{DatumType, Framework, InferenceModelExt, Tensor, TractResult};

/// What is known about a value.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// Extents with the batch, which is 1.
    pub(super) dims: Vec<usize>,
    /// f32 elements.
    pub(super) is_float: bool,
    /// The value itself where it does not depend on the input: extents as `dims`.
    pub(super) constant: Option<Vec<f32>>,
}

/// Facts by value name.
pub(super) type Facts = BTreeMap<String, Fact>;

/// Infers every fact the mapping needs.
///
/// # Errors
/// What does not fit together, about the node tract names where it names one.
pub(super) fn infer(source: &Source) -> Result<Facts, Finding> {
    let wanted = wanted(source);
    let bytes = message(source, &wanted).encode_to_vec();
    let about_graph = |problem: Problem| problem.about(&source.graph_name);
    let facts = quietly(|| run_tract(&bytes, wanted.len())).map_err(|panic| {
        let text =
            format!("shape inference (tract) stopped with a panic, which validation should have prevented: {panic}");
        about_graph(Problem { kind: ErrorKind::Violation, text })
    })?;
    let facts = facts.map_err(|error| readable(&format!("{error:#}"), source))?;
    let input = Fact { dims: source.input_dims.clone(), is_float: true, constant: None };
    let inferred = wanted.into_iter().zip(facts).map(|(name, fact)| match fact {
        Ok(fact) => Ok((name, fact)),
        Err(problem) => Err(problem.about(&name)),
    });
    inferred.chain([Ok((source.input.clone(), input))]).collect()
}

/// Names of the values activation nodes read and yield, and of the outputs, without initialisers and the input, whose
/// facts are known.
fn wanted(source: &Source) -> Vec<String> {
    let activations = source.steps.iter().filter(|step| step.operator != Operator::Constant);
    let values = activations.flat_map(|step| step.node.input.iter().chain(&step.node.output)).chain(&source.outputs);
    let values =
        values.filter(|value| !value.is_empty() && **value != source.input && !source.constants.contains_key(*value));
    let mut values: Vec<String> = values.cloned().collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn node_alias(index: usize) -> String {
    format!("node#{index}#")
}

/// The message tract gets: live nodes under names that cannot clash, batch 1, the wanted values as outputs.
fn message(source: &Source, wanted: &[String]) -> ModelProto {
    let dim = |&d: &usize| Dimension {
        value: Some(dimension::Value::DimValue(i64::try_from(d).unwrap_or(i64::MAX))),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: source.input_dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    let named = |name: &String| ValueInfoProto { name: Some(name.clone()), ..Default::default() };
    let nodes = source.steps.iter().enumerate();
    let graph = GraphProto {
        name: Some("graph".into()),
        node: nodes.map(|(i, step)| NodeProto { name: Some(node_alias(i)), ..step.node.clone() }).collect(),
        initializer: source
            .constants
            .iter()
            .map(|(name, tensor)| TensorProto { name: Some(name.clone()), ..tensor.clone() })
            .collect(),
        input: vec![ValueInfoProto { r#type: Some(kind), ..named(&source.input) }],
        output: wanted.iter().map(named).collect(),
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(source.ir_version),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(source.opset) }],
        graph: Some(graph),
        ..Default::default()
    }
}

fn run_tract(mut bytes: &[u8], outputs: usize) -> TractResult<Vec<Result<Fact, Problem>>> {
    let mut typed = tract_onnx::onnx().model_for_read(&mut bytes)?.into_typed()?;
    typed.prop_consts()?;
    (0..outputs)
        .map(|index| {
            let fact = typed.output_fact(index)?;
            let Some(dims) = fact.shape.as_concrete() else {
                return Ok(Err(unsupported(format!(
                    "a value of shape {:?}; shapes must be known at compile time",
                    fact.shape
                ))));
            };
            let is_float = fact.datum_type == DatumType::F32;
            let constant = fact.konst.as_deref().and_then(floats);
            Ok(Ok(Fact { dims: dims.to_vec(), is_float, constant }))
        })
        .collect()
}

/// The values of a folded constant as f32; `None` for element types that have none (text, symbols).
fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let tensor = tensor.cast_to::<f32>().ok()?;
    Some(tensor.to_plain_array_view::<f32>().ok()?.iter().copied().collect())
}

/// tract's error on one line, about the node it names; aliases become ONNX names.
fn readable(error: &str, source: &Source) -> Finding {
    let mut text = error.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut subject = source.graph_name.as_str();
    for (index, step) in source.steps.iter().enumerate() {
        let alias = node_alias(index);
        if text.contains(&alias) {
            text = text.replace(&alias, &step.name);
            subject = &step.name;
        }
    }
    // What comes before says only which node and which stage of tract it was.
    let detail = ["Infering facts: ", "Infering facts "].iter().find_map(|stage| text.split_once(stage));
    let detail = detail.map_or(text.as_str(), |(_, detail)| detail);
    let short: String = detail.chars().take(300).collect();
    invalid(format!("shapes or types that do not fit together: {short}")).about(subject)
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic inside becomes its message and prints nothing. Panics of other threads print as ever.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
    })
}
