//! The container of an artifact, taken apart and sealed again whatever its sections hold: hashes must not keep a fuzzer out.

use releqc_runtime::format::{FORMAT_MAJOR, FORMAT_MINOR, MAGIC, SECTION_ALIGNMENT, SectionKind};

const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 64;

/// Bytes that a section may grow by at a time.
const GROWTH: usize = 64;

/// Changes one section of the file in the first `size` bytes of `data`, by `bytes` (data, length, most, to new length), and seals it
/// again; where that is no file, or `seed` says so, changes its bytes. Yields the new size, at most `most`.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    bytes: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let Some(mut parts) = sections(&data[..size]).filter(|parts| !parts.is_empty() && !seed.is_multiple_of(32)) else {
        return bytes(data, size, most);
    };
    // Most of what can go wrong is in the plan.
    let plan = parts.iter().position(|(kind, _)| *kind == SectionKind::Plan as u32);
    let any = (seed >> 8) as usize % parts.len();
    let at = plan.filter(|_| seed / 32 % 8 < 6).unwrap_or(any);
    for _ in 0..1 + (seed >> 16) % 3 {
        let part = &mut parts[at].1;
        let len = part.len();
        part.resize(len + GROWTH, 0);
        let changed = bytes(part, len, len + GROWTH);
        part.truncate(changed);
    }
    let file = sealed(&parts);
    if file.len() > most {
        return bytes(data, size, most);
    }
    data[..file.len()].copy_from_slice(&file);
    file.len()
}

/// Kind and bytes of each section, where a file has a table of them.
pub fn sections(file: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    let word = |at: usize| Some(u32::from_le_bytes(*file.get(at..at + 4)?.first_chunk()?));
    let count = word(12)?;
    let entries = (0..count.min(16) as usize).map(|i| HEADER_BYTES + i * ENTRY_BYTES);
    entries
        .map(|entry| {
            let (kind, offset, len) = (word(entry)?, word(entry + 8)? as usize, word(entry + 16)? as usize);
            Some((kind, file.get(offset..offset.checked_add(len)?)?.to_vec()))
        })
        .collect()
}

/// A file of these sections, with right lengths and hashes.
pub fn sealed(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let table_end = HEADER_BYTES + sections.len() * ENTRY_BYTES;
    let (mut table, mut body) = (Vec::new(), Vec::new());
    for (kind, data) in sections {
        let offset = table_end + body.len();
        body.extend(data);
        body.resize(body.len().next_multiple_of(SECTION_ALIGNMENT), 0);
        table.extend(kind.to_le_bytes());
        table.extend([0; 4]);
        table.extend((offset as u64).to_le_bytes());
        table.extend((data.len() as u64).to_le_bytes());
        table.extend([0; 8]);
        table.extend(blake3::hash(&body[offset - table_end..]).as_bytes());
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT_MAJOR.to_le_bytes());
    bytes.extend(FORMAT_MINOR.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    bytes.extend(((table_end + body.len()) as u64).to_le_bytes());
    bytes.extend([0; 8]);
    let hash = blake3::Hasher::new().update(&bytes).update(&table).finalize();
    bytes.extend(hash.as_bytes());
    bytes.extend(table);
    bytes.extend(body);
    bytes
}
