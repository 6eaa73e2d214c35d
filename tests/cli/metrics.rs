//! What networks are judged by: `--metric`, and `--max-loss` in its unit.

use crate::onnx;
use crate::support::{Place, npy};
use serde_json::Value;

const SAMPLES: usize = 40;

/// A network of two outputs, samples, and labels that lie 0.1 above what it answers in float.
fn predicting() -> Place {
    let place = Place::new();
    place.write("grey.onnx", &onnx::brightness(&[1, 6, 6], 0.5));
    let x: Vec<f32> = (0..SAMPLES * 36).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let y = x.chunks_exact(36).flat_map(|x| {
        let mean = x.iter().sum::<f32>() / 36.0;
        [0.6 - mean, mean - 0.4]
    });
    place.write("set/x.npy", &npy(&[SAMPLES, 1, 6, 6], &x));
    place.write("set/y.npy", &npy(&[SAMPLES, 2], &y.collect::<Vec<f32>>()));
    place
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn errors_are_measured_against_labels_of_numbers() {
    let place = predicting();
    for (metric, float) in [("mse", 0.01), ("mae", 0.1)] {
        let args =
            ["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "set", "--metric", metric, "--max-loss", "0.05"];
        let report = place.json(&args);
        let accuracy = &report["accuracy"];
        assert_eq!(accuracy["metric"], metric);
        assert!((number(&accuracy["float"]) - float).abs() < 1e-4, "{accuracy}");
        let (quantized, lost) = (number(&accuracy["quantized"]), number(&accuracy["loss_points"]));
        assert!((quantized - float).abs() < 0.01 && (quantized - number(&accuracy["float"]) - lost).abs() < 1e-9);
        assert_eq!((&report["goal_missed"], number(&report["max_loss"])), (&Value::Bool(false), 0.05));
        let measured = place.json(&["eval", "y.rq", "--data", "set", "--metric", metric]);
        assert!((number(&measured[metric]) - quantized).abs() < 1e-6, "{measured} {accuracy}");
    }
    let answer = place.releqc(&["eval", "y.rq", "--data", "set"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("--metric mse or mae"), "{answer:?}");
    let report = place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "set"]);
    assert_eq!(report["accuracy"]["metric"], "snr_db");
    assert!(report["warnings"].to_string().contains("no class indices"), "{report}");
}

#[test]
fn a_search_keeps_an_error_in_its_own_unit() {
    let place = predicting();
    let args = ["grey.onnx", "-o", "s.rq", "--data", "set", "--metric", "mae", "--max-loss", "0.02", "--episodes", "6"];
    let report = place.json(&args);
    assert_eq!((&report["accuracy"]["metric"], &report["goal_missed"]), (&"mae".into(), &Value::Bool(false)));
    assert!(number(&report["accuracy"]["loss_points"]) <= 0.02, "{report}");
    let search = &report["search"];
    assert!((number(&search["limit"]) - 0.02).abs() < 1e-9 && (number(&search["reference"]) - 0.1).abs() < 1e-4);
    let history = search["history"].as_array().unwrap();
    assert!(!history.is_empty());
    assert!(history.iter().all(|entry| number(&entry["loss"]).abs() < 10.0), "{history:?}");
    let text = place.releqc(&args).stdout;
    assert!(text.contains("mean absolute error on") && text.contains("error added"), "{text}");
}

#[test]
fn the_label_may_be_among_the_five_largest() {
    let place = Place::new();
    place.write("grey.onnx", &onnx::brightness(&[1, 6, 6], 0.5));
    for i in 0..10u8 {
        place.picture(&format!("pictures/a/{i}.png"), [6, 6], [255 - i; 3]);
        place.picture(&format!("pictures/b/{i}.png"), [6, 6], [i; 3]);
    }
    // The classes are the other way round: no label is the largest value, and all are among two.
    for (metric, share) in [("top1", 0.0), ("top5", 1.0)] {
        let report = place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "pictures", "--metric", metric]);
        assert_eq!(report["accuracy"]["metric"], metric);
        assert_eq!(number(&report["accuracy"]["quantized"]), share);
        let measured = place.json(&["eval", "y.rq", "--data", "pictures", "--metric", metric]);
        assert_eq!(number(&measured[metric]), share);
    }
    let report = place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8", "--data", "pictures", "--metric", "snr"]);
    assert_eq!(report["accuracy"]["metric"], "snr_db");
}

#[test]
fn what_a_metric_lacks_is_asked_for() {
    let place = predicting();
    let compile = |more: &[&str]| place.releqc(&[&["grey.onnx", "-o", "y.rq"], more].concat());
    for (more, wanted) in [
        (&["--metric", "mse", "--bits", "8"][..], "--data gives them"),
        (&["--metric", "mse", "--data", "set"], "--max-loss states"),
        (&["--metric", "top5", "--bits", "8", "--data", "set"], "needs labels that are class indices"),
        (&["--metric", "top1", "--bits", "8", "--data", "set"], "needs labels that are class indices"),
        (&["--metric", "top5", "--bits", "8"], "needs labels"),
    ] {
        let answer = compile(more);
        assert!(answer.code == Some(2) && answer.stderr.contains(wanted), "{more:?}: {answer:?}");
    }
    place.write("few/x.npy", &npy(&[4, 1, 6, 6], &[0.5; 144]));
    place.write("few/y.npy", &npy(&[4, 3], &[0.5; 12]));
    let answer = compile(&["--metric", "mse", "--bits", "8", "--data", "few"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("3 labels a sample"), "{answer:?}");
    place.json(&["grey.onnx", "-o", "y.rq", "--bits", "8"]);
    let answer = place.releqc(&["eval", "y.rq", "--data", "set", "--metric", "snr"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("releqc compare"), "{answer:?}");
}
