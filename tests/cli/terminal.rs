//! How the tool behaves on a terminal and with files that are there already.

use crate::support::Place;
use std::fs;

#[test]
fn a_mistyped_word_is_answered_with_the_right_one() {
    let place = Place::compiled();
    for (args, wanted) in [
        (&["inspct", "small.rq"][..], "\"inspct\": neither a command nor a model file; did you mean inspect?"),
        (&["--json", "chekc", "small.onnx"], "did you mean check?"),
        (&["optimise", "small.onnx"], "the commands are compile, check, inspect"),
        (&["small.onnx", "-o", "y.rq", "--bit", "8"], "'--bits'"),
    ] {
        let answer = place.releqc(args);
        assert!(answer.code == Some(2) && answer.stderr.contains(wanted), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
    }
}

#[test]
fn a_missed_goal_is_said_even_if_quiet() {
    let place = Place::new();
    let answer = place.releqc(&[
        "small.onnx",
        "-o",
        "y.rq",
        "--bits",
        "2",
        "--rounding",
        "nearest",
        "--max-loss",
        "0",
        "--quiet",
    ]);
    assert!(answer.code == Some(4) && answer.stdout.is_empty(), "{answer:?}");
    assert!(answer.stderr.contains("the goal was missed"), "{answer:?}");
}

#[test]
fn colours_are_what_the_environment_asks_for() {
    let place = Place::new();
    let coloured = |env: &[(&str, &str)]| {
        let answer = place.call(&["small.onnx", "-o", "y.rq", "--bits", "8"], env);
        assert!(answer.code == Some(0) && answer.stderr.contains("WARN"), "{answer:?}");
        answer.stderr.contains('\x1b')
    };
    assert!(!coloured(&[]), "no terminal, no colours");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777;
    for name in ["y.rq", "page.html", "a.onnx"] {
        place.write(name, b"");
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    place.json(&["small.onnx", "-o", "y.rq", "--bits", "8", "--report", "page.html", "--annotated", "a.onnx"]);
    for name in ["y.rq", "page.html", "a.onnx"] {
        assert_eq!(mode(name), 0o640, "{name}");
    }
    place.json(&["small.onnx", "-o", "new.rq", "--bits", "8"]);
    place.write("plain", b"");
    assert_eq!(mode("new.rq"), mode("plain"), "as any new file");
}

#[cfg(unix)]
#[test]
fn paths_of_any_bytes_have_a_json_form() {
    use crate::support::samples;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let model = OsStr::from_bytes(b"m\xff.onnx");
    fs::copy(place.path("small.onnx"), place.path("x").with_file_name(model)).unwrap();
    place.write("x.npy", &samples(2));
    let words = |words: &[&[u8]]| words.iter().map(|word| OsStr::from_bytes(word).to_owned()).collect::<Vec<_>>();
    for args in [
        words(&[b"m\xff.onnx", b"-o", b"y\xff.rq", b"--bits", b"8", b"--json"]),
        words(&[b"check", b"m\xff.onnx", b"--json"]),
        words(&[b"run", b"y\xff.rq", b"--input", b"x.npy", b"--output", b"z\xff.npy", b"--json"]),
        words(&[b"inspect", b"y\xff.rq", b"--json"]),
    ] {
        let answer = place.call(&args, &[]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&answer.stdout).unwrap().is_object(), "{answer:?}");
    }
    let answer = place.call(&words(&[b"absent\xff.onnx", b"-o", b"q.rq", b"--json"]), &[]);
    assert!(answer.code == Some(2) && answer.stdout.contains("no such file"), "{answer:?}");
}

#[test]
fn compile_and_inspect_count_the_same_bytes() {
    let place = Place::new();
    let compiled = place.json(&["small.onnx", "-o", "y.rq", "--bits", "8,3,5"]);
    let inspected = place.json(&["inspect", "y.rq"]);
    for index in 0..3 {
        assert_eq!(compiled["layers"][index]["bytes"], inspected["layers"][index]["bytes"]);
        assert!(compiled["layers"][index]["bytes"].as_u64() > Some(0));
    }
}
