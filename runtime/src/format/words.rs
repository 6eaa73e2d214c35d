//! Little-endian fields of the plan and metadata sections, bounds-checked.

use crate::FormatError;

/// Reads fields in order and never past the end.
pub(crate) struct Words<'a> {
    part: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Words { part, bytes, at: 0 }
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> FormatError {
        FormatError::malformed(format!("{} at byte {}", self.part, self.at), what)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let field = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let field = field.ok_or_else(|| self.error(format!("a field of {len} bytes runs past the end")))?;
        self.at += len;
        Ok(field)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }

    pub(crate) fn f32(&mut self) -> Result<f32, FormatError> {
        Ok(f32::from_bits(self.u32()?))
    }

    pub(crate) fn u8(&mut self, name: &str) -> Result<u8, FormatError> {
        let value = self.u32()?;
        u8::try_from(value).map_err(|_| self.error(format!("{name} is {value}; 0..=255 is required")))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, FormatError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.error(format!("{name} is {value}; 0 or 1 is required"))),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u32; N], FormatError> {
        let mut values = [0; N];
        for value in &mut values {
            *value = self.u32()?;
        }
        Ok(values)
    }

    /// A count of records that each take at least `record_bytes`: never more than fit in what is left.
    pub(crate) fn count(&mut self, name: &str, record_bytes: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        let room = (self.bytes.len() - self.at) / record_bytes;
        if count > room {
            return Err(self.error(format!("{count} {name} stated, there is room for {room}")));
        }
        Ok(count)
    }

    /// A count of records that each take at least `record_bytes`, then the records. Allocates for exactly as many.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        record_bytes: usize,
        mut record: impl FnMut(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Vec<T>, FormatError> {
        let count = self.count(name, record_bytes)?;
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            records.push(record(self)?);
        }
        Ok(records)
    }

    /// Length, UTF-8 bytes, zero padding to 4.
    pub(crate) fn string(&mut self) -> Result<String, FormatError> {
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.error("a string is not UTF-8"))?;
        let padding = self.take(len.wrapping_neg() % 4)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(self.error("string padding must be zero"));
        }
        Ok(text.to_owned())
    }

    pub(crate) fn end(&self) -> Result<(), FormatError> {
        let left = self.bytes.len() - self.at;
        if left == 0 { Ok(()) } else { Err(self.error(format!("{left} bytes after the last record"))) }
    }
}

/// Writes what [`Words`] reads.
#[cfg(feature = "encode")]
#[derive(Default)]
pub(crate) struct WordSink(pub(crate) Vec<u8>);

#[cfg(feature = "encode")]
impl WordSink {
    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn array(&mut self, values: &[u32]) {
        for &value in values {
            self.u32(value);
        }
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
