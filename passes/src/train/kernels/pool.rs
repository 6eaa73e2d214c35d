//! Maximum and average over windows of NHWC images, and their gradients.

use super::simd::{Isa, vectorized};

/// Extents of a pooling layer; images are `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Of the input.
    pub input: [usize; 3],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Taps.
    pub kernel: [usize; 2],
    /// Step between positions.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Padding above and to the left.
    pub before: [usize; 2],
    /// Padding below and to the right.
    pub after: [usize; 2],
    /// What it computes.
    pub kind: PoolKind,
}

/// The two kinds of pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Largest value; padding never wins.
    Max,
    /// Mean, over the image cells or over all cells of the window.
    Average {
        /// Whether padding cells count in the divisor.
        count_include_pad: bool,
    },
}

impl Pool {
    /// Values of one input image.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Values of one output image.
    pub fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.input[2]
    }

    /// The input cells under each output position: start and end of rows and columns, with the divisor.
    fn windows(&self) -> Vec<Cells> {
        let mut windows = Vec::with_capacity(self.output[0] * self.output[1]);
        for y in 0..self.output[0] {
            for x in 0..self.output[1] {
                let rows = self.taps(0, y);
                let columns = self.taps(1, x);
                let cells: Vec<usize> = rows
                    .iter()
                    .flat_map(|r| columns.iter().map(move |c| (r * self.input[1] + c) * self.input[2]))
                    .collect();
                let divisor = match self.kind {
                    PoolKind::Average { count_include_pad: true } => self.counted(0, y) * self.counted(1, x),
                    _ => cells.len(),
                };
                windows.push(Cells { cells, factor: 1.0 / divisor.max(1) as f32 });
            }
        }
        windows
    }

    fn taps(&self, axis: usize, position: usize) -> Vec<usize> {
        (0..self.kernel[axis])
            .filter_map(|k| (position * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.before[axis]))
            .filter(|&i| i < self.input[axis])
            .collect()
    }

    /// Taps inside the image or its padding.
    fn counted(&self, axis: usize, position: usize) -> usize {
        let limit = self.input[axis] + self.before[axis] + self.after[axis];
        let start = position * self.stride[axis];
        (0..self.kernel[axis]).filter(|k| start + k * self.dilation[axis] < limit).count()
    }

    /// Pools consecutive images of `x` into `y`.
    pub(crate) fn forward_part(&self, isa: Isa, x: &[f32], y: &mut [f32]) {
        let windows = self.windows();
        for (x, y) in x.chunks_exact(self.input_len()).zip(y.chunks_exact_mut(self.output_len())) {
            match self.kind {
                PoolKind::Max => max_image(isa, x, &windows, self.input[2], y),
                PoolKind::Average { .. } => average_image(isa, x, &windows, self.input[2], y),
            }
        }
    }

    /// Gradient of consecutive images, from the pooled images `y` and their gradient; `dx` starts as zeros.
    pub(crate) fn backward_part(&self, isa: Isa, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
        let windows = self.windows();
        let (inputs, outputs) = (self.input_len(), self.output_len());
        for (n, dx) in dx.chunks_exact_mut(inputs).enumerate() {
            let (y, dy) = (&y[n * outputs..][..outputs], &dy[n * outputs..][..outputs]);
            match self.kind {
                PoolKind::Max => {
                    let mut open = vec![0.0; self.input[2]];
                    max_gradient(isa, &x[n * inputs..][..inputs], y, dy, &windows, &mut open, dx);
                }
                PoolKind::Average { .. } => average_gradient(isa, dy, &windows, self.input[2], dx),
            }
        }
    }
}

struct Cells {
    cells: Vec<usize>,
    factor: f32,
}

vectorized! {
    fn max_image(x: &[f32], windows: &[Cells], channels: usize, y: &mut [f32]) {
        for (window, y) in windows.iter().zip(y.chunks_exact_mut(channels)) {
            y.fill(f32::NEG_INFINITY);
            for &cell in &window.cells {
                for (y, &x) in y.iter_mut().zip(&x[cell..cell + channels]) {
                    *y = if x > *y { x } else { *y };
                }
            }
        }
    }
}

vectorized! {
    fn average_image(x: &[f32], windows: &[Cells], channels: usize, y: &mut [f32]) {
        for (window, y) in windows.iter().zip(y.chunks_exact_mut(channels)) {
            y.fill(0.0);
            for &cell in &window.cells {
                for (y, &x) in y.iter_mut().zip(&x[cell..cell + channels]) {
                    *y += x;
                }
            }
            for y in y {
                *y *= window.factor;
            }
        }
    }
}

vectorized! {
    /// The gradient goes to the first cell that holds the maximum; `open` is scratch, what is left to give per channel.
    fn max_gradient(x: &[f32], y: &[f32], dy: &[f32], windows: &[Cells], open: &mut [f32], dx: &mut [f32]) {
        let channels = open.len();
        for (n, window) in windows.iter().enumerate() {
            let y = &y[n * channels..][..channels];
            open.copy_from_slice(&dy[n * channels..][..channels]);
            for &cell in &window.cells {
                let (x, dx) = (&x[cell..][..channels], &mut dx[cell..][..channels]);
                for i in 0..channels {
                    let given = if x[i] == y[i] { open[i] } else { 0.0 };
                    dx[i] += given;
                    open[i] = if x[i] == y[i] { 0.0 } else { open[i] };
                }
            }
        }
    }
}

vectorized! {
    fn average_gradient(dy: &[f32], windows: &[Cells], channels: usize, dx: &mut [f32]) {
        for (window, dy) in windows.iter().zip(dy.chunks_exact(channels)) {
            for &cell in &window.cells {
                for (dx, &dy) in dx[cell..cell + channels].iter_mut().zip(dy) {
                    *dx += dy * window.factor;
                }
            }
        }
    }
}
