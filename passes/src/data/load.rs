//! Finds out what a data path holds and reads it.

use super::arrays::Arrays;
use super::images::{self, Pictures};
use super::reading::Reading;
use super::{DataError, Dataset, cifar, idx};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which part of a data set samples belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What is trained and calibrated on.
    Train,
    /// What decides about goals.
    Validation,
    /// What is only reported.
    Test,
    /// A data set whose names state no part.
    Whole,
}

impl Part {
    /// The word in reports: `train`, `validation`, `test`, `all`.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
            Part::Whole => "all",
        }
    }

    /// The part that a file or folder name states. Words are split at everything that is no letter or digit; the first that
    /// begins with train, val, test or t10k decides; `data_batch` (CIFAR-10 as published) means train.
    fn stated(name: &str) -> Option<Part> {
        let name = name.to_ascii_lowercase();
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        let word = words.find_map(|word| match word {
            w if w.starts_with("train") => Some(Part::Train),
            w if w.starts_with("val") => Some(Part::Validation),
            w if w.starts_with("test") || w.starts_with("t10k") => Some(Part::Test),
            _ => None,
        });
        word.or_else(|| name.starts_with("data_batch").then_some(Part::Train))
    }
}

/// All parts of a data set. A data set whose names state no part is given as `train`, with `unnamed` set.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    /// What is trained and calibrated on.
    pub train: Option<Dataset>,
    /// What decides about goals.
    pub validation: Option<Dataset>,
    /// What is only reported; where it was asked for.
    pub test: Option<Dataset>,
    /// True where the names of the files state no part.
    pub unnamed: bool,
}

/// Reads every part of the data at `path`: a folder of IDX or CIFAR-10 binary files (plain or gzip), of pictures, or of `.npy` files, an `.npz` or
/// `.npy` file. Pixels are preprocessed as `reading` says; float samples are network inputs as they are. Arrays and pictures may have no labels.
///
/// # Errors
/// A [`DataError`] that names the file: nothing recognised, damaged or truncated files, samples of another shape than the network's inputs,
/// counts that do not match, preprocessing stated for what are no pixels.
pub fn load(path: &Path, reading: &Reading) -> Result<Splits, DataError> {
    splits(Source::find(path)?, path, reading, &[Part::Whole, Part::Train, Part::Validation, Part::Test])
}

/// Reads what a compilation learns from and judges on: everything but the test part, of which not a byte is read.
///
/// # Errors
/// As [`load`].
pub fn load_for_compilation(path: &Path, reading: &Reading) -> Result<Splits, DataError> {
    splits(Source::find(path)?, path, reading, &COMPILATION)
}

/// As [`load_for_compilation`], from one `.npy` file for each named input.
///
/// # Errors
/// As [`load`].
pub fn load_arrays(files: &BTreeMap<String, PathBuf>, reading: &Reading) -> Result<Splits, DataError> {
    let path = files.values().next().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    splits(Source::Arrays(Arrays::of_files(path, files.clone())), path, reading, &COMPILATION)
}

const COMPILATION: [Part; 3] = [Part::Whole, Part::Train, Part::Validation];

fn splits(mut source: Source, path: &Path, reading: &Reading, wanted: &[Part]) -> Result<Splits, DataError> {
    reading.check()?;
    let parts = source.parts(reading)?;
    let mut read = |part: Part| {
        let wanted = wanted.contains(&part) && parts.contains(&part);
        wanted.then(|| source.read(part, path, reading)).transpose()
    };
    let unnamed = read(Part::Whole)?;
    let is_unnamed = unnamed.is_some();
    let train = read(Part::Train)?.or(unnamed);
    Ok(Splits { train, validation: read(Part::Validation)?, test: read(Part::Test)?, unnamed: is_unnamed })
}

/// Reads only what accuracy is measured on: the test part, else the validation part, else a data set that states no parts.
///
/// # Errors
/// As [`load`], and [`DataError::NoTestPart`] where there are only training samples.
pub fn load_for_evaluation(path: &Path, reading: &Reading) -> Result<(Part, Dataset), DataError> {
    let mut source = Source::find(path)?;
    reading.check()?;
    let parts = source.parts(reading)?;
    let part = [Part::Test, Part::Validation, Part::Whole].into_iter().find(|part| parts.contains(part));
    let part = part.ok_or_else(|| {
        let names: Vec<_> = parts.iter().map(|p| p.name()).collect();
        DataError::NoTestPart { path: path.to_owned(), found: names.join(", ") }
    })?;
    Ok((part, source.read(part, path, reading)?))
}

/// What a path holds, by part; nothing but names has been read.
enum Source {
    Idx(BTreeMap<Part, Vec<PathBuf>>),
    Cifar(BTreeMap<Part, Vec<PathBuf>>),
    Images(BTreeMap<Part, Pictures>),
    Arrays(Arrays),
}

impl Source {
    fn find(path: &Path) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
        if metadata.is_file() {
            let nothing = || DataError::NothingRecognised { path: path.to_owned(), found: "a single file".into() };
            return Ok(Source::Arrays(Arrays::open(path)?.ok_or_else(nothing)?));
        }
        let entries = entries(path)?;
        if let Some(images) = image_parts(&entries)? {
            return Ok(Source::Images(images));
        }
        let files: Vec<PathBuf> = entries.iter().filter(|entry| entry.is_file()).cloned().collect();
        let files: Vec<PathBuf> = files.iter().filter(|file| !is_copy(file, &files)).cloned().collect();
        let idx: Vec<_> = files.iter().filter(|file| is_idx(file)).cloned().collect();
        let cifar: Vec<_> = files.iter().filter(|file| is_cifar(file)).cloned().collect();
        match (idx.is_empty(), cifar.is_empty()) {
            (false, false) => {
                let what = "it holds IDX files and CIFAR-10 binary files; only one kind is allowed".into();
                Err(DataError::Ambiguous { path: path.to_owned(), what })
            }
            (false, true) => Ok(Source::Idx(grouped(by_part(path, idx)?))),
            (true, false) => Ok(Source::Cifar(grouped(by_part(path, cifar)?))),
            (true, true) => {
                let pictures = Pictures::scan(path)?;
                if !pictures.is_empty() {
                    return Ok(Source::Images(BTreeMap::from([(Part::Whole, pictures)])));
                }
                let nothing = || DataError::NothingRecognised { path: path.to_owned(), found: listing(&entries) };
                Ok(Source::Arrays(Arrays::in_folder(path)?.ok_or_else(nothing)?))
            }
        }
    }

    fn parts(&self, reading: &Reading) -> Result<BTreeSet<Part>, DataError> {
        Ok(match self {
            Source::Idx(parts) => parts.keys().copied().collect(),
            Source::Cifar(parts) => parts.keys().copied().collect(),
            Source::Images(parts) => parts.keys().copied().collect(),
            Source::Arrays(arrays) => arrays.parts(reading)?.into_iter().collect(),
        })
    }

    /// Reads a part that [`Source::parts`] lists.
    fn read(&mut self, part: Part, path: &Path, reading: &Reading) -> Result<Dataset, DataError> {
        let missing = || DataError::NoTestPart { path: path.to_owned(), found: part.name().into() };
        match self {
            Source::Idx(parts) => idx::read(parts.get(&part).ok_or_else(missing)?, path, reading),
            Source::Cifar(parts) => cifar::read(parts.get(&part).ok_or_else(missing)?, path, reading),
            Source::Images(parts) => {
                let names = images::class_names(path, parts.values())?;
                images::read(parts.get(&part).ok_or_else(missing)?, &names, path, reading)
            }
            Source::Arrays(arrays) => arrays.read(part, reading),
        }
    }
}

/// The pictures below train, val and test folders, where there are such.
fn image_parts(entries: &[PathBuf]) -> Result<Option<BTreeMap<Part, Pictures>>, DataError> {
    let mut parts = BTreeMap::new();
    for folder in entries.iter().filter(|entry| entry.is_dir()) {
        let name = file_name(folder).to_ascii_lowercase();
        let part = match name.as_str() {
            "train" | "training" => Part::Train,
            "val" | "valid" | "validation" => Part::Validation,
            "test" | "testing" => Part::Test,
            _ => continue,
        };
        let pictures = Pictures::scan(folder)?;
        if pictures.is_empty() {
            continue;
        }
        if parts.insert(part, pictures).is_some() {
            let what = format!("two folders for the {} part", part.name());
            return Err(DataError::Ambiguous { path: folder.clone(), what });
        }
    }
    Ok((!parts.is_empty()).then_some(parts))
}

/// Each file with the part its name states. Either all names state one or none does.
fn by_part(folder: &Path, files: Vec<PathBuf>) -> Result<Vec<(Part, PathBuf)>, DataError> {
    let stated: Vec<Option<Part>> = files.iter().map(|file| Part::stated(&file_name(file))).collect();
    if stated.iter().all(Option::is_none) {
        return Ok(files.into_iter().map(|file| (Part::Whole, file)).collect());
    }
    let pair = |(file, part): (PathBuf, Option<Part>)| match part {
        Some(part) => Ok((part, file)),
        None => {
            let what =
                format!("the name of {} states neither train, val nor test, as others here do", file_name(&file));
            Err(DataError::Ambiguous { path: folder.to_owned(), what })
        }
    };
    files.into_iter().zip(stated).map(pair).collect()
}

/// The files of each part, in their order.
fn grouped(files: Vec<(Part, PathBuf)>) -> BTreeMap<Part, Vec<PathBuf>> {
    let mut parts: BTreeMap<Part, Vec<PathBuf>> = BTreeMap::new();
    for (part, file) in files {
        parts.entry(part).or_default().push(file);
    }
    parts
}

/// A compressed file beside its unpacked self.
fn is_copy(file: &Path, files: &[PathBuf]) -> bool {
    file.extension().is_some_and(|e| e == "gz") && files.contains(&file.with_extension(""))
}

fn is_idx(file: &Path) -> bool {
    let name = file_name(file).to_ascii_lowercase();
    name.contains("idx") || name.contains("ubyte")
}

fn is_cifar(file: &Path) -> bool {
    let name = file_name(file).to_ascii_lowercase();
    name.ends_with(".bin") || name.ends_with(".bin.gz")
}

/// The entries of a folder in name order, without what file managers leave there: hidden files and folders (`._x.png` of macOS among them),
/// `Thumbs.db`, `desktop.ini`, `__MACOSX`.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |e| DataError::io(folder, e);
    let listed = std::fs::read_dir(folder).map_err(io)?;
    let mut paths = listed.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(io)?;
    paths.retain(|path| {
        let name = file_name(path);
        !name.starts_with('.') && !["thumbs.db", "desktop.ini", "__macosx"].contains(&&*name.to_ascii_lowercase())
    });
    paths.sort();
    Ok(paths)
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The first names, for a message.
fn listing(entries: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    if entries.is_empty() {
        return "an empty folder".into();
    }
    let mut names: Vec<String> = entries.iter().take(SHOWN).map(|entry| file_name(entry)).collect();
    if entries.len() > SHOWN {
        names.push(format!("{} more", entries.len() - SHOWN));
    }
    names.join(", ")
}
