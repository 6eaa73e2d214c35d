//! CIFAR-10 binary files: records of a label byte and 3072 pixel bytes (red, green and blue plane, 32x32 each).

use super::planes::{arrange, fit};
use super::reading::Reading;
use super::stream::Stream;
use super::{DataError, Dataset, Samples};
use std::path::{Path, PathBuf};

const EXTENTS: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;
const CLASSES: u8 = 10;

/// The records of all files, one file after the other.
pub(super) fn read(files: &[PathBuf], folder: &Path, reading: &Reading) -> Result<Dataset, DataError> {
    let input = reading.only(folder)?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let arrangement = fit(path, &EXTENTS, &input.shape)?;
        let bytes = Stream::open(path)?.all()?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            let what = format!("{} bytes are no whole number of CIFAR-10 records of {RECORD} bytes", bytes.len());
            return Err(DataError::damaged(path, what));
        }
        for record in bytes.chunks_exact(RECORD) {
            let (label, image) = (record[0], &record[1..]);
            if label >= CLASSES {
                let what =
                    format!("label {label} in record {}; 0..=9 is required: no CIFAR-10 binary file", labels.len());
                return Err(DataError::damaged(path, what));
            }
            labels.push(label.into());
            pixels.extend(arrange(image.to_vec(), &EXTENTS, arrangement));
        }
    }
    Dataset::new(input.shape.clone(), Samples::Pixels(pixels, reading.pixels(input)), Some(labels))
        .ok_or_else(|| DataError::damaged(folder, "samples and labels do not match"))
}
