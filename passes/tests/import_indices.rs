//! Operators whose indices, windows or coordinates depend on the input, transforms of signals, and sequences: import gives what the
//! definition says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::onnx_builder::Attr::{Int, Ints, Text};
use common::onnx_builder::{Model, value};
use common::{Random, evaluate};
use releqc_passes::compile::check;
use releqc_passes::import::{ImportOptions, from_onnx};
use releqc_passes::rewrite::canonicalize;

/// What the imported network makes of all inputs, one after the other; the canonical one makes the same.
fn results(model: &Model, inputs: &[f32]) -> Vec<f32> {
    let graph = from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
    let seen = evaluate(&graph, inputs);
    let canonical = evaluate(&canonicalize(graph).unwrap(), inputs);
    assert!(seen.iter().zip(&canonical).all(|(a, b)| (a - b).abs() <= 1e-5), "{seen:?} {canonical:?}");
    seen
}

fn check_close(seen: &[f32], wanted: &[f32]) {
    assert_eq!(seen.len(), wanted.len());
    for (at, (s, w)) in seen.iter().zip(wanted).enumerate() {
        assert!((s - w).abs() <= 1e-4, "{at}: {s} instead of {w}\n{seen:?}\n{wanted:?}");
    }
}

/// With a second input of floats.
fn two_inputs(dims: &[i64], second: &[i64]) -> Model {
    Model::new(20, dims).edit(|m| m.graph.as_mut().unwrap().input.push(value("g", Some(second))))
}

#[test]
fn rows_are_gathered_by_the_input() {
    let model = two_inputs(&[2, 3], &[2]).node("Gather", &["x", "g"], "y", &[("axis", Int(2))]);
    let seen = results(&model, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 2.0, -3.0]);
    // One axis of the indices in place of the gathered one: [1, 2, 1, 2].
    check_close(&seen, &[3.0, 1.0, 6.0, 4.0]);
    let model = two_inputs(&[2, 3], &[2, 2]).node("GatherElements", &["x", "g"], "y", &[("axis", Int(-1))]);
    check_close(&results(&model, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 2.0, 0.0, -1.0, 1.0]), &[3.0, 1.0, 6.0, 5.0]);
    let model = two_inputs(&[2, 3], &[3]).node("GatherND", &["x", "g"], "y", &[]);
    check_close(&results(&model, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, -1.0, 1.0]), &[5.0]);
}

#[test]
fn a_window_is_sliced_where_the_input_says() {
    let model = two_inputs(&[6], &[])
        .ints("axes", &[1])
        .floats("two", &[], &[2.0])
        .node("Add", &["g", "two"], "end", &[])
        .node("Slice", &["x", "g", "end", "axes"], "y", &[]);
    check_close(&results(&model, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 3.0]), &[4.0, 5.0]);
    check_close(&results(&model, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -3.0]), &[4.0, 5.0]);
    let open =
        two_inputs(&[6], &[]).ints("end", &[9]).ints("axes", &[1]).node("Slice", &["x", "g", "end", "axes"], "y", &[]);
    let problem = from_onnx(&open.bytes()).unwrap_err().to_string();
    assert!(problem.contains("must be a constant apart"), "{problem}");
}

#[test]
fn updates_go_where_the_input_says() {
    let model = || two_inputs(&[5], &[2]).floats("u", &[1, 1], &[9.0]);
    let put = model().node("ScatterND", &["x", "g", "u"], "y", &[]).edit(|m| {
        // Indices [1, 1, 2]: one update at [0, position].
        let dims = &mut m.graph.as_mut().unwrap().node[0];
        dims.input[1] = "at".into();
    });
    let mut put = put.ints("shape", &[1, 1, 2]).node("Reshape", &["g", "shape"], "at", &[]);
    put.graph().node.swap(0, 1);
    check_close(&results(&put, &[1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 3.0]), &[1.0, 2.0, 3.0, 9.0, 5.0]);
    let add = two_inputs(&[4], &[3]).floats("u", &[1, 3], &[1.0, 10.0, 100.0]).node(
        "ScatterElements",
        &["x", "g", "u"],
        "y",
        &[("axis", Int(1)), ("reduction", Text("add"))],
    );
    check_close(&results(&add, &[1.0, 2.0, 3.0, 4.0, 1.0, 1.0, -1.0]), &[1.0, 13.0, 3.0, 104.0]);
}

#[test]
fn a_grid_of_the_input_samples_as_a_constant_one() {
    let mut random = Random(3);
    let (image, grid) = (random.floats(2 * 4 * 5), random.floats(3 * 3 * 2));
    let grid: Vec<f32> = grid.iter().map(|v| v * 1.7).collect();
    for mode in ["nearest", "linear", "cubic"] {
        for outside in ["zeros", "border", "reflection"] {
            for align in [0, 1] {
                let attributes = [("mode", Text(mode)), ("padding_mode", Text(outside)), ("align_corners", Int(align))];
                let fixed = Model::new(20, &[2, 4, 5]).floats("g", &[1, 3, 3, 2], &grid);
                let fixed = results(&fixed.node("GridSample", &["x", "g"], "y", &attributes), &image);
                let computed = two_inputs(&[2, 4, 5], &[3, 3, 2]).node("GridSample", &["x", "g"], "y", &attributes);
                check_close(&results(&computed, &[&image[..], &grid[..]].concat()), &fixed);
            }
        }
    }
}

#[test]
fn taps_of_a_cubic_are_brought_inside_one_by_one() {
    let image: Vec<f32> = (1..=6).map(|v| v as f32).collect();
    let grid = [-1.5, 0.25, 0.9, -1.2, 0.1, 0.6, 1.6, 1.4];
    // What onnxruntime 1.32 computes.
    let right =
        [[3.320_312_5, 2.969_157_2, 5.391_220_6, 6.020_252_7], [2.825_195_3, 2.742_501, 4.614_752, 6.360_000_6]];
    for (align, right) in right.iter().enumerate() {
        let attributes =
            [("mode", Text("cubic")), ("padding_mode", Text("border")), ("align_corners", Int(align as i64))];
        let fixed = Model::new(20, &[1, 2, 3]).floats("g", &[1, 1, 4, 2], &grid);
        check_close(&results(&fixed.node("GridSample", &["x", "g"], "y", &attributes), &image), right);
        let computed = two_inputs(&[1, 2, 3], &[1, 4, 2]).node("GridSample", &["x", "g"], "y", &attributes);
        check_close(&results(&computed, &[&image[..], &grid[..]].concat()), right);
    }
}

#[test]
fn more_windows_than_axes_are_refused() {
    let model = two_inputs(&[6], &[2])
        .floats("one", &[], &[1.0])
        .ints("row", &[-1])
        .node("Concat", &["g", "g"], "two", &[("axis", Int(1))])
        .node("Reshape", &["two", "row"], "start", &[])
        .node("Add", &["start", "one"], "end", &[])
        .node("Slice", &["x", "start", "end"], "y", &[]);
    assert!(from_onnx(&model.bytes()).is_err());
}

#[test]
fn integers_in_a_sequence_stay_integers() {
    let model = Model::new(20, &[3])
        .ints("seven", &[7])
        .ints("half", &[2])
        .node("SequenceEmpty", &[], "none", &[("dtype", Int(7))])
        .node("SequenceInsert", &["none", "seven"], "all", &[])
        .node("ConcatFromSequence", &["all"], "joined", &[("axis", Int(0))])
        .node("Div", &["joined", "half"], "three", &[])
        .node("Cast", &["three"], "real", &[("to", Int(1))])
        .node("Mul", &["x", "real"], "y", &[]);
    check_close(&results(&model, &[1.0, 2.0, 3.0]), &[3.0, 6.0, 9.0]);
}

#[test]
fn a_spatial_transformer_turns_an_image() {
    // A quarter turn of 3x3 pixels.
    let model = Model::new(20, &[1, 3, 3])
        .floats("theta", &[1, 2, 3], &[0.0, -1.0, 0.0, 1.0, 0.0, 0.0])
        .ints("size", &[1, 1, 3, 3])
        .node("AffineGrid", &["theta", "size"], "grid", &[("align_corners", Int(1))])
        .node("GridSample", &["x", "grid"], "y", &[("align_corners", Int(1))]);
    let image: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    check_close(&results(&model, &image), &[3.0, 6.0, 9.0, 2.0, 5.0, 8.0, 1.0, 4.0, 7.0]);
}

/// The definition: `sum x[t] exp(-2 pi i k t / n)`.
fn transformed(x: &[f32], bins: usize) -> Vec<f32> {
    let n = x.len() as f64;
    (0..bins)
        .flat_map(|k| {
            let angle = |t: usize| -2.0 * std::f64::consts::PI * k as f64 * t as f64 / n;
            let real: f64 = x.iter().enumerate().map(|(t, &v)| f64::from(v) * angle(t).cos()).sum();
            let imaginary: f64 = x.iter().enumerate().map(|(t, &v)| f64::from(v) * angle(t).sin()).sum();
            [real as f32, imaginary as f32]
        })
        .collect()
}

#[test]
fn signals_are_transformed() {
    let x = Random(8).floats(12);
    let dft = Model::new(17, &[12, 1]).node("DFT", &["x"], "y", &[("onesided", Int(1))]);
    check_close(&results(&dft, &x), &transformed(&x, 7));
    let there_and_back =
        Model::new(17, &[12, 1]).node("DFT", &["x"], "f", &[]).node("DFT", &["f"], "y", &[("inverse", Int(1))]);
    let both: Vec<f32> = x.iter().flat_map(|&v| [v, 0.0]).collect();
    check_close(&results(&there_and_back, &x), &both);
    let window = [0.0, 0.5, 1.0, 0.5];
    let stft = Model::new(17, &[12, 1])
        .edit(|m| {
            let mut step = releqc_passes::onnx::onnx_protobuf::TensorProto::default();
            (step.name, step.data_type, step.int64_data) = (Some("step".into()), Some(7), vec![3]);
            m.graph.as_mut().unwrap().initializer.push(step);
        })
        .floats("window", &[4], &window)
        .node("STFT", &["x", "step", "window"], "y", &[]);
    let frame = |start: usize| (0..4).map(|t| x[start + t] * window[t]).collect::<Vec<f32>>();
    let wanted: Vec<f32> = [0, 3, 6].iter().flat_map(|&start| transformed(&frame(start), 3)).collect();
    check_close(&results(&stft, &x), &wanted);
}

#[test]
fn pairs_of_features_are_turned() {
    let (cos, sin) = (0.6, 0.8);
    let attributes = [("num_heads", Int(1))];
    let model = |attributes: &[(&str, common::onnx_builder::Attr)]| {
        Model::new(23, &[1, 4]).floats("cos", &[1, 1, 2], &[cos, 1.0]).floats("sin", &[1, 1, 2], &[sin, 0.0]).node(
            "RotaryEmbedding",
            &["x", "cos", "sin"],
            "y",
            attributes,
        )
    };
    check_close(&results(&model(&attributes), &[1.0, 2.0, 3.0, 4.0]), &[0.6 - 2.4, 2.0, 0.8 + 1.8, 4.0]);
    let interleaved = [("num_heads", Int(1)), ("interleaved", Int(1))];
    check_close(&results(&model(&interleaved), &[1.0, 2.0, 3.0, 4.0]), &[0.6 - 1.6, 0.8 + 1.2, 3.0, 4.0]);
}

#[test]
fn products_columns_and_sequences() {
    let scalar = |name: &str, value: i64| {
        let name = name.to_owned();
        move |m: &mut releqc_passes::onnx::onnx_protobuf::ModelProto| {
            let mut tensor = releqc_passes::onnx::onnx_protobuf::TensorProto::default();
            (tensor.name, tensor.data_type, tensor.int64_data) = (Some(name), Some(7), vec![value]);
            m.graph.as_mut().unwrap().initializer.push(tensor);
        }
    };
    let product = |attributes: &[(&str, common::onnx_builder::Attr)]| {
        Model::new(26, &[4]).edit(scalar("axis", 1)).node("CumProd", &["x", "axis"], "y", attributes)
    };
    check_close(&results(&product(&[]), &[1.0, 2.0, 3.0, 4.0]), &[1.0, 2.0, 6.0, 24.0]);
    let attributes = [("exclusive", Int(1)), ("reverse", Int(1))];
    check_close(&results(&product(&attributes), &[1.0, 2.0, 3.0, 4.0]), &[24.0, 12.0, 4.0, 1.0]);

    // Two blocks of 2 that overlap by one pixel.
    let columns = Model::new(18, &[2, 2]).ints("image", &[1, 3]).ints("block", &[1, 2]);
    let columns = columns.node("Col2Im", &["x", "image", "block"], "y", &[("strides", Ints(vec![1, 1]))]);
    check_close(&results(&columns, &[1.0, 2.0, 10.0, 20.0]), &[1.0, 12.0, 20.0]);

    let sequence = Model::new(17, &[2])
        .edit(scalar("first", 0))
        .edit(scalar("last", -1))
        .node("SequenceEmpty", &[], "none", &[])
        .node("Neg", &["x"], "n", &[])
        .node("SequenceInsert", &["none", "x"], "one", &[])
        .node("SequenceInsert", &["one", "n", "first"], "two", &[])
        .node("SequenceInsert", &["two", "x"], "three", &[])
        .node("SequenceErase", &["three", "last"], "left", &[])
        .node("ConcatFromSequence", &["left"], "y", &[("axis", Int(1))]);
    check_close(&results(&sequence, &[1.0, 2.0]), &[-1.0, -2.0, 1.0, 2.0]);
}

#[test]
fn what_is_refused_says_why_and_where_to_cut() {
    let model = two_inputs(&[4, 4], &[2, 4]).node("Relu", &["x"], "boxes", &[]).node("Relu", &["g"], "scores", &[]);
    let model = model.node("NonMaxSuppression", &["boxes", "scores"], "y", &[]);
    let report = check(&model.bytes(), &ImportOptions::default()).unwrap();
    assert_eq!(report.findings.len(), 1);
    let finding = &report.findings[0];
    assert_eq!(finding.problem, "operator NonMaxSuppression; how many results it has depends on the network's input");
    assert_eq!(finding.advice.as_deref(), Some("compile up to what it reads: --cut boxes --cut scores"));
    let cut = ImportOptions { cut: vec!["boxes".into(), "scores".into()], ..ImportOptions::default() };
    assert_eq!(releqc_passes::import::import(&model.bytes(), &cut).unwrap().outputs.len(), 2);
}
