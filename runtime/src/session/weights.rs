//! The weights of a layer in the order its kernel reads them.

use crate::format::Artifact;
use crate::kernels::AlignedBytes;
use crate::kernels::conv::Run;
use crate::pack::{self, TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use crate::program::Conv;

/// Codes and constants of a layer, in tiles of 16 outputs of one group.
pub(super) struct Tiles {
    /// `[group][tile][depth group][64]`.
    pub(super) codes: AlignedBytes,
    /// `[group][tile][16]`.
    pub(super) biases: Vec<i32>,
    /// `[group][tile][16]`.
    pub(super) multipliers: Vec<f32>,
}

/// Widens the codes of a layer whose window has depths `run_depths`, run by run.
pub(super) fn widen(artifact: &Artifact, conv: &Conv, run_depth: usize, runs: &[Run]) -> Tiles {
    let depth = conv.depth(artifact.program().tensor(conv.x));
    let (outputs, groups) = (conv.outputs as usize, conv.groups as usize);
    let group_outputs = outputs / groups;
    let group_tiles = group_outputs.div_ceil(TILE_OUTPUTS);
    let depth_groups: usize = runs.iter().map(|run| run.groups).sum();
    let codes = pack::unpack(artifact.weights(conv), outputs, depth, conv.bits);
    let (biases, multipliers) = (artifact.biases(conv), artifact.multipliers(conv));
    let lanes = groups * group_tiles * TILE_OUTPUTS;
    let mut tiles = Tiles {
        codes: AlignedBytes::zeroed(groups * group_tiles * depth_groups * TILE_CODES),
        biases: vec![0; lanes],
        multipliers: vec![1.0; lanes],
    };
    for output in 0..outputs {
        let (group, o) = (output / group_outputs, output % group_outputs);
        let tile = group * group_tiles + o / TILE_OUTPUTS;
        let lane = o % TILE_OUTPUTS;
        tiles.biases[tile * TILE_OUTPUTS + lane] = biases[output];
        tiles.multipliers[tile * TILE_OUTPUTS + lane] = multipliers[output];
        let mut first_group = 0;
        for (run, codes) in runs.iter().zip(codes[output * depth..][..depth].chunks(run_depth)) {
            for (d, &code) in codes.iter().enumerate() {
                let at = (tile * depth_groups + first_group + d / TILE_DEPTH) * TILE_CODES;
                tiles.codes[at + lane * TILE_DEPTH + d % TILE_DEPTH] = code.cast_unsigned();
            }
            first_group += run.groups;
        }
    }
    tiles
}
