//! IDX files, the format of MNIST.
//!
//! ```text
//! 0 0 type rank | rank extents, big-endian u32 | values, big-endian
//! type: 08 u8, 09 i8, 0b i16, 0c i32, 0d f32
//! ```
//!
//! A file of rank 1 holds labels, one of a higher rank samples.

use super::planes::{Planes, arrange, fit};
use super::reading::Reading;
use super::stream::{MAX_FILE_BYTES, Stream};
use super::{DataError, Dataset, Samples};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    U8,
    I8,
    I16,
    I32,
    F32,
}

impl Element {
    fn bytes(self) -> u64 {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::I16 => 2,
            Element::I32 | Element::F32 => 4,
        }
    }
}

/// A file whose header has been read.
struct Idx {
    stream: Stream,
    element: Element,
    dims: Vec<u32>,
}

impl Idx {
    fn open(path: &Path) -> Result<Self, DataError> {
        let mut stream = Stream::open(path)?;
        let [zero, zero_too, kind, rank] = stream.array()?;
        let element = match kind {
            0x08 => Element::U8,
            0x09 => Element::I8,
            0x0b => Element::I16,
            0x0c => Element::I32,
            0x0d => Element::F32,
            _ => {
                return Err(DataError::damaged(
                    path,
                    format!("IDX type 0x{kind:02x}; 08, 09, 0b, 0c or 0d is required"),
                ));
            }
        };
        if (zero, zero_too) != (0, 0) || !(1..=4).contains(&rank) {
            let what = format!("not an IDX file: it begins {zero:02x} {zero_too:02x} {kind:02x} {rank:02x}");
            return Err(DataError::damaged(path, what));
        }
        let dims = (0..rank).map(|_| stream.array().map(u32::from_be_bytes)).collect::<Result<_, _>>()?;
        Ok(Idx { stream, element, dims })
    }

    fn count(&self) -> usize {
        self.dims[0] as usize
    }

    /// The values as bytes; their number is what the header states.
    fn bytes(self) -> Result<Vec<u8>, DataError> {
        let len = self.dims.iter().try_fold(self.element.bytes(), |len, &d| len.checked_mul(d.into()));
        match len.filter(|len| *len <= MAX_FILE_BYTES) {
            Some(len) => self.stream.rest(len),
            None => Err(DataError::damaged(self.stream.path(), format!("extents {:?} are too large", self.dims))),
        }
    }
}

/// The files of one part, in name order.
#[derive(Debug, Default)]
struct Files {
    samples: Vec<PathBuf>,
    labels: Vec<PathBuf>,
}

impl Files {
    /// Each file where its rank says.
    fn of(paths: &[PathBuf]) -> Result<Self, DataError> {
        let mut files = Files::default();
        for path in paths {
            let labels = Idx::open(path)?.dims.len() == 1;
            if labels { &mut files.labels } else { &mut files.samples }.push(path.clone());
        }
        Ok(files)
    }
}

/// Samples and labels of all files of one part, in name order; one label file for each sample file.
pub(super) fn read(files: &[PathBuf], folder: &Path, reading: &Reading) -> Result<Dataset, DataError> {
    let input = reading.only(folder)?;
    let (shape, preprocessing) = (&input.shape, &reading.pixels(input));
    let planes = Planes::of(shape);
    let mut scaled = None;
    let files = Files::of(files)?;
    if files.samples.is_empty() || files.samples.len() != files.labels.len() {
        let (samples, labels) = (files.samples.len(), files.labels.len());
        let what = format!(
            "{samples} IDX sample file(s) (rank 2 and up) and {labels} label file(s) (rank 1); one of each is required"
        );
        return Err(DataError::Ambiguous { path: folder.to_owned(), what });
    }
    let (mut pixels, mut values, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (sample_path, label_path) in files.samples.iter().zip(&files.labels) {
        let (samples, label_file) = (Idx::open(sample_path)?, Idx::open(label_path)?);
        if samples.count() != label_file.count() {
            return Err(DataError::Count {
                path: sample_path.clone(),
                samples: samples.count(),
                label_path: label_path.clone(),
                labels: label_file.count(),
            });
        }
        labels.extend(read_labels(label_file)?);
        let stored: Vec<usize> = samples.dims[1..].iter().map(|&d| d as usize).collect();
        let arrangement = fit(sample_path, &stored, shape)?;
        let element = samples.element;
        let bytes = samples.bytes()?;
        match element {
            Element::U8 => pixels.extend(arrange(bytes, &stored, arrangement)),
            Element::I8 => {
                let bytes = arrange(bytes, &stored, arrangement);
                values.extend(bytes.iter().enumerate().map(|(i, &b)| {
                    let c = if preprocessing.is_uniform() { 0 } else { planes.channel(i % shape.len()) };
                    preprocessing.apply(f32::from(b.cast_signed()), c)
                }));
                scaled = Some(preprocessing.clone());
            }
            Element::F32 => {
                reading.check_values(sample_path, "f32")?;
                let words: Vec<f32> = bytes.as_chunks().0.iter().map(|word| f32::from_be_bytes(*word)).collect();
                values.extend(arrange(words, &stored, arrangement));
            }
            Element::I16 | Element::I32 => {
                return Err(DataError::damaged(sample_path, "samples must be of type u8 (08), i8 (09) or f32 (0d)"));
            }
        }
    }
    let samples = match (pixels.is_empty(), values.is_empty()) {
        (false, false) => {
            let what = "sample files of one part must have one type".into();
            return Err(DataError::Ambiguous { path: folder.to_owned(), what });
        }
        (_, true) => Samples::Pixels(pixels, preprocessing.clone()),
        _ => Samples::Values(values),
    };
    let dataset = Dataset::new(shape.clone(), samples, Some(labels));
    let dataset = dataset.ok_or_else(|| DataError::damaged(folder, "samples and labels do not match"))?;
    Ok(dataset.scaled_by(scaled))
}

fn read_labels(file: Idx) -> Result<Vec<u32>, DataError> {
    let (path, element) = (file.stream.path().to_owned(), file.element);
    let bytes = file.bytes()?;
    let signed = |value: i32| {
        u32::try_from(value)
            .map_err(|_| DataError::damaged(&path, format!("label {value}; a class index >= 0 is required")))
    };
    match element {
        Element::U8 => Ok(bytes.into_iter().map(u32::from).collect()),
        Element::I8 => bytes.into_iter().map(|b| signed(b.cast_signed().into())).collect(),
        Element::I16 => bytes.as_chunks().0.iter().map(|w| signed(i16::from_be_bytes(*w).into())).collect(),
        Element::I32 => bytes.as_chunks().0.iter().map(|w| signed(i32::from_be_bytes(*w))).collect(),
        Element::F32 => Err(DataError::damaged(&path, "labels must be integers")),
    }
}
