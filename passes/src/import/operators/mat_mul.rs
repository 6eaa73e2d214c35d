//! MatMul and Gemm, and the product that Einsum and Attention are rewritten to.
//!
//! Takes two factors, at least one an activation. A constant second factor of two axes makes a fully connected layer over the last
//! axis, a constant first one a layer between transposes; two activations, and batches of constants, make [`Op::MatMul`].
//! Refuses factors whose extents do not fit.

use super::forms::{one, permuted, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{BinaryKind, NodeId, Op};

pub(super) const RULES: &[(&str, Rule)] =
    &[("Gemm", gemm), ("MatMul", mat_mul), ("com.microsoft.FusedMatMul", fused_mat_mul)];

/// A factor of a product.
#[derive(Clone, Debug)]
pub(super) enum Factor {
    /// An activation.
    Node(NodeId),
    /// Extents and values of a constant.
    Constant(Vec<usize>, Vec<f32>),
}

impl Factor {
    /// The factor at an input of a node.
    pub(super) fn of(b: &mut Builder<'_>, step: &Step, index: usize) -> Result<Self, Problem> {
        if b.is_constant(step, index) {
            let constant = b.required(step, index)?;
            Ok(Factor::Constant(constant.dims().to_vec(), constant.floats()))
        } else {
            b.node(step, index).map(Factor::Node)
        }
    }

    pub(super) fn dims(&self, b: &Builder<'_>) -> Vec<usize> {
        match self {
            Factor::Node(node) => b.dims(*node),
            Factor::Constant(dims, _) => dims.clone(),
        }
    }

    pub(super) fn transposed(self, b: &mut Builder<'_>, perm: &[usize]) -> Result<Self, Problem> {
        match self {
            Factor::Node(node) => b.transpose(node, perm).map(Factor::Node),
            Factor::Constant(dims, values) => {
                let (dims, values) = permuted(&dims, &values, perm);
                Ok(Factor::Constant(dims, values))
            }
        }
    }

    pub(super) fn reshaped(self, b: &mut Builder<'_>, dims: Vec<usize>) -> Result<Self, Problem> {
        match self {
            Factor::Node(node) => b.reshape(node, dims).map(Factor::Node),
            Factor::Constant(_, values) => Ok(Factor::Constant(dims, values)),
        }
    }

    /// With the last two axes in the other order.
    pub(super) fn transposed_last(self, b: &mut Builder<'_>) -> Result<Self, Problem> {
        let rank = self.dims(b).len();
        if rank < 2 {
            return Ok(self);
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        self.transposed(b, &perm)
    }

    pub(super) fn scaled(self, b: &mut Builder<'_>, factor: f32) -> Result<Self, Problem> {
        match self {
            Factor::Node(node) => b.affine(node, factor, 0.0).map(Factor::Node),
            Factor::Constant(dims, values) => {
                Ok(Factor::Constant(dims, values.into_iter().map(|value| value * factor).collect()))
            }
        }
    }

    pub(super) fn node(self, b: &mut Builder<'_>) -> Result<NodeId, Problem> {
        match self {
            Factor::Node(node) => Ok(node),
            Factor::Constant(dims, values) => b.literal(dims, values),
        }
    }
}

fn mat_mul(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (x, y) = (Factor::of(b, step, 0)?, Factor::of(b, step, 1)?);
    one(product(b, x, y, None)?)
}

/// `x y + bias` with the rules of MatMul: vectors are rows and columns whose axis goes again, leading axes broadcast. The bias has one
/// value a column and stands for a constant second factor only.
pub(super) fn product(b: &mut Builder<'_>, x: Factor, y: Factor, bias: Option<Vec<f32>>) -> Result<NodeId, Problem> {
    let (mut dims_x, mut dims_y) = (x.dims(b), y.dims(b));
    if dims_x.is_empty() || dims_y.is_empty() {
        return Err(invalid("a product of a scalar; each factor needs an axis at least"));
    }
    let (row, column) = (dims_x.len() == 1, dims_y.len() == 1);
    if row {
        dims_x.insert(0, 1);
    }
    if column {
        dims_y.push(1);
    }
    if dims_x[dims_x.len() - 1] != dims_y[dims_y.len() - 2] {
        return Err(invalid(format!("product of {dims_x:?} and {dims_y:?}; the inner extents must be equal")));
    }
    let x = x.reshaped(b, dims_x)?;
    let y = y.reshaped(b, dims_y)?;
    let mut result = matrices(b, x, y, bias)?;
    let rank = b.rank(result);
    if column {
        result = b.drop_axes(result, &[rank - 1])?;
    }
    if row {
        let axis = b.rank(result) - if column { 1 } else { 2 };
        result = b.drop_axes(result, &[axis])?;
    }
    Ok(result)
}

/// Both factors have two axes at least.
fn matrices(b: &mut Builder<'_>, x: Factor, y: Factor, bias: Option<Vec<f32>>) -> Result<NodeId, Problem> {
    let is_matrix = |dims: &[usize]| dims[..dims.len() - 2].iter().all(|&extent| extent == 1);
    match (x, y) {
        (Factor::Node(x), Factor::Constant(dims, values)) if is_matrix(&dims) => {
            let x = b.with_rank(x, dims.len())?;
            let (weight, values) = permuted(&dims[dims.len() - 2..], &values, &[1, 0]);
            b.fully_connected(x, tensor(weight, values)?, bias)
        }
        (Factor::Constant(dims, values), Factor::Node(y)) if is_matrix(&dims) && bias.is_none() => {
            let y = b.with_rank(y, dims.len())?;
            let columns = b.transpose_last(y)?;
            let product = b.fully_connected(columns, tensor(dims[dims.len() - 2..].to_vec(), values)?, None)?;
            b.transpose_last(product)
        }
        (x, y) => {
            let (x, y) = (x.node(b)?, y.node(b)?);
            let result = b.push(Op::MatMul, &[x, y])?;
            let Some(bias) = bias else { return Ok(result) };
            let bias = b.literal(vec![bias.len()], bias)?;
            b.binary(BinaryKind::Add, result, bias)
        }
    }
}

/// `alpha A' B' + beta C`.
fn gemm(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
    let mut factors = [Factor::of(b, step, 0)?, Factor::of(b, step, 1)?];
    for (factor, name) in factors.iter_mut().zip(["transA", "transB"]) {
        let dims = factor.dims(b);
        if dims.len() != 2 {
            return Err(invalid(format!("Gemm of a factor of shape {dims:?}; two axes are required")));
        }
        if attributes.int(name, 0)? != 0 {
            *factor = factor.clone().transposed_last(b)?;
        }
    }
    let [x, y] = factors;
    // alpha goes into the weight where there is one.
    let (x, y) = match (&x, &y) {
        (Factor::Constant(..), Factor::Node(_)) => (x.scaled(b, alpha)?, y),
        (_, Factor::Constant(..)) => (x, y.scaled(b, alpha)?),
        _ => (x, y),
    };
    let both = matches!((&x, &y), (Factor::Node(_), Factor::Node(_)));
    let columns = y.dims(b)[1];
    let mut bias = None;
    if let (Factor::Constant(..), true) = (&y, b.is_constant(step, 2)) {
        let constant = b.required(step, 2)?;
        let values: Vec<f32> = constant.floats().iter().map(|value| value * beta).collect();
        let per_row = constant.dims().len() == 2 && constant.dims()[0] != 1;
        bias = match values[..] {
            [value] => Some(vec![value; columns]),
            _ if values.len() == columns && !per_row => Some(values),
            _ => None,
        };
    }
    let fused = bias.is_some();
    let mut result = product(b, x, y, bias)?;
    if both {
        result = b.affine(result, alpha, 0.0)?;
    }
    if !fused && step.input(2).is_some() && beta != 0.0 {
        let addend = Factor::of(b, step, 2)?.scaled(b, beta)?;
        let wanted = b.dims(result);
        let addend = addend.node(b)?;
        result = b.binary(BinaryKind::Add, result, addend)?;
        if b.dims(result) != wanted {
            return Err(invalid(format!("C beside a product of {wanted:?}; it must broadcast to it")));
        }
    }
    one(result)
}

/// `alpha * A' B'` with either factor's last two axes in the other order.
fn fused_mat_mul(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let (mut x, mut y) = (Factor::of(b, step, 0)?, Factor::of(b, step, 1)?);
    if attributes.flag("transBatchA", false)? || attributes.flag("transBatchB", false)? {
        return Err(crate::import::error::unsupported("FusedMatMul with transBatchA or transBatchB; 0 is supported"));
    }
    if attributes.flag("transA", false)? {
        x = x.transposed_last(b)?;
    }
    if attributes.flag("transB", false)? {
        y = y.transposed_last(b)?;
    }
    let result = product(b, x, y, None)?;
    one(b.affine(result, attributes.float("alpha", 1.0)?, 0.0)?)
}
