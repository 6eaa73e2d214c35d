//! Seeded streams of random numbers, one a purpose: what one draws neither repeats nor shifts what another draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What random numbers are for; the number names the stream and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which samples are held out.
    Split = 0,
    /// Draws of the surrogate.
    Surrogate = 1,
    /// Start values of the policy.
    Policy = 2,
    /// Draws of the agent.
    Agent = 3,
    /// The random baseline.
    RandomBaseline = 4,
    /// Order and changes of training samples.
    Batches = 5,
    /// Batches on which statistics are measured before the first update.
    Statistics = 6,
    /// Samples on which changes of images are tried.
    Augmentation = 7,
    /// Start values of weights.
    Weights = 8,
    /// Synthesised samples to learn from.
    Synthesis = 9,
    /// Synthesised samples to judge by.
    SyntheticValidation = 10,
    /// Synthesised samples that nothing is chosen on.
    SyntheticConfirmation = 11,
    /// Order of the samples that a rounded network is fitted on.
    Reconstruction = 12,
    /// Directions in which the curvature of a loss is probed.
    Curvature = 13,
    /// Samples on which it is.
    CurvatureSamples = 14,
    /// Samples on which networks for one sample and for several are compared.
    BatchOfSamples = 15,
}

/// The stream of a purpose; the same on every platform.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(purpose as u64);
    generator
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn streams_of_one_seed_share_nothing() {
        use Purpose::*;
        let purposes = [
            Split,
            Surrogate,
            Policy,
            Agent,
            RandomBaseline,
            Batches,
            Statistics,
            Augmentation,
            Weights,
            Synthesis,
            SyntheticValidation,
            SyntheticConfirmation,
            Reconstruction,
            Curvature,
            CurvatureSamples,
            BatchOfSamples,
        ];
        let mut seen = BTreeSet::new();
        for purpose in purposes {
            let mut draws = stream(7, purpose);
            assert!((0..100).all(|_| seen.insert(draws.next_u64())), "{purpose:?} repeats another");
        }
        assert_eq!(stream(7, Batches).next_u64(), stream(7, Batches).next_u64());
    }
}
