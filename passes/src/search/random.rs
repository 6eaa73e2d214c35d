//! Draws from a specified generator, so that a seed means the same on every platform and with every version of `rand`.

use crate::random::{Purpose, stream};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A seeded stream of draws.
#[derive(Clone, Debug)]
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of a purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Draws(stream(seed, purpose))
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..`end`; `end` must be above 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end - 1)
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Index drawn with the given probabilities, which sum to 1.
    pub(crate) fn pick(&mut self, probabilities: &[f32]) -> usize {
        let mut left = self.unit();
        for (index, &p) in probabilities.iter().enumerate() {
            left -= f64::from(p);
            if left < 0.0 {
                return index;
            }
        }
        probabilities.len() - 1
    }
}
