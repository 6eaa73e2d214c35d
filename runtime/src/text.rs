//! The CPU plan as text, for `disasm`, `--emit` and snapshots.

use crate::program::{FloatId, Op, Port, Program};
use std::fmt::Write;

/// Tensors with their places in the arena, then one line an operator.
pub fn plan(program: &Program) -> String {
    let mut text = String::new();
    let _ = write_plan(&mut text, program);
    text
}

fn write_plan(text: &mut String, program: &Program) -> std::fmt::Result {
    writeln!(text, "plan: {} operators, arena {} bytes", program.ops.len(), program.arena_bytes)?;
    ports(text, "input", &program.inputs)?;
    for (i, t) in program.tensors.iter().enumerate() {
        let range = t.arena_range();
        let extents = format!("{}x{}x{}", t.height, t.width, t.channels);
        let (scale, z, name) = (t.scale, t.zero_point, &t.name);
        writeln!(text, "  t{i} {extents} at {}..{} scale {scale:e} zero_point {z}  {name:?}", range.start, range.end)?;
    }
    for (i, slot) in program.floats.iter().enumerate() {
        writeln!(text, "  f{i} {} floats", slot.len)?;
    }
    for op in &program.ops {
        write!(text, "  {op}")?;
        if let Op::Conv(conv) = op {
            write!(text, " macs {}", program.macs(conv))?;
        }
        writeln!(text)?;
    }
    ports(text, "output", &program.outputs)
}

fn ports(text: &mut String, label: &str, ports: &[(Port, FloatId)]) -> std::fmt::Result {
    for (port, slot) in ports {
        let (name, element, dims) = (&port.name, port.element.label(), &port.dims);
        writeln!(text, "  {label} {name:?} {element} {dims:?} = f{}", slot.0)?;
    }
    Ok(())
}
