//! The committed inputs of a target, one after the other.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Fewer inputs than this are no corpus.
const FEWEST: usize = 8;

/// Gives every input of `fuzz/corpus/TARGET` to the target's entry; a panic says which input it is about.
pub(crate) fn replay(target: &str, mut entry: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    assert!(files.len() >= FEWEST, "{}: {} inputs", folder.display(), files.len());
    for file in files {
        let bytes = fs::read(&file).expect("a readable file");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| entry(&bytes))) {
            // Past the capture of the message above.
            eprintln!("input {}", file.display());
            resume_unwind(panic);
        }
    }
}
