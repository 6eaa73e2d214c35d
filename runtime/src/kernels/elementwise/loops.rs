//! The loops over the values of a row. Each is compiled for every instruction set.

use crate::kernels::Clamp;
use crate::kernels::compiled::compiled;

/// A code as a term of a sum: `f32(q - z) * m`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    /// Zero point.
    pub(crate) z: u8,
    /// Multiplier.
    pub(crate) m: f32,
}

impl Term {
    #[inline(always)]
    pub(crate) fn of(self, q: u8) -> f32 {
        centered(q, self.z) * self.m
    }
}

/// Signed distance of a code from its zero point, as a float.
#[inline(always)]
pub(crate) fn centered(q: u8, z: u8) -> f32 {
    (i32::from(q) - i32::from(z)) as f32
}

/// Values handled at a time, so that the loops over them have a constant length.
const BLOCK: usize = 64;

#[inline(always)]
fn add(a: &[u8], b: &[u8], terms: [Term; 2], clamp: Clamp, y: &mut [u8]) {
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = clamp.requantize(terms[0].of(a) + terms[1].of(b));
    }
}

#[inline(always)]
fn affine(x: &[u8], z: u8, multipliers: &[f32], addends: &[f32], clamp: Clamp, y: &mut [u8]) {
    let channels = multipliers.len();
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for (((y, &q), &m), &a) in y.iter_mut().zip(x).zip(multipliers).zip(addends) {
            *y = clamp.requantize(centered(q, z) * m + a);
        }
    }
}

#[inline(always)]
fn rescale(x: &[u8], term: Term, clamp: Clamp, y: &mut [u8]) {
    for (y, &q) in y.iter_mut().zip(x) {
        *y = clamp.requantize(term.of(q));
    }
}

/// One row of all planes; `x` begins at the row in plane 0.
#[inline(always)]
fn quantize<const CHANNELS: usize>(x: &[f32], plane: usize, inv_scale: f32, z: u8, y: &mut [u8], _: usize) {
    let clamp = Clamp { z, lo: 0, hi: 255 };
    for (block, y) in y.chunks_mut(BLOCK * CHANNELS).enumerate() {
        let count = y.len() / CHANNELS;
        let mut codes = [[0u8; BLOCK]; CHANNELS];
        for (channel, codes) in codes.iter_mut().enumerate() {
            let values = &x[channel * plane + block * BLOCK..][..count];
            for (q, &value) in codes.iter_mut().zip(values) {
                *q = clamp.requantize(value * inv_scale);
            }
        }
        for (i, pixel) in y.chunks_exact_mut(CHANNELS).enumerate() {
            for (q, codes) in pixel.iter_mut().zip(&codes) {
                *q = codes[i];
            }
        }
    }
}

#[inline(always)]
fn quantize_planes(x: &[f32], plane: usize, inv_scale: f32, z: u8, y: &mut [u8], channels: usize) {
    let clamp = Clamp { z, lo: 0, hi: 255 };
    let width = y.len() / channels;
    for channel in 0..channels {
        for (pixel, &value) in y.chunks_exact_mut(channels).zip(&x[channel * plane..][..width]) {
            pixel[channel] = clamp.requantize(value * inv_scale);
        }
    }
}

compiled! {
    /// `requantize(a + b)`.
    pub(crate) fn add_row: AddRow(a: &[u8], b: &[u8], terms: [Term; 2], clamp: Clamp, y: &mut [u8]) = add
}
compiled! {
    /// `requantize((q - z) * m[c] + a[c])`.
    pub(crate) fn affine_row: AffineRow(x: &[u8], z: u8, multipliers: &[f32], addends: &[f32], clamp: Clamp, y: &mut [u8]) = affine
}
compiled! {
    /// `requantize((q - z) * m)`.
    pub(crate) fn rescale_row: RescaleRow(x: &[u8], term: Term, clamp: Clamp, y: &mut [u8]) = rescale
}
compiled! {
    /// Quantizes one row of one plane.
    pub(crate) fn quantize_1: QuantizeRow(x: &[f32], plane: usize, inv_scale: f32, z: u8, y: &mut [u8], channels: usize) = quantize::<1>
}
compiled! {
    /// Quantizes one row of three planes.
    pub(crate) fn quantize_3: QuantizeRow3(x: &[f32], plane: usize, inv_scale: f32, z: u8, y: &mut [u8], channels: usize) = quantize::<3>
}
compiled! {
    /// Quantizes one row of any number of planes.
    pub(crate) fn quantize_any: QuantizeRowAny(x: &[f32], plane: usize, inv_scale: f32, z: u8, y: &mut [u8], channels: usize) = quantize_planes
}
