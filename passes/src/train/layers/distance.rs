//! The distance of a tensor from that of the float network.

use super::super::buffers::Buffers;
use super::super::tape::{Differentiable, Gradient};
use rayon::prelude::*;

/// Values that are summed up together: sums have one order for any number of threads.
const PART: usize = 1 << 14;

/// `weight * sum (x - target)^2 / sum target^2`. Input: x.
#[derive(Debug)]
pub(crate) struct Distance {
    target: Vec<f32>,
    /// `weight / sum target^2`, 0 where the target is 0.
    factor: f64,
}

impl Distance {
    pub(crate) fn new(target: Vec<f32>, weight: f32) -> Self {
        let power = sum_of_parts(&target, &target, |y, _| f64::from(y) * f64::from(y));
        Distance { target, factor: if power > 0.0 { f64::from(weight) / power } else { 0.0 } }
    }
}

fn sum_of_parts(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f64 + Sync) -> f64 {
    let of_part = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(&a, &b)| term(a, b)).sum::<f64>();
    let parts: Vec<f64> = a.par_chunks(PART).zip(b.par_chunks(PART)).map(of_part).collect();
    parts.iter().sum()
}

impl Differentiable for Distance {
    fn forward(&self, inputs: &[&[f32]], _: &Buffers) -> Vec<f32> {
        let square = |x: f32, y: f32| f64::from(x - y) * f64::from(x - y);
        vec![(self.factor * sum_of_parts(inputs[0], &self.target, square)) as f32]
    }

    fn backward(
        &self,
        inputs: &[&[f32]],
        _: &[f32],
        dy: &[f32],
        _: &[bool],
        buffers: &Buffers,
    ) -> Vec<Option<Gradient>> {
        let factor = (2.0 * self.factor * f64::from(dy[0])) as f32;
        let mut dx = buffers.take(inputs[0].len());
        let parts = dx.par_chunks_mut(PART).zip(inputs[0].par_chunks(PART)).zip(self.target.par_chunks(PART));
        parts.for_each(|((dx, x), y)| {
            for ((dx, x), y) in dx.iter_mut().zip(x).zip(y) {
                *dx = factor * (x - y);
            }
        });
        vec![Some(Gradient::Values(dx))]
    }
}
