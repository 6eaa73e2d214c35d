//! Artifacts: a section is changed and the file sealed again, so that what follows the hashes is reached.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use releqc_fuzz_entries::{artifact::artifact, container};

fuzz_target!(|bytes: &[u8]| artifact(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    container::mutate(data, size, max_size, seed, fuzzer_mutate)
});
