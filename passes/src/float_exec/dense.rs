//! Fully connected layers: the rows of all samples of a batch are the positions of a product.

use super::tile::{Blocks, width};
use super::{Finish, Scratch};
use crate::ir::FullyConnected;
use crate::simd::Isa;

/// Values of a row that are turned together, so that the lines they go to stay in the nearest cache.
const TURNED: usize = 16;

/// A fully connected layer over rows.
#[derive(Debug)]
pub(super) struct Dense(Blocks);

impl Dense {
    pub(super) fn new(layer: &FullyConnected) -> Self {
        let [outputs, inputs] = [layer.weight.dims()[0], layer.weight.dims()[1]];
        let weight = |output: usize, input: usize| layer.weight.data()[output * inputs + input];
        Dense(Blocks::new(outputs, inputs, layer.bias.as_deref(), weight))
    }

    pub(super) fn run(&self, isa: Isa, x: &[f32], y: &mut [f32], finish: Finish, scratch: &mut Scratch) {
        let (width, Blocks { depth, outputs, .. }) = (width(isa), &self.0);
        for (x, y) in x.chunks(width * depth).zip(y.chunks_mut(width * outputs)) {
            scratch.panel.resize(depth * width, 0.0);
            if x.len() < depth * width {
                scratch.panel.fill(0.0);
            }
            for (first, lines) in (0..).step_by(TURNED).zip(scratch.panel.chunks_mut(TURNED * width)) {
                for (lane, row) in x.chunks_exact(*depth).enumerate() {
                    for (line, &v) in lines.chunks_exact_mut(width).zip(&row[first..]) {
                        line[lane] = v;
                    }
                }
            }
            self.0.multiply(isa, &scratch.panel, &mut scratch.sums);
            for (lane, y) in y.chunks_exact_mut(*outputs).enumerate() {
                for (y, sums) in y.iter_mut().zip(scratch.sums.chunks_exact(width)) {
                    *y = finish.of_value(sums[lane]);
                }
            }
        }
    }
}
