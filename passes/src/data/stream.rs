//! Bounded reading of plain and gzip files.

use super::DataError;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes of one file after decompression, at most: a compressed file cannot fill the memory.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 30;

/// A file read front to back, decompressed where it begins with the magic bytes of gzip.
pub(super) struct Stream {
    path: PathBuf,
    reader: Box<dyn Read>,
}

impl Stream {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let gzip = file.fill_buf().map_err(|e| DataError::io(path, e))?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Stream { path: path.to_owned(), reader })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DataError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|e| self.error(e, "the header"))?;
        Ok(bytes)
    }

    /// Exactly `len` bytes and then the end of the file.
    pub(super) fn rest(mut self, len: u64) -> Result<Vec<u8>, DataError> {
        let bytes = self.up_to(len)?;
        if (bytes.len() as u64) < len {
            let what = format!("truncated: {} bytes after the header, which states {len}", bytes.len());
            return Err(DataError::damaged(&self.path, what));
        }
        let more = self.reader.read(&mut [0]).map_err(|e| self.error(e, "the data"))?;
        if more > 0 {
            return Err(DataError::damaged(&self.path, format!("bytes follow the {len} that the header states")));
        }
        Ok(bytes)
    }

    /// All bytes; an error beyond [`MAX_FILE_BYTES`].
    pub(super) fn all(mut self) -> Result<Vec<u8>, DataError> {
        let bytes = self.up_to(MAX_FILE_BYTES + 1)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(DataError::damaged(&self.path, format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Ok(bytes)
    }

    fn up_to(&mut self, len: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(len).read_to_end(&mut bytes);
        read.map_err(|e| self.error(e, "the data"))?;
        Ok(bytes)
    }

    fn error(&self, error: std::io::Error, part: &str) -> DataError {
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                DataError::damaged(&self.path, format!("truncated: the file ends inside {part}"))
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                DataError::damaged(&self.path, format!("the gzip stream is damaged ({error})"))
            }
            _ => DataError::io(&self.path, error),
        }
    }
}
