//! Layers without weights: affine and epilogue, sum, concatenation, permutation, pooling.

use super::super::buffers::Buffers;
use super::super::kernels::epilogue::{self, Epilogue};
use super::super::kernels::partition::{PARTS, part_size};
use super::super::kernels::pool::Pool;
use super::super::kernels::simd::Isa;
use super::super::tape::{Differentiable, Gradient};
use super::{largest_code, step_gradient_scale, with_step};
use rayon::prelude::*;
use std::sync::Arc;

/// `y = epilogue(x * mul[c] + add[c])` with constant `mul` and `add`: inputs x and perhaps a step.
#[derive(Debug)]
pub(crate) struct Affine {
    pub(crate) isa: Isa,
    pub(crate) mul: Vec<f32>,
    pub(crate) add: Vec<f32>,
    /// Values of one sample.
    pub(crate) sample: usize,
    pub(crate) epilogue: Epilogue,
}

impl Affine {
    /// The epilogue alone.
    #[cfg(test)]
    pub(crate) fn identity(isa: Isa, sample: usize, epilogue: Epilogue) -> Self {
        Affine { isa, mul: vec![1.0], add: vec![0.0], sample, epilogue }
    }

    fn part(&self, len: usize) -> usize {
        (len / self.mul.len()).div_ceil(PARTS).max(1) * self.mul.len()
    }
}

impl Differentiable for Affine {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let x = inputs[0];
        let epilogue = with_step(&self.epilogue, inputs.get(1).copied());
        let mut y = buffers.take(x.len());
        let part = self.part(x.len());
        y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| {
            epilogue::affine(self.isa, x, &self.mul, &self.add, &epilogue, y);
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
        let x = inputs[0];
        let epilogue = with_step(&self.epilogue, inputs.get(1).copied());
        let part = self.part(x.len());
        let zeros = vec![0.0; self.mul.len()];
        let affine = (&self.mul[..], &self.add[..]);
        let mut gradients = vec![None];
        if wanted[0] {
            let mut dx = buffers.take(x.len());
            dx.par_chunks_mut(part).zip(x.par_chunks(part)).zip(dy.par_chunks(part)).for_each(|((dx, x), dy)| {
                epilogue::backward(self.isa, x, dy, affine, &epilogue, &self.mul, &zeros, &zeros, dx);
            });
            gradients[0] = Some(Gradient::Values(dx));
        }
        if inputs.len() > 1 {
            let parts = x.par_chunks(part).zip(dy.par_chunks(part));
            let steps: Vec<f64> = parts
                .map(|(x, dy)| epilogue::backward_sums(self.isa, x, dy, affine, &zeros, &epilogue, true).step)
                .collect();
            let scale = step_gradient_scale(self.sample, largest_code(&epilogue));
            gradients.push(Some(Gradient::Values(vec![steps.iter().sum::<f64>() as f32 * scale])));
        }
        gradients
    }
}

/// `y = clip(a + b)`, rounding left to an [`Affine`] after it: inputs a and b.
#[derive(Debug)]
pub(crate) struct Sum {
    pub(crate) isa: Isa,
    pub(crate) epilogue: Epilogue,
}

impl Differentiable for Sum {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let mut y = buffers.take(inputs[0].len());
        let part = y.len().div_ceil(PARTS).max(1);
        y.par_chunks_mut(part).zip(inputs[0].par_chunks(part)).zip(inputs[1].par_chunks(part)).for_each(
            |((y, a), b)| {
                epilogue::add(self.isa, a, b, &self.epilogue, y);
            },
        );
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
        let mut dx = buffers.take(dy.len());
        let part = dy.len().div_ceil(PARTS).max(1);
        let inputs = inputs[0].par_chunks(part).zip(inputs[1].par_chunks(part));
        dx.par_chunks_mut(part).zip(inputs).zip(dy.par_chunks(part)).for_each(|((dx, (a, b)), dy)| {
            epilogue::add_backward(self.isa, a, b, dy, &self.epilogue, dx);
        });
        match wanted {
            [true, true] => vec![Some(Gradient::Values(dx)), Some(Gradient::SameAs(0))],
            [false, true] => vec![None, Some(Gradient::Values(dx))],
            _ => vec![Some(Gradient::Values(dx)), None],
        }
    }
}

/// The channels of `a`, then those of `b`, at every pixel: inputs a and b.
#[derive(Debug)]
pub(crate) struct Concat {
    pub(crate) channels: [usize; 2],
}

impl Differentiable for Concat {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let mut y = buffers.take(inputs[0].len() + inputs[1].len());
        y.clear();
        let pixels = inputs[0].chunks_exact(self.channels[0]).zip(inputs[1].chunks_exact(self.channels[1]));
        for (a, b) in pixels {
            y.extend_from_slice(a);
            y.extend_from_slice(b);
        }
        y
    }

    fn backward(&self, _: &[&[f32]], _: &[f32], dy: &[f32], _: &[bool], _: &Buffers) -> Vec<Option<Gradient>> {
        let [a, b] = self.channels;
        let pixels = dy.chunks_exact(a + b);
        let first = pixels.clone().flat_map(|p| p[..a].iter().copied()).collect();
        let second = pixels.flat_map(|p| p[a..].iter().copied()).collect();
        vec![Some(Gradient::Values(first)), Some(Gradient::Values(second))]
    }
}

/// The values of every sample in another order: `y[i] = x[from[i]]`.
#[derive(Debug)]
pub(crate) struct Permute {
    pub(crate) from: Arc<[usize]>,
}

impl Permute {
    /// Moves the samples of `x` to `y`.
    pub(crate) fn gather(from: &[usize], x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(from.len()).zip(y.chunks_exact_mut(from.len())) {
            for (y, &i) in y.iter_mut().zip(from) {
                *y = x[i];
            }
        }
    }
}

impl Differentiable for Permute {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let mut y = buffers.take(inputs[0].len());
        Permute::gather(&self.from, inputs[0], &mut y);
        y
    }

    fn backward(&self, _: &[&[f32]], _: &[f32], dy: &[f32], _: &[bool], buffers: &Buffers) -> Vec<Option<Gradient>> {
        let mut dx = buffers.take(dy.len());
        let len = self.from.len();
        for (dx, dy) in dx.chunks_exact_mut(len).zip(dy.chunks_exact(len)) {
            for (dy, &i) in dy.iter().zip(&*self.from) {
                dx[i] = *dy;
            }
        }
        vec![Some(Gradient::Values(dx))]
    }
}

/// Maximum or average over windows: input x.
#[derive(Debug)]
pub(crate) struct Pooling {
    pub(crate) isa: Isa,
    pub(crate) pool: Arc<Pool>,
}

impl Differentiable for Pooling {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let p = &self.pool;
        let batch = inputs[0].len() / p.input_len();
        let mut y = buffers.take(batch * p.output_len());
        let size = part_size(batch, PARTS);
        let parts = y.par_chunks_mut(size * p.output_len()).zip(inputs[0].par_chunks(size * p.input_len()));
        parts.for_each(|(y, x)| p.forward_part(self.isa, x, y));
        y
    }

    fn backward(
        &self,
        inputs: &[&[f32]],
        output: &[f32],
        dy: &[f32],
        _: &[bool],
        buffers: &Buffers,
    ) -> Vec<Option<Gradient>> {
        let p = &self.pool;
        let batch = inputs[0].len() / p.input_len();
        let mut dx = buffers.zeros(inputs[0].len());
        let size = part_size(batch, PARTS);
        let (from, to) = (size * p.input_len(), size * p.output_len());
        let outputs = output.par_chunks(to).zip(dy.par_chunks(to));
        dx.par_chunks_mut(from).zip(inputs[0].par_chunks(from)).zip(outputs).for_each(|((dx, x), (y, dy))| {
            p.backward_part(self.isa, x, y, dy, dx);
        });
        vec![Some(Gradient::Values(dx))]
    }
}
