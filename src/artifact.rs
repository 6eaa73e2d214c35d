//! Opening artifacts.

use crate::failure::Failure;
use crate::input::{require_file, unreadable};
use releqc_passes::ir::Shape;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Port;
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

/// The network's only input.
pub(crate) fn only_input(artifact: &Artifact) -> Result<&Port, Failure> {
    match &artifact.program().inputs[..] {
        [(port, _)] => Ok(port),
        inputs => Err(Failure::input(format!("the network has {} inputs; one is supported here", inputs.len()))),
    }
}

/// The shape that samples for `port` must have.
pub(crate) fn sample_shape(port: &Port) -> Result<Shape, Failure> {
    match port.dims[..] {
        [features] => Ok(Shape::vector(features as usize)),
        [height, width] => Ok(Shape::image(1, height as usize, width as usize)),
        [channels, height, width] => Ok(Shape::image(channels as usize, height as usize, width as usize)),
        _ => Err(Failure::input(format!(
            "input {:?} is {:?}; data sets hold samples of at most 3 extents",
            port.name, port.dims
        ))),
    }
}
