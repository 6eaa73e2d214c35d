//! Every file beside the project imports, but for those that are listed with their reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::shared_files::{extents, files, read};
use common::shared_models;
use releqc_passes::import::{ImportOptions, import};
use std::path::Path;

/// Files that are refused, with a part of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("batch_norm_training_opset_11", "training mode"),
    ("bomb_concat", "computed from constants"),
    ("bomb_fill", "computed from constants"),
    ("bomb_range", "computed from constants"),
    ("external_parent", "external data"),
    ("external_short", "external data"),
];

fn imported(path: &Path) -> Result<(), String> {
    let bytes = read(path)?;
    let name = path.file_stem().unwrap().to_str().unwrap();
    let options = ImportOptions { shapes: extents(name), ..Default::default() };
    import(&bytes, &options)
        .map(drop)
        .map_err(|error| error.findings().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[test]
fn files_beside_the_project_import() {
    let Some(folder) = shared_models() else { return };
    let folders = [folder.clone(), folder.join("thirdparty"), folder.join("real"), folder.join("exports")];
    let found = folders.iter().chain([&folder.join("../cases")]).flat_map(|folder| files(folder)).collect::<Vec<_>>();
    assert!(found.len() > 150, "{}", found.len());
    let mut wrong = Vec::new();
    for path in found {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let reason = REFUSED.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
        match (imported(&path), reason) {
            (Ok(()), None) => {}
            (Err(text), Some(reason)) if text.contains(reason) => {}
            (result, reason) => wrong.push(format!("{name}: {result:?}, to be refused: {reason:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
