//! Operators on single values: quantize, add, affine, concat, reshape, dequantize, softmax.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

mod loops;

use super::{Clamp, Kernel, Memory, View};
use crate::Pixels;
use crate::float_head;
use crate::isa::Available;
use std::ops::Range;

/// Network input, (channel, row, column), to codes.
pub(crate) struct Quantize {
    y: View,
    inv_scale: f32,
    z: u8,
    row: loops::QuantizeRow,
}

impl Quantize {
    pub(crate) fn new(available: Available, y: View, inv_scale: f32, z: u8) -> Self {
        let row = match y.pixel {
            1 => loops::quantize_1(available),
            3 => loops::quantize_3(available),
            _ => loops::quantize_any(available),
        };
        Quantize { y, inv_scale, z, row }
    }
}

impl Kernel for Quantize {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let plane = self.y.height * self.y.width;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            let x = &memory.input()[row * self.y.width..];
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(x, plane, self.inv_scale, self.z, y, self.y.pixel) };
        }
    }
}

/// Pixels, (channel, row, column), to codes: each level of a channel has its code.
pub(crate) struct QuantizePixels {
    y: View,
    /// Code of each level: once for all channels, or once a channel.
    codes: Vec<[u8; 256]>,
}

impl QuantizePixels {
    /// The codes that [`Quantize`] gives to the values of `pixels`.
    pub(crate) fn new(y: View, inv_scale: f32, z: u8, pixels: &Pixels) -> Self {
        let clamp = Clamp { z, lo: 0, hi: 255 };
        let code = |level: usize, channel| clamp.requantize(pixels.value(level as u8, channel) * inv_scale);
        let codes = (0..pixels.mappings()).map(|channel| std::array::from_fn(|level| code(level, channel)));
        QuantizePixels { y, codes: codes.collect() }
    }

    fn codes(&self, channel: usize) -> &[u8; 256] {
        &self.codes[channel.min(self.codes.len() - 1)]
    }
}

impl Kernel for QuantizePixels {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let (width, channels) = (self.y.width, self.y.pixel);
        let plane = self.y.height * width;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
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

/// Sum of two tensors.
pub(crate) struct Add {
    pub(crate) a: View,
    pub(crate) b: View,
    pub(crate) y: View,
    pub(crate) terms: [loops::Term; 2],
    pub(crate) clamp: Clamp,
    pub(crate) row: loops::AddRow,
}

pub(crate) use loops::{Term, add_row, affine_row, rescale_row};

impl Kernel for Add {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            let (a, b) = (memory.codes(self.a.row_range(row)), memory.codes(self.b.row_range(row)));
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(a, b, self.terms, self.clamp, y) };
        }
    }
}

/// A multiplier and an addend a channel.
pub(crate) struct Affine {
    pub(crate) x: View,
    pub(crate) y: View,
    pub(crate) z: u8,
    pub(crate) multipliers: Vec<f32>,
    pub(crate) addends: Vec<f32>,
    pub(crate) clamp: Clamp,
    pub(crate) row: loops::AffineRow,
}

impl Kernel for Affine {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            let x = memory.codes(self.x.row_range(row));
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            // SAFETY: bound for an instruction set that was proved available.
            unsafe { (self.row)(x, self.z, &self.multipliers, &self.addends, self.clamp, y) };
        }
    }
}

/// One input of a concat: where it lies, and how its codes change.
pub(crate) struct ConcatInput {
    pub(crate) x: View,
    /// Where the codes do not simply move.
    pub(crate) rescale: Option<Term>,
}

/// Channels of all inputs, one after the other.
pub(crate) struct Concat {
    pub(crate) xs: Vec<ConcatInput>,
    pub(crate) y: View,
    pub(crate) z: u8,
    pub(crate) rescale: loops::RescaleRow,
}

impl Kernel for Concat {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let clamp = Clamp { z: self.z, lo: 0, hi: 255 };
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            let mut first = 0;
            for input in &self.xs {
                let channels = input.x.pixel;
                let x = memory.codes(input.x.row_range(row));
                for (y, x) in y.chunks_exact_mut(self.y.pixel).zip(x.chunks_exact(channels)) {
                    let y = &mut y[first..first + channels];
                    match input.rescale {
                        None => y.copy_from_slice(x),
                        // SAFETY: bound for an instruction set that was proved available.
                        Some(term) => unsafe { (self.rescale)(x, term, clamp, y) },
                    }
                }
                first += channels;
            }
        }
    }
}

/// The same codes in (channel, row, column) order under other extents.
pub(crate) struct Reshape {
    pub(crate) x: View,
    pub(crate) y: View,
}

impl Kernel for Reshape {
    fn parts(&self) -> usize {
        1
    }

    fn run(&self, memory: &Memory, _: Range<usize>) {
        for i in 0..self.y.len() {
            let (from, to) = (self.x.channel_first(i), self.y.channel_first(i));
            let q = memory.codes(from..from + 1)[0];
            // SAFETY: there is one part, and it writes its own result.
            unsafe { memory.codes_mut(to..to + 1)[0] = q };
        }
    }
}

/// Codes to floats in (channel, row, column) order.
pub(crate) struct Dequantize {
    pub(crate) x: View,
    pub(crate) z: u8,
    pub(crate) scale: f32,
    /// First float of the result.
    pub(crate) y: usize,
}

impl Kernel for Dequantize {
    fn parts(&self) -> usize {
        1
    }

    fn run(&self, memory: &Memory, _: Range<usize>) {
        // SAFETY: there is one part, and it writes its own result.
        let y = unsafe { memory.floats_mut(self.y..self.y + self.x.len()) };
        for (i, value) in y.iter_mut().enumerate() {
            let from = self.x.channel_first(i);
            *value = loops::centered(memory.codes(from..from + 1)[0], self.z) * self.scale;
        }
    }
}

/// Softmax over a float slot, or its logarithm.
pub(crate) struct Softmax {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) len: usize,
    pub(crate) log: bool,
}

impl Kernel for Softmax {
    fn parts(&self) -> usize {
        1
    }

    fn run(&self, memory: &Memory, _: Range<usize>) {
        // SAFETY: there is one part, and it writes its own result.
        let y = unsafe { memory.floats_mut(self.y..self.y + self.len) };
        y.copy_from_slice(memory.floats(self.x..self.x + self.len));
        float_head::softmax(y, self.log);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::kernels::{Borrowed, Input};
    use std::arch::asm;

    /// Runs `body` with other bits of the control register of floating point set.
    fn with_control<T>(bits: u32, body: impl FnOnce() -> T) -> T {
        let mut old = 0u32;
        // SAFETY: stores the register.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut old) };
        let new = old | bits;
        // SAFETY: no exception is unmasked, and the old value comes back below.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const new) };
        let result = body();
        // SAFETY: as it was.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const old) };
        result
    }

    #[test]
    fn softmax_does_not_depend_on_flushing() {
        // Powers around the least normal number, shares below it, inputs and differences that are subnormal.
        let mut inputs: Vec<Vec<f32>> = (0..4000i16)
            .map(|i| {
                let low = -86.0 - f32::from(i) / 200.0;
                (0..1 + i % 7).map(|n| -f32::from(n) / 16.0).chain([low, low - 0.01, low / 2.0]).collect()
            })
            .collect();
        inputs.extend([vec![1e-40, 0.0, -1e-39], vec![1.2e-38, 1.3e-38], vec![f32::MIN_POSITIVE, 1e-44, 0.0]]);
        let results = |log: bool| {
            let run = |x: &Vec<f32>| {
                let mut floats = [x.clone(), vec![0.0; x.len()]].concat();
                let softmax = Softmax { x: 0, y: x.len(), len: x.len(), log };
                softmax.run(&Borrowed::new(&mut [], &mut floats, Input::Floats(&[])), 0..1);
                floats[x.len()..].iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
            };
            inputs.iter().map(run).collect::<Vec<_>>()
        };
        const FLUSH_RESULTS: u32 = 1 << 15;
        const FLUSH_OPERANDS: u32 = 1 << 6;
        let product = || std::hint::black_box(1e-30f32) * std::hint::black_box(1e-10);
        assert!(with_control(0, product) > 0.0 && with_control(FLUSH_RESULTS, product).to_bits() == 0);
        for log in [false, true] {
            let expected = results(log);
            for bits in [FLUSH_RESULTS, FLUSH_OPERANDS, FLUSH_RESULTS | FLUSH_OPERANDS] {
                assert!(with_control(bits, || results(log)) == expected, "log {log}, bits {bits:#x}");
            }
        }
    }
}
