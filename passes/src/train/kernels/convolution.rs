//! Convolution over NHWC images with HWIO weights: forward, gradient of the input, gradient of weights and bias.
//!
//! Every group count, stride, dilation and asymmetric padding goes through the same two tiled products of
//! [`super::tiles`]; only the lists of positions and runs differ. The image is copied once per sample into a frame of
//! zeros, so that no inner loop knows the border.
//!
//! The input gradient has two forms, of which the plan takes the cheaper one. *Gather*: a convolution of the framed output
//! gradient; for stride above 1 the input pixels fall into stride x stride phases, each with its own subset of taps.
//! *Scatter*: per output pixel all products with the weight, added to the pixels they belong to; it does not multiply the
//! frame's zeros and fills registers where inputs have few channels.

use super::partition::{PARTS, gradient_parts, part_size, ranges, sum_parts};
use super::simd::{Isa, vectorized};
use super::tiles::{PackedWeight, Position, Run, correlate, multiply};
use rayon::prelude::*;

/// Extents of a convolution; images are `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Of the input.
    pub input: [usize; 3],
    /// Of the output.
    pub output: [usize; 3],
    /// Taps, vertical and horizontal.
    pub kernel: [usize; 2],
    /// Step between positions.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Cells of zeros above and to the left.
    pub before: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Geometry {
    /// Values of one input image.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Values of one output image.
    pub fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    /// Values of the weight, `[kernel height, kernel width, inputs / groups, outputs]`.
    pub fn weight_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.input[2] / self.groups * self.output[2]
    }

    /// One channel in and out of every group.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input[2] && self.groups == self.output[2]
    }
}

/// An image inside a frame of zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Height, width and channels of the image.
    image: [usize; 3],
    /// Rows above and columns to the left.
    before: [usize; 2],
    /// Height and width with the frame.
    extent: [usize; 2],
}

impl Frame {
    /// The frame that holds every cell from `low` to `high` (image coordinates, inclusive).
    fn covering(image: [usize; 3], low: [isize; 2], high: [isize; 2]) -> Self {
        let before = [0, 1].map(|d| (-low[d]).max(0) as usize);
        let extent = [0, 1].map(|d| before[d] + image[d].max((high[d] + 1).max(0) as usize));
        Frame { image, before, extent }
    }

    /// True where the frame adds nothing, so that the image itself can be read.
    pub(crate) fn is_bare(&self) -> bool {
        self.extent == [self.image[0], self.image[1]]
    }

    /// Values with the frame.
    pub(crate) fn len(&self) -> usize {
        self.extent[0] * self.extent[1] * self.image[2]
    }

    /// Offset of channel 0 of a cell in image coordinates.
    fn at(&self, row: isize, column: isize) -> usize {
        let row = (row + self.before[0] as isize) as usize;
        let column = (column + self.before[1] as isize) as usize;
        (row * self.extent[1] + column) * self.image[2]
    }

    /// Copies the image out of a framed buffer.
    fn read_back(&self, framed: &[f32], image: &mut [f32]) {
        let row = self.image[1] * self.image[2];
        for (y, line) in image.chunks_exact_mut(row).enumerate() {
            line.copy_from_slice(&framed[self.at(y as isize, 0)..][..row]);
        }
    }

    /// Copies the image into a buffer whose frame cells are already zero.
    pub(crate) fn fill(&self, image: &[f32], framed: &mut [f32]) {
        let row = self.image[1] * self.image[2];
        for (y, line) in image.chunks_exact(row).enumerate() {
            let start = self.at(y as isize, 0);
            framed[start..start + row].copy_from_slice(line);
        }
    }
}

/// A framed product: positions and runs over a framed image, and where the weight rows stand.
#[derive(Debug)]
struct Pass {
    positions: Vec<Position>,
    runs: Vec<Run>,
    /// Offset of each weight row in the HWIO weight, for group 0.
    rows: Vec<usize>,
}

/// Everything about a convolution that does not depend on data; made once per layer.
#[derive(Debug)]
pub struct Convolution {
    geometry: Geometry,
    input_frame: Frame,
    forward: Pass,
    output_frame: Frame,
    backward: Vec<Pass>,
    scatters: bool,
}

/// Gradients of a convolution.
#[derive(Debug)]
pub struct ConvolutionGradients {
    /// Of the input, where it was asked for.
    pub input: Option<Vec<f32>>,
    /// Of the weight, HWIO.
    pub weight: Vec<f32>,
    /// Of the bias: the sum of the output gradient per channel.
    pub bias: Vec<f32>,
}

impl Convolution {
    /// Plans a convolution.
    pub fn new(geometry: Geometry) -> Self {
        let g = geometry;
        let last = |d: usize| ((g.output[d] - 1) * g.stride[d] + (g.kernel[d] - 1) * g.dilation[d]) as isize;
        let low = [0, 1].map(|d| -(g.before[d] as isize));
        let high = [0, 1].map(|d| last(d) - g.before[d] as isize);
        let input_frame = Frame::covering(g.input, low, high);
        let reach = |d: usize| ((g.kernel[d] - 1) * g.dilation[d]) as isize;
        let low = [0, 1].map(|d| (g.before[d] as isize - reach(d)).div_euclid(g.stride[d] as isize));
        let high = [0, 1].map(|d| ((g.input[d] - 1 + g.before[d]) / g.stride[d]) as isize);
        let output_frame = Frame::covering(g.output, low, high);
        let backward = backward_passes(&g, &output_frame);
        let scatters = scatter_cost(&g).is_some_and(|cost| cost < gather_cost(&g, &backward));
        Convolution { geometry, forward: forward_pass(&g, &input_frame), backward, scatters, input_frame, output_frame }
    }

    /// The extents it was planned for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Packs a weight for [`Convolution::forward_part`]: one matrix a group.
    pub(crate) fn pack(&self, isa: Isa, weight: &[f32]) -> Vec<PackedWeight> {
        let og = self.geometry.output[2] / self.geometry.groups;
        let rows = &self.forward.rows;
        (0..self.geometry.groups).map(|group| PackedWeight::new(isa, rows, og, &weight[group * og..], 1)).collect()
    }

    fn pack_transposed(&self, isa: Isa, pass: &Pass, weight: &[f32]) -> Vec<PackedWeight> {
        let g = &self.geometry;
        let (cg, og) = (g.input[2] / g.groups, g.output[2] / g.groups);
        let pack = |group: usize| PackedWeight::new(isa, &pass.rows, cg, &weight[group * og..], g.output[2]);
        (0..g.groups).map(pack).collect()
    }

    /// `output = input * weight + bias` for consecutive samples.
    pub(crate) fn forward_part(
        &self,
        isa: Isa,
        input: &[f32],
        packed: &[PackedWeight],
        bias: Option<&[f32]>,
        framed: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let g = &self.geometry;
        let (cg, og) = (g.input[2] / g.groups, g.output[2] / g.groups);
        prepare(&self.input_frame, framed);
        for (image, out) in input.chunks_exact(g.input_len()).zip(output.chunks_exact_mut(g.output_len())) {
            let image = frame_image(&self.input_frame, image, framed);
            for (group, weight) in packed.iter().enumerate() {
                let bias = bias.map(|b| &b[group * og..]);
                let (x, y) = (&image[group * cg..], &mut out[group * og..]);
                multiply(isa, x, &self.forward.positions, &self.forward.runs, weight, bias, y);
            }
        }
    }

    /// `output = input * weight + bias`; `input` holds whole images one after the other.
    pub fn forward_into(&self, isa: Isa, input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
        let g = &self.geometry;
        let batch = input.len() / g.input_len();
        let packed = self.pack(isa, weight);
        let size = part_size(batch, PARTS);
        let parts = output.par_chunks_mut(size * g.output_len()).zip(input.par_chunks(size * g.input_len()));
        parts.for_each(|(y, x)| self.forward_part(isa, x, &packed, bias, &mut Vec::new(), y));
    }

    /// Gradients from `input`, `weight` and the gradient of the output; that of the input goes into the buffer of its
    /// length, where one is given.
    pub fn backward(
        &self,
        isa: Isa,
        input: &[f32],
        weight: &[f32],
        dy: &[f32],
        mut dx: Option<Vec<f32>>,
    ) -> ConvolutionGradients {
        let g = &self.geometry;
        let want_input = dx.is_some();
        let batch = input.len() / g.input_len();
        let packed: Vec<_> = match (want_input, self.scatters) {
            (false, _) => Vec::new(),
            (true, false) => self.backward.iter().map(|pass| self.pack_transposed(isa, pass, weight)).collect(),
            (true, true) => {
                let rows: Vec<usize> = (0..g.output[2]).collect();
                vec![vec![PackedWeight::new(isa, &rows, weight.len() / g.output[2], weight, g.output[2])]]
            }
        };
        let size = part_size(batch, gradient_parts(weight.len()));
        let parts = ranges(batch, gradient_parts(weight.len()));
        let mut dx_parts: Vec<&mut [f32]> = match &mut dx {
            Some(dx) => dx.chunks_mut(size * g.input_len()).collect(),
            None => parts.iter().map(|_| Default::default()).collect(),
        };
        let sums: Vec<(Vec<f32>, Vec<f32>)> = (parts.into_par_iter(), dx_parts.par_iter_mut())
            .into_par_iter()
            .map(|(range, dx)| {
                let x = &input[range.start * g.input_len()..range.end * g.input_len()];
                let dy = &dy[range.start * g.output_len()..range.end * g.output_len()];
                self.backward_part(isa, x, dy, &packed, dx)
            })
            .collect();
        let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        ConvolutionGradients { input: dx, weight: sum_parts(&dw), bias: sum_parts(&db) }
    }

    fn backward_part(
        &self,
        isa: Isa,
        input: &[f32],
        dy: &[f32],
        packed: &[Vec<PackedWeight>],
        dx: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let g = &self.geometry;
        let (cg, og) = (g.input[2] / g.groups, g.output[2] / g.groups);
        let mut dw = vec![0.0; g.weight_len()];
        let mut db = vec![0.0; g.output[2]];
        let (mut framed_x, mut framed_dy) = (Vec::new(), Vec::new());
        prepare(&self.input_frame, &mut framed_x);
        if self.scatters {
            framed_dy.resize(self.input_frame.len(), 0.0);
        } else {
            prepare(&self.output_frame, &mut framed_dy);
        }
        for (sample, (image, dy)) in input.chunks_exact(g.input_len()).zip(dy.chunks_exact(g.output_len())).enumerate()
        {
            let image = frame_image(&self.input_frame, image, &mut framed_x);
            for group in 0..g.groups {
                let (x, y, w) = (&image[group * cg..], &dy[group * og..], &mut dw[group * og..]);
                correlate(isa, x, &self.forward.positions, &self.forward.runs, y, og, w, g.output[2]);
            }
            for pixel in dy.chunks_exact(g.output[2]) {
                for (sum, value) in db.iter_mut().zip(pixel) {
                    *sum += value;
                }
            }
            if dx.is_empty() {
                continue;
            }
            let dx = &mut dx[sample * g.input_len()..][..g.input_len()];
            if self.scatters {
                framed_dy.fill(0.0);
                self.scatter(isa, dy, &packed[0][0], &mut framed_dy);
                self.input_frame.read_back(&framed_dy, dx);
                continue;
            }
            let framed = frame_image(&self.output_frame, dy, &mut framed_dy);
            for (pass, packed) in self.backward.iter().zip(packed) {
                for (group, weight) in packed.iter().enumerate() {
                    let (y, x) = (&framed[group * og..], &mut dx[group * cg..]);
                    multiply(isa, y, &pass.positions, &pass.runs, weight, None, x);
                }
            }
        }
        (dw, db)
    }
}

/// Output pixels whose products are held at once by the scatter form.
const PIXELS_A_SCATTER: usize = 24;

impl Convolution {
    /// Adds the input gradient of one sample to a framed image.
    fn scatter(&self, isa: Isa, dy: &[f32], weight: &PackedWeight, framed: &mut [f32]) {
        let outputs = self.geometry.output[2];
        let width = self.geometry.weight_len() / outputs;
        let runs = [Run { offset: 0, row: 0, len: outputs }];
        let mut products = vec![0.0; PIXELS_A_SCATTER * width];
        let pixels = self.forward.positions.chunks(PIXELS_A_SCATTER).zip(dy.chunks(PIXELS_A_SCATTER * outputs));
        for (pixels, dy) in pixels {
            let positions: Vec<_> =
                (0..pixels.len()).map(|p| Position { input: p * outputs, output: p * width }).collect();
            multiply(isa, dy, &positions, &runs, weight, None, &mut products);
            add_products(isa, &products, width, pixels, &self.forward.runs, framed);
        }
    }
}

vectorized! {
    fn add_products(products: &[f32], width: usize, pixels: &[Position], runs: &[Run], framed: &mut [f32]) {
        for (pixel, products) in pixels.iter().zip(products.chunks_exact(width)) {
            for run in runs {
                let to = &mut framed[pixel.input + run.offset..][..run.len];
                for (to, product) in to.iter_mut().zip(&products[run.row..run.row + run.len]) {
                    *to += product;
                }
            }
        }
    }
}

/// Lane-wise products of the gather form of one sample, registers taken as 16 lanes.
fn gather_cost(g: &Geometry, passes: &[Pass]) -> usize {
    let lanes = (g.input[2] / g.groups).next_multiple_of(16);
    g.groups * passes.iter().map(|pass| pass.positions.len() * pass.rows.len() * lanes).sum::<usize>()
}

/// Of the scatter form; an added value counts as four products, for it is loaded and stored. Only for one group.
fn scatter_cost(g: &Geometry) -> Option<usize> {
    let columns = g.weight_len() / g.output[2];
    let pixel = g.output[2] * columns.next_multiple_of(16) + 4 * columns;
    (g.groups == 1).then_some(g.output[0] * g.output[1] * pixel)
}

fn prepare(frame: &Frame, framed: &mut Vec<f32>) {
    if !frame.is_bare() {
        framed.clear();
        framed.resize(frame.len(), 0.0);
    }
}

fn frame_image<'a>(frame: &Frame, image: &'a [f32], framed: &'a mut [f32]) -> &'a [f32] {
    if frame.is_bare() {
        return image;
    }
    frame.fill(image, framed);
    framed
}

fn forward_pass(g: &Geometry, frame: &Frame) -> Pass {
    let cg = g.input[2] / g.groups;
    let cells = (0..g.output[0]).flat_map(|y| (0..g.output[1]).map(move |x| (y, x)));
    let positions = cells
        .map(|(y, x)| {
            let row = (y * g.stride[0]) as isize - g.before[0] as isize;
            let column = (x * g.stride[1]) as isize - g.before[1] as isize;
            Position { input: frame.at(row, column), output: (y * g.output[1] + x) * g.output[2] }
        })
        .collect();
    let taps = (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx)));
    let taps = taps
        .map(|(ky, kx)| Run {
            offset: (ky * g.dilation[0] * frame.extent[1] + kx * g.dilation[1]) * g.input[2],
            row: (ky * g.kernel[1] + kx) * cg,
            len: cg,
        })
        .collect();
    let runs = merge(taps);
    let rows = (0..g.kernel[0] * g.kernel[1] * cg).map(|row| row * g.output[2]).collect();
    Pass { positions, runs, rows }
}

/// Joins runs that follow each other both in the input and in the weight rows.
fn merge(runs: Vec<Run>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some(last) if last.offset + last.len == run.offset && last.row + last.len == run.row => last.len += run.len,
            _ => merged.push(run),
        }
    }
    merged
}

/// One pass for each phase of input rows and columns.
fn backward_passes(g: &Geometry, frame: &Frame) -> Vec<Pass> {
    let mut passes = Vec::new();
    for phase_y in 0..g.stride[0].min(g.input[0]) {
        for phase_x in 0..g.stride[1].min(g.input[1]) {
            passes.push(backward_pass(g, frame, [phase_y, phase_x]));
        }
    }
    passes
}

/// The input pixels `phase, phase + stride, ..`; tap k reaches input i from output (i + before - k * dilation) / stride.
fn backward_pass(g: &Geometry, frame: &Frame, phase: [usize; 2]) -> Pass {
    let (cg, og) = (g.input[2] / g.groups, g.output[2] / g.groups);
    let residue = [0, 1].map(|d| (phase[d] + g.before[d]) % g.stride[d]);
    // Distance from the base output cell, for each tap that meets this phase.
    let shift = |d: usize, k: usize| {
        let reach = k * g.dilation[d];
        (reach % g.stride[d] == residue[d]).then(|| (reach - residue[d]) / g.stride[d])
    };
    let far = [0, 1].map(|d| (0..g.kernel[d]).filter_map(|k| shift(d, k)).max().unwrap_or(0));
    let mut taps = Vec::new();
    for ky in (0..g.kernel[0]).rev() {
        for kx in (0..g.kernel[1]).rev() {
            if let (Some(sy), Some(sx)) = (shift(0, ky), shift(1, kx)) {
                let offset = ((far[0] - sy) * frame.extent[1] + far[1] - sx) * g.output[2];
                taps.push((offset, ky * g.kernel[1] + kx));
            }
        }
    }
    let runs = taps.iter().enumerate().map(|(i, &(offset, _))| Run { offset, row: i * og, len: og }).collect();
    let rows = taps.iter().flat_map(|&(_, tap)| (0..og).map(move |o| tap * cg * g.output[2] + o)).collect();
    let mut positions = Vec::new();
    for y in (phase[0]..g.input[0]).step_by(g.stride[0]) {
        for x in (phase[1]..g.input[1]).step_by(g.stride[1]) {
            let cell = [(0, y), (1, x)].map(|(d, i)| ((i + g.before[d]) / g.stride[d]) as isize - far[d] as isize);
            positions.push(Position {
                input: if taps.is_empty() { 0 } else { frame.at(cell[0], cell[1]) },
                output: (y * g.input[1] + x) * g.input[2],
            });
        }
    }
    Pass { positions, runs: merge(runs), rows }
}
