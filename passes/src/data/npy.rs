//! `.npy` arrays: read with bounds on what a header may claim, and written.
//!
//! ```text
//! "\x93NUMPY" major minor | header length u16 (version 1) or u32 (2, 3), little-endian
//! {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   padded with blanks, ends in "\n"
//! values
//! ```

use std::io::{self, Read, Write};

/// Longest header that is read; a plain array of numbers needs 128 bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Most bytes of values that are read from one array.
pub const MAX_ARRAY_BYTES: u64 = 4 << 30;

/// The values of an array in row-major order, by the kind of their type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// `uint8`.
    U8(Vec<u8>),
    /// `int8`.
    I8(Vec<i8>),
    /// `bool` and the wider integers.
    Integers(Vec<i64>),
    /// `float32`; `float64` rounded.
    F32(Vec<f32>),
}

/// An array in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first.
    pub dims: Vec<usize>,
    /// The type as NumPy writes it, such as `<f4`.
    pub dtype: String,
    /// As many values as the product of the extents.
    pub values: Values,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads an array; what follows it is left in `reader`.
///
/// # Errors
/// `InvalidData` with what was seen and what is required, or the error of the reader.
pub fn read(reader: &mut impl Read) -> io::Result<Array> {
    let header = Header::read(reader)?;
    let (order, kind, size) = header.element()?;
    let len = header.dims.iter().try_fold(size as u64, |len, &d| len.checked_mul(d as u64));
    let Some(len) = len.filter(|len| *len <= MAX_ARRAY_BYTES) else {
        return Err(invalid(format!("extents {:?} are too large", header.dims)));
    };
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes).map_err(end_of_data)?;
    if (bytes.len() as u64) < len {
        return Err(invalid(format!("truncated: {} bytes of values, the header states {len}", bytes.len())));
    }
    if order == '>' {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    // Little-endian words of `size` bytes, sign-extended.
    let integers = |signed: bool| {
        let word = |chunk: &[u8]| {
            let bits = chunk.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            let shift = 64 - 8 * size as u32;
            if signed { (bits << shift).cast_signed() >> shift } else { bits.cast_signed() }
        };
        bytes.chunks_exact(size).map(word).collect::<Vec<i64>>()
    };
    let values = match (kind, size) {
        ('u', 1) => Values::U8(bytes),
        ('i', 1) => Values::I8(bytes.into_iter().map(u8::cast_signed).collect()),
        ('f', 4) => Values::F32(bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()),
        ('f', 8) => Values::F32(bytes.as_chunks().0.iter().map(|word| f64::from_le_bytes(*word) as f32).collect()),
        ('i', _) => Values::Integers(integers(true)),
        _ => Values::Integers(integers(false)),
    };
    Ok(Array { dims: header.dims, dtype: header.descr, values })
}

/// Writes a `float32` array, as NumPy would.
///
/// # Errors
/// Those of the writer.
///
/// # Panics
/// When the number of values is not the product of the extents.
pub fn write(writer: &mut impl Write, dims: &[usize], values: &[f32]) -> io::Result<()> {
    assert_eq!(dims.iter().product::<usize>(), values.len(), "one value a cell");
    let extents: String = dims.iter().map(|d| format!("{d}, ")).collect();
    // A tuple of one keeps its comma; longer ones end without.
    let extents = if dims.len() == 1 { extents.trim_end() } else { extents.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents}), }}");
    let unpadded = 10 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let len = u16::try_from(header.len()).map_err(|_| invalid("too many extents"))?;
    writer.write_all(b"\x93NUMPY\x01\x00")?;
    writer.write_all(&len.to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    for chunk in values.chunks(1 << 14) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.write_all(&bytes)?;
    }
    Ok(())
}

fn end_of_data(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("truncated: the data end too early"),
        _ => error,
    }
}

struct Header {
    descr: String,
    dims: Vec<usize>,
}

impl Header {
    fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut fixed = [0; 8];
        let short = |_| invalid("not an .npy array: it does not begin with \\x93NUMPY");
        reader.read_exact(&mut fixed).map_err(short)?;
        if fixed[..6] != *b"\x93NUMPY" {
            return Err(short(io::ErrorKind::InvalidData.into()));
        }
        let len = match fixed[6] {
            1 => {
                let mut len = [0; 2];
                reader.read_exact(&mut len).map_err(end_of_data)?;
                usize::from(u16::from_le_bytes(len))
            }
            2 | 3 => {
                let mut len = [0; 4];
                reader.read_exact(&mut len).map_err(end_of_data)?;
                u32::from_le_bytes(len) as usize
            }
            version => return Err(invalid(format!(".npy version {version}; 1, 2 or 3 is required"))),
        };
        if len > MAX_HEADER_BYTES {
            return Err(invalid(format!("an .npy header of {len} bytes; at most {MAX_HEADER_BYTES} are allowed")));
        }
        let mut text = vec![0; len];
        reader.read_exact(&mut text).map_err(end_of_data)?;
        let text = String::from_utf8(text).map_err(|_| invalid("the .npy header is no text"))?;
        Self::parse(&text)
    }

    /// The three entries of the dictionary, in any order.
    fn parse(text: &str) -> io::Result<Self> {
        let malformed = || invalid(format!("the .npy header cannot be read: {:?}", text.trim_end()));
        let mut rest = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?.trim();
        let (mut descr, mut fortran, mut dims) = (None, None, None);
        while !rest.is_empty() {
            let (key, tail) = quoted(rest).ok_or_else(malformed)?;
            let value = tail.trim_start().strip_prefix(':').ok_or_else(malformed)?.trim_start();
            rest = match key {
                "descr" => {
                    let (text, tail) = quoted(value)
                        .ok_or_else(|| invalid("an .npy array of records; a plain array of numbers is required"))?;
                    descr = Some(text.to_owned());
                    tail
                }
                "fortran_order" => {
                    let (word, tail) = value.split_at(value.find([',', ' ']).unwrap_or(value.len()));
                    fortran = Some(word == "True");
                    tail
                }
                "shape" => {
                    let (tuple, tail) = value.strip_prefix('(').and_then(|t| t.split_once(')')).ok_or_else(malformed)?;
                    let extents = tuple.split(',').map(str::trim).filter(|t| !t.is_empty());
                    dims = Some(extents.map(str::parse).collect::<Result<_, _>>().map_err(|_| malformed())?);
                    tail
                }
                _ => return Err(malformed()),
            };
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        match (descr, fortran, dims) {
            (Some(_), Some(true), Some(_)) => {
                Err(invalid("the array is in Fortran order; row-major order is required (numpy.ascontiguousarray)"))
            }
            (Some(descr), Some(false), Some(dims)) => Ok(Header { descr, dims }),
            _ => Err(malformed()),
        }
    }

    /// Byte order, kind and size of the type.
    fn element(&self) -> io::Result<(char, char, usize)> {
        let refuse = || {
            let known = "u1, i1, f4, f8, b1 or an integer of 2, 4 or 8 bytes";
            invalid(format!("type {:?}; {known} is required", self.descr))
        };
        let mut chars = self.descr.chars();
        let (order, kind) = chars.next().zip(chars.next()).ok_or_else(refuse)?;
        let size = chars.as_str().parse().map_err(|_| refuse())?;
        let known = matches!((kind, size), ('b', 1) | ('u' | 'i', 1 | 2 | 4 | 8) | ('f', 4 | 8));
        if known && matches!(order, '<' | '>' | '|' | '=') { Ok((order, kind, size)) } else { Err(refuse()) }
    }
}

/// The text between two quotes and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn array(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn the_header_is_what_numpy_writes() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[2, 3], &[0.0; 6]).unwrap();
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00v\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   "));
        assert_eq!(bytes.len(), 128 + 24);
        let mut bytes = Vec::new();
        write(&mut bytes, &[5], &[0.0; 5]).unwrap();
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"));
    }

    #[test]
    fn types_and_byte_orders_are_understood() {
        let values = |descr: &str, bytes: &[u8]| {
            let header = format!("{{'shape': (2,), \"descr\": '{descr}', 'fortran_order': False}}\n");
            read(&mut &array(&header, bytes)[..]).map(|a| a.values)
        };
        assert_eq!(values("|u1", &[1, 255]).unwrap(), Values::U8(vec![1, 255]));
        assert_eq!(values("|i1", &[1, 255]).unwrap(), Values::I8(vec![1, -1]));
        assert_eq!(values("<i2", &[1, 0, 0xfe, 0xff]).unwrap(), Values::Integers(vec![1, -2]));
        assert_eq!(values(">i2", &[0, 1, 0xff, 0xfe]).unwrap(), Values::Integers(vec![1, -2]));
        assert_eq!(values("<u2", &[1, 0, 0xfe, 0xff]).unwrap(), Values::Integers(vec![1, 65534]));
        assert_eq!(values(">f4", &[0x3f, 0x80, 0, 0, 0xbf, 0x80, 0, 0]).unwrap(), Values::F32(vec![1.0, -1.0]));
        for bad in ["<c8", "<f2", "|O", "f4", "", "<f"] {
            assert!(values(bad, &[0; 32]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_header_claims_is_bounded() {
        let claims = |shape: &str| array(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8]);
        for shape in ["(99999999999999999999,)", "(4294967296, 4294967296)", "(-1,)", "(1000000,)", "(3,)", "((((((1,"] {
            assert!(read(&mut &claims(shape)[..]).is_err(), "{shape}");
        }
        assert!(read(&mut &b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..]).is_err());
    }

    proptest! {
        #[test]
        fn read_inverts_write(values in proptest::collection::vec(any::<f32>().prop_filter("NaN", |v| !v.is_nan()), 0..40)) {
            let mut bytes = Vec::new();
            let dims = vec![values.len(), 1];
            write(&mut bytes, &dims, &values).unwrap();
            let array = read(&mut &bytes[..]).unwrap();
            prop_assert_eq!(array, Array { dims, dtype: "<f4".into(), values: Values::F32(values) });
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), header in "[ {}'(),:a-z0-9<]{0,60}") {
            let _ = read(&mut &bytes[..]);
            let _ = read(&mut &array(&header, &bytes)[..]);
        }
    }
}
