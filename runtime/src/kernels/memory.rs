//! What kernels see of a session's memory.
#![allow(unsafe_code, reason = "hands out the planner's disjoint regions of one allocation")]

use std::marker::PhantomData;
use std::ops::Range;

/// One sample.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// Values.
    Floats(&'a [f32]),
    /// Pixels.
    Pixels(&'a [u8]),
}

/// Where the values of a float slot lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// In the network's input, as the caller gave it.
    Input(Range<usize>),
    /// In the session's floats.
    Slot(Range<usize>),
}

impl Values {
    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Input(range) | Values::Slot(range) => range.len(),
        }
    }
}

/// Buffers of one session during one run; what is reachable while they are borrowed, through [`Borrowed`] alone.
///
/// Invariant: a kernel writes only the bytes of its result and its scratch, no two parts that run at the same time write the same byte,
/// and nothing reads a byte while another part writes it. The planner holds it for the places it hands to kernels; whoever writes
/// promises it by `unsafe`, so that the functions that read are safe.
pub(crate) struct Memory {
    codes: *mut u8,
    codes_len: usize,
    floats: *mut f32,
    floats_len: usize,
    input: *const f32,
    input_len: usize,
    pixels: *const u8,
    pixels_len: usize,
}

// SAFETY: the pointers are to buffers that are borrowed as long as a reference to them exists; the invariant above rules out data races.
unsafe impl Sync for Memory {}

/// [`Memory`] for as long as its buffers are borrowed. It cannot be copied out of this.
pub(crate) struct Borrowed<'a> {
    memory: Memory,
    buffers: PhantomData<(&'a mut [u8], &'a mut [f32], Input<'a>)>,
}

impl std::ops::Deref for Borrowed<'_> {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl<'a> Borrowed<'a> {
    /// Views of the buffers.
    pub(crate) fn new(codes: &'a mut [u8], floats: &'a mut [f32], input: Input<'a>) -> Self {
        let (input, pixels): (&[f32], &[u8]) = match input {
            Input::Floats(input) => (input, &[]),
            Input::Pixels(pixels) => (&[], pixels),
        };
        let memory = Memory {
            codes: codes.as_mut_ptr(),
            codes_len: codes.len(),
            floats: floats.as_mut_ptr(),
            floats_len: floats.len(),
            input: input.as_ptr(),
            input_len: input.len(),
            pixels: pixels.as_ptr(),
            pixels_len: pixels.len(),
        };
        Borrowed { memory, buffers: PhantomData }
    }
}

impl Memory {
    /// Asserts that the code arena has at least `bytes` bytes.
    ///
    /// # Panics
    /// When it has fewer: a planning bug.
    #[inline]
    pub(super) fn assert_holds(&self, bytes: usize) {
        assert!(bytes <= self.codes_len, "a kernel reaches byte {bytes} of an arena of {} bytes", self.codes_len);
    }

    /// The network's input as pixels; empty where it is floats.
    pub(crate) fn pixels(&self) -> &[u8] {
        // SAFETY: made from a slice that is borrowed as long as `self` can be.
        unsafe { std::slice::from_raw_parts(self.pixels, self.pixels_len) }
    }

    /// The network's input as floats; empty where it is pixels.
    pub(crate) fn input(&self) -> &[f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.input, self.input_len) }
    }

    /// The values of a float slot.
    pub(crate) fn values(&self, place: &Values) -> &[f32] {
        match place {
            Values::Input(range) => &self.input()[range.clone()],
            Values::Slot(range) => self.floats(range.clone()),
        }
    }

    /// Pointer to a byte of the code arena that is followed by at least `len` bytes.
    ///
    /// # Panics
    /// When they leave the arena: a planning bug.
    #[inline(always)]
    pub(crate) fn codes_ptr(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.codes_len && len <= self.codes_len - offset, "planned bytes leave the arena");
        // SAFETY: in bounds by the assertion.
        unsafe { self.codes.add(offset) }
    }

    /// Pointer to a float that is followed by at least `len` floats.
    ///
    /// # Panics
    /// When they leave the buffer: a planning bug.
    #[inline(always)]
    pub(crate) fn floats_ptr(&self, offset: usize, len: usize) -> *mut f32 {
        assert!(offset <= self.floats_len && len <= self.floats_len - offset, "planned floats leave the buffer");
        // SAFETY: in bounds by the assertion.
        unsafe { self.floats.add(offset) }
    }

    /// Bytes to read.
    #[inline(always)]
    pub(crate) fn codes(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: in bounds by the check of `codes_ptr`; nobody writes them now (invariant).
        unsafe { std::slice::from_raw_parts(self.codes_ptr(range.start, range.len()), range.len()) }
    }

    /// Bytes to write.
    ///
    /// # Safety
    /// While the slice lives, no other slice of these bytes does, in this part of the kernel or in one that runs at the same time.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "the contract rules out two writers of a byte")]
    pub(crate) unsafe fn codes_mut(&self, range: Range<usize>) -> &mut [u8] {
        // SAFETY: in bounds by the check of `codes_ptr`; they are used by this slice alone (contract).
        unsafe { std::slice::from_raw_parts_mut(self.codes_ptr(range.start, range.len()), range.len()) }
    }

    /// Floats to read.
    pub(crate) fn floats(&self, range: Range<usize>) -> &[f32] {
        // SAFETY: in bounds by the check of `floats_ptr`; nobody writes them now (invariant).
        unsafe { std::slice::from_raw_parts(self.floats_ptr(range.start, range.len()), range.len()) }
    }

    /// Floats to write.
    ///
    /// # Safety
    /// As [`Memory::codes_mut`].
    #[allow(clippy::mut_from_ref, reason = "the contract rules out two writers of a float")]
    pub(crate) unsafe fn floats_mut(&self, range: Range<usize>) -> &mut [f32] {
        // SAFETY: in bounds by the check of `floats_ptr`; they are used by this slice alone (contract).
        unsafe { std::slice::from_raw_parts_mut(self.floats_ptr(range.start, range.len()), range.len()) }
    }
}

/// Where a tensor lies in the code arena: rows of pixels of channels, with room (the halo) around the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Byte of row 0, column 0, channel 0.
    pub(crate) offset: usize,
    /// Bytes from a row to the next.
    pub(crate) row: usize,
    /// Bytes from a pixel to the next: the number of channels.
    pub(crate) pixel: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Columns.
    pub(crate) width: usize,
}

impl View {
    /// Byte of a pixel.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> usize {
        self.offset + row * self.row + column * self.pixel
    }

    /// Bytes of the pixels of a row.
    pub(crate) fn row_range(&self, row: usize) -> Range<usize> {
        self.at(row, 0)..self.at(row, 0) + self.width * self.pixel
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.height * self.width * self.pixel
    }
}

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes that begin at a cache line, zero at first.
pub(crate) struct AlignedBytes(Vec<Line>);

impl AlignedBytes {
    /// At least `len` zero bytes, rounded up to whole lines.
    pub(crate) fn zeroed(len: usize) -> Self {
        AlignedBytes(vec![Line([0; 64]); len.div_ceil(64)])
    }

    /// The same; `None` where there is no memory for them.
    pub(crate) fn try_zeroed(len: usize) -> Option<Self> {
        let (mut lines, count) = (Vec::new(), len.div_ceil(64));
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line([0; 64]));
        Some(AlignedBytes(lines))
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a `Line` is 64 initialized bytes without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and every byte value is valid.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }
}
