//! Operators on single values: quantize, add, affine, concat, reshape, dequantize, softmax.

use super::{Clamp, Kernel, Memory, View};
use crate::float_head;
use std::ops::Range;

/// Signed distance of a code from its zero point, as a float.
#[inline(always)]
fn centered(q: u8, z: u8) -> f32 {
    (i32::from(q) - i32::from(z)) as f32
}

/// Network input, (channel, row, column), to codes.
pub(crate) struct Quantize {
    pub(crate) y: View,
    pub(crate) inv_scale: f32,
    pub(crate) z: u8,
}

impl Kernel for Quantize {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let (y, clamp) = (self.y, Clamp { z: self.z, lo: 0, hi: 255 });
        let plane = y.height * y.width;
        for row in parts {
            let codes = memory.codes_mut(y.row_range(row));
            for channel in 0..y.pixel {
                let values = &memory.input()[channel * plane + row * y.width..][..y.width];
                for (pixel, &value) in codes.chunks_exact_mut(y.pixel).zip(values) {
                    pixel[channel] = clamp.requantize(value * self.inv_scale);
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
    pub(crate) zero_points: [u8; 2],
    pub(crate) multipliers: [f32; 2],
    pub(crate) clamp: Clamp,
}

impl Kernel for Add {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let ([za, zb], [ma, mb]) = (self.zero_points, self.multipliers);
        for row in parts {
            let (a, b) = (memory.codes(self.a.row_range(row)), memory.codes(self.b.row_range(row)));
            let y = memory.codes_mut(self.y.row_range(row));
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = self.clamp.requantize(centered(a, za) * ma + centered(b, zb) * mb);
            }
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
}

impl Kernel for Affine {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            let x = memory.codes(self.x.row_range(row));
            let y = memory.codes_mut(self.y.row_range(row));
            for (y, x) in y.chunks_exact_mut(self.y.pixel).zip(x.chunks_exact(self.x.pixel)) {
                for (c, (y, &q)) in y.iter_mut().zip(x).enumerate() {
                    *y = self.clamp.requantize(centered(q, self.z) * self.multipliers[c] + self.addends[c]);
                }
            }
        }
    }
}

/// One input of a concat: where it lies, and how its codes change.
pub(crate) struct ConcatInput {
    pub(crate) x: View,
    /// Zero point and multiplier, where the codes do not simply move.
    pub(crate) rescale: Option<(u8, f32)>,
}

/// Channels of all inputs, one after the other.
pub(crate) struct Concat {
    pub(crate) xs: Vec<ConcatInput>,
    pub(crate) y: View,
    pub(crate) z: u8,
}

impl Kernel for Concat {
    fn parts(&self) -> usize {
        self.y.height
    }

    fn run(&self, memory: &Memory, parts: Range<usize>) {
        let clamp = Clamp { z: self.z, lo: 0, hi: 255 };
        for row in parts {
            let y = memory.codes_mut(self.y.row_range(row));
            let mut first = 0;
            for input in &self.xs {
                let channels = input.x.pixel;
                let x = memory.codes(input.x.row_range(row));
                for (y, x) in y.chunks_exact_mut(self.y.pixel).zip(x.chunks_exact(channels)) {
                    let y = &mut y[first..first + channels];
                    match input.rescale {
                        None => y.copy_from_slice(x),
                        Some((z, m)) => {
                            y.iter_mut().zip(x).for_each(|(y, &q)| *y = clamp.requantize(centered(q, z) * m));
                        }
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
            memory.codes_mut(to..to + 1)[0] = memory.codes(from..from + 1)[0];
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
        let y = memory.floats_mut(self.y..self.y + self.x.len());
        for (i, value) in y.iter_mut().enumerate() {
            let from = self.x.channel_first(i);
            *value = centered(memory.codes(from..from + 1)[0], self.z) * self.scale;
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
        let y = memory.floats_mut(self.y..self.y + self.len);
        y.copy_from_slice(memory.floats(self.x..self.x + self.len));
        float_head::softmax(y, self.log);
    }
}
