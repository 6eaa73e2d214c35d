//! The whole pipeline on real networks and real data, where they are present.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that says when it is skipped")]

use releqc_passes::compile::{CompileOptions, Event, Hooks, Labelled, Retrain, WidthPolicy, compile};
use releqc_passes::data::{Dataset, Preprocessing, Reading, load};
use releqc_passes::ir::Shape;
use releqc_runtime::BitWidth;
use std::path::PathBuf;

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("RELEQC_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    if path.is_dir() {
        Some(path)
    } else {
        assert!(std::env::var_os("RELEQC_REQUIRE_SHARED").is_none(), "{} is absent", path.display());
        // Past the capture of test output: a skipped test must be seen.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("skipped: {} is absent\n", path.display()).as_bytes(),
        );
        None
    }
}

#[test]
fn resnet20_at_eight_and_four_bits() {
    let Some(shared) = shared() else { return };
    let model = std::fs::read(shared.join("models/cifar10_resnet20_convsc.onnx")).unwrap();
    let preprocessing = Preprocessing::Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
    let splits =
        load(&shared.join("data/cifar10"), &Reading::of(&Shape::image(3, 32, 32)).with(preprocessing.clone())).unwrap();
    let pick = |set: &Dataset, count: usize| set.select(&(0..count).collect::<Vec<_>>());
    // The test part stands in for validation here: nothing is chosen by it.
    let data = Labelled {
        training: pick(splits.train.as_ref().unwrap(), 2000),
        validation: pick(splits.test.as_ref().unwrap(), 2000),
        fingerprint: String::new(),
    };
    for (bits, most) in [(8, 0.6), (4, 8.0)] {
        let options = CompileOptions {
            widths: WidthPolicy::Uniform(BitWidth::new(bits).unwrap()),
            retrain: Retrain::None,
            preprocessing: Some(preprocessing.clone()),
            ..CompileOptions::default()
        };
        let start = std::time::Instant::now();
        let mut events = |event: Event| {
            if let Event::Stage(name) = event {
                println!("{:6.1} s  {name}", start.elapsed().as_secs_f64());
            }
        };
        let mut hooks = Hooks { events: &mut events, interrupted: &|| false, remaining: &|| None };
        let compiled = compile(&model, Some(&data), &options, &mut hooks).unwrap();
        let accuracy = &compiled.report.accuracy;
        println!(
            "{bits} bits: {} bytes, float {:.4}, artifact {:.4}, accelerator {:.2}x, {:.1} s",
            compiled.artifact.len(),
            accuracy.float,
            accuracy.quantized,
            compiled.report.accelerator_speedup,
            start.elapsed().as_secs_f64()
        );
        assert!(accuracy.float > 0.90, "the float network has 91.88 % on the 5,000 test images");
        assert!(accuracy.loss_points < most, "{bits} bits lose {} points", accuracy.loss_points);
    }
}

/// SimpleNet was trained on the CIFAR-10 images that are held back here: it answers 78 % of them, and 74 % of the test images.
#[test]
fn a_search_judges_on_samples_that_were_unlearned() {
    let Some(shared) = shared() else { return };
    let model = std::fs::read(shared.join("models/cifar10_simplenet5.onnx")).unwrap();
    let preprocessing = Preprocessing::Normalize { mean: vec![0.5; 3], std: vec![0.5; 3] };
    let splits =
        load(&shared.join("data/cifar10"), &Reading::of(&Shape::image(3, 32, 32)).with(preprocessing.clone())).unwrap();
    let (training, validation) = splits.train.unwrap().split(0, 1.0 / 6.0);
    let data = Labelled { training, validation, fingerprint: "simplenet".into() };
    let options = CompileOptions {
        max_loss: 3.0,
        goal: true,
        action_set: [4, 8].into_iter().filter_map(BitWidth::new).collect(),
        episodes: Some(2),
        baselines: false,
        preprocessing: Some(preprocessing),
        ..CompileOptions::default()
    };
    let mut hooks = Hooks { events: &mut |_| {}, interrupted: &|| false, remaining: &|| None };
    let compiled = compile(&model, Some(&data), &options, &mut hooks).unwrap();
    let accuracy = &compiled.report.accuracy;
    let copy = accuracy.unlearned.as_ref().unwrap();
    println!("{accuracy:?}");
    assert!((0.77..0.79).contains(&accuracy.float));
    assert!((0.72..0.76).contains(&copy.float), "as good as on the test images, and no better: {copy:?}");
    assert!(copy.quantized > copy.reference - 0.03);
    assert!(accuracy.quantized > copy.reference - 0.03, "the artifact comes from the network itself: {accuracy:?}");
    assert!(!compiled.report.goal_missed);
}
