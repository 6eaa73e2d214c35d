//! Convolution, matrix products and batch normalisation.

use super::build::{Builder, Constant, Value};
use super::error::{Problem, invalid, unsupported};
use super::source::Step;
use super::window::WindowAttributes;
use crate::ir::{BatchNorm, Conv, FullyConnected, Op, Shape, Tensor};

impl Builder<'_> {
    pub(super) fn conv(&mut self, step: &Step, attributes: &WindowAttributes, groups: usize) -> Result<Value, Problem> {
        let input = self.padded_activation(step, 0)?;
        let weight = self.required_constant(step, 1)?;
        let [channels, height, width] = self.shape_of(input.node).chw();
        let spatial = self.result_dims(step)?.len().saturating_sub(2);
        let (outputs, per_group, kernel) = match weight.dims[..] {
            [o, i, h, w] => (o, i, vec![h, w]),
            [o, i, w] => (o, i, vec![w]),
            _ => return Err(unsupported(format!("weight of shape {:?}; 3 or 4 axes are supported", weight.dims))),
        };
        if weight.data.is_empty() || outputs % groups != 0 || per_group.checked_mul(groups) != Some(channels) {
            return Err(invalid(format!(
                "weight of shape {:?} with {groups} groups for {channels} input channels; they must agree",
                weight.dims
            )));
        }
        if attributes.kernel.as_ref().is_some_and(|k| *k != kernel) {
            return Err(invalid(format!(
                "kernel_shape {:?} for a weight of shape {:?}; they must agree",
                attributes.kernel, weight.dims
            )));
        }
        let fitted = attributes.fit(&kernel, spatial, [height, width], input.padding)?;
        let dims = vec![outputs, per_group, if spatial == 1 { 1 } else { kernel[0] }, kernel[kernel.len() - 1]];
        let bias = self.constant(step, 2)?.map(|bias| vector(bias, outputs, "bias")).transpose()?;
        let conv = Conv { weight: tensor(dims, weight.data)?, bias, window: fitted.window, groups, batch_norm: None };
        let shape = windowed_shape(outputs, fitted.window.output(height, width))?;
        self.expect_shape(step, &shape)?;
        self.emit(step, Op::Conv(conv), vec![input.node])
    }

    pub(super) fn gemm(&mut self, step: &Step, alpha: f32, beta: f32, trans_b: bool) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let weight = matrix(self.required_constant(step, 1)?, !trans_b)?;
        let scaled = |values: &[f32], factor: f32| values.iter().map(|v| v * factor).collect::<Vec<f32>>();
        let weight = if alpha == 1.0 { weight } else { weight.with_data(scaled(weight.data(), alpha)) };
        let outputs = weight.dims()[0];
        let bias = self.constant(step, 2)?.map(|bias| row(bias, outputs)).transpose()?;
        let bias = bias.map(|bias| if beta == 1.0 { bias } else { scaled(&bias, beta) });
        self.check_features(input, &weight)?;
        self.emit(step, Op::FullyConnected(FullyConnected { weight, bias, batch_norm: None }), vec![input])
    }

    pub(super) fn mat_mul(&mut self, step: &Step) -> Result<Value, Problem> {
        if !self.is_activation(step, 0) || self.is_activation(step, 1) {
            return Err(unsupported("MatMul whose second factor is no constant; activation x constant is supported"));
        }
        let input = self.activation(step, 0)?;
        let dims = &self.fact(step.input(0).unwrap_or_default())?.dims;
        let weight = matrix(self.required_constant(step, 1)?, true)?;
        if dims.iter().rev().skip(1).any(|&d| d != 1) {
            return Err(unsupported(format!(
                "MatMul of an activation of shape {dims:?}; all axes but the last must be 1"
            )));
        }
        self.check_features(input, &weight)?;
        let mut result = self.shape_of(input).dims().to_vec();
        if let Some(last) = result.last_mut() {
            *last = weight.dims()[0];
        }
        let shape = Shape::new(result);
        self.emit_reshaped(
            step,
            Op::FullyConnected(FullyConnected { weight, bias: None, batch_norm: None }),
            vec![input],
            shape,
        )
    }

    fn check_features(&self, input: crate::ir::NodeId, weight: &Tensor) -> Result<(), Problem> {
        let features = self.shape_of(input).len();
        if weight.dims()[1] == features {
            return Ok(());
        }
        Err(invalid(format!("weight for {} inputs; the activation has {features}", weight.dims()[1])))
    }

    pub(super) fn batch_norm(&mut self, step: &Step, epsilon: f32) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let channels = self.shape_of(input).chw()[0];
        let parameter = |index, what| vector(self.required_constant(step, index)?, channels, what);
        let batch_norm = BatchNorm {
            gamma: parameter(1, "scale")?,
            beta: parameter(2, "B")?,
            mean: parameter(3, "mean")?,
            variance: parameter(4, "var")?,
            epsilon,
        };
        self.emit(step, Op::BatchNorm(batch_norm), vec![input])
    }

    /// The shape computed here against the one of tract: they differ where a rounding rule is read differently.
    pub(super) fn expect_shape(&self, step: &Step, computed: &Shape) -> Result<(), Problem> {
        let inferred = self.result_shape(step)?;
        if inferred == *computed {
            return Ok(());
        }
        Err(unsupported(format!(
            "result of shape {inferred} by shape inference, {computed} by the window; they must agree"
        )))
    }
}

pub(super) fn windowed_shape(channels: usize, size: Option<[usize; 2]>) -> Result<Shape, Problem> {
    let [height, width] = size.ok_or_else(|| invalid("window does not fit the padded image"))?;
    Ok(Shape::image(channels, height, width))
}

fn tensor(dims: Vec<usize>, data: Vec<f32>) -> Result<Tensor, Problem> {
    Tensor::new(dims, data).ok_or_else(|| invalid("weight; its extents and data disagree"))
}

/// A parameter with one value a channel.
fn vector(constant: Constant, channels: usize, what: &str) -> Result<Vec<f32>, Problem> {
    if constant.data.len() != channels {
        return Err(invalid(format!("{what} of shape {:?}; [{channels}] is required", constant.dims)));
    }
    Ok(constant.data)
}

/// Gemm's C, broadcast to one row.
fn row(constant: Constant, outputs: usize) -> Result<Vec<f32>, Problem> {
    match constant.data.len() {
        1 => Ok(vec![constant.data[0]; outputs]),
        n if n == outputs && constant.dims.last() == Some(&outputs) => Ok(constant.data),
        _ => Err(invalid(format!("C of shape {:?}; it must broadcast to [1, {outputs}]", constant.dims))),
    }
}

/// A weight as `[outputs, inputs]`; `inputs_first` where it is stored the other way round.
fn matrix(constant: Constant, inputs_first: bool) -> Result<Tensor, Problem> {
    let [rows, columns] = constant.dims[..] else {
        return Err(unsupported(format!("weight of shape {:?}; 2 axes are supported", constant.dims)));
    };
    if rows == 0 || columns == 0 {
        return Err(invalid(format!("weight of shape {:?}; extents must be >= 1", constant.dims)));
    }
    if !inputs_first {
        return tensor(constant.dims, constant.data);
    }
    let mut data = Vec::with_capacity(constant.data.len());
    for column in 0..columns {
        data.extend((0..rows).map(|row| constant.data[row * columns + column]));
    }
    tensor(vec![columns, rows], data)
}
