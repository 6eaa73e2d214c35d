//! Compilations that fit a rounded network to the float network: without labels, without data, and the same bytes on every number of threads.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::Random;
use common::nets::Net;
use releqc_passes::compile::{CompileOptions, Compiled, Event, Hooks, Labelled, Retrain, WidthPolicy, compile};
use releqc_passes::data::{Dataset, Samples};
use releqc_passes::ir::{Graph, NodeId, Shape};
use releqc_passes::onnx;
use releqc_runtime::BitWidth;

const INPUTS: usize = 16;

fn network() -> Graph {
    let mut net = Net::new("teacher", Shape::vector(INPUTS), 11);
    let hidden = net.fc(NodeId(0), 24, false);
    let hidden = net.relu(hidden);
    let classes = net.fc(hidden, 6, false);
    net.output(&[("classes", classes)])
}

fn samples(count: usize, seed: u64) -> Dataset {
    let mut random = Random(seed);
    let inputs: Vec<Vec<f32>> = (0..count).map(|_| random.floats(INPUTS)).collect();
    Dataset::new(Shape::vector(INPUTS), Samples::Values(inputs.concat()), None).unwrap()
}

/// The artifact with this width everywhere, and what was said of the reconstruction.
fn compiled(data: Option<&Labelled>, retrain: Retrain, bits: u8) -> (Compiled, String) {
    let widths = WidthPolicy::Uniform(BitWidth::new(bits).unwrap());
    let options = CompileOptions { widths, retrain, ..CompileOptions::default() };
    let mut notes = String::new();
    let mut note = |event: Event| {
        if let Event::Note(text) | Event::Warning(text) = event
            && text.starts_with("reconstruction")
        {
            notes.push_str(&text);
        }
    };
    let mut hooks = Hooks { events: &mut note, interrupted: &|| false, remaining: &|| None };
    let model = onnx::write(&network(), &[]).unwrap();
    (compile(&model, data, &options, &mut hooks).unwrap(), notes)
}

#[test]
fn what_is_closer_to_the_float_network_on_samples_held_back_is_kept() {
    let data = Labelled { training: samples(600, 1), validation: samples(600, 2), fingerprint: "teacher".into() };
    let mut kept = 0;
    for (data, bits) in [(Some(&data), 2), (Some(&data), 3), (None, 2), (None, 3)] {
        let (rounded, _) = compiled(data, Retrain::None, bits);
        let (fitted, note) = compiled(data, Retrain::Reconstruct, bits);
        let number = |before: &str| {
            let at = note[..note.find(before).unwrap()].rfind(' ').unwrap() + 1;
            note[at..note.find(before).unwrap()].parse::<f64>().unwrap()
        };
        let closer = number(" after,") < number(" before and");
        assert_eq!(closer, note.ends_with(": kept"), "{note}");
        if data.is_some() {
            assert_eq!(closer, rounded.artifact != fitted.artifact, "{note}");
        }
        kept += usize::from(closer);
    }
    assert!(kept > 0, "no network at 2 or 3 bits was brought closer");
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let data = Labelled { training: samples(600, 1), validation: samples(100, 2), fingerprint: "teacher".into() };
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compiled(Some(&data), Retrain::Reconstruct, 3).0.artifact)
    };
    let first = bytes(1);
    assert!(first == bytes(2) && first == bytes(1));
}

#[test]
fn a_handful_of_samples_is_not_fitted_to() {
    let data = Labelled { training: samples(3, 1), validation: samples(3, 2), fingerprint: "teacher".into() };
    let (rounded, _) = compiled(Some(&data), Retrain::None, 3);
    let (kept, _) = compiled(Some(&data), Retrain::Reconstruct, 3);
    assert!(rounded.artifact == kept.artifact);
}
