//! Which layers run on int8 tiles (AMX), and how their weights lie.
//!
//! The bounds below are estimates for hardware that the project has not had: see docs/decisions/0005-amx.md.

use super::weights::{Order, Tiles};
use crate::BitWidth;
use crate::format::Artifact;
use crate::isa::TileUnit;
use crate::kernels::conv::amx::{self, STEP_GROUPS, Strips};
use crate::kernels::conv::{CodeForm, Grid, Run, Weights};
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS};
use crate::program::{Conv, Program};

/// Fewest windows, outputs of a group and depths for which tiles are used: a row, a column, a step of a register.
const FEWEST_WINDOWS: usize = 16;
const FEWEST_OUTPUTS: usize = TILE_OUTPUTS;
const FEWEST_DEPTHS: usize = STEP_DEPTHS;

/// Depths of a step.
const STEP_DEPTHS: usize = STEP_GROUPS * TILE_DEPTH;

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
    let product = |extents: [usize; 3]| extents.iter().map(|&extent| extent as u64).product::<u64>();
    product(computed) <= MOST_PADDING as u64 * product(needed)
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

/// Pads every run to whole steps. A window then reads up to 63 bytes behind its runs, which the layout's slack allows.
pub(super) fn pad(runs: &mut [Run]) {
    runs.iter_mut().for_each(|run| run.groups = run.groups.next_multiple_of(STEP_GROUPS));
}

/// Arranges the codes of a layer for padded runs of `run_depth` depths: as they are in the artifact, or widened.
pub(super) fn arrange(artifact: &Artifact, unit: TileUnit, conv: &Conv, run_depth: usize, runs: &[Run]) -> Tiles {
    let program = artifact.program();
    let order = Order::new(conv, conv.depth(program.tensor(conv.x)), run_depth, runs);
    let (biases, multipliers) = order.constants(artifact, conv);
    let whole_steps = order.is_canonical() && run_depth.is_multiple_of(STEP_DEPTHS);
    let (codes, stored) = if whole_steps && (conv.bits == BitWidth::MAX || may_stay_packed(unit, program, conv)) {
        (Weights::InPlace(artifact.clone(), artifact.weight_range(conv)), conv.bits.bits())
    } else {
        (Weights::Bytes(order.widen(artifact.weights(conv), conv)), BitWidth::MAX.bits())
    };
    Tiles { codes, form: CodeForm { stored, i16_steps: 0 }, biases, multipliers }
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
