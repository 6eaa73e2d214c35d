//! Depthwise convolution: one filter a channel, vectors along the channels. Weights are `[kernel height, kernel width, channels]`.

use super::convolution::{ConvolutionGradients, Geometry};
use super::partition::{PARTS, part_size, ranges, sum_parts};
use super::simd::{Isa, vectorized};
use rayon::prelude::*;

/// A planned depthwise convolution.
#[derive(Debug)]
pub struct Depthwise {
    geometry: Geometry,
}

/// The output columns whose tap falls inside the image: first, end, and the image column of the first.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    end: usize,
    input: usize,
}

/// What one tap does for all rows: its rows of output with their image rows, and its columns.
struct Tap {
    rows: Vec<(usize, usize)>,
    columns: Span,
}

impl Depthwise {
    /// Plans it; `geometry.is_depthwise()` holds.
    pub fn new(geometry: Geometry) -> Self {
        Depthwise { geometry }
    }

    /// The extents it was planned for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn taps(&self) -> Vec<Tap> {
        let g = &self.geometry;
        let reached = |axis: usize, k: usize| -> Vec<(usize, usize)> {
            let inside = |o: usize| (o * g.stride[axis] + k * g.dilation[axis]).checked_sub(g.before[axis]);
            (0..g.output[axis]).filter_map(|o| inside(o).filter(|&i| i < g.input[axis]).map(|i| (o, i))).collect()
        };
        let taps = (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx)));
        taps.map(|(ky, kx)| {
            let columns = reached(1, kx);
            let first = columns.first().copied().unwrap_or((0, 0));
            Tap { rows: reached(0, ky), columns: Span { first: first.0, end: first.0 + columns.len(), input: first.1 } }
        })
        .collect()
    }

    /// Consecutive samples; `bias` is the start value of every sum.
    pub(crate) fn forward_part(&self, isa: Isa, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let g = &self.geometry;
        let taps = self.taps();
        for (x, y) in x.chunks_exact(g.input_len()).zip(y.chunks_exact_mut(g.output_len())) {
            match bias {
                Some(bias) => y.chunks_exact_mut(g.output[2]).for_each(|pixel| pixel.copy_from_slice(bias)),
                None => y.fill(0.0),
            }
            forward_image(isa, g, &taps, x, weight, y);
        }
    }

    /// `y = x * weight + bias`.
    pub fn forward_into(&self, isa: Isa, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let g = &self.geometry;
        let batch = x.len() / g.input_len();
        let size = part_size(batch, PARTS);
        let parts = y.par_chunks_mut(size * g.output_len()).zip(x.par_chunks(size * g.input_len()));
        parts.for_each(|(y, x)| self.forward_part(isa, x, weight, bias, y));
    }

    /// Gradients from `x`, `weight` and the gradient of the output; that of the input goes into the buffer of its length,
    /// where one is given.
    pub fn backward(
        &self,
        isa: Isa,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        mut dx: Option<Vec<f32>>,
    ) -> ConvolutionGradients {
        let g = &self.geometry;
        let batch = x.len() / g.input_len();
        let taps = self.taps();
        let size = part_size(batch, PARTS);
        let parts = ranges(batch, PARTS);
        let mut dx_parts: Vec<&mut [f32]> = match &mut dx {
            Some(dx) => dx.chunks_mut(size * g.input_len()).collect(),
            None => parts.iter().map(|_| Default::default()).collect(),
        };
        let sums: Vec<(Vec<f32>, Vec<f32>)> = (parts.into_par_iter(), dx_parts.par_iter_mut())
            .into_par_iter()
            .map(|(range, dx)| {
                let mut dw = vec![0.0; weight.len()];
                let mut db = vec![0.0; g.output[2]];
                for (i, n) in range.enumerate() {
                    let x = &x[n * g.input_len()..][..g.input_len()];
                    let dy = &dy[n * g.output_len()..][..g.output_len()];
                    weight_gradient(isa, g, &taps, x, dy, &mut dw, &mut db);
                    if !dx.is_empty() {
                        let dx = &mut dx[i * g.input_len()..][..g.input_len()];
                        dx.fill(0.0);
                        input_gradient(isa, g, &taps, dy, weight, dx);
                    }
                }
                (dw, db)
            })
            .collect();
        let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        ConvolutionGradients { input: dx, weight: sum_parts(&dw), bias: sum_parts(&db) }
    }
}

vectorized! {
    fn forward_image(g: &Geometry, taps: &[Tap], x: &[f32], weight: &[f32], y: &mut [f32]) {
        let c = g.output[2];
        for (tap, w) in taps.iter().zip(weight.chunks_exact(c)) {
            for &(oy, iy) in &tap.rows {
                for (i, ox) in (tap.columns.first..tap.columns.end).enumerate() {
                    let from = (iy * g.input[1] + tap.columns.input + i * g.stride[1]) * c;
                    let to = (oy * g.output[1] + ox) * c;
                    let (x, y) = (&x[from..from + c], &mut y[to..to + c]);
                    for j in 0..c {
                        y[j] += x[j] * w[j];
                    }
                }
            }
        }
    }
}

vectorized! {
    fn input_gradient(g: &Geometry, taps: &[Tap], dy: &[f32], weight: &[f32], dx: &mut [f32]) {
        let c = g.output[2];
        for (tap, w) in taps.iter().zip(weight.chunks_exact(c)) {
            for &(oy, iy) in &tap.rows {
                for (i, ox) in (tap.columns.first..tap.columns.end).enumerate() {
                    let to = (iy * g.input[1] + tap.columns.input + i * g.stride[1]) * c;
                    let from = (oy * g.output[1] + ox) * c;
                    let (dy, dx) = (&dy[from..from + c], &mut dx[to..to + c]);
                    for j in 0..c {
                        dx[j] += dy[j] * w[j];
                    }
                }
            }
        }
    }
}

vectorized! {
    fn weight_gradient(g: &Geometry, taps: &[Tap], x: &[f32], dy: &[f32], dw: &mut [f32], db: &mut [f32]) {
        let c = g.output[2];
        for (tap, dw) in taps.iter().zip(dw.chunks_exact_mut(c)) {
            for &(oy, iy) in &tap.rows {
                for (i, ox) in (tap.columns.first..tap.columns.end).enumerate() {
                    let at = (iy * g.input[1] + tap.columns.input + i * g.stride[1]) * c;
                    let from = (oy * g.output[1] + ox) * c;
                    let (x, dy) = (&x[at..at + c], &dy[from..from + c]);
                    for j in 0..c {
                        dw[j] += x[j] * dy[j];
                    }
                }
            }
        }
        for dy in dy.chunks_exact(c) {
            for j in 0..c {
                db[j] += dy[j];
            }
        }
    }
}
