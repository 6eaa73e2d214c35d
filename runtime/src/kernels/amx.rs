//! Tiles of int8 products (AMX): what a kernel asks of the tile unit, so that one kernel runs on the hardware and on its emulation.
//!
//! ```text
//! A  windows x 64 depths         row m: 64 activations, u8, of window m; any stride between windows
//! B  16 groups x 16 outputs      row k: depths 4k .. 4k + 3 of output 0, of output 1, ..; i8: a tile of crate::pack is one row
//! C  windows x 16 outputs        row m: 16 sums, i32, of window m
//!
//! C[m][n] += sum of A[m][4k + j] * B[k][4n + j] over k in 0..16, j in 0..4, modulo 2^32      (tdpbusd)
//! ```
//!
//! The eight registers have fixed roles, a 2 x 2 block of sums:
//!
//! ```text
//!            B 6    B 7
//!     A 4    C 0    C 1
//!     A 5    C 2    C 3
//! ```
#![allow(unsafe_code, reason = "instructions on raw pointers")]

pub(crate) mod emulated;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod hardware;
pub(crate) mod self_test;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod trapped;

/// Registers.
pub(crate) const TILES: usize = 8;
/// Most rows of a register.
pub(crate) const ROWS: usize = 16;
/// Bytes of a row.
pub(crate) const ROW_BYTES: usize = 64;

/// The operand of `ldtilecfg`: how many rows, of how many bytes, each register has.
///
/// ```text
/// byte  0         palette: 1, eight registers of at most 16 rows of 64 bytes
/// byte  1         row at which an interrupted load or store goes on: 0
/// bytes 16 + 2t   u16, bytes a row of register t
/// bytes 48 + t    rows of register t
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct TileConfig(pub(crate) [u8; 64]);

impl TileConfig {
    /// Sums and activations of `windows` windows, `1..=16`; weights of whole tiles.
    pub(crate) fn for_windows(windows: usize) -> Self {
        assert!((1..=ROWS).contains(&windows), "{windows} windows in a tile; 1 to 16 are required");
        let mut bytes = [0; 64];
        bytes[0] = 1;
        for tile in 0..TILES {
            let rows = if tile < 6 { windows } else { ROWS };
            bytes[16 + 2 * tile..18 + 2 * tile].copy_from_slice(&(ROW_BYTES as u16).to_le_bytes());
            bytes[48 + tile] = rows as u8;
        }
        TileConfig(bytes)
    }
}

/// The operations on tile registers that kernels need; registers are named by constants `0..8`.
///
/// # Safety
/// `load`, `dot` and `store` need registers configured by [`Tiles::configure`] on this thread and not yet released; the pointers of
/// `load` and `store` must be valid for each row of the register: 64 bytes at `stride` bytes from the row before.
pub(crate) trait Tiles {
    /// Sets the shapes of all registers and clears them.
    unsafe fn configure(&mut self, config: &TileConfig);
    /// Fills a register from memory; with a stride of 0 all rows are equal.
    unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize);
    /// Adds to sums `C` the products of activations `A` and weights `B`.
    unsafe fn dot<const C: u8, const A: u8, const B: u8>(&mut self);
    /// Writes a register to memory.
    unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize);
    /// Gives the registers back; done before the thread goes on to other work.
    unsafe fn release(&mut self);
}
