//! Operators that move or rename elements, and softmax, which spans them.

use super::build::{Builder, Value};
use super::error::{Problem, unsupported};
use super::source::Step;
use crate::ir::{Op, Padding};

impl Builder<'_> {
    pub(super) fn concat(&mut self, step: &Step, axis: i64) -> Result<Value, Problem> {
        let rank = self.result_dims(step)?.len();
        if normalized(axis, rank) != Some(1) {
            return Err(unsupported(format!(
                "Concat on axis {axis} of {rank}; only axis 1, the channels, is supported"
            )));
        }
        let inputs =
            (0..step.node.input.len()).map(|index| self.activation(step, index)).collect::<Result<Vec<_>, _>>()?;
        self.emit(step, Op::Concat { axis: 1 }, inputs)
    }

    pub(super) fn reshape(&mut self, step: &Step) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        self.emit(step, Op::Reshape, vec![input])
    }

    pub(super) fn flatten(&mut self, step: &Step, axis: i64) -> Result<Value, Problem> {
        let rank = self.fact(step.input(0).unwrap_or_default())?.dims.len();
        if normalized(axis, rank) != Some(1) {
            return Err(unsupported(format!("Flatten from axis {axis} of {rank}; only axis 1 is supported")));
        }
        self.reshape(step)
    }

    /// Reorders axes of which at most one has more than one cell after another: a reshape. All other orders move data.
    pub(super) fn transpose(&mut self, step: &Step, perm: Option<&[i64]>) -> Result<Value, Problem> {
        let dims = &self.fact(step.input(0).unwrap_or_default())?.dims;
        let reversed: Vec<usize> = (0..dims.len()).rev().collect();
        let perm: Vec<usize> =
            perm.map_or(reversed, |p| p.iter().map(|&a| usize::try_from(a).unwrap_or(usize::MAX)).collect());
        let moved: Vec<usize> = perm.iter().copied().filter(|&axis| dims.get(axis).is_some_and(|&d| d > 1)).collect();
        if perm.first() != Some(&0) || !moved.is_sorted() {
            return Err(unsupported(format!(
                "Transpose by {perm:?} of {dims:?}; only one that moves no data is supported"
            )));
        }
        self.reshape(step)
    }

    pub(super) fn softmax(&mut self, step: &Step, axis: i64, log: bool, coerced: bool) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let dims = &self.fact(step.input(0).unwrap_or_default())?.dims;
        let covers = |first: usize| {
            let mut all = dims.iter().enumerate().skip(1);
            first >= 1 && all.all(|(i, &d)| d == 1 || if coerced { i >= first } else { i == first })
        };
        if !normalized(axis, dims.len()).is_some_and(covers) {
            return Err(unsupported(format!(
                "{} on axis {axis} of {dims:?}; it must span all features of a sample",
                step.op_type()
            )));
        }
        let shape = self.result_shape(step)?;
        let wide = (1..shape.rank()).find(|&axis| shape.dims()[axis] > 1);
        self.emit(step, Op::Softmax { axis: wide.unwrap_or(1), log }, vec![input])
    }

    pub(super) fn same(&mut self, step: &Step) -> Result<Value, Problem> {
        if step.op_type() == "Dropout"
            && self.constant(step, 2)?.is_some_and(|mode| mode.data.iter().any(|&m| m != 0.0))
        {
            return Err(unsupported("Dropout with training_mode true; only inference is supported"));
        }
        self.padded_activation(step, 0)
    }

    pub(super) fn pad(&mut self, step: &Step, pads: Option<&[i64]>, value: f32) -> Result<Value, Problem> {
        let input = self.padded_activation(step, 0)?;
        let rank = self.fact(step.input(0).unwrap_or_default())?.dims.len();
        if step.input(3).is_some() {
            return Err(unsupported("Pad with axes; pads for every axis are supported"));
        }
        let from_input = self.constant(step, 1)?.map(|pads| pads.data.iter().map(|&p| p as i64).collect::<Vec<i64>>());
        let pads = pads.map(<[i64]>::to_vec).or(from_input).unwrap_or_default();
        let value = self.constant(step, 2)?.and_then(|value| value.data.first().copied()).unwrap_or(value);
        let spatial: Vec<usize> = (2..rank).collect();
        let outer = [0, 1, rank, rank + 1].iter().any(|&at| pads.get(at) != Some(&0));
        if rank < 3
            || pads.len() != 2 * rank
            || outer
            || value != 0.0
            || pads.iter().any(|&p| !(0..=65_535).contains(&p))
        {
            return Err(unsupported(format!(
                "Pad of {rank} axes by {pads:?} with {value}; zeros around height and width are supported"
            )));
        }
        let at = |index: usize| usize::try_from(pads[index]).unwrap_or(0);
        let (top, bottom) = if spatial.len() == 2 { (at(2), at(rank + 2)) } else { (0, 0) };
        let before = input.padding;
        let padding = Padding {
            top: before.top + top,
            left: before.left + at(rank - 1),
            bottom: before.bottom + bottom,
            right: before.right + at(2 * rank - 1),
        };
        Ok(Value { padding, ..input })
    }
}

/// An axis that may count from the end.
fn normalized(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}
