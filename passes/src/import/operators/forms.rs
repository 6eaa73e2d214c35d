//! The forms that operators are rewritten to, each one or few nodes; a form that changes nothing adds no node.

use super::axis;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{AxisMap, BinaryKind, FullyConnected, Function, NodeId, Op, ReduceKind, Tensor};
use std::rc::Rc;

/// What a rule returns for an operator with one output.
pub(super) fn one(node: NodeId) -> Result<Vec<Value>, Problem> {
    Ok(vec![Value::Node(node)])
}

impl Builder<'_> {
    /// The integers of a constant input; `None` where the node has no such input.
    pub(super) fn ints(&self, step: &Step, index: usize) -> Result<Option<Vec<i64>>, Problem> {
        Ok(self.constant(step, index)?.map(|constant| constant.ints()))
    }

    /// The integers of a constant input, or of an attribute where older versions keep them; `None` where neither is given.
    pub(super) fn ints_of(&self, step: &Step, index: usize, attribute: &str) -> Result<Option<Vec<i64>>, Problem> {
        match step.attributes().ints(attribute)? {
            Some(values) => Ok(Some(values.to_vec())),
            None => self.ints(step, index),
        }
    }

    /// The one number of a constant input.
    pub(super) fn scalar(&self, step: &Step, index: usize) -> Result<Option<f32>, Problem> {
        let Some(constant) = self.constant(step, index)? else { return Ok(None) };
        match constant.floats()[..] {
            [value] => Ok(Some(value)),
            _ => Err(invalid(format!("input {index} of shape {:?}; one number is required", constant.dims()))),
        }
    }

    /// The one integer of a constant input.
    pub(super) fn integer(&self, step: &Step, index: usize) -> Result<Option<i64>, Problem> {
        let Some(constant) = self.constant(step, index)? else { return Ok(None) };
        match constant.ints()[..] {
            [value] => Ok(Some(value)),
            _ => Err(invalid(format!("input {index} of shape {:?}; one integer is required", constant.dims()))),
        }
    }

    /// A constant input that the operator requires.
    pub(super) fn required(&self, step: &Step, index: usize) -> Result<Rc<Constant>, Problem> {
        self.constant(step, index)?.ok_or_else(|| invalid(format!("no input {index}; the operator requires it")))
    }

    /// The activation at an input; `None` where the node has no such input.
    pub(super) fn optional(&mut self, step: &Step, index: usize) -> Result<Option<NodeId>, Problem> {
        if step.input(index).is_some() { self.node(step, index).map(Some) } else { Ok(None) }
    }

    /// Extents of a node's result.
    pub(super) fn dims(&self, node: NodeId) -> Vec<usize> {
        self.shape(node).dims().to_vec()
    }

    /// Number of axes of a node's result.
    pub(super) fn rank(&self, node: NodeId) -> usize {
        self.shape(node).rank()
    }

    pub(super) fn unary(&mut self, function: Function, x: NodeId) -> Result<NodeId, Problem> {
        self.push(Op::Unary(function), &[x])
    }

    pub(super) fn binary(&mut self, kind: BinaryKind, a: NodeId, b: NodeId) -> Result<NodeId, Problem> {
        self.push(Op::Binary(kind), &[a, b])
    }

    /// An operand that is the same for every sample; infinities become the greatest numbers.
    pub(super) fn literal(&mut self, dims: Vec<usize>, mut values: Vec<f32>) -> Result<NodeId, Problem> {
        values.iter_mut().for_each(|value| *value = value.clamp(f32::MIN, f32::MAX));
        let tensor = tensor(dims, values)?;
        self.push(Op::Constant(tensor), &[])
    }

    /// `x * mul + add` with the same two numbers everywhere.
    pub(super) fn affine(&mut self, x: NodeId, mul: f32, add: f32) -> Result<NodeId, Problem> {
        if mul == 1.0 && add == 0.0 {
            return Ok(x);
        }
        let shape = self.shape(x);
        if shape.rank() < 2 {
            return self.unary(Function::Scale { mul, add }, x);
        }
        let channels = shape.channels();
        self.push(Op::ChannelAffine { mul: vec![mul; channels], add: vec![add; channels] }, &[x])
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`.
    pub(super) fn transpose(&mut self, x: NodeId, perm: &[usize]) -> Result<NodeId, Problem> {
        if perm.iter().copied().eq(0..self.rank(x)) {
            return Ok(x);
        }
        self.push(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// The last two axes change places.
    pub(super) fn transpose_last(&mut self, x: NodeId) -> Result<NodeId, Problem> {
        let rank = self.rank(x);
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        self.transpose(x, &perm)
    }

    /// Axis `from` moves to place `to`; the others keep their order.
    pub(super) fn move_axis(&mut self, x: NodeId, from: usize, to: usize) -> Result<NodeId, Problem> {
        let mut perm: Vec<usize> = (0..self.rank(x)).filter(|&axis| axis != from).collect();
        perm.insert(to, from);
        self.transpose(x, &perm)
    }

    /// Position `i` of `axis` in the result is position `indices[i]` of `x`, or `fill`.
    pub(super) fn gather_axis(
        &mut self,
        x: NodeId,
        axis: usize,
        indices: Vec<Option<usize>>,
        fill: f32,
    ) -> Result<NodeId, Problem> {
        let mut maps = vec![AxisMap::All; self.rank(x)];
        maps[axis] = AxisMap::Indices(indices);
        self.gather(x, maps, fill)
    }

    /// [`Op::Gather`]; maps that keep every position become [`AxisMap::All`].
    pub(super) fn gather(&mut self, x: NodeId, mut maps: Vec<AxisMap>, fill: f32) -> Result<NodeId, Problem> {
        let dims = self.dims(x);
        for (map, &extent) in maps.iter_mut().zip(&dims) {
            match map {
                AxisMap::Indices(indices) if indices.iter().copied().eq((0..extent).map(Some)) => *map = AxisMap::All,
                _ => {}
            }
        }
        if maps.iter().all(|map| *map == AxisMap::All) {
            return Ok(x);
        }
        self.push(Op::Gather { maps, fill }, &[x])
    }

    /// `count` positions of an axis from `start` on.
    pub(super) fn slice(&mut self, x: NodeId, axis: usize, start: usize, count: usize) -> Result<NodeId, Problem> {
        self.gather_axis(x, axis, (start..start + count).map(Some).collect(), 0.0)
    }

    /// One position of an axis, which goes.
    pub(super) fn pick(&mut self, x: NodeId, axis: usize, position: usize) -> Result<NodeId, Problem> {
        let picked = self.slice(x, axis, position, 1)?;
        self.drop_axes(picked, &[axis])
    }

    /// Any elements of `x` by their row-major position, or `fill`, under new extents.
    pub(super) fn gather_flat(
        &mut self,
        x: NodeId,
        indices: Vec<Option<usize>>,
        fill: f32,
        dims: Vec<usize>,
    ) -> Result<NodeId, Problem> {
        let flat = self.shape(x).len();
        let x = self.reshape(x, vec![flat])?;
        let gathered = self.gather_axis(x, 0, indices, fill)?;
        self.reshape(gathered, dims)
    }

    /// Without axes of extent 1.
    pub(super) fn drop_axes(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId, Problem> {
        let dims = self.dims(x);
        let kept = dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &extent)| extent);
        self.reshape(x, kept.collect())
    }

    /// With an axis of extent 1 at `axis`.
    pub(super) fn insert_axis(&mut self, x: NodeId, axis: usize) -> Result<NodeId, Problem> {
        let mut dims = self.dims(x);
        dims.insert(axis, 1);
        self.reshape(x, dims)
    }

    /// With axes of extent 1 in front, `rank` in all.
    pub(super) fn with_rank(&mut self, x: NodeId, rank: usize) -> Result<NodeId, Problem> {
        let dims = self.dims(x);
        let missing = rank.saturating_sub(dims.len());
        self.reshape(x, [vec![1; missing], dims].concat())
    }

    /// A reduction over ascending axes, which stay with extent 1 where `keep`.
    pub(super) fn reduce(
        &mut self,
        kind: ReduceKind,
        x: NodeId,
        axes: &[usize],
        keep: bool,
    ) -> Result<NodeId, Problem> {
        let reduced = self.push(Op::Reduce { kind, axes: axes.to_vec() }, &[x])?;
        if keep { Ok(reduced) } else { self.drop_axes(reduced, axes) }
    }

    pub(super) fn concat(&mut self, axis: usize, parts: &[NodeId]) -> Result<NodeId, Problem> {
        match parts {
            [only] => Ok(*only),
            _ => self.push(Op::Concat { axis }, parts),
        }
    }

    /// `y[.., o] = sum_i weight[o, i] x[.., i] + bias[o]`.
    pub(super) fn fully_connected(
        &mut self,
        x: NodeId,
        weight: Tensor,
        bias: Option<Vec<f32>>,
    ) -> Result<NodeId, Problem> {
        self.push(Op::FullyConnected(FullyConnected { weight, bias, batch_norm: None }), &[x])
    }
}

/// A tensor of the intermediate form.
pub(super) fn tensor(dims: Vec<usize>, values: Vec<f32>) -> Result<Tensor, Problem> {
    let (extents, len) = (dims.clone(), values.len());
    Tensor::new(dims, values).ok_or_else(|| invalid(format!("{len} values of shape {extents:?}; they must agree")))
}

/// A constant with axis `i` of the result being axis `perm[i]`.
pub(super) fn permuted(dims: &[usize], values: &[f32], perm: &[usize]) -> (Vec<usize>, Vec<f32>) {
    let strides = axis::strides(dims);
    let strides: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
    let result: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
    let (Some((&row, outer)), Some((&stride, outer_strides))) = (result.split_last(), strides.split_last()) else {
        return (result, values.to_vec());
    };
    let mut data = Vec::with_capacity(values.len());
    for position in axis::positions(outer) {
        let start: usize = position.iter().zip(outer_strides).map(|(&at, &stride)| at * stride).sum();
        data.extend((0..row).map(|at| values[start + at * stride]));
    }
    (result, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_permuted() {
        let (dims, data) = permuted(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[1, 0]);
        assert_eq!((dims, data), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        let cube: Vec<f32> = (0u8..12).map(f32::from).collect();
        let (dims, data) = permuted(&[2, 3, 2], &cube, &[2, 0, 1]);
        let expected: Vec<f32> = [0u8, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11].map(f32::from).to_vec();
        assert_eq!((dims, data), (vec![2, 2, 3], expected));
        assert_eq!(permuted(&[], &[7.0], &[]), (vec![], vec![7.0]));
    }
}
