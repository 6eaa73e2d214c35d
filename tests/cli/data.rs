//! Data as people have it: pictures with what file managers leave beside them, arrays without labels, other extents of the same count.

use crate::onnx;
use crate::support::{Place, idx, npy};
use serde_json::Value;
use std::fs;

/// Ten dark and ten bright pictures of 6x6 in `pictures/a_dark` and `pictures/b_bright`, and a network for them.
fn pictures() -> Place {
    let place = Place::new();
    for i in 0..10u8 {
        place.picture(&format!("pictures/a_dark/{i}.png"), [6, 6], [10 * i; 3]);
        place.picture(&format!("pictures/b_bright/{i}.png"), [6, 6], [255 - 10 * i; 3]);
    }
    place.write("grey.onnx", &onnx::brightness(&[1, 6, 6], 0.5));
    place
}

fn top1(place: &Place, model: &str, data: &str) -> f64 {
    place.json(&[model, "-o", "y.rq", "--bits", "8", "--data", data]);
    place.json(&["eval", "y.rq", "--data", data])["top1"].as_f64().unwrap()
}

#[test]
fn an_empty_class_folder_is_refused_by_name() {
    let place = pictures();
    assert_eq!(top1(&place, "grey.onnx", "pictures"), 1.0);
    fs::create_dir(place.path("pictures/aa_none")).unwrap();
    for args in
        [&["grey.onnx", "-o", "z.rq", "--bits", "8", "--data", "pictures"][..], &["eval", "y.rq", "--data", "pictures"]]
    {
        let answer = place.releqc(args);
        assert_eq!(answer.code, Some(2), "{answer:?}");
        assert!(answer.stderr.contains("\"aa_none\" holds no *.png or *.jpg"), "{answer:?}");
    }
    // A class that one part lacks is none: it keeps its index.
    place.picture("parts/train/a/0.png", [6, 6], [0; 3]);
    place.picture("parts/train/b/0.png", [6, 6], [255; 3]);
    place.picture("parts/test/b/0.png", [6, 6], [250; 3]);
    fs::create_dir(place.path("parts/test/a")).unwrap();
    assert_eq!(place.json(&["eval", "y.rq", "--data", "parts"])["top1"], 1.0);
}

#[test]
fn pictures_are_decoded_by_as_many_threads_as_asked() {
    let place = pictures();
    for threads in ["1", "2"] {
        let args = ["grey.onnx", "-o", "t.rq", "--bits", "8", "--data", "pictures", "--threads", threads];
        place.json(&args);
        place.json(&["eval", "t.rq", "--data", "pictures", "--threads", threads]);
        fs::rename(place.path("t.rq"), place.path(&format!("{threads}.rq"))).unwrap();
    }
    assert_eq!(place.read("1.rq"), place.read("2.rq"));
}

#[test]
fn what_file_managers_leave_is_no_data() {
    let place = pictures();
    for name in
        ["a_dark/._0.png", "b_bright/.thumb_1.jpg", "a_dark/Thumbs.db", ".cache/0.png", "__MACOSX/0.png", "._a_dark"]
    {
        place.write(&format!("pictures/{name}"), b"no picture");
    }
    assert_eq!(top1(&place, "grey.onnx", "pictures"), 1.0);
    place.write("idx/._train-images.idx", b"\0\x05\x16\x07");
    place.write("idx/train-images.idx", &idx(&[12, 6, 6], &[200; 432]));
    place.write("idx/train-labels.idx", &idx(&[12], &[1; 12]));
    place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "idx"]);
}

#[test]
fn data_may_have_no_labels() {
    let place = pictures();
    let values: Vec<f32> = (0..20 * 36).map(|i| (i * 37 % 100) as f32 / 50.0 - 1.0).collect();
    place.write("x.npy", &npy(&[20, 1, 6, 6], &values));
    for i in 0..9u8 {
        place.picture(&format!("flat/{i}.png"), [6, 6], [25 * i; 3]);
    }
    for (data, samples) in [("x.npy", 20), ("flat", 9)] {
        let report = place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", data]);
        assert_eq!(
            (&report["accuracy"]["split"], &report["accuracy"]["samples"]),
            (&"validation".into(), &samples.into())
        );
        assert_ne!(report["accuracy"]["metric"], "top1");
        assert_eq!(report["warnings"], Value::Array(Vec::new()), "the data tell the range");
    }
    // Labels are asked for where they are needed.
    let answer = place.releqc(&["eval", "y.rq", "--data", "flat"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("no labels"), "{answer:?}");
    // A search goes by the float network alone.
    let report = place.json(&["grey.onnx", "-o", "y.rq", "--episodes", "2", "--data", "x.npy"]);
    assert_eq!(report["max_loss"], Value::Null);
}

#[test]
fn float_samples_are_inputs_as_they_are() {
    let place = pictures();
    place.write("float/x.npy", &npy(&[2, 1, 6, 6], &[[0.2f32; 36], [0.9; 36]].concat()));
    place.write("float/y.npy", &onnx_free_labels());
    let flags = ["--mean", "0.5", "--std", "0.5"];
    let compile = ["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "float"];
    let answer = place.releqc(&[&compile[..], &flags].concat());
    assert!(answer.code == Some(2) && answer.stderr.contains("mean and std do not apply"), "{answer:?}");
    // What was recorded for pixels says nothing of them.
    place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--mean", "0.5", "--std", "0.5"]);
    let report = place.json(&["eval", "y.rq", "--data", "float"]);
    assert_eq!((&report["preprocessing"], &report["top1"]), (&"inputs as they are".into(), &1.0.into()));
    let answer = place.releqc(&[&["eval", "y.rq", "--data", "float"], &flags[..]].concat());
    assert_eq!(answer.code, Some(2), "{answer:?}");
}

/// Labels 0 and 1 as NumPy stores u8.
fn onnx_free_labels() -> Vec<u8> {
    let mut header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }".to_owned();
    header.extend(std::iter::repeat_n(' ', 117 - header.len()));
    [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), b"\n", &[0, 1]].concat()
}

#[test]
fn samples_of_other_extents_fit_where_their_count_does() {
    let place = Place::new();
    place.write("row.onnx", &onnx::brightness(&[36], 0.5));
    let pixels: Vec<u8> = (0..24u8).flat_map(|i| [if i % 2 == 0 { i } else { 255 - i }; 36]).collect();
    let labels: Vec<u8> = (0..24).map(|i| i % 2).collect();
    place.write("idx/images.idx", &idx(&[24, 6, 6], &pixels));
    place.write("idx/labels.idx", &idx(&[24], &labels));
    assert_eq!(top1(&place, "row.onnx", "idx"), 1.0);
    place.picture("pictures/a/0.png", [6, 6], [0; 3]);
    place.picture("pictures/b/0.png", [6, 6], [255; 3]);
    assert_eq!(place.json(&["eval", "y.rq", "--data", "pictures"])["top1"], 1.0);
    // The count alone is not enough where there are axes to mix up.
    place.write("wide/images.idx", &idx(&[1, 4, 9], &[0; 36]));
    place.write("wide/labels.idx", &idx(&[1], &[0]));
    place.write("square.onnx", &onnx::brightness(&[1, 6, 6], 0.5));
    let answer = place.releqc(&["square.onnx", "-o", "z.rq", "--bits", "8", "--data", "wide"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("samples are 4x9"), "{answer:?}");
}

#[test]
fn channel_last_networks_take_the_same_data() {
    let place = Place::new();
    // Class 1 where red is above the middle: only every third value counts.
    let weights: Vec<f32> = (0..36 * 3).flat_map(|i| if i % 3 == 0 { [-1.0, 1.0] } else { [0.0; 2] }).collect();
    let net = onnx::Net::new("last", &[6, 6, 3])
        .tensor("w", &[108, 2], &weights)
        .tensor("b", &[2], &[18.0, -18.0])
        .node("Flatten", &["x"], "flat", &[])
        .node("Gemm", &["flat", "w", "b"], "classes", &[])
        .finish(&["classes"]);
    place.write("last.onnx", &net);
    for i in 0..10u8 {
        place.picture(&format!("pictures/other/{i}.png"), [6, 6], [i, 255, 200]);
        place.picture(&format!("pictures/red/{i}.png"), [6, 6], [250 - i, 0, 30]);
    }
    assert_eq!(top1(&place, "last.onnx", "pictures"), 1.0);
}

#[test]
fn pictures_of_any_size_are_resized_and_cut_as_recorded() {
    let place = pictures();
    for i in 0..6u8 {
        // A frame of the other brightness that the crop takes off.
        let (name, inner, frame) = if i % 2 == 0 { ("a", 0, 255) } else { ("b", 255, 0) };
        let picture = image::GrayImage::from_fn(40, 30, |x, y| {
            let middle = (8..32).contains(&x) && (3..27).contains(&y);
            image::Luma([if middle { inner } else { frame }])
        });
        fs::create_dir_all(place.path(&format!("large/{name}"))).unwrap();
        picture.save(place.path(&format!("large/{name}/{i}.png"))).unwrap();
    }
    let compile = ["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "large"];
    let answer = place.releqc(&compile);
    assert!(answer.code == Some(2) && answer.stderr.contains("--resize and --crop"), "{answer:?}");
    place.json(&[&compile[..], &["--resize", "10", "--crop", "6"]].concat());
    let report = place.json(&["eval", "y.rq", "--data", "large"]);
    assert_eq!(report["top1"], 1.0);
    assert!(report["preprocessing"].as_str().unwrap().starts_with("resized to 10, the middle 6x6, pixels / 255"));
    assert_eq!(place.json(&["inspect", "y.rq"])["metadata"]["preprocessing.crop"], "6x6");
}
