//! `check` finds nothing exactly where a model compiles at 8 bits: every network of the project and every file beside it.
//!
//! Models of other tests are compared where they are made; random graphs in random_graphs.rs; random models in corpus.rs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops where something is not as it should be"
)]

mod common;

use common::compiles::supported;
use common::shared_files::{extents, files, read};
use common::shared_models;
use releqc_passes::import::{ImportOptions, import};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Products of a file that is compiled here, and its bytes: others take minutes together.
const MOST_PRODUCTS: u64 = 70_000_000;
const MOST_BYTES: usize = 2 << 20;

/// Whether a file takes too long.
fn is_large(bytes: &[u8], options: &ImportOptions) -> bool {
    let products =
        |graph: releqc_passes::ir::Graph| -> u64 { graph.weight_layers().into_iter().map(|id| graph.macs(id)).sum() };
    bytes.len() > MOST_BYTES || import(bytes, options).is_ok_and(|graph| products(graph) > MOST_PRODUCTS)
}

#[test]
fn networks_of_the_project() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let models: Vec<PathBuf> = files(&folder);
    assert!(models.len() >= 4);
    for path in models {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(supported(&bytes, &ImportOptions::default()), Ok(true), "{}", path.display());
    }
}

#[test]
fn files_beside_the_project() {
    let Some(folder) = shared_models() else { return };
    let folders = ["", "thirdparty", "real", "exports", "../cases"].map(|name| folder.join(name));
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| files(folder)).collect();
    assert!(files.len() > 150, "{}", files.len());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let options = ImportOptions { shapes: extents(name), ..ImportOptions::default() };
            let result = match read(path) {
                Ok(bytes) if is_large(&bytes, &options) => None,
                Ok(bytes) => Some(supported(&bytes, &options)),
                // Weights in another file that is not there or too short.
                Err(_) => Some(Ok(false)),
            };
            results.lock().unwrap().push((name, result));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let mut results = results.into_inner().unwrap();
    results.sort();
    let of = |wanted: Option<Result<bool, String>>| -> Vec<&str> {
        results.iter().filter(|(_, result)| *result == wanted).map(|(name, _)| *name).collect()
    };
    let (compiled, refused, large) = (of(Some(Ok(true))), of(Some(Ok(false))), of(None));
    println!("{} compile; refused: {refused:?}; not tried: {large:?}", compiled.len());
    let wrong: Vec<_> = results.iter().filter(|(_, result)| matches!(result, Some(Err(_)))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compiled.len() > 150 && refused.len() < 20 && large.len() < 40, "{results:#?}");
}
