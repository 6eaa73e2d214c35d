//! The hardware a program is compiled for.

use super::AccelError;

/// Sizes of the machine. Energies are in [`super::cost`].
///
/// A tile is `rows` x `columns` processing elements; a row holds one output channel, a column one output position, and
/// each element multiplies `lanes` 8-bit activations by one bit of `lanes` weights a cycle. A row has one requantizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccelConfig {
    /// Arrays that work side by side on different (output channels, output positions) blocks of an instruction.
    pub tiles: u32,
    /// Output channels of a tile.
    pub rows: u32,
    /// Output positions of a tile, neighbours in a row of the image.
    pub columns: u32,
    /// Products an element sums in a cycle.
    pub lanes: u32,
    /// Weight buffer, in bytes.
    pub weight_sram_bytes: u32,
    /// Activation buffer, in bytes.
    pub activation_sram_bytes: u32,
    /// Constants buffer: entries of a bias and a multiplier, one a channel.
    pub constant_slots: u32,
    /// Bytes the DRAM moves a cycle.
    pub dram_bytes_per_cycle: u32,
    /// Cycles from the end of a transfer on the bus to its last byte in the buffer, and from a request to its first byte.
    pub dram_latency_cycles: u32,
    /// Bytes of a DRAM burst: a run of bytes moves in whole bursts.
    pub dram_burst_bytes: u32,
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
            constant_slots: 2048,
            dram_bytes_per_cycle: 16,
            dram_latency_cycles: 100,
            dram_burst_bytes: 64,
            vector_lanes: 16,
            clock_mhz: 1000,
        }
    }
}

/// Bytes of a configuration's hash in a program header.
pub const CONFIG_HASH_BYTES: usize = 16;

impl AccelConfig {
    /// Names, values and allowed ranges in the order in which they are hashed.
    pub fn fields(&self) -> [(&'static str, u32, [u32; 2]); 12] {
        [
            ("tiles", self.tiles, [1, 256]),
            ("rows", self.rows, [1, 256]),
            ("columns", self.columns, [1, 256]),
            ("lanes", self.lanes, [1, 256]),
            // Addresses in the buffers have 24 bits, slots 12.
            ("weight_sram_bytes", self.weight_sram_bytes, [64, 1 << 24]),
            ("activation_sram_bytes", self.activation_sram_bytes, [64, 1 << 24]),
            ("constant_slots", self.constant_slots, [32, 1 << 12]),
            ("dram_bytes_per_cycle", self.dram_bytes_per_cycle, [1, 4096]),
            ("dram_latency_cycles", self.dram_latency_cycles, [0, 1 << 16]),
            ("dram_burst_bytes", self.dram_burst_bytes, [1, 4096]),
            ("vector_lanes", self.vector_lanes, [1, 4096]),
            ("clock_mhz", self.clock_mhz, [1, 100_000]),
        ]
    }

    /// The first 16 bytes of the BLAKE3 hash of the fields as little-endian words.
    pub fn hash(&self) -> [u8; CONFIG_HASH_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for (_, value, _) in self.fields() {
            hasher.update(&value.to_le_bytes());
        }
        let mut hash = [0; CONFIG_HASH_BYTES];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..CONFIG_HASH_BYTES]);
        hash
    }

    /// Every size is in its range.
    ///
    /// # Errors
    /// Names the field, its value and its range.
    pub fn check(&self) -> Result<(), AccelError> {
        match self.fields().into_iter().find(|(_, value, [low, high])| value < low || value > high) {
            Some((name, value, [low, high])) => {
                Err(AccelError::Header(format!("machine: {name} is {value}; {low}..={high} is required")))
            }
            None => Ok(()),
        }
    }

    /// Bus cycles of `runs` runs of `run` bytes of DRAM: each moves in whole bursts.
    pub fn dram_cycles(&self, run: u64, runs: u64) -> u64 {
        let burst = u64::from(self.dram_burst_bytes);
        let bytes = run.div_ceil(burst).saturating_mul(burst).saturating_mul(runs);
        bytes.div_ceil(self.dram_bytes_per_cycle.into())
    }
}

/// Hexadecimal text of a hash.
pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
