//! Convolution and fully connected layers: implicit im2col over tensors whose halo already holds the padding.
//!
//! ```text
//! input, one window:   run 0: kernel row 0, (kernel column, channel) contiguous      x x x x|x x x x|x x x 0   groups of 4 depths
//!                      run 1: kernel row 1, `offset` bytes from the window's origin  x x x x|x x x x|x x x 0
//! weights:             tile t: 16 outputs | group 0: 64 codes | group 1: 64 codes | ...   64 codes: output 0 d0 d1 d2 d3, output 1 ..
//! ```
//!
//! weights as i16:      tile t | group 0: 16 outputs d0 d1 | 16 outputs d2 d3 | group 1: ..   128 bytes a group, activations as u16
//!
//! The depth of a run is padded to groups of 4; what an input group holds beyond its run meets weight 0. A dot product of four
//! unsigned activations, broadcast to all lanes, with the four weights of each output adds one group of depth to 16 outputs.
#![allow(unsafe_code, reason = "calls a loop compiled for an instruction set")]

pub(crate) mod amx;
pub(crate) mod scalar;
pub(crate) mod trim;
pub(crate) mod widen;
pub(crate) mod winograd;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub(crate) use trim::Trim;

use super::{Ahead, AlignedBytes, Clamp, Kernel, Memory, View};
use crate::format::Artifact;
use crate::isa::Available;
use crate::pack::{TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use std::ops::Range;

/// Contiguous depth of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Bytes from the window's origin.
    pub(crate) offset: usize,
    /// Groups of 4 depths.
    pub(crate) groups: usize,
}

/// Where the windows of a layer begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Byte of the first window's origin in the code arena.
    pub(crate) origin: usize,
    /// Bytes from a row of windows to the next.
    pub(crate) row: usize,
    /// Bytes from a window to the next.
    pub(crate) pixel: usize,
    /// Rows of windows.
    pub(crate) height: usize,
    /// Windows a row.
    pub(crate) width: usize,
}

/// Where accumulators go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Requantized codes.
    Codes { y: View, clamp: Clamp },
    /// Floats in (channel, position) order from a float on, `step` floats from a position to the next.
    Logits { first: usize, positions: usize, step: usize },
}

/// A convolution bound to its tensors. With several groups, each group of channels is a layer of its own over the same grid.
pub(crate) struct Layer {
    pub(crate) grid: Grid,
    pub(crate) runs: Vec<Run>,
    /// Groups of 4 depths in all runs.
    pub(crate) depth_groups: usize,
    /// Whether each run is three times as long as the way to the next window: a row of 3 taps at stride 1.
    pub(crate) slides: bool,
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Input channels of a group.
    pub(crate) group_inputs: usize,
    /// Outputs of a group.
    pub(crate) group_outputs: usize,
    /// Tiles of 16 outputs of a group.
    pub(crate) group_tiles: usize,
    /// Most vectors of outputs in a block.
    pub(crate) vectors: usize,
    /// Codes in tiles of 16 outputs: `[group][tile][depth group]`.
    pub(crate) weights: Weights,
    /// `[group][tile][16]`, 0 beyond the last output.
    pub(crate) biases: Vec<i32>,
    /// `[group][tile][16]`.
    pub(crate) multipliers: Vec<f32>,
    pub(crate) target: Target,
    /// What lies outside the input, where it need not be computed.
    pub(crate) trim: Option<Trim>,
}

/// The codes of a layer.
pub(crate) enum Weights {
    /// Widened to 8 or 16 bits, in the order of the runs.
    Bytes(AlignedBytes),
    /// Packed, where the artifact has them.
    InPlace(Artifact, Range<usize>),
}

impl Weights {
    /// The first tile.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    /// All tiles.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Weights::Bytes(bytes) => bytes,
            Weights::InPlace(artifact, range) => &artifact.weights_section()[range.clone()],
        }
    }
}

/// Part of a layer's work.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Rows of the result.
    pub(crate) rows: Range<usize>,
    /// The row of the result whose windows begin at the grid's origin.
    pub(crate) origin_row: usize,
    /// Tiles of outputs, in each group.
    pub(crate) tiles: Range<usize>,
}

/// How codes are stored, and what is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeForm {
    /// Bits a code takes: its width, 8, or 16 with activations as u16.
    pub(crate) stored: u8,
    /// Groups of 4 depths of a run whose products an i16 holds the sum of, two products a group; 0 where not even one.
    pub(crate) i16_steps: usize,
}

impl Layer {
    /// The end of the bytes that its windows read, where codes of `stored` bits are multiplied.
    fn reach(&self, stored: u8) -> usize {
        // Activations as u16 go with weights as i16.
        let depth_bytes = if stored == 16 { 2 * TILE_DEPTH } else { TILE_DEPTH };
        let run_end = |run: &Run| run.groups.saturating_mul(depth_bytes).saturating_add(run.offset);
        let Grid { origin, row, pixel, height, width } = self.grid;
        let steps = match &self.trim {
            Some(trim) => trim.reach(&self.grid, &self.runs, run_end),
            None => {
                let window = self.runs.iter().map(run_end).max().unwrap_or(0);
                let steps = [(height, row), (width, pixel), (self.groups, self.group_inputs)];
                let last = |sum: usize, (count, step): (usize, usize)| {
                    sum.saturating_add(count.saturating_sub(1).saturating_mul(step))
                };
                steps.into_iter().fold(window, last)
            }
        };
        origin.saturating_add(steps)
    }

    /// Asserts that weights of `stored` bits, biases and multipliers are there for every tile.
    ///
    /// # Panics
    /// When they are not: a planning bug.
    fn assert_whole(&self, stored: u8) {
        let tiles = self.groups * self.group_tiles;
        let groups: usize = self.runs.iter().map(|run| run.groups).sum();
        let bytes = tiles.saturating_mul(groups).saturating_mul(usize::from(stored) * TILE_CODES / 8);
        assert!(self.group_outputs <= self.group_tiles * TILE_OUTPUTS, "outputs without a tile");
        assert!(self.depth_groups == groups && self.weights.bytes().len() >= bytes, "weights are missing");
        let constants = [self.biases.len(), self.multipliers.len()];
        assert!(constants == [tiles * TILE_OUTPUTS; 2], "biases or multipliers are missing");
    }
}

/// Computes a span of a layer.
pub(crate) struct Rows(Box<RowsFn>);

type RowsFn = dyn Fn(&Layer, &Memory, &Span) + Send + Sync;

impl Rows {
    /// A kernel; `rows` may rely on the contract of [`Rows::run`].
    fn new(rows: impl Fn(&Layer, &Memory, &Span) + Send + Sync + 'static) -> Self {
        Rows(Box::new(rows))
    }

    /// Computes a span.
    ///
    /// # Safety
    /// The layer passed [`Layer::assert_whole`] for the codes that the kernel is for, the code arena has as many bytes as it reaches, and
    /// meanwhile nothing else writes what it reads or writes. A trimmed layer was trimmed for this kernel.
    unsafe fn run(&self, layer: &Layer, memory: &Memory, span: &Span) {
        (self.0)(layer, memory, span);
    }
}

/// The kernel of an instruction set for codes of a form.
fn rows(available: Available, form: CodeForm) -> Rows {
    #[cfg(target_arch = "x86_64")]
    if let Some(rows) = x86::rows_for(available, form) {
        return rows;
    }
    Rows::new(move |layer, memory, span| scalar::rows(layer, memory, span, form.stored))
}

/// Most windows in a block of a layer that is trimmed; 0 where the instruction set has no such kernel.
pub(crate) fn trimmed_windows(available: Available, form: CodeForm) -> usize {
    #[cfg(target_arch = "x86_64")]
    return x86::trimmed_windows(available, form);
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// How a layer's work is cut into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Rows of the result.
    Rows,
    /// Blocks of 64 outputs.
    Outputs,
}

/// A layer and the kernel chosen for it.
///
/// Invariant: the layer has all weights and constants that the kernel reads.
pub(crate) struct Conv {
    layer: Layer,
    rows: Rows,
    cut: Cut,
    /// Bits that a code takes.
    stored: u8,
}

impl Conv {
    /// The kernel of an instruction set for a layer of codes of a form.
    ///
    /// # Panics
    /// When weights or constants are missing: a planning bug.
    pub(crate) fn new(available: Available, layer: Layer, form: CodeForm, cut: Cut) -> Self {
        layer.assert_whole(form.stored);
        if let Some(trim) = &layer.trim {
            trim.assert_fits(trimmed_windows(available, form), &layer.runs);
            assert!(layer.groups == 1, "a trimmed layer of several groups");
        }
        Conv { layer, rows: rows(available, form), cut, stored: form.stored }
    }
}

/// Tiles of a part that is cut by outputs.
const PART_TILES: usize = 4;

/// Outputs of such a part.
pub(crate) const PART_OUTPUTS: usize = PART_TILES * TILE_OUTPUTS;

impl Kernel for Conv {
    fn parts(&self) -> usize {
        match self.cut {
            Cut::Rows => self.layer.grid.height,
            Cut::Outputs => self.layer.group_tiles.div_ceil(PART_TILES),
        }
    }

    fn weight_bytes(&self) -> usize {
        self.layer.weights.bytes().len()
    }

    fn ahead(&self) -> Ahead {
        match &self.layer.weights {
            Weights::Bytes(bytes) => Ahead::of(bytes),
            Weights::InPlace(..) => Ahead::default(),
        }
    }

    fn reach(&self) -> usize {
        self.layer.reach(self.stored)
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let layer = &self.layer;
        let (rows, tiles) = match self.cut {
            Cut::Rows => (parts, 0..layer.group_tiles),
            Cut::Outputs => {
                (0..layer.grid.height, parts.start * PART_TILES..(parts.end * PART_TILES).min(layer.group_tiles))
            }
        };
        assert!(layer.trim.is_none() || rows.len() == layer.grid.height, "a trimmed layer is shared by outputs");
        // SAFETY: the layer is whole by the invariant; the rest by the contract, since parts write rows or outputs of their own.
        unsafe { self.rows.run(layer, memory, &Span { rows, origin_row: 0, tiles }) };
    }
}

/// A layer whose padding is too wide for a halo: the windows of each row are copied to scratch first.
pub(crate) struct Gathered {
    /// Its windows begin where those of a row are copied to.
    pub(crate) conv: Conv,
    pub(crate) gather: Gather,
}

impl Kernel for Gathered {
    fn parts(&self) -> usize {
        1
    }

    fn weight_bytes(&self) -> usize {
        self.conv.weight_bytes()
    }

    fn reach(&self) -> usize {
        self.conv.reach()
    }

    unsafe fn run(&self, memory: &Memory, _: Range<usize>) {
        let layer = &self.conv.layer;
        for row in 0..layer.grid.height {
            self.gather.row(memory, &layer.grid, row);
            let span = Span { rows: row..row + 1, origin_row: row, tiles: 0..layer.group_tiles };
            // SAFETY: the layer is whole; the rest by the contract, since there is one part.
            unsafe { self.conv.rows.run(layer, memory, &span) };
        }
    }
}

/// Copies the runs of all windows of a layer to scratch, window after window: rows of few windows then form one long strip.
pub(crate) struct GatherRuns {
    /// Where the windows are.
    pub(crate) from: Grid,
    /// Bytes from a window's origin to each of its runs.
    pub(crate) offsets: Vec<usize>,
    /// Bytes of a run.
    pub(crate) run_bytes: usize,
    /// Where the windows go.
    pub(crate) to: Grid,
}

impl Kernel for GatherRuns {
    fn parts(&self) -> usize {
        self.from.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            for column in 0..self.from.width {
                let from = self.from.origin + row * self.from.row + column * self.from.pixel;
                let to = self.to.origin + row * self.to.row + column * self.to.pixel;
                // SAFETY: each part writes the windows of its own rows.
                let window = unsafe { memory.codes_mut(to..to + self.offsets.len() * self.run_bytes) };
                for (run, offset) in window.chunks_exact_mut(self.run_bytes).zip(&self.offsets) {
                    run.copy_from_slice(memory.codes(from + offset..from + offset + self.run_bytes));
                }
            }
        }
    }
}

/// Copies bytes to u16: products of 8-bit weights then need no separation of odd and even depths.
pub(crate) struct ToWords {
    /// Bytes of the code arena.
    pub(crate) from: Range<usize>,
    /// First byte of the copy.
    pub(crate) to: usize,
    pub(crate) copy: widen::Widen,
}

/// Bytes of a part of [`ToWords`].
const PART_BYTES: usize = 8 << 10;

impl Kernel for ToWords {
    fn parts(&self) -> usize {
        self.from.len().div_ceil(PART_BYTES)
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let end = (parts.end * PART_BYTES).min(self.from.len());
        let range = parts.start * PART_BYTES..end;
        let from = memory.codes(self.from.start + range.start..self.from.start + range.end);
        // SAFETY: each part writes the copy of its own bytes.
        let to = unsafe { memory.codes_mut(self.to + 2 * range.start..self.to + 2 * range.end) };
        // SAFETY: bound for an instruction set that was proved available.
        unsafe { (self.copy)(from, to) };
    }
}

/// How windows are copied.
pub(crate) struct Gather {
    /// The input, without halo.
    pub(crate) x: View,
    /// Window, `[vertical, horizontal]`.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Cells before the first row and column.
    pub(crate) before: [usize; 2],
    /// Zero point: the code of a padding cell.
    pub(crate) z: u8,
    /// Windows a row.
    pub(crate) width: usize,
}

impl Gather {
    /// Copies the windows of one row to the grid's origin, one after the other, (kernel row, kernel column, channel).
    fn row(&self, memory: &Memory, grid: &Grid, row: usize) {
        let channels = self.x.pixel;
        for column in 0..self.width {
            let at = grid.origin + column * grid.pixel;
            // SAFETY: there is one part, and the scratch memory is its own.
            let window = unsafe { memory.codes_mut(at..at + grid.pixel) };
            let cells = (0..self.kernel[0]).flat_map(|ky| (0..self.kernel[1]).map(move |kx| (ky, kx)));
            for ((ky, kx), cell) in cells.zip(window.chunks_exact_mut(channels)) {
                let tap = |axis: usize, at: usize, tap: usize, size: usize| {
                    let cell = at * self.stride[axis] + tap * self.dilation[axis];
                    cell.checked_sub(self.before[axis]).filter(|&i| i < size)
                };
                match tap(0, row, ky, self.x.height).zip(tap(1, column, kx, self.x.width)) {
                    Some((r, c)) => {
                        let from = self.x.at(r, c);
                        cell.copy_from_slice(memory.codes(from..from + channels));
                    }
                    None => cell.fill(self.z),
                }
            }
        }
    }
}
