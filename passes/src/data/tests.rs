//! The readers on files made here, and on the real ones where they are present.

use super::*;
use crate::ir::Shape;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn idx(kind: u8, dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn reading(preprocessing: Option<&Preprocessing>, shape: &Shape) -> Reading {
    Reading { preprocessing: preprocessing.cloned(), ..Reading::of(shape) }
}

fn load(path: &Path, preprocessing: Option<&Preprocessing>, shape: &Shape) -> Result<Splits, DataError> {
    super::load(path, &reading(preprocessing, shape))
}

fn load_for_evaluation(
    path: &Path,
    preprocessing: Option<&Preprocessing>,
    shape: &Shape,
) -> Result<(Part, Dataset), DataError> {
    super::load_for_evaluation(path, &reading(preprocessing, shape))
}

fn sample(data: &Dataset, index: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.shape().len()];
    data.read(index, &mut out);
    out
}

/// The message of an error, the temporary folder replaced.
fn message(dir: &Path, shape: &Shape) -> String {
    let error = load(dir, Some(&Preprocessing::Raw), shape).expect_err("an error is expected");
    error.to_string().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn idx_parts_are_told_by_their_names_and_files_by_their_rank() {
    let dir = folder(&[
        ("train-images-idx3-ubyte.gz", &gzip(&idx(8, &[2, 1, 2], &[1, 2, 3, 4]))),
        ("train-labels-idx1-ubyte.gz", &gzip(&idx(8, &[2], &[7, 8]))),
        ("t10k-images-idx3-ubyte", &idx(8, &[1, 1, 2], &[5, 6])),
        ("t10k-labels-idx1-ubyte", &idx(8, &[1], &[9])),
        ("readme.txt", b"ignored"),
    ]);
    let shape = Shape::image(1, 1, 2);
    let splits = load(dir.path(), Some(&Preprocessing::Raw), &shape).unwrap();
    let train = splits.train.unwrap();
    assert_eq!((sample(&train, 1), train.labels()), (vec![3.0, 4.0], Some(&[7, 8][..])));
    assert_eq!(sample(&splits.test.unwrap(), 0), [5.0, 6.0]);
    assert!(splits.validation.is_none() && !splits.unnamed);
    // A network over features takes the same files.
    assert!(load(dir.path(), None, &Shape::vector(2)).is_ok());
    let (part, data) = load_for_evaluation(dir.path(), None, &shape).unwrap();
    assert_eq!((part, data.len(), sample(&data, 0)), (Part::Test, 1, vec![5.0 / 255.0, 6.0 / 255.0]));
}

#[test]
fn signed_idx_samples_are_values() {
    let dir =
        folder(&[("inputs.idx", &idx(9, &[1, 1, 1, 2], &[0xff, 127])), ("labels.idx", &idx(12, &[1], &[0, 0, 0, 3]))]);
    let shape = Shape::image(1, 1, 2);
    let splits = load(dir.path(), Some(&Preprocessing::Raw), &shape).unwrap();
    assert!(splits.unnamed);
    let data = splits.train.unwrap();
    assert_eq!((sample(&data, 0), data.labels()), (vec![-1.0, 127.0], Some(&[3][..])));
    let shifted = Preprocessing::Normalize { mean: vec![-1.0 / 255.0], std: vec![1.0] };
    assert_eq!(sample(&load(dir.path(), Some(&shifted), &shape).unwrap().train.unwrap(), 0)[0], 0.0);
}

#[test]
fn damaged_idx_files_are_named() {
    let shape = Shape::image(1, 1, 2);
    let labels: &[u8] = &idx(8, &[1], &[7]);
    let check = |samples: &[u8], labels: &[u8]| {
        let dir = folder(&[("train-images-idx3-ubyte", samples), ("train-labels-idx1-ubyte", labels)]);
        message(dir.path(), &shape)
    };
    let good = idx(8, &[1, 1, 2], &[1, 2]);
    assert_eq!(
        check(&good[..good.len() - 1], labels),
        "data DIR/train-images-idx3-ubyte: truncated: 1 bytes after the header, which states 2"
    );
    assert_eq!(
        check(&[&good[..], &[0]].concat(), labels),
        "data DIR/train-images-idx3-ubyte: bytes follow the 2 that the header states"
    );
    let packed = gzip(&idx(8, &[1, 1, 2], &[1, 2]));
    assert_eq!(
        check(&packed[..packed.len() - 9], labels),
        "data DIR/train-images-idx3-ubyte: truncated: the file ends inside the data"
    );
    assert_eq!(
        check(b"hello, world", labels),
        "data DIR/train-images-idx3-ubyte: IDX type 0x6c; 08, 09, 0b, 0c or 0d is required"
    );
    assert_eq!(
        check(&idx(8, &[2, 1, 2], &[1, 2, 3, 4]), labels),
        "data DIR/train-images-idx3-ubyte: 2 samples, but 1 labels in DIR/train-labels-idx1-ubyte"
    );
    assert_eq!(
        check(&idx(8, &[1, 2, 2], &[1, 2, 3, 4]), labels),
        "data DIR/train-images-idx3-ubyte: samples are 2x2; the network takes 1x1x1x2"
    );
    assert_eq!(
        check(&idx(8, &[u32::MAX, u32::MAX, 2], &[]), &idx(8, &[u32::MAX], &[])),
        "data DIR/train-labels-idx1-ubyte: truncated: 0 bytes after the header, which states 4294967295"
    );
    assert_eq!(
        check(&good, &good),
        "data DIR: 2 IDX sample file(s) (rank 2 and up) and 0 label file(s) (rank 1); one of each is required"
    );
}

/// CIFAR-10 records whose pixels all are `label * 20`.
fn cifar(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|&l| std::iter::once(l).chain(std::iter::repeat_n(l * 20, 3072))).collect()
}

#[test]
fn cifar_files_are_joined_in_name_order() {
    let dir = folder(&[
        ("data_batch_2.bin", &cifar(&[5])),
        ("data_batch_1.bin.gz", &gzip(&cifar(&[3, 4]))),
        ("test_batch.bin", &cifar(&[9])),
        ("batches.meta.txt", b"airplane"),
    ]);
    let shape = Shape::image(3, 32, 32);
    let splits = load(dir.path(), Some(&Preprocessing::Raw), &shape).unwrap();
    assert_eq!(splits.train.unwrap().labels(), Some(&[3, 4, 5][..]));
    assert_eq!(sample(&splits.test.unwrap(), 0)[3071], 180.0);
    assert_eq!(
        message(dir.path(), &Shape::image(1, 28, 28)),
        "data DIR/data_batch_1.bin.gz: samples are 3x32x32; the network takes 1x1x28x28"
    );
}

#[test]
fn a_packed_copy_of_a_file_is_not_read_twice() {
    let records = cifar(&[1]);
    let dir = folder(&[("train.bin", &records), ("train.bin.gz", &gzip(&records))]);
    let splits = load(dir.path(), None, &Shape::image(3, 32, 32)).unwrap();
    assert_eq!(splits.train.unwrap().len(), 1);
    assert!(matches!(
        load_for_evaluation(dir.path(), None, &Shape::image(3, 32, 32)),
        Err(DataError::NoTestPart { .. })
    ));
}

#[test]
fn other_binary_files_are_no_cifar() {
    let shape = Shape::image(3, 32, 32);
    let check = |bytes: &[u8]| message(folder(&[("train.bin", bytes)]).path(), &shape);
    let short = |text: String| text.split("train.bin").last().unwrap_or_default().to_owned();
    assert_eq!(short(check(&[0; 100])), ": 100 bytes are no whole number of CIFAR-10 records of 3073 bytes");
    assert_eq!(short(check(&cifar(&[10]))), ": label 10 in record 0; 0..=9 is required: no CIFAR-10 binary file");
}

#[test]
fn names_must_all_state_a_part_or_none() {
    let dir = folder(&[("train.bin", &cifar(&[1])), ("more.bin", &cifar(&[2]))]);
    let text = message(dir.path(), &Shape::image(3, 32, 32));
    assert_eq!(text, "data DIR: the name of more.bin states neither train, val nor test, as others here do");
    let dir = folder(&[("a.bin", &cifar(&[1])), ("b.idx", &idx(8, &[1], &[1]))]);
    let text = message(dir.path(), &Shape::image(3, 32, 32));
    assert_eq!(text, "data DIR: it holds IDX files and CIFAR-10 binary files; only one kind is allowed");
}

fn png(path: &Path, width: u32, height: u32, pixel: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(width, height, image::Rgb(pixel)).save(path).unwrap();
}

#[test]
fn image_folders_have_classes_and_maybe_parts() {
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("train/cat/1.png"), 2, 1, [1, 2, 3]);
    png(&dir.path().join("train/dog/1.png"), 2, 1, [4, 5, 6]);
    png(&dir.path().join("val/dog/1.png"), 2, 1, [7, 8, 9]);
    let splits = load(dir.path(), Some(&Preprocessing::Raw), &Shape::image(3, 1, 2)).unwrap();
    let (train, validation) = (splits.train.unwrap(), splits.validation.unwrap());
    assert_eq!(train.labels(), Some(&[0, 1][..]));
    assert_eq!(sample(&train, 0), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    // dog keeps its index although the validation part has no cat.
    assert_eq!(validation.labels(), Some(&[1][..]));
    // One channel: grey.
    let (part, grey) = load_for_evaluation(dir.path(), Some(&Preprocessing::Raw), &Shape::image(1, 1, 2)).unwrap();
    assert_eq!((part, sample(&grey, 0)), (Part::Validation, vec![8.0, 8.0]));
    let whole = load(&dir.path().join("train"), None, &Shape::image(3, 1, 2)).unwrap();
    assert!(whole.unnamed && whole.train.unwrap().len() == 2);
    assert_eq!(
        message(dir.path(), &Shape::image(3, 4, 4)),
        "data DIR/train/cat/1.png: samples are an image of 1x2 (height x width; images are resized only by --resize and --crop); the network takes 1x3x4x4"
    );
    fs::write(dir.path().join("train/cat/2.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    assert!(
        message(dir.path(), &Shape::image(3, 1, 2))
            .starts_with("data DIR/train/cat/2.png: the image cannot be decoded")
    );
}

#[test]
fn nothing_recognised_says_what_was_looked_for() {
    let shape = Shape::image(3, 1, 2);
    let dir = folder(&[("notes.txt", b""), ("more.txt", b"")]);
    assert_eq!(
        message(dir.path(), &shape),
        "data DIR: nothing recognised; looked for IDX files (*idx*, *ubyte*), CIFAR-10 binary files (*.bin) (both also .gz), \
         class folders with *.png or *.jpg, train / val / test folders of such, *.png or *.jpg without labels, .npy files, or an .npz file; \
         found more.txt, notes.txt"
    );
    assert!(message(folder(&[]).path(), &shape).ends_with("found an empty folder"));
    assert!(message(&dir.path().join("notes.txt"), &shape).ends_with("found a single file"));
    assert_eq!(message(&dir.path().join("absent"), &shape), "data DIR: no such file or folder");
}

/// An archive with one member an array, deflated where asked.
fn npz(arrays: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, plain) in arrays {
        let name = format!("{name}.npy");
        let mut crc = flate2::Crc::new();
        crc.update(plain);
        let data = if deflate {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        } else {
            plain.clone()
        };
        let mut fields = vec![20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0];
        fields.extend(crc.sum().to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend((plain.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&fields);
        file.extend(name.as_bytes());
        file.extend(data);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([(arrays.len() as u16).to_le_bytes(); 2].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn array(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

#[test]
fn npz_archives_hold_pixels_or_values() {
    let shape = Shape::image(2, 1, 2);
    let pixels = array("|u1", "(1, 1, 2, 2)", &[1, 2, 3, 4]);
    for deflate in [false, true] {
        let archive = npz(&[("x", pixels.clone()), ("y", array("<i8", "(1,)", &[3, 0, 0, 0, 0, 0, 0, 0]))], deflate);
        let dir = folder(&[("data.npz", &archive)]);
        let path = dir.path().join("data.npz");
        // Stored as [row][column][channel].
        let data = load(&path, Some(&Preprocessing::Raw), &shape).unwrap();
        assert!(data.unnamed);
        let data = data.train.unwrap();
        assert_eq!((sample(&data, 0), data.labels()), (vec![1.0, 3.0, 2.0, 4.0], Some(&[3][..])));
        for end in [archive.len() - 1, archive.len() / 2, 10, 0] {
            fs::write(&path, &archive[..end]).unwrap();
            assert!(load(&path, None, &shape).is_err(), "{end} bytes");
        }
        let mut changed = archive.clone();
        let last_pixel = 30 + "x.npy".len() + if deflate { 20 } else { pixels.len() - 1 };
        changed[last_pixel] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(load(&path, None, &shape).is_err(), "a changed byte");
    }
    let floats: Vec<u8> = [0.5f32, -1.0, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let archive = npz(
        &[
            ("x_train", array("<f4", "(1, 2, 1, 2)", &floats)),
            ("y_train", array("|u1", "(1, 1)", &[0])),
            ("x_test", array("<f4", "(1, 2, 1, 2)", &floats)),
            ("y_test", array("|u1", "(2,)", &[0, 1])),
        ],
        false,
    );
    let dir = folder(&[("data.npz", &archive)]);
    let text = message(&dir.path().join("data.npz"), &shape);
    assert_eq!(text, "data DIR/x_test: 1 samples, but 2 labels in DIR/y_test");
}

/// Damaged archives and files give an error or other samples, never a panic.
#[test]
fn no_change_of_one_byte_panics() {
    let archive = npz(&[("x", array("|u1", "(1, 2)", &[1, 2])), ("y", array("|u1", "(1,)", &[3]))], true);
    let dir = folder(&[("data.npz", &archive), ("i/a.idx", &[]), ("i/b.idx", &idx(8, &[1], &[1]))]);
    let shape = Shape::vector(2);
    for at in 0..archive.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = archive.clone();
            changed[at] ^= flip;
            fs::write(dir.path().join("data.npz"), &changed).unwrap();
            let _ = load(&dir.path().join("data.npz"), None, &shape);
        }
    }
    let samples = idx(8, &[1, 2], &[1, 2]);
    for at in 0..samples.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = samples.clone();
            changed[at] ^= flip;
            fs::write(dir.path().join("i/a.idx"), &changed).unwrap();
            let _ = load(&dir.path().join("i"), None, &shape);
        }
    }
}

/// Data sets that are not part of the repository.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RELEQC_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("data").join(name);
    if !path.exists() {
        assert!(std::env::var_os("RELEQC_REQUIRE_SHARED").is_none(), "{} is absent", path.display());
        // Past the capture of test output: a skipped test must be seen.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("skipped: {} is absent\n", path.display()).as_bytes(),
        );
        return None;
    }
    Some(path)
}

#[test]
fn the_real_files_are_read() {
    if let Some(path) = shared("mnist") {
        let splits = load(&path, None, &Shape::image(1, 28, 28)).unwrap();
        let (train, test) = (splits.train.unwrap(), splits.test.unwrap());
        assert_eq!((train.len(), test.len()), (60_000, 5_000));
        assert_eq!(train.labels().unwrap()[..5], [5, 0, 4, 1, 9]);
        assert_eq!(test.labels().unwrap()[..5], [7, 2, 1, 0, 4]);
        assert!((sample(&train, 0).iter().sum::<f32>() - 107.99).abs() < 0.1);
    }
    if let Some(path) = shared("cifar10") {
        let splits = load(&path, None, &Shape::image(3, 32, 32)).unwrap();
        assert_eq!((splits.train.unwrap().len(), splits.test.unwrap().len()), (30_000, 5_000));
    }
    if let Some(path) = shared("kws01") {
        let splits = load(&path, Some(&Preprocessing::Raw), &Shape::image(1, 49, 10)).unwrap();
        let data = splits.train.unwrap();
        assert_eq!((data.len(), data.labels().unwrap().iter().max()), (500, Some(&11)));
    }
}
