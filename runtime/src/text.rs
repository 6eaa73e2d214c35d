//! The CPU plan as text, for `disasm`, `--emit` and snapshots.

use crate::program::{Conv, Destination, Op, Program, TensorId, Window};
use std::fmt::Write;

/// Tensors with their places in the arena, then one line an operator.
pub fn plan(program: &Program) -> String {
    let mut text = String::new();
    let _ = write_plan(&mut text, program);
    text
}

fn write_plan(text: &mut String, program: &Program) -> std::fmt::Result {
    writeln!(text, "plan: {} operators, arena {} bytes", program.ops.len(), program.arena_bytes)?;
    writeln!(text, "  input {:?} {:?}", program.input.name, program.input.dims)?;
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
        write!(text, "  ")?;
        operator(text, program, op)?;
        writeln!(text)?;
    }
    for (port, slot) in &program.outputs {
        writeln!(text, "  output {:?} {:?} = f{}", port.name, port.dims, slot.0)?;
    }
    Ok(())
}

fn operator(text: &mut String, program: &Program, op: &Op) -> std::fmt::Result {
    let label = op.label();
    match op {
        Op::Quantize { y, inv_scale } => write!(text, "t{} = {label} input inv_scale {inv_scale:e}", y.0),
        Op::Conv(conv) => layer(text, program, label, conv),
        Op::MaxPool { x, y, window } => write!(text, "t{} = {label} t{} {}", y.0, x.0, sliding(window)),
        Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
            let padded = if *count_include_pad { " count_include_pad" } else { "" };
            let window = sliding(window);
            write!(text, "t{} = {label} t{} {window}{padded} multiplier {multiplier:e} clamp {lo}..{hi}", y.0, x.0)
        }
        Op::Add { a, b, y, multiplier_a, multiplier_b, lo, hi } => {
            let multipliers = format!("{multiplier_a:e}, {multiplier_b:e}");
            write!(text, "t{} = {label} t{} t{} multipliers {multipliers} clamp {lo}..{hi}", y.0, a.0, b.0)
        }
        Op::Concat { xs, y } => {
            write!(text, "t{} = {label}", y.0)?;
            for (TensorId(x), rescale) in xs {
                match rescale {
                    Some(multiplier) => write!(text, " t{x} x {multiplier:e}")?,
                    None => write!(text, " t{x}")?,
                }
            }
            Ok(())
        }
        Op::Affine { x, y, constants_offset, lo, hi } => {
            write!(text, "t{} = {label} t{} constants {constants_offset} clamp {lo}..{hi}", y.0, x.0)
        }
        Op::Reshape { x, y } => write!(text, "t{} = {label} t{}", y.0, x.0),
        Op::Dequantize { x, y } => write!(text, "f{} = {label} t{}", y.0, x.0),
        Op::Softmax { x, y, log } => {
            write!(text, "f{} = {} f{}", y.0, if *log { "log_softmax" } else { label }, x.0)
        }
    }
}

fn layer(text: &mut String, program: &Program, label: &str, conv: &Conv) -> std::fmt::Result {
    match conv.destination {
        Destination::Codes { y, .. } => write!(text, "t{}", y.0)?,
        Destination::Logits { y } => write!(text, "f{}", y.0)?,
    }
    write!(text, " = {label} t{} {}", conv.x.0, sliding(&conv.window))?;
    if conv.groups > 1 {
        write!(text, " groups {}", conv.groups)?;
    }
    let (outputs, bits, weights) = (conv.outputs, conv.bits, conv.weights_offset);
    write!(text, " outputs {outputs} bits {bits} weights {weights} constants {}", conv.constants_offset)?;
    if let Destination::Codes { lo, hi, .. } = conv.destination {
        write!(text, " clamp {lo}..{hi}")?;
    }
    write!(text, " macs {}  {:?}", program.macs(conv), conv.name)
}

fn sliding(window: &Window) -> String {
    let mut text = format!("{}x{}", window.kernel[0], window.kernel[1]);
    if window.stride != [1, 1] {
        let _ = write!(text, " stride {},{}", window.stride[0], window.stride[1]);
    }
    if window.dilation != [1, 1] {
        let _ = write!(text, " dilation {},{}", window.dilation[0], window.dilation[1]);
    }
    if window.padding != [0; 4] {
        let [top, left, bottom, right] = window.padding;
        let _ = write!(text, " pad {top},{left},{bottom},{right}");
    }
    text
}
