//! Batch normalisation with the epilogue of its node.

use super::super::buffers::Buffers;
use super::super::kernels::epilogue::{self, Epilogue, EpilogueSums};
use super::super::kernels::partition::PARTS;
use super::super::kernels::simd::Isa;
use super::super::tape::{Differentiable, Gradient};
use super::{largest_code, step_gradient_scale, with_step};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Mean and variance of every channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f32>,
    /// Biased: divided by the number of values.
    pub(crate) variance: Vec<f32>,
}

impl Statistics {
    /// False where a batch overflowed.
    pub(crate) fn is_finite(&self) -> bool {
        self.mean.iter().chain(&self.variance).all(|v| v.is_finite())
    }
}

/// Where the statistics come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormMode {
    /// From the batch itself; gradients pass through them.
    Batch,
    /// As they are.
    Fixed,
    /// As they are; those of the batch are measured too.
    Observed,
}

/// Below this a channel counts as constant: normalised it is 0.
const CONSTANT: f64 = 1e-12;

/// `1 / sqrt(variance + epsilon)`, and 0 for a channel that is constant.
pub(crate) fn inverse_deviation(variance: f32, epsilon: f32) -> f64 {
    let deviation = (f64::from(variance) + f64::from(epsilon)).sqrt();
    if deviation > CONSTANT { 1.0 / deviation } else { 0.0 }
}

/// `y = epilogue(gamma * (x - mean) / sqrt(variance + epsilon) + beta)`: inputs x, gamma, beta and perhaps a step.
#[derive(Debug)]
pub(crate) struct Normalize {
    pub(crate) isa: Isa,
    pub(crate) channels: usize,
    /// Values of one sample.
    pub(crate) sample: usize,
    pub(crate) epsilon: f32,
    pub(crate) mode: NormMode,
    /// The running statistics; in batch mode only their mean is used, as the origin of sums.
    pub(crate) running: Statistics,
    pub(crate) epilogue: Epilogue,
    /// Statistics of the batch, known after `forward` in batch mode.
    pub(crate) batch: OnceLock<Statistics>,
}

impl Normalize {
    fn statistics(&self) -> &Statistics {
        match self.mode {
            NormMode::Fixed | NormMode::Observed => &self.running,
            NormMode::Batch => self.batch.get().unwrap_or(&self.running),
        }
    }

    fn inverse_deviations(&self) -> Vec<f64> {
        self.statistics().variance.iter().map(|&v| inverse_deviation(v, self.epsilon)).collect()
    }

    /// The normalisation as `x * mul + add`.
    fn affine(&self, gamma: &[f32], beta: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mean = &self.statistics().mean;
        let inverse = self.inverse_deviations();
        let mul: Vec<f32> = gamma.iter().zip(&inverse).map(|(&g, i)| (f64::from(g) * i) as f32).collect();
        let add = mul.iter().zip(beta).zip(mean).map(|((&m, &b), &mean)| b - mean * m).collect();
        (mul, add)
    }

    /// Values of a part, whole pixels.
    fn part(&self, len: usize) -> usize {
        (len / self.channels).div_ceil(PARTS).max(1) * self.channels
    }

    fn measure(&self, x: &[f32]) -> Statistics {
        let shift = &self.running.mean;
        let parts: Vec<_> = x.par_chunks(self.part(x.len())).map(|x| epilogue::moments(self.isa, x, shift)).collect();
        let count = (x.len() / self.channels) as f64;
        let mut statistics =
            Statistics { mean: Vec::with_capacity(self.channels), variance: Vec::with_capacity(self.channels) };
        for c in 0..self.channels {
            let sum: f64 = parts.iter().map(|p| p.0[c]).sum();
            let square: f64 = parts.iter().map(|p| p.1[c]).sum();
            let offset = sum / count;
            statistics.mean.push((f64::from(shift[c]) + offset) as f32);
            statistics.variance.push((square / count - offset * offset).max(0.0) as f32);
        }
        statistics
    }
}

impl Differentiable for Normalize {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let x = inputs[0];
        if self.mode != NormMode::Fixed {
            self.batch.get_or_init(|| self.measure(x));
        }
        let (mul, add) = self.affine(inputs[1], inputs[2]);
        let epilogue = with_step(&self.epilogue, inputs.get(3).copied());
        let mut y = buffers.take(x.len());
        let part = self.part(x.len());
        y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| {
            epilogue::affine(self.isa, x, &mul, &add, &epilogue, y);
        });
        y
    }

    fn backward(
        &self,
        inputs: &[&[f32]],
        _: &[f32],
        dy: &[f32],
        wanted: &[bool],
        buffers: &Buffers,
    ) -> Vec<Option<Gradient>> {
        let (x, gamma) = (inputs[0], inputs[1]);
        let (mul, add) = self.affine(gamma, inputs[2]);
        let epilogue = with_step(&self.epilogue, inputs.get(3).copied());
        let want_step = wanted.get(3).copied().unwrap_or(false);
        let mean = &self.statistics().mean;
        let part = self.part(x.len());
        let parts: Vec<EpilogueSums> = x
            .par_chunks(part)
            .zip(dy.par_chunks(part))
            .map(|(x, dy)| epilogue::backward_sums(self.isa, x, dy, (&mul, &add), mean, &epilogue, want_step))
            .collect();
        let inverse = self.inverse_deviations();
        let count = (x.len() / self.channels) as f64;
        let (mut dgamma, mut dbeta) = (Vec::new(), Vec::new());
        let (mut along, mut plus) = (vec![0.0; self.channels], vec![0.0; self.channels]);
        for c in 0..self.channels {
            let gradient: f64 = parts.iter().map(|p| p.gradient[c]).sum();
            let product: f64 = parts.iter().map(|p| p.product[c]).sum();
            dbeta.push(gradient as f32);
            dgamma.push((product * inverse[c]) as f32);
            if self.mode == NormMode::Batch {
                // d x = mul * (g - mean(g) - xhat * mean(g * xhat)), with xhat = (x - mean) / deviation.
                let m = f64::from(mul[c]);
                let slope = -m * product * inverse[c] * inverse[c] / count;
                along[c] = slope as f32;
                plus[c] = (-m * gradient / count - slope * f64::from(mean[c])) as f32;
            }
        }
        let mut gradients = vec![None, Some(Gradient::Values(dgamma)), Some(Gradient::Values(dbeta))];
        if wanted[0] {
            let mut dx = buffers.take(x.len());
            dx.par_chunks_mut(part).zip(x.par_chunks(part)).zip(dy.par_chunks(part)).for_each(|((dx, x), dy)| {
                epilogue::backward(self.isa, x, dy, (&mul, &add), &epilogue, &mul, &along, &plus, dx);
            });
            gradients[0] = Some(Gradient::Values(dx));
        }
        if inputs.len() > 3 {
            let step: f64 = parts.iter().map(|p| p.step).sum();
            let scale = step_gradient_scale(self.sample, largest_code(&epilogue));
            gradients.push(Some(Gradient::Values(vec![step as f32 * scale])));
        }
        gradients
    }
}
