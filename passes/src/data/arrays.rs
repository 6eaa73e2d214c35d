//! Arrays under names: an `.npz` archive, a folder of `.npy` files, or one `.npy` file.

use super::elements::input_values;
use super::load::{Part, entries, file_name};
use super::npy::{self, Array, Values};
use super::npz::Npz;
use super::planes::{Planes, arrange, fit};
use super::reading::{Input, Reading};
use super::{DataError, Dataset, Samples};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Where arrays lie.
enum Store {
    Npz(Npz),
    Files(BTreeMap<String, PathBuf>),
}

/// Named arrays, none of which has been read.
pub(super) struct Arrays {
    path: PathBuf,
    store: Store,
}

/// The array `y`.
enum Labels {
    /// A class index a sample.
    Classes(Vec<u32>),
    /// Numbers, equally many a sample.
    Numbers { samples: usize, values: Vec<f32> },
}

impl Labels {
    fn samples(&self) -> usize {
        match self {
            Labels::Classes(labels) => labels.len(),
            Labels::Numbers { samples, .. } => *samples,
        }
    }
}

/// How the names of a part's arrays end.
const PARTS: [(&str, Part); 4] =
    [("_train", Part::Train), ("_val", Part::Validation), ("_test", Part::Test), ("", Part::Whole)];

impl Arrays {
    /// An `.npz` archive or one `.npy` file; `None` for another name.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, DataError> {
        let is = |kind: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(kind));
        let store = if is("npz") {
            Store::Npz(Npz::open(path)?)
        } else if is("npy") {
            Store::Files(BTreeMap::from([(stem(path), path.to_owned())]))
        } else {
            return Ok(None);
        };
        Ok(Some(Arrays { path: path.to_owned(), store }))
    }

    /// The `.npy` files of a folder; `None` where it has none.
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>, DataError> {
        let is_array = |path: &PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
        let files: BTreeMap<_, _> =
            entries(folder)?.into_iter().filter(is_array).map(|path| (stem(&path), path)).collect();
        Ok((!files.is_empty()).then(|| Arrays { path: folder.to_owned(), store: Store::Files(files) }))
    }

    /// Files with the names of the inputs whose arrays they hold.
    pub(super) fn of_files(path: &Path, files: BTreeMap<String, PathBuf>) -> Self {
        Arrays { path: path.to_owned(), store: Store::Files(files) }
    }

    fn names(&self) -> Vec<String> {
        match &self.store {
            Store::Npz(npz) => npz.names(),
            Store::Files(files) => files.keys().cloned().collect(),
        }
    }

    /// The parts whose samples are there.
    pub(super) fn parts(&self, reading: &Reading) -> Result<Vec<Part>, DataError> {
        let names = self.names();
        let has = |(suffix, _): &&(&str, Part)| sample_names(&names, &reading.inputs, suffix).is_some();
        let parts: Vec<Part> = PARTS.iter().filter(has).map(|(_, part)| *part).collect();
        if parts.is_empty() {
            let wanted = match &reading.inputs[..] {
                [_] => "array x (or x_train, ..; with labels y, y_train, ..)".to_owned(),
                inputs => {
                    let inputs: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                    format!("one array for each input ({}) or x0, x1, ..", inputs.join(", "))
                }
            };
            let what = format!("{wanted} is required; it holds {}", names.join(", "));
            return Err(DataError::damaged(&self.path, what));
        }
        Ok(parts)
    }

    /// Samples of one part, with labels where there are such.
    pub(super) fn read(&mut self, part: Part, reading: &Reading) -> Result<Dataset, DataError> {
        let missing = || DataError::damaged(&self.path, "no such part");
        let (suffix, _) = PARTS.iter().find(|(_, of)| *of == part).ok_or_else(missing)?;
        let names = self.names();
        let sample_names = sample_names(&names, &reading.inputs, suffix).ok_or_else(missing)?;
        let y = format!("y{suffix}");
        let labels = match names.contains(&y) && !sample_names.contains(&y) {
            true => Some(self.labels(&y)?),
            false => None,
        };
        let mut first: Option<(String, usize)> = None;
        let mut parts = Vec::new();
        for (name, input) in sample_names.iter().zip(&reading.inputs) {
            let array = self.array(name)?;
            let count = array.dims.first().copied().unwrap_or_default();
            match (&first, &labels) {
                (Some((first, wanted)), _) if *wanted != count => {
                    let what = format!("{name} has {count} samples, {first} {wanted}");
                    return Err(DataError::damaged(&self.path, what));
                }
                (None, Some(labels)) if labels.samples() != count => {
                    let (path, label_path) = (self.path.join(name), self.path.join(&y));
                    return Err(DataError::Count { path, samples: count, label_path, labels: labels.samples() });
                }
                _ => {}
            }
            first.get_or_insert((name.clone(), count));
            parts.push(samples(&self.path.join(name), array, input, reading)?);
        }
        let count = first.map_or(0, |(_, count)| count);
        let (samples, applied) = match <[_; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => (joined(parts, count, reading), None),
        };
        let (classes, numbers) = match labels {
            None => (None, None),
            Some(Labels::Classes(labels)) => (Some(labels), None),
            Some(Labels::Numbers { values, .. }) => (None, Some(values)),
        };
        let mut dataset = Dataset::new(reading.sample_shape(), samples, classes);
        if let Some(numbers) = numbers {
            dataset = dataset.and_then(|dataset| dataset.with_targets(numbers));
        }
        let dataset = dataset.ok_or_else(|| DataError::damaged(&self.path, "samples and labels do not match"))?;
        Ok(dataset.scaled_by(applied))
    }

    /// Class indices where `name` has one integer a sample, numbers where it has floats or several.
    fn labels(&mut self, name: &str) -> Result<Labels, DataError> {
        let labels = self.array(name)?;
        let Some(&samples) = labels.dims.first() else {
            let what = format!("{name} has no axes; one label a sample is required");
            return Err(DataError::damaged(&self.path, what));
        };
        let is_column = labels.dims[1..].iter().product::<usize>() == 1;
        let class = |value: i64| {
            u32::try_from(value).map_err(|_| {
                DataError::damaged(&self.path, format!("label {value} in {name}; a class index >= 0 is required"))
            })
        };
        let numbers = |values: Vec<f32>| {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(DataError::damaged(&self.path, format!("label {value} in {name}; numbers are required")));
            }
            Ok(Labels::Numbers { samples, values })
        };
        match labels.values {
            Values::F32(values) => numbers(values),
            Values::U8(values) if is_column => Ok(Labels::Classes(values.into_iter().map(u32::from).collect())),
            Values::I8(values) if is_column => {
                Ok(Labels::Classes(values.into_iter().map(|v| class(v.into())).collect::<Result<_, _>>()?))
            }
            Values::Integers(values) if is_column => {
                Ok(Labels::Classes(values.into_iter().map(class).collect::<Result<_, _>>()?))
            }
            Values::U8(values) => numbers(values.into_iter().map(f32::from).collect()),
            Values::I8(values) => numbers(values.into_iter().map(f32::from).collect()),
            Values::Integers(values) => numbers(values.into_iter().map(|v| v as f32).collect()),
        }
    }

    fn array(&mut self, name: &str) -> Result<Array, DataError> {
        let path = match &mut self.store {
            Store::Npz(npz) => return npz.array(name),
            Store::Files(files) => files.get(name).cloned().unwrap_or_else(|| self.path.join(name)),
        };
        let damaged = |error: std::io::Error| DataError::damaged(&path, error.to_string());
        let mut file = BufReader::new(File::open(&path).map_err(|e| DataError::io(&path, e))?);
        let array = npy::read(&mut file).map_err(damaged)?;
        match file.read(&mut [0]).map_err(damaged)? {
            0 => Ok(array),
            _ => Err(DataError::damaged(&path, "bytes follow the array")),
        }
    }
}

fn stem(path: &Path) -> String {
    let name = file_name(path);
    name.get(..name.len().saturating_sub(4)).unwrap_or(&name).to_owned()
}

/// The arrays that hold the samples of a part, one an input: `x`, else those with the inputs' names, else `x0, x1, ..`; an only array without
/// a part is that of the only input.
fn sample_names(names: &[String], inputs: &[Input], suffix: &str) -> Option<Vec<String>> {
    let known = |wanted: String| {
        let safe = file_safe(&wanted);
        names.iter().find(|name| **name == wanted || **name == safe).cloned()
    };
    if let ([_], Some(x)) = (inputs, known(format!("x{suffix}"))) {
        return Some(vec![x]);
    }
    let named: Option<Vec<String>> = inputs.iter().map(|input| known(format!("{}{suffix}", input.name))).collect();
    let numbered = || (0..inputs.len()).map(|i| known(format!("x{i}{suffix}"))).collect::<Option<Vec<String>>>();
    let only = || match (names, inputs) {
        ([only], [_]) if suffix.is_empty() && !PARTS[..3].iter().any(|(end, _)| only.ends_with(end)) => {
            Some(vec![only.clone()])
        }
        _ => None,
    };
    named.or_else(numbered).or_else(only)
}

/// The name with nothing in it that no file name can hold.
fn file_safe(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect()
}

/// The samples of one input, and how their pixels were scaled where that is done already.
fn samples(
    path: &Path,
    array: Array,
    input: &Input,
    reading: &Reading,
) -> Result<(Samples, Option<super::Preprocessing>), DataError> {
    let stored = array.dims.get(1..).unwrap_or_default().to_owned();
    let arrangement = fit(path, &stored, &input.shape)?;
    let pixels = reading.pixels(input);
    Ok(match array.values {
        Values::U8(bytes) => (Samples::Pixels(arrange(bytes, &stored, arrangement), pixels), None),
        Values::I8(codes) if input.is_float() => {
            let (planes, len) = (Planes::of(&input.shape), input.shape.len());
            let channel = |i: usize| if pixels.is_uniform() { 0 } else { planes.channel(i % len) };
            let codes = arrange(codes, &stored, arrangement);
            let values = codes.iter().enumerate().map(|(i, &v)| pixels.apply(v.into(), channel(i))).collect();
            (Samples::Values(values), Some(pixels))
        }
        Values::Integers(_) if input.is_float() => {
            let what = format!("type {}; u1 (pixels), i1, f2, f4 or f8 (network inputs) is required", array.dtype);
            return Err(DataError::damaged(path, what));
        }
        _ => {
            reading.check_values(path, &array.dtype)?;
            let values = input_values(array, input.element).map_err(|what| DataError::damaged(path, what))?;
            (Samples::Values(arrange(values, &stored, arrangement)), None)
        }
    })
}

/// Samples of several inputs, each one after the other.
fn joined(parts: Vec<(Samples, Option<super::Preprocessing>)>, count: usize, reading: &Reading) -> Samples {
    let sets: Vec<Dataset> = parts
        .into_iter()
        .zip(&reading.inputs)
        .filter_map(|((samples, _), input)| Dataset::new(input.shape.clone(), samples, None))
        .collect();
    let mut values = vec![0.0; count * reading.sample_shape().len()];
    for (index, mut sample) in values.chunks_exact_mut(reading.sample_shape().len().max(1)).enumerate() {
        for set in &sets {
            let (own, rest) = sample.split_at_mut(set.shape().len());
            set.read(index, own);
            sample = rest;
        }
    }
    Samples::Values(values)
}
