//! Descriptions of accelerators.

#![no_main]

#[path = "../entries/data.rs"]
#[allow(dead_code, reason = "shared by two targets")]
mod data;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| data::machine(bytes));
