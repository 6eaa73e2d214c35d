//! Operators on codes and fused operators: import gives what the formulas of their specification give, written out here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::compiles::supported;
use common::onnx_builder::Attr::{Float, Int, Text};
use common::onnx_builder::{Attr, Model};
use common::{Random, evaluate};
use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::import::{ImportOptions, from_onnx};
use releqc_passes::onnx::onnx_protobuf::{OperatorSetIdProto, TensorProto};

const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;

/// Codes as an initialiser; without extents where there is one.
fn codes(model: Model, name: &str, data_type: i32, dims: &[i64], values: &[i32]) -> Model {
    model.edit(|proto| {
        proto.graph.as_mut().unwrap().initializer.push(TensorProto {
            name: Some(name.into()),
            dims: dims.to_vec(),
            data_type: Some(data_type),
            int32_data: values.to_vec(),
            ..Default::default()
        });
    })
}

/// A node of the domain of onnxruntime.
fn contributed(model: Model, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attr)]) -> Model {
    model.node(op, inputs, output, attributes).edit(|proto| {
        proto.graph.as_mut().unwrap().node.last_mut().unwrap().domain = Some("com.microsoft".into());
        proto.opset_import.push(OperatorSetIdProto { domain: Some("com.microsoft".into()), version: Some(1) });
    })
}

/// `x` as codes "q" of scale 1/64 and zero point 128: what lies within -2..1.98 is kept.
fn quantized(dims: &[i64]) -> Model {
    let model = Model::new(17, dims).floats("s", &[], &[1.0 / 64.0]);
    codes(model, "z", UINT8, &[], &[128]).node("QuantizeLinear", &["x", "s", "z"], "q", &[])
}

/// The codes "r" of scale 1/16 and zero point 100 as floats: what lies within -6.25..9.69 is kept.
fn decoded(model: Model) -> Model {
    let model = codes(model.floats("rs", &[], &[1.0 / 16.0]), "rz", UINT8, &[], &[100]);
    model.node("DequantizeLinear", &["r", "rs", "rz"], "y", &[])
}

fn check(model: &Model, input: &[f32], expected: &[f32]) {
    supported(&model.bytes(), &ImportOptions::default()).unwrap();
    let graph = from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
    let seen = evaluate(&graph, input);
    assert_eq!(seen.len(), expected.len(), "{graph}");
    assert!(expected.iter().any(|e| e.abs() > 1e-2), "{expected:?}");
    for (s, e) in seen.iter().zip(expected) {
        assert!((s - e).abs() <= 1e-5 * e.abs().max(1.0), "{s} instead of {e}\n{graph}");
    }
}

fn kept(v: f32) -> f32 {
    v.clamp(-6.25, 155.0 / 16.0)
}

/// Random input within what "q" keeps.
fn input(len: usize) -> Vec<f32> {
    Random(11).floats(len)
}

#[test]
fn a_product_of_dynamic_codes_is_that_of_floats() {
    let weight: [i32; 6] = [-3, 90, 17, 5, -120, 44];
    let model = codes(Model::new(17, &[3]), "w", INT8, &[3, 2], &weight);
    let model = codes(model, "wz", INT8, &[2], &[4, -7]).floats("ws", &[2], &[0.02, 0.05]);
    let model = model.node("DynamicQuantizeLinear", &["x"], "c", &[]).edit(|proto| {
        let node = proto.graph.as_mut().unwrap().node.last_mut().unwrap();
        node.output.extend(["cs".to_owned(), "cz".to_owned()]);
    });
    let model = model
        .node("MatMulInteger", &["c", "w", "cz", "wz"], "p", &[])
        .node("Cast", &["p"], "f", &[("to", Int(1))])
        .node("Mul", &["cs", "ws"], "scale", &[])
        .node("Mul", &["f", "scale"], "y", &[]);
    let x = input(3);
    let column =
        |n: usize, zero: i32, scale: f32| (0..3).map(|k| x[k] * (weight[2 * k + n] - zero) as f32).sum::<f32>() * scale;
    check(&model, &x, &[column(0, 4, 0.02), column(1, -7, 0.05)]);
}

#[test]
fn a_convolution_on_codes_has_a_scale_a_filter_and_a_bias_of_both_scales() {
    let (weight, bias): ([i32; 8], [i32; 2]) = ([100, -50, 25, 7, -128, 3, 60, 90], [900, -4000]);
    let scales = [0.03f32, 0.01];
    let model = codes(quantized(&[1, 3, 3]), "w", INT8, &[2, 1, 2, 2], &weight).floats("ws", &[2], &scales);
    let model = codes(codes(model, "wz", INT8, &[2], &[0, 0]), "b", INT32, &[2], &bias);
    let model = decoded(model.node("QLinearConv", &["q", "s", "z", "w", "ws", "wz", "rs", "rz", "b"], "r", &[]));
    let x = input(9);
    let mut expected = Vec::new();
    for o in 0..2 {
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let sum: f32 = (0..4).map(|t| x[(i + t / 2) * 3 + j + t % 2] * weight[4 * o + t] as f32 * scales[o]).sum();
            expected.push(kept(sum + bias[o] as f32 * scales[o] / 64.0));
        }
    }
    check(&model, &x, &expected);
}

#[test]
fn an_integer_convolution_pads_with_the_zero_point() {
    let weight = [1, -2, 3];
    let model = codes(quantized(&[1, 1, 4]), "w", INT8, &[1, 1, 1, 3], &weight)
        .node("ConvInteger", &["q", "w", "z"], "p", &[("pads", Attr::Ints(vec![0, 1, 0, 1]))])
        .node("Cast", &["p"], "y", &[("to", Int(1))]);
    // Codes are whole numbers here: inputs on the grid.
    let x = [0.5, -0.25, 1.0, 0.75];
    let at = |i: i32| if (0..4).contains(&i) { x[i as usize] * 64.0 } else { 0.0 };
    let expected: Vec<f32> = (0..4).map(|i| at(i - 1) - 2.0 * at(i) + 3.0 * at(i + 1)).collect();
    check(&model, &x, &expected);
}

#[test]
fn products_on_codes() {
    let weight = [10, -20, 30, 40, 55, -66];
    let of = |dims: &[i64]| {
        let model = codes(quantized(&[3]), "w", INT8, dims, &weight).floats("ws", &[], &[0.05]);
        codes(model, "wz", INT8, &[], &[2])
    };
    let x = input(3);
    let value = |k: usize, n: usize| (weight[2 * k + n] - 2) as f32 * 0.05;
    let product: Vec<f32> = (0..2).map(|n| (0..3).map(|k| x[k] * value(k, n)).sum()).collect();
    let model = of(&[3, 2]).node("QLinearMatMul", &["q", "s", "z", "w", "ws", "wz", "rs", "rz"], "r", &[]);
    check(&decoded(model), &x, &product.iter().map(|&v| kept(v)).collect::<Vec<_>>());

    // B is transposed, the bias has the scale of the product, and alpha stands before both.
    let value = |k: usize, n: usize| (weight[3 * n + k] - 2) as f32 * 0.05;
    let bias = [700, -900];
    let expected: Vec<f32> = (0..2)
        .map(|n| 0.5 * ((0..3).map(|k| x[k] * value(k, n)).sum::<f32>() + bias[n] as f32 * 0.05 / 64.0))
        .collect();
    let inputs = ["q", "s", "z", "w", "ws", "wz", "b", "rs", "rz"];
    let attributes = || [("alpha", Float(0.5)), ("transB", Int(1))];
    let of = || codes(of(&[2, 3]), "b", INT32, &[2], &bias);
    let rounded = contributed(of(), "QGemm", &inputs, "r", &attributes());
    check(&decoded(rounded), &x, &expected.iter().map(|&v| kept(v)).collect::<Vec<_>>());
    check(&contributed(of(), "QGemm", &inputs[..7], "y", &attributes()), &x, &expected);
}

#[test]
fn products_with_weights_on_codes_and_floats_else() {
    let weight = [10, -20, 30, 40, 55, -66];
    let scales = [0.05f32, 0.02];
    let with = |model: Model| {
        let model =
            codes(model, "w", INT8, &[3, 2], &weight).floats("ws", &[2], &scales).floats("b", &[2], &[0.5, -1.0]);
        codes(model, "wz", INT8, &[2], &[2, -3])
    };
    let x = input(3);
    let expected: Vec<f32> = (0..2)
        .map(|n| {
            let value = |k: usize| (weight[2 * k + n] - [2, -3][n]) as f32 * scales[n];
            (0..3).map(|k| x[k] * value(k)).sum::<f32>() + [0.5, -1.0][n]
        })
        .collect();
    let model = with(Model::new(17, &[3]));
    check(&contributed(model, "DynamicQuantizeMatMul", &["x", "w", "ws", "wz", "b"], "y", &[]), &x, &expected);
    let model = with(quantized(&[3]));
    let inputs = ["q", "w", "s", "ws", "z", "wz", "b"];
    check(&contributed(model, "MatMulIntegerToFloat", &inputs, "y", &[]), &x, &expected);
}

#[test]
fn functions_and_arithmetic_on_codes() {
    let x = input(8);
    let of_one = |op: &str, attributes: &[(&str, Attr)]| {
        decoded(contributed(quantized(&[2, 2, 2]), op, &["q", "s", "z", "rs", "rz"], "r", attributes))
    };
    let map = |f: &dyn Fn(f32) -> f32| x.iter().map(|&v| kept(f(v))).collect::<Vec<f32>>();
    check(&of_one("QLinearLeakyRelu", &[("alpha", Float(0.25))]), &x, &map(&|v| if v < 0.0 { 0.25 * v } else { v }));
    check(&of_one("QLinearSigmoid", &[]), &x, &map(&|v| 1.0 / (1.0 + (-v).exp())));
    let mean = |c: usize| x[4 * c..4 * c + 4].iter().sum::<f32>() / 4.0;
    check(&of_one("QLinearGlobalAveragePool", &[]), &x, &[mean(0), mean(1)]);
    let pooled: Vec<f32> = (0..4).map(|i| (x[2 * i] + x[2 * i + 1]) / 2.0).collect();
    check(&of_one("QLinearAveragePool", &[("kernel_shape", Attr::Ints(vec![1, 2]))]), &x, &pooled);
    let pairs = x.chunks(2).flat_map(|pair| {
        let [a, b] = [pair[0].exp(), pair[1].exp()];
        [a / (a + b), b / (a + b)]
    });
    check(&of_one("QLinearSoftmax", &[("axis", Int(-1))]), &x, &pairs.collect::<Vec<_>>());

    let of_two = |op: &str| {
        let model = codes(quantized(&[2, 2, 2]), "w", UINT8, &[2], &[10, 200]).floats("ws", &[], &[0.01]);
        let model = codes(model, "wz", UINT8, &[], &[50]);
        decoded(contributed(model, op, &["q", "s", "z", "w", "ws", "wz", "rs", "rz"], "r", &[]))
    };
    let other = |i: usize| [-0.4, 1.5][i % 2];
    let sums: Vec<f32> = x.iter().enumerate().map(|(i, v)| kept(v + other(i))).collect();
    check(&of_two("QLinearAdd"), &x, &sums);
    let products: Vec<f32> = x.iter().enumerate().map(|(i, v)| kept(v * other(i))).collect();
    check(&of_two("QLinearMul"), &x, &products);

    let twice = ["rs", "rz", "q", "s", "z", "q", "s", "z"];
    let model = contributed(quantized(&[2, 2, 2]), "QLinearConcat", &twice, "r", &[("axis", Int(1))]);
    check(&decoded(model), &x, &[&x[..], &x[..]].concat());
}

#[test]
fn an_lstm_with_weights_on_codes_is_that_of_the_floats_they_stand_for() {
    let (features, hidden) = (3usize, 2usize);
    let columns = 4 * hidden;
    let of = |rows: usize, seed: u64| -> Vec<i32> {
        Random(seed).floats(rows * columns).iter().map(|v| (v * 100.0) as i32).collect()
    };
    let (weight, recurrence) = (of(features, 3), of(hidden, 4));
    let scale = |column: usize| 0.004 + 0.001 * column as f32;
    let sequence = |model: Model| model.node("Transpose", &["x"], "t", &[("perm", Attr::Ints(vec![1, 0, 2]))]);
    let transposed = |codes: &[i32], rows: usize| -> Vec<f32> {
        (0..columns).flat_map(|c| (0..rows).map(move |r| (codes[r * columns + c] - 2) as f32 * scale(c))).collect()
    };
    let plain = sequence(Model::new(17, &[4, 3]))
        .floats("w", &[1, 8, 3], &transposed(&weight, features))
        .floats("r", &[1, 8, 2], &transposed(&recurrence, hidden))
        .node("LSTM", &["t", "w", "r"], "y", &[("hidden_size", Int(2))]);
    let scales: Vec<f32> = (0..columns).map(scale).collect();
    let mut model = sequence(Model::new(17, &[4, 3])).floats("s", &[1, 8], &scales);
    model = codes(model, "w", INT8, &[1, 3, 8], &weight);
    model = codes(model, "r", INT8, &[1, 2, 8], &recurrence);
    model = codes(model, "z", INT8, &[1, 8], &[2; 8]);
    let inputs = ["t", "w", "r", "", "", "", "", "", "s", "z", "s", "z"];
    let model = contributed(model, "DynamicQuantizeLSTM", &inputs, "y", &[("hidden_size", Int(2))]);
    let x = input(12);
    let [seen, expected] = [model, plain].map(|model| {
        let graph = from_onnx(&model.bytes()).unwrap_or_else(|error| panic!("{:?}", error.findings()));
        FloatExecutor::new(&graph).outputs(std::slice::from_ref(&x)).remove(0)
    });
    assert!(expected.iter().any(|v| v.abs() > 0.01));
    assert_eq!(seen, expected);
}

#[test]
fn fused_operators_are_their_parts() {
    let x = input(4);
    let with = || Model::new(17, &[1, 2, 2]).floats("w", &[1, 1, 1, 1], &[3.0]).floats("b", &[1], &[0.25]);
    let fused = |activation: &'static str, parameters: &[f32]| {
        let parameters = parameters.to_vec();
        let model = with().node("FusedConv", &["x", "w", "b", "x"], "y", &[("activation", Text(activation))]);
        model.edit(|proto| {
            let node = proto.graph.as_mut().unwrap().node.last_mut().unwrap();
            node.domain = Some("com.microsoft".into());
            node.attribute.push(releqc_passes::onnx::onnx_protobuf::AttributeProto {
                name: Some("activation_params".into()),
                floats: parameters,
                r#type: Some(6),
                ..Default::default()
            });
        })
    };
    let of = |f: &dyn Fn(f32) -> f32| x.iter().map(|v| f(3.0 * v + 0.25 + v)).collect::<Vec<f32>>();
    check(&fused("", &[]), &x, &of(&|v| v));
    check(&fused("Relu", &[]), &x, &of(&|v| v.max(0.0)));
    check(&fused("Clip", &[-0.5, 1.0]), &x, &of(&|v| v.clamp(-0.5, 1.0)));
    check(&fused("LeakyRelu", &[0.1]), &x, &of(&|v| if v < 0.0 { 0.1 * v } else { v }));

    let model = Model::new(17, &[2]).floats("w", &[2, 2], &[1.0, -2.0, 3.0, 4.0]).floats("b", &[2], &[0.5, -0.5]);
    let attributes = [("activation", Text("LeakyRelu")), ("activation_alpha", Float(0.5)), ("transB", Int(1))];
    let model = contributed(model, "FusedGemm", &["x", "w", "b"], "y", &attributes);
    let leaky = |v: f32| if v < 0.0 { 0.5 * v } else { v };
    let expected = [leaky(x[0] - 2.0 * x[1] + 0.5), leaky(3.0 * x[0] + 4.0 * x[1] - 0.5)];
    check(&model, &x[..2], &expected);

    let model = Model::new(20, &[2]).floats("b", &[2], &[0.5, -0.5]);
    let model = contributed(model, "BiasGelu", &["x", "b"], "y", &[]);
    // Abramowitz and Stegun 7.1.26, good to 1.5e-7.
    let erf = |v: f64| {
        let t = 1.0 / (1.0 + 0.3275911 * v.abs());
        let series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
        v.signum() * (1.0 - series * (-v * v).exp())
    };
    let gelu = |v: f32| (f64::from(v) * 0.5 * (1.0 + erf(f64::from(v) / 2f64.sqrt()))) as f32;
    check(&model, &x[..2], &[gelu(x[0] + 0.5), gelu(x[1] - 0.5)]);
}

#[test]
fn what_does_not_fit_is_refused_once() {
    let model = codes(quantized(&[3]), "w", INT8, &[2, 2], &[0; 4]).floats("ws", &[], &[1.0]);
    let model = decoded(model.node("QLinearMatMul", &["q", "s", "z", "w", "ws", "", "rs", "rz"], "r", &[]));
    let error = from_onnx(&model.bytes()).unwrap_err();
    let [finding] = error.findings() else { panic!("{:?}", error.findings()) };
    assert_eq!(finding.operator.as_deref(), Some("QLinearMatMul"));
}
