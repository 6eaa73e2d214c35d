//! `NAME.h`.

use crate::literal::comment;
use releqc_runtime::program::{FloatId, Port, Program};
use std::fmt::Write;

/// Sizes of a network's static memory.
pub(crate) struct Memory {
    pub(crate) arena: usize,
    pub(crate) scratch: usize,
    pub(crate) constants: usize,
}

fn ports(ports: &[(Port, FloatId)]) -> String {
    let mut text = String::new();
    let mut first = 0;
    for (port, _) in ports {
        let _ = writeln!(text, " *   from value {first} on: {} {:?}", comment(&port.name), port.dims);
        first += port.len();
    }
    text
}

/// The header of a network.
pub(crate) fn write(program: &Program, name: &str, memory: &Memory, pixels: bool) -> String {
    let upper = name.to_ascii_uppercase();
    let outputs: usize = program.outputs.iter().map(|(port, _)| port.len()).sum();
    let (inputs, Memory { arena, scratch, constants }) = (program.input_len(), memory);
    let with_pixels = if pixels {
        format!(
            "\n/* The same for 8-bit pixels in the order of the input; how they become values is what the artifact records. */\n\
             int {name}_run_u8(const uint8_t *pixels, float *output);\n"
        )
    } else {
        "\n/* There is no function for pixels: the artifact does not say how they become inputs, or the input is not only\n \
         * quantized. */\n"
            .to_owned()
    };
    format!(
        "/* Written by releqc {version}; do not edit. C99, no allocation.\n *\n * Inputs, one after the other, each in the order of ONNX:\n{in_ports} \
         * Outputs, one after the other:\n{out_ports} *\n \
         * Memory: {arena} bytes of activations and {scratch} bytes of unpacked weights, both static, so that a run is not\n \
         * reentrant; {constants} bytes of constants.\n \
         * Results are those of every executor of releqc, in every byte, on threads that round to nearest.\n */\n\
         #ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         /* Values of all inputs and of all outputs, and bytes of the arena. */\n\
         #define {upper}_INPUT_SIZE {inputs}\n#define {upper}_OUTPUT_SIZE {outputs}\n#define {upper}_ARENA_BYTES {arena}\n\n\
         /* Runs one sample. 0 on success, -1 where a pointer is null. */\n\
         int {name}_run(const float *input, float *output);\n{with_pixels}\n#ifdef __cplusplus\n}}\n#endif\n\n#endif\n",
        version = env!("CARGO_PKG_VERSION"),
        in_ports = ports(&program.inputs),
        out_ports = ports(&program.outputs),
    )
}
