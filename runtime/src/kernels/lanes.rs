//! Vectors of i32 accumulators: what the x86 kernels are written in, one file an instruction set.
//!
//! ```text
//! Sum      LANES accumulators                 s0          s1          s2          ...
//! Weights  4 codes an accumulator, i8         w00..w03    w10..w13    w20..w23    ...
//! Codes    4 activations an accumulator, u8   q0..q3      q0..q3      q0..q3      ...   (broadcast, or as interleaved)
//! ```
#![allow(unsafe_code, reason = "vector intrinsics and raw loads")]

pub(crate) mod avx2;
pub(crate) mod avx2vnni;
pub(crate) mod avx512;
pub(crate) mod avx512vnni;
pub(crate) mod gfni;

use super::Clamp;

/// A vector of accumulators and how to add 4 depths to it. The value is the proof that its instructions exist.
///
/// # Safety
/// Methods may be called only inside functions that enable the target features of the proof; pointers must be valid for what each
/// method states.
pub(crate) unsafe trait Lanes: Copy {
    /// Accumulators of a vector: a vector has `4 * LANES` bytes.
    const LANES: usize;
    /// Most windows in a block of 1, 2 and 4 vectors of outputs; 0 where there is no such block.
    const BLOCKS: [usize; 3];
    /// The same where weights are unpacked on the way.
    const PACKED_BLOCKS: [usize; 3];
    /// Whether [`Lanes::accumulate`] sums in i16.
    const DEEP: bool = false;
    /// Whether there are registers for the weights of three taps beside a block's sums.
    const SLIDES: bool = false;
    /// Accumulators.
    type Sum: Copy;
    /// `4 * LANES` bytes as they lie in memory.
    type Bytes: Copy;
    /// Weights ready to multiply.
    type Weights: Copy;
    /// Activations ready to multiply.
    type Codes: Copy;
    /// Sums of products that are not yet in `Sum`.
    type Partial: Copy;

    /// How many [`Lanes::accumulate`] a partial sum holds before it must be folded, where it is deep.
    fn steps(self) -> usize {
        usize::MAX
    }
    /// Vector `part` of the codes in a tile of `K` bits ([`crate::pack`]), at its `8 * K` bytes.
    unsafe fn unpack<const K: u8>(self, tile: *const u8, part: usize) -> Self::Bytes;
    /// Accumulators from `LANES` words.
    unsafe fn sum(self, words: *const i32) -> Self::Sum;
    /// `4 * LANES` bytes.
    unsafe fn bytes(self, bytes: *const u8) -> Self::Bytes;
    /// Zeros.
    unsafe fn zero_bytes(self) -> Self::Bytes;
    /// Stores the first `count <= 4 * LANES` bytes.
    unsafe fn store(self, bytes: Self::Bytes, y: *mut u8, count: usize);
    /// Weights from codes.
    unsafe fn weights(self, codes: Self::Bytes) -> Self::Weights;
    /// Activations from codes.
    unsafe fn codes(self, codes: Self::Bytes) -> Self::Codes;
    /// The same 4 activations for all accumulators; as u16 in 8 bytes where `K` is 16.
    unsafe fn broadcast<const K: u8>(self, codes: *const u8) -> Self::Codes;
    /// Weights of vector `part` of a tile of `K` bits; of 16 as [`crate::kernels::conv`] draws them.
    #[inline(always)]
    unsafe fn tile_weights<const K: u8>(self, tile: *const u8, part: usize) -> Self::Weights {
        // SAFETY: by the contract of the trait.
        unsafe { self.weights(self.unpack::<K>(tile, part)) }
    }
    /// An empty partial sum.
    unsafe fn start(self) -> Self::Partial;
    /// `partial + q . w`.
    unsafe fn accumulate(self, partial: Self::Partial, q: Self::Codes, w: Self::Weights) -> Self::Partial;
    /// `sum + partial`.
    unsafe fn fold(self, sum: Self::Sum, partial: Self::Partial) -> Self::Sum;
    /// `sum + q . w`.
    unsafe fn dot(self, sum: Self::Sum, q: Self::Codes, w: Self::Weights) -> Self::Sum;
    /// Bytes of `a` and `b` in turn, within each 128 bits: from their low halves, from their high halves.
    unsafe fn interleave_bytes(self, a: Self::Bytes, b: Self::Bytes) -> [Self::Bytes; 2];
    /// The same with pairs of bytes.
    unsafe fn interleave_pairs(self, a: Self::Bytes, b: Self::Bytes) -> [Self::Bytes; 2];
    /// `f32(sum) * m` to `LANES` floats. May be called in any function: it enables the features itself.
    unsafe fn scale(self, sum: *const Self::Sum, multipliers: *const f32, values: *mut f32);
    /// Requantizes four vectors; their lanes interleave as [`Lanes::interleave_bytes`] then [`Lanes::interleave_pairs`] left them.
    unsafe fn requantize_interleaved(self, sums: [Self::Sum; 4], multipliers: *const f32, clamp: Clamp) -> Self::Bytes;
    /// Requantizes `windows` windows of `VECTORS` vectors of outputs, 1, 2 or 4, which lie at `sums` window after window, in memory of
    /// any alignment, and steps over their places.
    unsafe fn requantize<const VECTORS: usize>(
        self,
        sums: *const Self::Sum,
        windows: usize,
        multipliers: *const f32,
        clamp: Clamp,
        places: &mut Places,
    );
}

/// Where the codes of windows go that follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The first window's.
    pub(crate) y: *mut u8,
    /// Codes of a window that are stored.
    pub(crate) count: usize,
    /// Bytes from a window to the next of its row.
    pub(crate) pixel: usize,
    /// Windows a row.
    pub(crate) width: usize,
    /// Bytes between the end of a row and the next.
    pub(crate) gap: usize,
    /// Windows from the first to the end of its row, at least one.
    pub(crate) left: usize,
}

impl Places {
    /// The places of one window.
    pub(crate) fn one(y: *mut u8, count: usize) -> Self {
        Places { y, count, pixel: 0, width: 1, gap: 0, left: 1 }
    }

    /// Where the next window's go.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> *mut u8 {
        let y = self.y;
        self.left -= 1;
        let last = self.left == 0;
        self.y = y.wrapping_add(self.pixel + if last { self.gap } else { 0 });
        self.left = if last { self.width } else { self.left };
        y
    }
}
