//! A layer as tiles.

use super::tile::{Ends, Layer, Tiling};
use super::{Writer, is_channel_last, units};
use crate::accel::cost::LayerShape;
use crate::accel::table::Instruction;
use crate::program::{Conv, Destination, Op, TensorId, Window};
use std::ops::Range;

/// Rows or columns of input under some positions.
struct Reach {
    cells: Range<u32>,
    /// Cells of padding before and after.
    padding: [u32; 2],
}

/// The input under `results`, clipped to the image of `size`; none where it is all padding.
fn reach(window: &Window, axis: usize, results: &Range<u32>, size: u32) -> Option<Reach> {
    let (stride, before) = (i64::from(window.stride[axis]), i64::from(window.padding[axis]));
    let span = i64::from(window.kernel[axis] - 1) * i64::from(window.dilation[axis]) + 1;
    let start = i64::from(results.start) * stride - before;
    let end = i64::from(results.end - 1) * stride - before + span;
    let cells = start.max(0)..end.min(size.into());
    let within = |value: i64| u32::try_from(value).ok();
    let padding = [within(cells.start - start)?, within(end - cells.end)?];
    let cells = within(cells.start)?..within(cells.end)?;
    (cells.start < cells.end).then_some(Reach { cells, padding })
}

/// Ranges of `size` that cover `0..all`.
fn pieces(all: u32, size: u32) -> impl Iterator<Item = Range<u32>> + Clone {
    (0..all).step_by(size.max(1) as usize).map(move |first| first..all.min(first + size))
}

/// The tile that the descriptors describe.
struct Tile {
    rows: Range<u32>,
    columns: Range<u32>,
    /// Its copy of the two of a double tile.
    copy: u32,
    load: Option<usize>,
}

/// What stays the same over the tiles of a layer.
struct Job<'a> {
    conv: &'a Conv,
    shape: LayerShape,
    tiling: Tiling,
    ends: Ends,
    /// The store that last read each copy of the result tile.
    stores: [Option<usize>; 2],
    /// The last load of weights, the bytes that it filled and its slot.
    weights: Option<(usize, Range<u32>, u16)>,
    tiles: u32,
}

impl Writer<'_> {
    pub(super) fn conv(&mut self, operator: u16, op: &Op, conv: &Conv) -> Result<(), String> {
        let shape = LayerShape::of(self.network, conv);
        let result = match conv.destination {
            Destination::Codes { y, .. } => Some(y),
            Destination::Logits { .. } => None,
        };
        let in_arena = |id: TensorId| self.homes.resident(id).is_none();
        let ends = Ends { loads: in_arena(conv.x), stores: result.is_some_and(in_arena), host: result.is_none() };
        let stream_bytes = self.homes.stream.end - self.homes.stream.start;
        let layer = Layer { shape: &shape, window: &conv.window, bits: conv.bits, ends, stream_bytes };
        let [rows, columns] = shape.output;
        let x = self.network.tensor(conv.x);
        let tiled = layer.tiling(self.config).filter(|tiling| {
            pieces(rows, tiling.rows).all(|rows| reach(&conv.window, 0, &rows, x.height).is_some())
                && pieces(columns, tiling.columns).all(|columns| reach(&conv.window, 1, &columns, x.width).is_some())
                && conv.outputs < 1 << 17
        });
        let Some(tiling) = tiled else {
            self.vector(operator, op);
            return Ok(());
        };
        self.descriptors(conv, &shape)?;
        let mut job = Job { conv, shape, tiling, ends, stores: [None; 2], weights: None, tiles: 0 };
        let positions = || {
            pieces(rows, tiling.rows).flat_map(|rows| pieces(columns, tiling.columns).map(move |c| (rows.clone(), c)))
        };
        if tiling.weights_stay {
            for range in pieces(conv.outputs, tiling.range) {
                for (i, (rows, columns)) in positions().enumerate() {
                    let tile = self.tile(&mut job, rows, columns, &range);
                    if i == 0 {
                        self.load_weights(&mut job, &range);
                    }
                    let tile = self.load_tile(&mut job, tile);
                    let last = self.execute(&mut job, &tile, &range, true);
                    self.store(&mut job, &tile, &range, last);
                }
            }
            return Ok(());
        }
        let all = 0..conv.outputs;
        for (rows, columns) in positions() {
            let tile = self.tile(&mut job, rows, columns, &all);
            let mut loaded = None;
            let mut last = 0;
            for range in pieces(conv.outputs, tiling.range) {
                if tiling.range < conv.outputs || job.weights.is_none() {
                    self.load_weights(&mut job, &range);
                }
                let tile = loaded.get_or_insert_with(|| {
                    self.load_tile(&mut job, Tile { rows: tile.rows.clone(), columns: tile.columns.clone(), ..tile })
                });
                last = self.execute(&mut job, tile, &range, false);
            }
            if let Some(tile) = &loaded {
                self.store(&mut job, tile, &all, last);
            }
        }
        Ok(())
    }

    fn descriptors(&mut self, conv: &Conv, shape: &LayerShape) -> Result<(), String> {
        let ([height, width], [dilation_height, dilation_width]) = (conv.window.kernel, conv.window.dilation);
        self.set(Instruction::SetKernel { height, width, dilation_height, dilation_width });
        let [height, width] = conv.window.stride;
        self.set(Instruction::SetStride { height, width });
        match conv.destination {
            Destination::Codes { lo, hi, .. } => self.set(Instruction::SetClamp { lo, hi }),
            Destination::Logits { y, order } => {
                let ([height, width], channels) = (shape.output, conv.outputs);
                let channel_last = is_channel_last(order, [height, width, channels]);
                self.set(Instruction::SetHost { host: self.slot(y), height, width, channels, channel_last });
            }
        }
        let (weights, constants) = (units(conv.weights_offset)?, units(conv.constants_offset)?);
        let (bits, outputs, groups) = (conv.bits.bits(), conv.outputs, conv.groups);
        let lanes_over = shape.lanes_over(self.config.lanes).0 as u8;
        self.set(Instruction::SetWeights { weights, constants, bits, outputs, groups, lanes_over });
        Ok(())
    }

    /// Sets the descriptors of a tile.
    fn tile(&mut self, job: &mut Job, rows: Range<u32>, columns: Range<u32>, outputs: &Range<u32>) -> Tile {
        let (window, x) = (&job.conv.window, self.network.tensor(job.conv.x));
        let copy = if job.tiling.double { job.tiles % 2 } else { 0 };
        job.tiles += 1;
        let whole = |size: u32| Reach { cells: 0..size, padding: [0; 2] };
        let down = reach(window, 0, &rows, x.height).unwrap_or_else(|| whole(x.height));
        let across = reach(window, 1, &columns, x.width).unwrap_or_else(|| whole(x.width));
        let (height, width) = (down.cells.end - down.cells.start, across.cells.end - across.cells.start);
        let [input_bytes, result_bytes] = job.tiling.tile_bytes;
        let copies = if job.tiling.double { 2 } else { 1 };
        let stream = self.homes.stream.start;
        let (channels, zero_point) = (x.channels, x.zero_point);
        // A resident input is read in place: whole rows, or all of it.
        let (address, height, width, down, across) = match self.homes.resident(job.conv.x) {
            None => (stream + copy * input_bytes, height, width, down, across),
            Some(first) if rows == (0..job.shape.output[0]) => {
                (first, x.height, x.width, whole_padding(window, 0, x.height), whole_padding(window, 1, x.width))
            }
            Some(first) => {
                let address = first + down.cells.start * x.width * channels;
                (address, height, x.width, down, whole_padding(window, 1, x.width))
            }
        };
        self.set(Instruction::SetInput { address, height, width, channels, zero_point, dram: false });
        let ([top, bottom], [left, right]) = (down.padding, across.padding);
        self.set(Instruction::SetPadding { top, left, bottom, right });
        if let Destination::Codes { y, .. } = job.conv.destination {
            let t = self.network.tensor(y);
            let (address, channels) = match self.homes.resident(y) {
                Some(first) => (first + rows.start * t.width * t.channels, t.channels),
                None => (stream + copies * input_bytes + copy * result_bytes, outputs.end - outputs.start),
            };
            let (height, width) = (rows.end - rows.start, columns.end - columns.start);
            let zero_point = t.zero_point;
            self.set(Instruction::SetOutput { address, height, width, channels, zero_point, dram: false });
        }
        Tile { rows, columns, copy, load: None }
    }

    fn load_tile(&mut self, job: &mut Job, tile: Tile) -> Tile {
        if !job.ends.loads {
            return tile;
        }
        let (window, x) = (&job.conv.window, self.network.tensor(job.conv.x));
        let (Some(down), Some(across)) =
            (reach(window, 0, &tile.rows, x.height), reach(window, 1, &tile.columns, x.width))
        else {
            return tile;
        };
        let (runs, width) = (down.cells.end - down.cells.start, across.cells.end - across.cells.start);
        let (run, pitch) = (width * x.channels, x.width * x.channels);
        let dram = x.arena_offset + down.cells.start * pitch + across.cells.start * x.channels;
        let buffer = self.homes.stream.start + tile.copy * job.tiling.tile_bytes[0];
        let load =
            Instruction::LoadActivations { wait_execute: false, signal_execute: false, dram, buffer, run, runs, pitch };
        let at = self.stream.load_activations(load, &(buffer..buffer + run * runs));
        Tile { load: Some(at), ..tile }
    }

    fn load_weights(&mut self, job: &mut Job, range: &Range<u32>) {
        let outputs = range.end - range.start;
        let bytes = job.shape.weight_bytes(outputs, job.conv.bits) as u32;
        let half = self.config.weight_sram_bytes / 2;
        let upper = u32::from(self.upper_half && bytes <= half);
        self.upper_half = !self.upper_half;
        let (buffer, slot) = (upper * half, (upper * (self.config.constant_slots / 2)) as u16);
        let load = Instruction::LoadWeights {
            wait_execute: false,
            signal_execute: false,
            buffer,
            slot,
            first_output: range.start,
            outputs,
        };
        // The whole half is taken, and with it the half of the constants.
        let filled = if bytes <= half { buffer..buffer + half } else { 0..2 * half };
        let at = self.stream.load_weights(load, &filled);
        job.weights = Some((at, filled, slot));
    }

    fn execute(&mut self, job: &mut Job, tile: &Tile, range: &Range<u32>, dense: bool) -> usize {
        let Some((load, filled, slot)) = job.weights.clone() else { return 0 };
        let (first_output, outputs) = (range.start, range.end - range.start);
        let weights = filled.start;
        let flags = false;
        let execute = match job.conv.destination {
            Destination::Codes { .. } => Instruction::Execute {
                wait_load: flags,
                wait_store: flags,
                signal_load: flags,
                signal_store: flags,
                weights,
                slot,
                first_output,
                outputs,
                channel: if dense && job.ends.stores { 0 } else { first_output },
            },
            Destination::Logits { .. } => Instruction::ExecuteHost {
                wait_load: flags,
                wait_store: flags,
                signal_load: flags,
                signal_store: flags,
                weights,
                slot,
                first_output,
                outputs,
                first_row: tile.rows.start,
            },
        };
        let input = tile.load.map(|_| {
            let first = self.homes.stream.start + tile.copy * job.tiling.tile_bytes[0];
            first..first + job.tiling.tile_bytes[0]
        });
        let store = job.stores[tile.copy as usize];
        self.stream.execute(execute, [Some(load).max(tile.load), store], filled, input)
    }

    fn store(&mut self, job: &mut Job, tile: &Tile, range: &Range<u32>, after: usize) {
        let Destination::Codes { y, .. } = job.conv.destination else { return };
        if !job.ends.stores {
            return;
        }
        let t = self.network.tensor(y);
        let channels = range.end - range.start;
        let (rows, columns) = (tile.rows.end - tile.rows.start, tile.columns.end - tile.columns.start);
        let row = t.width * t.channels;
        let dram = t.arena_offset + tile.rows.start * row + tile.columns.start * t.channels + range.start;
        let (run, runs, pitch) = if channels == t.channels {
            (columns * channels, rows, row)
        } else {
            (channels, rows * columns, t.channels)
        };
        let copies = if job.tiling.double { 2 } else { 1 };
        let [input_bytes, result_bytes] = job.tiling.tile_bytes;
        let buffer = self.homes.stream.start + copies * input_bytes + tile.copy * result_bytes;
        let store = Instruction::Store { wait_execute: false, signal_execute: false, dram, buffer, run, runs, pitch };
        job.stores[tile.copy as usize] = Some(self.stream.store(store, after));
    }
}

/// All of an axis with the window's own padding.
fn whole_padding(window: &Window, axis: usize, size: u32) -> Reach {
    Reach { cells: 0..size, padding: [window.padding[axis], window.padding[axis + 2]] }
}
