//! LSTM, GRU and RNN: the products with the input are one layer with a width, the cells run in floats.
//!
//! Takes a sequence `[T, N, I]` (`[N, T, I]` with layout 1), constant W, R, B and P, states as activations or constants. Returns for every
//! direction a fully connected layer over all steps and one [`Op::Recurrent`], and the slices of it that are the three results.
//! Refuses weights that depend on the input, and sequences shorter than the tensor that holds them.

use super::forms::tensor;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{Function, NodeId, Op, Recurrent, RecurrentKind};
use crate::onnx::functions::read_activation;

pub(super) const RULES: &[(&str, Rule)] = &[("GRU", recurrent), ("LSTM", recurrent), ("RNN", recurrent)];

/// What a node says about its cells.
struct Layer {
    kind: RecurrentKind,
    hidden: usize,
    /// Whether each direction runs backwards.
    directions: Vec<bool>,
    /// Of all directions, one after the other.
    functions: Vec<Function>,
    clip: f32,
    /// Batch before time.
    batch_first: bool,
}

impl Layer {
    fn of(step: &Step, hidden: usize) -> Result<Self, Problem> {
        let attributes = step.attributes();
        let flag = |name: &str| attributes.flag(name, false);
        let (kind, defaults): (RecurrentKind, &[&str]) = match step.op_type() {
            "LSTM" if flag("input_forget")? => (RecurrentKind::LstmCoupled, &["Sigmoid", "Tanh", "Tanh"]),
            "LSTM" => (RecurrentKind::Lstm, &["Sigmoid", "Tanh", "Tanh"]),
            "GRU" if flag("linear_before_reset")? => (RecurrentKind::GruLinear, &["Sigmoid", "Tanh"]),
            "GRU" => (RecurrentKind::Gru, &["Sigmoid", "Tanh"]),
            _ => (RecurrentKind::Rnn, &["Tanh"]),
        };
        let directions = match attributes.string("direction", "forward")? {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => {
                return Err(invalid(format!("direction {other:?}; forward, reverse or bidirectional is required")));
            }
        };
        let names: Vec<String> = match attributes.strings("activations")? {
            Some(names) => names,
            None => directions.iter().flat_map(|_| defaults.iter().map(|name| (*name).to_owned())).collect(),
        };
        if names.len() != directions.len() * kind.functions() {
            return Err(invalid(format!("activations {names:?}; {} a direction are required", kind.functions())));
        }
        let alphas = attributes.floats("activation_alpha")?.unwrap_or_default();
        let betas = attributes.floats("activation_beta")?.unwrap_or_default();
        let clip = if attributes.has("clip") { attributes.float("clip", 0.0)? } else { f32::INFINITY };
        Ok(Layer {
            kind,
            hidden,
            directions,
            functions: functions(&names, &alphas, &betas)?,
            clip,
            batch_first: flag("layout")?,
        })
    }
}

/// The functions of some names; parameters are consumed by those that have any, in order.
fn functions(names: &[String], alphas: &[f32], betas: &[f32]) -> Result<Vec<Function>, Problem> {
    let mut lists = [alphas.iter().copied(), betas.iter().copied()];
    let function = |name: &String| {
        let found = read_activation(name, |list, missing| lists[list].next().unwrap_or(missing));
        found.ok_or_else(|| invalid(format!("activation {:?}; ONNX has no such function", name.to_ascii_lowercase())))
    };
    names.iter().map(function).collect()
}

/// One direction's part of a constant whose first axis are the directions.
fn part(
    b: &Builder<'_>,
    step: &Step,
    index: usize,
    direction: usize,
    dims: &[usize],
) -> Result<Option<Vec<f32>>, Problem> {
    let Some(constant) = b.constant(step, index)? else { return Ok(None) };
    let seen = constant.dims();
    let Some((&directions, own)) = seen.split_first() else {
        return Err(invalid(format!("input {index} of shape {seen:?}; [directions, ..] is required")));
    };
    if own != dims || direction >= directions {
        return Err(invalid(format!("input {index} of shape {seen:?}; [directions, {dims:?}] is required")));
    }
    let len: usize = dims.iter().product();
    Ok(Some(constant.floats()[direction * len..(direction + 1) * len].to_vec()))
}

fn recurrent(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut x = b.node(step, 0)?;
    let [_, rows, features] = b.required(step, 1)?.dims()[..] else {
        return Err(invalid("W; [directions, gates * hidden, features] is required"));
    };
    let hidden = b.required(step, 2)?.dims().last().copied().unwrap_or(0);
    let layer = Layer::of(step, hidden)?;
    let dims = b.dims(x);
    if dims.len() != 3 || dims[2] != features || hidden == 0 || rows != layer.kind.gates() * hidden {
        return Err(invalid(format!(
            "{} of {dims:?} with W of {rows} rows for {features} features and {hidden} cells; they must agree",
            step.op_type()
        )));
    }
    if layer.batch_first {
        x = b.transpose(x, &[1, 0, 2])?;
    }
    let [steps, batch, _] = b.dims(x)[..] else { return Err(invalid("a sequence of three axes")) };
    let all = i64::try_from(steps).unwrap_or(i64::MAX);
    if b.ints(step, 4)?.is_some_and(|lens| lens.iter().any(|&len| len != all)) {
        return Err(unsupported(format!("sequence_lens other than {steps}; sequences must be full")));
    }
    let states = if step.op_type() == "LSTM" {
        [b.optional(step, 5)?, b.optional(step, 6)?]
    } else {
        [b.optional(step, 5)?, None]
    };
    let (mut all_steps, mut last_states, mut last_cells) = (Vec::new(), Vec::new(), Vec::new());
    for direction in 0..layer.directions.len() {
        let result = cells(b, step, &layer, direction, x, [features, batch], states)?;
        let last = if layer.directions[direction] { 0 } else { steps - 1 };
        let hidden_states = b.slice(result, 0, 0, steps)?;
        all_steps.push(b.insert_axis(hidden_states, 1)?);
        last_states.push(b.slice(result, 0, last, 1)?);
        if layer.kind.initial_states() == 2 {
            last_cells.push(b.slice(result, 0, steps, 1)?);
        }
    }
    let mut results = vec![b.concat(1, &all_steps)?, b.concat(0, &last_states)?];
    if !last_cells.is_empty() {
        results.push(b.concat(0, &last_cells)?);
    }
    if layer.batch_first {
        results[0] = b.transpose(results[0], &[2, 0, 1, 3])?;
        for state in &mut results[1..] {
            *state = b.transpose(*state, &[1, 0, 2])?;
        }
    }
    Ok(results.into_iter().map(Value::Node).collect())
}

/// One direction: `[steps + extra, batch, hidden]`.
fn cells(
    b: &mut Builder<'_>,
    step: &Step,
    layer: &Layer,
    direction: usize,
    x: NodeId,
    [features, batch]: [usize; 2],
    states: [Option<NodeId>; 2],
) -> Result<NodeId, Problem> {
    let (kind, hidden) = (layer.kind, layer.hidden);
    let rows = kind.gates() * hidden;
    let required = |values: Option<Vec<f32>>, what: &str| values.ok_or_else(|| invalid(format!("no {what}")));
    let input_weight = required(part(b, step, 1, direction, &[rows, features])?, "W")?;
    let weight = required(part(b, step, 2, direction, &[rows, hidden])?, "R")?;
    let mut biases = part(b, step, 3, direction, &[2 * rows])?.unwrap_or_else(|| vec![0.0; 2 * rows]);
    let state_bias = biases.split_off(rows);
    let peepholes = if step.op_type() == "LSTM" { part(b, step, 7, direction, &[3 * hidden])? } else { None };
    let products = b.fully_connected(x, tensor(vec![rows, features], input_weight)?, Some(biases))?;
    let mut operands = vec![products];
    // c without h stands behind a state of zeros.
    let wanted = states.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    for state in &states[..wanted] {
        operands.push(match state {
            Some(state) => {
                let state = if layer.batch_first { b.transpose(*state, &[1, 0, 2])? } else { *state };
                b.pick(state, 0, direction)?
            }
            None => {
                b.afford(batch * hidden, "a state of zeros")?;
                b.literal(vec![batch, hidden], vec![0.0; batch * hidden])?
            }
        });
    }
    let count = kind.functions();
    let recurrent = Recurrent {
        kind,
        reverse: layer.directions[direction],
        functions: layer.functions[direction * count..(direction + 1) * count].to_vec(),
        clip: layer.clip,
        weight: tensor(vec![rows, hidden], weight)?,
        bias: state_bias,
        peepholes: peepholes.unwrap_or_default(),
    };
    b.push(Op::Recurrent(recurrent), &operands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_consumed_in_order() {
        let names = ["HardSigmoid", "Tanh", "LeakyRelu"].map(str::to_owned);
        let seen = functions(&names, &[0.3, 0.4], &[0.6]).unwrap();
        assert_eq!(
            seen,
            [Function::HardSigmoid { alpha: 0.3, beta: 0.6 }, Function::Tanh, Function::LeakyRelu { alpha: 0.4 }]
        );
        assert!(functions(&["Swish".to_owned()], &[], &[]).is_err());
    }
}
