//! Why a data set cannot be used.

use std::path::PathBuf;
use thiserror::Error;

/// What is wrong with a data set; every message names the file or folder.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// No such file or folder.
    #[error("data {}: no such file or folder", path.display())]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// The operating system refuses to read.
    #[error("data {}: cannot be read: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nothing in a folder, or a file that holds no arrays, looks like data.
    #[error(
        "data {}: nothing recognised; looked for IDX files (*idx*, *ubyte*), CIFAR-10 binary files (*.bin) (both also .gz), \
         class folders with *.png or *.jpg, train / val / test folders of such, *.png or *.jpg without labels, .npy files, or an .npz file; found {found}",
        path.display()
    )]
    NothingRecognised {
        /// The path given.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Files that do not fit together.
    #[error("data {}: {what}", path.display())]
    Ambiguous {
        /// The folder.
        path: PathBuf,
        /// What does not fit and what is required.
        what: String,
    },
    /// The bytes of a file are not what its format requires.
    #[error("data {}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen and what is required.
        what: String,
    },
    /// The samples do not have the shape of the network's input.
    #[error("data {}: samples are {found}; the network takes {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Extents of a stored sample.
        found: String,
        /// Extents of the network's input.
        expected: String,
    },
    /// Another number of labels than samples.
    #[error("data {}: {samples} samples, but {labels} labels in {}", path.display(), label_path.display())]
    Count {
        /// File of the samples.
        path: PathBuf,
        /// Number of samples.
        samples: usize,
        /// File of the labels.
        label_path: PathBuf,
        /// Number of labels.
        labels: usize,
    },
    /// Mean or standard deviation cannot be applied.
    #[error("preprocessing: {what}")]
    Preprocessing {
        /// What was seen and what is required.
        what: String,
    },
    /// There is nothing to measure on.
    #[error("data {}: no test part; found only {found} (names with test or t10k, or val, mark what is measured on)", path.display())]
    NoTestPart {
        /// The path given.
        path: PathBuf,
        /// The parts there are.
        found: String,
    },
}

impl DataError {
    pub(super) fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        DataError::Damaged { path: path.into(), what: what.into() }
    }

    pub(super) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => DataError::Missing { path },
            _ => DataError::Io { path, source },
        }
    }
}
