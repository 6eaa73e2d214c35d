//! Writes the ONNX models that the bytes of `network` inputs choose: `models FOLDER NEW` reads FOLDER and writes NEW.

#![allow(clippy::panic, reason = "a program for developers")]

use releqc_fuzz_entries::network::network;
use std::fs;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [inputs, models] = &folders[..] else { panic!("a folder of inputs and one for models") };
    fs::create_dir_all(models)?;
    for entry in fs::read_dir(inputs)? {
        let path = entry?.path();
        let name = path.file_name().expect("an entry has a name").to_owned();
        fs::write(models.join(name).with_extension("onnx"), network(&fs::read(path)?))?;
    }
    Ok(())
}
