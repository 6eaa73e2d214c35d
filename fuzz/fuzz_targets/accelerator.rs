//! Encoded accelerator programs: what is accepted runs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use releqc_fuzz_entries::accelerator::accelerator;

fuzz_target!(|bytes: &[u8]| accelerator(bytes));
