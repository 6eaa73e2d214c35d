//! Samples in memory.

use super::Preprocessing;
use super::planes::Planes;
use crate::ir::Shape;

/// The stored form of the samples, `[sample][channel][row][column]`.
#[derive(Clone, Debug)]
pub enum Samples {
    /// Image bytes with what turns them into inputs.
    Pixels(Vec<u8>, Preprocessing),
    /// Network inputs as they are.
    Values(Vec<f32>),
}

impl Samples {
    pub(super) fn len(&self) -> usize {
        match self {
            Samples::Pixels(data, _) => data.len(),
            Samples::Values(data) => data.len(),
        }
    }
}

/// Samples of one shape, with labels where they are known.
#[derive(Clone, Debug)]
pub struct Dataset {
    shape: Shape,
    samples: Samples,
    labels: Option<Vec<u32>>,
    /// Labels that are no class indices: equally many values a sample, all samples one after the other.
    targets: Option<Vec<f32>>,
    /// How values were made of stored numbers, where that is done already.
    scaled: Option<Preprocessing>,
}

impl Dataset {
    /// Samples of `shape`; `None` where their number is not a whole one or differs from that of the labels.
    pub fn new(shape: Shape, samples: Samples, labels: Option<Vec<u32>>) -> Option<Self> {
        let stored = samples.len();
        let whole = !shape.is_empty() && stored.is_multiple_of(shape.len());
        let matching = labels.as_ref().is_none_or(|l| l.len() * shape.len() == stored);
        (whole && matching).then_some(Dataset { shape, samples, labels, targets: None, scaled: None })
    }

    /// The same samples with labels of numbers; `None` where they are not equally many a sample, or one is no finite number.
    pub fn with_targets(self, targets: Vec<f32>) -> Option<Self> {
        let whole = !targets.is_empty() && targets.len().is_multiple_of(self.len().max(1));
        (whole && targets.iter().all(|value| value.is_finite())).then_some(Dataset { targets: Some(targets), ..self })
    }

    /// The same samples, whose values were made of stored numbers by `scaled`.
    pub(super) fn scaled_by(self, scaled: Option<Preprocessing>) -> Self {
        Dataset { scaled, ..self }
    }

    /// How inputs are made of the stored numbers; `None` where those are the inputs.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        match &self.samples {
            Samples::Pixels(_, preprocessing) => Some(preprocessing),
            Samples::Values(_) => self.scaled.as_ref(),
        }
    }

    /// Shape of one sample.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len() / self.shape.len()
    }

    /// True without any sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One class index a sample.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// Labels that are no class indices: equally many values a sample, all samples one after the other.
    pub fn targets(&self) -> Option<&[f32]> {
        self.targets.as_deref()
    }

    /// The labels as numbers, whichever they are.
    pub fn numbers(&self) -> Option<Vec<f32>> {
        let indices = || self.labels.as_ref().map(|labels| labels.iter().map(|&label| label as f32).collect());
        self.targets.clone().or_else(indices)
    }

    /// The same samples without their labels.
    pub fn without_labels(self) -> Dataset {
        Dataset { labels: None, targets: None, ..self }
    }

    /// Writes sample `index` as network input, in ONNX order, into `out` of `shape().len()` values.
    ///
    /// # Panics
    /// When there is no such sample, or `out` has another length.
    pub fn read(&self, index: usize, out: &mut [f32]) {
        let len = self.shape.len();
        match &self.samples {
            Samples::Values(data) => out.copy_from_slice(&data[index * len..][..len]),
            Samples::Pixels(data, preprocessing) => {
                let pixels = &data[index * len..][..len];
                assert_eq!(out.len(), len, "one value a pixel");
                if preprocessing.is_uniform() {
                    let levels = preprocessing.levels(0);
                    out.iter_mut().zip(pixels).for_each(|(value, &pixel)| *value = levels[usize::from(pixel)]);
                    return;
                }
                let planes = Planes::of(&self.shape);
                let levels: Vec<[f32; 256]> = (0..planes.channels).map(|c| preprocessing.levels(c)).collect();
                for (i, (value, &pixel)) in out.iter_mut().zip(pixels).enumerate() {
                    *value = levels[planes.channel(i)][usize::from(pixel)];
                }
            }
        }
    }

    /// A hash of shape, samples, preprocessing and labels, in hexadecimal: equal data have equal fingerprints wherever they lie.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {}\n", self.shape, self.len()).as_bytes());
        match &self.samples {
            Samples::Pixels(pixels, preprocessing) => {
                hasher.update(format!("{preprocessing}\n").as_bytes()).update(pixels);
            }
            Samples::Values(values) => {
                values.iter().for_each(|v| {
                    hasher.update(&v.to_le_bytes());
                });
            }
        }
        for label in self.labels.iter().flatten() {
            hasher.update(&label.to_le_bytes());
        }
        for target in self.targets.iter().flatten() {
            hasher.update(&target.to_le_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Dataset {
        fn pick<T: Copy>(data: &[T], len: usize, indices: &[usize]) -> Vec<T> {
            indices.iter().flat_map(|&i| data[i * len..(i + 1) * len].iter().copied()).collect()
        }
        let len = self.shape.len();
        let samples = match &self.samples {
            Samples::Pixels(data, p) => Samples::Pixels(pick(data, len, indices), p.clone()),
            Samples::Values(data) => Samples::Values(pick(data, len, indices)),
        };
        let labels = self.labels.as_ref().map(|l| pick(l, 1, indices));
        let targets = self.targets.as_ref().map(|t| pick(t, t.len() / self.len().max(1), indices));
        Dataset { shape: self.shape.clone(), samples, labels, targets, scaled: self.scaled.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_gets_its_own_mean() {
        let preprocessing = Preprocessing::Normalize { mean: vec![0.0, 1.0], std: vec![1.0, 0.5] };
        let pixels = Samples::Pixels(vec![0, 255, 0, 255], preprocessing);
        let data = Dataset::new(Shape::image(2, 1, 2), pixels, None).unwrap();
        let mut out = [0.0; 4];
        data.read(0, &mut out);
        assert_eq!(out, [0.0, 1.0, -2.0, 0.0]);
    }

    #[test]
    fn a_vector_of_pixels_is_scaled_by_the_one_mean() {
        let data = Samples::Pixels(vec![0, 51, 255], Preprocessing::unit());
        let data = Dataset::new(Shape::vector(3), data, None).unwrap();
        let mut out = [9.0; 3];
        data.read(0, &mut out);
        assert_eq!(out, [0.0, 0.2, 1.0]);
    }

    #[test]
    fn counts_must_match() {
        let values = |n| Samples::Values(vec![0.0; n]);
        assert!(Dataset::new(Shape::vector(3), values(7), None).is_none());
        assert!(Dataset::new(Shape::vector(3), values(6), Some(vec![0; 3])).is_none());
        assert_eq!(
            Dataset::new(Shape::vector(3), values(6), Some(vec![0, 1])).unwrap().select(&[1]).labels(),
            Some(&[1][..])
        );
        let two = || Dataset::new(Shape::vector(3), values(6), None).unwrap();
        assert!(two().with_targets(vec![0.0; 3]).is_none() && two().with_targets(vec![f32::NAN; 2]).is_none());
        let picked = two().with_targets(vec![1.0, 2.0, 3.0, 4.0]).unwrap().select(&[1]);
        assert_eq!((picked.targets(), picked.labels()), (Some(&[3.0, 4.0][..]), None));
    }
}
