//! Files of data sets.

#![no_main]

#[path = "../entries/data.rs"]
#[allow(dead_code, reason = "shared by two targets")]
mod data;

use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("releqc-fuzz-data-{}", std::process::id())));

fuzz_target!(|bytes: &[u8]| data::data(bytes, &FOLDER));
