//! 3 x 3 convolutions of stride 1 in the transformed domain: F(2 x 2, 3 x 3) of Lavin and Gray (arXiv:1509.09308), in integers and exact.
//!
//! ```text
//! d  4 x 4 inputs of a cell       V = B' d B    16 values, |v| <= 4 * 255      B' = 1  0 -1  0     A' = 1  1  1  0
//! g  3 x 3 weights                U = G  g G'   16 values, |u| <= 9 * 128           0  1  1  0          0  1 -1 -1
//! S  2 x 2 sums of a cell         4 S = A' (sum over channels of U * V) A           0 -1  1  0     G  = 2  0  0
//!                                                                                   0  1  0 -1          1  1  1
//! weights  [16 outputs][value 0..16][4 channels]: tiles of i16                                          1 -1  1
//! inputs   [value 0..16][cell][channel]: i16                                                            0  0  2
//! ```
//!
//! `G` is twice that of the paper, so that all values are integers; the sums come out times 4. A cell takes 16 products for 4 sums where
//! the convolution takes 36. Where an exact product of 8 bits needs words anyway, that is all gain.

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::{Cut, Grid};
use crate::isa::Available;
use crate::kernels::{AlignedBytes, Clamp, Kernel, Memory, View};
use crate::pack::{TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use std::ops::Range;
use std::sync::Arc;

/// Values of a cell.
pub(crate) const VALUES: usize = 16;

/// Channels are transformed in vectors.
pub(crate) const CHANNEL_STEP: usize = 16;

/// Most input channels.
pub(crate) const MOST_CHANNELS: usize = 1024;

// Four times a sum fits i32, and so do the products of a pair of channels.
const _: () = assert!(4 * 9 * (MOST_CHANNELS as i64) * 255 * 128 <= i32::MAX as i64);
const _: () = assert!(4 * 255 <= i16::MAX as i32);
const _: () = assert!(9 * 128 <= i16::MAX as i32);

/// A layer in the transformed domain.
pub(crate) struct Winograd {
    /// The windows, of which each cell takes 2 x 2.
    pub(crate) grid: Grid,
    /// Input channels.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// As drawn above.
    pub(crate) weights: AlignedBytes,
    /// A bias for each output, whole tiles of 16.
    pub(crate) biases: Vec<i32>,
    /// The same.
    pub(crate) multipliers: Vec<f32>,
    pub(crate) y: View,
    pub(crate) clamp: Clamp,
    /// First byte of the transformed inputs in the code arena.
    pub(crate) scratch: usize,
    pub(crate) cut: Cut,
}

/// Bytes of the transformed inputs of `windows` windows.
pub(crate) fn scratch_bytes(windows: usize, inputs: usize) -> usize {
    windows / 4 * VALUES * inputs * size_of::<i16>()
}

impl Winograd {
    /// Asserts that weights, biases and multipliers are there for every tile.
    ///
    /// # Panics
    /// When they are not: a planning bug.
    #[cfg(target_arch = "x86_64")]
    fn assert_whole(&self) {
        let tiles = self.outputs.div_ceil(TILE_OUTPUTS);
        assert!(self.inputs.is_multiple_of(CHANNEL_STEP) && self.inputs <= MOST_CHANNELS, "channels");
        assert!(self.weights.len() >= tiles * VALUES * (self.inputs / TILE_DEPTH) * WORD_TILE, "weights are missing");
        assert!(self.biases.len().min(self.multipliers.len()) >= tiles * TILE_OUTPUTS, "constants are missing");
    }

    /// Rows and columns of cells.
    fn cells(&self) -> [usize; 2] {
        [self.grid.height / 2, self.grid.width / 2]
    }

    /// Bytes of one value of all cells.
    fn value_bytes(&self) -> usize {
        scratch_bytes(self.grid.height * self.grid.width, self.inputs) / VALUES
    }

    /// The two steps of the layer, where the instruction set has them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn steps(self, available: Available) -> Option<[Box<dyn Kernel>; 2]> {
        let lanes = avx2::Avx2Proof::new(available)?;
        self.assert_whole();
        let layer = Arc::new(self);
        Some([Box::new(Inputs { layer: Arc::clone(&layer), lanes }), Box::new(Products { layer, lanes })])
    }

    /// The two steps of the layer, where the instruction set has them.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn steps(self, _: Available) -> Option<[Box<dyn Kernel>; 2]> {
        None
    }
}

/// One value of all codes of a tile.
type Codes = [i16; TILE_CODES];

/// Bytes of the transformed weights of a layer whose codes take some bytes.
pub(crate) fn transformed_bytes(codes: usize) -> usize {
    codes / 9 * VALUES * size_of::<i16>()
}

/// Codes in tiles of bytes, run by run of taps as the convolution reads them, in the transformed domain.
pub(crate) fn transform_weights(tiles: &[u8], inputs: usize) -> AlignedBytes {
    let groups = inputs / TILE_DEPTH;
    let mut words = AlignedBytes::zeroed(transformed_bytes(tiles.len()));
    let (row, word_row) = (9 * groups * TILE_CODES, VALUES * groups * WORD_TILE);
    for (tile, to) in tiles.chunks_exact(row).zip(words.chunks_exact_mut(word_row)) {
        for group in 0..groups {
            let mut g = [[[0; TILE_CODES]; 3]; 3];
            for (tap, g) in g.as_flattened_mut().iter_mut().enumerate() {
                let codes = &tile[(tap * groups + group) * TILE_CODES..];
                g.iter_mut().zip(codes).for_each(|(g, &code)| *g = i16::from(code.cast_signed()));
            }
            for (value, u) in transform_kernels(&g).as_flattened().iter().enumerate() {
                let at = (value * groups + group) * WORD_TILE;
                write_tile(u, &mut to[at..at + WORD_TILE]);
            }
        }
    }
    words
}

/// Bytes of a tile of i16.
const WORD_TILE: usize = 2 * TILE_CODES;

/// Depths 0 and 1 of all outputs, then depths 2 and 3.
fn write_tile(codes: &Codes, to: &mut [u8]) {
    let (low, high) = to.split_at_mut(TILE_CODES);
    let pairs = low.as_chunks_mut::<4>().0.iter_mut().zip(high.as_chunks_mut::<4>().0);
    for (codes, (low, high)) in codes.as_chunks::<4>().0.iter().zip(pairs) {
        let [a, b, c, d] = codes.map(i16::to_le_bytes);
        *low = [a[0], a[1], b[0], b[1]];
        *high = [c[0], c[1], d[0], d[1]];
    }
}

/// `G g`.
fn spread([a, b, c]: [&Codes; 3]) -> [Codes; 4] {
    let mut u = [[0; TILE_CODES]; 4];
    for i in 0..TILE_CODES {
        let (a, b, c) = (a[i], b[i], c[i]);
        u[0][i] = 2 * a;
        u[1][i] = a + b + c;
        u[2][i] = a - b + c;
        u[3][i] = 2 * c;
    }
    u
}

/// `G g G'` of each code.
fn transform_kernels(g: &[[Codes; 3]; 3]) -> [[Codes; 4]; 4] {
    let rows = g.each_ref().map(|row| spread(row.each_ref()));
    let mut u = [[[0; TILE_CODES]; 4]; 4];
    for column in 0..4 {
        let values = spread([&rows[0][column], &rows[1][column], &rows[2][column]]);
        for (u, values) in u.iter_mut().zip(values) {
            u[column] = values;
        }
    }
    u
}

/// Transforms the inputs.
#[cfg(target_arch = "x86_64")]
struct Inputs {
    layer: Arc<Winograd>,
    lanes: avx2::Avx2Proof,
}

#[cfg(target_arch = "x86_64")]
impl Kernel for Inputs {
    fn parts(&self) -> usize {
        self.layer.cells()[0]
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        // SAFETY: by the contract, and each part writes its own cells.
        unsafe { self.lanes.inputs(&self.layer, memory, parts) };
    }
}

/// Multiplies, and requantizes.
#[cfg(target_arch = "x86_64")]
struct Products {
    layer: Arc<Winograd>,
    lanes: avx2::Avx2Proof,
}

#[cfg(target_arch = "x86_64")]
impl Kernel for Products {
    fn parts(&self) -> usize {
        match self.layer.cut {
            Cut::Rows => self.layer.cells()[0],
            Cut::Outputs => self.layer.outputs.div_ceil(TILE_OUTPUTS),
        }
    }

    fn weight_bytes(&self) -> usize {
        self.layer.weights.len()
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let [rows, columns] = self.layer.cells();
        let tiles = self.layer.outputs.div_ceil(TILE_OUTPUTS);
        let (cells, tiles) = match self.layer.cut {
            Cut::Rows => (parts.start * columns..parts.end * columns, 0..tiles),
            Cut::Outputs => (0..rows * columns, parts),
        };
        // SAFETY: by the contract; the layer is whole, and each part writes its own windows or outputs.
        unsafe { self.lanes.products(&self.layer, memory, cells, tiles) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_kernel_fits() {
        let u = transform_kernels(&[[[-128; TILE_CODES]; 3]; 3]).map(|row| row.map(|codes| codes[5]));
        let expected =
            [[-512, -768, -256, -512], [-768, -1152, -384, -768], [-256, -384, -128, -256], [-512, -768, -256, -512]];
        assert_eq!(u, expected);
    }
}
