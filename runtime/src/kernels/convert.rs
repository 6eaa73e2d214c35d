//! Floats to codes and back.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

use super::elementwise::loops;
use super::memory::Values;
use super::{Clamp, Kernel, Memory, View};
use crate::Pixels;
use crate::isa::Available;
use crate::program::Order;
use std::ops::Range;

/// A tensor as rows of values of one channel, for floats in its own order.
fn flattened(view: View) -> View {
    View { pixel: 1, width: view.width * view.pixel, ..view }
}

/// Floats to codes.
pub(crate) struct Quantize {
    x: Values,
    /// Where the floats are in its own order, with one channel.
    y: View,
    inv_scale: f32,
    z: u8,
    row: loops::QuantizeRow,
}

impl Quantize {
    pub(crate) fn new(available: Available, x: Values, y: View, inv_scale: f32, z: u8, order: Order) -> Self {
        let y = if order == Order::Same { flattened(y) } else { y };
        let row = match y.pixel {
            1 => loops::quantize_1(available),
            3 => loops::quantize_3(available),
            _ => loops::quantize_any(available),
        };
        Quantize { x, y, inv_scale, z, row }
    }
}

impl Kernel for Quantize {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let plane = self.y.height * self.y.width;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            let x = &memory.values(&self.x)[row * self.y.width..];
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(x, plane, self.inv_scale, self.z, y, self.y.pixel) };
        }
    }
}

/// Pixels to codes: each level of a channel has its code.
pub(crate) struct QuantizePixels {
    y: View,
    order: Order,
    /// Code of each level: once for all channels, or once a channel.
    codes: Vec<[u8; 256]>,
}

impl QuantizePixels {
    /// The codes that [`Quantize`] gives to the values of `pixels`.
    pub(crate) fn new(y: View, inv_scale: f32, z: u8, pixels: &Pixels, order: Order) -> Self {
        let clamp = Clamp { z, lo: 0, hi: 255 };
        let code = |level: usize, channel| clamp.requantize(pixels.value(level as u8, channel) * inv_scale);
        let codes = (0..pixels.mappings()).map(|channel| std::array::from_fn(|level| code(level, channel)));
        QuantizePixels { y, order, codes: codes.collect() }
    }

    fn codes(&self, channel: usize) -> &[u8; 256] {
        &self.codes[channel.min(self.codes.len() - 1)]
    }
}

impl Kernel for QuantizePixels {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let (width, channels) = (self.y.width, self.y.pixel);
        let plane = self.y.height * width;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            if self.order == Order::Same {
                let x = &memory.pixels()[row * width * channels..][..width * channels];
                for (i, (y, &level)) in y.iter_mut().zip(x).enumerate() {
                    *y = self.codes(i % channels)[usize::from(level)];
                }
                continue;
            }
            let x = |channel: usize| &memory.pixels()[channel * plane + row * width..][..width];
            if channels == 3 {
                let [red, green, blue] = [0, 1, 2].map(|channel| self.codes(channel));
                let planes = x(0).iter().zip(x(1)).zip(x(2));
                for (y, ((&r, &g), &b)) in y.chunks_exact_mut(3).zip(planes) {
                    [y[0], y[1], y[2]] = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
                }
                continue;
            }
            for channel in 0..channels {
                let codes = self.codes(channel);
                for (y, &level) in y.chunks_exact_mut(channels).zip(x(channel)) {
                    y[channel] = codes[usize::from(level)];
                }
            }
        }
    }
}

/// Codes to floats.
pub(crate) struct Dequantize {
    pub(crate) x: View,
    pub(crate) z: u8,
    pub(crate) scale: f32,
    /// First float of the result.
    pub(crate) y: usize,
    pub(crate) order: Order,
}

impl Kernel for Dequantize {
    fn parts(&self) -> usize {
        self.x.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let real = |q: u8| loops::centered(q, self.z) * self.scale;
        let (width, channels) = (self.x.width, self.x.pixel);
        for row in parts {
            let x = memory.codes(self.x.row_range(row));
            if self.order == Order::Same {
                let first = self.y + row * width * channels;
                // SAFETY: each part writes the values of the rows that are its own.
                let y = unsafe { memory.floats_mut(first..first + x.len()) };
                y.iter_mut().zip(x).for_each(|(value, &q)| *value = real(q));
                continue;
            }
            for channel in 0..channels {
                let first = self.y + (channel * self.x.height + row) * width;
                // SAFETY: each part writes the values of the rows that are its own.
                let y = unsafe { memory.floats_mut(first..first + width) };
                let codes = x[channel..].iter().step_by(channels);
                y.iter_mut().zip(codes).for_each(|(value, &q)| *value = real(q));
            }
        }
    }
}
