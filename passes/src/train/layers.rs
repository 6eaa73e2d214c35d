//! The layers of a training graph as [`Differentiable`] operations over the kernels.

mod distance;
mod loss;
mod normalize;
mod pointwise;
mod weights;

pub(crate) use distance::Distance;
pub(crate) use loss::{Loss, Targets, largest};
pub(crate) use normalize::{NormMode, Normalize, Statistics, inverse_deviation};
pub(crate) use pointwise::{Affine, Concat, Permute, Pooling, Sum};
pub(crate) use weights::{RoundWeights, WeightRounding};

use super::buffers::Buffers;
use super::kernels::convolution::Convolution;
use super::kernels::depthwise::Depthwise;
use super::kernels::epilogue::Epilogue;
use super::kernels::linear::Linear;
use super::kernels::simd::Isa;
use super::tape::{Differentiable, Gradient};
use std::sync::Arc;

/// A layer with weights.
#[allow(clippy::large_enum_variant, reason = "one value a layer")]
#[derive(Debug)]
pub(crate) enum Product {
    /// Convolution with any number of groups.
    Convolution(Convolution),
    /// One channel a group.
    Depthwise(Depthwise),
    /// Fully connected.
    Linear(Linear),
}

/// `y = x * w (+ b)`: inputs x, w and perhaps b.
#[derive(Debug)]
pub(crate) struct ProductLayer {
    pub(crate) isa: Isa,
    pub(crate) product: Arc<Product>,
}

impl Differentiable for ProductLayer {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let (x, w, bias) = (inputs[0], inputs[1], inputs.get(2).copied());
        match &*self.product {
            Product::Convolution(c) => {
                let mut y = buffers.take(x.len() / c.geometry().input_len() * c.geometry().output_len());
                c.forward_into(self.isa, x, w, bias, &mut y);
                y
            }
            Product::Depthwise(d) => {
                let mut y = buffers.take(x.len() / d.geometry().input_len() * d.geometry().output_len());
                d.forward_into(self.isa, x, w, bias, &mut y);
                y
            }
            Product::Linear(l) => l.forward(self.isa, x, w, bias),
        }
    }

    fn backward(
        &self,
        inputs: &[&[f32]],
        _: &[f32],
        dy: &[f32],
        wanted: &[bool],
        buffers: &Buffers,
    ) -> Vec<Option<Gradient>> {
        let (x, w) = (inputs[0], inputs[1]);
        let isa = self.isa;
        let (dx, dw, db) = match &*self.product {
            Product::Convolution(c) => {
                let g = c.backward(isa, x, w, dy, wanted[0].then(|| buffers.take(x.len())));
                (g.input, g.weight, g.bias)
            }
            Product::Depthwise(d) => {
                let g = d.backward(isa, x, w, dy, wanted[0].then(|| buffers.take(x.len())));
                (g.input, g.weight, g.bias)
            }
            Product::Linear(l) => {
                (wanted[0].then(|| l.input_gradient(isa, dy, w)), l.weight_gradient(isa, x, dy), l.bias_gradient(dy))
            }
        };
        let mut gradients = vec![dx.map(Gradient::Values), Some(Gradient::Values(dw))];
        if inputs.len() > 2 {
            gradients.push(Some(Gradient::Values(db)));
        }
        gradients
    }
}

/// The epilogue of a layer whose step may be the last of its inputs, a tensor of one value.
fn with_step(epilogue: &Epilogue, step: Option<&[f32]>) -> Epilogue {
    let mut epilogue = *epilogue;
    if let (Some(codes), Some(step)) = (&mut epilogue.codes, step) {
        codes.scale = step[0];
    }
    epilogue
}

/// The largest code of what an epilogue rounds to, counted from the lowest.
fn largest_code(epilogue: &Epilogue) -> f32 {
    epilogue.codes.map_or(1.0, |codes| codes.high - codes.low)
}

/// Scale of a step's gradient, `1 / sqrt(values * largest code)` (LSQ, Esser et al. 2020, section 2.2).
fn step_gradient_scale(values: usize, largest_code: f32) -> f32 {
    1.0 / (values as f32 * largest_code).sqrt()
}

#[cfg(test)]
mod tests;
