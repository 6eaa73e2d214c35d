//! Which layers run on int8 tiles (AMX), and how their weights lie.
//!
//! The bounds below are estimates for hardware that the project has not had: see docs/decisions/0005-amx.md.

use super::budget::Budget;
use super::layout::SLACK;
use super::weights::{Order, Tiles};
use crate::format::Artifact;
use crate::isa::TileUnit;
use crate::kernels::conv::amx::{self, STEP_GROUPS, Strips};
use crate::kernels::conv::{CodeForm, Grid, Run, Weights};
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS};
use crate::program::{Conv, Program};
use crate::{BitWidth, RunError};

/// Fewest windows, outputs of a group and depths for which tiles are used: a row, a column, a step of a register.
const FEWEST_WINDOWS: usize = 16;
const FEWEST_OUTPUTS: usize = TILE_OUTPUTS;
const FEWEST_DEPTHS: usize = STEP_DEPTHS;

/// Depths of a step.
const STEP_DEPTHS: usize = STEP_GROUPS * TILE_DEPTH;

// What a padded run reads behind a tensor is its slack.
const _: () = assert!(STEP_DEPTHS - 1 <= SLACK);

/// Products computed for each product needed, beyond which vectors are faster: a tile unit does about eight times as many as
/// `vpdpbusd`, and half of that is allowed for loading and storing tiles.
const MOST_PADDING: usize = 4;

/// Bytes of weights, widened, from which a layer is bound by reading them, so that they stay packed: half of a 2 MiB L2 cache.
const BANDWIDTH_BOUND_BYTES: usize = 1 << 20;

/// Whether a layer of these windows runs on tiles.
pub(super) fn is_chosen(unit: TileUnit, program: &Program, conv: &Conv, grid: &Grid, runs: &[Run]) -> bool {
    if is_everywhere(unit) {
        return true;
    }
    let windows = grid.height * grid.width;
    let outputs = (conv.outputs / conv.groups) as usize;
    let depth = conv.depth(program.tensor(conv.x));
    if windows < FEWEST_WINDOWS || outputs < FEWEST_OUTPUTS || depth < FEWEST_DEPTHS {
        return false;
    }
    let steps: usize = runs.iter().map(|run| run.groups.div_ceil(STEP_GROUPS)).sum();
    let computed =
        [Strips::new(grid, grid.height).computed(), outputs.next_multiple_of(TILE_OUTPUTS), steps * STEP_DEPTHS];
    let needed = [windows, outputs, depth];
    let product = |extents: [usize; 3]| extents.iter().map(|&extent| extent as u128).product::<u128>();
    product(computed) <= MOST_PADDING as u128 * product(needed)
}

/// Whether tests ask for tiles wherever they are possible.
fn is_everywhere(unit: TileUnit) -> bool {
    match unit {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        TileUnit::Hardware(_) => false,
        #[cfg(feature = "encode")]
        TileUnit::Emulated(use_of_tiles) => use_of_tiles == crate::isa::EmulatedTiles::Everywhere,
    }
}

/// Pads every run to whole steps. A window then reads up to 63 bytes behind its runs.
pub(super) fn pad(runs: &mut [Run]) {
    runs.iter_mut().for_each(|run| run.groups = run.groups.next_multiple_of(STEP_GROUPS));
}

/// Arranges the codes of a layer for padded runs of `run_depth` depths: as they are in the artifact, or widened.
///
/// # Errors
/// [`RunError::Memory`] where the budget does not allow it.
pub(super) fn arrange(
    artifact: &Artifact,
    unit: TileUnit,
    conv: &Conv,
    run_depth: usize,
    runs: &[Run],
    budget: &Budget,
) -> Result<Tiles, RunError> {
    let program = artifact.program();
    let order = Order::new(conv, conv.depth(program.tensor(conv.x)), run_depth, runs);
    budget.take(order.constants_bytes())?;
    let (biases, multipliers) = order.constants(artifact, conv);
    let readable = conv.bits == BitWidth::MAX || may_stay_packed(unit, program, conv);
    let (codes, stored) = if readable && order.is_canonical() {
        (Weights::InPlace(artifact.clone(), artifact.weight_range(conv)), conv.bits.bits())
    } else {
        budget.take(order.widening_bytes())?;
        (Weights::Bytes(order.widen(artifact.weights(conv), conv)), BitWidth::MAX.bits())
    };
    let group_outputs = (conv.outputs / conv.groups) as usize;
    Ok(Tiles { group_outputs, codes, form: CodeForm { stored, i16_steps: 0 }, biases, multipliers })
}

/// Whether codes stay packed if their order allows it.
fn may_stay_packed(unit: TileUnit, program: &Program, conv: &Conv) -> bool {
    let depth = conv.depth(program.tensor(conv.x));
    let large = conv.outputs as usize * depth > BANDWIDTH_BOUND_BYTES;
    conv.bits < BitWidth::MAX && depth.is_multiple_of(STEP_DEPTHS) && (large || is_everywhere(unit))
}

/// Bytes of panels that the layers of a program need.
pub(super) fn panels_bytes(unit: TileUnit, program: &Program) -> usize {
    let packed = program.convs().filter(|conv| may_stay_packed(unit, program, conv));
    let bytes = |conv: &Conv| {
        let group_tiles = (conv.outputs / conv.groups).div_ceil(TILE_OUTPUTS as u32) as usize;
        amx::panels_bytes(group_tiles, conv.depth(program.tensor(conv.x)) / TILE_DEPTH)
    };
    packed.map(bytes).max().unwrap_or(0)
}

#[cfg(all(test, feature = "encode"))]
mod tests {
    use super::*;
    use crate::isa::EmulatedTiles;
    use crate::program::{Destination, FloatId, LayerKind, Op, Order, Tensor, TensorId, Window};

    const WHERE_IT_PAYS: TileUnit = TileUnit::Emulated(EmulatedTiles::WhereHardwarePays);

    /// A layer with a square kernel over `inputs` channels; its windows are `side` x `side`, a row of taps is one run.
    fn layer(kernel: u32, inputs: u32, side: u32, outputs: u32, groups: u32) -> (Program, Grid, Vec<Run>) {
        let extent = side + kernel - 1;
        let conv = Conv {
            name: String::new(),
            kind: LayerKind::Conv,
            x: TensorId(0),
            destination: Destination::Logits { y: FloatId(0), order: Order::ChannelFirst },
            window: Window { kernel: [kernel; 2], stride: [1; 2], dilation: [1; 2], padding: [0; 4] },
            groups,
            outputs,
            bits: BitWidth::MIN,
            weights_offset: 0,
            constants_offset: 0,
        };
        let tensor = Tensor {
            name: String::new(),
            height: extent,
            width: extent,
            channels: inputs,
            scale: 1.0,
            zero_point: 0,
            arena_offset: 0,
        };
        let (pixel, side, extent) = (inputs as usize, side as usize, extent as usize);
        let grid = Grid { origin: 0, row: extent * pixel, pixel, height: side, width: side };
        let depth = (kernel * inputs / groups) as usize;
        let run = |row: usize| Run { offset: row * extent * pixel, groups: depth.div_ceil(TILE_DEPTH) };
        let runs = (0..kernel as usize).map(run).collect();
        (Program { tensors: vec![tensor], ops: vec![Op::Conv(conv)], ..Program::default() }, grid, runs)
    }

    fn chosen(kernel: u32, inputs: u32, side: u32, outputs: u32, groups: u32) -> bool {
        let (program, grid, runs) = layer(kernel, inputs, side, outputs, groups);
        program.convs().all(|conv| is_chosen(WHERE_IT_PAYS, &program, conv, &grid, &runs))
    }

    #[test]
    fn tiles_are_chosen_where_they_are_filled() {
        assert!(chosen(3, 16, 32, 16, 1), "ResNet-20's first stage");
        assert!(chosen(3, 64, 8, 64, 1), "and its last");
        assert!(chosen(1, 512, 14, 512, 1), "pointwise layers of MobileNet");
        assert!(chosen(5, 6, 10, 16, 1), "the second layer of LeNet");
        assert!(chosen(11, 3, 55, 96, 1), "the first layer of AlexNet");
        assert!(chosen(5, 96, 27, 256, 2), "two groups of 128 outputs");
        assert!(chosen(3, 512, 4, 512, 1), "16 windows");
        assert!(!chosen(3, 512, 3, 512, 1), "9 windows");
        assert!(!chosen(1, 4096, 1, 4096, 1), "fully connected");
        assert!(!chosen(3, 3, 32, 64, 1), "27 depths");
        assert!(!chosen(5, 32, 16, 10, 1), "10 outputs");
        assert!(!chosen(3, 128, 16, 128, 16), "groups of 8 outputs");
        assert!(!chosen(9, 1, 20, 16, 1), "81 depths in nine steps");
    }

    #[test]
    fn runs_are_padded_to_steps_and_no_further() {
        let (_, _, mut runs) = layer(3, 24, 8, 16, 1);
        pad(&mut runs);
        let padded: Vec<_> = runs.iter().map(|run| (run.offset, run.groups)).collect();
        assert_eq!(padded, [(0, 32), (240, 32), (480, 32)]);
        pad(&mut runs);
        assert_eq!(runs.iter().map(|run| run.groups).sum::<usize>(), 96);
    }

    #[test]
    fn only_large_layers_of_whole_steps_need_panels() {
        let bytes = |kernel, inputs, outputs| panels_bytes(WHERE_IT_PAYS, &layer(kernel, inputs, 4, outputs, 1).0);
        assert_eq!(bytes(3, 512, 512), 8 * 2 * 16 * 9 * 512, "a block of 32 outputs for each part of 64");
        assert_eq!(bytes(3, 64, 64), 0, "36 KiB");
        assert_eq!(bytes(3, 500, 512), 0, "depths of 4500");
    }
}
