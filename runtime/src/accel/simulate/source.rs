//! What a program addresses besides the memories of the machine.

use crate::format::Artifact;
use crate::program::Program;

/// The network that a program names operators of, and the sections that hold weights and constants.
pub(super) enum Source {
    /// Those of an artifact.
    Artifact(Artifact),
    /// Those of a program by hand: no operators.
    Bare {
        /// Nothing.
        network: Program,
        /// Packed weights.
        weights: Vec<u8>,
        /// Biases and multipliers.
        constants: Vec<u8>,
    },
}

impl Source {
    pub(super) fn network(&self) -> &Program {
        match self {
            Source::Artifact(artifact) => artifact.program(),
            Source::Bare { network, .. } => network,
        }
    }

    pub(super) fn weights(&self) -> &[u8] {
        match self {
            Source::Artifact(artifact) => artifact.weights_section(),
            Source::Bare { weights, .. } => weights,
        }
    }

    pub(super) fn constants(&self) -> &[u8] {
        match self {
            Source::Artifact(artifact) => artifact.constants_section(),
            Source::Bare { constants, .. } => constants,
        }
    }
}
