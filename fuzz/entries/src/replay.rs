//! The committed inputs of a target, one after the other.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Fewer inputs than this are no corpus.
const FEWEST: usize = 8;

/// Gives every input of `fuzz/corpus/TARGET` to the target's entry.
///
/// # Panics
/// Where the entry does, with the names of all inputs that made it.
pub fn replay(target: &str, mut entry: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    assert!(files.len() >= FEWEST, "{}: {} inputs", folder.display(), files.len());
    all(
        files.into_iter().map(|file| (file.display().to_string(), fs::read(file).expect("a readable file"))),
        &mut entry,
    );
}

/// Gives every input to the entry.
///
/// # Panics
/// Where the entry does, with the names of all inputs that made it.
pub fn all(inputs: impl Iterator<Item = (String, Vec<u8>)>, entry: &mut impl FnMut(&[u8])) {
    let mut failures = Vec::new();
    for (name, bytes) in inputs {
        if catch_unwind(AssertUnwindSafe(|| entry(&bytes))).is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{} inputs fail: {failures:#?}", failures.len());
}
