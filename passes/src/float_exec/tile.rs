//! The one product that convolutions and fully connected layers are made of.
//!
//! ```text
//! weights  a block of 8 outputs:        w[k=0][o0..o7]  w[1][o0..o7]  ..
//! panel    as many positions as width:  x[k=0][p0..]    x[1][p0..]    ..
//! sums     [output][position]:          sums[o][p] = (..((bias[o] + w[0][o] * x[0][p]) + w[1][o] * x[1][p]) + ..)
//! ```
//!
//! Every product and every sum is rounded, in ascending order of `k`, whatever the instruction set: vectors run along positions.
#![allow(unsafe_code, reason = "register-tiled inner loop without bounds checks")]

use crate::simd::{Isa, Kernel, Simd};

/// Outputs of a block.
pub(super) const BLOCK: usize = 8;

/// Most positions of a panel.
pub(super) const MAX_WIDTH: usize = 32;

/// Positions of a panel: 16 registers of sums, 8 without vectors of the machine.
pub(super) fn width(isa: Isa) -> usize {
    match isa {
        Isa::Avx512(_) => 32,
        Isa::Avx2(_) => 16,
        Isa::Portable(_) => 8,
    }
}

/// Weights in the order of the tiles, with one bias an output.
#[derive(Debug)]
pub(super) struct Blocks {
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// Products of one sum.
    pub(super) depth: usize,
    /// Outputs, without those that fill up the last block.
    pub(super) outputs: usize,
}

impl Blocks {
    /// `weight(output, k)` in blocks.
    pub(super) fn new(
        outputs: usize,
        depth: usize,
        bias: Option<&[f32]>,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let padded = outputs.next_multiple_of(BLOCK);
        let mut weights = vec![0.0; padded * depth];
        for (first, block) in (0..outputs).step_by(BLOCK).zip(weights.chunks_exact_mut(BLOCK * depth)) {
            for lane in 0..BLOCK.min(outputs - first) {
                for (k, w) in block[lane..].iter_mut().step_by(BLOCK).enumerate() {
                    *w = weight(first + lane, k);
                }
            }
        }
        let mut all = bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec);
        all.resize(padded, 0.0);
        Blocks { weights, bias: all, depth, outputs }
    }

    /// All sums of a panel of [`width`] positions; `sums` gets [`width`] values an output.
    pub(super) fn multiply(&self, isa: Isa, panel: &[f32], sums: &mut Vec<f32>) {
        let width = width(isa);
        assert_eq!(panel.len(), self.depth * width, "one value a product and position");
        sums.resize(self.bias.len() * width, 0.0);
        isa.run(Multiply { blocks: self, panel, sums });
    }
}

struct Multiply<'a> {
    blocks: &'a Blocks,
    panel: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Multiply { blocks, panel, sums } = self;
        let depth = blocks.depth;
        for block in 0..blocks.bias.len() / BLOCK {
            // SAFETY: each block has `BLOCK * depth` weights and `BLOCK` biases; `multiply` sized panel and sums for `width` positions,
            // which is `V * LANES` of the tile chosen here.
            unsafe {
                let weights = blocks.weights.as_ptr().add(block * BLOCK * depth);
                let bias = blocks.bias.as_ptr().add(block * BLOCK);
                match S::LANES {
                    16 => tile::<S, 8, 2>(
                        s,
                        depth,
                        weights,
                        bias,
                        panel.as_ptr(),
                        sums.as_mut_ptr().add(block * BLOCK * 32),
                    ),
                    _ if sums.len() == blocks.bias.len() * 16 => {
                        let sums = sums.as_mut_ptr().add(block * BLOCK * 16);
                        tile::<S, 4, 2>(s, depth, weights, bias, panel.as_ptr(), sums);
                        tile::<S, 4, 2>(s, depth, weights.add(4), bias.add(4), panel.as_ptr(), sums.add(4 * 16));
                    }
                    _ => {
                        let sums = sums.as_mut_ptr().add(block * BLOCK * 8);
                        tile::<S, 4, 1>(s, depth, weights, bias, panel.as_ptr(), sums);
                        tile::<S, 4, 1>(s, depth, weights.add(4), bias.add(4), panel.as_ptr(), sums.add(4 * 8));
                    }
                }
            }
        }
    }
}

/// `M` outputs by `V` registers of positions.
///
/// # Safety
/// `weights` holds `depth` rows of [`BLOCK`] values of which `M` are readable, `bias` `M` values, `panel` `depth` rows of `V` registers;
/// `M * V` registers are writable at `sums`.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const V: usize>(
    s: S,
    depth: usize,
    mut weights: *const f32,
    bias: *const f32,
    mut panel: *const f32,
    sums: *mut f32,
) {
    // SAFETY: see the contract.
    unsafe {
        let mut tile: [[S::Register; V]; M] = std::array::from_fn(|m| [s.splat(*bias.add(m)); V]);
        for _ in 0..depth {
            let x: [S::Register; V] = std::array::from_fn(|v| s.load(panel.add(v * S::LANES)));
            for (m, row) in tile.iter_mut().enumerate() {
                let w = s.splat(*weights.add(m));
                for v in 0..V {
                    row[v] = s.add(row[v], s.mul(w, x[v]));
                }
            }
            weights = weights.add(BLOCK);
            panel = panel.add(V * S::LANES);
        }
        for (m, row) in tile.iter().enumerate() {
            for (v, &register) in row.iter().enumerate() {
                s.store(sums.add((m * V + v) * S::LANES), register);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_bytes_of_plain_sums() {
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 * 1e-3 - 0.4;
        let (outputs, depth) = (19, 37);
        let weight = |o: usize, k: usize| value(o * 101 + k);
        let bias: Vec<f32> = (0..outputs).map(|o| value(o + 7)).collect();
        let blocks = Blocks::new(outputs, depth, Some(&bias), weight);
        for isa in Isa::available() {
            let width = width(isa);
            let panel: Vec<f32> = (0..depth * width).map(|i| value(i / width * 32 + i % width)).collect();
            let mut sums = Vec::new();
            blocks.multiply(isa, &panel, &mut sums);
            for o in 0..outputs {
                for p in 0..width {
                    let expected = (0..depth).fold(bias[o], |sum, k| sum + weight(o, k) * panel[k * width + p]);
                    assert_eq!(sums[o * width + p].to_bits(), expected.to_bits(), "{isa:?}, output {o}, position {p}");
                }
            }
        }
    }
}
