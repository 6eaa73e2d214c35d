//! A loaded artifact.

use super::container::{self, Container, SectionKind};
use super::words::Words;
use super::{DEFAULT_ACTIVATION_LIMIT, plan};
use crate::FormatError;
use crate::kernels::AlignedBytes;
use crate::program::{Conv, Program};
use crate::verify;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Facts about the network and how it was compiled, as text under dotted keys.
pub type Metadata = BTreeMap<String, String>;

/// Limits of loading.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Bound on the dense activation arena and the float slots, in bytes, and on the outputs beside them.
    pub activation_limit: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { activation_limit: DEFAULT_ACTIVATION_LIMIT }
    }
}

#[derive(Clone)]
enum Bytes {
    /// Begin at a cache line, as mapped files do; with their number.
    Owned(Arc<AlignedBytes>, usize),
    Mapped(Arc<Mmap>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes, len) => &bytes[..*len],
            Bytes::Mapped(map) => map,
        }
    }
}

/// A checked artifact: the file's bytes, used in place, and its decoded program. Clones share both.
#[derive(Clone)]
pub struct Artifact {
    bytes: Bytes,
    container: Arc<Container>,
    program: Arc<Program>,
    metadata: Arc<Metadata>,
}

impl Artifact {
    /// Reads a file and checks every byte of it, within the default limits. What happens to the file afterwards does not matter.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit the memory, or a [`FormatError`] (as `InvalidData`) when it is no valid artifact.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_within(path, LoadOptions::default())
    }

    /// The same within given limits.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_within(path: &Path, options: LoadOptions) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = [0; container::MAGIC.len()];
        let begins = file.read_exact(&mut magic).is_ok() && magic == container::MAGIC;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if !begins || len < magic.len() {
            return Err(invalid(FormatError::Magic));
        }
        let mut bytes = AlignedBytes::try_zeroed(len).ok_or(io::ErrorKind::OutOfMemory)?;
        bytes[..magic.len()].copy_from_slice(&magic);
        file.read_exact(&mut bytes[magic.len()..len])?;
        Self::load(Bytes::Owned(Arc::new(bytes), len), options).map_err(invalid)
    }

    /// Maps a file instead of reading it: pages come from the system's cache and are shared between processes. Checks every byte of it.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    ///
    /// # Safety
    /// Nobody changes or shortens the file while the artifact, a clone of it or a session of it lives: what was checked would no
    /// longer hold, and bytes that are gone end the process.
    #[allow(unsafe_code, reason = "mapping a file is unsafe by nature: another process may change it")]
    pub unsafe fn map(path: &Path, options: LoadOptions) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Err(invalid(FormatError::Magic));
        }
        // SAFETY: the map is read-only and private, and by the contract the file stays as it is.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
        Self::load(Bytes::Mapped(Arc::new(map)), options).map_err(invalid)
    }

    /// Checks a copy of bytes in memory, which may begin anywhere.
    ///
    /// # Errors
    /// A [`FormatError`] when they are no valid artifact.
    pub fn from_bytes(bytes: impl AsRef<[u8]>, options: LoadOptions) -> Result<Self, FormatError> {
        let bytes = bytes.as_ref();
        let mut copy = AlignedBytes::zeroed(bytes.len());
        copy[..bytes.len()].copy_from_slice(bytes);
        Self::load(Bytes::Owned(Arc::new(copy), bytes.len()), options)
    }

    fn load(bytes: Bytes, options: LoadOptions) -> Result<Self, FormatError> {
        let container = container::open(&bytes)?;
        let program = plan::decode(&bytes[container.range(SectionKind::Plan)])?;
        let limit = options.activation_limit;
        let floats: u64 = program.floats.iter().map(|slot| u64::from(slot.len)).sum();
        let check = |needed| {
            if needed <= limit { Ok(()) } else { Err(FormatError::ActivationMemory { needed, limit }) }
        };
        check(u64::from(program.arena_bytes) + floats * size_of::<f32>() as u64)?;
        let constants = &bytes[container.range(SectionKind::Constants)];
        let weights = &bytes[container.range(SectionKind::Weights)];
        verify::program(&program, constants, weights)?;
        // Several outputs may be the same slot.
        let outputs: u64 = program.outputs.iter().map(|(port, _)| port.len() as u64).sum();
        check(outputs * size_of::<f32>() as u64)?;
        let metadata = decode_metadata(&bytes[container.range(SectionKind::Metadata)])?;
        Ok(Artifact { bytes, container: container.into(), program: program.into(), metadata: metadata.into() })
    }

    /// The network.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Facts about the network and how it was compiled.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Format version, major and minor.
    pub fn version(&self) -> (u16, u16) {
        (container::FORMAT_MAJOR, self.container.minor)
    }

    /// Length of the file.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Name, length and BLAKE3 hash of each section.
    pub fn sections(&self) -> impl Iterator<Item = (String, usize, [u8; 32])> + '_ {
        self.container.summary()
    }

    fn section(&self, kind: SectionKind) -> &[u8] {
        &self.bytes[self.container.range(kind)]
    }

    /// The packed weights of a layer, used in place; begins at a multiple of 64 of the file.
    pub fn weights(&self, conv: &Conv) -> &[u8] {
        &self.section(SectionKind::Weights)[self.weight_range(conv)]
    }

    /// The whole weights section.
    pub fn weights_section(&self) -> &[u8] {
        self.section(SectionKind::Weights)
    }

    /// The whole constants section.
    pub fn constants_section(&self) -> &[u8] {
        self.section(SectionKind::Constants)
    }

    /// Where a layer's packed weights lie in the weights section.
    pub fn weight_range(&self, conv: &Conv) -> Range<usize> {
        let depth = conv.depth(self.program.tensor(conv.x));
        let len = crate::pack::packed_len(conv.outputs as usize, depth, conv.bits).unwrap_or(0);
        conv.weights_offset as usize..conv.weights_offset as usize + len
    }

    /// The biases of a layer, one an output channel.
    pub fn biases(&self, conv: &Conv) -> Vec<i32> {
        self.constant_words(conv.constants_offset, 0, conv.outputs).map(u32::cast_signed).collect()
    }

    /// The multipliers of a layer, one an output channel.
    pub fn multipliers(&self, conv: &Conv) -> Vec<f32> {
        self.constant_words(conv.constants_offset, conv.outputs, conv.outputs).map(f32::from_bits).collect()
    }

    /// The multipliers and addends of an affine operator over `channels` channels.
    pub fn affine(&self, constants_offset: u64, channels: u32) -> (Vec<f32>, Vec<f32>) {
        let words = |first| self.constant_words(constants_offset, first, channels).map(f32::from_bits).collect();
        (words(0), words(channels))
    }

    fn constant_words(&self, offset: u64, first: u32, count: u32) -> impl Iterator<Item = u32> + '_ {
        let start = offset as usize + first as usize * 4;
        let bytes = &self.section(SectionKind::Constants)[start..start + count as usize * 4];
        bytes.chunks_exact(4).map(|word| word.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// The encoded accelerator program; empty where the artifact has none.
    pub fn accelerator(&self) -> &[u8] {
        self.section(SectionKind::Accelerator)
    }
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact").field("size_bytes", &self.size_bytes()).finish_non_exhaustive()
    }
}

fn invalid(error: FormatError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn decode_metadata(bytes: &[u8]) -> Result<Metadata, FormatError> {
    let mut words = Words::new("metadata section", bytes);
    let count = words.count("entries", 8)?;
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let key = words.string()?;
        if metadata.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(words.error("keys must ascend"));
        }
        metadata.insert(key, words.string()?);
    }
    words.end()?;
    Ok(metadata)
}
