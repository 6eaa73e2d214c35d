//! Assembly text of accelerator programs and back.

#![no_main]

#[path = "../entries/accelerator.rs"]
#[allow(dead_code, reason = "shared by two targets")]
mod accelerator;
#[path = "../entries/artifact.rs"]
#[allow(dead_code, reason = "its inputs are used")]
mod artifact;
#[path = "../../runtime/tests/random_network/mod.rs"]
#[allow(dead_code, reason = "shared by tests")]
mod random_network;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| accelerator::assembler(bytes));
