//! Bytes of files of a data set, and of a description of a machine: read or refused.

use releqc_passes::data::{Input, Reading, load, load_for_evaluation};
use releqc_passes::ir::{ElementType, Shape};
use releqc_passes::machine::Machine;
use std::fs;
use std::path::Path;

/// Names of the files that a data set consists of, by kind.
const KINDS: &[&[&str]] = &[
    &["x.npy"],
    &["data.npz"],
    &["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
    &["data_batch_1.bin"],
    &["data_batch_1.bin.gz"],
    &["cat/a.png", "dog/b.png"],
    &["a.jpg"],
    &["x.npy", "y.npy"],
    &["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"],
];

/// Writes the files that `bytes` state below `folder`, which is emptied, and reads them for a small network.
///
/// The first byte chooses the kind, the second the network's inputs; of several files each but the last has its length in front, u16.
///
/// # Panics
/// Where what was read is no data set.
pub fn data(bytes: &[u8], folder: &Path) {
    let [kind, inputs, rest @ ..] = bytes else { return };
    let names = KINDS[usize::from(*kind) % KINDS.len()];
    let path = write(names, rest, folder).expect("a folder that can be written");
    let reading = reading(*inputs);
    if let Ok(splits) = load(&path, &reading) {
        let len: usize = reading.inputs.iter().map(|input| input.shape.len()).sum();
        for set in [splits.train, splits.validation, splits.test].into_iter().flatten() {
            let mut sample = vec![0.0; len];
            (0..set.len()).take(3).for_each(|i| set.read(i, &mut sample));
            assert!(set.labels().is_none_or(|labels| labels.len() == set.len()), "a label a sample");
        }
    }
    drop(load_for_evaluation(&path, &reading));
}

/// The files; yields what is to be read.
fn write(names: &[&str], mut bytes: &[u8], folder: &Path) -> std::io::Result<std::path::PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for (i, name) in names.iter().enumerate() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let content = match bytes {
            [low, high, rest @ ..] if i + 1 < names.len() => {
                let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
                let (content, after) = rest.split_at(len);
                bytes = after;
                content
            }
            all => all,
        };
        fs::write(path, content)?;
    }
    Ok(match names {
        [only] if only.starts_with("x.") || only.ends_with(".npz") => folder.join(only),
        _ => folder.to_owned(),
    })
}

fn reading(choice: u8) -> Reading {
    let input = |name: &str, shape: Shape, element| Input { name: name.into(), shape, element };
    let float = ElementType::F32;
    let inputs = match choice % 5 {
        0 => vec![input("x", Shape::image(3, 2, 2), float)],
        1 => vec![input("x", Shape::image(1, 2, 3), float)],
        2 => vec![input("x", Shape::vector(4), float)],
        3 => vec![input("x", Shape::image(3, 32, 32), ElementType::U8)],
        _ => vec![input("x", Shape::vector(2), float), input("y", Shape::vector(3), ElementType::I64)],
    };
    Reading { inputs, ..Reading::of(&Shape::vector(1)) }
}

/// Reads a description of a machine.
pub fn machine(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(machine) = Machine::read("fuzzed", text) {
        machine.config.check().expect("what is read is in range");
        assert!(machine.energies().is_some(), "its table of energies is there");
    }
}
