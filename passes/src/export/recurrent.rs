//! Recurrent layers as `RNN`, `GRU` and `LSTM`.
//!
//! A plan holds the products of a layer's input; ONNX computes them. So the products are the input
//! here, and the input's weights the identity.

use super::network::{Network, Written};
use crate::onnx::attribute::{float, floats, int, string, strings};
use crate::onnx::functions::activation;
use crate::onnx::onnx_protobuf::AttributeProto;
use releqc_runtime::float::RecurrentKind;
use releqc_runtime::function::Function;
use releqc_runtime::program::{FloatId, Op};

pub(super) fn write(network: &mut Network<'_>, op: &Op, name: &str) -> Written {
    let Op::FloatRecurrent {
        kind,
        ref xs,
        y,
        reverse,
        steps,
        batch,
        hidden,
        ref functions,
        clip,
        peepholes,
        constants_offset,
    } = *op
    else {
        return Err(format!("{}: no form", op.label()));
    };
    let [steps, batch, hidden] = [steps, batch, hidden].map(|extent| extent as usize);
    let rows = kind.gates() * hidden;
    let constants =
        network.float_constants(constants_offset, rows * (hidden + 1) + 3 * hidden * usize::from(peepholes));
    let (before, rest) = constants.split_at(rows * hidden);
    let (biases, peeps) = rest.split_at(rows);
    let mut identity = vec![0.0; rows * rows];
    identity.iter_mut().step_by(rows + 1).for_each(|value| *value = 1.0);
    // `[gates][hidden before][hidden]` to `[gates][hidden][hidden before]`.
    let transposed: Vec<f32> = before
        .chunks_exact(hidden * hidden)
        .flat_map(|gate| (0..hidden * hidden).map(|i| gate[i % hidden * hidden + i / hidden]))
        .collect();
    let message = &mut network.message;
    let w = message.f32s(&format!("{name}.W"), &[1, rows, rows], &identity);
    let r = message.f32s(&format!("{name}.R"), &[1, rows, hidden], &transposed);
    let b = message.f32s(&format!("{name}.B"), &[1, 2 * rows], &[vec![0.0; rows], biases.to_vec()].concat());
    let p = peepholes.then(|| message.f32s(&format!("{name}.P"), &[1, 3 * hidden], peeps));
    let Some(&x) = xs.first() else { return Err("no input".into()) };
    let x = network.floats(x, &[steps, batch, rows]);
    let state = |network: &mut Network<'_>, at: usize| {
        xs.get(at).map(|&id: &FloatId| network.floats(id, &[1, batch, hidden])).unwrap_or_default()
    };
    let mut operands = vec![x, w, r, b, String::new(), state(network, 1)];
    if kind.initial_states() == 2 {
        operands.extend([state(network, 2), p.unwrap_or_default()]);
    }
    while operands.last().is_some_and(String::is_empty) {
        operands.pop();
    }
    let mut attributes = vec![int("hidden_size", hidden as i64)];
    attributes.extend(activations(functions)?);
    attributes.push(string("direction", if reverse { "reverse" } else { "forward" }));
    if clip.is_finite() {
        attributes.push(float("clip", clip));
    }
    let (operator, results) = match kind {
        RecurrentKind::Rnn => ("RNN", 1),
        RecurrentKind::Gru | RecurrentKind::GruLinear => {
            attributes.push(int("linear_before_reset", (kind == RecurrentKind::GruLinear).into()));
            ("GRU", 1)
        }
        RecurrentKind::Lstm | RecurrentKind::LstmCoupled => {
            attributes.push(int("input_forget", (kind == RecurrentKind::LstmCoupled).into()));
            ("LSTM", 3)
        }
    };
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let values = network.message.nodes_of("", operator, name, &operands, attributes, results);
    let len = steps * batch * hidden;
    let mut parts = vec![network.message.reshape(&values[0], &[len])];
    match (kind.extra_states(), values.get(2)) {
        (0, _) => {}
        (_, Some(state)) => parts.push(network.message.reshape(state, &[batch * hidden])),
        // A GRU has no second state in ONNX, so nothing can read it.
        (_, None) => {
            let zeros = vec![0.0; batch * hidden];
            parts.push(network.message.f32s(&format!("{name}.unread"), &[batch * hidden], &zeros));
        }
    }
    let value = match &parts[..] {
        [all] => all.clone(),
        _ => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            network.message.node("Concat", &format!("{name}:states"), &parts, vec![int("axis", 0)])
        }
    };
    network.define_floats(y, &[network.program.float_len(y)], value);
    Ok(())
}

/// `activations`, and the lists of their parameters where there are some.
fn activations(functions: &[Function]) -> Result<Vec<AttributeProto>, String> {
    let known = |&function| activation(function).ok_or(format!("{function} as the function of a recurrent layer"));
    let found = functions.iter().map(known).collect::<Result<Vec<_>, String>>()?;
    let names: Vec<&str> = found.iter().map(|(name, ..)| *name).collect();
    // A list holds the parameters of those functions that have some, in order.
    let alphas: Vec<f32> = found.iter().filter_map(|(_, alpha, _)| *alpha).collect();
    let betas: Vec<f32> = found.iter().filter_map(|(.., beta)| *beta).collect();
    let lists = [("activation_alpha", alphas), ("activation_beta", betas)];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| floats(name, list));
    Ok(std::iter::once(strings("activations", &names)).chain(lists).collect())
}
