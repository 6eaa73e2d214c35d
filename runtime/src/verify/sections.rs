//! What operators read of the sections: inside, aligned, never shared.

use super::MAX_ADDEND;
use crate::BitWidth;
use crate::ops::field::{Check, canonical, multiplier, require};
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS, packed_len, tile_bytes, unpack_tile};
use crate::program::{Conv, Op, Program};
use std::collections::BTreeMap;
use std::ops::Range;

/// Both sections, and what of them is in use.
pub(super) struct Sections<'a> {
    constants: &'a [u8],
    weights: &'a [u8],
    used_constants: Ranges,
    used_weights: Ranges,
}

/// Disjoint ranges, each by its first byte and its end.
///
/// As no two operators share a byte of a section, what all of them read is never more than the file.
#[derive(Default)]
struct Ranges(BTreeMap<usize, usize>);

impl Ranges {
    /// Adds a range that is not empty.
    fn add(&mut self, range: Range<usize>, section: &str) -> Check {
        let before = self.0.range(..range.end).next_back();
        let free = before.is_none_or(|(_, &end)| end <= range.start);
        require(free, || format!("bytes {range:?} of the {section} section belong to another operator too"))?;
        self.0.insert(range.start, range.end);
        Ok(())
    }
}

impl<'a> Sections<'a> {
    pub(super) fn new(constants: &'a [u8], weights: &'a [u8]) -> Self {
        Sections { constants, weights, used_constants: Ranges::default(), used_weights: Ranges::default() }
    }

    /// Checks what an operator, whose fields and extents are right, reads of the sections, and notes that it does.
    pub(super) fn claim(&mut self, program: &Program, op: &Op) -> Check {
        match *op {
            Op::Conv(ref conv) => {
                let words = self.constants(conv.constants_offset, u64::from(conv.outputs) * 8)?;
                let (_, multipliers) = words.split_at(conv.outputs as usize * 4);
                floats(multipliers).try_for_each(multiplier)?;
                self.weights(program, conv)
            }
            Op::Affine { x, constants_offset, .. } => {
                let channels = program.tensor(x).channels;
                let words = self.constants(constants_offset, u64::from(channels) * 8)?;
                let (multipliers, addends) = words.split_at(channels as usize * 4);
                floats(multipliers).try_for_each(|value| multiplier(value.abs()))?;
                let small = floats(addends).all(|value| value.abs() <= MAX_ADDEND);
                require(small, || format!("an addend exceeds {MAX_ADDEND}"))
            }
            Op::Constant { y, constants_offset } => {
                self.constants(constants_offset, program.tensor(y).len() as u64).map(|_| ())
            }
            Op::Table { x, constants_offset, per_channel, .. } => {
                let tables = if per_channel { program.tensor(x).channels } else { 1 };
                self.constants(constants_offset, u64::from(tables) * 256).map(|_| ())
            }
            Op::FloatConstant { y, constants_offset } => {
                floats(self.constants(constants_offset, program.float_len(y) as u64 * 4)?).try_for_each(canonical)
            }
            Op::FloatRecurrent { kind, hidden, peepholes, constants_offset, .. } => {
                let (gates, hidden) = (kind.gates() as u64, u64::from(hidden));
                let len = (gates * (hidden + 1) + if peepholes { 3 } else { 0 }).checked_mul(4 * hidden);
                floats(self.constants(constants_offset, len.ok_or("too many weights")?)?).try_for_each(canonical)
            }
            Op::FloatLookup { constants_offset, rows, width, .. } => {
                let len = u64::from(rows).checked_mul(u64::from(width)).and_then(|len| len.checked_mul(4));
                floats(self.constants(constants_offset, len.ok_or("the table is too large")?)?).try_for_each(canonical)
            }
            _ => Ok(()),
        }
    }

    /// Some bytes, at least one, of the constants section, which no other operator uses.
    fn constants(&mut self, offset: u64, len: u64) -> Check<&'a [u8]> {
        let bytes = part(self.constants, offset, len);
        let (range, bytes) = bytes.ok_or_else(|| format!("{len} bytes of constants at {offset} leave the section"))?;
        self.used_constants.add(range, "constants")?;
        Ok(bytes)
    }

    fn weights(&mut self, program: &Program, conv: &Conv) -> Check {
        let x = program.tensor(conv.x);
        let taps = u64::from(conv.window.kernel[0]) * u64::from(conv.window.kernel[1]);
        let depth = taps.checked_mul(u64::from(x.channels / conv.groups)).and_then(|d| usize::try_from(d).ok());
        let depth = depth.ok_or("too many weights")?;
        let len = packed_len(conv.outputs as usize, depth, conv.bits).ok_or("too many weights")?;
        let bytes = part(self.weights, conv.weights_offset, len as u64);
        let (range, bytes) =
            bytes.ok_or_else(|| format!("{len} bytes of weights at {} leave the section", conv.weights_offset))?;
        self.used_weights.add(range, "weights")?;
        let padded = is_padded(bytes, conv.outputs as usize, depth, conv.bits);
        require(padded, || "the weights are not padded with 0 to whole tiles".into())
    }
}

/// Some bytes of a section and where they lie; `None` where they leave it.
fn part(section: &[u8], offset: u64, len: u64) -> Option<(Range<usize>, &[u8])> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    Some((start..end, section.get(start..end)?))
}

/// Words of a section as floats.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word))
}

/// Whether the codes that fill the last tiles of each axis up are 0. Kernels multiply those beyond the depth with whatever lies there.
fn is_padded(weights: &[u8], outputs: usize, depth: usize, bits: BitWidth) -> bool {
    let (tiles_deep, bytes) = (depth.div_ceil(TILE_DEPTH), tile_bytes(bits));
    let last_row = outputs / TILE_OUTPUTS;
    weights.chunks_exact(tiles_deep * bytes).enumerate().all(|(row, tiles)| {
        // Only the last tile of a row is not full, and all of the last row.
        let whole = if row < last_row { depth / TILE_DEPTH } else { 0 };
        tiles.chunks_exact(bytes).enumerate().skip(whole).all(|(tile, packed)| {
            let codes = unpack_tile(packed, bits);
            let is_inside =
                |i: usize| row * TILE_OUTPUTS + i / TILE_DEPTH < outputs && tile * TILE_DEPTH + i % TILE_DEPTH < depth;
            codes.iter().enumerate().all(|(i, &code)| code == 0 || is_inside(i))
        })
    })
}
