//! Artifacts: a section is changed and the file sealed again, so that what follows the hashes is reached.

#![no_main]

#[path = "../container.rs"]
mod container;
#[path = "../entries/artifact.rs"]
mod entry;

use container::{sealed, sections};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use releqc_runtime::format::SectionKind;

/// Bytes that a section may grow by at a time.
const GROWTH: usize = 64;

fuzz_target!(|bytes: &[u8]| entry::artifact(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let Some(mut parts) = sections(&data[..size]).filter(|parts| !parts.is_empty() && seed % 32 != 0) else {
        return fuzzer_mutate(data, size, max_size);
    };
    // Most of what can go wrong is in the plan.
    let plan = parts.iter().position(|(kind, _)| *kind == SectionKind::Plan as u32);
    let any = (seed >> 8) as usize % parts.len();
    let at = plan.filter(|_| seed / 32 % 8 < 6).unwrap_or(any);
    for _ in 0..1 + (seed >> 16) % 3 {
        let part = &mut parts[at].1;
        let len = part.len();
        part.resize(len + GROWTH, 0);
        let most = part.len();
        let changed = fuzzer_mutate(part, len, most);
        part.truncate(changed);
    }
    let file = sealed(&parts);
    if file.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..file.len()].copy_from_slice(&file);
    file.len()
});
