//! `NAME.c`: primitives, constants, then the operators in their order.

use crate::Emitted;
use crate::calls::Calls;
use crate::header::{self, Memory};
use crate::primitives::{self, Primitive};
use releqc_runtime::Pixels;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Op;

/// Writes both files.
pub(crate) fn write(artifact: &Artifact, name: &str) -> Emitted {
    let program = artifact.program();
    let mut calls = Calls::new(artifact);
    let statements: Vec<String> = program.ops.iter().enumerate().map(|(index, op)| calls.of(index, op)).collect();
    let pixels = pixels(artifact).map(|(pixels, op)| match *op {
        Op::Quantize { y, inv_scale, order, .. } => calls.of_pixels(0, y, inv_scale, order, &pixels),
        _ => String::new(),
    });
    let mut copies = Vec::new();
    for copy in calls.places.copies() {
        let (from, to, len) = (copy.from, copy.to, copy.len);
        copies.push(if copy.of_input {
            calls.used.insert(Primitive::Canonical);
            format!("canonical({from}, {to}, {len});")
        } else {
            format!("memcpy({to}, {from}, {len} * sizeof(float));")
        });
    }
    // What reads the input comes first in every network that takes pixels.
    let (first, rest) = if pixels.is_some() { statements.split_at(1) } else { (&statements[..], &[][..]) };
    let lines = |statements: &[String]| statements.iter().map(|line| format!("    {line}\n")).collect::<String>();
    let mut functions = String::new();
    if let Some(quantized) = &pixels {
        functions += &format!("static void layers(float *output)\n{{\n{}{}}}\n\n", lines(rest), lines(&copies));
        functions += &run(name, "run", "const float *input", "input", &lines(first));
        functions += "\n";
        functions += &run(name, "run_u8", "const uint8_t *pixels", "pixels", &format!("    {quantized}\n"));
    } else {
        let body = format!("{}{}", lines(first), lines(&copies));
        functions = run_whole(name, &body);
    }
    let kept = calls.places.kept_floats;
    let memory = Memory {
        arena: program.arena_bytes as usize,
        scratch: calls.scratch + 4 * kept,
        constants: calls.constant_bytes,
    };
    let buffer = |kind: &str, name: &str, len: usize| match len {
        0 => String::new(),
        _ => format!("static {kind} {name}[{len}];\n"),
    };
    let buffers = [
        buffer("uint8_t", "arena", program.arena_bytes as usize),
        buffer("int8_t", "scratch", calls.scratch),
        buffer("float", "kept", kept),
    ]
    .concat();
    let source = format!(
        "/* Written by releqc {}; do not edit. See {name}.h. */\n#include \"{name}.h\"\n\n\
         /* Activations at the offsets of the artifact, unpacked weights, floats between operators. */\n\
         {buffers}\n{}{}{functions}",
        env!("CARGO_PKG_VERSION"),
        primitives::text(&calls.used),
        calls.constants,
    );
    Emitted {
        header: header::write(program, name, &memory, pixels.is_some()),
        source,
        arena_bytes: memory.arena,
        scratch_bytes: memory.scratch,
        constant_bytes: memory.constants,
        takes_pixels: pixels.is_some(),
    }
}

fn run(name: &str, function: &str, parameter: &str, pointer: &str, first: &str) -> String {
    format!(
        "int {name}_{function}({parameter}, float *output)\n{{\n    if (!{pointer} || !output)\n        return -1;\n\
         {first}    layers(output);\n    return 0;\n}}\n"
    )
}

fn run_whole(name: &str, body: &str) -> String {
    format!(
        "int {name}_run(const float *input, float *output)\n{{\n    if (!input || !output)\n        return -1;\n\
         {body}    return 0;\n}}\n"
    )
}

/// How pixels become inputs, and the operator that reads them: the first one, and no other.
fn pixels(artifact: &Artifact) -> Option<(Pixels, &Op)> {
    let program = artifact.program();
    let pixels = Pixels::recorded(artifact.metadata())?;
    let (first, rest) = program.ops.split_first()?;
    let [(port, slot)] = &program.inputs[..] else { return None };
    let Op::Quantize { x, y, .. } = first else { return None };
    let alone = *x == *slot
        && rest.iter().all(|op| !op.reads_floats().contains(slot))
        && program.outputs.iter().all(|(_, output)| output != slot);
    let channels = program.tensor(*y).channels as usize;
    (alone && !port.is_empty() && pixels.check(channels).is_ok()).then_some((pixels, first))
}
