//! Reading what the user names.

use crate::failure::Failure;
use releqc_passes::data::npy::{self, Values};
use releqc_runtime::program::Port;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::Path;

/// Largest model file that is read; protocol buffers end at 2 GiB.
const MAX_MODEL_BYTES: u64 = 2 << 30;

/// Why `path` cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let what = match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    };
    Failure::input(format!("{}: {what}", path.display()))
}

/// Refuses folders and other things that are no files.
pub(crate) fn require_file(path: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(Failure::input(format!("{}: it is a folder; a file is required", path.display())));
    }
    Ok(())
}

/// The bytes of a model.
pub(crate) fn model(path: &Path) -> Result<Vec<u8>, Failure> {
    require_file(path)?;
    let len = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if len > MAX_MODEL_BYTES {
        return Err(Failure::input(format!("{}: {len} bytes; a model of at most 2 GiB is required", path.display())));
    }
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Samples for a network, one after the other.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Number of samples.
    pub(crate) count: usize,
    values: Vec<f32>,
    len: usize,
}

impl Rows {
    /// Reads an f32 array whose extents are N and those of `port`, or those of `port` alone (one row).
    pub(crate) fn read(path: &Path, port: &Port) -> Result<Self, Failure> {
        require_file(path)?;
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let array = npy::read(&mut BufReader::new(file)).map_err(|error| unreadable(path, &error))?;
        let refuse = |what: String| Err(Failure::input(format!("{}: {what}", path.display())));
        let Values::F32(values) = array.values else {
            return refuse(format!("type {}; f32 (<f4) is required", array.dtype));
        };
        let dims: Vec<usize> = port.dims.iter().map(|&d| d as usize).collect();
        let count = if array.dims == dims {
            1
        } else if array.dims.get(1..) == Some(&dims) {
            array.dims[0]
        } else {
            let wanted: Vec<String> = dims.iter().map(usize::to_string).collect();
            return refuse(format!(
                "extents {:?}; [N, {}] is required by the network's input",
                array.dims,
                wanted.join(", ")
            ));
        };
        Ok(Rows { count, values, len: port.len() })
    }

    pub(crate) fn copy_to(&self, index: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.values[index * self.len..][..self.len]);
    }
}
