//! A code for each code.
//!
//! ```text
//! VBMI:  table  | 0 .. 63 | 64 .. 127 | 128 .. 191 | 192 .. 255 |   four registers
//!               \_ vpermi2b by bits 6..0 _/ \_ vpermi2b by bits 6..0 _/   bit 7 picks
//! ```

use crate::isa::Available;

/// Looks a row up; may be called where what it was made for is available.
pub(crate) type LookupRow = unsafe fn(x: &[u8], codes: &[u8; 256], y: &mut [u8]);

/// `y[i] = codes[x[i]]`.
pub(crate) fn lookup_row(available: Available) -> LookupRow {
    #[cfg(target_arch = "x86_64")]
    {
        if available.vbmi().is_some() {
            return vbmi;
        }
    }
    let _ = available;
    portable
}

fn portable(x: &[u8], codes: &[u8; 256], y: &mut [u8]) {
    y.iter_mut().zip(x).for_each(|(y, &q)| *y = codes[usize::from(q)]);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn vbmi(x: &[u8], codes: &[u8; 256], y: &mut [u8]) {
    use std::arch::x86_64::*;
    let (quarters, _) = codes.as_chunks::<64>();
    // SAFETY: a quarter has 64 bytes.
    let load = |i: usize| unsafe { _mm512_loadu_si512(quarters[i].as_ptr().cast()) };
    let tables = [load(0), load(1), load(2), load(3)];
    let ((blocks, rest), (results, rest_results)) = (x.as_chunks::<64>(), y.as_chunks_mut::<64>());
    for (x, y) in blocks.iter().zip(results) {
        // SAFETY: a block has 64 bytes.
        let x = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
        let low = _mm512_permutex2var_epi8(tables[0], x, tables[1]);
        let high = _mm512_permutex2var_epi8(tables[2], x, tables[3]);
        let picked = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(y.as_mut_ptr().cast(), picked) };
    }
    portable(rest, codes, rest_results);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn every_instruction_set_looks_the_same_up() {
        let codes: [u8; 256] = std::array::from_fn(|i| (i * 167 + 13) as u8);
        for len in [0, 1, 63, 64, 65, 300] {
            let x: Vec<u8> = (0..len).map(|i| (i * 31 + 7) as u8).collect();
            let expected: Vec<u8> = x.iter().map(|&q| codes[usize::from(q)]).collect();
            for isa in Isa::available() {
                let mut y = vec![0; len];
                // SAFETY: the instruction set is available.
                unsafe { lookup_row(isa.require().unwrap())(&x, &codes, &mut y) };
                assert_eq!(y, expected, "{isa}, {len} codes");
            }
        }
    }
}
