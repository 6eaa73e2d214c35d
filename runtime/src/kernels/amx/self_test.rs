//! Known answers: what the tile unit must give before kernels rely on it.
#![allow(unsafe_code, reason = "runs the instructions")]

use super::emulated::Emulated;
use super::{ROW_BYTES, ROWS, TileConfig, Tiles};

/// Bytes between rows of activations: not a multiple of a row.
const A_STRIDE: usize = 80;
/// Bytes between rows of sums: two registers side by side.
const C_STRIDE: usize = 2 * ROW_BYTES;
/// Sums of a block of 2 x 2 registers.
type Sums = [[i32; C_STRIDE / 4]; 2 * ROWS];

/// Operands and results of one block.
struct Block {
    windows: usize,
    a: [[u8; A_STRIDE]; 2 * ROWS],
    b: [[u8; ROW_BYTES]; 2 * ROWS],
    biases: [i32; 2 * ROWS],
}

impl Block {
    /// Bytes of every value, the extremes more often than others, and biases of which some sums wrap.
    fn new(windows: usize, seed: u32) -> Self {
        let mut state = seed;
        let mut byte = move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            match state >> 29 {
                0 => 0xff,
                1 => 0x80,
                _ => (state >> 16) as u8,
            }
        };
        let a = std::array::from_fn(|_| std::array::from_fn(|_| byte()));
        let b = std::array::from_fn(|_| std::array::from_fn(|_| byte()));
        let biases = std::array::from_fn(|i| match i % 3 {
            0 => i32::MAX - i32::from(byte()),
            1 => i32::MIN + i32::from(byte()),
            _ => i32::from(byte()) - 128,
        });
        Block { windows, a, b, biases }
    }

    /// Two steps of depth on all eight registers, as kernels do them.
    fn compute(&self, tiles: &mut impl Tiles) -> Sums {
        let mut sums = [[0; C_STRIDE / 4]; 2 * ROWS];
        let c = sums.as_mut_ptr().cast::<u8>();
        let (a, b, biases) =
            (self.a.as_ptr().cast::<u8>(), self.b.as_ptr().cast::<u8>(), self.biases.as_ptr().cast::<u8>());
        // SAFETY: at most 16 windows; `a` and `sums` have 32 rows at their strides, `b` 32 rows of 64 bytes, `biases` 128 bytes.
        unsafe {
            tiles.configure(&TileConfig::for_windows(self.windows));
            tiles.load::<0>(biases, 0);
            tiles.load::<1>(biases.add(ROW_BYTES), 0);
            tiles.load::<2>(biases, 4);
            tiles.load::<3>(biases.add(ROW_BYTES), 0);
            for second in [0, ROWS] {
                tiles.load::<4>(a.add(second), A_STRIDE);
                tiles.load::<5>(a.add(ROWS * A_STRIDE - second), A_STRIDE);
                tiles.load::<6>(b.add(second * ROW_BYTES), ROW_BYTES);
                tiles.load::<7>(b.add((ROWS - second) * ROW_BYTES), ROW_BYTES);
                tiles.dot::<0, 4, 6>();
                tiles.dot::<1, 4, 7>();
                tiles.dot::<2, 5, 6>();
                tiles.dot::<3, 5, 7>();
            }
            tiles.store::<0>(c, C_STRIDE);
            tiles.store::<1>(c.add(ROW_BYTES), C_STRIDE);
            tiles.store::<2>(c.add(ROWS * C_STRIDE), C_STRIDE);
            tiles.store::<3>(c.add(ROWS * C_STRIDE + ROW_BYTES), C_STRIDE);
            tiles.release();
        }
        sums
    }
}

/// Whether a tile unit gives what the emulation gives.
pub(crate) fn agrees_with_emulation(tiles: &mut impl Tiles) -> bool {
    [16, 1, 7, 16].into_iter().zip(1..).all(|(windows, seed)| {
        let block = Block::new(windows, seed);
        block.compute(tiles) == block.compute(&mut Emulated::new())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tile units with one defect each.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Defect {
        None,
        /// Activations and weights change places.
        SwappedOperands,
        /// The second column of sums is added to the first.
        WrongRegister,
        /// One row fewer is loaded.
        LostRow,
        /// Large sums are cut off.
        Saturates,
        /// Activations are read once only.
        StaleActivations,
    }

    struct Defective {
        unit: Emulated,
        defect: Defect,
        full: bool,
        loaded: bool,
    }

    impl Tiles for Defective {
        unsafe fn configure(&mut self, config: &TileConfig) {
            let mut config = *config;
            self.full = config == TileConfig::for_windows(ROWS);
            if self.defect == Defect::LostRow {
                (0..6).for_each(|t| config.0[48 + t] = (config.0[48 + t] - 1).max(1));
            }
            self.unit.ldtilecfg(&config.0);
        }

        unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize) {
            if TILE == 4 && self.defect == Defect::StaleActivations && std::mem::replace(&mut self.loaded, true) {
                return;
            }
            // SAFETY: by the contract of the trait.
            unsafe { self.unit.load::<TILE>(from, stride) };
        }

        unsafe fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
            let [c, a, b] = [C, A, B].map(usize::from);
            match self.defect {
                // The shapes fit either way.
                Defect::SwappedOperands if self.full => self.unit.tdpbusd(c, b, a),
                Defect::WrongRegister => self.unit.tdpbusd(c & 2, a, b),
                _ => self.unit.tdpbusd(c, a, b),
            }
        }

        unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize) {
            // SAFETY: by the contract of the trait.
            unsafe { self.unit.store::<TILE>(to, stride) };
            if self.defect == Defect::Saturates {
                // SAFETY: the first sum was just stored.
                unsafe {
                    let sum = to.cast::<i32>();
                    *sum = (*sum).clamp(i32::MIN / 2, i32::MAX / 2);
                }
            }
        }

        unsafe fn release(&mut self) {
            self.unit.tilerelease();
        }
    }

    #[test]
    fn a_defect_is_found() {
        let passes = |defect| {
            agrees_with_emulation(&mut Defective { unit: Emulated::new(), defect, full: false, loaded: false })
        };
        assert!(passes(Defect::None));
        use Defect::*;
        for defect in [SwappedOperands, WrongRegister, LostRow, Saturates, StaleActivations] {
            assert!(!passes(defect), "{defect:?}");
        }
    }
}
