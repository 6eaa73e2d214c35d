//! Convolutions and fully connected layers.

use super::convert::ordered;
use super::numbers::requantize;
use super::places::tap;
use crate::format::Artifact;
use crate::pack;
use crate::program::{Conv, Destination, Program};

/// The constants of one conv.
pub(super) struct Layer {
    /// `[outputs][depth]`.
    codes: Vec<i8>,
    biases: Vec<i32>,
    multipliers: Vec<f32>,
}

/// What a layer yields.
pub(super) enum Results {
    Codes(Vec<u8>),
    Logits(Vec<f32>),
}

impl Layer {
    /// Unpacks the weights.
    pub(super) fn new(artifact: &Artifact, conv: &Conv) -> Self {
        let depth = conv.depth(artifact.program().tensor(conv.x));
        Layer {
            codes: pack::unpack(artifact.weights(conv), conv.outputs as usize, depth, conv.bits),
            biases: artifact.biases(conv),
            multipliers: artifact.multipliers(conv),
        }
    }

    /// `requantize(f32(acc) * m[c])`, or `f32(acc) * m[c]`.
    pub(super) fn results(&self, program: &Program, conv: &Conv, codes: &[u8]) -> Results {
        let accumulators = self.accumulate(program, conv, codes);
        let outputs = conv.outputs as usize;
        let scaled = accumulators.iter().enumerate().map(|(i, &acc)| acc as f32 * self.multipliers[i % outputs]);
        match conv.destination {
            Destination::Codes { y, lo, hi } => {
                let z = program.tensor(y).zero_point;
                Results::Codes(scaled.map(|v| requantize(v, z, lo, hi)).collect())
            }
            Destination::Logits { order, .. } => Results::Logits(ordered(&scaled.collect::<Vec<_>>(), outputs, order)),
        }
    }

    /// `acc = b[c] + sum(q * w)`, wrapping, in (row, column, output) order.
    fn accumulate(&self, program: &Program, conv: &Conv, codes: &[u8]) -> Vec<i32> {
        let x = program.tensor(conv.x);
        let [height, width] = program.conv_output(conv);
        let [kernel_height, kernel_width] = conv.window.kernel;
        let depth = conv.depth(x);
        let inputs = x.channels / conv.groups;
        let outputs = conv.outputs / conv.groups;
        let mut accumulators = Vec::with_capacity((height * width * conv.outputs) as usize);
        let mut patch = Vec::with_capacity(depth);
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            for group in 0..conv.groups {
                patch.clear();
                for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx))) {
                    let cell = tap(&conv.window, 0, row, ky, x.height).zip(tap(&conv.window, 1, column, kx, x.width));
                    for c in group * inputs..(group + 1) * inputs {
                        patch.push(match cell {
                            Some((r, s)) => codes[((r * x.width + s) * x.channels + c) as usize],
                            None => x.zero_point,
                        });
                    }
                }
                for o in group * outputs..(group + 1) * outputs {
                    let weights = &self.codes[o as usize * depth..][..depth];
                    let products = patch.iter().zip(weights).map(|(&q, &w)| i32::from(q) * i32::from(w));
                    accumulators.push(products.fold(self.biases[o as usize], i32::wrapping_add));
                }
            }
        }
        accumulators
    }
}
