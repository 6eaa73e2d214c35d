//! The tile unit in portable code: the semantics of Intel's manual for palette 1, and an assertion for each fault.
#![allow(unsafe_code, reason = "loads and stores through the pointers of the instructions")]

use super::{ROW_BYTES, ROWS, TILES, TileConfig, Tiles};

/// A register. Rows and bytes beyond its shape are 0.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    row_bytes: usize,
    data: [[u8; ROW_BYTES]; ROWS],
}

const CLEAR: Tile = Tile { rows: 0, row_bytes: 0, data: [[0; ROW_BYTES]; ROWS] };

/// The registers of one thread.
pub(crate) struct Emulated {
    tiles: [Tile; TILES],
    configured: bool,
}

impl Emulated {
    /// Nothing is configured.
    pub(crate) const fn new() -> Self {
        Emulated { tiles: [CLEAR; TILES], configured: false }
    }

    /// `ldtilecfg`.
    ///
    /// # Panics
    /// Where the instruction faults: an unknown palette, reserved bytes that are not 0, a shape out of range.
    pub(crate) fn ldtilecfg(&mut self, config: &[u8; 64]) {
        self.tilerelease();
        if config[0] == 0 {
            return;
        }
        assert_eq!(config[0], 1, "palette");
        let reserved = config[1..16].iter().chain(&config[32..48]).chain(&config[56..]);
        assert!(reserved.copied().all(|byte| byte == 0), "start row and reserved bytes are 0");
        for (t, tile) in self.tiles.iter_mut().enumerate() {
            let row_bytes = usize::from(u16::from_le_bytes([config[16 + 2 * t], config[17 + 2 * t]]));
            let rows = usize::from(config[48 + t]);
            assert!(rows <= ROWS && row_bytes <= ROW_BYTES, "register {t}: {rows} rows of {row_bytes} bytes");
            assert_eq!(rows == 0, row_bytes == 0, "register {t}: both extents or none");
            (tile.rows, tile.row_bytes) = (rows, row_bytes);
        }
        self.configured = true;
    }

    /// `tilerelease`.
    pub(crate) fn tilerelease(&mut self) {
        *self = Self::new();
    }

    /// `tileloadd`.
    ///
    /// # Safety
    /// Each row of the register must be readable.
    ///
    /// # Panics
    /// Where the instruction faults: the register has no shape.
    pub(crate) unsafe fn tileloadd(&mut self, t: usize, from: *const u8, stride: usize) {
        let tile = self.shaped(t);
        let (rows, row_bytes) = (tile.rows, tile.row_bytes);
        *tile = Tile { rows, row_bytes, ..CLEAR };
        for (r, row) in tile.data[..rows].iter_mut().enumerate() {
            // SAFETY: readable by the contract of the caller.
            let bytes = unsafe { std::slice::from_raw_parts(from.wrapping_add(r.wrapping_mul(stride)), row_bytes) };
            row[..row_bytes].copy_from_slice(bytes);
        }
    }

    /// `tilestored`.
    ///
    /// # Safety
    /// Each row of the register must be writable.
    ///
    /// # Panics
    /// Where the instruction faults: the register has no shape.
    pub(crate) unsafe fn tilestored(&mut self, t: usize, to: *mut u8, stride: usize) {
        let tile = self.shaped(t);
        for (r, row) in tile.data[..tile.rows].iter().enumerate() {
            // SAFETY: writable by the contract of the caller.
            unsafe { row.as_ptr().copy_to(to.wrapping_add(r.wrapping_mul(stride)), tile.row_bytes) };
        }
    }

    /// `tdpbusd`: the bytes of `a` are unsigned, those of `b` signed.
    ///
    /// # Panics
    /// Where the instruction faults: the same register twice, a register without a shape, shapes that do not fit.
    pub(crate) fn tdpbusd(&mut self, c: usize, a: usize, b: usize) {
        assert!(c != a && c != b && a != b, "three registers: {c}, {a}, {b}");
        let (activations, weights) = (*self.shaped(a), *self.shaped(b));
        let sums = self.shaped(c);
        let groups = activations.row_bytes / 4;
        assert!([sums.row_bytes, activations.row_bytes, weights.row_bytes].iter().all(|bytes| bytes % 4 == 0));
        assert_eq!(sums.rows, activations.rows, "windows");
        assert_eq!(sums.row_bytes, weights.row_bytes, "outputs");
        assert_eq!(groups, weights.rows, "depth");
        let outputs = sums.row_bytes / 4;
        for (row, activations) in sums.data.iter_mut().zip(&activations.data).take(sums.rows) {
            let mut words: [i32; ROW_BYTES / 4] = std::array::from_fn(|n| {
                i32::from_le_bytes([row[4 * n], row[4 * n + 1], row[4 * n + 2], row[4 * n + 3]])
            });
            for (q, weights) in activations.chunks_exact(4).zip(&weights.data).take(groups) {
                for (n, word) in words.iter_mut().enumerate() {
                    let product = |j: usize| i32::from(q[j]) * i32::from(weights[4 * n + j].cast_signed());
                    // Four products of at most 255 * 128 do not wrap; the sum with what was there may.
                    *word = word.wrapping_add(product(0) + product(1) + product(2) + product(3));
                }
            }
            for (bytes, word) in row.chunks_exact_mut(4).zip(words).take(outputs) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// A register that was given a shape.
    fn shaped(&mut self, t: usize) -> &mut Tile {
        assert!(self.configured, "tiles are configured");
        let tile = &mut self.tiles[t];
        assert!(tile.rows > 0, "register {t} has a shape");
        tile
    }
}

impl Tiles for Emulated {
    unsafe fn configure(&mut self, config: &TileConfig) {
        self.ldtilecfg(&config.0);
    }

    unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { self.tileloadd(TILE.into(), from, stride) };
    }

    unsafe fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
        self.tdpbusd(C.into(), A.into(), B.into());
    }

    unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { self.tilestored(TILE.into(), to, stride) };
    }

    unsafe fn release(&mut self) {
        self.tilerelease();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with a few bytes changed.
    fn changed(changes: &[(usize, u8)]) -> [u8; 64] {
        let mut config = TileConfig::for_windows(5).0;
        changes.iter().for_each(|&(at, byte)| config[at] = byte);
        config
    }

    fn faults(work: impl FnOnce(&mut Emulated) + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(|| work(&mut Emulated::new())).is_err()
    }

    #[test]
    fn the_configuration_is_the_one_of_the_manual() {
        let config = TileConfig::for_windows(5).0;
        assert_eq!(config[..16], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(config[16..32], [64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0]);
        assert_eq!(config[32..48], [0; 16]);
        assert_eq!(config[48..], [5, 5, 5, 5, 5, 5, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_the_hardware_refuses_is_refused() {
        assert!(!faults(|tiles| tiles.ldtilecfg(&changed(&[]))));
        for bad in [(0, 2), (1, 1), (7, 1), (16, 65), (17, 1), (40, 1), (48, 17), (50, 0), (60, 1)] {
            assert!(faults(move |tiles| tiles.ldtilecfg(&changed(&[bad]))), "{bad:?}");
        }
        assert!(faults(|tiles| tiles.tdpbusd(0, 4, 6)), "not configured");
        let dot = |c, a, b, changes: &'static [(usize, u8)]| {
            faults(move |tiles| {
                tiles.ldtilecfg(&changed(changes));
                tiles.tdpbusd(c, a, b);
            })
        };
        assert!(!dot(0, 4, 6, &[]));
        assert!(dot(0, 0, 6, &[]) && dot(0, 4, 4, &[]) && dot(6, 4, 6, &[]), "a register twice");
        assert!(dot(0, 4, 6, &[(52, 4)]), "windows differ");
        assert!(dot(0, 4, 6, &[(28, 60)]), "outputs differ");
        assert!(dot(0, 4, 6, &[(54, 15)]), "depths differ");
        assert!(faults(|tiles| {
            tiles.ldtilecfg(&changed(&[]));
            tiles.tilerelease();
            tiles.tdpbusd(0, 4, 6);
        }));
    }

    #[test]
    fn a_product_by_hand() {
        let mut tiles = Emulated::new();
        // Two windows, a depth of 8, three outputs.
        let mut config = [0; 64];
        config[0] = 1;
        (config[16], config[48]) = (12, 2);
        (config[18], config[49]) = (8, 2);
        (config[20], config[50]) = (12, 2);
        tiles.ldtilecfg(&config);
        let a: [[u8; 8]; 2] = [[1, 2, 3, 4, 5, 6, 7, 8], [255, 0, 0, 0, 0, 0, 0, 255]];
        let b: [[i8; 12]; 2] = [[1, 1, 1, 1, -1, 0, 0, 0, 0, 0, 0, -128], [1, 1, 1, 1, 0, 0, 0, -1, 0, 0, 0, 127]];
        let mut c: [[i32; 3]; 2] = [[0, 100, 0], [i32::MAX, i32::MIN, 0]];
        // SAFETY: the arrays have the configured shapes.
        unsafe {
            tiles.tileloadd(0, c.as_ptr().cast(), 12);
            tiles.tileloadd(1, a.as_ptr().cast(), 8);
            tiles.tileloadd(2, b.as_ptr().cast(), 12);
            tiles.tdpbusd(0, 1, 2);
            tiles.tilestored(0, c.as_mut_ptr().cast(), 12);
        }
        assert_eq!(c[0], [36, 100 - 1 - 8, -128 * 4 + 127 * 8]);
        assert_eq!(c[1], [i32::MAX.wrapping_add(510), i32::MIN.wrapping_sub(510), 127 * 255]);
    }
}
