//! Every file beside the project imports, but for those that are listed with their reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::shared_models;
use releqc_passes::import::{ImportOptions, import};
use releqc_passes::onnx::external::embed;
use std::path::{Path, PathBuf};

/// Extents of inputs that a file leaves open.
const SHAPES: &[(&str, &str, &[usize])] = &[
    ("attacut_c", "input", &[1, 16]),
    ("mtcnn_pnet", "input_1", &[1, 64, 64, 3]),
    ("ppocr2_cls", "x", &[1, 3, 48, 192]),
    ("ppocr4_det", "x", &[1, 3, 320, 320]),
    ("ppocr4_rec", "x", &[1, 3, 48, 320]),
    ("yunet_s_dynamic", "input", &[1, 3, 320, 320]),
    ("dynamic_height_width", "x", &[1, 3, 16, 16]),
];

/// Files that are refused, with a part of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("batch_norm_training_opset_11", "training mode"),
    ("bomb_concat", "computed from constants"),
    ("bomb_fill", "computed from constants"),
    ("bomb_range", "computed from constants"),
    ("external_parent", "external data"),
    ("external_short", "external data"),
];

fn models(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    files.sort();
    files
}

fn imported(path: &Path) -> Result<(), String> {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let mut read = |location: &releqc_passes::onnx::external::Location| {
        let bytes = std::fs::read(path.with_file_name(&location.file)).map_err(|error| error.to_string())?;
        let start = usize::try_from(location.offset).unwrap();
        let part = bytes.get(start..start + usize::try_from(location.len).unwrap());
        part.map(<[u8]>::to_vec).ok_or_else(|| "external data: too short".to_owned())
    };
    let bytes = embed(std::fs::read(path).unwrap(), &mut read).map_err(|error| error.to_string())?;
    let given = SHAPES.iter().filter(|(file, ..)| *file == name);
    let shapes = given.map(|(_, input, dims)| ((*input).to_owned(), dims.to_vec())).collect();
    let options = ImportOptions { shapes, ..Default::default() };
    import(&bytes, &options)
        .map(drop)
        .map_err(|error| error.findings().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[test]
fn files_beside_the_project_import() {
    let Some(folder) = shared_models() else { return };
    let folders = [folder.clone(), folder.join("thirdparty"), folder.join("real"), folder.join("exports")];
    let files = folders.iter().chain([&folder.join("../cases")]).flat_map(|folder| models(folder)).collect::<Vec<_>>();
    assert!(files.len() > 150, "{}", files.len());
    let mut wrong = Vec::new();
    for path in files {
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
