//! The `.rq` artifact: one file that holds a network, its weights and its accelerator program.
//!
//! docs/format.md specifies every byte. Reading checks all of it: magic, version, length, hashes, bounds, and every invariant
//! of the program, before anything runs. No bytes make it panic or loop; while parsing it allocates at most
//! [`PARSE_MEMORY_FACTOR`] times the length of the file.

mod artifact;
mod container;
mod plan;
mod words;
#[cfg(feature = "encode")]
mod write;

pub use artifact::{Artifact, LoadOptions, Metadata};
pub use container::{FORMAT_MAJOR, FORMAT_MINOR, MAGIC, SECTION_ALIGNMENT, SectionKind};
#[cfg(feature = "encode")]
pub(crate) use words::WordSink;
pub(crate) use words::Words;
#[cfg(feature = "encode")]
pub use write::{ArtifactParts, encode};

/// Bound on memory allocated while parsing, as a multiple of the file's length (the bytes themselves not counted).
pub const PARSE_MEMORY_FACTOR: usize = 16;

/// Default bound on the activation memory that a program states, in bytes; a session adds halos, windows and weights of its own.
pub const DEFAULT_ACTIVATION_LIMIT: u64 = 1 << 30;
