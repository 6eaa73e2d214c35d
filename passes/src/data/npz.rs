//! `.npz` archives: ZIP files of `.npy` arrays, stored or deflated, as `numpy.savez` and `numpy.savez_compressed` write them.

use super::load::{Part, StoredShape, extents, fit};
use super::npy::{self, Array, Values};
use super::{DataError, Dataset, Preprocessing, Samples};
use crate::ir::Shape;
use npyz::npz::{NpzArchive, file_name_from_array_name};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// An archive whose directory has been read.
pub(super) struct Npz {
    path: PathBuf,
    archive: NpzArchive<BufReader<File>>,
}

/// Array names of samples and labels, and the part they are.
const ARRAYS: [(&str, &str, Part); 4] = [
    ("x_train", "y_train", Part::Train),
    ("x_val", "y_val", Part::Validation),
    ("x_test", "y_test", Part::Test),
    ("x", "y", Part::Whole),
];

impl Npz {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let archive = NpzArchive::new(BufReader::new(file)).map_err(|e| error(path, e))?;
        Ok(Npz { path: path.to_owned(), archive })
    }

    /// The parts whose samples are there.
    pub(super) fn parts(&self) -> Result<Vec<Part>, DataError> {
        let mut names: Vec<&str> = self.archive.array_names().collect();
        let parts: Vec<_> = ARRAYS.iter().filter(|a| names.contains(&a.0)).map(|a| a.2).collect();
        if parts.is_empty() {
            names.sort_unstable();
            let names = names.join(", ");
            let what = format!("arrays x and y (or x_train, y_train, ..) are required; it holds {names}");
            return Err(DataError::damaged(&self.path, what));
        }
        Ok(parts)
    }

    /// Samples and labels of one part.
    pub(super) fn read(
        &mut self,
        part: Part,
        preprocessing: &Preprocessing,
        shape: &Shape,
    ) -> Result<Dataset, DataError> {
        let names = ARRAYS.iter().find(|a| a.2 == part);
        let (x, y, _) = names.ok_or_else(|| DataError::damaged(&self.path, "no such part"))?;
        let (samples, labels) = (self.array(x)?, self.array(y)?);
        let labels = self.labels(y, labels)?;
        let count = samples.dims.first().copied().unwrap_or_default();
        if count != labels.len() {
            let (path, label_path) = (self.path.join(x), self.path.join(y));
            return Err(DataError::Count { path, samples: count, label_path, labels: labels.len() });
        }
        let stored = samples.dims.get(1..).unwrap_or_default();
        let layout = fit(&self.path.join(x), stored, shape)?;
        let samples = match samples.values {
            Values::U8(pixels) => Samples::Pixels(channel_first(pixels, stored, layout), preprocessing.clone()),
            Values::I8(codes) => {
                let plane = shape.len() / shape.chw()[0];
                let codes = channel_first(codes, stored, layout);
                let channel = |i: usize| if preprocessing.is_uniform() { 0 } else { i % shape.len() / plane };
                Samples::Values(
                    codes.iter().enumerate().map(|(i, &v)| preprocessing.apply(v.into(), channel(i))).collect(),
                )
            }
            Values::F32(values) => Samples::Values(channel_first(values, stored, layout)),
            Values::Integers(_) => {
                let what =
                    format!("{x} has type {}; u1 (pixels), i1, f4 or f8 (network inputs) is required", samples.dtype);
                return Err(DataError::damaged(&self.path, what));
            }
        };
        Dataset::new(shape.clone(), samples, Some(labels))
            .ok_or_else(|| DataError::damaged(&self.path, "samples and labels do not match"))
    }

    fn labels(&self, name: &str, labels: Array) -> Result<Vec<u32>, DataError> {
        let column = labels.dims.len() == 1 || (labels.dims.len() == 2 && labels.dims[1] == 1);
        if !column {
            let what = format!("{name} is {}; one class index a sample is required", extents(&labels.dims));
            return Err(DataError::damaged(&self.path, what));
        }
        let class = |value: i64| {
            u32::try_from(value).map_err(|_| {
                DataError::damaged(&self.path, format!("label {value} in {name}; a class index >= 0 is required"))
            })
        };
        match labels.values {
            Values::U8(values) => Ok(values.into_iter().map(u32::from).collect()),
            Values::I8(values) => values.into_iter().map(|v| class(v.into())).collect(),
            Values::Integers(values) => values.into_iter().map(class).collect(),
            Values::F32(_) => {
                let what = format!("{name} has type {}; integers are required", labels.dtype);
                Err(DataError::damaged(&self.path, what))
            }
        }
    }

    fn array(&mut self, name: &str) -> Result<Array, DataError> {
        let path = self.path.clone();
        let damaged = |what: String| DataError::damaged(&path, format!("array {name}: {what}"));
        let zip = self.archive.zip_archive();
        let mut member = zip.by_name(&file_name_from_array_name(name)).map_err(|error| damaged(error.to_string()))?;
        let array = npy::read(&mut member).map_err(|error| damaged(error.to_string()))?;
        // The checksum is compared where the member ends.
        match member.read(&mut [0]) {
            Ok(0) => Ok(array),
            Ok(_) => Err(damaged("bytes follow it".into())),
            Err(error) => Err(damaged(error.to_string())),
        }
    }
}

fn error(path: &Path, error: io::Error) -> DataError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DataError::damaged(path, "truncated: the archive ends too early"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            DataError::damaged(path, format!("not an .npz archive, or damaged: {error}"))
        }
        _ => DataError::io(path, error),
    }
}

/// Samples stored `[row][column][channel]` in `[channel][row][column]` order.
fn channel_first<T: Copy>(values: Vec<T>, stored: &[usize], layout: StoredShape) -> Vec<T> {
    let (StoredShape::ChannelLast, [height, width, channels]) = (layout, stored) else { return values };
    let (plane, len) = (height * width, height * width * channels);
    let transpose = |sample: &[T]| -> Vec<T> { (0..len).map(|i| sample[i % plane * channels + i / plane]).collect() };
    values.chunks_exact(len).flat_map(transpose).collect()
}
