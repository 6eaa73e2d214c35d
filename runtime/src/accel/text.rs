//! Assembly text and back.
//!
//! A line is empty, a directive, or an instruction; a semicolon begins a comment. A program by hand also has its weights and
//! constants in its text ([`assemble_by_hand`]).

mod data;

use super::config::{AccelConfig, CONFIG_HASH_BYTES, hex};
use super::error::AccelError;
use super::program::AccelProgram;
use super::table::{DEFINITIONS, ISA_MAJOR, ISA_MINOR, Instruction};
use crate::program::{Op, Program};
use std::fmt::Write;

/// The text of a program; `network` gives the comments their names.
pub fn disassemble(program: &AccelProgram, network: Option<&Program>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, ".isa {ISA_MAJOR}.{ISA_MINOR}\n.config {}", hex(&program.config_hash));
    let _ = writeln!(
        text,
        ".arena {}\n.input {}\n.host {}",
        program.arena_bytes, program.input_values, program.host_values
    );
    let mut in_loop = 0;
    for instruction in &program.instructions {
        // The body of a loop is indented.
        let line = format!("{}{instruction}", if in_loop > 0 { "  " } else { "" });
        in_loop = match instruction {
            Instruction::Loop { length, .. } => *length,
            _ => in_loop.saturating_sub(1),
        };
        let _ = match instruction.field("operator").and_then(|operator| network?.ops.get(operator as usize)) {
            Some(op) => writeln!(text, "{line}  ; {}", operator_name(op)),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

/// The name of a layer, or the kind of another operator.
pub fn operator_name(op: &Op) -> &str {
    match op {
        Op::Conv(conv) => &conv.name,
        _ => op.label(),
    }
}

/// The lines of a text.
#[derive(Default)]
pub(super) struct Lines<'a> {
    config: Option<[u8; CONFIG_HASH_BYTES]>,
    arena: Option<u32>,
    input: Option<u32>,
    host: Option<u32>,
    instructions: Vec<Instruction>,
    /// Directives of data, with the numbers of their lines.
    pub(super) data: Vec<(usize, &'a str)>,
}

impl<'a> Lines<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, AccelError> {
        let mut lines = Lines::default();
        for (number, line) in text.lines().enumerate() {
            let error = |what: String| AccelError::Text { line: number + 1, what };
            let line = line.split(';').next().unwrap_or("").trim();
            let number_of = |text: &str| text.parse::<u32>().map(Some).map_err(|e| error(format!("{text}: {e}")));
            match line.split_once(' ') {
                _ if line.is_empty() => {}
                Some((".isa", version)) => {
                    let required = format!("{ISA_MAJOR}.{ISA_MINOR}");
                    if version != required {
                        return Err(error(format!("instruction set {version}; {required} is required")));
                    }
                }
                Some((".config", hash)) => {
                    let hash = parse_hash(hash).ok_or_else(|| error("32 hex digits are required".into()))?;
                    lines.config = Some(hash);
                }
                Some((".arena", value)) => lines.arena = number_of(value)?,
                Some((".input", value)) => lines.input = number_of(value)?,
                Some((".host", value)) => lines.host = number_of(value)?,
                Some((".weights" | ".row" | ".constants" | ".channel", _)) => lines.data.push((number + 1, line)),
                _ => {
                    let instruction = Instruction::parse(line).map_err(error)?;
                    // Every field fits its bits.
                    instruction.encode().map_err(error)?;
                    lines.instructions.push(instruction);
                }
            }
        }
        Ok(lines)
    }
}

/// Reads what [`disassemble`] writes.
///
/// # Errors
/// Names the line.
pub fn assemble(text: &str) -> Result<AccelProgram, AccelError> {
    let lines = Lines::read(text)?;
    if let Some(&(line, directive)) = lines.data.first() {
        return Err(AccelError::Text { line, what: format!("{directive}: only a program by hand has data") });
    }
    let missing = |name: &str| AccelError::Text { line: 1, what: format!("{name} is missing") };
    Ok(AccelProgram {
        config_hash: lines.config.ok_or_else(|| missing(".config"))?,
        arena_bytes: lines.arena.ok_or_else(|| missing(".arena"))?,
        input_values: lines.input.ok_or_else(|| missing(".input"))?,
        host_values: lines.host.ok_or_else(|| missing(".host"))?,
        instructions: lines.instructions,
    })
}

/// A program that belongs to no network, with its own weights and constants.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembly {
    /// The program.
    pub program: AccelProgram,
    /// The weights section: packed codes.
    pub weights: Vec<u8>,
    /// The constants section: biases and multipliers.
    pub constants: Vec<u8>,
}

/// Reads a program by hand for a machine. `.config` may be left out, and so may `.arena`, `.input` and `.host` where they are 0, and
/// `.host` where there is nothing but the input. The directives of data are in docs/accelerator.md.
///
/// # Errors
/// Names the line.
pub fn assemble_by_hand(text: &str, config: &AccelConfig) -> Result<Assembly, AccelError> {
    let lines = Lines::read(text)?;
    let (weights, constants) = data::sections(&lines.data)?;
    let input_values = lines.input.unwrap_or(0);
    let program = AccelProgram {
        config_hash: lines.config.unwrap_or_else(|| config.hash()),
        arena_bytes: lines.arena.unwrap_or(0),
        input_values,
        host_values: lines.host.unwrap_or(input_values),
        instructions: lines.instructions,
    };
    Ok(Assembly { program, weights, constants })
}

fn parse_hash(text: &str) -> Option<[u8; CONFIG_HASH_BYTES]> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * CONFIG_HASH_BYTES)?;
    Some(std::array::from_fn(|i| digits[2 * i] << 4 | digits[2 * i + 1]))
}

/// The instruction table as it stands in docs/accelerator.md.
pub fn instruction_table() -> String {
    let mut table = String::from("| opcode | instruction | fields (bits) | effect |\n|---|---|---|---|\n");
    for definition in DEFINITIONS {
        let fields: Vec<String> = definition.fields.iter().map(|f| format!("{} ({})", f.name, f.bits)).collect();
        let (opcode, mnemonic, doc) = (definition.opcode, definition.mnemonic, definition.doc.trim());
        let _ = writeln!(table, "| {opcode:#04x} | {mnemonic} | {} | {doc} |", fields.join(", "));
    }
    table
}
