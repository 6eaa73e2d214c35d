//! Image folders: `CLASS/*.png|jpg`, classes and files in name order.

use super::load::{entries, file_name};
use super::{DataError, Dataset, Preprocessing, Samples};
use crate::ir::Shape;
use image::ImageReader;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The images below one part, by class name.
pub(super) type Classes = BTreeMap<String, Vec<PathBuf>>;

/// The class folders of `folder` that hold images.
pub(super) fn scan(folder: &Path) -> Result<Classes, DataError> {
    let mut classes = Classes::new();
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let images: Vec<PathBuf> =
            entries(&class)?.into_iter().filter(|path| path.is_file() && is_image(path)).collect();
        if !images.is_empty() {
            classes.insert(file_name(&class), images);
        }
    }
    Ok(classes)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Decodes every image; the class index is the position of its name in `names`.
pub(super) fn read(
    classes: &Classes,
    names: &[String],
    preprocessing: &Preprocessing,
    shape: &Shape,
) -> Result<Dataset, DataError> {
    let listed = classes.iter().flat_map(|(name, paths)| {
        // Names come from these same classes, so the search always finds.
        let label = names.binary_search(name).unwrap_or_default();
        paths.iter().map(move |path| (path, label as u32))
    });
    let (paths, labels): (Vec<&PathBuf>, Vec<u32>) = listed.unzip();
    let decoded: Vec<Vec<u8>> = paths.par_iter().map(|path| decode(path, shape)).collect::<Result<_, _>>()?;
    let samples = Samples::Pixels(decoded.concat(), preprocessing.clone());
    let first = paths.first().map_or(Path::new(""), |p| p.as_path());
    Dataset::new(shape.clone(), samples, Some(labels))
        .ok_or_else(|| DataError::damaged(first, "samples and labels do not match"))
}

/// The pixels in (channel, row, column) order. The size is checked before anything is decoded; nothing is resized.
fn decode(path: &Path, shape: &Shape) -> Result<Vec<u8>, DataError> {
    let open = || {
        let reader = ImageReader::open(path).map_err(|e| DataError::io(path, e))?;
        reader.with_guessed_format().map_err(|e| DataError::io(path, e))
    };
    let broken = |error: image::ImageError| DataError::damaged(path, format!("the image cannot be decoded: {error}"));
    let [channels, height, width] = shape.chw();
    let (found_width, found_height) = open()?.into_dimensions().map_err(broken)?;
    let fits = (found_height as usize, found_width as usize) == (height, width) && (channels == 1 || channels == 3);
    if !fits {
        return Err(DataError::Shape {
            path: path.to_owned(),
            found: format!("an image of {found_height}x{found_width} (height x width; images are not resized)"),
            expected: shape.to_string(),
        });
    }
    let image = open()?.decode().map_err(broken)?;
    if channels == 1 {
        return Ok(image.into_luma8().into_raw());
    }
    let interleaved = image.into_rgb8().into_raw();
    Ok((0..3).flat_map(|c| interleaved.iter().skip(c).step_by(3).copied()).collect())
}
