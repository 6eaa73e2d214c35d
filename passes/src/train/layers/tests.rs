//! Every layer's gradient against finite differences, and the large layers against Burn's built-in operations.

use super::*;
use crate::train::kernels::convolution::Geometry;
use crate::train::kernels::epilogue::Codes;
use crate::train::kernels::pool::{Pool, PoolKind};
use crate::train::tape::{constant, values};
use burn::tensor::module::{avg_pool2d, conv2d, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};

fn apply(layer: Arc<dyn Differentiable>, inputs: &[&Tensor<1>]) -> Tensor<1> {
    crate::train::tape::apply(layer, inputs, &Arc::new(Buffers::default()))
}

/// Largest difference between own and built-in f32 results, relative to the largest value.
const ROUNDING: f32 = 2e-5;

fn random(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * largest, "{what}[{i}]: {g} instead of {w} (largest {largest})");
    }
}

/// Gradients by the layer and by central differences of `sum(output * random)`, for the inputs named in `wanted`.
fn differences(
    make: impl Fn() -> Arc<dyn Differentiable>,
    inputs: &[Vec<f32>],
    wanted: &[bool],
    step: f32,
    tolerance: f32,
) {
    let slices: Vec<&[f32]> = inputs.iter().map(|i| &i[..]).collect();
    let layer = make();
    let y = layer.forward(&slices, &Buffers::default());
    let dy = random(y.len(), 91);
    let gradients = layer.backward(&slices, &y, &dy, wanted, &Buffers::default());
    let score = |inputs: &[Vec<f32>]| -> f64 {
        let slices: Vec<&[f32]> = inputs.iter().map(|i| &i[..]).collect();
        make().forward(&slices, &Buffers::default()).iter().zip(&dy).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum()
    };
    let mut found: Vec<Vec<f32>> = Vec::new();
    for (i, gradient) in gradients.into_iter().enumerate() {
        let own = match gradient {
            None => Vec::new(),
            Some(Gradient::Values(values)) => values,
            Some(Gradient::SameAs(earlier)) => found[earlier].clone(),
        };
        if wanted[i] {
            let numeric: Vec<f32> = (0..inputs[i].len())
                .map(|j| {
                    let mut moved = inputs.to_vec();
                    moved[i][j] += step;
                    let up = score(&moved);
                    moved[i][j] = inputs[i][j] - step;
                    ((up - score(&moved)) / (2.0 * f64::from(step))) as f32
                })
                .collect();
            assert_close(&format!("input {i}"), &own, &numeric, tolerance);
        }
        found.push(own);
    }
}

fn geometry(groups: usize) -> Geometry {
    Geometry {
        input: [6, 5, 4],
        output: [3, 3, 8 / groups.min(2)],
        kernel: [3, 2],
        stride: [2, 2],
        dilation: [1, 1],
        before: [1, 0],
        groups,
    }
}

#[test]
fn products_have_the_gradients_of_finite_differences() {
    let isa = Isa::detect();
    for product in [
        Product::Convolution(Convolution::new(geometry(1))),
        Product::Convolution(Convolution::new(geometry(2))),
        Product::Depthwise(Depthwise::new(geometry(4))),
        Product::Linear(Linear { inputs: 120, outputs: 7 }),
    ] {
        let (weight, bias, batch) = match &product {
            Product::Convolution(c) => (c.geometry().weight_len(), c.geometry().output[2], 2),
            Product::Depthwise(d) => (d.geometry().weight_len(), 4, 2),
            Product::Linear(_) => (840, 7, 2),
        };
        let inputs = [random(batch * 120, 1), random(weight, 2), random(bias, 3)];
        let product = Arc::new(product);
        let make = || Arc::new(ProductLayer { isa, product: Arc::clone(&product) }) as Arc<dyn Differentiable>;
        differences(make, &inputs, &[true; 3], 0.05, 1e-3);
    }
}

fn normalize(mode: NormMode, epilogue: Epilogue) -> Arc<dyn Differentiable> {
    let running = Statistics { mean: vec![0.1, -0.2, 0.3], variance: vec![0.5, 1.5, 0.8] };
    Arc::new(Normalize {
        isa: Isa::detect(),
        channels: 3,
        sample: 12,
        epsilon: 1e-3,
        mode,
        running,
        epilogue,
        batch: Default::default(),
    })
}

#[test]
fn normalization_has_the_gradients_of_finite_differences() {
    let inputs = [random(60, 4), random(3, 5), random(3, 6)];
    for mode in [NormMode::Batch, NormMode::Fixed] {
        differences(|| normalize(mode, Epilogue::NONE), &inputs, &[true; 3], 0.01, 5e-3);
    }
}

#[test]
fn batch_statistics_are_mean_and_variance() {
    let layer = Normalize {
        isa: Isa::detect(),
        channels: 2,
        sample: 2,
        epsilon: 0.0,
        mode: NormMode::Batch,
        running: Statistics { mean: vec![50.0, 0.0], variance: vec![1.0; 2] },
        epilogue: Epilogue::NONE,
        batch: Default::default(),
    };
    layer.forward(&[&[99.0, 1.0, 101.0, 2.0, 103.0, 6.0], &[1.0, 1.0], &[0.0, 0.0]], &Buffers::default());
    let found = layer.batch.get().unwrap();
    assert_close("mean", &found.mean, &[101.0, 3.0], 1e-6);
    assert_close("variance", &found.variance, &[8.0 / 3.0, 14.0 / 3.0], 1e-5);
}

#[test]
fn pointwise_layers_have_the_gradients_of_finite_differences() {
    let isa = Isa::detect();
    let (a, b) = (random(24, 7), random(24, 8));
    let relu = Epilogue { min: 0.0, ..Epilogue::NONE };
    // Nothing within a step of the kinks at 0 and at equal maxima.
    let away = |v: Vec<f32>| v.into_iter().map(|v: f32| if v.abs() < 0.05 { 0.3 } else { v }).collect::<Vec<f32>>();
    differences(|| Arc::new(Affine::identity(isa, 12, relu)), &[away(a.clone())], &[true], 0.01, 1e-3);
    let affine = Affine { isa, mul: vec![2.0, -1.0], add: vec![0.5, 0.25], sample: 12, epilogue: Epilogue::NONE };
    let affine: Arc<dyn Differentiable> = Arc::new(affine);
    differences(|| Arc::clone(&affine), std::slice::from_ref(&a), &[true], 0.01, 1e-3);
    let apart: Vec<f32> = a.iter().zip(&b).map(|(a, b)| if (a + b).abs() < 0.05 { 0.4 - b } else { *a }).collect();
    differences(|| Arc::new(Sum { isa, epilogue: relu }), &[apart, b.clone()], &[true; 2], 0.01, 1e-3);
    differences(|| Arc::new(Concat { channels: [3, 2] }), &[random(12, 1), random(8, 2)], &[true; 2], 0.01, 1e-3);
    differences(|| Arc::new(Permute { from: [3, 1, 0, 2].into() }), &[random(8, 3)], &[true], 0.01, 1e-3);
}

fn pool(kind: PoolKind) -> Pool {
    Pool {
        input: [6, 6, 3],
        output: [3, 3],
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [1, 1],
        before: [0, 0],
        after: [0, 0],
        kind,
    }
}

#[test]
fn the_loss_has_the_gradient_of_finite_differences() {
    for (labels, teacher) in [(true, false), (false, true), (true, true)] {
        let make = || -> Arc<dyn Differentiable> {
            Arc::new(Loss {
                classes: 4,
                temperature: 2.0,
                weight: 0.7,
                targets: Targets {
                    labels: labels.then(|| vec![1, 3, 0]),
                    teacher: teacher.then(|| random(12, 17).into_iter().map(|v| 3.0 * v).collect()),
                },
                result: Default::default(),
            })
        };
        differences(make, &[random(12, 18)], &[true], 0.02, 2e-3);
    }
}

#[test]
fn a_distance_has_the_gradient_of_finite_differences() {
    let make = || -> Arc<dyn Differentiable> { Arc::new(Distance::new(random(12, 17), 0.7)) };
    differences(make, &[random(12, 18)], &[true], 0.02, 2e-3);
    let nothing = Distance::new(vec![0.0; 3], 1.0);
    assert_eq!(nothing.forward(&[&[1.0, 2.0, 3.0]], &Buffers::default()), [0.0], "a tensor of zeros has no scale");
}

#[test]
fn rounded_weights_pass_gradients_inside_and_learn_their_step() {
    let layer = RoundWeights { isa: Isa::detect(), max_code: 1.0, rounding: WeightRounding::Steps };
    // t = w / step: 0.4 -> 0, 0.6 -> 1, -3 -> -1 (outside), 1.0 -> 1 (on the edge).
    let (w, step) = ([0.2, 0.3, -1.5, 0.5], [0.5]);
    let y = layer.forward(&[&w, &step], &Buffers::default());
    assert_eq!(y, [0.0, 0.5, -0.5, 0.5]);
    assert_eq!(layer.codes(&w, &step), [0, 1, -1, 1]);
    let g = layer.backward(&[&w, &step], &y, &[1.0, 2.0, 3.0, 4.0], &[true; 2], &Buffers::default());
    let Some(Gradient::Values(dw)) = &g[0] else { panic!("a gradient") };
    assert_eq!(dw[..], [1.0, 2.0, 0.0, 4.0]);
    let Some(Gradient::Values(ds)) = &g[1] else { panic!("a gradient") };
    // (1 * (0 - 0.4) + 2 * (1 - 0.6) + 3 * -1 + 4 * (1 - 1)) / sqrt(4 * 1)
    assert_close("step", ds, &[(-0.4 + 0.8 - 3.0) / 2.0], 1e-5);
}

#[test]
fn a_step_of_a_tensor_learns_as_lsq_says() {
    let epilogue = Epilogue { min: 0.0, max: f32::INFINITY, codes: Some(Codes { scale: 1.0, low: 0.0, high: 255.0 }) };
    let layer = Affine::identity(Isa::detect(), 4, epilogue);
    let (x, step) = ([0.1, 1.3, 60.0, -4.0], [0.2]);
    let y = layer.forward(&[&x, &step], &Buffers::default());
    assert_close("y", &y, &[0.0, 1.2, 51.0, 0.0], 1e-6);
    let g = layer.backward(&[&x, &step], &y, &[1.0, 1.0, 1.0, 1.0], &[true; 2], &Buffers::default());
    let Some(Gradient::Values(dx)) = &g[0] else { panic!("a gradient") };
    assert_eq!(dx[..], [1.0, 1.0, 0.0, 0.0]);
    let Some(Gradient::Values(ds)) = &g[1] else { panic!("a gradient") };
    // codes less x / step: 0 - 0.5, 6 - 6.5, 255 (outside), 0 (outside)
    assert_close("step", ds, &[(-0.5 - 0.5 + 255.0) / (4.0f32 * 255.0).sqrt()], 1e-4);
}

/// Runs two forms of one function on the same leaves and compares outputs and gradients.
fn compare(leaves: &[Vec<f32>], own: impl Fn(&[Tensor<1>]) -> Tensor<1>, builtin: impl Fn(&[Tensor<1>]) -> Tensor<1>) {
    let device = Device::flex().autodiff();
    let run = |f: &dyn Fn(&[Tensor<1>]) -> Tensor<1>| {
        let leaves: Vec<_> = leaves.iter().map(|l| constant(l.clone(), &device).require_grad()).collect();
        let y = f(&leaves);
        let out = values(y.clone());
        let weight = constant(random(out.len(), 55), &device);
        let mut gradients = (y * weight).sum().backward();
        let gradients: Vec<_> = leaves.iter().map(|l| values(l.grad_remove(&mut gradients).unwrap())).collect();
        (out, gradients)
    };
    let (y, gradients) = run(&own);
    let (want_y, want) = run(&builtin);
    assert_close("output", &y, &want_y, ROUNDING);
    for (i, (g, w)) in gradients.iter().zip(&want).enumerate() {
        assert_close(&format!("gradient {i}"), g, w, ROUNDING);
    }
}

fn nchw(flat: &Tensor<1>, [h, w, c]: [usize; 3]) -> Tensor<4> {
    let batch = flat.dims()[0] / (h * w * c);
    flat.clone().reshape([batch, h, w, c]).permute([0, 3, 1, 2])
}

fn flat(image: Tensor<4>) -> Tensor<1> {
    let image = image.permute([0, 2, 3, 1]);
    let len = image.dims().iter().product::<usize>();
    image.reshape([len])
}

#[test]
fn convolutions_equal_the_built_in_ones() {
    for (groups, kernel, stride, pad, c, o) in
        [(1, 3, 1, 1, 16, 32), (1, 5, 1, 0, 20, 50), (1, 3, 2, 1, 16, 32), (2, 3, 1, 1, 8, 12), (24, 3, 1, 1, 24, 24)]
    {
        let size = 12;
        let out = (size + 2 * pad - kernel) / stride + 1;
        let g = Geometry {
            input: [size, size, c],
            output: [out, out, o],
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1, 1],
            before: [pad; 2],
            groups,
        };
        let product = match g.is_depthwise() {
            true => Product::Depthwise(Depthwise::new(g)),
            false => Product::Convolution(Convolution::new(g)),
        };
        let product = Arc::new(product);
        let leaves = [random(3 * g.input_len(), 1), random(g.weight_len(), 2), random(o, 3)];
        compare(
            &leaves,
            |l| {
                let layer = ProductLayer { isa: Isa::detect(), product: Arc::clone(&product) };
                apply(Arc::new(layer), &[&l[0], &l[1], &l[2]])
            },
            |l| {
                let weight = l[1].clone().reshape([kernel, kernel, c / groups, o]).permute([3, 2, 0, 1]);
                let options = ConvOptions::new([stride; 2], [pad; 2], [1, 1], groups);
                flat(conv2d(nchw(&l[0], g.input), weight, Some(l[2].clone()), options))
            },
        );
    }
}

#[test]
fn linear_pools_and_normalization_equal_the_built_in_ones() {
    let isa = Isa::detect();
    let product = Arc::new(Product::Linear(Linear { inputs: 70, outputs: 33 }));
    compare(
        &[random(5 * 70, 1), random(70 * 33, 2), random(33, 3)],
        |l| apply(Arc::new(ProductLayer { isa, product: Arc::clone(&product) }), &[&l[0], &l[1], &l[2]]),
        |l| {
            let x = l[0].clone().reshape([5, 70]);
            linear(x, l[1].clone().reshape([70, 33]), Some(l[2].clone())).reshape([5 * 33])
        },
    );
    let max = Arc::new(pool(PoolKind::Max));
    compare(
        &[random(2 * max.input_len(), 1)],
        |l| apply(Arc::new(Pooling { isa, pool: Arc::clone(&max) }), &[&l[0]]),
        |l| flat(max_pool2d(nchw(&l[0], [6, 6, 3]), MaxPoolOptions::new([2, 2]))),
    );
    let average = Arc::new(pool(PoolKind::Average { count_include_pad: false }));
    compare(
        &[random(2 * average.input_len(), 1)],
        |l| apply(Arc::new(Pooling { isa, pool: Arc::clone(&average) }), &[&l[0]]),
        |l| flat(avg_pool2d(nchw(&l[0], [6, 6, 3]), AvgPoolOptions::new([2, 2]))),
    );
    let relu = Epilogue { min: 0.0, ..Epilogue::NONE };
    compare(
        &[random(240, 4), random(3, 5), random(3, 6)],
        |l| apply(normalize(NormMode::Batch, relu), &[&l[0], &l[1], &l[2]]),
        |l| {
            let x = l[0].clone().reshape([80, 3]);
            let centred = x.clone() - x.mean_dim(0);
            let variance = (centred.clone() * centred.clone()).mean_dim(0);
            let normal = centred / (variance + 1e-3).sqrt();
            let y = normal * l[1].clone().reshape([1, 3]) + l[2].clone().reshape([1, 3]);
            y.clamp_min(0.0).reshape([240])
        },
    );
}

#[test]
fn a_tensor_read_twice_gets_both_gradients() {
    let relu = Epilogue { min: 0.0, ..Epilogue::NONE };
    compare(
        &[random(64, 9)],
        |l| {
            let doubled = apply(Arc::new(Sum { isa: Isa::detect(), epilogue: Epilogue::NONE }), &[&l[0], &l[0]]);
            apply(Arc::new(Sum { isa: Isa::detect(), epilogue: relu }), &[&doubled, &l[0]])
        },
        |l| (l[0].clone() * 3.0).clamp_min(0.0),
    );
}
