//! Assembly text of accelerator programs and back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use releqc_fuzz_entries::accelerator::assembler;

fuzz_target!(|bytes: &[u8]| assembler(bytes));
