//! Assembly text and back.
//!
//! A line is empty, a directive, or an instruction; a semicolon begins a comment.

use super::config::{CONFIG_HASH_BYTES, hex};
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

/// Reads what [`disassemble`] writes.
///
/// # Errors
/// Names the line.
pub fn assemble(text: &str) -> Result<AccelProgram, AccelError> {
    let (mut config, mut arena, mut input, mut host) = (None, None, None, None);
    let mut instructions = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let error = |what: String| AccelError::Text { line: number + 1, what };
        let line = line.split(';').next().unwrap_or("").trim();
        let number_of = |text: &str| text.parse::<u32>().map_err(|e| error(format!("{text}: {e}")));
        match line.split_once(' ') {
            _ if line.is_empty() => {}
            Some((".isa", version)) => {
                let required = format!("{ISA_MAJOR}.{ISA_MINOR}");
                if version != required {
                    return Err(error(format!("instruction set {version}; {required} is required")));
                }
            }
            Some((".config", hash)) => {
                config = Some(parse_hash(hash).ok_or_else(|| error("32 hex digits are required".into()))?)
            }
            Some((".arena", value)) => arena = Some(number_of(value)?),
            Some((".input", value)) => input = Some(number_of(value)?),
            Some((".host", value)) => host = Some(number_of(value)?),
            _ => instructions.push(Instruction::parse(line).map_err(error)?),
        }
    }
    let missing = |name: &str| AccelError::Text { line: 1, what: format!("{name} is missing") };
    Ok(AccelProgram {
        config_hash: config.ok_or_else(|| missing(".config"))?,
        arena_bytes: arena.ok_or_else(|| missing(".arena"))?,
        input_values: input.ok_or_else(|| missing(".input"))?,
        host_values: host.ok_or_else(|| missing(".host"))?,
        instructions,
    })
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
