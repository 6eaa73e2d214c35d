//! Batches of training samples in a seeded order, with seeded augmentation.

use super::inference::interleave;
use super::recipe::Augmentation;
use crate::data::Dataset;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

/// One batch: NHWC inputs and the places of its samples in the data.
pub(crate) struct Batch {
    pub(crate) input: Vec<f32>,
    pub(crate) samples: Vec<usize>,
}

/// An endless sequence of batches; every sample once before any comes again.
pub(crate) struct Batches<'a> {
    data: &'a Dataset,
    size: usize,
    augmentation: Augmentation,
    random: ChaCha8Rng,
    order: Vec<usize>,
    next: usize,
}

/// How one sample is read.
#[derive(Clone, Copy)]
struct View {
    sample: usize,
    shift: [isize; 2],
    flip: bool,
}

impl<'a> Batches<'a> {
    pub(crate) fn new(data: &'a Dataset, size: usize, augmentation: Augmentation, random: ChaCha8Rng) -> Self {
        let order: Vec<usize> = (0..data.len()).collect();
        let next = order.len();
        Batches { data, size, augmentation, random, order, next }
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Batch {
        let views: Vec<View> = (0..self.size).map(|_| self.view()).collect();
        let shape = self.data.shape();
        let [c, h, w] = shape.chw();
        let len = shape.len();
        let mut input = vec![0.0; self.size * len];
        input.par_chunks_exact_mut(len).zip(&views).for_each(|(image, view)| {
            let mut plain = vec![0.0; len];
            self.data.read(view.sample, &mut plain);
            if view.shift != [0, 0] || view.flip {
                plain = moved(&plain, [c, h, w], view);
            }
            interleave(&plain, [c, h, w], image);
        });
        Batch { input, samples: views.iter().map(|v| v.sample).collect() }
    }

    fn view(&mut self) -> View {
        if self.next == self.order.len() {
            for i in (1..self.order.len()).rev() {
                let j = self.below(i + 1);
                self.order.swap(i, j);
            }
            self.next = 0;
        }
        let sample = self.order[self.next];
        self.next += 1;
        let image = !self.data.shape().is_vector();
        let reach = if image { self.augmentation.shift } else { 0 };
        let mut shift = [0; 2];
        if reach > 0 {
            shift = [0; 2].map(|_: isize| self.below(2 * reach + 1) as isize - reach as isize);
        }
        let flip = image && self.augmentation.flip && self.data.shape().chw()[0] == 3 && self.below(2) == 1;
        View { sample, shift, flip }
    }

    /// A number below `limit`, which is far below 2^32 (multiply-shift; the bias is below limit / 2^32).
    fn below(&mut self, limit: usize) -> usize {
        ((u64::from(self.random.next_u32()) * limit as u64) >> 32) as usize
    }
}

/// A `[channel][row][column]` image shifted and mirrored; cells from outside repeat the border.
fn moved(plain: &[f32], [c, h, w]: [usize; 3], view: &View) -> Vec<f32> {
    let mut out = Vec::with_capacity(plain.len());
    let at = |i: usize, shift: isize, size: usize| (i as isize + shift).clamp(0, size as isize - 1) as usize;
    for plane in plain.chunks_exact(h * w).take(c) {
        for y in 0..h {
            let row = &plane[at(y, view.shift[0], h) * w..][..w];
            out.extend((0..w).map(|x| {
                let x = if view.flip { w - 1 - x } else { x };
                row[at(x, view.shift[1], w)]
            }));
        }
    }
    out
}
