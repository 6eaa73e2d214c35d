//! Calling the binary and looking at what it leaves.

use crate::onnx;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with a model and its artifact.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a call said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// A folder with `small.onnx`.
    pub(crate) fn new() -> Self {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.write("small.onnx", &onnx::small());
        place
    }

    /// .. and `small.rq`, compiled with three widths.
    pub(crate) fn compiled() -> Self {
        let place = Self::new();
        let answer = place.releqc(&["small.onnx", "-o", "small.rq", "--bits", "8,3,5", "--quiet"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(self.dir.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// Calls the binary inside the folder.
    pub(crate) fn releqc(&self, args: &[&str]) -> Answer {
        self.call(args, &[])
    }

    /// .. with words of any bytes, and these variables.
    pub(crate) fn call(&self, args: &[impl AsRef<OsStr>], env: &[(&str, &str)]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_releqc"));
        command.args(args).envs(env.iter().copied()).current_dir(self.dir.path());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// A grey picture of one level, or a colour one.
    pub(crate) fn picture(&self, name: &str, [rows, columns]: [u32; 2], pixel: [u8; 3]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(columns, rows, image::Rgb(pixel)).save(path).unwrap();
    }

    /// The JSON object of a call that succeeds.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let answer = self.releqc(&[args, &["--json"]].concat());
        assert_eq!(answer.code, Some(0), "{args:?}: {answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

/// A `.npy` file of f32 values.
pub(crate) fn npy(dims: &[usize], values: &[f32]) -> Vec<u8> {
    let dims: String = dims.iter().map(|d| format!("{d},")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims})}}");
    header.extend(std::iter::repeat_n(' ', 118 - header.len() - 1));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// The values of a `.npy` file of f32.
pub(crate) fn npy_values(bytes: &[u8]) -> Vec<f32> {
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// `rows` samples for the small network, values beyond the calibrated range and a NaN among them.
pub(crate) fn samples(rows: usize) -> Vec<u8> {
    let mut values: Vec<f32> = (0..rows * 288).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 180.0).collect();
    values[5] = f32::NAN;
    values[6] = f32::INFINITY;
    values[7] = -1e30;
    npy(&[rows, 2, 12, 12], &values)
}

/// An IDX file.
pub(crate) fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// A snapshot in the repository's folder of snapshots.
pub(crate) fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Labelled images of five classes in `data/`, each a bright square at its own place under noise.
pub(crate) fn squares(place: &Place, samples: u32) {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let mut state = 1u32;
    for sample in 0..samples {
        let class = sample % 5;
        let (top, left) = (2 * class as usize, (3 * class as usize) % 8);
        for i in 0..288usize {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (row, column) = (i % 144 / 12, i % 12);
            let inside = (top..top + 4).contains(&row) && (left..left + 4).contains(&column);
            pixels.push((state >> 25) as u8 + if inside { 120 } else { 0 });
        }
        labels.push(class as u8);
    }
    place.write("data/train-images.idx", &idx(&[samples, 2, 12, 12], &pixels));
    place.write("data/train-labels.idx", &idx(&[samples], &labels));
}
