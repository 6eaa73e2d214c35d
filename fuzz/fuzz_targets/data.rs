//! Files of data sets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use releqc_fuzz_entries::data::data;
use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("releqc-fuzz-data-{}", std::process::id())));

fuzz_target!(|bytes: &[u8]| data(bytes, &FOLDER));
