//! Pictures: folders of `CLASS/*.png|jpg`, classes and files in name order, or `*.png|jpg` without classes.

use super::load::{entries, file_name};
use super::planes::Planes;
use super::reading::{Input, Reading};
use super::{DataError, Dataset, Geometry, Samples};
use image::{DynamicImage, GrayImage, ImageReader, RgbImage};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The pictures of one part.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    /// By class; a class may be empty.
    classes: BTreeMap<String, Vec<PathBuf>>,
    /// In the folder itself; they have no class.
    loose: Vec<PathBuf>,
}

impl Pictures {
    /// What lies in `folder` and the folders in it.
    pub(super) fn scan(folder: &Path) -> Result<Self, DataError> {
        let mut pictures = Pictures::default();
        for entry in entries(folder)? {
            if entry.is_dir() {
                let images = entries(&entry)?.into_iter().filter(|path| path.is_file() && is_image(path)).collect();
                pictures.classes.insert(file_name(&entry), images);
            } else if is_image(&entry) {
                pictures.loose.push(entry);
            }
        }
        if pictures.classes.values().all(Vec::is_empty) {
            pictures.classes.clear();
        }
        Ok(pictures)
    }

    /// Whether there is no picture at all.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.loose.is_empty()
    }
}

/// The classes of all parts, in name order: a class that one part lacks keeps its index in the others.
///
/// # Errors
/// Where a class folder has no picture in any part: the classes behind it would get other indices than the network knows them by.
pub(super) fn class_names<'a>(
    folder: &Path,
    parts: impl Iterator<Item = &'a Pictures>,
) -> Result<Vec<String>, DataError> {
    let (mut names, mut filled) = (BTreeSet::new(), BTreeSet::new());
    for (name, images) in parts.flat_map(|part| &part.classes) {
        names.insert(name.clone());
        if !images.is_empty() {
            filled.insert(name.clone());
        }
    }
    match names.difference(&filled).next() {
        Some(empty) => {
            let what = format!("class folder {empty:?} holds no *.png or *.jpg; add pictures or remove it");
            Err(DataError::Ambiguous { path: folder.to_owned(), what })
        }
        None => Ok(names.into_iter().collect()),
    }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Decodes every picture; the class index is the position of its name in `names`.
pub(super) fn read(
    pictures: &Pictures,
    names: &[String],
    folder: &Path,
    reading: &Reading,
) -> Result<Dataset, DataError> {
    let input = reading.only(folder)?;
    let listed = pictures.classes.iter().flat_map(|(name, paths)| {
        // Names come from these same classes, so the search always finds.
        let label = names.binary_search(name).unwrap_or_default();
        paths.iter().map(move |path| (path, label as u32))
    });
    let (mut paths, labels): (Vec<&PathBuf>, Vec<u32>) = listed.unzip();
    let labels = (!paths.is_empty()).then_some(labels);
    if labels.is_none() {
        paths = pictures.loose.iter().collect();
    }
    let decode = |path: &&PathBuf| decode(path, input, reading.geometry);
    let decoded: Vec<Vec<u8>> = paths.par_iter().map(decode).collect::<Result<_, _>>()?;
    let samples = Samples::Pixels(decoded.concat(), reading.pixels(input));
    Dataset::new(input.shape.clone(), samples, labels)
        .ok_or_else(|| DataError::damaged(folder, "samples and labels do not match"))
}

/// The pixels in the order of the input, brought to its size as `geometry` says. The size is checked before anything is decoded.
fn decode(path: &Path, input: &Input, geometry: Geometry) -> Result<Vec<u8>, DataError> {
    let open = || {
        let reader = ImageReader::open(path).map_err(|e| DataError::io(path, e))?;
        reader.with_guessed_format().map_err(|e| DataError::io(path, e))
    };
    let broken = |error: image::ImageError| DataError::damaged(path, format!("the image cannot be decoded: {error}"));
    let planes = Planes::of(&input.shape);
    let (width, height) = open()?.into_dimensions().map_err(broken)?;
    let (rows, columns) = geometry.result(height, width);
    let in_a_row = input.shape.is_vector() && rows as usize * columns as usize == planes.width;
    let fits = in_a_row || (rows as usize, columns as usize) == (planes.height, planes.width);
    let refuse = |what: &str| DataError::Shape {
        path: path.to_owned(),
        found: format!("an image of {height}x{width} (height x width; {what})"),
        expected: input.shape.to_string(),
    };
    if !fits || ![1, 3].contains(&planes.channels) {
        let advice = "images are resized only by --resize and --crop";
        let seen = format!("{rows}x{columns} after {geometry}");
        return Err(refuse(if geometry.is_none() { advice } else { &seen }));
    }
    let too_small = || refuse("smaller than the part that is cut out");
    let image = open()?.decode().map_err(broken)?;
    if planes.channels == 1 {
        return Ok(geometry.apply(grey(image)).ok_or_else(too_small)?.into_raw());
    }
    let interleaved = geometry.apply(image.into_rgb8()).ok_or_else(too_small)?.into_raw();
    if planes.last {
        return Ok(interleaved);
    }
    Ok((0..3).flat_map(|c| interleaved.iter().skip(c).step_by(3).copied()).collect())
}

/// Luminance by ITU-R 601 in integers of 16 bits, as PIL's `convert("L")`.
fn grey(image: DynamicImage) -> GrayImage {
    if !image.color().has_color() {
        return image.into_luma8();
    }
    let colour: RgbImage = image.into_rgb8();
    GrayImage::from_fn(colour.width(), colour.height(), |x, y| {
        let [red, green, blue] = colour.get_pixel(x, y).0.map(u32::from);
        image::Luma([((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16) as u8])
    })
}
