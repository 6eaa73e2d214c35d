//! Weight codes as rows of fields.
//!
//! ```text
//! a row an output, each from a byte on:   field 0 | field 1 | ..     k bits a field, from the lowest bit up
//! field = code + 2^(k-1); with k = 8 the byte is the code
//! ```
//!
//! The tiles of the artifact (docs/format.md) are for vectors; here a row is read from its first byte to its last.

use releqc_runtime::BitWidth;
use releqc_runtime::format::Artifact;
use releqc_runtime::pack::unpack;
use releqc_runtime::program::Conv;

/// The packed rows of a layer.
pub(crate) fn rows(artifact: &Artifact, conv: &Conv) -> Vec<u8> {
    let depth = conv.depth(artifact.program().tensor(conv.x));
    let codes = unpack(artifact.weights(conv), conv.outputs as usize, depth, conv.bits);
    codes.chunks_exact(depth).flat_map(|row| packed(row, conv.bits)).collect()
}

fn packed(codes: &[i8], bits: BitWidth) -> Vec<u8> {
    let k = usize::from(bits.bits());
    if k == 8 {
        return codes.iter().map(|code| code.cast_unsigned()).collect();
    }
    let mut bytes = vec![0u8; (codes.len() * k).div_ceil(8)];
    for (i, &code) in codes.iter().enumerate() {
        let field = (i16::from(code) + (1 << (k - 1))) as u16;
        let (at, shift) = (i * k / 8, i * k % 8);
        let [low, high] = (field << shift).to_le_bytes();
        bytes[at] |= low;
        if high != 0 {
            bytes[at + 1] |= high;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_each_other_from_the_lowest_bit() {
        let bits = |k| BitWidth::new(k).unwrap();
        assert_eq!(packed(&[-2, -1, 0, 1, -2], bits(2)), [0b11_10_01_00, 0]);
        assert_eq!(packed(&[-4, 3, 3], bits(3)), [0b11_111_000, 0b1]);
        assert_eq!(packed(&[-128, 127], bits(8)), [128, 127]);
    }
}
