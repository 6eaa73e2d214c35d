//! Samples the compiler learns from and measures on.

use crate::ir::Shape;

/// How stored pixels become network inputs: `(pixel / 255 - mean) / std` per channel, or the raw 0..255 value.
#[derive(Clone, Debug, PartialEq)]
pub enum Preprocessing {
    /// `(pixel / 255 - mean[c]) / std[c]`; one value for all channels, or one a channel.
    Normalize {
        /// Subtracted after scaling to 0..1.
        mean: Vec<f32>,
        /// Divided by.
        std: Vec<f32>,
    },
    /// Pixels as 0.0..=255.0.
    Raw,
}

impl Preprocessing {
    /// The values the 256 pixel levels of channel `c` become.
    pub fn levels(&self, c: usize) -> [f32; 256] {
        std::array::from_fn(|level| match self {
            Preprocessing::Raw => level as f32,
            Preprocessing::Normalize { mean, std } => {
                (level as f32 / 255.0 - mean[c.min(mean.len() - 1)]) / std[c.min(std.len() - 1)]
            }
        })
    }
}

/// The stored form of the samples, `[sample][channel][row][column]`.
#[derive(Clone, Debug)]
pub enum Samples {
    /// Image bytes with what turns them into inputs.
    Pixels(Vec<u8>, Preprocessing),
    /// Network inputs as they are.
    Values(Vec<f32>),
}

/// Samples of one shape, with labels where they are known.
#[derive(Clone, Debug)]
pub struct Dataset {
    shape: Shape,
    samples: Samples,
    labels: Option<Vec<u32>>,
}

impl Dataset {
    /// Samples of `shape`; `None` where their number is not a whole one or differs from that of the labels.
    pub fn new(shape: Shape, samples: Samples, labels: Option<Vec<u32>>) -> Option<Self> {
        let stored = match &samples {
            Samples::Pixels(data, _) => data.len(),
            Samples::Values(data) => data.len(),
        };
        let whole = !shape.is_empty() && stored % shape.len() == 0;
        let matching = labels.as_ref().is_none_or(|l| l.len() * shape.len() == stored);
        (whole && matching).then_some(Dataset { shape, samples, labels })
    }

    /// Shape of one sample.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        match &self.samples {
            Samples::Pixels(data, _) => data.len() / self.shape.len(),
            Samples::Values(data) => data.len() / self.shape.len(),
        }
    }

    /// True without any sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One class index a sample.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// Writes sample `index` as network input, (channel, row, column) order, into `out` of `shape().len()` values.
    pub fn read(&self, index: usize, out: &mut [f32]) {
        let len = self.shape.len();
        match &self.samples {
            Samples::Values(data) => out.copy_from_slice(&data[index * len..][..len]),
            Samples::Pixels(data, preprocessing) => {
                let [channels, height, width] = self.shape.chw();
                let pixels = &data[index * len..][..len];
                for c in 0..channels {
                    let levels = preprocessing.levels(c);
                    let plane = c * height * width..(c + 1) * height * width;
                    for (value, &pixel) in out[plane.clone()].iter_mut().zip(&pixels[plane]) {
                        *value = levels[usize::from(pixel)];
                    }
                }
            }
        }
    }

    /// The samples at `indices`, in that order.
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
        Dataset { shape: self.shape.clone(), samples, labels }
    }
}
