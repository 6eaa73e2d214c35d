//! Descriptions of accelerators in TOML, and tables of energies.
//!
//! Takes the text of a description or the name of a preset; returns sizes that the runtime has checked. Does not decide anything
//! about a network. The data files beside this one are part of the program.

mod energy;

pub use energy::{Energies, EnergyEntry, energies};

use releqc_runtime::accel::config::ENOUGH_BANKS;
use releqc_runtime::accel::{AccelConfig, AccelError, AccelProgram, Serial};
use serde::Deserialize;
use thiserror::Error;

/// Longest description that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 16;

/// Names and texts of the presets.
const PRESETS: [(&str, &str); 3] = [
    ("default", include_str!("machine/default.toml")),
    ("edge", include_str!("machine/edge.toml")),
    ("large", include_str!("machine/large.toml")),
];

/// Why a description is refused.
#[derive(Debug, Error)]
pub enum MachineError {
    /// It is no TOML, or lacks a key, or has another.
    #[error("{0}")]
    Text(String),
    /// A size is out of its range.
    #[error(transparent)]
    Size(#[from] AccelError),
    /// No operand has the name.
    #[error("serial {0:?}; one of {1} is required")]
    Serial(String, String),
    /// No table of energies has the name.
    #[error("energy {0:?}; one of {1} is required")]
    Energy(String, String),
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Name of the preset, or of the file.
    pub name: String,
    /// Its sizes.
    pub config: AccelConfig,
    /// Name of its table of energies.
    pub energy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    clock_mhz: u32,
    energy: String,
    array: Array,
    buffers: Buffers,
    dram: Dram,
    vector: Vector,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Array {
    tiles: u32,
    rows: u32,
    columns: u32,
    lanes: u32,
    /// Of a row.
    #[serde(default = "one")]
    requantizers: u32,
    serial: Option<String>,
}

fn one() -> u32 {
    1
}

fn enough() -> u32 {
    ENOUGH_BANKS
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Buffers {
    weight_bytes: u32,
    activation_bytes: u32,
    constant_slots: u32,
    /// Words of 16 bytes that a buffer serves in a cycle.
    #[serde(default = "enough")]
    weight_banks: u32,
    #[serde(default = "enough")]
    activation_banks: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dram {
    bytes_per_cycle: u32,
    latency_cycles: u32,
    burst_bytes: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    lanes: u32,
}

impl Machine {
    /// Reads a description.
    ///
    /// # Errors
    /// Text that is no TOML or longer than [`MAX_TEXT`], missing or unknown keys, sizes out of their ranges.
    pub fn read(name: &str, text: &str) -> Result<Self, MachineError> {
        if text.len() > MAX_TEXT {
            return Err(MachineError::Text(format!("{} bytes; at most {MAX_TEXT} are read", text.len())));
        }
        let found: Description = toml::from_str(text).map_err(|error| MachineError::Text(error.to_string()))?;
        let Description { clock_mhz, energy, array, buffers, dram, vector } = found;
        if !energies().iter().any(|table| table.name == energy) {
            let names: Vec<&str> = energies().iter().map(|table| table.name.as_str()).collect();
            return Err(MachineError::Energy(energy, names.join(", ")));
        }
        let serial = match array.serial {
            None => Serial::default(),
            Some(name) => Serial::named(&name)
                .ok_or_else(|| MachineError::Serial(name, Serial::ALL.map(Serial::name).join(", ")))?,
        };
        let config = AccelConfig {
            tiles: array.tiles,
            rows: array.rows,
            columns: array.columns,
            lanes: array.lanes,
            weight_sram_bytes: buffers.weight_bytes,
            activation_sram_bytes: buffers.activation_bytes,
            constant_slots: buffers.constant_slots,
            dram_bytes_per_cycle: dram.bytes_per_cycle,
            dram_latency_cycles: dram.latency_cycles,
            dram_burst_bytes: dram.burst_bytes,
            vector_lanes: vector.lanes,
            clock_mhz,
            requantizers: array.requantizers,
            serial,
            weight_banks: buffers.weight_banks,
            activation_banks: buffers.activation_banks,
        };
        config.check()?;
        Ok(Machine { name: name.to_owned(), config, energy })
    }

    /// Names of the presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// A preset.
    pub fn preset(name: &str) -> Option<Self> {
        let (name, text) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
        Machine::read(name, text).ok()
    }

    /// The preset that a program was compiled for.
    pub fn of_program(program: &AccelProgram) -> Option<Self> {
        Machine::names().filter_map(Machine::preset).find(|machine| machine.config.hash() == program.config_hash)
    }

    /// Its table of energies.
    pub fn energies(&self) -> Option<&'static Energies> {
        energies().iter().find(|table| table.name == self.energy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use releqc_runtime::accel::cost::EnergyModel;

    #[test]
    fn presets_are_what_they_say() {
        assert_eq!(Machine::preset("default").expect("valid").config, AccelConfig::default());
        assert!(Machine::names().all(|name| Machine::preset(name).is_some_and(|machine| machine.energies().is_some())));
        assert_eq!(energies().len(), 3);
        let default = Machine::preset("default").and_then(|machine| machine.energies()).expect("a table");
        for ((name, of_table), (_, of_model)) in default.model.entries().iter().zip(EnergyModel::default().entries()) {
            assert_eq!(*of_table, of_model, "{name}");
        }
        assert!(energies().iter().any(|table| table.entries.iter().any(|entry| entry.source.is_none())));
    }

    #[test]
    fn what_is_serial_and_requantizers_may_be_said() {
        let text = include_str!("machine/default.toml");
        let with = |line: &str| Machine::read("mine", &text.replace("[buffers]", &format!("{line}\n[buffers]")));
        let machine = with("requantizers = 4\nserial = \"both\"").expect("valid");
        assert_eq!((machine.config.requantizers, machine.config.serial), (4, Serial::Both));
        let plain = Machine::read("mine", text).expect("valid").config;
        assert_eq!((plain.requantizers, plain.serial), (1, Serial::Weights));
        let hashes = ["requantizers = 4", "serial = \"both\"", "serial = \"activations\"", ""]
            .map(|line| with(line).expect("valid").config.hash());
        assert!((0..4).all(|i| (0..i).all(|j| hashes[i] != hashes[j])));
        assert_eq!(hashes[3], plain.hash());
        let refused = with("serial = \"neither\"").expect_err("no operand");
        assert_eq!(refused.to_string(), "serial \"neither\"; one of weights, activations, both is required");
        assert!(with("requantizers = 0").is_err());
    }

    #[test]
    fn banks_may_be_said_and_change_no_program() {
        let text = include_str!("machine/default.toml");
        let stated = "weight_banks = 4\nactivation_banks = 16\n";
        let with = |banks: &str| Machine::read("mine", &text.replace(stated, banks)).map(|machine| machine.config);
        let [own, few, unsaid] =
            [stated, "weight_banks = 1\nactivation_banks = 2\n", ""].map(|banks| with(banks).expect("valid"));
        assert_eq!((few.weight_banks, few.activation_banks, unsaid.activation_banks), (1, 2, ENOUGH_BANKS));
        assert!(own.hash() == few.hash() && own.hash() == unsaid.hash());
        assert!(with("weight_banks = 0\n").is_err() && with("activation_banks = 99999999\n").is_err());
    }

    /// Any change of a description is read or refused, and every size that is read is in its range. `RELEQC_MUTANTS` sets how many.
    #[test]
    fn edited_descriptions_are_read_or_refused() {
        let text = include_str!("machine/default.toml");
        let mut state = 15u64;
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % bound
        };
        let pieces = [
            "0",
            "-1",
            "99999999999999999999",
            "[",
            "]",
            "=",
            "\"",
            "nan",
            "1e9",
            "\n",
            "{",
            "lanes",
            "\u{0}",
            "[[x]]",
        ];
        let (mut read, mut refused) = (0, 0);
        let descriptions = std::env::var("RELEQC_MUTANTS").map_or(2000, |count| count.parse().expect("a number"));
        for _ in 0..descriptions {
            let mut edited = text.to_owned();
            for _ in 0..=next(3) {
                let at = next(edited.len());
                let end = (at + next(6)).min(edited.len());
                edited.replace_range(at..end, pieces[next(pieces.len())]);
            }
            match Machine::read("edited", &edited) {
                Ok(machine) => {
                    machine.config.check().expect("checked");
                    read += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
        assert!(read > 20 && refused > 200, "{read} read, {refused} refused");
        assert!(Machine::read("deep", &"[".repeat(60_000)).is_err());
        assert!(Machine::read("nested", &format!("a = {}", "[".repeat(60_000))).is_err());
        assert!(Machine::read("long", &"#".repeat(MAX_TEXT + 1)).is_err());
    }
}
