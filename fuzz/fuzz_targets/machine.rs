//! Descriptions of accelerators.

#![no_main]

use libfuzzer_sys::fuzz_target;
use releqc_fuzz_entries::data::machine;

fuzz_target!(|bytes: &[u8]| machine(bytes));
