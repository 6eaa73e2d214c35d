//! Tile sizes and loop order of a layer.
//!
//! The search is bounded: at most three sizes of channel ranges, two loop orders, single and double tiles, and rows (then columns) halved until
//! one is left. The candidate with the fewest estimated cycles wins, the first of equals.

use crate::BitWidth;
use crate::accel::config::AccelConfig;
use crate::accel::cost::LayerShape;
use crate::program::Window;

/// Where a layer's operands live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The input lives in the arena and is loaded tile by tile.
    pub(super) loads: bool,
    /// The result lives in the arena and is stored tile by tile.
    pub(super) stores: bool,
    /// The result goes to the host.
    pub(super) host: bool,
}

/// What is tiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer<'a> {
    pub(super) shape: &'a LayerShape,
    pub(super) window: &'a Window,
    pub(super) bits: BitWidth,
    pub(super) ends: Ends,
    /// Bytes of the activation buffer for tiles.
    pub(super) stream_bytes: u32,
}

/// How a layer is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Output channels of a load of weights, a multiple of 16.
    pub(super) range: u32,
    /// Ranges outside, tiles of positions inside: weights stay. Else tiles outside: inputs and results stay.
    pub(super) weights_stay: bool,
    /// Rows of results of a tile.
    pub(super) rows: u32,
    /// Columns of results of a tile.
    pub(super) columns: u32,
    /// Two tiles of activations, so that one moves while the other is used.
    pub(super) double: bool,
    /// Bytes of an input tile, and of a result tile.
    pub(super) tile_bytes: [u32; 2],
}

/// Rows or columns of input under `results` positions, at most those that there are.
fn reach(window: &Window, axis: usize, results: u32, size: u32) -> u64 {
    let span = u64::from(window.kernel[axis] - 1) * u64::from(window.dilation[axis]) + 1;
    (u64::from(results - 1) * u64::from(window.stride[axis]) + span).min(size.into())
}

fn halved(size: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(size), |&n| (n > 1).then(|| n.div_ceil(2)))
}

impl Layer<'_> {
    /// The best cut; `None` where the smallest tile does not fit the buffers.
    pub(super) fn tiling(&self, config: &AccelConfig) -> Option<Tiling> {
        let block = self.shape.weight_bytes(1, self.bits);
        let (half, whole) = (u64::from(config.weight_sram_bytes / 2), u64::from(config.weight_sram_bytes));
        let slots = u64::from(config.constant_slots / 2) / 16;
        let blocks = u64::from(self.shape.outputs()).div_ceil(16);
        let most = (half / block).min(slots).min(blocks);
        let sizes = match most {
            0 if block <= whole => vec![1],
            0 => return None,
            most => vec![most, most.div_ceil(2), most.div_ceil(4)],
        };
        let [rows, columns] = self.shape.output;
        let Ends { loads, stores, host } = self.ends;
        let cuts: Vec<[u32; 2]> = match (loads || stores, loads && stores && !host) {
            (false, _) => vec![[rows, columns]],
            (true, false) => halved(rows).map(|rows| [rows, columns]).collect(),
            (true, true) => {
                let columns_of_a_row = halved(columns).skip(1).map(|columns| [1, columns]);
                halved(rows).map(|rows| [rows, columns]).chain(columns_of_a_row).collect()
            }
        };
        let mut best: Option<(u64, Tiling)> = None;
        for [rows, columns] in cuts {
            for &size in &sizes {
                for (weights_stay, double) in [(false, true), (true, true), (false, false), (true, false)] {
                    let range = u32::try_from(size * 16).ok()?;
                    let tiling = Tiling { range, weights_stay, rows, columns, double, tile_bytes: [0; 2] };
                    let Some((cycles, tiling)) = self.estimate(tiling, config) else { continue };
                    if best.as_ref().is_none_or(|(fewest, _)| cycles < *fewest) {
                        best = Some((cycles, tiling));
                    }
                }
            }
        }
        best.map(|(_, tiling)| tiling)
    }

    /// Cycles of a cut, or none where it does not fit.
    fn estimate(&self, tiling: Tiling, config: &AccelConfig) -> Option<(u64, Tiling)> {
        let Tiling { range, weights_stay, rows, columns, double, .. } = tiling;
        let (shape, Ends { loads, stores, .. }) = (self.shape, self.ends);
        let [all_rows, all_columns] = shape.output;
        let tiles = u64::from(all_rows.div_ceil(rows)) * u64::from(all_columns.div_ceil(columns));
        if weights_stay && (tiles == 1 || columns < all_columns) {
            return None;
        }
        let channels = u64::from(shape.group_inputs) * u64::from(shape.groups);
        let outputs = u64::from(shape.outputs());
        let range = u64::from(range).min(outputs);
        let input = [0, 1].map(|axis| reach(self.window, axis, [rows, columns][axis], shape.input[axis]));
        let input_bytes = if loads { input[0] * input[1] * channels } else { 0 };
        let stored = if weights_stay { range } else { outputs };
        let positions = u64::from(rows) * u64::from(columns);
        let result_bytes = if stores { positions * stored } else { 0 };
        let copies = if double { 2 } else { 1 };
        // Runs, their number and their distance must fit the fields of LOAD_ACTIVATIONS and STORE.
        let run_fits = |bytes: u64| bytes < 1 << 20;
        let fits = (input_bytes + result_bytes) * copies <= self.stream_bytes.into()
            && run_fits(input[1] * channels)
            && run_fits(u64::from(columns) * outputs)
            && (!(stores && weights_stay) || positions < 1 << 18)
            && input[0] < 1 << 18
            && u64::from(shape.input[1]) * channels < 1 << 22
            && u64::from(all_columns) * outputs < 1 << 22;
        if !fits {
            return None;
        }
        let ranges = outputs.div_ceil(range);
        let executions = tiles * ranges;
        let (_, steps) = shape.lanes_over(config.lanes);
        let step = u32::try_from(range).ok()?;
        let cut = (0..shape.outputs()).step_by(step as usize).map(|first| first..shape.outputs().min(first + step));
        let row_blocks: u64 = cut.map(|range| shape.row_blocks(&range, config.rows)).sum();
        let blocks = row_blocks * tiles * positions.div_ceil(config.columns.into());
        let drain = positions.min(config.columns.into()).div_ceil(config.requantizers.into());
        let block_cycles = (steps * config.serial.planes(self.bits)).max(drain);
        let compute = blocks.div_ceil(config.tiles.into()) * block_cycles + executions * (8 + drain);
        let weight_loads = if weights_stay || ranges == 1 { 1 } else { tiles };
        let weights = shape.weight_bytes(shape.outputs(), self.bits) + 8 * outputs;
        let weight_cycles = config.dram_cycles(weights, 1) * weight_loads;
        let input_loads = tiles * if weights_stay { ranges } else { 1 };
        let input_cycles = config.dram_cycles(input_bytes, 1) * input_loads;
        let result_runs = if weights_stay { positions } else { 1 };
        let result_cycles =
            config.dram_cycles(result_bytes / result_runs, result_runs) * tiles * if weights_stay { ranges } else { 1 };
        let dram = weight_cycles + input_cycles + result_cycles;
        let latency = u64::from(config.dram_latency_cycles);
        let first = (weight_cycles / ranges).min(weight_cycles) + config.dram_cycles(input_bytes, 1);
        let cycles = match (loads || stores, double) {
            (true, false) => compute + dram + latency * executions,
            _ => compute.max(dram) + first.min(compute) + latency,
        };
        let tile_bytes = [u32::try_from(input_bytes).ok()?, u32::try_from(result_bytes).ok()?];
        Some((cycles, Tiling { tile_bytes, ..tiling }))
    }
}
