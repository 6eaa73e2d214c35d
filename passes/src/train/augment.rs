//! Which random changes of images a network bears: those it was trained with.

use super::batches::Batches;
use super::inference::Inference;
use super::network::NetworkError;
use super::recipe::Augmentation;
use crate::data::Dataset;
use crate::evaluate::largest;
use crate::ir::Graph;
use crate::random::{Purpose, stream};

/// Samples looked at.
const SAMPLES: usize = 2048;

/// Points of accuracy that a network may lose on changed images and still count as trained on such. On the images it was trained on,
/// ResNet-20, trained on shifted ones, loses 0.4 points shifted by up to 2, SimpleNet 2.5.
const TOLERANCE: f64 = 1.0;

impl Augmentation {
    /// The part of these changes that the float network bears: retraining for widths is too short to teach a network to bear
    /// more, and a small one would pay for it with accuracy. Reaches are halved until one is borne. Nothing without labels.
    ///
    /// # Errors
    /// Where the graph has no training form.
    pub fn borne_by(self, folded: &Graph, data: &Dataset, seed: u64) -> Result<Augmentation, NetworkError> {
        let Some(labels) = data.labels() else { return Ok(Augmentation::NONE) };
        let inference = Inference::float(folded)?;
        let count = SAMPLES.min(data.len());
        let accuracy = |changes: Augmentation| {
            let batch = Batches::new(data, count, changes, stream(seed, Purpose::Augmentation)).next();
            let logits = inference.logits_of(&batch.input);
            let classes = logits.chunks_exact(inference.classes()).map(largest);
            let right = classes.zip(&batch.samples).filter(|(class, sample)| *class == labels[**sample]).count();
            100.0 * right as f64 / count as f64
        };
        let plain = accuracy(Augmentation::NONE);
        let bears = |changes: Augmentation| changes == Augmentation::NONE || accuracy(changes) >= plain - TOLERANCE;
        let mut shift = self.shift;
        while !bears(Augmentation { shift, flip: false }) {
            shift /= 2;
        }
        let flip = self.flip && bears(Augmentation { shift: 0, flip: true });
        Ok(Augmentation { shift, flip })
    }
}
