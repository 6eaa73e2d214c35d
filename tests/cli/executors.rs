//! The three executors write the same bytes.

use crate::onnx::Net;
use crate::support::{Place, idx, npy_values, samples};

/// Runs small.rq with `args` and yields the bytes of the output.
fn output(place: &Place, args: &[&str]) -> Vec<u8> {
    let answer = place.releqc(&[&["run", "small.rq", "--input", "x.npy", "--output", "y.npy"], args].concat());
    assert_eq!(answer.code, Some(0), "{args:?}: {answer:?}");
    place.read("y.npy")
}

#[test]
fn cpu_reference_and_accelerator_agree_in_every_byte() {
    let place = Place::compiled();
    place.write("x.npy", &samples(7));
    let expected = output(&place, &["--executor", "reference"]);
    assert_eq!(npy_values(&expected).len(), 7 * 5);
    assert!(npy_values(&expected)[5..10] != npy_values(&expected)[10..15], "rows differ");
    assert_eq!(output(&place, &["--executor", "accelerator"]), expected);
    assert_eq!(output(&place, &["--threads", "1"]), expected);
    assert_eq!(output(&place, &["--threads", "3"]), expected);
    let mut ran = 0;
    for isa in ["scalar", "avx2", "avx2-vnni", "avx512", "avx512-vnni", "amx", "avx512-vnni --without gfni,vbmi"] {
        let flags: Vec<&str> = isa.split(' ').collect();
        let run = ["run", "small.rq", "--input", "x.npy", "--output", "isa.npy", "--isa"];
        let answer = place.releqc(&[&run[..], &flags[..]].concat());
        match answer.code {
            Some(0) => {
                assert_eq!(place.read("isa.npy"), expected, "{isa}");
                ran += 1;
            }
            Some(2) if answer.stderr.starts_with("error: this machine cannot run ") => {
                println!("skipped: {}", answer.stderr.trim_end());
            }
            _ => panic!("{isa}: {answer:?}"),
        }
    }
    assert!(ran >= 1, "scalar runs everywhere");
    let sim = place.releqc(&["sim", "small.rq", "--input", "x.npy", "--output", "sim.npy"]);
    assert_eq!((sim.code, place.read("sim.npy")), (Some(0), expected));
}

#[test]
fn an_input_without_a_batch_axis_is_one_row() {
    let place = Place::compiled();
    let row = crate::support::npy(&[2, 12, 12], &[0.25; 288]);
    place.write("x.npy", &row);
    assert_eq!(npy_values(&output(&place, &[])).len(), 5);
}

#[test]
fn a_file_for_an_input_that_is_not_read_is_left_out_with_a_warning() {
    let place = Place::compiled();
    place.write("x.npy", &samples(2));
    let name = place.json(&["inspect", "small.rq"])["inputs"][0]["name"].as_str().unwrap().to_owned();
    let own = format!("{name}=x.npy");
    let answer = place.releqc(&["run", "small.rq", "--input", &own, "--input", "rate=x.npy", "--output", "y.npy"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stderr.contains("\"rate\" is not read"), "{answer:?}");
    assert_eq!(place.read("y.npy"), output(&place, &[]));
    let missing = place.releqc(&["run", "small.rq", "--input", "rate=x.npy", "--output", "y.npy"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
}

#[test]
fn further_outputs_lie_beside_the_first() {
    let place = Place::new();
    let net = Net::new("two", &[2, 12, 12])
        .weights("w1", &[3, 2, 3, 3], 0.4)
        .weights("w2", &[4, 2, 1, 1], 0.4)
        .node("Conv", &["x", "w1"], "first", &[])
        .node("Conv", &["x", "w2"], "second/part", &[])
        .finish(&["first", "second/part"]);
    place.write("two.onnx", &net);
    let answer = place.releqc(&["two.onnx", "-o", "two.rq", "--bits", "6", "--quiet"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    place.write("x.npy", &samples(2));
    let object = place.json(&["run", "two.rq", "--input", "x.npy", "--output", "y.npy"]);
    assert_eq!(object["outputs"][0]["shape"], serde_json::json!([2, 3, 10, 10]));
    assert_eq!(object["outputs"][1]["shape"], serde_json::json!([2, 4, 12, 12]));
    assert_eq!(npy_values(&place.read("y.npy")).len(), 2 * 300);
    assert_eq!(npy_values(&place.read("y.second_part.npy")).len(), 2 * 576);
}

/// Accuracy is what the classes of a run say, under the recorded preprocessing and under another.
#[test]
fn eval_counts_what_run_answers() {
    let place = Place::new();
    let compiled =
        place.releqc(&["small.onnx", "-o", "small.rq", "--bits", "6", "--mean", "0.5,0.25", "--std", "0.5", "--quiet"]);
    assert_eq!(compiled.code, Some(0), "{compiled:?}");
    let pixels: Vec<u8> = (0..20 * 288u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let inputs = |scale: &dyn Fn(f32, usize) -> f32| -> Vec<f32> {
        pixels.iter().enumerate().map(|(i, &p)| scale(f32::from(p), i % 288 / 144)).collect()
    };
    let mut labels = Vec::new();
    for (flags, values) in
        [(&[][..], inputs(&|p, c| (p / 255.0 - [0.5, 0.25][c]) / 0.5)), (&["--raw-pixels"], inputs(&|p, _| p))]
    {
        place.write("x.npy", &crate::support::npy(&[20, 2, 12, 12], &values));
        let outputs = npy_values(&output(&place, &[]));
        let class = |row: &[f32]| (0..5).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u8;
        let classes: Vec<u8> = outputs.chunks(5).map(class).collect();
        if labels.is_empty() {
            // The first classes are right, the last seven wrong.
            labels = classes.iter().enumerate().map(|(i, c)| if i < 13 { *c } else { (c + 1) % 5 }).collect();
            place.write("data/test-images.idx", &idx(&[20, 2, 12, 12], &pixels));
            place.write("data/test-labels.idx", &idx(&[20], &labels));
        }
        let right = classes.iter().zip(&labels).filter(|(a, b)| a == b).count();
        let object = place.json(&[&["eval", "small.rq", "--data", "data"], flags].concat());
        assert_eq!(object["samples"], 20);
        assert_eq!(object["top1"], right as f64 / 20.0, "{flags:?}");
        assert!(!flags.is_empty() || right == 13);
    }
}
