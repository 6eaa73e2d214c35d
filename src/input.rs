//! Reading what the user names.

use crate::failure::Failure;
use std::fs;
use std::io::ErrorKind;
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
