//! Whole training runs on a small network: what is exported equals what was trained, and runs repeat to the bit.

use super::inference::Inference;
use super::kernels::simd::Isa;
use super::layers::{NormMode, largest};
use super::network::Network;
use super::recording::Recording;
use super::*;
use crate::annotate::{Annotated, annotate};
use crate::calibrate::{Calibrated, Ends, Granularity, Stated, calibrate};
use crate::data::{Dataset, Samples};
use crate::ir::{
    BatchNorm, Clip, Conv, ElementType, FullyConnected, Graph, Node, NodeId, Op, Padding, Shape, Tensor, Window,
};
use crate::post_training::{Rounding, quantize_after_training};
use crate::rewrite::fold_batch_norm;
use burn::tensor::Device;
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;

fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Three classes of 3x6x6 images: noise around one of three patterns.
fn dataset(samples: usize, seed: u32) -> Dataset {
    let patterns = noise(3 * 108, 5);
    let mut values = noise(samples * 108, seed);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 3).collect();
    for (image, &label) in values.chunks_exact_mut(108).zip(&labels) {
        let pattern = &patterns[label as usize * 108..][..108];
        image.iter_mut().zip(pattern).for_each(|(v, p)| *v = 0.7 * *v + p);
    }
    Dataset::new(Shape::image(3, 6, 6), Samples::Values(values), Some(labels)).unwrap()
}

/// Conv with normalisation, a depthwise branch that is added, max pooling, flatten, fully connected.
fn graph() -> Graph {
    let window = |kernel: usize, pad: usize, stride: usize| Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        padding: Padding { top: pad, left: pad, bottom: pad, right: pad },
    };
    let conv = |o: usize, i: usize, groups: usize| {
        let bn = BatchNorm {
            gamma: vec![1.0; o],
            beta: vec![0.0; o],
            mean: vec![0.0; o],
            variance: vec![1.0; o],
            epsilon: 1e-5,
        };
        let weight = Tensor::new(vec![o, i, 3, 3], vec![0.0; o * i * 9]).unwrap();
        Op::Conv(Conv { weight, bias: None, window: window(3, 1, 1), groups, batch_norm: Some(bn) })
    };
    let fc = FullyConnected {
        weight: Tensor::new(vec![3, 90], vec![0.0; 270]).unwrap(),
        bias: Some(vec![0.0; 3]),
        batch_norm: None,
    };
    let node = |name: &str, op: Op, inputs: &[usize], shape: Shape, activation: Option<Clip>| Node {
        name: name.into(),
        op,
        inputs: inputs.iter().map(|&i| NodeId(i)).collect(),
        shape,
        activation,
    };
    let relu = Some(Clip::RELU);
    let nodes = vec![
        node("input", Op::Input(ElementType::F32), &[], Shape::image(3, 6, 6), None),
        node("first", conv(10, 3, 1), &[0], Shape::image(10, 6, 6), relu),
        node("branch", conv(10, 1, 10), &[1], Shape::image(10, 6, 6), None),
        node("sum", Op::ADD, &[1, 2], Shape::image(10, 6, 6), relu),
        node("pool", Op::MaxPool(window(2, 0, 2)), &[3], Shape::image(10, 3, 3), None),
        node("flatten", Op::Reshape, &[4], Shape::vector(90), None),
        node("last", Op::FullyConnected(fc), &[5], Shape::vector(3), None),
    ];
    Graph { name: "small".into(), nodes, outputs: vec![("logits".into(), NodeId(6))] }
}

fn recipe(steps: usize) -> Recipe {
    Recipe {
        batch: 32,
        learning_rate: 0.02,
        augmentation: Augmentation { shift: 1, flip: true },
        ..Recipe::full(steps)
    }
}

/// The small network trained in float, calibrated.
fn calibrated(train: &Dataset) -> Calibrated {
    let start = init_random(&graph(), 3).unwrap();
    let learning = Recipe { largest_gradient: f32::INFINITY, ..recipe(60) };
    let float = train_float(&start, train, &learning, 3, |_| ControlFlow::Continue(())).unwrap();
    let folded = fold_batch_norm(&float);
    calibrate(float, folded, &samples(train), &Stated::default(), Ends::LeastError, Granularity::Tensor)
}

/// The first samples of a data set.
fn samples(data: &Dataset) -> Vec<Vec<f32>> {
    let read = |i| {
        let mut sample = vec![0.0; 108];
        data.read(i, &mut sample);
        sample
    };
    (0..64).map(read).collect()
}

fn widths(bits: &[u8]) -> Vec<BitWidth> {
    bits.iter().map(|&b| BitWidth::new(b).unwrap()).collect()
}

#[test]
fn float_training_learns_and_retraining_keeps_it() {
    let (train, test) = (dataset(600, 1), dataset(300, 2));
    let calibrated = calibrated(&train);
    let evaluator = Evaluator::new(&calibrated.folded, &test).unwrap();
    assert!(evaluator.float().accuracy.unwrap() > 0.95, "{:?}", evaluator.float());
    let trainer = Trainer::new(&calibrated, &train, recipe(60), 9).unwrap();
    for bits in [[2, 2, 2], [3, 2, 4]] {
        let before = evaluator.evaluate(&annotate(&calibrated, &widths(&bits))).unwrap().accuracy.unwrap();
        let result = trainer.retrain(&widths(&bits), |_| ControlFlow::Continue(())).unwrap();
        let after = evaluator.evaluate(&result.annotated).unwrap().accuracy.unwrap();
        assert!(after > 0.93 && after >= before - 0.02, "{bits:?}: {before} before, {after} after");
    }
}

/// Raw pixels: the same network without normalisation, its inputs 1000 times as large and its first weights that much smaller, has gradients
/// that no learning rate suits.
#[test]
fn inputs_of_any_scale_are_learned_from() {
    const SCALE: f32 = 1000.0;
    let scaled = |data: Dataset| {
        let mut values = vec![0.0; data.len() * 108];
        for (i, sample) in values.chunks_exact_mut(108).enumerate() {
            data.read(i, sample);
            sample.iter_mut().for_each(|v| *v *= SCALE);
        }
        Dataset::new(Shape::image(3, 6, 6), Samples::Values(values), data.labels().map(<[u32]>::to_vec)).unwrap()
    };
    let mut graph = calibrated(&dataset(600, 1)).folded;
    let Op::Conv(first) = &mut graph.nodes[1].op else { panic!("the first layer is a convolution") };
    let smaller: Vec<f32> = first.weight.data().iter().map(|w| w / SCALE).collect();
    first.weight = Tensor::new(first.weight.dims().to_vec(), smaller).unwrap();
    let (train, test) = (scaled(dataset(600, 1)), scaled(dataset(300, 2)));
    let calibrated =
        calibrate(graph.clone(), graph, &samples(&train), &Stated::default(), Ends::LeastError, Granularity::Tensor);
    let evaluator = Evaluator::new(&calibrated.folded, &test).unwrap();
    let after = |recipe: Recipe| {
        let trainer = Trainer::new(&calibrated, &train, recipe, 9).unwrap();
        let result = trainer.retrain(&widths(&[3, 3, 3]), |_| ControlFlow::Continue(())).unwrap();
        evaluator.evaluate(&result.annotated).unwrap().accuracy.unwrap()
    };
    let clipped = after(recipe(60));
    let free = after(Recipe { largest_gradient: f32::INFINITY, ..recipe(60) });
    assert!(clipped > 0.93, "{clipped}, without clipping {free}");
    assert!(free < 0.8, "the test would not notice if nothing were clipped: {free}");
}

#[test]
fn every_weight_lies_on_its_code() {
    let train = dataset(96, 1);
    let calibrated = calibrated(&train);
    for method in [WeightMethod::LearnedSteps, WeightMethod::Wrpn, WeightMethod::DoReFa] {
        let trainer = Trainer::new(&calibrated, &train, Recipe { method, ..recipe(8) }, 9).unwrap();
        let result = trainer.retrain(&widths(&[2, 3, 8]), |_| ControlFlow::Continue(())).unwrap();
        for (id, quant) in &result.annotated.weights {
            let weight = match &result.annotated.graph.node(*id).op {
                Op::Conv(conv) => &conv.weight,
                Op::FullyConnected(fc) => &fc.weight,
                other => panic!("{} owns no weights", other.label()),
            };
            let row = weight.data().len() / quant.scales.len();
            let limit = f32::from(quant.bits.max_code());
            let mut used = false;
            for (row, scale) in weight.data().chunks_exact(row).zip(&quant.scales) {
                for w in row {
                    let code = (w / scale).round_ties_even();
                    assert!(code.abs() <= limit);
                    assert_eq!(code * scale, *w);
                    used |= code != 0.0;
                }
            }
            assert!(used, "{method:?} {id:?}: every weight became 0");
        }
    }
}

/// The small network with what stands behind its first layer: batch normalisation whose statistics are not those of the data, constant affine
/// maps, both, or both the other way round.
fn with_maps(kind: usize) -> Calibrated {
    let mut graph = init_random(&graph(), 3).unwrap();
    for (name, channels) in [("first", 10), ("branch", 10)] {
        let index = graph.nodes.iter().position(|n| n.name == name).unwrap();
        let Op::Conv(conv) = &mut graph.nodes[index].op else { panic!("a convolution") };
        let around =
            |centre: f32, seed| noise(channels, seed).into_iter().map(|v| centre + 0.4 * v).collect::<Vec<f32>>();
        let norm = BatchNorm {
            gamma: around(-1.0, 21),
            beta: around(0.2, 22),
            mean: around(0.5, 23),
            variance: around(3.0, 24),
            epsilon: 0.0,
        };
        let affine = Op::ChannelAffine { mul: around(-1.5, 25), add: around(-0.3, 26) };
        conv.batch_norm = None;
        let maps = match kind {
            0 => vec![Op::BatchNorm(norm)],
            1 => vec![affine],
            2 => vec![Op::BatchNorm(norm), affine],
            _ => vec![affine, Op::BatchNorm(norm)],
        };
        for op in maps {
            // Appended in execution order: the nodes behind are moved by one.
            let at = graph.nodes.iter().rposition(|n| n.name.starts_with(name)).unwrap();
            let node = Node {
                name: format!("{}_{}", graph.nodes[at].name, op.label()),
                op,
                inputs: vec![NodeId(at)],
                shape: graph.nodes[at].shape.clone(),
                activation: graph.nodes[at].activation.take(),
            };
            for later in &mut graph.nodes[at + 1..] {
                later.inputs.iter_mut().filter(|i| i.0 >= at).for_each(|i| i.0 += 1);
            }
            graph.nodes.insert(at + 1, node);
            graph.outputs.iter_mut().for_each(|(_, id)| id.0 += 1);
        }
    }
    let graph = crate::rewrite::canonicalize(graph).unwrap();
    assert_eq!(graph.nodes.len(), 7, "every map joined its layer");
    let folded = fold_batch_norm(&graph);
    calibrate(graph, folded, &samples(&dataset(64, 1)), &Stated::default(), Ends::LeastError, Granularity::Tensor)
}

/// 10 log10 of the power of the float network's logits over that of the difference.
fn decibel(calibrated: &Calibrated, annotated: &Annotated, data: &Dataset) -> f64 {
    let float = Inference::float(&calibrated.folded).unwrap().logits(data);
    let seen = Inference::annotated(annotated).unwrap().logits(data);
    let power = float.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>();
    let error = float.iter().zip(&seen).map(|(y, z)| f64::from(y - z).powi(2)).sum::<f64>();
    10.0 * (power / error).log10()
}

#[test]
fn a_run_starts_as_the_float_network_whatever_follows_its_layers() {
    let train = dataset(600, 1);
    for kind in 0..4 {
        let calibrated = with_maps(kind);
        let after = |steps: usize| {
            let recipe = Recipe { learning_rate: 0.0, augmentation: Augmentation::NONE, ..recipe(steps) };
            let trainer = Trainer::new(&calibrated, &train, recipe, 9).unwrap();
            let result = trainer.retrain(&widths(&[8, 8, 8]), |_| ControlFlow::Continue(())).unwrap();
            decibel(&calibrated, &result.annotated, &train)
        };
        let without = decibel(&calibrated, &annotate(&calibrated, &widths(&[8, 8, 8])), &train);
        assert!(after(0) > without - 1.0 && without > 20.0, "{kind}: {} dB after no step, {without} without", after(0));
        // Three updates that move nothing; the statistics are those of other batches.
        assert!(after(3) > without - 6.0, "{kind}: {} dB, {without} without", after(3));
    }
}

/// Every channel of a normalisation without epsilon is constant: its input is 0.
#[test]
fn constant_channels_and_overflowing_batches_leave_numbers() {
    let mut calibrated = with_maps(0);
    let Op::Conv(conv) = &mut calibrated.graph.nodes[1].op else { panic!("a convolution") };
    conv.weight = conv.weight.with_data(vec![0.0; conv.weight.data().len()]);
    calibrated.folded = fold_batch_norm(&calibrated.graph);
    let train = dataset(96, 1);
    for recipe in [recipe(5), Recipe { learning_rate: 1e20, largest_gradient: f32::INFINITY, ..recipe(5) }] {
        let trainer = Trainer::new(&calibrated, &train, recipe, 9).unwrap();
        let result = trainer.retrain(&widths(&[8, 8, 8]), |_| ControlFlow::Continue(())).unwrap();
        for node in &result.annotated.graph.nodes {
            let Op::Conv(conv) = &node.op else { continue };
            let bias = conv.bias.as_deref().unwrap_or_default();
            assert!(conv.weight.data().iter().chain(bias).all(|v| v.is_finite()), "{}", node.name);
        }
    }
}

/// The logits of the last training forward pass equal those of the exported graph: what is compiled is what was trained.
#[test]
fn exported_graph_computes_what_was_trained() {
    let train = dataset(96, 1);
    let calibrated = calibrated(&train);
    for learn_activation_steps in [false, true] {
        let recipe = Recipe { learn_activation_steps, ..recipe(12) };
        let trainer = Trainer::new(&calibrated, &train, recipe, 9).unwrap();
        let (state, rounding, annotated) = trainer.retrained_state(&widths(&[3, 2, 4])).unwrap();
        let network = Network::new(&calibrated.graph).unwrap();
        let device = Device::flex();
        let parameters: Vec<_> = state.parameters.iter().map(|p| tape::constant(p.values.clone(), &device)).collect();
        let recording = Recording {
            isa: Isa::detect(),
            network: &network,
            parameters: &parameters,
            statistics: &state.statistics,
            rounding: Some(&rounding),
            norm: NormMode::Fixed,
            buffers: &Default::default(),
        };
        let mut batch = Vec::new();
        let (mut plain, mut image) = (vec![0.0; 108], vec![0.0; 108]);
        for i in 0..96 {
            train.read(i, &mut plain);
            inference::interleave(&plain, [3, 6, 6], &mut image);
            batch.extend_from_slice(&image);
        }
        let trained = tape::values(recording.values_of(&batch, &device, &[network.logits]).0.remove(0));
        let exported = Inference::annotated(&annotated).unwrap().logits(&train);
        // A sum at the border of two codes may round either way: single logits differ by a few steps, classes do not.
        let largest_value = trained.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = trained.iter().zip(&exported).filter(|(a, b)| (*a - *b).abs() > 1e-4 * largest_value).count();
        assert!(off * 20 < trained.len(), "{off} of {} logits differ", trained.len());
        let same =
            trained.chunks_exact(3).zip(exported.chunks_exact(3)).filter(|(a, b)| largest(a) == largest(b)).count();
        assert!(same >= 95, "{same} of 96 classes agree");
    }
}

#[test]
fn a_run_is_a_function_of_its_inputs() {
    let train = dataset(96, 1);
    let calibrated = calibrated(&train);
    let run = |threads: usize, earlier: &[&[u8]]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let trainer = Trainer::new(&calibrated, &train, recipe(10), 4).unwrap();
            for bits in earlier {
                trainer.retrain(&widths(bits), |_| ControlFlow::Continue(())).unwrap();
            }
            let result = trainer.retrain(&widths(&[2, 3, 4]), |_| ControlFlow::Continue(())).unwrap();
            (result.annotated.graph, result.annotated.weights, result.loss)
        })
    };
    let first = run(1, &[]);
    assert!(first == run(2, &[&[8, 8, 8], &[2, 2, 2]]), "threads or earlier runs changed the result");
}

#[test]
fn a_run_without_labels_follows_the_float_network() {
    let labelled = dataset(300, 1);
    let calibrated = calibrated(&labelled);
    let mut values = vec![0.0; 300 * 108];
    values.chunks_exact_mut(108).enumerate().for_each(|(i, v)| labelled.read(i, v));
    let train = Dataset::new(Shape::image(3, 6, 6), Samples::Values(values), None).unwrap();
    let trainer = Trainer::new(&calibrated, &train, recipe(60), 9).unwrap();
    let result = trainer.retrain(&widths(&[2, 2, 2]), |_| ControlFlow::Continue(())).unwrap();
    let evaluator = Evaluator::new(&calibrated.folded, &train).unwrap();
    let agreement = evaluator.evaluate(&result.annotated).unwrap().agreement;
    assert!(agreement > 0.93, "{agreement}");
}

#[test]
fn a_run_stops_when_told_to() {
    let train = dataset(96, 1);
    let calibrated = calibrated(&train);
    let trainer = Trainer::new(&calibrated, &train, recipe(50), 9).unwrap();
    let result = trainer
        .retrain(&widths(&[2, 2, 2]), |p| if p.step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        .unwrap();
    assert!(result.stopped && result.steps == 3);
}

#[test]
fn wrong_inputs_are_refused_with_what_was_seen() {
    let train = dataset(96, 1);
    let calibrated = calibrated(&train);
    let trainer = Trainer::new(&calibrated, &train, recipe(5), 9).unwrap();
    let error = trainer.retrain(&widths(&[2, 2]), |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "2 widths for 3 weight layers; one each is needed");
    let other = Dataset::new(Shape::vector(4), Samples::Values(vec![0.0; 8]), None).unwrap();
    let error = Trainer::new(&calibrated, &other, recipe(5), 9).unwrap_err();
    assert_eq!(error.to_string(), "samples of shape 1x4; the network reads 1x3x6x6");
    let far = Dataset::new(Shape::image(3, 6, 6), Samples::Values(vec![0.0; 108]), Some(vec![7])).unwrap();
    let error = Trainer::new(&calibrated, &far, recipe(5), 9).unwrap_err();
    assert_eq!(error.to_string(), "label 7 of sample 0; the network has 3 classes");
}

/// The small network at 3 bits as it is rounded after training.
fn rounded(calibrated: &Calibrated, train: &Dataset) -> Annotated {
    quantize_after_training(calibrated, &widths(&[3, 3, 3]), &samples(train), Rounding::ON_SAMPLES).annotated
}

fn fitted(calibrated: &Calibrated, data: &Dataset, recipe: Reconstruction) -> Annotated {
    let start = rounded(calibrated, data);
    let fitter = Reconstructor::new(calibrated, data, recipe, 4).unwrap();
    fitter.fit(&start, |_| ControlFlow::Continue(())).unwrap()
}

fn reconstruction(updates: usize, aim: Aim) -> Reconstruction {
    Reconstruction { batch: 32, ..Reconstruction::new(updates, aim) }
}

#[test]
fn a_reconstruction_starts_as_the_network_was_rounded() {
    let train = dataset(300, 1);
    let calibrated = calibrated(&train);
    let logits = |annotated: &Annotated| Inference::annotated(annotated).unwrap().logits(&train);
    let unmoved = fitted(&calibrated, &train, reconstruction(0, Aim::Values));
    assert_eq!(logits(&rounded(&calibrated, &train)), logits(&unmoved));
}

#[test]
fn a_reconstruction_reads_no_label_and_is_the_same_on_any_number_of_threads() {
    let labelled = dataset(300, 1);
    let calibrated = calibrated(&labelled);
    let unlabelled = labelled.clone().without_labels();
    let run = |threads: usize, data: &Dataset| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let annotated =
            pool.install(|| fitted(&calibrated, data, reconstruction(20, Aim::Classes { temperature: 2.0 })));
        (annotated.graph, annotated.weights)
    };
    let first = run(1, &labelled);
    assert!(first == run(2, &unlabelled), "threads or labels changed the result");
}

#[test]
fn blocks_end_where_a_network_is_one_tensor_wide() {
    // Behind the first layer, and behind sum, pooling and flattening, which no layer parts.
    assert_eq!(Network::new(&graph()).unwrap().block_ends(), [1, 5]);
}

/// A chain of six convolutions with biases, as exporters leave one whose batch normalisation they fold.
fn chain() -> Graph {
    let window = Window {
        kernel: [3; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: Padding { top: 1, left: 1, bottom: 1, right: 1 },
    };
    let mut graph = graph();
    graph.nodes.truncate(1);
    for layer in 0..6 {
        let (inputs, outputs) = (if layer == 0 { 3 } else { 6 }, 6);
        let weight: Vec<f32> = noise(outputs * inputs * 9, 40 + layer).into_iter().map(|w| 0.35 * w).collect();
        let weight = Tensor::new(vec![outputs, inputs, 3, 3], weight).unwrap();
        let bias = Some(noise(outputs, 50 + layer));
        graph.nodes.push(Node {
            name: format!("conv{layer}"),
            op: Op::Conv(Conv { weight, bias, window, groups: 1, batch_norm: None }),
            inputs: vec![NodeId(layer as usize)],
            shape: Shape::image(outputs, 6, 6),
            activation: Some(Clip::RELU),
        });
    }
    let fc = FullyConnected {
        weight: Tensor::new(vec![3, 216], noise(648, 60)).unwrap(),
        bias: Some(vec![0.1, -0.2, 0.3]),
        batch_norm: None,
    };
    let node = |name: &str, op: Op, input: usize, shape: Shape| Node {
        name: name.into(),
        op,
        inputs: vec![NodeId(input)],
        shape,
        activation: None,
    };
    graph.nodes.push(node("flatten", Op::Reshape, 6, Shape::vector(216)));
    graph.nodes.push(node("last", Op::FullyConnected(fc), 7, Shape::vector(3)));
    graph.outputs = vec![("logits".into(), NodeId(8))];
    graph
}

#[test]
fn normalisation_put_back_leaves_the_function_as_it_was() {
    let train = dataset(600, 1);
    let folded = chain();
    let graph = with_batch_norm(&folded, &train, 9).unwrap();
    for node in &graph.nodes {
        let Op::Conv(conv) = &node.op else { continue };
        let norm = conv.batch_norm.as_ref().unwrap();
        assert!(norm.gamma.iter().all(|&gamma| gamma > 0.0), "measured: {norm:?}");
    }
    let logits = |graph: &Graph| Inference::float(graph).unwrap().logits(&train);
    let (before, after) = (logits(&folded), logits(&graph));
    let largest = before.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-4 * largest));
    // The same bounds as for a network that came with its normalisation.
    let calibrated =
        calibrate(graph, folded, &samples(&train), &Stated::default(), Ends::LeastError, Granularity::Tensor);
    let bits = widths(&[8; 7]);
    let after = |steps: usize| {
        let recipe = Recipe { learning_rate: 0.0, augmentation: Augmentation::NONE, ..recipe(steps) };
        let trainer = Trainer::new(&calibrated, &train, recipe, 9).unwrap();
        let result = trainer.retrain(&bits, |_| ControlFlow::Continue(())).unwrap();
        decibel(&calibrated, &result.annotated, &train)
    };
    let without = decibel(&calibrated, &annotate(&calibrated, &bits), &train);
    assert!(without > 20.0 && after(0) > without - 1.0, "{} dB after no step, {without} without", after(0));
    assert!(after(3) > without - 6.0, "{} dB after three steps, {without} without", after(3));
}

#[test]
fn normalisation_is_put_back_only_where_it_looks_folded_away() {
    let train = dataset(96, 1);
    let shallow = fold_batch_norm(&calibrated(&train).graph);
    assert_eq!(with_batch_norm(&shallow, &train, 9).unwrap(), shallow, "two layers");
    let mut normalized = chain();
    let Op::Conv(conv) = &mut normalized.nodes[1].op else { panic!("a convolution") };
    let ones = vec![1.0; 6];
    conv.batch_norm =
        Some(BatchNorm { gamma: ones.clone(), beta: ones.clone(), mean: ones.clone(), variance: ones, epsilon: 1e-5 });
    assert_eq!(with_batch_norm(&normalized, &train, 9).unwrap(), normalized, "a network that came with its own");
}
