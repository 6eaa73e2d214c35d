//! Writes artifacts. The same parts give the same bytes: no time stamps, no paths, no padding left to chance.

use super::container::{ENTRY_BYTES, HEADER_BYTES, header_hash};
use super::words::WordSink;
use super::{FORMAT_MAJOR, FORMAT_MINOR, MAGIC, Metadata, SECTION_ALIGNMENT, SectionKind, plan};
use crate::program::Program;

/// Everything an artifact holds.
#[derive(Clone, Debug, Default)]
pub struct ArtifactParts {
    /// Facts about the network and how it was compiled.
    pub metadata: Metadata,
    /// Tensors and operators.
    pub program: Program,
    /// Biases and multipliers.
    pub constants: Vec<u8>,
    /// Packed weight codes.
    pub weights: Vec<u8>,
    /// Encoded accelerator program; empty for none.
    pub accelerator: Vec<u8>,
}

/// The bytes of the artifact.
pub fn encode(parts: &ArtifactParts) -> Vec<u8> {
    let mut metadata = WordSink::default();
    metadata.u32(parts.metadata.len() as u32);
    for (key, value) in &parts.metadata {
        metadata.string(key);
        metadata.string(value);
    }
    let sections = [
        (SectionKind::Metadata, metadata.0),
        (SectionKind::Plan, plan::encode(&parts.program)),
        (SectionKind::Constants, parts.constants.clone()),
        (SectionKind::Weights, parts.weights.clone()),
        (SectionKind::Accelerator, parts.accelerator.clone()),
    ];
    let table_end = HEADER_BYTES + sections.len() * ENTRY_BYTES;
    let (mut table, mut body) = (Vec::new(), Vec::new());
    for (kind, data) in &sections {
        let offset = table_end + body.len();
        body.extend(data);
        body.resize(body.len().next_multiple_of(SECTION_ALIGNMENT), 0);
        table.extend((*kind as u32).to_le_bytes());
        table.extend([0; 4]);
        table.extend((offset as u64).to_le_bytes());
        table.extend((data.len() as u64).to_le_bytes());
        table.extend([0; 8]);
        table.extend(blake3::hash(&body[offset - table_end..]).as_bytes());
    }
    let mut bytes = Vec::with_capacity(table_end + body.len());
    bytes.extend(MAGIC);
    bytes.extend(FORMAT_MAJOR.to_le_bytes());
    bytes.extend(FORMAT_MINOR.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    bytes.extend(((table_end + body.len()) as u64).to_le_bytes());
    bytes.extend([0; 8 + 32]);
    bytes.extend(table);
    let hash = header_hash(&bytes, table_end);
    bytes[32..64].copy_from_slice(hash.as_bytes());
    bytes.extend(body);
    bytes
}
