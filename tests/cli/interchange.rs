//! Exports, comparisons, and what shells and manuals are told.

use crate::support::{Place, samples};
use serde_json::json;

#[test]
fn an_export_is_the_same_file_while_compiling_and_later() {
    let place = Place::new();
    let flags = ["--bits", "8,3,5", "--export", "qdq=a.onnx", "--export", "qonnx=b.onnx", "--quiet"];
    let answer = place.releqc(&[&["small.onnx", "-o", "small.rq"][..], &flags].concat());
    assert_eq!(answer.code, Some(0), "{answer:?}");
    for (format, first) in [("qdq", "a.onnx"), ("qonnx", "b.onnx")] {
        let report = place.json(&["export", "small.rq", "-o", "later.onnx", "--format", format]);
        assert_eq!(place.read("later.onnx"), place.read(first), "{format}");
        assert_eq!((&report["format"], &report["output"]), (&json!(format), &json!("later.onnx")));
        assert_eq!(report["size_bytes"], place.read(first).len());
        let differ = report["may_differ"].as_array().unwrap();
        let conv = differ.iter().find(|row| row["name"] == "conv1").unwrap();
        assert_eq!((&conv["codes"], &conv["op"]), (&json!(1), &json!("conv")));
    }
    let narrow = place.json(&["export", "small.rq", "-o", "narrow.onnx", "--int4"]);
    assert!(narrow["size_bytes"].as_u64() < Some(place.read("a.onnx").len() as u64));
}

#[test]
fn an_export_is_refused_before_it_writes() {
    let place = Place::compiled();
    let answer = place.releqc(&["export", "small.rq", "-o", "small.rq"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    let answer = place.releqc(&["export", "small.rq", "-o", "y.onnx", "--format", "qonnx", "--int4"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("--int4 belongs to --format qdq"), "{answer:?}");
    let answer = place.releqc(&["small.onnx", "-o", "y.rq", "--bits", "8", "--export", "tflite=y"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(!place.names().iter().any(|name| name.starts_with('y')));
}

#[test]
fn tensors_are_compared_worst_first() {
    let place = Place::new();
    place.write("x.npy", &samples(1));
    let mut snr = Vec::new();
    for bits in ["8", "2"] {
        let compiling = ["small.onnx", "-o", "y.rq", "--bits", bits, "--quiet", "--input-range", "-3:3"];
        assert_eq!(place.releqc(&compiling).code, Some(0));
        place.write("x.npy", &crate::support::npy(&[2, 2, 12, 12], &vec![0.25; 576]));
        let report = place.json(&["compare", "small.onnx", "y.rq", "--input", "x.npy"]);
        assert_eq!(report["samples"], 2);
        let tensors = report["tensors"].as_array().unwrap();
        let names: Vec<&str> = tensors.iter().filter_map(|tensor| tensor["name"].as_str()).collect();
        assert!(names.contains(&"conv1") && names.contains(&"conv2"), "{names:?}");
        let ratios: Vec<f64> =
            tensors.iter().map(|tensor| tensor["snr_db"].as_f64().unwrap_or(f64::INFINITY)).collect();
        assert!(ratios.is_sorted(), "{ratios:?}");
        snr.push(ratios[0]);
    }
    assert!(snr[0] > 15.0 && snr[1] < snr[0] - 6.0, "{snr:?}: 8 bits and 2 bits");
    let other = place.releqc(&["compare", "small.onnx", "y.rq"]);
    assert_eq!(other.code, Some(2), "inputs are needed: {other:?}");
}

#[test]
fn a_difference_names_the_layers_and_only_asked_for_has_an_exit_code() {
    let place = Place::compiled();
    let answer = place.releqc(&["small.onnx", "-o", "other.rq", "--bits", "8,4,5", "--quiet"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let same = place.json(&["diff", "small.rq", "small.rq"]);
    assert_eq!((&same["equal"], &same["layers"]), (&json!(true), &json!([])));
    let report = place.json(&["diff", "small.rq", "other.rq"]);
    assert_eq!(report["equal"], false);
    let layer = report["layers"].as_array().unwrap().iter().find(|layer| layer["name"] == "conv2").unwrap();
    assert_eq!((&layer["bits"], &layer["codes_changed"]), (&json!([3, 4]), &json!(null)));
    assert_eq!(place.releqc(&["diff", "small.rq", "other.rq", "--exit-code"]).code, Some(1));
    assert_eq!(place.releqc(&["diff", "small.rq", "small.rq", "--exit-code"]).code, Some(0));
    let text = place.releqc(&["diff", "small.rq", "other.rq"]);
    assert!(text.stdout.contains("conv2") && text.stdout.contains("3 -> 4"), "{text:?}");
}

#[test]
fn a_report_is_the_same_page_each_time_and_needs_nothing_else() {
    let place = Place::new();
    let flags = ["small.onnx", "-o", "y.rq", "--bits", "8,3,5", "--quiet", "--report", "page.html"];
    let page = |place: &Place| {
        assert_eq!(place.releqc(&flags).code, Some(0));
        String::from_utf8(place.read("page.html")).unwrap()
    };
    let first = page(&place);
    assert_eq!(first, page(&place));
    for part in ["conv1", "classes", "Time on the accelerator", "releqc small.onnx -o y.rq --bits 8,3,5"] {
        assert!(first.contains(part), "{part}");
    }
    for foreign in ["http:", "https:", "<script", "<link", "src="] {
        assert!(!first.replace("http://www.w3.org/2000/svg", "").contains(foreign), "{foreign}");
    }
}

#[test]
fn a_report_of_a_search_plots_every_evaluation() {
    let place = Place::new();
    let flags = ["small.onnx", "-o", "y.rq", "--episodes", "6", "--widths", "2-4", "--report", "page.html"];
    let object = place.json(&flags);
    let history = object["search"]["history"].as_array().unwrap();
    assert_eq!(history.len() as u64, object["evaluations"].as_u64().unwrap());
    assert!(history.iter().any(|entry| entry["method"] == "agent" && entry["entropy"].as_f64() > Some(0.0)));
    let page = String::from_utf8(place.read("page.html")).unwrap();
    // Each evaluation is a dot with a title, those of the agent in the plot of rewards too.
    let agent = history.iter().filter(|entry| entry["method"] == "agent").count();
    assert_eq!(page.matches("<title>").count(), 1 + history.len() + agent);
    assert_eq!(page.matches("<svg").count(), 3);
}

#[test]
fn shells_and_manuals_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let answer = place.releqc(&["completions", shell]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        for command in ["compile", "export", "compare", "diff"] {
            assert!(answer.stdout.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(place.releqc(&["man", "pages", "--quiet"]).code, Some(0));
    let page = String::from_utf8(place.read("pages/releqc-export.1")).unwrap();
    assert!(page.contains("int4") && page.starts_with(".ie"), "{page}");
    let version = place.releqc(&["--version", "--verbose"]);
    assert!(version.stdout.contains("instruction sets scalar") && version.stdout.contains("artifact format"));
    assert!(place.releqc(&["--help"]).stdout.contains("Examples:"));
}
