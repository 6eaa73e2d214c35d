//! Opening artifacts.

use crate::failure::Failure;
use crate::input::{require_file, unreadable};
use releqc_passes::data::Input;
use releqc_runtime::format::Artifact;
use std::io::ErrorKind;
use std::path::Path;

/// Reads and checks an artifact.
pub(crate) fn open(path: &Path) -> Result<Artifact, Failure> {
    require_file(path)?;
    Artifact::open(path).map_err(|error| match (error.kind(), error.get_ref()) {
        (ErrorKind::InvalidData, Some(format)) => Failure::input(format!("{}: {format}", path.display())),
        _ => unreadable(path, &error),
    })
}

/// The network's inputs, as readers of data sets need them.
pub(crate) fn inputs(artifact: &Artifact) -> Vec<Input> {
    artifact.program().inputs.iter().map(|(port, _)| Input::from(port)).collect()
}
