//! Nodes that hold nodes: calls of the model's own functions, and If. Both are inlined.
//!
//! Of an If with a constant condition one branch is inlined. Where the condition depends on the network's input both are, and
//! a select takes the results of one: branches have no effects, so the other's work is lost and nothing else. Both must give
//! results of the same shape and element type. A branch that breaks rules of ONNX with inputs of the extents at hand, as that of
//! another sample rate does, cannot run anywhere: it is left out, with a note.

use super::build::{Builder, Value};
use super::error::{ErrorKind, Finding, Problem, invalid, unsupported};
use super::source::{self, Step};
use crate::ir::{NodeId, Op};
use crate::onnx::element_type_name;
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

/// The results of an If: those of the branch that a constant condition chooses, else both branches' and a select.
pub(super) fn branch(builder: &mut Builder<'_>, step: &Step) -> Result<Vec<Typed>, Problem> {
    match builder.value(step, 0)? {
        Some(Value::Constant(condition)) => {
            let [chosen] = condition.ints()[..] else { return Err(one_condition(condition.dims())) };
            inlined(builder, step, if chosen != 0 { THEN } else { ELSE })
        }
        Some(Value::Node(condition)) => {
            let dims = builder.shape(condition).dims();
            if dims.iter().product::<usize>() != 1 {
                return Err(one_condition(dims));
            }
            let (yes, against_yes) = attempt(builder, step, THEN)?;
            let (no, against_no) = attempt(builder, step, ELSE)?;
            if cannot_run(&against_yes) && against_no.is_empty() {
                note_left_out(builder, step, THEN, &against_yes);
                return Ok(no);
            }
            if cannot_run(&against_no) && against_yes.is_empty() {
                note_left_out(builder, step, ELSE, &against_no);
                return Ok(yes);
            }
            builder.add_findings([against_yes, against_no].concat());
            builder.begin(step);
            let pairs = yes.into_iter().zip(no).take(step.output_count()).enumerate();
            pairs.map(|(output, (yes, no))| either(builder, output, condition, yes, no)).collect()
        }
        _ => Err(invalid("If without a condition; one tensor is required")),
    }
}

const THEN: &str = "then_branch";
const ELSE: &str = "else_branch";

/// The results of a branch, and what stands against it.
fn attempt(builder: &mut Builder<'_>, step: &Step, name: &str) -> Result<(Vec<Typed>, Vec<Finding>), Problem> {
    let mark = builder.findings().len();
    let results = inlined(builder, step, name)?;
    Ok((results, builder.take_findings(mark)))
}

/// Operators whose operands' extents must fit each other or a window; what else may be wrong with them is no matter of extents
/// only where an attribute is.
const FIT_EXTENTS: [&str; 20] = [
    "Add",
    "AveragePool",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Div",
    "Einsum",
    "Expand",
    "GRU",
    "Gemm",
    "LSTM",
    "LpPool",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "RNN",
    "Reshape",
    "STFT",
    "Sub",
];

/// Whether extents in a branch do not fit each other: with inputs of these extents it fails wherever it is run.
fn cannot_run(findings: &[Finding]) -> bool {
    let of_extents = |finding: &Finding| {
        let operator = finding.operator.as_deref().unwrap_or_default();
        finding.kind == ErrorKind::Invalid && FIT_EXTENTS.contains(&operator)
    };
    !findings.is_empty() && findings.iter().all(of_extents)
}

fn note_left_out(builder: &Builder<'_>, step: &Step, name: &str, findings: &[Finding]) {
    let why = findings.first().map(ToString::to_string).unwrap_or_default();
    builder.note(step, &format!("its {name} is left out: with inputs of these extents it cannot run ({why})"));
}

fn one_condition(dims: &[usize]) -> Problem {
    invalid(format!("condition of shape {dims:?}; one value is required"))
}

/// One result of an If whose condition is `condition`; unknown where a branch's is.
fn either(
    builder: &mut Builder<'_>,
    output: usize,
    condition: NodeId,
    yes: Typed,
    no: Typed,
) -> Result<Typed, Problem> {
    let (Some((yes, kind)), Some((no, other))) = (yes, no) else { return Ok(None) };
    if kind != other {
        return Err(invalid(format!(
            "branches whose output {output} is {} and {}; one element type is required",
            element_type_name(kind as i32),
            element_type_name(other as i32)
        )));
    }
    let (yes, no) = (builder.node_of(&yes)?, builder.node_of(&no)?);
    let (dims, others) = (builder.shape(yes).dims().to_vec(), builder.shape(no).dims().to_vec());
    if dims != others {
        return Err(unsupported(format!(
            "If with a condition that depends on the network's input, and branches whose output {output} has the shapes \
             {dims:?} and {others:?}; one shape is required"
        )));
    }
    let result = if yes == no {
        yes
    } else {
        let condition = builder.reshape(condition, vec![1; dims.len()])?;
        builder.push(Op::Select, &[condition, yes, no])?
    };
    Ok(Some((Value::Node(result), kind)))
}

/// The results of a branch.
fn inlined(builder: &mut Builder<'_>, step: &Step, name: &str) -> Result<Vec<Typed>, Problem> {
    let graph = step.attributes().graph(name)?;
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
