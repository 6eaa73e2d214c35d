//! Depthwise convolution: each channel has its own window. x86 only; scalar runs it as a convolution of as many groups.
//!
//! ```text
//! input, 4 rows of a column, 16 channels of each:   a0 a1 a2 ..   b0 b1 b2 ..   c0 c1 c2 ..   d0 d1 d2 ..
//! interleaved, 4 vectors:                           a0 b0 c0 d0 a1 b1 c1 d1 ..  | channels 4..8 | 8..12 | 12..16
//! weights of the column, 4 vectors:                 taps (0..4, kx) of channel 0, of channel 1, ..
//! ```
//!
//! So a dot product of four adds a column of the window to a vector of channels. Rows beyond the kernel's last are any bytes in
//! memory and meet weight 0. Packing the results in pairs undoes the interleaving.

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use super::conv::Grid;
use super::{AlignedBytes, Clamp, Kernel, Memory, View};
use crate::isa::Available;
use std::ops::Range;

/// Rows of a window that one dot product covers.
const ROWS: usize = 4;
/// Interleaved vectors of a block.
const VECTORS: usize = 4;
/// Most lanes of a vector.
const MOST_LANES: usize = 16;

/// A depthwise layer as it is in the artifact.
pub(crate) struct Source<'a> {
    /// `[channel][kernel row][kernel column]`.
    pub(crate) codes: &'a [i8],
    pub(crate) biases: &'a [i32],
    pub(crate) multipliers: &'a [f32],
    /// Width of the codes.
    pub(crate) bits: u8,
    pub(crate) kernel: [usize; 2],
    /// Bytes between rows and between columns of taps.
    pub(crate) tap_steps: [usize; 2],
    /// Channels.
    pub(crate) channels: usize,
    /// Windows.
    pub(crate) grid: Grid,
    /// Result.
    pub(crate) y: View,
    /// Its clamp.
    pub(crate) clamp: Clamp,
}

/// A depthwise layer arranged for vectors of `4 * lanes` bytes.
pub(crate) struct Layer {
    grid: Grid,
    y: View,
    clamp: Clamp,
    tap_steps: [usize; 2],
    rows_of_taps: usize,
    columns_of_taps: usize,
    /// Groups of 4 rows of taps.
    row_groups: usize,
    /// Blocks of channels.
    blocks: usize,
    /// Where neighbouring windows are contiguous and a vector holds several pixels, a row is one long pixel.
    flat: bool,
    /// Bytes of a vector.
    bytes: usize,
    /// `[block][row group][column of taps][vector][lane][4]`.
    weights: AlignedBytes,
    /// `[block][vector][lane]`.
    biases: Vec<i32>,
    /// `[block][vector][lane]`.
    multipliers: Vec<f32>,
}

/// Computes rows of the result, where the code arena has as many bytes as the layer reaches.
type Rows = Box<dyn Fn(&Layer, &Memory, Range<usize>) + Send + Sync>;

/// A layer and the kernel chosen for it.
pub(crate) struct Depthwise {
    layer: Layer,
    rows: Rows,
}

impl Depthwise {
    /// Most bytes of it, whatever the instruction set: as if its vectors had [`MOST_LANES`] lanes.
    pub(crate) fn most_bytes(channels: usize, kernel: [usize; 2]) -> usize {
        let places = channels.next_multiple_of(VECTORS * MOST_LANES);
        let weights = kernel[0].next_multiple_of(ROWS).saturating_mul(kernel[1]);
        places.saturating_mul(weights.saturating_add(size_of::<i32>() + size_of::<f32>()))
    }

    /// `None` where the instruction set has no kernel of this family.
    pub(crate) fn new(available: Available, source: &Source) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let (lanes, rows) = x86::rows_for(available, source.bits)?;
            Some(Depthwise { layer: Layer::new(source, lanes), rows })
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (available, source);
            None
        }
    }
}

impl Kernel for Depthwise {
    fn parts(&self) -> usize {
        self.layer.grid.height
    }

    fn weight_bytes(&self) -> usize {
        self.layer.weights.len()
    }

    fn reach(&self) -> usize {
        self.layer.reach()
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        (self.rows)(&self.layer, memory, parts);
    }
}

impl Layer {
    /// The end of the bytes that its windows read: whole vectors, also where fewer channels are left.
    fn reach(&self) -> usize {
        let Grid { origin, row, pixel, height, width } = self.grid;
        let windows = if self.flat {
            // Vectors of a row follow each other.
            (width * pixel).next_multiple_of(self.bytes) - self.bytes
        } else {
            (self.blocks - 1) * self.bytes + (width - 1) * pixel
        };
        let taps = (self.rows_of_taps - 1) * self.tap_steps[0] + (self.columns_of_taps - 1) * self.tap_steps[1];
        [(height - 1) * row, windows, taps, self.bytes].into_iter().fold(origin, usize::saturating_add)
    }

    fn new(source: &Source, lanes: usize) -> Self {
        let Source { channels, grid, y, clamp, tap_steps, kernel, .. } = *source;
        let bytes = 4 * lanes;
        let flat = channels < bytes && bytes.is_multiple_of(channels) && grid.pixel == channels;
        let blocks = if flat { 1 } else { channels.div_ceil(bytes) };
        let row_groups = kernel[0].div_ceil(ROWS);
        let places = blocks * VECTORS * lanes;
        let mut layer = Layer {
            grid,
            y,
            clamp,
            tap_steps,
            rows_of_taps: kernel[0],
            columns_of_taps: kernel[1],
            row_groups,
            blocks,
            flat,
            bytes,
            weights: AlignedBytes::zeroed(places * row_groups * kernel[1] * ROWS),
            biases: vec![0; places],
            multipliers: vec![1.0; places],
        };
        for place in 0..places {
            let (block, vector, lane) = (place / (VECTORS * lanes), place / lanes % VECTORS, place % lanes);
            let byte = block * bytes + lane / 4 * 16 + vector * 4 + lane % 4;
            let channel = if flat { byte % channels } else { byte };
            if channel >= channels {
                continue;
            }
            layer.biases[place] = source.biases[channel];
            layer.multipliers[place] = source.multipliers[channel];
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let column = (block * row_groups + ky / ROWS) * kernel[1] + kx;
                    let at = ((column * VECTORS + vector) * lanes + lane) * ROWS + ky % ROWS;
                    layer.weights[at] = source.codes[(channel * kernel[0] + ky) * kernel[1] + kx].cast_unsigned();
                }
            }
        }
        layer
    }
}
