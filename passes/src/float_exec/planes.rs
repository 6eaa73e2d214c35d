//! Windows over single planes: depthwise convolution and pools. Each tap passes over a whole row of positions.

use super::slide::Slide;
use super::{Finish, Scratch};
use crate::ir::{Conv, Shape, Window};
use crate::simd::{Isa, vectorized};

/// A convolution whose groups see one channel each.
#[derive(Debug)]
pub(super) struct Depthwise {
    slide: Slide,
    /// Operand's channels, and results of each.
    channels: usize,
    multiplier: usize,
    /// `[output][tap]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// Of a narrow plane that no position is left out of, the cell under each tap at the first position, padding counted.
    offsets: Vec<usize>,
}

/// Wider rows fill vectors by themselves.
const NARROW: usize = 32;

impl Depthwise {
    pub(super) fn new(conv: &Conv, operand: &Shape, result: &Shape) -> Self {
        let outputs = conv.weight.dims()[0];
        let slide = Slide::new(conv.window, operand, result);
        let Window { kernel, stride, dilation, padding } = conv.window;
        let line = slide.width + padding.left + padding.right;
        let offset = |tap: usize| tap / kernel[1] * dilation[0] * line + tap % kernel[1] * dilation[1];
        let narrow = stride == [1, 1] && slide.columns < NARROW;
        Depthwise {
            offsets: if narrow { (0..slide.taps()).map(offset).collect() } else { Vec::new() },
            slide,
            channels: conv.groups,
            multiplier: outputs / conv.groups,
            weights: conv.weight.data().to_vec(),
            bias: conv.bias.clone().unwrap_or_else(|| vec![0.0; outputs]),
        }
    }

    pub(super) fn run(&self, isa: Isa, x: &[f32], y: &mut [f32], finish: Finish, scratch: &mut Scratch) {
        let (plane, result) = (self.slide.height * self.slide.width, self.slide.rows * self.slide.columns);
        let outputs = self.channels * self.multiplier;
        for (index, y) in y.chunks_exact_mut(result).enumerate() {
            let (image, output) = (index / outputs, index % outputs);
            let x = &x[(image * self.channels + output / self.multiplier) * plane..][..plane];
            let weights = &self.weights[output * self.slide.taps()..][..self.slide.taps()];
            match self.offsets.is_empty() {
                true => depthwise(isa, &self.slide, x, weights, self.bias[output], y),
                false => self.padded(isa, x, weights, self.bias[output], y, scratch),
            }
            finish.apply(y);
        }
    }

    /// A narrow plane with its padding as one row of positions: those of the padding are computed, and left out.
    fn padded(&self, isa: Isa, x: &[f32], weights: &[f32], bias: f32, y: &mut [f32], scratch: &mut Scratch) {
        let Slide { width, columns, rows, window, .. } = &self.slide;
        let padding = window.padding;
        let line = width + padding.left + padding.right;
        let Scratch { panel, sums, .. } = scratch;
        panel.clear();
        panel.resize(padding.top * line, 0.0);
        for x in x.chunks_exact(*width) {
            panel.resize(panel.len() + padding.left, 0.0);
            panel.extend_from_slice(x);
            panel.resize(panel.len() + padding.right, 0.0);
        }
        panel.resize(panel.len() + padding.bottom * line, 0.0);
        sums.clear();
        sums.resize((rows - 1) * line + columns, bias);
        for (&offset, &weight) in self.offsets.iter().zip(weights) {
            add_products(isa, &panel[offset..], weight, sums);
        }
        for (y, sums) in y.chunks_exact_mut(*columns).zip(sums.chunks(line)) {
            y.copy_from_slice(&sums[..*columns]);
        }
    }
}

vectorized! {
    fn add_products(x: &[f32], weight: f32, sums: &mut [f32]) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * weight);
    }
}

vectorized! {
    /// `y = bias + x * weight` over the taps inside the plane, each product and sum rounded, in order of taps.
    fn depthwise(slide: &Slide, x: &[f32], weights: &[f32], bias: f32, y: &mut [f32]) {
        let stride = slide.window.stride[1];
        for (row, y) in y.chunks_exact_mut(slide.columns).enumerate() {
            y.fill(bias);
            slide.for_each_tap(row, |tap, columns, first| {
                let (w, y, x) = (weights[tap], &mut y[columns], &x[first..]);
                if stride == 1 {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x * w);
                } else {
                    y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y += x * w);
                }
            });
        }
    }
}

/// A pool over every plane.
#[derive(Debug)]
pub(super) struct Pool {
    slide: Slide,
    /// Of an average pool, what the sum of each position is divided by.
    divisors: Option<Vec<f32>>,
}

impl Pool {
    pub(super) fn maximum(window: Window, operand: &Shape, result: &Shape) -> Self {
        Pool { slide: Slide::new(window, operand, result), divisors: None }
    }

    pub(super) fn average(window: Window, count_include_pad: bool, operand: &Shape, result: &Shape) -> Self {
        let slide = Slide::new(window, operand, result);
        let mut counts = vec![0u32; slide.rows * slide.columns];
        for (row, counts) in counts.chunks_exact_mut(slide.columns).enumerate() {
            slide.for_each_tap(row, |_, columns, _| counts[columns].iter_mut().for_each(|count| *count += 1));
        }
        let divisor = |count: &u32| if count_include_pad { slide.taps() as f32 } else { (*count).max(1) as f32 };
        let divisors = counts.iter().map(divisor).collect();
        Pool { slide, divisors: Some(divisors) }
    }

    pub(super) fn run(&self, isa: Isa, x: &[f32], y: &mut [f32]) {
        let (plane, result) = (self.slide.height * self.slide.width, self.slide.rows * self.slide.columns);
        for (x, y) in x.chunks_exact(plane).zip(y.chunks_exact_mut(result)) {
            match &self.divisors {
                None => maximum(isa, &self.slide, x, y),
                Some(divisors) => average(isa, &self.slide, x, divisors, y),
            }
        }
    }
}

vectorized! {
    fn maximum(slide: &Slide, x: &[f32], y: &mut [f32]) {
        let stride = slide.window.stride[1];
        for (row, y) in y.chunks_exact_mut(slide.columns).enumerate() {
            y.fill(f32::NEG_INFINITY);
            slide.for_each_tap(row, |_, columns, first| {
                for (y, &x) in y[columns].iter_mut().zip(x[first..].iter().step_by(stride)) {
                    *y = if x > *y { x } else { *y };
                }
            });
        }
    }
}

vectorized! {
    /// Sums in order of taps, each rounded, then one division.
    fn average(slide: &Slide, x: &[f32], divisors: &[f32], y: &mut [f32]) {
        let stride = slide.window.stride[1];
        let rows = y.chunks_exact_mut(slide.columns).zip(divisors.chunks_exact(slide.columns));
        for (row, (y, divisors)) in rows.enumerate() {
            y.fill(0.0);
            slide.for_each_tap(row, |_, columns, first| {
                y[columns].iter_mut().zip(x[first..].iter().step_by(stride)).for_each(|(y, x)| *y += x);
            });
            y.iter_mut().zip(divisors).for_each(|(y, divisor)| *y /= divisor);
        }
    }
}
