//! The family on int8 tiles (AMX): a block of up to 2 x 16 windows times 2 x 16 outputs is summed in tile registers
//! ([`crate::kernels::amx`]).
//!
//! ```text
//! run of a window:     x x x x .. 64 bytes | x x x x .. 64 bytes | x x x 0 ..      a step covers 64 depths, 16 groups of 4
//! weights:             output tile t | step 0: 16 groups x 64 codes | step 1: ...   1024 bytes a step: register B as it lies in memory
//! ```
//!
//! The groups of each run are padded to whole steps with weight 0; the activations there are any bytes behind the run. Rows of windows
//! are joined to one strip where that makes fewer tiles: the cells between two rows are then windows too, and are skipped on the way out.
//! The last tile of a strip begins where it ends with the strip; windows it shares with the tile before are computed twice.
#![allow(unsafe_code, reason = "runs tile instructions on raw pointers")]

#[cfg(feature = "encode")]
mod portable;
#[cfg(all(test, feature = "encode"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::{Cut, Grid, Layer, Span, Target};
use crate::isa::{Available, TileUnit};
use crate::kernels::amx::{ROW_BYTES, ROWS, TileConfig, Tiles};
use crate::kernels::{Clamp, Kernel, Memory};
use crate::pack::{TILE_CODES, TILE_OUTPUTS};
use std::ops::Range;

/// Groups of 4 depths in a step.
pub(crate) const STEP_GROUPS: usize = ROWS;
/// Bytes of weights of 16 outputs in a step.
const STEP_BYTES: usize = STEP_GROUPS * TILE_CODES;
/// Tiles of outputs in a block.
const BLOCK_TILES: usize = 2;
/// Tiles of outputs of a part that is cut by outputs.
const PART_TILES: usize = 2 * BLOCK_TILES;

const _: () = assert!(TILE_CODES == ROW_BYTES && TILE_OUTPUTS * 4 == ROW_BYTES);

/// The vector code beside the tiles.
pub(crate) trait Vectors: Copy {
    /// Requantizes `16 * N` sums to the first `count` bytes at `y`.
    ///
    /// # Safety
    /// The caller enables the target features of the implementation; pointers are valid for as many values.
    unsafe fn requantize<const N: usize>(
        self,
        sums: *const i32,
        multipliers: *const f32,
        clamp: Clamp,
        y: *mut u8,
        count: usize,
    );

    /// Widens tiles of `stored` bits ([`crate::pack`]), as many as are given, to 64 bytes each.
    ///
    /// # Safety
    /// The caller enables the target features of the implementation; pointers are valid for as many tiles.
    unsafe fn unpack(self, stored: u8, from: *const u8, tiles: usize, to: *mut u8);

    /// `f32(sum) * m` of 16 sums.
    ///
    /// # Safety
    /// The caller enables the target features of the implementation; pointers are valid for 16 values.
    unsafe fn scale(self, sums: *const i32, multipliers: *const f32) -> [f32; TILE_OUTPUTS];
}

/// How the weights of a layer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codes {
    /// As bytes.
    Bytes,
    /// In `stored` bits; a block of outputs at a time is unpacked to a panel, which begins at that byte of the code arena.
    Packed { stored: u8, panel: usize },
}

/// Bytes of a tile of codes of `stored` bits.
const fn packed_tile_bytes(stored: u8) -> usize {
    TILE_CODES / 8 * stored as usize
}

/// Computes a span of a layer, under the contract of [`Kernel::run`].
type Rows = Box<dyn Fn(&Layer, &Memory, &Span, Codes) + Send + Sync>;

/// Bytes of a panel: the weights of a block of outputs.
const fn panel_bytes(depth_groups: usize) -> usize {
    BLOCK_TILES * depth_groups * TILE_CODES
}

/// Bytes of the panels of a layer whose codes are read packed: one for each part, since parts may run at the same time.
pub(crate) fn panels_bytes(group_tiles: usize, depth_groups: usize) -> usize {
    group_tiles.div_ceil(PART_TILES) * panel_bytes(depth_groups)
}

/// A layer computed by tiles.
///
/// Invariant: each run of the layer is whole steps, and that many bytes may be read at each of its windows.
pub(crate) struct TileConv {
    layer: Layer,
    rows: Rows,
    cut: Cut,
    codes: Codes,
}

impl TileConv {
    /// A layer whose codes are stored in `stored` bits. Narrow ones are always cut by outputs, and unpacked to `panels`, the first of
    /// [`panels_bytes`] in the code arena.
    pub(crate) fn new(available: Available, unit: TileUnit, layer: Layer, stored: u8, cut: Cut, panels: usize) -> Self {
        layer.assert_whole(stored);
        assert!(layer.runs.iter().all(|run| run.groups.is_multiple_of(STEP_GROUPS)));
        let (codes, cut) =
            if stored == 8 { (Codes::Bytes, cut) } else { (Codes::Packed { stored, panel: panels }, Cut::Outputs) };
        TileConv { layer, rows: rows(available, unit), cut, codes }
    }
}

impl Kernel for TileConv {
    fn parts(&self) -> usize {
        match self.cut {
            Cut::Rows => self.layer.grid.height,
            Cut::Outputs => self.layer.group_tiles.div_ceil(PART_TILES),
        }
    }

    fn weight_bytes(&self) -> usize {
        self.layer.weights.bytes().len()
    }

    fn reach(&self) -> usize {
        self.layer.reach(8)
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let layer = &self.layer;
        let mut codes = self.codes;
        if let Codes::Packed { panel, .. } = &mut codes {
            // The panel of the first part; the others stay unused.
            *panel += parts.start * panel_bytes(layer.depth_groups);
        }
        let (rows, tiles) = match self.cut {
            Cut::Rows => (parts, 0..layer.group_tiles),
            Cut::Outputs => {
                (0..layer.grid.height, parts.start * PART_TILES..(parts.end * PART_TILES).min(layer.group_tiles))
            }
        };
        (self.rows)(layer, memory, &Span { rows, origin_row: 0, tiles }, codes);
    }
}

/// The kernel for a tile unit, with the vectors of an instruction set.
fn rows(available: Available, unit: TileUnit) -> Rows {
    #[cfg(target_arch = "x86_64")]
    if let Some(rows) = x86::rows_for(available, unit) {
        return rows;
    }
    let _ = available;
    match unit {
        // Its token proves AVX-512 VNNI too, so the line above has returned.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        TileUnit::Hardware(_) => unreachable!("AMX without AVX-512 VNNI"),
        #[cfg(feature = "encode")]
        TileUnit::Emulated(_) => Box::new(|layer, memory, span, codes| {
            let mut tiles = crate::kernels::amx::emulated::Emulated::new();
            // SAFETY: portable code; the rest is the contract of `Kernel::run`.
            unsafe { blocks(&mut tiles, portable::Portable, layer, memory, span, codes) };
        }),
    }
}

/// How the windows of some rows are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strips {
    /// Strips, a row of windows each, or one for all rows.
    count: usize,
    /// Windows of a strip.
    windows: usize,
    /// Windows from a row to the next; those beyond a row's width are skipped.
    pitch: usize,
    /// Tiles of a strip.
    tiles: usize,
    /// Windows of a tile: nearly equal tiles, not full ones and a rest.
    tile_windows: usize,
}

impl Strips {
    /// The cut into the fewest windows, the skipped and the doubly computed ones included.
    pub(crate) fn new(grid: &Grid, rows: usize) -> Self {
        let strips = |count, windows: usize, pitch| {
            let tiles = windows.div_ceil(ROWS);
            Strips { count, windows, pitch, tiles, tile_windows: windows.div_ceil(tiles.max(1)) }
        };
        let apart = strips(rows, grid.width, grid.width);
        let pitch = grid.row / grid.pixel;
        if rows == 0 || !grid.row.is_multiple_of(grid.pixel) || pitch < grid.width {
            return apart;
        }
        let joined = strips(1, (rows - 1) * pitch + grid.width, pitch);
        if joined.computed() <= apart.computed() { joined } else { apart }
    }

    /// Windows computed.
    pub(crate) fn computed(&self) -> usize {
        self.count * self.tiles * self.tile_windows
    }

    /// First window of a tile.
    fn first(&self, tile: usize) -> usize {
        (tile * self.tile_windows).min(self.windows - self.tile_windows)
    }
}

/// The sums of a block: for each window those of its outputs.
#[repr(C, align(64))]
struct Sums([[i32; BLOCK_TILES * TILE_OUTPUTS]; 2 * ROWS]);

/// Bytes from the sums of a window to those of the next.
const SUMS_STRIDE: usize = BLOCK_TILES * ROW_BYTES;

/// A strip of windows and a block of outputs.
struct Strip<'a> {
    layer: &'a Layer,
    memory: &'a Memory,
    strips: Strips,
    /// Row of the result of the strip's first window.
    row: usize,
    /// The first window.
    x: *const u8,
    group: usize,
    /// First tile of outputs in the group.
    tile: usize,
    /// Bytes of the first tile of outputs; the second follows.
    weights: *const u8,
}

/// All windows and outputs of a span, blocks of outputs outermost so that their weights stay in the cache.
///
/// # Safety
/// The caller enables the target features of `V`; the layer's grid, runs and target lie in the arena, as the planner proves.
#[inline(always)]
unsafe fn blocks<T: Tiles, V: Vectors>(
    tiles: &mut T,
    vectors: V,
    layer: &Layer,
    memory: &Memory,
    span: &Span,
    codes: Codes,
) {
    let grid = &layer.grid;
    let strips = Strips::new(grid, span.rows.len());
    if strips.windows == 0 || strips.count == 0 {
        return;
    }
    let mut sums = Sums([[0; BLOCK_TILES * TILE_OUTPUTS]; 2 * ROWS]);
    let depth_bytes = layer.runs.iter().map(|run| run.offset + run.groups * 4).max().unwrap_or(0);
    let reach = (strips.windows - 1) * grid.pixel + depth_bytes;
    // SAFETY: the contract of the caller; the registers are configured first and released last, and a strip's windows may be read.
    unsafe {
        tiles.configure(&TileConfig::for_windows(strips.tile_windows));
        for group in 0..layer.groups {
            for tile in span.tiles.clone().step_by(BLOCK_TILES) {
                let count = BLOCK_TILES.min(span.tiles.end - tile);
                let weights = block_weights(vectors, layer, memory, group * layer.group_tiles + tile, count, codes);
                for s in 0..strips.count {
                    let row = span.rows.start + s;
                    let origin = grid.origin + (row - span.origin_row) * grid.row + group * layer.group_inputs;
                    let x = memory.codes_ptr(origin, reach).cast_const();
                    let strip = Strip { layer, memory, strips, row, x, group, tile, weights };
                    for first in (0..strips.tiles).step_by(2) {
                        match (strips.tiles - first, count) {
                            (1, 1) => block::<T, V, 1, 1>(tiles, vectors, &strip, first, &mut sums),
                            (1, _) => block::<T, V, 1, 2>(tiles, vectors, &strip, first, &mut sums),
                            (_, 1) => block::<T, V, 2, 1>(tiles, vectors, &strip, first, &mut sums),
                            (_, _) => block::<T, V, 2, 2>(tiles, vectors, &strip, first, &mut sums),
                        }
                    }
                }
            }
        }
        tiles.release();
    }
}

/// The weights of `count` tiles of outputs as bytes, unpacked where they lie packed.
#[inline(always)]
unsafe fn block_weights<V: Vectors>(
    vectors: V,
    layer: &Layer,
    memory: &Memory,
    tile: usize,
    count: usize,
    codes: Codes,
) -> *const u8 {
    let weights = layer.weights.as_ptr();
    // SAFETY: weights hold whole rows of tiles; the panel has room for a block, and this part alone uses it.
    unsafe {
        match codes {
            Codes::Bytes => weights.add(tile * layer.depth_groups * TILE_CODES),
            Codes::Packed { stored, panel } => {
                let panel = memory.codes_ptr(panel, panel_bytes(layer.depth_groups));
                let packed = weights.add(tile * layer.depth_groups * packed_tile_bytes(stored));
                vectors.unpack(stored, packed, count * layer.depth_groups, panel);
                panel.cast_const()
            }
        }
    }
}

/// `M` tiles of windows, the first number `first`, times `N` tiles of outputs.
#[inline(always)]
unsafe fn block<T: Tiles, V: Vectors, const M: usize, const N: usize>(
    tiles: &mut T,
    vectors: V,
    strip: &Strip,
    first: usize,
    sums: &mut Sums,
) {
    let layer = strip.layer;
    let pixel = layer.grid.pixel;
    let windows: [usize; M] = std::array::from_fn(|m| strip.strips.first(first + m));
    let lane = (strip.group * layer.group_tiles + strip.tile) * TILE_OUTPUTS;
    // SAFETY: biases and weights hold whole tiles; a step of each run may be read at each window; `sums` has room for the block.
    unsafe {
        // Every window begins with the biases.
        let biases = layer.biases.as_ptr().add(lane).cast::<u8>();
        tiles.load::<0>(biases, 0);
        if N == 2 {
            tiles.load::<1>(biases.add(ROW_BYTES), 0);
        }
        if M == 2 {
            tiles.load::<2>(biases, 0);
        }
        if M == 2 && N == 2 {
            tiles.load::<3>(biases.add(ROW_BYTES), 0);
        }
        let x: [*const u8; M] = windows.map(|window| strip.x.add(window * pixel));
        let mut w = strip.weights;
        for run in &layer.runs {
            for step in 0..run.groups / STEP_GROUPS {
                let depth = run.offset + step * ROW_BYTES;
                tiles.load::<4>(x[0].add(depth), pixel);
                tiles.load::<6>(w, ROW_BYTES);
                tiles.dot::<0, 4, 6>();
                if N == 2 {
                    tiles.load::<7>(w.add(layer.depth_groups * TILE_CODES), ROW_BYTES);
                    tiles.dot::<1, 4, 7>();
                }
                if M == 2 {
                    tiles.load::<5>(x[M - 1].add(depth), pixel);
                    tiles.dot::<2, 5, 6>();
                }
                if M == 2 && N == 2 {
                    tiles.dot::<3, 5, 7>();
                }
                w = w.add(STEP_BYTES);
            }
        }
        let c = std::ptr::from_mut(sums).cast::<u8>();
        tiles.store::<0>(c, SUMS_STRIDE);
        if N == 2 {
            tiles.store::<1>(c.add(ROW_BYTES), SUMS_STRIDE);
        }
        if M == 2 {
            tiles.store::<2>(c.add(ROWS * SUMS_STRIDE), SUMS_STRIDE);
        }
        if M == 2 && N == 2 {
            tiles.store::<3>(c.add(ROWS * SUMS_STRIDE + ROW_BYTES), SUMS_STRIDE);
        }
        for (&window, sums) in windows.iter().zip(sums.0.chunks_exact(ROWS)) {
            finish::<V, N>(vectors, strip, window, &sums[..strip.strips.tile_windows]);
        }
    }
}

/// Requantizes or scales the sums of the windows from `window` on, without those between two rows.
#[inline(always)]
unsafe fn finish<V: Vectors, const N: usize>(
    vectors: V,
    strip: &Strip,
    window: usize,
    sums: &[[i32; BLOCK_TILES * TILE_OUTPUTS]],
) {
    let Strip { layer, memory, strips, group, tile, .. } = *strip;
    let first = tile * TILE_OUTPUTS;
    let count = (N * TILE_OUTPUTS).min(layer.group_outputs - first);
    let channel = group * layer.group_outputs + first;
    let lane = group * layer.group_tiles * TILE_OUTPUTS + first;
    let (mut row, mut column) = (strip.row + window / strips.pitch, window % strips.pitch);
    for sums in sums {
        if column < layer.grid.width {
            // SAFETY: multipliers hold whole tiles; the results of this window are `count` codes or floats from `channel` on.
            unsafe {
                let multipliers = layer.multipliers.as_ptr().add(lane);
                match layer.target {
                    Target::Codes { y, clamp } => {
                        let y = memory.codes_ptr(y.at(row, column) + channel, count);
                        vectors.requantize::<N>(sums.as_ptr(), multipliers, clamp, y, count);
                    }
                    Target::Logits { first, positions, step } => {
                        let position = (row * layer.grid.width + column) * step;
                        for n in 0..N {
                            let done = n * TILE_OUTPUTS;
                            let values = vectors.scale(sums.as_ptr().add(done), multipliers.add(done));
                            let count = count.saturating_sub(done).min(TILE_OUTPUTS);
                            for (i, &value) in values[..count].iter().enumerate() {
                                *memory.floats_ptr(first + (channel + done + i) * positions + position, 1) = value;
                            }
                        }
                    }
                }
            }
        }
        column += 1;
        if column == strips.pitch {
            (row, column) = (row + 1, 0);
        }
    }
}
