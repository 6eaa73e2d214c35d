//! Bit planes: how the accelerator sees packed weights.
//!
//! Bit `p` of a weight's field is 1 product bit of plane `p`. A field of k < 8 bits is offset binary, `u = w + 2^(k-1)`; a
//! field of 8 bits is two's complement. So, over any depth,
//!
//! ```text
//! S[p] = sum of x[d] where bit p of the field of weight d is 1
//! k < 8: sum(x w) = S[0] + 2 S[1] + ... + 2^(k-1) S[k-1]  -  2^(k-1) sum(x)
//! k = 8: sum(x w) = S[0] + 2 S[1] + ... + 64 S[6]  -  128 S[7]
//! ```
//!
//! The planes are a view of the codes of [`crate::pack`], which draws their bytes; nothing is stored twice.

use crate::BitWidth;
use crate::pack::{TILE_CODES, TILE_DEPTH, TILE_OUTPUTS};

/// Bytes to which a channel's depth is padded in a mask, so that inner loops have no remainder.
pub const MASK_ALIGN: usize = 32;

/// Byte and bit, inside a tile of 64 codes, of plane `p` of code `i`.
///
/// ```text
/// fields of a chunk of w bits begin at bit 64 * (bits of the chunks before it) of the tile
/// ```
fn locate(bits: BitWidth, p: usize, i: usize) -> (usize, usize) {
    let k = usize::from(bits.bits());
    if k == 8 {
        return (i, p);
    }
    let mut first_bit = 0;
    for chunk in [4, 2, 1].into_iter().filter(|chunk| k & chunk != 0) {
        if p < first_bit + chunk {
            // 64 bits of a tile for each bit of a field before this chunk.
            let (first_byte, bytes) = (first_bit * TILE_CODES / 8, chunk * TILE_CODES / 8);
            let within = p - first_bit;
            return match chunk {
                1 => (first_byte + i / 8, i % 8),
                _ => (first_byte + i % bytes, i / bytes * chunk + within),
            };
        }
        first_bit += chunk;
    }
    unreachable!("p < k and the chunks of k sum to k")
}

/// The planes of one output channel as byte masks: 0xff where the bit is 1.
#[derive(Default)]
pub struct ChannelPlanes {
    masks: Vec<u8>,
    stride: usize,
}

impl ChannelPlanes {
    /// Extracts the planes of channel `output` of a layer packed in `weights`.
    pub fn load(&mut self, weights: &[u8], bits: BitWidth, output: usize, depth: usize) {
        let k = usize::from(bits.bits());
        let tile_bytes = TILE_CODES * k / 8;
        let tiles_deep = depth.div_ceil(TILE_DEPTH);
        self.stride = depth.next_multiple_of(MASK_ALIGN);
        self.masks.clear();
        self.masks.resize(k * self.stride, 0);
        let first_tile = output / TILE_OUTPUTS * tiles_deep;
        let tiles = &weights[first_tile * tile_bytes..][..tiles_deep * tile_bytes];
        let row = output % TILE_OUTPUTS * TILE_DEPTH;
        for (p, mask) in self.masks.chunks_exact_mut(self.stride).enumerate() {
            let bits_of_row: [(usize, usize); TILE_DEPTH] = std::array::from_fn(|d| locate(bits, p, row + d));
            // A padded depth keeps its field; the activation under it is 0.
            for (tile, four) in tiles.chunks_exact(tile_bytes).zip(mask.chunks_exact_mut(TILE_DEPTH)) {
                for (cell, (byte, bit)) in four.iter_mut().zip(bits_of_row) {
                    *cell = 0u8.wrapping_sub(tile[byte] >> bit & 1);
                }
            }
        }
    }

    /// `sum(x w)`, wrapping: one partial sum a plane, then the correction for the sign.
    ///
    /// `x` is padded with zeros to the padded depth; `sum` is the sum of `x`.
    pub fn dot(&self, x: &[u8], sum: u32, bits: BitWidth) -> i32 {
        let k = u32::from(bits.bits());
        let mut total = 0u32;
        for (p, mask) in self.masks.chunks_exact(self.stride).enumerate() {
            let weight = 1u32 << p;
            let term = masked_sum(x, mask).wrapping_mul(weight);
            let sign_plane = k == 8 && p == 7;
            total = if sign_plane { total.wrapping_sub(term) } else { total.wrapping_add(term) };
        }
        if k < 8 {
            total = total.wrapping_sub(sum.wrapping_mul(1 << (k - 1)));
        }
        total.cast_signed()
    }
}

/// Sum of `x & mask`, wrapping.
fn masked_sum(x: &[u8], mask: &[u8]) -> u32 {
    let mut sum = 0u32;
    for (x, mask) in x.chunks_exact(MASK_ALIGN).zip(mask.chunks_exact(MASK_ALIGN)) {
        // 32 bytes sum to less than 2^16.
        let part: u16 = x.iter().zip(mask).map(|(&x, &mask)| u16::from(x & mask)).sum();
        sum = sum.wrapping_add(part.into());
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{pack, packed_len};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bit_serial_dot_is_the_dot_product(k in 2u8..=8, outputs in 1usize..40, depth in 1usize..90, seed in any::<u64>()) {
            let bits = BitWidth::new(k).unwrap();
            let mut state = seed;
            let mut next = move || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            };
            let codes: Vec<i8> = (0..outputs * depth).map(|_| next().cast_signed() >> (8 - k)).collect();
            let mut x: Vec<u8> = (0..depth).map(|_| next()).collect();
            let packed = pack(&codes, outputs, depth, bits);
            prop_assert_eq!(packed.len(), packed_len(outputs, depth, bits).unwrap());
            let sum = x.iter().map(|&v| u32::from(v)).sum();
            x.resize(depth.next_multiple_of(MASK_ALIGN), 0);
            let mut planes = ChannelPlanes::default();
            for o in 0..outputs {
                planes.load(&packed, bits, o, depth);
                let expected: i32 = (0..depth).map(|d| i32::from(x[d]) * i32::from(codes[o * depth + d])).sum();
                prop_assert_eq!(planes.dot(&x, sum, bits), expected);
            }
        }
    }
}
