//! The hardware a program is compiled for.

use super::AccelError;
use crate::BitWidth;

/// Bits of an activation: those of the codes of an artifact.
pub const ACTIVATION_BITS: u32 = 8;

/// Which operand of a product enters the array a bit at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Serial {
    /// Weights: a lane multiplies 8 bits of an activation by one of a weight. A step takes a cycle a bit of the weights.
    #[default]
    Weights,
    /// Activations, as in Stripes: a lane multiplies one bit of an activation by a whole weight. A step takes 8 cycles.
    Activations,
    /// Weights and activations, as in Loom: a lane multiplies bit by bit. A step takes 8 cycles a bit of the weights.
    Both,
}

impl Serial {
    /// All of them.
    pub const ALL: [Serial; 3] = [Serial::Weights, Serial::Activations, Serial::Both];

    /// Its name in descriptions and reports.
    pub fn name(self) -> &'static str {
        match self {
            Serial::Weights => "weights",
            Serial::Activations => "activations",
            Serial::Both => "both",
        }
    }

    /// The variant of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|serial| serial.name() == name)
    }

    /// Cycles that a step takes for weights of a width.
    pub fn planes(self, bits: BitWidth) -> u64 {
        let bits = u64::from(bits.bits());
        match self {
            Serial::Weights => bits,
            Serial::Activations => ACTIVATION_BITS.into(),
            Serial::Both => bits * u64::from(ACTIVATION_BITS),
        }
    }

    /// Lanes that make as much in a cycle as one bit-parallel product of 8 x 8 bits.
    pub fn lanes_of_a_product(self) -> u32 {
        match self {
            Serial::Weights | Serial::Activations => 8,
            Serial::Both => 64,
        }
    }
}

/// Sizes of the machine. Energies are in [`super::cost`].
///
/// A tile is `rows` x `columns` processing elements; a row holds one output channel, a column one output position, and
/// each element multiplies `lanes` 8-bit activations by one bit of `lanes` weights a cycle (other operands: [`Serial`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccelConfig {
    /// Arrays that work side by side on different (output channels, output positions) blocks of an instruction.
    pub tiles: u32,
    /// Output channels of a tile.
    pub rows: u32,
    /// Output positions of a tile, one behind the other.
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
    /// Requantizers of a row: columns of a block that drain in a cycle.
    pub requantizers: u32,
    /// Which operand is serial.
    pub serial: Serial,
    /// Banks of the weight buffer: words of 16 bytes that it serves in a cycle.
    pub weight_banks: u32,
    /// Banks of the activation buffer.
    pub activation_banks: u32,
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
            requantizers: 1,
            serial: Serial::Weights,
            weight_banks: 4,
            activation_banks: 16,
        }
    }
}

/// The size that a later description added; it was 1.
const SINCE_3_0: &str = "requantizers";

/// Banks with which no machine has a conflict: what a description has that does not say.
pub const ENOUGH_BANKS: u32 = 1 << 24;

/// Bytes of a configuration's hash in a program header.
pub const CONFIG_HASH_BYTES: usize = 16;

impl AccelConfig {
    /// Names, values and allowed ranges of the sizes in the order in which they are hashed.
    pub fn fields(&self) -> [(&'static str, u32, [u32; 2]); 13] {
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
            ("requantizers", self.requantizers, [1, 256]),
        ]
    }

    /// Names, values and allowed ranges of the numbers of banks. They change cycles and no program, so they are not hashed.
    fn banks(&self) -> [(&'static str, u32, [u32; 2]); 2] {
        [
            ("weight_banks", self.weight_banks, [1, ENOUGH_BANKS]),
            ("activation_banks", self.activation_banks, [1, ENOUGH_BANKS]),
        ]
    }

    /// The first 16 bytes of the BLAKE3 hash of the sizes as little-endian words. What [`SINCE_3_0`] names is hashed with its name,
    /// and only where it differs from what every machine of instruction set 3.0 had: their programs stay valid.
    pub fn hash(&self) -> [u8; CONFIG_HASH_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for (name, value, _) in self.fields() {
            if name != SINCE_3_0 {
                hasher.update(&value.to_le_bytes());
            } else if value != 1 {
                hasher.update(name.as_bytes()).update(&value.to_le_bytes());
            }
        }
        if self.serial != Serial::Weights {
            hasher.update(b"serial").update(self.serial.name().as_bytes());
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
        match self.fields().into_iter().chain(self.banks()).find(|(_, value, [low, high])| value < low || value > high)
        {
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
