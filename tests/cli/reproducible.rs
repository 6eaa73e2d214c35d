//! The same call gives the same bytes.

use crate::support::{Place, idx};

/// Compiles small.onnx with `args` and yields the artifact.
fn artifact(place: &Place, args: &[&str]) -> Vec<u8> {
    let answer = place.releqc(&[&["small.onnx", "-o", "y.rq", "--quiet"], args].concat());
    assert_eq!(answer.code, Some(0), "{args:?}: {answer:?}");
    place.read("y.rq")
}

#[test]
fn fixed_widths_give_the_same_bytes_for_any_number_of_threads() {
    let first = artifact(&Place::new(), &["--bits", "4", "--threads", "1"]);
    assert_eq!(artifact(&Place::new(), &["--bits", "4,4,4", "--threads", "3"]), first);
    assert_ne!(artifact(&Place::new(), &["--bits", "4,5,4"]), first);
}

#[test]
fn neither_names_nor_places_enter_the_artifact() {
    let place = Place::new();
    let first = artifact(&place, &["--bits", "3"]);
    place.write("elsewhere/other.onnx", &place.read("small.onnx"));
    let answer = place.releqc(&["elsewhere/other.onnx", "-o", "elsewhere/z.rq", "--bits", "3", "--quiet"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(place.read("elsewhere/z.rq"), first);
}

/// Noise, and the same for every class: what the network makes of it depends on the preprocessing alone.
fn noise(place: &Place) {
    let pixels: Vec<u8> = (0..60 * 288u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let labels: Vec<u8> = (0..60).map(|i| i % 5).collect();
    place.write("data/train-images.idx", &idx(&[60, 2, 12, 12], &pixels));
    place.write("data/train-labels.idx", &idx(&[60], &labels));
}

#[test]
fn an_annotated_network_reads_data_as_it_was_made_for() {
    let place = Place::new();
    noise(&place);
    let data = ["--data", "data"];
    let stated = ["--mean", "0.5", "--std", "0.25"];
    let first = place
        .json(&[&["small.onnx", "-o", "y.rq", "--bits", "4", "--annotated", "a.onnx"], &data[..], &stated].concat());
    let bytes = place.read("y.rq");
    let again = place.json(&[&["a.onnx", "-o", "y.rq"], &data[..]].concat());
    assert_eq!(place.read("y.rq"), bytes);
    assert_eq!(again["accuracy"], first["accuracy"]);
    place.json(&[&["a.onnx", "-o", "y.rq"], &data[..], &["--mean", "0.5,0.5", "--std", "0.25"]].concat());
    assert_eq!(place.read("y.rq"), bytes, "the same preprocessing in other words");
    // Without what is recorded the accuracy would be another.
    let plain = place.json(&[&["small.onnx", "-o", "y.rq", "--bits", "4"], &data[..]].concat());
    assert_ne!(plain["accuracy"], first["accuracy"]);
}

#[test]
fn the_test_part_is_not_read() {
    let place = Place::new();
    noise(&place);
    let args = ["--bits", "6", "--data", "data"];
    let first = artifact(&place, &args);
    for name in ["data/test-images.idx", "data/test-labels.idx"] {
        place.write(name, b"no IDX file at all");
    }
    assert_eq!(artifact(&place, &args), first);
    assert_eq!(place.releqc(&["eval", "y.rq", "--data", "data"]).code, Some(2), "an evaluation reads it");
}

#[test]
fn calibration_on_data_is_reproducible_too() {
    let place = Place::new();
    noise(&place);
    let args = ["--bits", "6", "--data", "data", "--mean", "0.5", "--std", "0.25"];
    let first = artifact(&place, &[&args[..], &["--threads", "1"]].concat());
    assert_eq!(artifact(&place, &[&args[..], &["--threads", "2"]].concat()), first);
    assert_ne!(artifact(&place, &["--bits", "6"]), first, "the data take part");
}
