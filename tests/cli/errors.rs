//! Every bad input gives one clear line, the right exit code, and no output file.

use crate::onnx::{self, Net};
use crate::support::{Place, idx, npy, samples, snapshot};
use std::fmt::Write;

/// Calls that fail: what it is about, the code, the arguments.
const CASES: &[(&str, i32, &[&str])] = &[
    ("no arguments", 2, &[]),
    ("an unknown flag", 2, &["small.onnx", "-o", "out.rq", "--fast"]),
    ("no output named", 2, &["small.onnx"]),
    ("the model is missing", 2, &["absent.onnx", "-o", "out.rq"]),
    ("the model is a folder", 2, &["data", "-o", "out.rq"]),
    ("the model is a text file", 2, &["notes.txt", "-o", "out.rq"]),
    ("the model is empty", 2, &["empty", "-o", "out.rq"]),
    ("the model is truncated", 2, &["truncated.onnx", "-o", "out.rq", "--bits", "8"]),
    ("the model is an artifact", 2, &["small.rq", "-o", "out.rq"]),
    ("an operator is not supported", 3, &["unsupported.onnx", "-o", "out.rq"]),
    ("an operator is not supported (check)", 3, &["check", "unsupported.onnx"]),
    ("no layer with weights", 3, &["weightless.onnx", "-o", "out.rq"]),
    ("the folder of the output is missing", 2, &["small.onnx", "-o", "absent/out.rq", "--bits", "8"]),
    ("the output is a folder", 2, &["small.onnx", "-o", "data", "--bits", "8"]),
    ("the output is the model", 2, &["small.onnx", "-o", "small.onnx", "--bits", "8"]),
    ("a width out of range", 2, &["small.onnx", "-o", "out.rq", "--bits", "9"]),
    ("a width that is no number", 2, &["small.onnx", "-o", "out.rq", "--bits", "8,x,4"]),
    ("the evaluations have no place", 2, &["small.onnx", "-o", "blocked.rq"]),
    ("the report is the output", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--report", "folder/../out.rq"]),
    ("a stage's place is a folder", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--emit", "emitted"]),
    ("the report is the evaluations", 2, &["small.onnx", "-o", "out.rq", "--report", "out.rq.evaluations"]),
    ("a search without a file to resume", 2, &["small.onnx", "-o", "/dev/null", "--resume"]),
    ("too few widths", 2, &["small.onnx", "-o", "out.rq", "--bits", "8,4"]),
    ("a search flag without a search", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--episodes", "5"]),
    ("an action set without a search", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--widths", "2-8"]),
    ("a cost without a search", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--cost", "cpu"]),
    ("a reward without a search", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--reward", "paper"]),
    ("a search flag for an annotated network", 2, &["annotated.onnx", "-o", "out.rq", "--time-budget", "5m"]),
    ("retraining of an annotated network", 2, &["annotated.onnx", "-o", "out.rq", "--retrain", "full"]),
    ("preprocessing against the annotation", 2, &["annotated.onnx", "-o", "out.rq", "--raw-pixels"]),
    ("mean without std", 2, &["small.onnx", "-o", "out.rq", "--mean", "0.5"]),
    ("a std of zero", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--mean", "0", "--std", "0"]),
    ("too many means", 2, &["small.onnx", "-o", "out.rq", "--bits", "8", "--mean", "0,0,0", "--std", "1"]),
    ("the data folder is missing", 2, &["small.onnx", "-o", "out.rq", "--data", "absent"]),
    ("nothing recognised in the data folder", 2, &["small.onnx", "-o", "out.rq", "--data", "folder"]),
    ("data of another shape", 2, &["small.onnx", "-o", "out.rq", "--data", "data"]),
    ("a training label the network does not know", 2, &["small.onnx", "-o", "out.rq", "--data", "classes"]),
    ("a validation label the network does not know", 2, &["small.onnx", "-o", "out.rq", "--data", "validated"]),
    ("the artifact is missing", 2, &["inspect", "absent.rq"]),
    ("the artifact is a folder", 2, &["inspect", "data"]),
    ("the artifact is a text file", 2, &["inspect", "notes.txt"]),
    ("the artifact is empty", 2, &["inspect", "empty"]),
    ("the artifact is truncated", 2, &["run", "truncated.rq", "--input", "x.npy", "--output", "y.npy"]),
    ("the artifact is too new", 2, &["inspect", "new.rq"]),
    ("the input is missing", 2, &["run", "small.rq", "--input", "absent.npy", "--output", "y.npy"]),
    ("the input is no array", 2, &["run", "small.rq", "--input", "notes.txt", "--output", "y.npy"]),
    ("the input has other extents", 2, &["run", "small.rq", "--input", "wide.npy", "--output", "y.npy"]),
    ("the input is pixels", 2, &["run", "small.rq", "--input", "pixels.npy", "--output", "y.npy"]),
    ("the input is cut off", 2, &["run", "small.rq", "--input", "short.npy", "--output", "y.npy"]),
    ("an unknown instruction set", 2, &["run", "small.rq", "--input", "x.npy", "--isa", "sse"]),
    (
        "an instruction set for the wrong executor",
        2,
        &["run", "small.rq", "--input", "x.npy", "--executor", "reference", "--isa", "scalar"],
    ),
    ("the output of a run has no folder", 2, &["run", "small.rq", "--input", "x.npy", "--output", "absent/y.npy"]),
    ("evaluation without data", 2, &["eval", "small.rq", "--data", "absent"]),
    ("labels the network does not know", 2, &["eval", "small.rq", "--data", "labels", "--raw-pixels"]),
];

fn prepared() -> Place {
    let place = Place::compiled();
    let model = onnx::small();
    let artifact = place.read("small.rq");
    let mut newer = artifact.clone();
    newer[8] = 3;
    let weightless = Net::new("weightless", &[2, 12, 12]).node("Relu", &["x"], "y", &[]).finish(&["y"]);
    place.write("notes.txt", b"These are notes and no network.\n");
    place.write("empty", b"");
    place.write("truncated.onnx", &model[..model.len() / 2]);
    place.write("unsupported.onnx", &onnx::unsupported());
    place.write("weightless.onnx", &weightless);
    place.write("truncated.rq", &artifact[..artifact.len() - 1]);
    place.write("new.rq", &newer);
    place.write("x.npy", &samples(2));
    place.write("wide.npy", &npy(&[1, 2, 12, 13], &[0.0; 312]));
    let pixels = String::from_utf8_lossy(&npy(&[1, 2, 12, 12], &[])[10..]).replace("<f4", "|u1");
    place.write("pixels.npy", &[b"\x93NUMPY\x01\x00\x76\x00", pixels.as_bytes(), &[0; 288]].concat());
    place.write("short.npy", &samples(2)[..400]);
    place.write("folder/readme.md", b"");
    place.write("data/train-images-idx3-ubyte", &idx(&[2, 3, 3], &[0; 18]));
    place.write("data/train-labels-idx1-ubyte", &idx(&[2], &[0, 1]));
    place.write("blocked.rq.evaluations/file", b"");
    place.write("emitted/00-import.txt/file", b"");
    let stated = ["--mean", "0.5", "--std", "0.25", "--bits", "8", "--quiet"];
    let answer =
        place.releqc(&[&["small.onnx", "-o", "small.rq", "--annotated", "annotated.onnx"], &stated[..]].concat());
    assert_eq!(answer.code, Some(0), "{answer:?}");
    place.write("small.rq", &artifact);
    let images = idx(&[20, 2, 12, 12], &[9; 20 * 288]);
    for (file, label) in [("classes/train", 5), ("validated/train", 0), ("validated/val", 7)] {
        let mut labels: Vec<u8> = (0..20).map(|i| i % 5).collect();
        labels[13] = labels[13].max(label);
        place.write(&format!("{file}-images.idx"), &images);
        place.write(&format!("{file}-labels.idx"), &idx(&[20], &labels));
    }
    place.write("labels/images-idx4-ubyte", &idx(&[1, 2, 12, 12], &[9; 288]));
    place.write("labels/labels-idx1-ubyte", &idx(&[1], &[5]));
    place
}

#[test]
fn each_bad_input_gives_one_line_and_its_code() {
    let place = prepared();
    let before = place.names();
    let mut text = String::new();
    for (about, code, args) in CASES {
        let answer = place.releqc(&[*args, &["--quiet"]].concat());
        assert_eq!(answer.code, Some(*code), "{about}: {answer:?}");
        let errors: Vec<&str> = answer.stderr.lines().filter(|line| !line.starts_with(" WARN ")).collect();
        assert!(errors.len() == 1 && errors[0].starts_with("error: "), "{about}: {answer:?}");
        let check = args.first() == Some(&"check");
        assert!(answer.stdout.is_empty() || check, "{about}: {answer:?}");
        assert_eq!(place.names(), before, "{about}: no file may appear");
        writeln!(text, "{about} ({code})\n  releqc {}\n  {}", args.join(" "), errors[0]).unwrap();
    }
    snapshot("cli_errors", &text);
}

#[test]
fn with_json_the_error_is_an_object_too() {
    let place = Place::new();
    for (args, code) in [(&["inspect", "absent.rq"][..], 2), (&["--bits", "9", "small.onnx", "-o", "y.rq"], 2)] {
        let answer = place.releqc(&[args, &["--json"]].concat());
        assert_eq!(answer.code, Some(code));
        let object: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(object["exit_code"], code);
        assert_eq!(format!("error: {}\n", object["error"].as_str().unwrap()), answer.stderr);
    }
    place.write("unsupported.onnx", &onnx::unsupported());
    let answer = place.releqc(&["check", "unsupported.onnx", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!((answer.code, &object["supported"], &object["exit_code"]), (Some(3), &false.into(), &3.into()));
    assert!(object["findings"].as_array().is_some_and(|findings| !findings.is_empty()));
}

/// One changed byte anywhere, or any shorter file, is noticed before anything runs.
#[test]
fn no_damaged_artifact_is_accepted() {
    let place = Place::compiled();
    let artifact = place.read("small.rq");
    place.write("x.npy", &samples(1));
    let refused = |bytes: &[u8], about: String| {
        place.write("damaged.rq", bytes);
        let answer = place.releqc(&["run", "damaged.rq", "--input", "x.npy", "--output", "y.npy"]);
        assert_eq!(answer.code, Some(2), "{about}: {answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{about}: {answer:?}");
        assert!(!place.path("y.npy").exists(), "{about}");
    };
    // Evenly spread, so that header, table, every section and its padding are hit.
    for step in 0..64 {
        let at = step * (artifact.len() - 1) / 63;
        let mut changed = artifact.clone();
        changed[at] ^= 1 << (step % 8);
        refused(&changed, format!("byte {at} changed"));
    }
    for len in [0, 1, 7, 8, 63, 64, artifact.len() / 2, artifact.len() - 1] {
        refused(&artifact[..len], format!("{len} bytes"));
    }
    refused(&[&artifact[..], &[0]].concat(), "one byte more".into());
}

#[test]
fn a_failed_call_does_not_touch_an_existing_output() {
    let place = prepared();
    for args in [
        &["unsupported.onnx", "-o", "old"][..],
        &["small.onnx", "-o", "old", "--bits", "8,4"],
        &["small.onnx", "-o", "old", "--data", "absent"],
        &["run", "truncated.rq", "--input", "x.npy", "--output", "old"],
        &["run", "small.rq", "--input", "wide.npy", "--output", "old"],
    ] {
        place.write("old", b"precious");
        assert_ne!(place.releqc(args).code, Some(0));
        assert_eq!(place.read("old"), b"precious", "{args:?}");
    }
}
