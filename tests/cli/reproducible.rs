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

#[test]
fn calibration_on_data_is_reproducible_too() {
    let place = Place::new();
    let pixels: Vec<u8> = (0..60 * 288u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let labels: Vec<u8> = (0..60).map(|i| i % 5).collect();
    place.write("data/train-images.idx", &idx(&[60, 2, 12, 12], &pixels));
    place.write("data/train-labels.idx", &idx(&[60], &labels));
    let args = ["--bits", "6", "--data", "data", "--mean", "0.5", "--std", "0.25"];
    let first = artifact(&place, &[&args[..], &["--threads", "1"]].concat());
    assert_eq!(artifact(&place, &[&args[..], &["--threads", "2"]].concat()), first);
    assert_ne!(artifact(&place, &["--bits", "6"]), first, "the data take part");
}
