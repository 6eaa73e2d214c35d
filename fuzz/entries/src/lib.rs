//! What the fuzz targets of releqc do with their inputs. The targets in `fuzz/` call it, and so do the tests, on inputs that were kept.
//!
//! An entry panics where something is wrong.

#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a panic is a finding")]

pub mod accelerator;
pub mod artifact;
pub mod container;
#[cfg(feature = "compiler")]
pub mod data;
#[cfg(feature = "compiler")]
pub mod model;
#[cfg(feature = "compiler")]
pub mod network;
#[path = "../../../runtime/tests/random_network/mod.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the runtime's tests")]
mod random_network;
pub mod replay;
