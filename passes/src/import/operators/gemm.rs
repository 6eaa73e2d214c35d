//! Gemm: `alpha * A * B + beta * C`.
//!
//! Takes matrices of which any may be constant; where B is, the product is a fully connected layer.

use super::forms::{one, permuted, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId, Op, Tensor};

pub(super) const RULES: &[(&str, Rule)] = &[("Gemm", gemm)];

fn gemm(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let [alpha, beta] = [attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?];
    if !alpha.is_finite() || !beta.is_finite() {
        return Err(invalid(format!("alpha {alpha}, beta {beta}; both must be finite")));
    }
    let [trans_a, trans_b] = [attributes.flag("transA", false)?, attributes.flag("transB", false)?];
    let a = matrix(b, step, 0)?;
    let a = if trans_a { b.transpose(a, &[1, 0])? } else { a };
    if b.is_constant(step, 1) && !b.folding() {
        let weight = b.required(step, 1)?;
        let weight = weights(&weight, !trans_b, alpha)?;
        let outputs = weight.dims()[0];
        let bias = if b.is_constant(step, 2) { row(&*b.required(step, 2)?, outputs, beta) } else { None };
        let rest = bias.is_none() && step.input(2).is_some();
        let product = b.fully_connected(a, weight, bias)?;
        return one(if rest { plus(b, step, product, beta)? } else { product });
    }
    let right = matrix(b, step, 1)?;
    let right = if trans_b { b.transpose(right, &[1, 0])? } else { right };
    let product = b.push(Op::MatMul, &[a, right])?;
    let product = b.affine(product, alpha, 0.0)?;
    one(if step.input(2).is_some() { plus(b, step, product, beta)? } else { product })
}

/// `product + beta * C`.
fn plus(b: &mut Builder<'_>, step: &Step, product: NodeId, beta: f32) -> Result<NodeId, Problem> {
    let addend = b.node(step, 2)?;
    let addend = b.affine(addend, beta, 0.0)?;
    let dims = b.dims(product);
    let sum = b.binary(BinaryKind::Add, product, addend)?;
    if b.dims(sum) == dims {
        return Ok(sum);
    }
    Err(invalid(format!("C of shape {}; it must broadcast to {dims:?}", b.shape(addend))))
}

fn matrix(b: &mut Builder<'_>, step: &Step, index: usize) -> Result<NodeId, Problem> {
    let x = b.node(step, index)?;
    if b.rank(x) == 2 {
        return Ok(x);
    }
    Err(invalid(format!("Gemm with input {index} of shape {}; 2 axes are required", b.shape(x))))
}

/// `[outputs, inputs]` times `alpha`, from the other order where `inputs_first`.
fn weights(constant: &Constant, inputs_first: bool, alpha: f32) -> Result<Tensor, Problem> {
    let weight = constant.tensor()?;
    if weight.dims().len() != 2 {
        return Err(invalid(format!("weight of shape {:?}; 2 axes are required", weight.dims())));
    }
    let weight = if inputs_first {
        let (dims, values) = permuted(weight.dims(), weight.data(), &[1, 0]);
        tensor(dims, values)?
    } else {
        weight
    };
    if alpha == 1.0 {
        return Ok(weight);
    }
    Ok(weight.with_data(weight.data().iter().map(|v| v * alpha).collect::<Vec<f32>>()))
}

/// C times `beta` as one row; `None` where it differs from row to row or does not fit.
fn row(constant: &Constant, outputs: usize, beta: f32) -> Option<Vec<f32>> {
    let values = constant.floats();
    let values = match constant.dims() {
        [] | [1] | [1, 1] => vec![values[0]; outputs],
        [n] | [1, n] if *n == outputs => values,
        _ => return None,
    };
    let scaled: Vec<f32> = if beta == 1.0 { values } else { values.iter().map(|v| v * beta).collect() };
    scaled.iter().all(|v| v.is_finite()).then_some(scaled)
}
