//! The largest code of each tensor of an artifact, and how many bits that takes.

use releqc_runtime::format::Artifact;
use releqc_runtime::function::Function;
use releqc_runtime::program::{Destination, Op, TensorId};

/// The largest code that the writer of each tensor lets through: one entry a tensor.
pub fn largest_codes(artifact: &Artifact) -> Vec<u8> {
    let program = artifact.program();
    let mut largest = vec![u8::MAX; program.tensors.len()];
    let mut clips = vec![f32::INFINITY; program.floats.len()];
    for op in &program.ops {
        let of = |x: &TensorId| largest[x.0 as usize];
        let constants = |offset: u64, len: usize| {
            let codes = artifact.constants_section().get(offset as usize..).and_then(|codes| codes.get(..len));
            codes.and_then(|codes| codes.iter().copied().max()).unwrap_or(u8::MAX)
        };
        let (y, code) = match op {
            Op::Conv(conv) => match conv.destination {
                Destination::Codes { y, hi, .. } => (y, hi),
                Destination::Logits { .. } => continue,
            },
            Op::MaxPool { x, y, hi, .. } => (*y, of(x).min(*hi)),
            Op::AveragePool { y, hi, .. }
            | Op::Arithmetic { y, hi, .. }
            | Op::Concat { y, hi, .. }
            | Op::Affine { y, hi, .. } => (*y, *hi),
            Op::Constant { y, constants_offset } => (*y, constants(*constants_offset, program.tensor(*y).len())),
            Op::Table { x, y, constants_offset, per_channel } => {
                let tables = if *per_channel { program.tensor(*x).channels as usize } else { 1 };
                (*y, constants(*constants_offset, 256 * tables))
            }
            Op::Move { x, y, fill, .. } => (*y, of(x).max(*fill)),
            Op::Quantize { x, y, inv_scale, .. } => {
                let steps = (clips[x.0 as usize] * inv_scale).round_ties_even();
                (*y, (steps + f32::from(program.tensor(*y).zero_point)).clamp(0.0, 255.0) as u8)
            }
            Op::FloatUnary { y, function: Function::Clip { max, .. }, .. } => {
                clips[y.0 as usize] = *max;
                continue;
            }
            _ => continue,
        };
        largest[y.0 as usize] = code;
    }
    largest
}

/// Bits of the codes of each tensor, 2..=8: enough for its largest and for that of 0.
pub fn code_widths(artifact: &Artifact) -> Vec<u8> {
    let tensors = &artifact.program().tensors;
    // Values that a clip keeps below 0 have no codes above that of 0; their width holds it all the same.
    let largest = largest_codes(artifact).into_iter().zip(tensors).map(|(code, tensor)| code.max(tensor.zero_point));
    largest.map(|code| (u8::BITS - code.leading_zeros()).max(2) as u8).collect()
}
