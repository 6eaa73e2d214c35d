//! The canonical layout of weight codes, used in place by every executor.
//!
//! The codes of a layer form a matrix of `outputs` rows and `depth` columns; a row's depth runs over
//! (kernel row, kernel column, input channel of the group), channel innermost. It is cut into tiles of 16 outputs x 4
//! depths, padded with weight 0 on both axes; tiles follow each other depth first:
//!
//! ```text
//! outputs 0..15:  depth 0..3 | 4..7 | 8..11 | ...      then outputs 16..31: depth 0..3 | ...
//! tile: 64 codes, index i = (output % 16) * 4 + depth % 4; 8 * k bytes
//! ```
//!
//! A code w of k < 8 bits is stored as the unsigned field u = w + 2^(k-1); with k = 8 as the two's complement byte.
//! The bits of u are cut, from the lowest up, into planes of 4, 2 and 1 bits as k needs them, and a tile holds its planes one
//! after the other:
//!
//! ```text
//! k  planes (bytes)      u =
//! 2  2 (16)              p2
//! 3  2 (16), 1 (8)       p2 | p1 << 2
//! 4  4 (32)              p4
//! 5  4 (32), 1 (8)       p4 | p1 << 4
//! 6  4 (32), 2 (16)      p4 | p2 << 4
//! 7  4, 2, 1 (56)        p4 | p2 << 4 | p1 << 6
//! 8  byte i = code i (64)
//!
//! 4-bit plane, byte b:  bits 3..0 code b        bits 7..4 code b + 32
//! 2-bit plane, byte b:  bits 1..0 code b   3..2 code b + 16   5..4 code b + 32   7..6 code b + 48
//! 1-bit plane, byte b:  bit j is code 8 b + j (a 64-bit mask of the codes)
//! ```
//!
//! Every plane is thus unpacked by a broadcast, a shift a lane and a mask, or is a mask register as it stands.

use crate::BitWidth;

/// Outputs of a tile.
pub const TILE_OUTPUTS: usize = 16;
/// Depth of a tile.
pub const TILE_DEPTH: usize = 4;
/// Codes of a tile.
pub const TILE_CODES: usize = TILE_OUTPUTS * TILE_DEPTH;

/// Bytes of a tile.
pub const fn tile_bytes(bits: BitWidth) -> usize {
    8 * bits.bits() as usize
}

/// Bytes of a layer of `outputs` x `depth` weights; `None` on overflow.
pub fn packed_len(outputs: usize, depth: usize, bits: BitWidth) -> Option<usize> {
    outputs.div_ceil(TILE_OUTPUTS).checked_mul(depth.div_ceil(TILE_DEPTH))?.checked_mul(tile_bytes(bits))
}

/// Packs `codes`, `[outputs][depth]`, each in `-2^(k-1)..2^(k-1)`.
///
/// # Panics
/// When the number of codes is not `outputs * depth`.
pub fn pack(codes: &[i8], outputs: usize, depth: usize, bits: BitWidth) -> Vec<u8> {
    assert_eq!(codes.len(), outputs * depth, "one code a weight");
    let mut packed = Vec::with_capacity(packed_len(outputs, depth, bits).unwrap_or(0));
    for first_output in (0..outputs).step_by(TILE_OUTPUTS) {
        for first_depth in (0..depth).step_by(TILE_DEPTH) {
            let tile: [i8; TILE_CODES] = std::array::from_fn(|i| {
                let (o, d) = (first_output + i / TILE_DEPTH, first_depth + i % TILE_DEPTH);
                if o < outputs && d < depth { codes[o * depth + d] } else { 0 }
            });
            pack_tile(&tile, bits, &mut packed);
        }
    }
    packed
}

fn pack_tile(tile: &[i8; TILE_CODES], bits: BitWidth, packed: &mut Vec<u8>) {
    let k = bits.bits();
    if k == 8 {
        packed.extend(tile.iter().map(|&code| code.cast_unsigned()));
        return;
    }
    let field = |i: usize| (i16::from(tile[i]) + (1 << (k - 1))) as u8;
    let mut shift = 0;
    for plane in planes(bits) {
        let codes_a_byte = usize::from(8 / plane);
        let bytes = TILE_CODES / codes_a_byte;
        for b in 0..bytes {
            packed.push((0..codes_a_byte).fold(0, |byte, j| {
                let i = if plane == 1 { 8 * b + j } else { b + j * bytes };
                byte | ((field(i) >> shift) & ((1 << plane) - 1)) << (j as u8 * plane)
            }));
        }
        shift += plane;
    }
}

/// Widths of the planes of a field, lowest bits first; for 8 bits there are none.
pub fn planes(bits: BitWidth) -> impl Iterator<Item = u8> {
    [4, 2, 1].into_iter().filter(move |plane| bits.bits() < 8 && bits.bits() & plane != 0)
}

/// Unpacks the tile in the first `8 k` bytes of `packed`.
///
/// # Panics
/// When `packed` is shorter than a tile.
pub fn unpack_tile(packed: &[u8], bits: BitWidth) -> [i8; TILE_CODES] {
    match bits.bits() {
        2 => fields::<2>(packed),
        3 => fields::<3>(packed),
        4 => fields::<4>(packed),
        5 => fields::<5>(packed),
        6 => fields::<6>(packed),
        7 => fields::<7>(packed),
        _ => std::array::from_fn(|i| packed[i].cast_signed()),
    }
}

/// [`unpack_tile`] for `K` bits: loops of constant length over whole planes, which the compiler vectorizes.
fn fields<const K: u8>(packed: &[u8]) -> [i8; TILE_CODES] {
    let mut fields = [0u8; TILE_CODES];
    let (mut planes, mut shift) = (packed, 0);
    if K & 4 != 0 {
        let (plane, rest) = planes.split_at(32);
        for (b, byte) in plane.iter().enumerate() {
            fields[b] = byte & 15;
            fields[b + 32] = byte >> 4;
        }
        (planes, shift) = (rest, 4);
    }
    if K & 2 != 0 {
        let (plane, rest) = planes.split_at(16);
        for j in 0..4 {
            for (b, byte) in plane.iter().enumerate() {
                fields[16 * j + b] |= (byte >> (2 * j) & 3) << shift;
            }
        }
        (planes, shift) = (rest, shift + 2);
    }
    if K & 1 != 0 {
        for (b, byte) in planes[..8].iter().enumerate() {
            for j in 0..8 {
                fields[8 * b + j] |= (byte >> j & 1) << shift;
            }
        }
    }
    fields.map(|u| u.wrapping_sub(1 << (K - 1)).cast_signed())
}

/// Unpacks a layer to `[outputs][depth]`.
///
/// # Panics
/// When `packed` is shorter than [`packed_len`].
pub fn unpack(packed: &[u8], outputs: usize, depth: usize, bits: BitWidth) -> Vec<i8> {
    let tiles_deep = depth.div_ceil(TILE_DEPTH);
    let mut codes = vec![0; outputs * depth];
    let packed = &packed[..tiles_deep * outputs.div_ceil(TILE_OUTPUTS) * tile_bytes(bits)];
    for (t, tile) in packed.chunks_exact(tile_bytes(bits)).enumerate() {
        let (first_output, first_depth) = (t / tiles_deep * TILE_OUTPUTS, t % tiles_deep * TILE_DEPTH);
        for (i, code) in unpack_tile(tile, bits).into_iter().enumerate() {
            let (o, d) = (first_output + i / TILE_DEPTH, first_depth + i % TILE_DEPTH);
            if o < outputs && d < depth {
                codes[o * depth + d] = code;
            }
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpack_inverts_pack(k in 2u8..=8, outputs in 1usize..40, depth in 1usize..30, seed in any::<u64>()) {
            let bits = BitWidth::new(k).unwrap();
            let mut state = seed;
            let codes: Vec<i8> = (0..outputs * depth).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 56) as i8) >> (8 - k)
            }).collect();
            let packed = pack(&codes, outputs, depth, bits);
            prop_assert_eq!(packed.len(), packed_len(outputs, depth, bits).unwrap());
            prop_assert_eq!(unpack(&packed, outputs, depth, bits), codes);
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn unpack_panics_where_codes_are_missing() {
        let bits = BitWidth::MAX;
        let packed = pack(&[1; 20], 20, 1, bits);
        unpack(&packed[..packed.len() - 1], 20, 1, bits);
    }

    #[test]
    fn padding_is_weight_zero() {
        for bits in BitWidth::all() {
            let tile = unpack_tile(&pack(&[1], 1, 1, bits), bits);
            assert_eq!(tile[0], 1);
            assert!(tile[1..].iter().all(|&code| code == 0), "{bits} bits");
        }
    }
}
