//! `.npz` archives: ZIP files of `.npy` arrays, stored or deflated, as `numpy.savez` and `numpy.savez_compressed` write them.

use super::DataError;
use super::npy::{self, Array};
use npyz::npz::{NpzArchive, file_name_from_array_name};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// An archive whose directory has been read.
pub(super) struct Npz {
    path: PathBuf,
    archive: NpzArchive<BufReader<File>>,
}

impl Npz {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let archive = NpzArchive::new(BufReader::new(file)).map_err(|e| error(path, e))?;
        Ok(Npz { path: path.to_owned(), archive })
    }

    /// The names of its arrays, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.archive.array_names().map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn array(&mut self, name: &str) -> Result<Array, DataError> {
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
