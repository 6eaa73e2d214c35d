//! Header and section table.
//!
//! ```text
//! byte  0  magic "\x89RELEQ\r\n"             8
//!       8  format major u16, minor u16       4
//!      12  number of sections u32            4
//!      16  length of the file u64            8
//!      24  zero                              8
//!      32  BLAKE3 of the header (bytes 0..32) and the section table   32
//!      64  section table: 64 bytes a section
//!            0  kind u32   4  zero u32   8  offset u64   16  length u64   24  zero u64
//!           32  BLAKE3 of the bytes from offset to the next section's offset (the end of the file for the last)   32
//! ```
//!
//! Sections follow in the order of the table, the first right after the table; each begins at a multiple of 64 and is
//! padded with zeros to the next, which its hash covers. So every byte of the file is under a hash.

use crate::FormatError;
use std::ops::Range;

/// First bytes of every artifact. The first is not ASCII and the last two are a line end, so that text-mode transfers show.
pub const MAGIC: [u8; 8] = *b"\x89RELEQ\r\n";
/// Major version: a reader refuses a higher one.
pub const FORMAT_MAJOR: u16 = 2;
/// Minor version: additions that an older reader may ignore.
pub const FORMAT_MINOR: u16 = 0;
/// Sections begin at multiples of this.
pub const SECTION_ALIGNMENT: usize = 64;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const ENTRY_BYTES: usize = 64;
const MAX_SECTIONS: usize = 16;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SectionKind {
    /// Key and value strings.
    Metadata = 1,
    /// Tensors and operators.
    Plan = 2,
    /// Biases and multipliers.
    Constants = 3,
    /// Packed weight codes.
    Weights = 4,
    /// Accelerator program.
    Accelerator = 5,
}

impl SectionKind {
    /// All kinds, in file order.
    pub const ALL: [SectionKind; 5] = [
        SectionKind::Metadata,
        SectionKind::Plan,
        SectionKind::Constants,
        SectionKind::Weights,
        SectionKind::Accelerator,
    ];

    /// Name in messages and reports.
    pub fn name(self) -> &'static str {
        match self {
            SectionKind::Metadata => "metadata section",
            SectionKind::Plan => "plan section",
            SectionKind::Constants => "constants section",
            SectionKind::Weights => "weights section",
            SectionKind::Accelerator => "accelerator section",
        }
    }
}

/// Where the sections of a checked container lie.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) minor: u16,
    sections: Vec<(u32, Range<usize>, [u8; 32])>,
}

impl Container {
    /// The bytes of a section; empty where the file has none.
    pub(super) fn range(&self, kind: SectionKind) -> Range<usize> {
        self.sections.iter().find(|s| s.0 == kind as u32).map_or(0..0, |s| s.1.clone())
    }

    /// Name, length and hash of each section in file order.
    pub(super) fn summary(&self) -> impl Iterator<Item = (String, usize, [u8; 32])> + '_ {
        self.sections.iter().map(|(kind, range, hash)| (name_of(*kind), range.len(), *hash))
    }
}

fn name_of(kind: u32) -> String {
    let known = SectionKind::ALL.into_iter().find(|k| *k as u32 == kind);
    known.map_or_else(|| format!("section of kind {kind}"), |k| k.name().to_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Checks header, table, layout and every hash.
pub(super) fn open(bytes: &[u8]) -> Result<Container, FormatError> {
    if bytes.len() < MAGIC.len() || bytes[..MAGIC.len()] != MAGIC {
        return Err(FormatError::Magic);
    }
    let truncated = |stated| FormatError::Length { found: bytes.len() as u64, stated };
    if bytes.len() < HEADER_BYTES {
        return Err(truncated(HEADER_BYTES as u64));
    }
    let version = u32_at(bytes, 8);
    let (major, minor) = (version as u16, (version >> 16) as u16);
    if major != FORMAT_MAJOR {
        return Err(FormatError::Version { major, minor });
    }
    let stated = u64_at(bytes, 16);
    if stated != bytes.len() as u64 {
        return Err(truncated(stated));
    }
    let header = |what: String| FormatError::malformed("header", what);
    let count = u32_at(bytes, 12) as usize;
    if count > MAX_SECTIONS {
        return Err(header(format!("{count} sections; at most {MAX_SECTIONS} are allowed")));
    }
    let table_end = HEADER_BYTES + count * ENTRY_BYTES;
    if table_end > bytes.len() {
        return Err(header("the section table runs past the end of the file".into()));
    }
    if header_hash(bytes, table_end) != bytes[32..64] {
        return Err(FormatError::Hash { part: "the header".into() });
    }
    if u64_at(bytes, 24) != 0 {
        return Err(header("reserved bytes must be zero".into()));
    }
    let starts: Vec<u64> = (0..count).map(|i| u64_at(bytes, HEADER_BYTES + i * ENTRY_BYTES + 8)).collect();
    let mut sections = Vec::with_capacity(count);
    for i in 0..count {
        let entry = HEADER_BYTES + i * ENTRY_BYTES;
        let (kind, len) = (u32_at(bytes, entry), u64_at(bytes, entry + 16));
        let end = starts.get(i + 1).copied().unwrap_or(bytes.len() as u64);
        let expected_start = if i == 0 { table_end as u64 } else { starts[i] };
        let fits = starts[i] == expected_start
            && starts[i].is_multiple_of(SECTION_ALIGNMENT as u64)
            && starts[i] <= end
            && end <= bytes.len() as u64
            && len <= end - starts[i]
            && end - starts[i] - len < SECTION_ALIGNMENT as u64;
        if !fits || u32_at(bytes, entry + 4) != 0 || u64_at(bytes, entry + 24) != 0 {
            return Err(header(format!("entry {i} of the section table is out of bounds")));
        }
        if sections.iter().any(|s: &(u32, _, _)| s.0 == kind) {
            return Err(header(format!("{} occurs twice", name_of(kind))));
        }
        // In bounds by the check above, so the casts keep the values.
        let (start, end, len) = (starts[i] as usize, end as usize, len as usize);
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[entry + 32..entry + 64]);
        if blake3::hash(&bytes[start..end]) != hash {
            return Err(FormatError::Hash { part: format!("the {}", name_of(kind)) });
        }
        sections.push((kind, start..start + len, hash));
    }
    if count == 0 && table_end != bytes.len() {
        return Err(header("bytes after an empty section table".into()));
    }
    Ok(Container { minor, sections })
}

pub(super) fn header_hash(bytes: &[u8], table_end: usize) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..32]).update(&bytes[HEADER_BYTES..table_end]);
    hasher.finalize()
}
