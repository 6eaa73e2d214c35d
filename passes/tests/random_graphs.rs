//! Random graphs of every operator: what an artifact computes is what docs/quantization.md says of the quantized graph,
//! to the last bit, and rewriting changes no result.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::nets::{INPUT, Net, window};
use common::onnx_builder::{Attr, Model};
use common::random_net::{Kind, random_net};
use common::{Random, evaluate, interpret};
use releqc_passes::activation::ActivationQuant;
use releqc_passes::annotate::{Annotated, WeightQuant, annotate};
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::emit::emit;
use releqc_passes::equalize::Equalization;
use releqc_passes::import::from_onnx;
use releqc_passes::ir::{Graph, Op, Shape};
use releqc_passes::legality;
use releqc_passes::lower::{LowerError, lower};
use releqc_passes::quantize::{Domain, quantize};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_passes::verify;
use releqc_runtime::accel::{AccelConfig, Simulator};
use releqc_runtime::format::{Artifact, LoadOptions, Metadata};
use releqc_runtime::reference::Reference;
use releqc_runtime::{BitWidth, Session, SessionOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Samples that a graph is calibrated on; the first two are run.
const SAMPLES: usize = 4;

/// What became of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The artifact gave the interpreter's bytes.
    Equal,
    /// Scales that the format does not hold.
    NotQuantized,
    /// An operator without a form in its place, as the check said.
    NotLowered,
}

/// How often an operator was computed on codes, and how often on floats.
type Seen = BTreeMap<(&'static str, bool), usize>;

/// The graph through all stages; says what differs.
fn compare(graph: Graph, seed: u64, seen: &mut Seen) -> Result<Outcome, String> {
    assert_eq!(verify::violations(&graph), [], "the generator's graph\n{graph}");
    let mut random = Random(seed ^ 0x5eed);
    let samples: Vec<Vec<f32>> = (0..SAMPLES).map(|_| random.floats(graph.sample_len())).collect();
    let canonical = canonicalize(graph).map_err(|error| error.to_string())?;
    let folded = fold_batch_norm(&canonical);
    let legal = legality::check(&folded);
    agree(annotated(canonical, folded, &samples, &mut random), legal, &samples[..2], seen)
}

/// The artifact of an annotated graph beside the interpreter, on some samples: reference, kernels and simulator.
fn agree(
    annotated: Annotated,
    legal: Result<(), LowerError>,
    samples: &[Vec<f32>],
    seen: &mut Seen,
) -> Result<Outcome, String> {
    let quantized = match quantize(annotated) {
        Ok(quantized) => quantized,
        Err(_) => return Ok(Outcome::NotQuantized),
    };
    for (node, domain) in quantized.graph.nodes.iter().zip(&quantized.domains) {
        *seen.entry((node.op.label(), *domain == Domain::Codes)).or_default() += 1;
    }
    let lowered = match (lower(&quantized), legal) {
        (Ok(lowered), Ok(())) => lowered,
        (Err(LowerError::Quantize(_)), Ok(())) => return Ok(Outcome::NotQuantized),
        (Err(_), Err(_)) => return Ok(Outcome::NotLowered),
        (lowered, legal) => {
            return Err(format!("the check says {legal:?}, lowering {:?}\n{quantized}", lowered.map(|_| ())));
        }
    };
    let bytes =
        emit(lowered, Metadata::default(), &AccelConfig::default()).map_err(|error| format!("{error}\n{quantized}"))?;
    let artifact = Artifact::from_bytes(bytes, LoadOptions::default());
    let artifact = artifact.map_err(|error| format!("{error}\n{quantized}"))?;
    let mut session = Session::new(&artifact, SessionOptions { threads: 1, ..SessionOptions::default() }).unwrap();
    let mut simulator = Simulator::new(&artifact).unwrap();
    for sample in samples {
        let expected = interpret(&quantized, sample);
        let mut kernels = vec![0.0; session.output_len()];
        session.run(sample, &mut kernels).unwrap();
        let executors = [
            ("reference", Reference::new(&artifact).run(sample).unwrap().concat()),
            ("kernels", kernels),
            ("simulator", simulator.run(sample).unwrap().concat()),
        ];
        for (executor, found) in executors {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            if bits(&found) != bits(&expected.concat()) {
                let graph = &quantized.graph;
                return Err(format!("{executor}: {found:?} instead of {expected:?}\n{graph}\n{quantized}"));
            }
        }
    }
    Ok(Outcome::Equal)
}

/// Measured ranges and random widths. In half of the graphs channels have factors, and in some a few nodes stay floats.
/// Some concats get the scale and zero point of an operand, so that its codes move; in some graphs no range is as it was
/// measured, and in some the codes of every tensor have a width of their own.
fn annotated(canonical: Graph, folded: Graph, samples: &[Vec<f32>], random: &mut Random) -> Annotated {
    let granularity = match random.below(2) {
        0 => Granularity::Tensor,
        _ => Granularity::Channel(Equalization::CANDIDATES[random.below(Equalization::CANDIDATES.len())]),
    };
    let ends = if random.below(2) == 0 { Ends::LeastError } else { Ends::OF_SYNTHESISED };
    let mut calibrated = calibrate(canonical, folded, samples, &Stated::default(), ends, granularity);
    if random.below(3) == 0 {
        let may_be = |op: &Op| !matches!(op, Op::MaxPool(_) | Op::AveragePool { .. } | Op::Constant(_));
        let nodes = calibrated.folded.iter().filter(|(_, node)| may_be(&node.op));
        calibrated.floats = nodes.filter(|_| random.below(4) == 0).map(|(id, _)| id).collect();
    }
    let layers = calibrated.folded.weight_layers().len();
    let widths: Vec<BitWidth> = (0..layers).map(|_| BitWidth::new(2 + random.below(7) as u8).unwrap()).collect();
    let mut annotated = annotate(&calibrated, &widths);
    let (moved, narrow) = (random.below(4) == 0, random.below(3) == 0);
    for (id, node) in calibrated.folded.iter() {
        let own = annotated.activations[id.0];
        if moved {
            let scale = own.scale * (1.0 + 0.5 * random.float());
            annotated.activations[id.0] = ActivationQuant { scale, zero_point: random.below(256) as u8, largest: 255 };
        }
        if narrow {
            let quant = &mut annotated.activations[id.0];
            let bits = BitWidth::new(2 + random.below(7) as u8).unwrap();
            quant.largest = ActivationQuant::largest_code(bits);
            quant.zero_point = quant.zero_point.min(quant.largest);
        }
        if matches!(node.op, Op::Concat { .. }) && random.below(2) == 0 {
            let operand = node.inputs[random.below(node.inputs.len())];
            annotated.activations[id.0] = annotated.activations[operand.0];
        }
    }
    annotated
}

/// Runs `check` on the graphs of many seeds; stops with the first few that fail.
fn of_many(seeds: std::ops::Range<u64>, mut check: impl FnMut(u64) -> Result<Outcome, String>) -> [usize; 3] {
    let (mut counts, mut failures) = ([0; 3], Vec::new());
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| check(seed))) {
            Ok(Ok(outcome)) => counts[outcome as usize] += 1,
            Ok(Err(difference)) => failures.push((seed, difference)),
            Err(_) => failures.push((seed, "a panic".into())),
        }
    }
    failures.sort_by_key(|(_, difference)| difference.len());
    if let Some((_, shortest)) = failures.first() {
        let first_line = |(seed, text): &(u64, String)| format!("{seed}: {}", text.lines().next().unwrap_or_default());
        let all: Vec<String> = failures.iter().map(first_line).collect();
        panic!("{} of {} graphs fail:\n{}\n{shortest}", all.len(), seeds.count(), all.join("\n"));
    }
    counts
}

#[test]
fn artifacts_compute_what_the_document_says() {
    let mut seen = Seen::new();
    let [equal, not_quantized, not_lowered] =
        of_many(0..GRAPHS, |seed| compare(random_net(seed, Kind::Any), seed, &mut seen));
    println!("{equal} equal, {not_quantized} not quantized, {not_lowered} not lowered");
    assert!(20 * (not_quantized + not_lowered) < equal, "too many graphs are refused");
    let rare: Vec<_> =
        ON_CODES.iter().filter(|label| seen.get(&(**label, true)).is_none_or(|&count| count < 10)).collect();
    assert!(rare.is_empty(), "hardly ever on codes: {rare:?}");
}

/// Graphs a test.
const GRAPHS: u64 = 4000;

/// Operators that must have been seen on codes.
const ON_CODES: [&str; 22] = [
    "add",
    "average_pool",
    "batch_norm",
    "channel_affine",
    "clip",
    "concat",
    "constant",
    "conv",
    "conv_grouped",
    "fully_connected",
    "gather",
    "hard_swish",
    "leaky_relu",
    "max",
    "max_pool",
    "min",
    "mul",
    "prelu",
    "reshape",
    "silu",
    "sub",
    "transpose",
];

/// Parts of the largest value: constants are rounded to f32 where they join weights.
const TOLERANCE: f32 = 1e-4;

#[test]
fn rewriting_changes_no_result() {
    of_many(0..GRAPHS, |seed| {
        let graph = random_net(seed, Kind::Smooth);
        // The float walk has no recurrent layers.
        let walked = graph.nodes.iter().all(|node| !matches!(node.op, Op::Recurrent(_)));
        if walked { rewritten(&graph, seed).map(|()| Outcome::Equal) } else { Ok(Outcome::NotLowered) }
    });
}

/// The graph before all rewrites and after them, by the float walk.
fn rewritten(graph: &Graph, seed: u64) -> Result<(), String> {
    let sample = Random(seed ^ 0x5eed).floats(graph.sample_len());
    let expected = evaluate(graph, &sample);
    let folded = fold_batch_norm(&canonicalize(graph.clone()).map_err(|error| error.to_string())?);
    let found = evaluate(&folded, &sample);
    let scale = expected.iter().fold(1.0f32, |a, v| a.max(v.abs()));
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > TOLERANCE * scale || a.is_nan() != b.is_nan();
    match expected.iter().zip(&found).position(far) {
        Some(at) => Err(format!("value {at}: {} instead of {}\n{graph}\n{folded}", found[at], expected[at])),
        None => Ok(()),
    }
}

/// Two reshapes to one shape: both went, as each was thought to leave the work to the other.
#[test]
fn a_reshape_read_by_one_that_changes_nothing() {
    let mut net = Net::new("reshapes", Shape::image(2, 2, 1), 1);
    let first = net.reshape(INPUT, Shape::new(vec![1, 4, 1]));
    let second = net.reshape(first, Shape::new(vec![1, 4, 1]));
    let clip = net.clip(second, -0.5, 0.5);
    rewritten(&net.output(&[("y", clip)]), 1).unwrap();
}

/// A window that strides over the padding behind it: the loader took it for a fault.
#[test]
fn a_pool_with_padding_that_no_position_reaches() {
    let mut net = Net::new("pool", Shape::image(2, 5, 1), 1);
    let window = window([2, 1], [2, 2], [1, 1], [0, 0, 1, 1]);
    let (max, mean) = (net.max_pool(INPUT, window), net.average_pool(INPUT, window, false));
    let graph = net.output(&[("max", max), ("mean", mean)]);
    assert_eq!(compare(graph, 1, &mut Seen::new()), Ok(Outcome::Equal));
}

/// A map on axis 1 behind a first axis of two positions: each channel has two runs of columns in the layer.
#[test]
fn a_map_with_two_samples_before_a_layer() {
    let mut net = Net::new("map", Shape::new(vec![2, 2, 3]), 1);
    let map = Op::ChannelAffine { mul: vec![0.5, -2.0], add: vec![1.0, 0.25] };
    let mapped = net.push(map, vec![INPUT], Shape::new(vec![2, 2, 3]));
    let flat = net.reshape(mapped, Shape::vector(12));
    let y = net.fc(flat, 3, true);
    rewritten(&net.output(&[("y", y)]), 1).unwrap();
}

/// The codes of a constant follow from its values: a layer and a movement that read them went by the range of
/// calibration.
#[test]
fn a_constant_under_another_shape_before_a_layer() {
    let mut net = Net::new("constant", Shape::vector(2), 1);
    let values = net.tensor(vec![3, 2]);
    let constant = net.push(Op::Constant(values), vec![], Shape::new(vec![3, 2]));
    let y = net.fc_of_rows(constant, 2);
    let turned = net.push(Op::Transpose { perm: vec![1, 0] }, vec![constant], Shape::new(vec![2, 3]));
    let z = net.fc_of_rows(turned, 2);
    let graph = net.output(&[("y", y), ("z", z)]);
    let weights = graph.weight_layers().into_iter();
    let annotated = Annotated {
        weights: weights.map(|id| (id, WeightQuant { bits: BitWidth::MAX, scales: vec![0.01; 2] })).collect(),
        activations: vec![ActivationQuant { scale: 0.5, zero_point: 7, largest: 255 }; graph.nodes.len()],
        factors: vec![None; graph.nodes.len()],
        floats: BTreeSet::new(),
        graph,
    };
    let agreed = agree(annotated, Ok(()), &[vec![0.5, -0.5]], &mut Seen::new());
    assert_eq!(agreed, Ok(Outcome::Equal));
}

/// A window of 3x3 that strides by 2 over one ring of zeros around 4x4 values, with SAME padding of its own: what a
/// pool or convolution makes of the values at each of 3x3 positions (`None` in the window's own padding), row by row.
fn under_same_windows(x: &[f32], is_upper: bool, result: impl Fn(&[Option<f32>]) -> f32) -> Vec<f32> {
    let ringed = |row: usize, column: usize| {
        let inside = (1..5).contains(&row) && (1..5).contains(&column);
        if inside { x[(row - 1) * 4 + column - 1] } else { 0.0 }
    };
    // 3 positions of 3 cells reach 7 of 6: one more behind, or before.
    let before = if is_upper { 0 } else { 1 };
    let cell = |row: usize, column: usize| {
        let (row, column) = (row.checked_sub(before)?, column.checked_sub(before)?);
        (row < 6 && column < 6).then(|| ringed(row, column))
    };
    let position = |at: usize| -> Vec<Option<f32>> {
        (0..9).map(|tap| cell(2 * (at / 3) + tap / 3, 2 * (at % 3) + tap % 3)).collect()
    };
    (0..9).map(|at| result(&position(at))).collect()
}

/// Zeros that a network puts around an image go into windows that have padding of their own.
#[test]
fn padding_before_windows_with_same_padding() {
    let x = Random(9).floats(16);
    let weight = Random(6).floats(9);
    for auto_pad in ["SAME_UPPER", "SAME_LOWER"] {
        for (op, include) in [("Conv", 0), ("MaxPool", 0), ("AveragePool", 0), ("AveragePool", 1)] {
            let expected = under_same_windows(&x, auto_pad == "SAME_UPPER", |cells| {
                let seen: Vec<f32> = cells.iter().copied().flatten().collect();
                match op {
                    "Conv" => cells.iter().zip(&weight).map(|(v, w)| v.unwrap_or(0.0) * w).sum(),
                    "MaxPool" => seen.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                    _ => seen.iter().sum::<f32>() / if include == 1 { 9 } else { seen.len() } as f32,
                }
            });
            let mut attributes = vec![
                ("auto_pad", Attr::Text(auto_pad)),
                ("strides", Attr::Ints(vec![2, 2])),
                ("kernel_shape", Attr::Ints(vec![3, 3])),
            ];
            if op == "AveragePool" {
                attributes.push(("count_include_pad", Attr::Int(include)));
            }
            let operands: &[&str] = if op == "Conv" { &["p", "w"] } else { &["p"] };
            let mut model = Model::new(17, &[1, 4, 4]).ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]);
            if op == "Conv" {
                model = model.floats("w", &[1, 1, 3, 3], &weight);
            }
            let model = model.node("Pad", &["x", "pads"], "p", &[]).node(op, operands, "y", &attributes);
            let graph = canonicalize(from_onnx(&model.bytes()).unwrap()).unwrap();
            let found = evaluate(&graph, &x);
            let near = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near, "{auto_pad} {op} {include}: {found:?} instead of {expected:?}\n{graph}");
        }
    }
}
