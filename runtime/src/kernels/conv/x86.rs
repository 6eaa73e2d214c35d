//! One loop nest for every x86 instruction set: a block of `PIXELS` windows x `VECTORS` vectors of outputs stays in registers.
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

mod trimmed;

use super::{CodeForm, Layer, Rows, Run, Span, Target, Trim};
use crate::isa::{Available, Avx2, Avx2Vnni, Avx512, Avx512Vnni, Isa};
use crate::kernels::Memory;
use crate::kernels::lanes::{Lanes, Places, avx2, avx2vnni, avx512, avx512vnni};
use crate::pack::{TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// A kernel and the most windows of its trimmed blocks.
struct Entry {
    rows: Rows,
    trimmed_windows: usize,
}

/// The kernels of one instruction set: one entry for each stored width, `K = 8` for codes that lie as bytes. The last one serves all
/// other widths.
macro_rules! entries {
    ($features:literal, $lanes:expr, $lanes_type:ty, [$($k:literal)*], $stored:expr, $last:literal) => {{
        #[target_feature(enable = $features)]
        unsafe fn entry<const K: u8>(lanes: $lanes_type, layer: &Layer, memory: &Memory, span: &Span) {
            // SAFETY: the features are enabled here; the rest is the contract of [`Rows::run`], which the caller has.
            unsafe {
                match &layer.trim {
                    Some(trim) => trimmed::<K>(lanes, layer, trim, memory, span),
                    None => blocks::<$lanes_type, K>(lanes, layer, memory, span),
                }
            }
        }
        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn trimmed<const K: u8>(lanes: $lanes_type, layer: &Layer, trim: &Trim, memory: &Memory, span: &Span) {
            // SAFETY: as above; the trim is the layer's.
            unsafe { trimmed::blocks::<$lanes_type, K>(lanes, layer, trim, memory, span) }
        }
        let lanes = $lanes;
        match $stored {
            $($k => Entry {
                // SAFETY: `lanes` holds the proof that the machine has the features; the rest is the contract of `Rows::run`.
                rows: Rows::new(move |layer, memory, span| unsafe { entry::<$k>(lanes, layer, memory, span) }),
                trimmed_windows: const { trimmed::windows::<$lanes_type, $k>() },
            },)*
            _ => Entry {
                // SAFETY: as above.
                rows: Rows::new(move |layer, memory, span| unsafe { entry::<$last>(lanes, layer, memory, span) }),
                trimmed_windows: const { trimmed::windows::<$lanes_type, $last>() },
            },
        }
    }};
}

/// The kernel of an instruction set for codes of a form, bound to the proof that the machine has it.
pub(crate) fn rows_for(available: Available, form: CodeForm) -> Option<Rows> {
    entry_for(available, form).map(|entry| entry.rows)
}

/// Most windows in a block of a layer that is trimmed; 0 where there are none.
pub(crate) fn trimmed_windows(available: Available, form: CodeForm) -> usize {
    entry_for(available, form).map_or(0, |entry| entry.trimmed_windows)
}

fn entry_for(available: Available, form: CodeForm) -> Option<Entry> {
    let CodeForm { stored, i16_steps: steps } = form;
    Some(match (available.isa(), steps) {
        (Isa::Scalar, _) => return None,
        (Isa::Avx2, 0) => entries!("avx2", avx2::Full(Avx2::probe()?), avx2::Full, [16], stored, 8),
        (Isa::Avx2, 1) => entries!("avx2", avx2::Narrow(Avx2::probe()?), avx2::Narrow, [7], stored, 8),
        (Isa::Avx2, _) => {
            let lanes = avx2::Deep { narrow: avx2::Narrow(Avx2::probe()?), steps };
            entries!("avx2", lanes, avx2::Deep, [2 3 4 5 6], stored, 8)
        }
        (Isa::Avx2Vnni, _) => {
            let lanes = avx2vnni::Vnni(Avx2Vnni::probe()?);
            entries!("avx2,avxvnni", lanes, avx2vnni::Vnni, [2 3 4 5 6 7], stored, 8)
        }
        (Isa::Avx512, 0) => {
            let lanes = avx512::Full(Avx512::probe()?);
            entries!("avx2,avx512f,avx512bw,avx512dq,avx512vl", lanes, avx512::Full, [16], stored, 8)
        }
        (Isa::Avx512, 1) => {
            let lanes = avx512::Narrow(Avx512::probe()?);
            entries!("avx2,avx512f,avx512bw,avx512dq,avx512vl", lanes, avx512::Narrow, [7], stored, 8)
        }
        (Isa::Avx512, _) => {
            let lanes = avx512::Deep { narrow: avx512::Narrow(Avx512::probe()?), steps };
            entries!("avx2,avx512f,avx512bw,avx512dq,avx512vl", lanes, avx512::Deep, [2 3 4 5 6], stored, 8)
        }
        (Isa::Avx512Vnni | Isa::Amx, _) if stored < 8 && available.gfni_for(stored).is_some() => {
            let lanes = avx512vnni::VnniGfni(Avx512Vnni::probe()?, available.gfni_for(stored)?);
            entries!(
                "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,gfni",
                lanes,
                avx512vnni::VnniGfni,
                [2 3 4 5 6],
                stored,
                7
            )
        }
        (Isa::Avx512Vnni | Isa::Amx, _) => {
            let lanes = avx512vnni::Vnni(Avx512Vnni::probe()?);
            entries!("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", lanes, avx512vnni::Vnni, [2 3 4 5 6 7], stored, 8)
        }
    })
}

/// A strip of windows whose origins are `layer.grid.pixel` apart.
struct Strip<'a> {
    layer: &'a Layer,
    memory: &'a Memory,
    group: usize,
    /// First vector of outputs in the group.
    vector: usize,
    /// Number of the next window, row by row.
    window: usize,
    /// Where the codes of the next windows go.
    places: Places,
}

impl<'a> Strip<'a> {
    /// Blocks from vector `vector` of a group on; the strip has no windows yet.
    fn new(layer: &'a Layer, memory: &'a Memory, group: usize, vector: usize) -> Self {
        Strip { layer, memory, group, vector, window: 0, places: Places::one(std::ptr::null_mut(), 0) }
    }

    /// Goes to `windows` windows, the first in this row and column, of which `outputs` outputs from `first` of the group on are
    /// computed.
    ///
    /// # Panics
    /// When their results leave the arena: a planning bug.
    fn go_to(&mut self, row: usize, column: usize, windows: usize, first: usize, outputs: usize) {
        let width = self.layer.grid.width;
        self.window = row * width + column;
        if let Target::Codes { y, .. } = self.layer.target {
            let count = outputs.min(self.layer.group_outputs.saturating_sub(first));
            let channel = self.group * self.layer.group_outputs + first;
            let last = self.window + windows - 1;
            let from = y.at(row, column) + channel;
            let end = y.at(last / width, last % width) + channel + count;
            let gap = y.row - width * y.pixel;
            let y_ptr = self.memory.codes_ptr(from, end - from);
            self.places = Places { y: y_ptr, count, pixel: y.pixel, width, gap, left: width - column };
        }
    }
}

/// All windows and outputs of a span, blocks of vectors outermost so that their weights stay in the cache.
///
/// # Safety
/// The caller enables the target features of `D`; the layer's grid, runs and target lie in the arena, as the planner proves.
#[inline(always)]
unsafe fn blocks<D: Lanes, const K: u8>(lanes: D, layer: &Layer, memory: &Memory, span: &Span) {
    let per_tile = TILE_OUTPUTS / D::LANES;
    let end = span.tiles.end * per_tile;
    let grid = &layer.grid;
    // Rows without a gap between them are one strip.
    let merged = grid.row == grid.width * grid.pixel;
    let (strips, windows) = if merged { (1, span.rows.len() * grid.width) } else { (span.rows.len(), grid.width) };
    for group in 0..layer.groups {
        let mut vector = span.tiles.start * per_tile;
        while vector < end {
            let fits = |v: usize| v <= layer.vectors && end - vector >= v && most::<D, K>(v) > 0;
            let size = [4, 2, 1].into_iter().find(|&v| fits(v)).unwrap_or(1);
            let longest = most::<D, K>(size);
            for s in 0..strips {
                let mut strip = Strip::new(layer, memory, group, vector);
                strip.go_to(span.rows.start + s, 0, windows, vector * D::LANES, size * D::LANES);
                let origin =
                    grid.origin + (span.rows.start - span.origin_row + s) * grid.row + group * layer.group_inputs;
                let mut x = memory.codes_ptr(origin, 0).cast_const();
                // As few blocks as fit, and those of nearly equal size.
                let count = windows.div_ceil(longest);
                for block in 0..count {
                    let pixels = (windows + block) / count;
                    // SAFETY: the features are enabled by the caller; `pixels` windows begin at `x`, inside the grid.
                    unsafe {
                        match size {
                            4 if const { most::<D, K>(4) > 0 } => sized::<D, K, 4>(lanes, &mut strip, x, pixels),
                            1 if const { most::<D, K>(1) > 0 } => sized::<D, K, 1>(lanes, &mut strip, x, pixels),
                            _ => sized::<D, K, 2>(lanes, &mut strip, x, pixels),
                        }
                    }
                    x = x.wrapping_add(pixels * grid.pixel);
                }
            }
            vector += size;
        }
    }
}

/// Most windows in a block of `vectors` vectors of codes of `K` bits; 0 where there is no such block.
const fn most<D: Lanes, const K: u8>(vectors: usize) -> usize {
    let blocks = if K >= 8 { D::BLOCKS } else { D::PACKED_BLOCKS };
    blocks[vectors.trailing_zeros() as usize]
}

/// The block of `pixels` windows.
#[inline(always)]
unsafe fn sized<D: Lanes, const K: u8, const VECTORS: usize>(lanes: D, strip: &mut Strip, x: *const u8, pixels: usize) {
    // SAFETY: by the contract of the caller.
    unsafe {
        match pixels {
            1 if const { most::<D, K>(VECTORS) >= 1 } => block::<D, K, 1, VECTORS>(lanes, strip, x),
            2 if const { most::<D, K>(VECTORS) >= 2 } => block::<D, K, 2, VECTORS>(lanes, strip, x),
            3 if const { most::<D, K>(VECTORS) >= 3 } => block::<D, K, 3, VECTORS>(lanes, strip, x),
            4 if const { most::<D, K>(VECTORS) >= 4 } => block::<D, K, 4, VECTORS>(lanes, strip, x),
            5 if const { most::<D, K>(VECTORS) >= 5 } => block::<D, K, 5, VECTORS>(lanes, strip, x),
            6 if const { most::<D, K>(VECTORS) >= 6 } => block::<D, K, 6, VECTORS>(lanes, strip, x),
            7 if const { most::<D, K>(VECTORS) >= 7 } => block::<D, K, 7, VECTORS>(lanes, strip, x),
            8 if const { most::<D, K>(VECTORS) >= 8 } => block::<D, K, 8, VECTORS>(lanes, strip, x),
            9 if const { most::<D, K>(VECTORS) >= 9 } => block::<D, K, 9, VECTORS>(lanes, strip, x),
            10 if const { most::<D, K>(VECTORS) >= 10 } => block::<D, K, 10, VECTORS>(lanes, strip, x),
            11 if const { most::<D, K>(VECTORS) >= 11 } => block::<D, K, 11, VECTORS>(lanes, strip, x),
            12 if const { most::<D, K>(VECTORS) >= 12 } => block::<D, K, 12, VECTORS>(lanes, strip, x),
            13 if const { most::<D, K>(VECTORS) >= 13 } => block::<D, K, 13, VECTORS>(lanes, strip, x),
            14 if const { most::<D, K>(VECTORS) >= 14 } => block::<D, K, 14, VECTORS>(lanes, strip, x),
            15 if const { most::<D, K>(VECTORS) >= 15 } => block::<D, K, 15, VECTORS>(lanes, strip, x),
            16 if const { most::<D, K>(VECTORS) >= 16 } => block::<D, K, 16, VECTORS>(lanes, strip, x),
            _ => unreachable!("a block of {pixels} windows"),
        }
    }
}

/// `PIXELS` windows, the first at `x`, times `VECTORS` vectors.
#[inline(always)]
unsafe fn block<D: Lanes, const K: u8, const PIXELS: usize, const VECTORS: usize>(
    lanes: D,
    strip: &mut Strip,
    x: *const u8,
) {
    let layer = strip.layer;
    let per_tile = TILE_OUTPUTS / D::LANES;
    let row_bytes = layer.depth_groups * 8 * usize::from(K);
    let first_tile = strip.group * layer.group_tiles;
    let lane = first_tile * TILE_OUTPUTS + strip.vector * D::LANES;
    let pixel = layer.grid.pixel;
    // SAFETY: weights, biases and multipliers hold whole tiles; a run's groups lie in the arena for each window.
    unsafe {
        let first_weights = layer.weights.as_ptr().add((first_tile + strip.vector / per_tile) * row_bytes);
        let initial = biased::<D, VECTORS>(lanes, layer.biases.as_ptr().add(lane));
        // A block of several vectors begins with a whole tile.
        let part = if VECTORS > 1 { 0 } else { strip.vector % per_tile };
        let ask_ahead = layer.grid.height * layer.grid.width <= 16;
        let rows = TileRows { first: first_weights, part, row_bytes, ask_ahead };
        let mut windows = [0; PIXELS];
        for (p, window) in windows.iter_mut().enumerate() {
            *window = p * pixel;
        }
        let sums = if D::SLIDES && K == 8 && VECTORS <= 2 && layer.slides {
            slide::<D, PIXELS, VECTORS>(lanes, [initial; PIXELS], &layer.runs, x, pixel, rows)
        } else {
            accumulate::<D, K, PIXELS, VECTORS>(lanes, [initial; PIXELS], &layer.runs, x, windows, rows)
        };
        finish(lanes, strip, &sums);
    }
}

/// The biases of `VECTORS` vectors.
#[inline(always)]
unsafe fn biased<D: Lanes, const VECTORS: usize>(lanes: D, biases: *const i32) -> [D::Sum; VECTORS] {
    // SAFETY: by the contract of the caller, whole vectors lie at `biases`.
    unsafe {
        let mut sums = [lanes.sum(biases); VECTORS];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = lanes.sum(biases.add(v * D::LANES));
        }
        sums
    }
}

/// Where a block's weights are.
#[derive(Clone, Copy)]
struct TileRows {
    /// Tile of the first depths.
    first: *const u8,
    /// Vector of the tile that comes first.
    part: usize,
    /// Bytes from a tile to that of the next 16 outputs.
    row_bytes: usize,
    /// Whether weights that are summed in i16 are asked for ahead.
    ask_ahead: bool,
}

/// Adds the products of `runs` for `PIXELS` windows, `windows` bytes from `x`, times `VECTORS` vectors.
#[inline(always)]
unsafe fn accumulate<D: Lanes, const K: u8, const PIXELS: usize, const VECTORS: usize>(
    lanes: D,
    mut sums: [[D::Sum; VECTORS]; PIXELS],
    runs: &[Run],
    x: *const u8,
    windows: [usize; PIXELS],
    rows: TileRows,
) -> [[D::Sum; VECTORS]; PIXELS] {
    let TileRows { first: mut tile, part, row_bytes, ask_ahead } = rows;
    let tile_bytes = 8 * usize::from(K);
    // Activations as u16 go with weights as i16.
    let depth_bytes = if K == 16 { 2 * TILE_DEPTH } else { TILE_DEPTH };
    // SAFETY: by the contract of the callers, weights are whole tiles, and a run's groups lie in the arena for each window.
    unsafe {
        if D::DEEP {
            for run in runs {
                let mut from = x.add(run.offset);
                let mut left = run.groups;
                while left > 0 {
                    let steps = lanes.steps().min(left);
                    let mut partial = [[lanes.start(); VECTORS]; PIXELS];
                    macro_rules! step {
                        () => {
                            let w = weights::<D, K, VECTORS>(lanes, tile, part, row_bytes);
                            if K < 8 || ask_ahead {
                                prefetch::<D, VECTORS>(tile, row_bytes);
                            }
                            for (p, partial) in partial.iter_mut().enumerate() {
                                let q = lanes.broadcast::<K>(from.add(windows[p]));
                                for (partial, &w) in partial.iter_mut().zip(&w) {
                                    *partial = lanes.accumulate(*partial, q, w);
                                }
                            }
                            (tile, from) = (tile.add(tile_bytes), from.add(depth_bytes));
                        };
                    }
                    // The first step adds to nothing: without the addition.
                    step!();
                    for _ in 1..steps {
                        step!();
                    }
                    for (sums, partial) in sums.iter_mut().zip(&partial) {
                        for (sum, &partial) in sums.iter_mut().zip(partial) {
                            *sum = lanes.fold(*sum, partial);
                        }
                    }
                    left -= steps;
                }
            }
        } else {
            for run in runs {
                let mut from = x.add(run.offset);
                for _ in 0..run.groups {
                    let w = weights::<D, K, VECTORS>(lanes, tile, part, row_bytes);
                    if K < 8 || PIXELS <= 8 {
                        prefetch::<D, VECTORS>(tile, row_bytes);
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let q = lanes.broadcast::<K>(from.add(windows[p]));
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = lanes.dot(*sum, q, w);
                        }
                    }
                    (tile, from) = (tile.add(tile_bytes), from.add(depth_bytes));
                }
            }
        }
    }
    sums
}

/// As [`accumulate`] where a run is three times as long as the way to the next window: each cell, as long as that way, is the first, the second and the
/// third of three windows, and broadcast once for them.
#[inline(always)]
unsafe fn slide<D: Lanes, const PIXELS: usize, const VECTORS: usize>(
    lanes: D,
    mut sums: [[D::Sum; VECTORS]; PIXELS],
    runs: &[Run],
    x: *const u8,
    cell_bytes: usize,
    rows: TileRows,
) -> [[D::Sum; VECTORS]; PIXELS] {
    let TileRows { first: mut tile, part, row_bytes, .. } = rows;
    let tap_bytes = cell_bytes / TILE_DEPTH * TILE_CODES;
    // SAFETY: by the contract of the callers, weights are whole tiles, and a run's groups lie in the arena for each window.
    unsafe {
        for run in runs {
            let from = x.add(run.offset);
            for group in 0..cell_bytes / TILE_DEPTH {
                let w = [
                    weights::<D, 8, VECTORS>(lanes, tile, part, row_bytes),
                    weights::<D, 8, VECTORS>(lanes, tile.add(tap_bytes), part, row_bytes),
                    weights::<D, 8, VECTORS>(lanes, tile.add(2 * tap_bytes), part, row_bytes),
                ];
                let mut at = from.add(TILE_DEPTH * group);
                // Straight code: as a loop it would keep the sums in memory.
                macro_rules! cells {
                    ($($cell:literal)*) => {$(
                        if $cell < PIXELS + 2 {
                            let q = lanes.broadcast::<8>(at);
                            at = at.wrapping_add(cell_bytes);
                            cells!(@tap q, $cell, 0);
                            cells!(@tap q, $cell, 1);
                            cells!(@tap q, $cell, 2);
                        }
                    )*};
                    (@tap $q:ident, $cell:literal, $tap:literal) => {
                        if $cell >= $tap && $cell - $tap < PIXELS {
                            for (sum, &w) in sums[$cell - $tap].iter_mut().zip(&w[$tap]) {
                                *sum = lanes.dot(*sum, $q, w);
                            }
                        }
                    };
                }
                cells!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17);
                tile = tile.add(TILE_CODES);
            }
            tile = tile.add(2 * tap_bytes);
        }
    }
    sums
}

/// The weights of `VECTORS` vectors, the first vector `part` of a tile, with `row_bytes` between tiles of outputs.
#[inline(always)]
unsafe fn weights<D: Lanes, const K: u8, const VECTORS: usize>(
    lanes: D,
    tile: *const u8,
    part: usize,
    row_bytes: usize,
) -> [D::Weights; VECTORS] {
    let per_tile = TILE_OUTPUTS / D::LANES;
    // SAFETY: by the contract of the caller; rows of tiles follow each other.
    unsafe {
        let first = lanes.tile_weights::<K>(tile, part);
        let mut w = [first; VECTORS];
        let mut v = 1;
        while v < VECTORS {
            w[v] = lanes.tile_weights::<K>(tile.add(v / per_tile * row_bytes), v % per_tile);
            v += 1;
        }
        w
    }
}

/// Asks for weights that are needed soon: of the next block at the same depth where a block is short, because the hardware's own
/// prefetcher starts anew at every row of tiles; else some way ahead in the same rows.
#[inline(always)]
fn prefetch<D: Lanes, const VECTORS: usize>(tile: *const u8, row_bytes: usize) {
    const MOST_BYTES: usize = 32 << 10;
    const AHEAD: usize = 2 << 10;
    let rows = (VECTORS * D::LANES).div_ceil(TILE_OUTPUTS);
    let ahead = if rows * row_bytes <= MOST_BYTES { rows * row_bytes } else { AHEAD };
    for row in 0..rows {
        // SAFETY: a prefetch reads nothing, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(tile.wrapping_add(row * row_bytes + ahead).cast()) };
    }
}

/// Requantizes or scales the sums of a strip's next windows and steps over them.
///
/// # Safety
/// The strip has so many windows left.
#[inline(always)]
unsafe fn finish<D: Lanes, const VECTORS: usize>(lanes: D, strip: &mut Strip, sums: &[[D::Sum; VECTORS]]) {
    let layer = strip.layer;
    let lane = strip.group * layer.group_tiles * TILE_OUTPUTS + strip.vector * D::LANES;
    // SAFETY: there is a multiplier for each lane of each tile; the places are of the strip's next windows.
    unsafe {
        let multipliers = layer.multipliers.as_ptr().add(lane);
        let first_sum = sums.as_ptr().cast();
        match layer.target {
            Target::Codes { clamp, .. } => {
                lanes.requantize::<VECTORS>(first_sum, sums.len(), multipliers, clamp, &mut strip.places);
            }
            Target::Logits { .. } => scale(lanes, strip, first_sum, VECTORS, sums.len(), multipliers),
        }
    }
}

/// Windows whose floats are written together.
const SCALED_WINDOWS: usize = 4;

/// Scales the sums of a strip's next windows to floats.
///
/// # Safety
/// `windows` times `vectors` sums lie at `sums`, as many multipliers as a window has at `multipliers`.
#[inline(never)]
unsafe fn scale<D: Lanes>(
    lanes: D,
    strip: &mut Strip,
    sums: *const D::Sum,
    vectors: usize,
    windows: usize,
    multipliers: *const f32,
) {
    let layer = strip.layer;
    let Target::Logits { first, positions, step } = layer.target else { return };
    for v in 0..vectors {
        let output = strip.vector * D::LANES + v * D::LANES;
        let count = layer.group_outputs.saturating_sub(output).min(D::LANES);
        let channel = strip.group * layer.group_outputs + output;
        // Several windows at a time: those of a channel lie side by side, or `step` apart.
        let mut window = 0;
        while window < windows {
            let mut values = [[0f32; TILE_OUTPUTS]; SCALED_WINDOWS];
            let some = SCALED_WINDOWS.min(windows - window);
            for (i, values) in values[..some].iter_mut().enumerate() {
                let sums = sums.wrapping_add((window + i) * vectors + v);
                // SAFETY: by the contract; `values` has room for a vector.
                unsafe { lanes.scale(sums, multipliers.wrapping_add(v * D::LANES), values.as_mut_ptr()) };
            }
            for c in 0..count {
                let at = first + (channel + c) * positions + (strip.window + window) * step;
                let to = strip.memory.floats_ptr(at, (some - 1) * step + 1);
                for (i, values) in values[..some].iter().enumerate() {
                    // SAFETY: the pointer is to the floats of the layer's slot up to the last of these windows.
                    unsafe { *to.add(i * step) = values[c] };
                }
            }
            window += some;
        }
    }
    strip.window += windows;
}
