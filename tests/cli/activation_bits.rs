//! `--activation-bits`: what is asked for is what reports, `inspect` and executors show.

use crate::support::{Place, npy_values, samples, squares};
use serde_json::Value;

/// What each layer reads, by the JSON of a compilation or of `inspect`.
fn read_bits(report: &Value) -> Vec<u64> {
    report["layers"].as_array().unwrap().iter().map(|layer| layer["activation_bits"].as_u64().unwrap()).collect()
}

#[test]
fn reports_say_what_layers_read() {
    let place = Place::new();
    for (asked, bits) in [("3", [8, 3, 8]), ("5,sum=4,x=6", [6, 5, 4]), ("conv1=2", [8, 2, 8]), ("8", [8, 8, 8])] {
        let args = ["small.onnx", "-o", "y.rq", "--bits", "4", "--activation-bits", asked];
        assert_eq!(read_bits(&place.json(&args)), bits, "{asked}");
        let inspected = place.json(&["inspect", "y.rq"]);
        assert_eq!(read_bits(&inspected), bits, "{asked}: {inspected}");
        let text = place.releqc(&["inspect", "y.rq"]).stdout;
        let line = text.lines().find(|line| line.starts_with("activations"));
        let [a, b, c] = bits;
        let expected = (bits != [8; 3]).then(|| format!("activations  layers read codes of {a},{b},{c} bits"));
        assert_eq!(line.map(str::to_owned), expected, "{text}");
    }
}

#[test]
fn executors_agree_on_narrow_codes() {
    let place = Place::new();
    place.write("x.npy", &samples(5));
    let compile = ["small.onnx", "-o", "small.rq", "--bits", "4", "--activation-bits", "3,x=5,sum=2", "--quiet"];
    assert_eq!(place.releqc(&compile).code, Some(0));
    let output = |executor: &str| {
        let args = ["run", "small.rq", "--input", "x.npy", "--output", "y.npy", "--executor", executor];
        assert_eq!(place.releqc(&args).code, Some(0), "{executor}");
        place.read("y.npy")
    };
    let expected = output("reference");
    assert_eq!(npy_values(&expected).len(), 25);
    assert_eq!(output("cpu"), expected);
    assert_eq!(output("accelerator"), expected);
}

#[test]
fn a_search_and_retraining_take_it() {
    let place = Place::new();
    let search = ["small.onnx", "-o", "y.rq", "--episodes", "2", "--widths", "4,8", "--activation-bits", "4"];
    assert_eq!(read_bits(&place.json(&search)), [8, 4, 8]);
    squares(&place, 200);
    let retrained =
        ["small.onnx", "-o", "y.rq", "--bits", "4", "--retrain", "short", "--data", "data", "--activation-bits", "4"];
    assert_eq!(read_bits(&place.json(&retrained)), [8, 4, 8]);
    assert_eq!(read_bits(&place.json(&["inspect", "y.rq"])), [8, 4, 8]);
}

#[test]
fn what_has_no_such_width_is_refused() {
    let place = Place::new();
    for (asked, why) in [
        ("9", "width \"9\"; 2 to 8 is required"),
        ("relu1=4", "--activation-bits: no tensor \"relu1\"; those with codes of their own are x, conv1, conv2, sum"),
        ("pool1=4", "--activation-bits: \"pool1\" moves codes of \"conv1\""),
        ("classes=4", "--activation-bits: \"classes\" stays floats"),
    ] {
        let answer = place.releqc(&["small.onnx", "-o", "y.rq", "--bits", "4", "--activation-bits", asked]);
        assert_eq!(answer.code, Some(2), "{asked}: {answer:?}");
        assert!(answer.stderr.contains(why), "{asked}: {answer:?}");
        assert!(!place.names().contains(&"y.rq".to_owned()), "{asked}");
    }
}
