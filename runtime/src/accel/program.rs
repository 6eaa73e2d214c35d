//! A program: header and instructions.
//!
//! ```text
//! byte  0  magic "RELEQACC"                              8
//!       8  instruction set major u16, minor u16          4
//!      12  number of instructions u32                    4
//!      16  hash of the hardware configuration           16
//!      32  bytes of the activation arena u32             4
//!      36  values of the network's input u32             4
//!      40  values of the host memory u32                 4
//!      44  zero                                          4
//!      48  instructions, 16 bytes each
//! ```
//!
//! The host memory holds f32 values; the network's input lies at its start.

use super::config::{AccelConfig, CONFIG_HASH_BYTES, hex};
use super::error::AccelError;
use super::host::host_places;
use super::table::{INSTRUCTION_BYTES, ISA_MAJOR, ISA_MINOR, Instruction};
use crate::program::Program;

/// First bytes of every program.
pub const MAGIC: [u8; 8] = *b"RELEQACC";
/// Bytes before the first instruction.
pub const HEADER_BYTES: usize = 48;
// Decoding a program allocates no more than four times its length.
const _: () = assert!(size_of::<Instruction>() <= 4 * INSTRUCTION_BYTES);

/// Bound on the host memory of a program, in values.
pub const MAX_HOST_VALUES: u32 = 1 << 27;
/// Bound on the arena, and on the host memory, of a program that belongs to no network, in bytes.
pub const MAX_BARE_BYTES: u32 = 1 << 26;

/// A decoded program. Its instructions are in the table; [`super::step::steps`] checks what they do.
#[derive(Clone, Debug, PartialEq)]
pub struct AccelProgram {
    /// Hash of the hardware configuration it was compiled for.
    pub config_hash: [u8; CONFIG_HASH_BYTES],
    /// Bytes of the activation arena.
    pub arena_bytes: u32,
    /// Values of the network's input.
    pub input_values: u32,
    /// Values of the host memory, the input included.
    pub host_values: u32,
    /// The instructions.
    pub instructions: Vec<Instruction>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

impl AccelProgram {
    /// The bytes of the accelerator section.
    ///
    /// # Errors
    /// Names an instruction with a field that does not fit.
    pub fn encode(&self) -> Result<Vec<u8>, AccelError> {
        let count =
            u32::try_from(self.instructions.len()).map_err(|_| AccelError::Header("too many instructions".into()))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.instructions.len() * INSTRUCTION_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(ISA_MAJOR.to_le_bytes());
        bytes.extend(ISA_MINOR.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(self.config_hash);
        for value in [self.arena_bytes, self.input_values, self.host_values, 0] {
            bytes.extend(value.to_le_bytes());
        }
        for (at, instruction) in self.instructions.iter().enumerate() {
            let word = instruction.encode().map_err(|what| instruction_error(at, instruction, what))?;
            bytes.extend(word.to_le_bytes());
        }
        Ok(bytes)
    }

    /// Reads a program. Allocates at most four times the length of `bytes`.
    ///
    /// # Errors
    /// A damaged header, another instruction set, a wrong length, or a word that is not an instruction.
    pub fn decode(bytes: &[u8]) -> Result<Self, AccelError> {
        if bytes.is_empty() {
            return Err(AccelError::Missing);
        }
        let header = |what: String| Err(AccelError::Header(what));
        if bytes.len() < HEADER_BYTES {
            return header(format!("{} bytes; at least {HEADER_BYTES} are required", bytes.len()));
        }
        if bytes[..8] != MAGIC {
            return header("it does not begin with the magic bytes of an accelerator program".into());
        }
        let version = u32_at(bytes, 8);
        let (major, minor) = (version as u16, (version >> 16) as u16);
        if major != ISA_MAJOR || minor > ISA_MINOR {
            return Err(AccelError::Isa { major, minor });
        }
        let (count, words) = (u32_at(bytes, 12), &bytes[HEADER_BYTES..]);
        if words.len() as u64 != u64::from(count) * INSTRUCTION_BYTES as u64 {
            return header(format!("{count} instructions stated, {} bytes follow", words.len()));
        }
        if u32_at(bytes, 44) != 0 {
            return header("reserved bytes must be zero".into());
        }
        let mut config_hash = [0; CONFIG_HASH_BYTES];
        config_hash.copy_from_slice(&bytes[16..32]);
        let mut instructions = Vec::with_capacity(count as usize);
        for (at, word) in words.chunks_exact(INSTRUCTION_BYTES).enumerate() {
            let word = word.iter().rev().fold(0u128, |value, &byte| value << 8 | u128::from(byte));
            let instruction = Instruction::decode(word).map_err(|what| AccelError::Instruction {
                at,
                mnemonic: format!("word {word:#034x}"),
                what,
            })?;
            instructions.push(instruction);
        }
        Ok(AccelProgram {
            config_hash,
            arena_bytes: u32_at(bytes, 32),
            input_values: u32_at(bytes, 36),
            host_values: u32_at(bytes, 40),
            instructions,
        })
    }

    /// Its arena and host memory are no larger than its network's; a program without a network has fixed bounds. The memories of a
    /// simulation are allocated in these sizes.
    ///
    /// # Errors
    /// Names the memory, its size and its bound.
    pub(super) fn check_memories(&self, network: &Program) -> Result<(), AccelError> {
        let (arena, host) = if network.ops.is_empty() {
            (MAX_BARE_BYTES, MAX_BARE_BYTES / 4)
        } else {
            let values = host_places(network).1.min(MAX_HOST_VALUES.into());
            (network.arena_bytes, u32::try_from(values).unwrap_or(MAX_HOST_VALUES))
        };
        if self.arena_bytes > arena {
            return Err(AccelError::Header(format!(
                "an arena of {} bytes; at most {arena} are allowed",
                self.arena_bytes
            )));
        }
        if self.host_values > host || self.input_values > self.host_values {
            let what = format!("{} host values, {} of them input", self.host_values, self.input_values);
            return Err(AccelError::Header(format!("{what}; at most {host} are allowed, the input among them")));
        }
        Ok(())
    }

    /// Whether it was compiled for a machine.
    ///
    /// # Errors
    /// Names both configurations.
    pub fn check_config(&self, config: &AccelConfig) -> Result<(), AccelError> {
        config.check()?;
        if self.config_hash == config.hash() {
            return Ok(());
        }
        Err(AccelError::Config { found: hex(&self.config_hash), machine: hex(&config.hash()) })
    }
}

pub(super) fn instruction_error(at: usize, instruction: &Instruction, what: impl Into<String>) -> AccelError {
    AccelError::Instruction { at, mnemonic: instruction.definition().mnemonic.to_owned(), what: what.into() }
}
