//! The hardware a program is compiled for.

use super::AccelError;
use crate::BitWidth;
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS, tile_bytes};
use std::ops::Range;

/// Sizes of the machine. Its energy constants are in [`super::cost`].
///
/// A tile is `rows` x `columns` processing elements; a row holds one output channel, a column one output position, and
/// each element multiplies `lanes` 8-bit activations by one bit of `lanes` weights a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccelConfig {
    /// Arrays that work side by side on different (output channels, output positions) blocks of a layer.
    pub tiles: u32,
    /// Output channels of a tile.
    pub rows: u32,
    /// Output positions of a tile, neighbours in a row of the image.
    pub columns: u32,
    /// Products an element sums in a cycle.
    pub lanes: u32,
    /// Weight memory on the chip, in bytes; half is filled while the other half is used.
    pub weight_sram_bytes: u32,
    /// Activation memory on the chip, in bytes.
    pub activation_sram_bytes: u32,
    /// Bytes the DRAM moves a cycle.
    pub dram_bytes_per_cycle: u32,
    /// Elements the vector unit (pools, adds, rescaling) takes in a cycle.
    pub vector_lanes: u32,
    /// Clock, in MHz.
    pub clock_mhz: u32,
}

impl Default for AccelConfig {
    /// The machine of docs/accelerator.md: 16 x 16 x 16, 288 KiB + 256 KiB, 16 bytes a cycle, 1 GHz.
    fn default() -> Self {
        AccelConfig {
            tiles: 1,
            rows: 16,
            columns: 16,
            lanes: 16,
            weight_sram_bytes: 288 << 10,
            activation_sram_bytes: 256 << 10,
            dram_bytes_per_cycle: 16,
            vector_lanes: 16,
            clock_mhz: 1000,
        }
    }
}

/// Bytes of a configuration's hash in a program header.
pub const CONFIG_HASH_BYTES: usize = 16;

impl AccelConfig {
    /// Names and values in the order in which they are hashed.
    pub fn fields(&self) -> [(&'static str, u32); 9] {
        [
            ("tiles", self.tiles),
            ("rows", self.rows),
            ("columns", self.columns),
            ("lanes", self.lanes),
            ("weight_sram_bytes", self.weight_sram_bytes),
            ("activation_sram_bytes", self.activation_sram_bytes),
            ("dram_bytes_per_cycle", self.dram_bytes_per_cycle),
            ("vector_lanes", self.vector_lanes),
            ("clock_mhz", self.clock_mhz),
        ]
    }

    /// The first 16 bytes of the BLAKE3 hash of the fields as little-endian words.
    pub fn hash(&self) -> [u8; CONFIG_HASH_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for (_, value) in self.fields() {
            hasher.update(&value.to_le_bytes());
        }
        let mut hash = [0; CONFIG_HASH_BYTES];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..CONFIG_HASH_BYTES]);
        hash
    }

    /// The ranges of output channels that one `CONV` takes: as many blocks of 16 as fit half of the weight memory, at least one.
    pub fn output_ranges(&self, outputs: u32, depth: u64, bits: BitWidth) -> impl Iterator<Item = Range<u32>> + use<> {
        let block_bytes = depth.div_ceil(TILE_DEPTH as u64).saturating_mul(tile_bytes(bits) as u64);
        let blocks = (u64::from(self.weight_sram_bytes / 2) / block_bytes.max(1)).max(1);
        let range = u32::try_from(blocks.saturating_mul(TILE_OUTPUTS as u64)).unwrap_or(outputs.max(1));
        (0..outputs).step_by(range as usize).map(move |first| first..outputs.min(first.saturating_add(range)))
    }

    /// Every size is at least 1.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), AccelError> {
        match self.fields().into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(AccelError::Header(format!("configuration: {name} is 0; at least 1 is required"))),
            None => Ok(()),
        }
    }
}

/// Hexadecimal text of a hash.
pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
