//! The weights of a layer in the order its kernel reads them.

use crate::format::Artifact;
use crate::kernels::AlignedBytes;
use crate::kernels::conv::{Run, Weights};
use crate::pack::{self, TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use crate::program::Conv;

/// Codes and constants of a layer, in tiles of 16 outputs of one group.
pub(super) struct Tiles {
    /// `[group][tile][depth group]`.
    pub(super) codes: Weights,
    /// Bits a code takes in `codes`.
    pub(super) stored: u8,
    /// `[group][tile][16]`.
    pub(super) biases: Vec<i32>,
    /// `[group][tile][16]`.
    pub(super) multipliers: Vec<f32>,
}

/// Layers of more packed bytes than this are read in place where their order allows: widened they would crowd the L2 cache.
const IN_PLACE_BYTES: usize = 64 << 10;

/// Arranges the codes of a layer for windows of runs of `run_depth` depths.
pub(super) fn arrange(artifact: &Artifact, conv: &Conv, run_depth: usize, runs: &[Run]) -> Tiles {
    let depth = conv.depth(artifact.program().tensor(conv.x));
    let order = Order::new(conv, depth, run_depth, runs);
    let (mut biases, mut multipliers) = (vec![0; order.lanes()], vec![1.0; order.lanes()]);
    let constants = artifact.biases(conv).into_iter().zip(artifact.multipliers(conv));
    for (output, (bias, multiplier)) in constants.enumerate() {
        let (tile, lane) = order.place(output);
        biases[tile * TILE_OUTPUTS + lane] = bias;
        multipliers[tile * TILE_OUTPUTS + lane] = multiplier;
    }
    let range = artifact.weight_range(conv);
    let (codes, stored) = if order.is_canonical() && range.len() > IN_PLACE_BYTES {
        (Weights::InPlace(artifact.clone(), range), conv.bits.bits())
    } else {
        (Weights::Bytes(order.widen(artifact.weights(conv), conv)), 8)
    };
    Tiles { codes, stored, biases, multipliers }
}

/// Where the kernel looks for each code.
struct Order<'a> {
    outputs: usize,
    depth: usize,
    groups: usize,
    group_outputs: usize,
    group_tiles: usize,
    run_depth: usize,
    runs: &'a [Run],
    /// Groups of 4 depths in all runs.
    depth_groups: usize,
}

impl<'a> Order<'a> {
    fn new(conv: &Conv, depth: usize, run_depth: usize, runs: &'a [Run]) -> Self {
        let (outputs, groups) = (conv.outputs as usize, conv.groups as usize);
        let group_outputs = outputs / groups;
        let group_tiles = group_outputs.div_ceil(TILE_OUTPUTS);
        let depth_groups = runs.iter().map(|run| run.groups).sum();
        Order { outputs, depth, groups, group_outputs, group_tiles, run_depth, runs, depth_groups }
    }

    fn lanes(&self) -> usize {
        self.groups * self.group_tiles * TILE_OUTPUTS
    }

    /// Tile and lane of an output.
    fn place(&self, output: usize) -> (usize, usize) {
        let (group, o) = (output / self.group_outputs, output % self.group_outputs);
        (group * self.group_tiles + o / TILE_OUTPUTS, o % TILE_OUTPUTS)
    }

    /// Whether it is the order of the artifact.
    fn is_canonical(&self) -> bool {
        let whole_groups = self.runs.len() == 1 || self.run_depth.is_multiple_of(TILE_DEPTH);
        // Kernels for packed codes take two tiles at a time.
        whole_groups && self.group_outputs.is_multiple_of(2 * TILE_OUTPUTS)
    }

    /// The codes as bytes in this order.
    fn widen(&self, packed: &[u8], conv: &Conv) -> AlignedBytes {
        let codes = pack::unpack(packed, self.outputs, self.depth, conv.bits);
        let mut tiles = AlignedBytes::zeroed(self.lanes() / TILE_OUTPUTS * self.depth_groups * TILE_CODES);
        for (output, codes) in codes.chunks_exact(self.depth).enumerate() {
            let (tile, lane) = self.place(output);
            let mut first_group = 0;
            for (run, codes) in self.runs.iter().zip(codes.chunks(self.run_depth)) {
                for (d, &code) in codes.iter().enumerate() {
                    let at = (tile * self.depth_groups + first_group + d / TILE_DEPTH) * TILE_CODES;
                    tiles[at + lane * TILE_DEPTH + d % TILE_DEPTH] = code.cast_unsigned();
                }
                first_group += run.groups;
            }
        }
        tiles
    }
}
