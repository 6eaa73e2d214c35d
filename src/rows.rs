//! Arrays of rows for a network: one array an input, one sample a row.

use crate::failure::Failure;
use crate::input::{require_file, unreadable};
use releqc_passes::data::input_values;
use releqc_passes::data::npy::{self, Array, Values};
use releqc_runtime::program::{ElementType, Port, Program};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Samples for a network.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Number of samples.
    pub(crate) count: usize,
    inputs: Vec<Column>,
}

/// The values of one input, row after row; a single row serves every sample.
#[derive(Debug)]
struct Column {
    count: usize,
    len: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Reads the arrays that `given` names: `NAME=FILE` for the input of that name, `FILE` for the first that has none yet.
    pub(crate) fn read(given: &[OsString], program: &Program) -> Result<Self, Failure> {
        let files = assigned(given, program, |name| {
            tracing::warn!("--input: {name:?} is not read: the network takes {}", listed(program));
        })?;
        let mut inputs = Vec::new();
        for ((port, slot), file) in program.inputs.iter().zip(&files) {
            inputs.push(match file {
                Some(file) => Column::read(file, port)?,
                None if program.ops.iter().all(|op| !op.reads_floats().contains(slot)) => {
                    Column { count: 1, len: port.len(), values: vec![0.0; port.len()] }
                }
                None => {
                    let what = format!("--input: nothing for the input {:?}", port.name);
                    return Err(Failure::input(format!("{what}; the network takes {}", listed(program))));
                }
            });
        }
        let count = inputs.iter().map(|column| column.count).find(|count| *count != 1).unwrap_or(1);
        for ((port, _), column) in program.inputs.iter().zip(&inputs) {
            if column.count != count && column.count != 1 {
                let (name, rows) = (&port.name, column.count);
                return Err(Failure::input(format!("--input: {rows} rows for {name:?}, {count} for others")));
            }
        }
        Ok(Rows { count, inputs })
    }

    /// Writes sample `index`, the values of all inputs.
    pub(crate) fn copy_to(&self, index: usize, out: &mut [f32]) {
        let mut rest = out;
        for Column { count, len, values } in &self.inputs {
            let own;
            (own, rest) = rest.split_at_mut(*len);
            let row = if *count == 1 { 0 } else { index };
            own.copy_from_slice(&values[row * len..][..*len]);
        }
    }

    /// The files that `given` names, for whoever must not overwrite them.
    pub(crate) fn files(given: &[OsString], program: &Program) -> Result<Vec<PathBuf>, Failure> {
        Ok(assigned(given, program, |_| ())?.into_iter().flatten().collect())
    }
}

/// The file of each input. A file for another name is left out and told to `unread`: a network may read fewer inputs than its ONNX file
/// has.
fn assigned(
    given: &[OsString],
    program: &Program,
    mut unread: impl FnMut(&str),
) -> Result<Vec<Option<PathBuf>>, Failure> {
    let mut files: Vec<Option<PathBuf>> = vec![None; program.inputs.len()];
    let mut unnamed = Vec::new();
    for word in given {
        let named = named(word).and_then(|(name, file)| {
            let index = program.inputs.iter().position(|(port, _)| port.name == name)?;
            Some((index, file))
        });
        match named {
            Some((index, file)) if files[index].is_none() => files[index] = Some(file),
            Some((index, _)) => {
                let name = &program.inputs[index].0.name;
                return Err(Failure::input(format!("--input: two files for the input {name:?}")));
            }
            None => match named_unknown(word) {
                Some(name) => unread(&name),
                None => unnamed.push(PathBuf::from(word)),
            },
        }
    }
    for file in unnamed {
        match files.iter_mut().find(|of| of.is_none()) {
            Some(free) => *free = Some(file),
            None => {
                let what = format!("--input: {} files; the network takes {}", given.len(), listed(program));
                return Err(Failure::input(what));
            }
        }
    }
    Ok(files)
}

/// `NAME=FILE` taken apart, FILE of any bytes.
pub(crate) fn named(word: &OsStr) -> Option<(String, PathBuf)> {
    let at = word.as_encoded_bytes().iter().position(|byte| *byte == b'=')?;
    let name = word.as_encoded_bytes()[..at].to_vec();
    Some((String::from_utf8(name).ok()?, PathBuf::from(after(word, at + 1)?)))
}

/// What follows the first `at` bytes, which end in ASCII.
fn after(word: &OsStr, at: usize) -> Option<OsString> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Some(OsStr::from_bytes(word.as_bytes().get(at..)?).to_owned())
    }
    #[cfg(not(unix))]
    {
        word.to_str()?.get(at..).map(OsString::from)
    }
}

/// The name in `NAME=FILE` where the whole is no file, but FILE is one.
fn named_unknown(word: &OsStr) -> Option<String> {
    let (name, file) = named(word)?;
    (!Path::new(word).exists() && file.exists()).then_some(name)
}

fn listed(program: &Program) -> String {
    let names: Vec<String> =
        program.inputs.iter().map(|(port, _)| format!("{:?} {:?}", port.name, port.dims)).collect();
    names.join(", ")
}

impl Column {
    fn read(path: &Path, port: &Port) -> Result<Self, Failure> {
        require_file(path)?;
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let array = npy::read(&mut BufReader::new(file)).map_err(|error| unreadable(path, &error))?;
        let refuse = |what: String| Failure::input(format!("{}: {what}", path.display()));
        let dims: Vec<usize> = port.dims.iter().map(|&d| d as usize).collect();
        let count = rows(&array, &dims).ok_or_else(|| {
            let wanted: Vec<String> = dims.iter().map(usize::to_string).collect();
            let wanted = match &wanted[..] {
                [one, rest @ ..] if one == "1" => ["N"].into_iter().chain(rest.iter().map(String::as_str)).collect(),
                all => all.iter().map(String::as_str).collect::<Vec<_>>(),
            };
            let (found, wanted) = (&array.dims, wanted.join(", "));
            refuse(format!("extents {found:?}; [{wanted}] is required by the network's input {:?}", port.name))
        })?;
        let floats = matches!(port.element, ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::F64);
        if floats && matches!(array.values, Values::U8(_)) {
            return Err(refuse(format!(
                "type {}; floats are required by the network's input {:?}: make them of 8-bit pixels as it was trained, such as \
                ((x / 255 - mean) / std).astype('float32') in NumPy",
                array.dtype, port.name
            )));
        }
        let values = input_values(array, port.element)
            .map_err(|what| refuse(format!("{what}, by the network's input {:?}", port.name)))?;
        Ok(Column { count, len: port.len(), values })
    }
}

/// How many samples of `dims` an array holds: N for `[N, ..]` where `dims` begin with 1, one for `dims` themselves with or without that 1, N for `[N]` and `dims`,
/// and for samples joined along the first axis.
fn rows(array: &Array, dims: &[usize]) -> Option<usize> {
    let seen = &array.dims[..];
    if seen == dims {
        return Some(1);
    }
    match (seen, dims) {
        ([count, rest @ ..], [1, sample @ ..]) if rest == sample => Some(*count),
        (_, [1, sample @ ..]) if seen == sample => Some(1),
        ([count, rest @ ..], _) if rest == dims => Some(*count),
        ([all, rest @ ..], [first, sample @ ..]) if rest == sample && *first > 0 && all % first == 0 => {
            Some(all / first)
        }
        _ => None,
    }
}

/// The extents of `count` results of `dims`, one after the other: an axis of 1 at the front becomes the rows, without one the rows are an axis in
/// front of it. One result keeps its extents.
pub(crate) fn stacked(count: usize, dims: &[u32]) -> Vec<usize> {
    let mut dims: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
    match dims.first_mut() {
        Some(first) if *first == 1 => *first = count,
        _ if count != 1 => dims.insert(0, count),
        _ => {}
    }
    dims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(seen: &[usize], dims: &[usize]) -> Option<usize> {
        rows(&Array { dims: seen.to_vec(), dtype: "<f4".into(), values: Values::F32(Vec::new()) }, dims)
    }

    #[test]
    fn rows_stand_in_front_of_a_sample() {
        assert_eq!(counted(&[8, 3, 4, 4], &[1, 3, 4, 4]), Some(8));
        assert_eq!(counted(&[3, 4, 4], &[1, 3, 4, 4]), Some(1));
        assert_eq!(counted(&[8, 1, 3, 4, 4], &[1, 3, 4, 4]), Some(8));
        assert_eq!(counted(&[8, 1, 800], &[1, 1, 800]), Some(8));
        assert_eq!(counted(&[8, 1, 1, 800], &[1, 800]), None);
        assert_eq!(counted(&[8, 12, 1], &[12, 1]), Some(8));
        assert_eq!(counted(&[24, 1], &[12, 1]), Some(2));
        assert_eq!(counted(&[], &[]), Some(1));
        assert_eq!(counted(&[5], &[]), Some(5));
        assert_eq!(counted(&[5, 3], &[1, 4]), None);
    }

    #[test]
    fn results_are_stacked_along_the_first_axis() {
        assert_eq!(stacked(8, &[1, 10]), [8, 10]);
        assert_eq!(stacked(1, &[1, 1, 800]), [1, 1, 800]);
        assert_eq!((stacked(3, &[2, 5]), stacked(1, &[2, 5])), (vec![3, 2, 5], vec![2, 5]));
        assert_eq!((stacked(1, &[]), stacked(4, &[])), (vec![], vec![4]));
    }

    #[test]
    fn a_name_ends_at_the_first_equals_sign() {
        assert_eq!(named(OsStr::new("a:0=b=c.npy")), Some(("a:0".into(), "b=c.npy".into())));
        assert_eq!(named(OsStr::new("b.npy")), None);
    }
}
