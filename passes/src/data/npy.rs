//! `.npy` arrays: read with bounds on what a header may claim, and written.
//!
//! The library allocates and recurses as a header says, so headers are checked before it sees them.
//!
//! ```text
//! "\x93NUMPY" major minor | header length u16 (version 1) or u32 (2, 3), little-endian
//! {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   padded with blanks, ends in "\n"
//! values
//! ```

use npyz::{DType, Deserialize, NpyFile, Order, TypeChar, WriteOptions, WriterBuilder};
use std::io::{self, Cursor, Read, Write};

/// Longest header that is read; a plain array of numbers needs 128 bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Most opening brackets in a header; a plain array of numbers needs 2.
const MAX_HEADER_BRACKETS: usize = 8;

/// Largest product of all positive numbers in a header, which bounds that of the extents.
const MAX_EXTENTS_PRODUCT: u128 = 1 << 40;

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
    /// `float32`; `float16` widened, `float64` rounded.
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
    let (header, is_half) = bounded_header(reader)?;
    let file = NpyFile::new(header.chain(reader)).map_err(end_of_data)?;
    let DType::Plain(element) = file.dtype() else {
        return Err(invalid("an .npy array of records; a plain array of numbers is required"));
    };
    if file.order() == Order::Fortran && file.shape().len() > 1 {
        return Err(invalid("the array is in Fortran order; row-major order is required (numpy.ascontiguousarray)"));
    }
    let dims = file.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| invalid("extents out of range"))?;
    let (kind, size) = (element.type_char(), element.size_field());
    let values = match (kind, size) {
        (TypeChar::Uint, 2) if is_half => Values::F32(elements::<u16>(file)?.into_iter().map(half).collect()),
        (TypeChar::Uint, 1) => Values::U8(elements(file)?),
        (TypeChar::Int, 1) => Values::I8(elements(file)?),
        (TypeChar::Bool, 1) => Values::Integers(elements::<bool>(file)?.into_iter().map(i64::from).collect()),
        (TypeChar::Uint, 2) => Values::Integers(elements::<u16>(file)?.into_iter().map(i64::from).collect()),
        (TypeChar::Uint, 4) => Values::Integers(elements::<u32>(file)?.into_iter().map(i64::from).collect()),
        // A class index above 2^63 is refused like any other that is out of range.
        (TypeChar::Uint, 8) => Values::Integers(elements::<u64>(file)?.into_iter().map(u64::cast_signed).collect()),
        (TypeChar::Int, 2) => Values::Integers(elements::<i16>(file)?.into_iter().map(i64::from).collect()),
        (TypeChar::Int, 4) => Values::Integers(elements::<i32>(file)?.into_iter().map(i64::from).collect()),
        (TypeChar::Int, 8) => Values::Integers(elements(file)?),
        (TypeChar::Float, 4) => Values::F32(elements(file)?),
        (TypeChar::Float, 8) => Values::F32(elements::<f64>(file)?.into_iter().map(|v| v as f32).collect()),
        _ => {
            let known = "u1, i1, f2, f4, f8, b1 or an integer of 2, 4 or 8 bytes";
            return Err(invalid(format!("type {:?}; {known} is required", element.to_string())));
        }
    };
    let dtype = if is_half { element.to_string().replace('u', "f") } else { element.to_string() };
    Ok(Array { dims, dtype, values })
}

/// The value of a float16.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// The bytes up to the values, checked before a library allocates or recurses for them. The library knows no float16: such an array
/// (then true) is declared as one of u16.
fn bounded_header(reader: &mut impl Read) -> io::Result<(Cursor<Vec<u8>>, bool)> {
    let mut bytes = vec![0; 10];
    let magic = reader.read_exact(&mut bytes).is_ok() && bytes.starts_with(b"\x93NUMPY");
    if !magic {
        return Err(invalid("not an .npy array: it does not begin with \\x93NUMPY"));
    }
    let mut len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    if bytes[6] > 1 {
        let mut high = [0; 2];
        reader.read_exact(&mut high).map_err(end_of_data)?;
        bytes.extend(high);
        len += usize::from(u16::from_le_bytes(high)) << 16;
    }
    if len > MAX_HEADER_BYTES {
        return Err(invalid(format!("an .npy header of {len} bytes; at most {MAX_HEADER_BYTES} are allowed")));
    }
    let start = bytes.len();
    bytes.resize(start + len, 0);
    reader.read_exact(&mut bytes[start..]).map_err(end_of_data)?;
    let brackets = bytes[start..].iter().filter(|&&byte| matches!(byte, b'(' | b'[' | b'{')).count();
    if brackets > MAX_HEADER_BRACKETS {
        return Err(invalid("the .npy header is nested too deeply"));
    }
    // npyz multiplies the extents unchecked.
    let extents = std::str::from_utf8(&bytes[start..]).unwrap_or_default();
    let numbers = extents.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let product = numbers.filter_map(|digits| digits.parse::<u128>().ok().or(Some(u128::MAX))).filter(|n| *n > 0);
    if product.fold(1u128, u128::saturating_mul) > MAX_EXTENTS_PRODUCT {
        return Err(invalid("the extents of the array are too large"));
    }
    let is_half = |at: &usize| matches!(bytes.get(*at..at + 5), Some([b'\'' | b'"', _, b'f', b'2', b'\'' | b'"']));
    let half = (start..bytes.len()).find(is_half);
    if let Some(at) = half {
        bytes[at + 2] = b'u';
    }
    Ok((Cursor::new(bytes), half.is_some()))
}

/// All values; the file must hold as many as its header states.
fn elements<T: Deserialize>(file: NpyFile<impl Read>) -> io::Result<Vec<T>> {
    let len = file.len();
    if len.saturating_mul(size_of::<T>() as u64) > MAX_ARRAY_BYTES {
        return Err(invalid(format!("extents {:?} are too large", file.shape())));
    }
    // Grown as bytes arrive: a short file with a large header costs nothing.
    let mut values = Vec::new();
    for value in file.data::<T>().map_err(|error| invalid(error.to_string()))? {
        values.push(value.map_err(end_of_data)?);
    }
    Ok(values)
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
    let shape: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
    let mut array = WriteOptions::new().default_dtype().shape(&shape).writer(writer).begin_nd()?;
    array.extend(values.iter().copied())?;
    array.finish()
}

fn end_of_data(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("truncated: the data end too early"),
        _ => error,
    }
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
    fn the_header_is_one_that_numpy_reads() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[2, 3], &[0.0; 6]).unwrap();
        assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
        let header = std::str::from_utf8(&bytes[10..bytes.len() - 24]).unwrap();
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3"), "{header}");
        assert!(header.ends_with('\n') && (header.len() + 10).is_multiple_of(16));
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
        let halves = [0x00, 0x3c, 0xff, 0xfb];
        assert_eq!(values("<f2", &halves).unwrap(), Values::F32(vec![1.0, -65504.0]));
        assert_eq!(values("<f2", &[1, 0, 0, 0x80]).unwrap(), Values::F32(vec![2f32.powi(-24), 0.0]));
        for bad in ["<c8", "<f16", "|O", "f4", "", "<f"] {
            assert!(values(bad, &[0; 32]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_header_claims_is_bounded() {
        let claims =
            |shape: &str| array(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8]);
        for shape in ["(99999999999999999999,)", "(4294967296, 4294967296)", "(-1,)", "(1000000,)", "(3,)", "((((((1,"]
        {
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
