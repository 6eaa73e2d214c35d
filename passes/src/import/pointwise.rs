//! Clips and arithmetic, element by element.

use super::build::{Builder, Constant, Value};
use super::error::{Problem, invalid, unsupported};
use super::operator::Arithmetic;
use super::source::Step;
use crate::ir::{Clip, Op};

impl Builder<'_> {
    pub(super) fn relu(&mut self, step: &Step) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        self.emit(step, Op::Clip(Clip::RELU), vec![input])
    }

    pub(super) fn clip(&mut self, step: &Step, bounds: Option<(f32, f32)>) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let bound = |index, missing| match self.constant(step, index)? {
            None => Ok(missing),
            Some(bound) if bound.data.len() == 1 => Ok(bound.data[0]),
            Some(bound) => Err(invalid(format!("bound of shape {:?}; a scalar is required", bound.dims))),
        };
        let (min, max) = match bounds {
            Some(bounds) => bounds,
            None => (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?),
        };
        if min.is_nan() || max.is_nan() || min > max {
            return Err(invalid(format!("Clip to {min}..{max}; min must be <= max")));
        }
        self.emit(step, Op::Clip(Clip { min, max }), vec![input])
    }

    pub(super) fn arithmetic(&mut self, step: &Step, arithmetic: Arithmetic) -> Result<Value, Problem> {
        let word = step.op_type();
        match (self.is_activation(step, 0), self.is_activation(step, 1)) {
            (true, true) if arithmetic == Arithmetic::Add => {
                let inputs = [self.activation(step, 0)?, self.activation(step, 1)?];
                let [a, b] = inputs.map(|input| self.shape_of(input));
                if a != b {
                    return Err(unsupported(format!("{word} of {a} and {b}; equal shapes are required")));
                }
                self.emit(step, Op::ADD, inputs.to_vec())
            }
            (true, true) => Err(unsupported(format!("{word} of two activations; one operand must be a constant"))),
            (true, false) => {
                let values = self.per_channel(step, 0, self.required_constant(step, 1)?)?;
                let (mul, add): (Vec<f32>, Vec<f32>) = match arithmetic {
                    Arithmetic::Add => values.into_iter().map(|c| (1.0, c)).unzip(),
                    Arithmetic::Sub => values.into_iter().map(|c| (1.0, -c)).unzip(),
                    Arithmetic::Mul => values.into_iter().map(|c| (c, 0.0)).unzip(),
                    Arithmetic::Div if values.contains(&0.0) => {
                        return Err(invalid("Div by 0; the divisor must not be 0"));
                    }
                    Arithmetic::Div => values.into_iter().map(|c| (1.0 / c, 0.0)).unzip(),
                };
                self.affine(step, 0, mul, add)
            }
            (false, _) => {
                let values = self.per_channel(step, 1, self.required_constant(step, 0)?)?;
                let (mul, add): (Vec<f32>, Vec<f32>) = match arithmetic {
                    Arithmetic::Add => values.into_iter().map(|c| (1.0, c)).unzip(),
                    Arithmetic::Sub => values.into_iter().map(|c| (-1.0, c)).unzip(),
                    Arithmetic::Mul => values.into_iter().map(|c| (c, 0.0)).unzip(),
                    Arithmetic::Div => return Err(unsupported("Div of a constant by an activation")),
                };
                self.affine(step, 1, mul, add)
            }
        }
    }

    fn affine(&mut self, step: &Step, index: usize, mul: Vec<f32>, add: Vec<f32>) -> Result<Value, Problem> {
        let input = self.activation(step, index)?;
        self.emit(step, Op::ChannelAffine { mul, add }, vec![input])
    }

    /// A constant operand as one value a channel of the activation at input `index`.
    fn per_channel(&self, step: &Step, index: usize, constant: Constant) -> Result<Vec<f32>, Problem> {
        let input = self.activation(step, index)?;
        let result = self.result_dims(step)?;
        let activation = &self.fact(step.input(index).unwrap_or_default())?.dims;
        let [channels, ..] = self.shape_of(input).chw();
        let word = step.op_type();
        if activation != result || constant.dims.len() > result.len() {
            return Err(unsupported(format!(
                "{word} of {activation:?} and constant {:?}; the result must keep the activation's shape",
                constant.dims
            )));
        }
        let mut strides = vec![0usize; result.len()];
        let mut stride = 1;
        for (offset, &extent) in constant.dims.iter().rev().enumerate() {
            let axis = result.len() - 1 - offset;
            if extent != 1 && extent != result[axis] {
                return Err(invalid(format!(
                    "{word} of {activation:?} and constant {:?}; they must broadcast",
                    constant.dims
                )));
            }
            strides[axis] = if extent == 1 { 0 } else { stride };
            stride *= extent;
        }
        let inner: usize = result[2..].iter().product();
        let at = |channel: usize, mut cell: usize| {
            let mut position = channel * strides[1];
            for axis in (2..result.len()).rev() {
                position += cell % result[axis] * strides[axis];
                cell /= result[axis];
            }
            constant.data[position]
        };
        let mut values = Vec::with_capacity(channels);
        let varies = strides[2..].iter().any(|&stride| stride != 0);
        for channel in 0..channels {
            let value = at(channel, 0);
            if varies && (1..inner).any(|cell| at(channel, cell) != value) {
                return Err(unsupported(format!(
                    "{word} of a constant {:?} that varies inside a channel; one value a channel is supported",
                    constant.dims
                )));
            }
            values.push(value);
        }
        Ok(values)
    }
}
