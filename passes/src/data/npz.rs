//! `.npz` archives: ZIP files of `.npy` arrays, stored or deflated, as `numpy.savez` and `numpy.savez_compressed` write them.

use super::load::{Part, StoredShape, extents, fit};
use super::npy::{self, Array, Values};
use super::{DataError, Dataset, Preprocessing, Samples};
use crate::ir::Shape;
use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest central directory that is read.
const MAX_DIRECTORY_BYTES: u64 = 1 << 20;

/// One member of the archive.
#[derive(Clone, Copy, Debug)]
struct Member {
    method: u16,
    crc: u32,
    compressed: u64,
    /// Of its local header.
    offset: u64,
}

/// An archive whose directory has been read.
#[derive(Debug)]
pub(super) struct Npz {
    path: PathBuf,
    members: BTreeMap<String, Member>,
}

/// Array names of samples and labels, and the part they are.
const ARRAYS: [(&str, &str, Part); 4] = [
    ("x_train", "y_train", Part::Train),
    ("x_val", "y_val", Part::Validation),
    ("x_test", "y_test", Part::Test),
    ("x", "y", Part::Whole),
];

impl Npz {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let members = directory(file).map_err(|e| error(path, e))?;
        Ok(Npz { path: path.to_owned(), members })
    }

    /// The parts whose samples are there.
    pub(super) fn parts(&self) -> Result<Vec<Part>, DataError> {
        let parts: Vec<_> = ARRAYS.iter().filter(|a| self.members.contains_key(a.0)).map(|a| a.2).collect();
        if parts.is_empty() {
            let names: Vec<_> = self.members.keys().map(String::as_str).collect();
            let what = format!("arrays x and y (or x_train, y_train, ..) are required; it holds {}", names.join(", "));
            return Err(DataError::damaged(&self.path, what));
        }
        Ok(parts)
    }

    /// Samples and labels of one part.
    pub(super) fn read(&self, part: Part, preprocessing: &Preprocessing, shape: &Shape) -> Result<Dataset, DataError> {
        let names = ARRAYS.iter().find(|a| a.2 == part);
        let (x, y, _) = names.ok_or_else(|| DataError::damaged(&self.path, "no such part"))?;
        let (samples, labels) = (self.array(x)?, self.array(y)?);
        let labels = self.labels(y, labels)?;
        let count = samples.dims.first().copied().unwrap_or_default();
        if count != labels.len() {
            let (path, label_path) = (self.path.join(x), self.path.join(y));
            return Err(DataError::Count { path, samples: count, label_path, labels: labels.len() });
        }
        let stored = samples.dims.get(1..).unwrap_or_default();
        let layout = fit(&self.path.join(x), stored, shape)?;
        let samples = match samples.values {
            Values::U8(pixels) => Samples::Pixels(channel_first(pixels, stored, layout), preprocessing.clone()),
            Values::I8(codes) => {
                let plane = shape.len() / shape.chw()[0];
                let codes = channel_first(codes, stored, layout);
                let channel = |i: usize| if preprocessing.is_uniform() { 0 } else { i % shape.len() / plane };
                Samples::Values(codes.iter().enumerate().map(|(i, &v)| preprocessing.apply(v.into(), channel(i))).collect())
            }
            Values::F32(values) => Samples::Values(channel_first(values, stored, layout)),
            Values::Integers(_) => {
                let what = format!("{x} has type {}; u1 (pixels), i1, f4 or f8 (network inputs) is required", samples.dtype);
                return Err(DataError::damaged(&self.path, what));
            }
        };
        Dataset::new(shape.clone(), samples, Some(labels))
            .ok_or_else(|| DataError::damaged(&self.path, "samples and labels do not match"))
    }

    fn labels(&self, name: &str, labels: Array) -> Result<Vec<u32>, DataError> {
        let column = labels.dims.len() == 1 || (labels.dims.len() == 2 && labels.dims[1] == 1);
        if !column {
            let what = format!("{name} is {}; one class index a sample is required", extents(&labels.dims));
            return Err(DataError::damaged(&self.path, what));
        }
        let class = |value: i64| {
            u32::try_from(value)
                .map_err(|_| DataError::damaged(&self.path, format!("label {value} in {name}; a class index >= 0 is required")))
        };
        match labels.values {
            Values::U8(values) => Ok(values.into_iter().map(u32::from).collect()),
            Values::I8(values) => values.into_iter().map(|v| class(v.into())).collect(),
            Values::Integers(values) => values.into_iter().map(class).collect(),
            Values::F32(_) => {
                let what = format!("{name} has type {}; integers are required", labels.dtype);
                Err(DataError::damaged(&self.path, what))
            }
        }
    }

    fn array(&self, name: &str) -> Result<Array, DataError> {
        let Some(member) = self.members.get(name) else {
            return Err(DataError::damaged(&self.path, format!("no array {name}")));
        };
        self.extract(*member).map_err(|e| match error(&self.path, e) {
            DataError::Damaged { path, what } => DataError::Damaged { path, what: format!("array {name}: {what}") },
            other => other,
        })
    }

    fn extract(&self, member: Member) -> io::Result<Array> {
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(member.offset))?;
        let mut local = [0; 30];
        file.read_exact(&mut local)?;
        if local[..4] != *b"PK\x03\x04" {
            return Err(invalid("a local header is not where the directory says"));
        }
        let skip = i64::from(u16_at(&local, 26)) + i64::from(u16_at(&local, 28));
        file.seek_relative(skip)?;
        let compressed = file.take(member.compressed);
        let plain: Box<dyn Read> = match member.method {
            0 => Box::new(compressed),
            8 => Box::new(DeflateDecoder::new(compressed)),
            other => return Err(invalid(format!("compression method {other}; stored (0) or deflated (8) is required"))),
        };
        let mut plain = CrcReader::new(plain);
        let array = npy::read(&mut plain)?;
        if plain.read(&mut [0])? != 0 {
            return Err(invalid("bytes follow the array"));
        }
        if plain.crc().sum() != member.crc {
            return Err(invalid("its checksum does not match its bytes"));
        }
        Ok(array)
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn error(path: &Path, error: io::Error) -> DataError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DataError::damaged(path, "truncated: the archive ends too early"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => DataError::damaged(path, error.to_string()),
        _ => DataError::io(path, error),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The `.npy` members of the central directory, by array name.
fn directory(mut file: File) -> io::Result<BTreeMap<String, Member>> {
    const END_BYTES: u64 = 22;
    let not_zip = || invalid("not an .npz archive: it has no ZIP directory (truncated?)");
    let len = file.seek(SeekFrom::End(0))?;
    let tail_len = len.min(END_BYTES + u64::from(u16::MAX));
    file.seek(SeekFrom::Start(len - tail_len))?;
    let mut tail = Vec::new();
    file.by_ref().take(tail_len).read_to_end(&mut tail)?;
    let end = tail.windows(END_BYTES as usize).rposition(|w| w.starts_with(b"PK\x05\x06")).ok_or_else(not_zip)?;
    let end = &tail[end..];
    let (size, start) = (u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    if size > MAX_DIRECTORY_BYTES || start.checked_add(size).is_none_or(|last| last > len) {
        return Err(invalid("the ZIP directory is out of bounds"));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    let mut members = BTreeMap::new();
    let mut rest = &bytes[..];
    while rest.len() >= 46 && rest.starts_with(b"PK\x01\x02") {
        let (name_len, extra_len) = (usize::from(u16_at(rest, 28)), usize::from(u16_at(rest, 30)));
        let entry_len = 46 + name_len + extra_len + usize::from(u16_at(rest, 32));
        if rest.len() < entry_len {
            return Err(invalid("the ZIP directory is cut off"));
        }
        let (entry, tail) = rest.split_at(entry_len);
        rest = tail;
        let name = String::from_utf8_lossy(&entry[46..46 + name_len]);
        let Some(array) = name.strip_suffix(".npy") else { continue };
        if u16_at(entry, 8) & 1 != 0 {
            return Err(invalid(format!("{name} is encrypted")));
        }
        let fields = [u32_at(entry, 24), u32_at(entry, 20), u32_at(entry, 42)];
        let [_, compressed, offset] = widen(fields, &entry[46 + name_len..46 + name_len + extra_len])?;
        let member = Member { method: u16_at(entry, 10), crc: u32_at(entry, 16), compressed, offset };
        members.insert(array.to_owned(), member);
    }
    Ok(members)
}

/// Replaces each saturated field by its 64-bit value from the ZIP64 record, where they stand in this order.
fn widen(fields: [u32; 3], mut extra: &[u8]) -> io::Result<[u64; 3]> {
    let mut wide = fields.map(u64::from);
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let record = extra.get(4..4 + len).ok_or_else(|| invalid("the ZIP directory is cut off"))?;
        if id == 1 {
            let mut words = record.chunks_exact(8).map(|word| u64_at(word, 0));
            for field in wide.iter_mut().filter(|field| **field == u64::from(u32::MAX)) {
                *field = words.next().ok_or_else(|| invalid("the ZIP64 record is cut off"))?;
            }
        }
        extra = &extra[4 + len..];
    }
    Ok(wide)
}

/// Samples stored `[row][column][channel]` in `[channel][row][column]` order.
fn channel_first<T: Copy>(values: Vec<T>, stored: &[usize], layout: StoredShape) -> Vec<T> {
    let (StoredShape::ChannelLast, [height, width, channels]) = (layout, stored) else { return values };
    let (plane, len) = (height * width, height * width * channels);
    let transpose = |sample: &[T]| -> Vec<T> { (0..len).map(|i| sample[i % plane * channels + i / plane]).collect() };
    values.chunks_exact(len).flat_map(transpose).collect()
}
