//! Inputs that fuzzing has kept, through the entries of the fuzz targets (docs/testing.md).

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../../fuzz/entries/accelerator.rs"]
mod accelerator;
#[path = "../../fuzz/entries/artifact.rs"]
mod artifact;
#[path = "random_network/mod.rs"]
#[allow(dead_code, reason = "shared by tests")]
mod random_network;
#[path = "../../fuzz/entries/replay.rs"]
#[allow(dead_code, reason = "shared by tests")]
mod replay;

use replay::replay;

#[test]
fn artifacts() {
    replay("artifact", artifact::artifact);
}

#[test]
fn accelerator_programs() {
    replay("accelerator", accelerator::accelerator);
}

#[test]
fn assembly_text() {
    replay("assembler", accelerator::assembler);
}
