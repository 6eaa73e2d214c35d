//! Where the windows of a layer are, and which of their taps lie inside the input.

use crate::BitWidth;
use crate::kernels::conv::trim::Inside;
use crate::kernels::conv::{Cut, Gather, Grid, Run};
use crate::pack::{TILE_DEPTH, packed_len};
use crate::program::{Conv, Program};
use std::ops::Range;

/// The windows of a layer.
pub(super) struct Windows {
    pub(super) grid: Grid,
    pub(super) gather: Option<Gather>,
    /// What lies inside the input, where the rest is left out.
    pub(super) inside: Option<Inside>,
    /// Depth of each run.
    pub(super) run_depth: usize,
    pub(super) runs: Vec<Run>,
}

impl Windows {
    /// All bytes that the windows of all groups cover.
    pub(super) fn bytes(&self, groups: usize, group_inputs: usize) -> Range<usize> {
        let grid = &self.grid;
        let last =
            grid.origin + (grid.height - 1) * grid.row + (grid.width - 1) * grid.pixel + (groups - 1) * group_inputs;
        let window = self.runs.iter().map(|run| run.offset + run.groups * TILE_DEPTH).max().unwrap_or(0);
        grid.origin..last + window
    }

    /// The same windows over a copy at `to` of the bytes from `from` on, as u16.
    pub(super) fn doubled(&self, from: usize, to: usize) -> (Grid, Vec<Run>) {
        let Grid { origin, row, pixel, .. } = self.grid;
        let grid = Grid { origin: to + 2 * (origin - from), row: 2 * row, pixel: 2 * pixel, ..self.grid };
        (grid, self.runs.iter().map(|run| Run { offset: 2 * run.offset, ..*run }).collect())
    }
}

/// The runs of a window of `inputs` contiguous channels a tap, with `steps` bytes between rows and columns of taps: as few and as
/// long as the tensor allows. All have the same depth, which comes first.
pub(super) fn runs(kernel: [usize; 2], inputs: usize, steps: [usize; 2]) -> (usize, Vec<Run>) {
    let [rows, columns] = kernel;
    let row_is_run = columns == 1 || steps[1] == inputs;
    let whole_is_run = row_is_run && (rows == 1 || steps[0] == columns * inputs);
    let (depth, offsets): (usize, Vec<usize>) = if whole_is_run {
        (rows * columns * inputs, vec![0])
    } else if row_is_run {
        (columns * inputs, (0..rows).map(|r| r * steps[0]).collect())
    } else {
        (inputs, (0..rows).flat_map(|r| (0..columns).map(move |c| r * steps[0] + c * steps[1])).collect())
    };
    let groups = depth.div_ceil(TILE_DEPTH);
    (depth, offsets.into_iter().map(|offset| Run { offset, groups }).collect())
}

/// One run a tap.
pub(super) fn tap_runs([rows, columns]: [usize; 2], inputs: usize, steps: [usize; 2]) -> Vec<Run> {
    let offsets = (0..rows).flat_map(|r| (0..columns).map(move |c| r * steps[0] + c * steps[1]));
    offsets.map(|offset| Run { offset, groups: inputs.div_ceil(TILE_DEPTH) }).collect()
}

/// Rows of windows from which on a layer may be shared by rows although its weights are larger than its input.
const MANY_ROWS: usize = 8;
/// How much larger: every core streams the weights from a shared cache, where what another core has just written comes line by line.
const WEIGHTS_TO_INPUT: usize = 4;

/// How a layer is shared between threads: by rows, where each reads all weights, or by outputs, where each reads all of the input.
///
/// Weights count as bytes whatever their width: it also decides whether padding is left out ([`inside`]), which fewer bits must not lose.
pub(super) fn cut(program: &Program, conv: &Conv) -> Cut {
    let x = program.tensor(conv.x);
    let [height, _] = program.conv_output(conv);
    let weights = packed_len(conv.outputs as usize, conv.depth(x), BitWidth::MAX);
    let most = if height as usize >= MANY_ROWS { WEIGHTS_TO_INPUT * x.len() } else { x.len() };
    if weights.is_none_or(|bytes| bytes > most) { Cut::Outputs } else { Cut::Rows }
}

/// Least share of products in the padding for which it is worth leaving them out.
const LEAST_SHARE: f64 = 0.1;

/// Most products of a window and a tap, channels not counted, of a layer whose padding is left out: planning it takes time and memory for
/// each, and of more a smaller share lies in the padding.
const MOST_TRIMMED: usize = 1 << 14;

/// The taps of a layer that lie inside its input, where the others add nothing and leaving them out is worth it.
pub(super) fn inside(program: &Program, conv: &Conv) -> Option<Inside> {
    let x = program.tensor(conv.x);
    let [height, width] = program.conv_output(conv).map(|extent| extent as usize);
    // Layers shared by rows would have their columns cut.
    let by_rows = matches!(cut(program, conv), Cut::Rows);
    let taps = conv.window.kernel.map(|taps| taps as usize);
    let products = [width, taps[0], taps[1]].into_iter().fold(height, usize::saturating_mul);
    let few = products <= MOST_TRIMMED;
    if conv.groups > 1 || x.zero_point != 0 || !x.channels.is_multiple_of(4) || by_rows || !few {
        return None;
    }
    let inside = |axis: usize, size: u32, windows: usize| -> Vec<Range<usize>> {
        let window = &conv.window;
        let [stride, dilation, before, taps] =
            [window.stride, window.dilation, [window.padding[0], window.padding[1]], window.kernel]
                .map(|extents| extents[axis] as usize);
        let cells = before..before + size as usize;
        let ranges = (0..taps).map(|tap| {
            let is_inside = |window: &usize| cells.contains(&(window * stride + tap * dilation));
            let first = (0..windows).find(is_inside).unwrap_or(0);
            first..first + (first..windows).take_while(is_inside).count()
        });
        ranges.collect()
    };
    let rows = inside(0, x.height, height);
    let columns = inside(1, x.width, width);
    let inside = Inside { rows, columns };
    (1.0 - inside.share([height, width]) >= LEAST_SHARE).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Destination, LayerKind, Tensor, TensorId, Window};

    /// ResNet-20's last layers: their padding had been computed at 2 and 3 bits.
    #[test]
    fn padding_is_left_out_at_every_width() {
        let tensor = Tensor {
            name: String::new(),
            height: 8,
            width: 8,
            channels: 64,
            scale: 1.0,
            zero_point: 0,
            arena_offset: 0,
        };
        let program = Program { tensors: vec![tensor.clone(), tensor], ..Program::default() };
        let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] };
        let conv = |bits| Conv {
            name: String::new(),
            kind: LayerKind::Conv,
            x: TensorId(0),
            destination: Destination::Codes { y: TensorId(1), lo: 0, hi: 255 },
            window,
            groups: 1,
            outputs: 64,
            bits,
            weights_offset: 0,
            constants_offset: 0,
        };
        for bits in (2..=8).filter_map(BitWidth::new) {
            assert!(inside(&program, &conv(bits)).is_some(), "{} bits", bits.bits());
        }
    }
}
