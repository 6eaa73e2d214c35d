//! Reading what the user names.

use crate::failure::Failure;
use releqc_passes::onnx::external::{self, Location};
use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
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

/// The bytes of a model, with the values that it keeps in files beside it.
pub(crate) fn model(path: &Path) -> Result<Vec<u8>, Failure> {
    require_file(path)?;
    let len = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if len > MAX_MODEL_BYTES {
        return Err(Failure::input(format!("{}: {len} bytes; a model of at most 2 GiB is required", path.display())));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    external::embed(bytes, &mut |location| beside(folder, location))
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

/// The bytes of a location in the folder of a model; a link that leads out of the folder is not followed.
fn beside(folder: &Path, location: &Location) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("file {:?} is not beside the model", location.file),
        _ => format!("file {:?}: {error}", location.file),
    };
    let folder = folder.canonicalize().map_err(text)?;
    let path = folder.join(&location.file).canonicalize().map_err(text)?;
    if !path.starts_with(&folder) {
        return Err(format!("file {:?} is a link out of the model's folder; a file in it is required", location.file));
    }
    let metadata = fs::metadata(&path).map_err(text)?;
    let end = location.offset.checked_add(location.len).filter(|&end| metadata.is_file() && end <= metadata.len());
    if end.is_none() {
        return Err(format!(
            "file {:?} has {} bytes; {} from byte {} on are required",
            location.file,
            metadata.len(),
            location.len,
            location.offset
        ));
    }
    let mut file = fs::File::open(&path).map_err(text)?;
    file.seek(SeekFrom::Start(location.offset)).map_err(text)?;
    let mut bytes = Vec::new();
    file.take(location.len).read_to_end(&mut bytes).map_err(text)?;
    Ok(bytes)
}
