//! The ONNX files beside the project: which there are, the extents that some leave open, weights in other files.

use releqc_passes::onnx::external::{Location, embed};
use std::collections::BTreeMap;
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

/// The models of a folder, in name order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    files.sort();
    files
}

/// Extents of the inputs that a file of this name leaves open.
pub fn extents(name: &str) -> BTreeMap<String, Vec<usize>> {
    let given = SHAPES.iter().filter(|(file, ..)| *file == name);
    given.map(|(_, input, dims)| ((*input).to_owned(), dims.to_vec())).collect()
}

/// The bytes of a model, with weights that lie in other files.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut read = |location: &Location| {
        let bytes = std::fs::read(path.with_file_name(&location.file)).map_err(|error| error.to_string())?;
        let start = usize::try_from(location.offset).unwrap();
        let part = bytes.get(start..start + usize::try_from(location.len).unwrap());
        part.map(<[u8]>::to_vec).ok_or_else(|| "external data: too short".to_owned())
    };
    embed(std::fs::read(path).unwrap(), &mut read).map_err(|error| error.to_string())
}
