//! The range of inputs: stated, told by data, or assumed and said so; values beyond it are said too.

use crate::onnx;
use crate::support::{Place, npy};
use serde_json::Value;

/// A network whose inputs are large, and rows for it.
fn place() -> Place {
    let place = Place::new();
    place.write("large.onnx", &onnx::brightness(&[12], 5.0));
    let values: Vec<f32> = (0..8 * 12).map(|i| (i * 29 % 127) as f32 - 58.0).collect();
    place.write("x.npy", &npy(&[8, 12], &values));
    place
}

fn warnings(report: &Value) -> Vec<String> {
    report["warnings"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn compile(place: &Place, more: &[&str]) -> Vec<String> {
    warnings(&place.json(&[&["large.onnx", "-o", "y.rq", "--bits", "8"], more].concat()))
}

#[test]
fn an_assumed_range_is_a_warning() {
    let place = place();
    let lines = compile(&place, &[]);
    assert!(lines.len() == 1 && lines[0].contains("means nothing if inputs differ"), "{lines:?}");
    let answer = place.releqc(&["large.onnx", "-o", "y.rq", "--bits", "8", "--quiet"]);
    assert!(answer.stdout.is_empty() && answer.stderr.contains("input range not stated"), "{answer:?}");
    let answer = place.releqc(&["large.onnx", "-o", "y.rq", "--bits", "8"]);
    assert!(answer.stdout.contains("warning      input range not stated"), "{answer:?}");
    // Whoever states it, or brings data, is not warned.
    for more in
        [&["--input-range", "-58:69"][..], &["--input-range", "x=-58:69"], &["--raw-pixels"], &["--data", "x.npy"]]
    {
        assert!(compile(&place, more).is_empty(), "{more:?}");
    }
}

#[test]
fn a_stated_range_is_the_quantized_one() {
    let place = place();
    compile(&place, &["--input-range", "-58:69"]);
    let run = ["run", "y.rq", "--input", "x.npy", "--output", "y.npy"];
    assert!(warnings(&place.json(&run)).is_empty());
    compile(&place, &["--input-range", "-1:1"]);
    let lines = warnings(&place.json(&run));
    assert!(lines.len() == 1 && lines[0].contains("saturate") && lines[0].contains("\"x\""), "{lines:?}");
    let answer = place.releqc(&[&run[..], &["--quiet"]].concat());
    assert!(answer.stderr.contains("saturate"), "{answer:?}");
}

#[test]
fn evaluation_warns_of_saturation_too() {
    let place = Place::new();
    place.write("grey.onnx", &onnx::brightness(&[1, 6, 6], 0.5));
    place.picture("pictures/a/0.png", [6, 6], [0; 3]);
    place.picture("pictures/b/0.png", [6, 6], [255; 3]);
    place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--mean", "0", "--std", "1"]);
    assert!(warnings(&place.json(&["eval", "y.rq", "--data", "pictures"])).is_empty());
    let lines = warnings(&place.json(&["eval", "y.rq", "--data", "pictures", "--raw-pixels"]));
    assert!(lines.len() == 1 && lines[0].starts_with("50.0 % of the values"), "{lines:?}");
}

#[test]
fn ranges_of_unknown_inputs_are_refused() {
    let place = place();
    for range in ["z=0:1", "1:0", "0", "nan:1"] {
        let answer = place.releqc(&["large.onnx", "-o", "y.rq", "--bits", "8", "--input-range", range]);
        assert_eq!((answer.code, answer.stderr.lines().count()), (Some(2), 1), "{range}: {answer:?}");
    }
}
