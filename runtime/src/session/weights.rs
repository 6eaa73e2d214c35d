//! The weights of a layer in the order its kernel reads them.

use crate::format::Artifact;
use crate::isa::Isa;
use crate::kernels::AlignedBytes;
use crate::kernels::conv::{CodeForm, Run, Weights};
use crate::pack::{self, TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};
use crate::program::Conv;

/// Codes and constants of a layer, in tiles of 16 outputs of one group.
pub(super) struct Tiles {
    /// Outputs of a group.
    pub(super) group_outputs: usize,
    /// `[group][tile][depth group]`.
    pub(super) codes: Weights,
    /// How a kernel must read and multiply them.
    pub(super) form: CodeForm,
    /// `[group][tile][16]`.
    pub(super) biases: Vec<i32>,
    /// `[group][tile][16]`.
    pub(super) multipliers: Vec<f32>,
}

/// Where the codes of a layer lie for its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Packed, in the artifact: fewer bytes to load, more instructions.
    InPlace,
    /// Widened at load.
    Widened,
}

/// What is wanted of a layer's codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) form: Form,
    /// Whether activations may be u16.
    pub(super) words: bool,
    /// Of how many outputs, from the first on: all of them where there are several groups.
    pub(super) outputs: usize,
}

/// Most windows of a layer whose codes may be read packed: with more, unpacking them for every block costs more than loading bytes.
const MOST_WINDOWS: usize = 16;

/// Bytes of a widened layer worth a trial: fewer stay in the nearest cache, where nothing is faster than codes that lie ready, and what a
/// trial would tell apart is a matter of noise.
const WORTH_A_TRIAL: usize = 32 << 10;

/// Which form the layers of a session take. Results do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WeightLayout {
    /// For each layer the one that is faster on this machine; where that is not known beforehand, a trial at load decides.
    #[default]
    Fastest,
    /// Packed as in the artifact, unpacked in registers: the least memory.
    Packed,
    /// Widened to bytes at load.
    Widened,
}

impl WeightLayout {
    /// The form of a layer for `windows` windows; `None` where only a trial tells.
    pub(super) fn form(self, isa: Isa, windows: usize, bits: u8, widened_bytes: usize) -> Option<Form> {
        match self {
            WeightLayout::Fastest => fastest(isa, windows, bits, widened_bytes),
            WeightLayout::Packed => Some(Form::InPlace),
            WeightLayout::Widened => Some(Form::Widened),
        }
    }
}

/// What unpacking costs depends on the instruction set, on CPU features and on the width, and what it saves on caches and memory: only what
/// holds on every machine is known without a trial.
fn fastest(isa: Isa, windows: usize, bits: u8, widened_bytes: usize) -> Option<Form> {
    if isa == Isa::Scalar || windows > MOST_WINDOWS {
        return Some(Form::Widened);
    }
    if bits == 8 {
        return Some(Form::InPlace);
    }
    (widened_bytes < WORTH_A_TRIAL).then_some(Form::Widened)
}

/// Whether the codes of a layer can be read where the artifact has them.
pub(super) fn may_lie_in_place(conv: &Conv, depth: usize, run_depth: usize, runs: &[Run]) -> bool {
    Order::new(conv, depth, run_depth, runs).is_canonical()
}

/// Bytes of a layer's codes as bytes.
pub(super) fn widened_bytes(conv: &Conv, depth: usize) -> usize {
    (conv.outputs as usize).next_multiple_of(TILE_OUTPUTS) * depth.next_multiple_of(TILE_DEPTH)
}

/// Bytes that [`arrange`] allocates, what it frees again included.
pub(super) fn arranged_bytes(conv: &Conv, depth: usize, run_depth: usize, runs: &[Run], wanted: Wanted) -> usize {
    let Wanted { form: place, words, outputs } = wanted;
    let order = Order::new(conv, depth, run_depth, runs).first(outputs);
    let codes = match place {
        Form::InPlace => 0,
        Form::Widened if words => order.widening_bytes().saturating_add(order.codes_bytes().saturating_mul(2)),
        Form::Widened => order.widening_bytes(),
    };
    codes.saturating_add(order.constants_bytes())
}

/// Arranges the codes of a layer's first `outputs` outputs for windows of runs of `run_depth` depths.
///
/// `words` allows codes as i16 where no product of two fits i16, if they are widened.
pub(super) fn arrange(
    artifact: &Artifact,
    isa: Isa,
    conv: &Conv,
    run_depth: usize,
    runs: &[Run],
    wanted: Wanted,
) -> Tiles {
    let Wanted { form: place, words, outputs } = wanted;
    let depth = conv.depth(artifact.program().tensor(conv.x));
    let order = Order::new(conv, depth, run_depth, runs).first(outputs);
    let (biases, multipliers) = order.constants(artifact, conv);
    let range = artifact.weight_range(conv);
    let bits = conv.bits.bits();
    let (codes, form) = if place == Form::InPlace {
        let form = CodeForm { stored: bits, i16_steps: i16_steps(bits) };
        (Weights::InPlace(artifact.clone(), range), form)
    } else {
        let bytes = order.widen(artifact.weights(conv), conv);
        let i16_steps = match isa {
            Isa::Avx2 | Isa::Avx512 => order.i16_steps(&bytes, i16_steps(bits)),
            _ => i16_steps(bits),
        };
        if i16_steps == 0 && words {
            (Weights::Bytes(to_words(&bytes)), CodeForm { stored: 16, i16_steps })
        } else {
            (Weights::Bytes(bytes), CodeForm { stored: 8, i16_steps })
        }
    };
    Tiles { group_outputs: order.group_outputs, codes, form, biases, multipliers }
}

/// Groups of 4 depths whose products an i16 holds the sum of, two products in each group, whatever the codes of `bits` bits are.
const fn i16_steps(bits: u8) -> usize {
    MOST_MAGNITUDE as usize / (2 << (bits - 1))
}

/// Most a sum of weights of one sign may reach: `255 * 128` fits i16.
const MOST_MAGNITUDE: i32 = 128;

const _: () = assert!(255 * MOST_MAGNITUDE <= i16::MAX as i32);
const _: () = assert!(i16_steps(8) == 0 && i16_steps(7) == 1 && i16_steps(4) == 8 && i16_steps(2) == 32);

/// Where the kernel looks for each code.
pub(super) struct Order<'a> {
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
    pub(super) fn new(conv: &Conv, depth: usize, run_depth: usize, runs: &'a [Run]) -> Self {
        let (outputs, groups) = (conv.outputs as usize, conv.groups as usize);
        let group_outputs = outputs / groups;
        let group_tiles = group_outputs.div_ceil(TILE_OUTPUTS);
        let depth_groups = runs.iter().map(|run| run.groups).sum();
        Order { outputs, depth, groups, group_outputs, group_tiles, run_depth, runs, depth_groups }
    }

    /// The same for the first `outputs` outputs, whole tiles of them.
    fn first(mut self, outputs: usize) -> Self {
        if outputs < self.outputs && self.groups == 1 {
            self.outputs = outputs.next_multiple_of(TILE_OUTPUTS).min(self.outputs);
            self.group_outputs = self.outputs;
            self.group_tiles = self.outputs.div_ceil(TILE_OUTPUTS);
        }
        self
    }

    fn lanes(&self) -> usize {
        self.groups * self.group_tiles * TILE_OUTPUTS
    }

    /// Bytes of the biases and multipliers.
    pub(super) fn constants_bytes(&self) -> usize {
        self.lanes().saturating_mul(size_of::<i32>() + size_of::<f32>())
    }

    /// Bytes of the codes as bytes.
    pub(super) fn codes_bytes(&self) -> usize {
        self.lanes().saturating_mul(self.depth_groups).saturating_mul(TILE_DEPTH)
    }

    /// Bytes that [`Order::widen`] allocates: in another order than that of the artifact they are unpacked first.
    pub(super) fn widening_bytes(&self) -> usize {
        let unpacked = if self.is_canonical() { 0 } else { self.outputs.saturating_mul(self.depth) };
        self.codes_bytes().saturating_add(unpacked)
    }

    /// Tile and lane of an output.
    fn place(&self, output: usize) -> (usize, usize) {
        let (group, o) = (output / self.group_outputs, output % self.group_outputs);
        (group * self.group_tiles + o / TILE_OUTPUTS, o % TILE_OUTPUTS)
    }

    /// Biases and multipliers, `[group][tile][16]`.
    pub(super) fn constants(&self, artifact: &Artifact, conv: &Conv) -> (Vec<i32>, Vec<f32>) {
        let (mut biases, mut multipliers) = (vec![0; self.lanes()], vec![1.0; self.lanes()]);
        let constants = artifact.biases(conv).into_iter().zip(artifact.multipliers(conv));
        for (output, (bias, multiplier)) in constants.take(self.outputs).enumerate() {
            let (tile, lane) = self.place(output);
            biases[tile * TILE_OUTPUTS + lane] = bias;
            multipliers[tile * TILE_OUTPUTS + lane] = multiplier;
        }
        (biases, multipliers)
    }

    /// Whether it is the order of the artifact, and its runs are not padded further.
    pub(super) fn is_canonical(&self) -> bool {
        let unpadded = self.depth_groups == self.depth.div_ceil(TILE_DEPTH);
        let whole_groups = self.runs.len() == 1 || self.run_depth.is_multiple_of(TILE_DEPTH);
        let whole_tiles = self.groups == 1 || self.group_outputs.is_multiple_of(TILE_OUTPUTS);
        whole_groups && whole_tiles && unpadded
    }

    /// Groups of 4 depths whose products an i16 holds the sum of, for these very codes: at least `floor`.
    fn i16_steps(&self, codes: &[u8], floor: usize) -> usize {
        let candidates = [64, 48, 32, 24, 16, 12, 8, 6, 5, 4, 3, 2, 1];
        let steps = candidates.into_iter().filter(|&steps| steps > floor).find(|&steps| self.fits_i16(codes, steps));
        steps.unwrap_or(floor)
    }

    /// Whether in every `steps` groups of a run, and for every pair of depths, the weights of each sign stay in [`MOST_MAGNITUDE`]:
    /// then every partial sum of products fits i16.
    fn fits_i16(&self, codes: &[u8], steps: usize) -> bool {
        codes.chunks_exact(self.depth_groups * TILE_CODES).all(|tile| {
            let mut rest = tile;
            self.runs.iter().all(|run| {
                let (this, next) = rest.split_at(run.groups * TILE_CODES);
                rest = next;
                this.chunks(steps * TILE_CODES).all(fits_i16)
            })
        })
    }

    /// The codes as bytes in this order.
    pub(super) fn widen(&self, packed: &[u8], conv: &Conv) -> AlignedBytes {
        let mut tiles = AlignedBytes::zeroed(self.codes_bytes());
        if self.is_canonical() {
            let packed = packed.chunks_exact(pack::tile_bytes(conv.bits));
            for (tile, packed) in tiles.chunks_exact_mut(TILE_CODES).zip(packed) {
                tile.copy_from_slice(&pack::unpack_tile(packed, conv.bits).map(i8::cast_unsigned));
            }
            return tiles;
        }
        let codes = pack::unpack(packed, self.outputs, self.depth, conv.bits);
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

/// [`Order::fits_i16`] for the groups of one chunk.
fn fits_i16(groups: &[u8]) -> bool {
    let (mut positive, mut negative) = ([0i32; TILE_CODES / 2], [0i32; TILE_CODES / 2]);
    for group in groups.chunks_exact(TILE_CODES) {
        for (i, pair) in group.chunks_exact(2).enumerate() {
            let [a, b] = [i32::from(pair[0].cast_signed()), i32::from(pair[1].cast_signed())];
            positive[i] += a.max(0) + b.max(0);
            negative[i] -= a.min(0) + b.min(0);
        }
    }
    positive.iter().chain(&negative).all(|&sum| sum <= MOST_MAGNITUDE)
}

/// Tiles of bytes as tiles of i16: depths 0 and 1 of all outputs, then depths 2 and 3.
fn to_words(bytes: &[u8]) -> AlignedBytes {
    let mut words = AlignedBytes::zeroed(2 * bytes.len());
    for (to, from) in words.chunks_exact_mut(2 * TILE_CODES).zip(bytes.chunks_exact(TILE_CODES)) {
        for (i, &code) in from.iter().enumerate() {
            let (output, depth) = (i / TILE_DEPTH, i % TILE_DEPTH);
            let at = depth / 2 * TILE_CODES + 4 * output + 2 * (depth % 2);
            to[at..at + 2].copy_from_slice(&i16::from(code.cast_signed()).to_le_bytes());
        }
    }
    words
}
