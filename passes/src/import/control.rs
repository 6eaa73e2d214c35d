//! Nodes that hold nodes: calls of the model's own functions, and If with a constant condition. Both are inlined.

use super::build::{Builder, Value};
use super::error::{Problem, invalid, unsupported};
use super::source::{self, Step};
use crate::onnx::onnx_protobuf::FunctionProto;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

/// Most functions and branches inside each other.
const MAX_DEPTH: usize = 64;

type Typed = Option<(Value, DataType)>;

/// The results of a call: the function's nodes run in a scope that sees its parameters only.
pub(super) fn call(
    builder: &mut Builder<'_>,
    step: &Step,
    function: &FunctionProto,
    inputs: Vec<Typed>,
) -> Result<Vec<Typed>, Problem> {
    let name = step.operator();
    if builder.calls.contains(&name) {
        return Err(invalid(format!("function {name} calls itself; recursion is not allowed")));
    }
    if inputs.len() > function.input.len() || step.output_count() > function.output.len() {
        return Err(invalid(format!(
            "function {name} with {} inputs and {} outputs; it has {} and {}",
            inputs.len(),
            step.output_count(),
            function.input.len(),
            function.output.len()
        )));
    }
    if function.input.iter().skip(inputs.len()).any(String::is_empty) {
        return Err(invalid(format!("function {name} with an unnamed parameter; each must have a name")));
    }
    // Nodes behind an unknown parameter are unknown, the others are looked at.
    let wanted: Vec<String> = function.output.iter().take(step.output_count()).cloned().collect();
    let body = source::body(function, step, &wanted);
    enter(builder, &name)?;
    let parameters = function.input.iter().cloned().zip(inputs).collect();
    let results = builder.inside(true, parameters, &body, &wanted);
    builder.calls.pop();
    results
}

/// The results of the branch that a constant condition chooses.
pub(super) fn branch(builder: &mut Builder<'_>, step: &Step) -> Result<Vec<Typed>, Problem> {
    let Some(Value::Constant(condition)) = builder.value(step, 0)? else {
        return Err(unsupported("If with a condition that depends on the network's input; a constant is required"));
    };
    let [chosen] = condition.ints()[..] else {
        return Err(invalid(format!("condition of shape {:?}; one value is required", condition.dims())));
    };
    let graph = step.attributes().graph(if chosen != 0 { "then_branch" } else { "else_branch" })?;
    if graph.output.len() < step.output_count() {
        return Err(invalid(format!(
            "a branch of {} outputs; {} are required",
            graph.output.len(),
            step.output_count()
        )));
    }
    enter(builder, "If")?;
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let mut constants = Vec::new();
    for tensor in &graph.initializer {
        let constant = super::constant::Constant::read(tensor)?;
        let kind = constant.kind();
        constants.push((tensor.name().to_owned(), Some((Value::Constant(constant.into()), kind))));
    }
    let results = builder.inside(false, constants, &source::branch(graph, step), &outputs);
    builder.calls.pop();
    results
}

fn enter(builder: &mut Builder<'_>, name: &str) -> Result<(), Problem> {
    if builder.calls.len() >= MAX_DEPTH {
        return Err(unsupported(format!("functions and branches {MAX_DEPTH} deep; fewer are supported")));
    }
    builder.calls.push(name.to_owned());
    Ok(())
}
