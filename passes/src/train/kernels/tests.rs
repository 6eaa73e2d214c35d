//! Every kernel against a plain loop in f64, on every instruction set of this machine.

use super::convolution::{Convolution, Geometry};
use super::depthwise::Depthwise;
use super::epilogue::{self, Codes, Epilogue};
use super::linear::Linear;
use super::pool::{Pool, PoolKind};
use super::simd::Isa;

/// Share of the largest magnitude by which f32 sums of at most a few thousand products may differ from f64.
const ROUNDING: f64 = 1e-5;

/// A small seeded generator (xorshift), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() % 20001) as f32 / 10000.0 - 1.0).collect()
    }
}

fn close(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let largest = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= ROUNDING * largest, "{what}[{i}]: {g} instead of {w}");
    }
}

fn geometry(r: &mut Random) -> Geometry {
    loop {
        let groups = [1, 1, 1, 2, 3][r.below(5)];
        let kernel = [1 + r.below(4), 1 + r.below(5)];
        let stride = [1 + r.below(3), 1 + r.below(3)];
        let dilation = [1 + r.below(2), 1 + r.below(2)];
        let (before, after) = ([r.below(4), r.below(4)], [r.below(4), r.below(4)]);
        let size = [1 + r.below(11), 1 + r.below(13)];
        let extent = |d: usize| (size[d] + before[d] + after[d]).checked_sub((kernel[d] - 1) * dilation[d] + 1);
        if let (Some(h), Some(w)) = (extent(0), extent(1)) {
            return Geometry {
                input: [size[0], size[1], groups * (1 + r.below(19))],
                output: [h / stride[0] + 1, w / stride[1] + 1, groups * (1 + r.below(37))],
                kernel,
                stride,
                dilation,
                before,
                groups,
            };
        }
    }
}

/// Calls `each` with (input offset, weight offset, output offset) of every product of one sample.
fn products(g: &Geometry, mut each: impl FnMut(usize, usize, usize)) {
    let (cg, og) = (g.input[2] / g.groups, g.output[2] / g.groups);
    for oy in 0..g.output[0] {
        for ox in 0..g.output[1] {
            for ky in 0..g.kernel[0] {
                for kx in 0..g.kernel[1] {
                    let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.before[0]);
                    let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.before[1]);
                    if iy >= g.input[0] || ix >= g.input[1] {
                        continue;
                    }
                    for o in 0..g.output[2] {
                        for c in 0..cg {
                            let x = (iy * g.input[1] + ix) * g.input[2] + o / og * cg + c;
                            let w = ((ky * g.kernel[1] + kx) * cg + c) * g.output[2] + o;
                            each(x, w, (oy * g.output[1] + ox) * g.output[2] + o);
                        }
                    }
                }
            }
        }
    }
}

struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

fn reference(g: &Geometry, batch: usize, x: &[f32], w: &[f32], bias: &[f32], dy: &[f32]) -> Reference {
    let (li, lo) = (g.input_len(), g.output_len());
    let mut out = Reference {
        y: (0..batch * lo).map(|i| f64::from(bias[i % g.output[2]])).collect(),
        dx: vec![0.0; batch * li],
        dw: vec![0.0; w.len()],
        db: vec![0.0; bias.len()],
    };
    for n in 0..batch {
        products(g, |i, k, o| {
            let (xv, wv, dv) = (f64::from(x[n * li + i]), f64::from(w[k]), f64::from(dy[n * lo + o]));
            out.y[n * lo + o] += xv * wv;
            out.dx[n * li + i] += dv * wv;
            out.dw[k] += dv * xv;
        });
    }
    dy.iter().enumerate().for_each(|(i, &d)| out.db[i % g.output[2]] += f64::from(d));
    out
}

#[test]
fn convolution_equals_plain_loops() {
    let mut r = Random(0x9E37_79B9_7F4A_7C15);
    for case in 0..120 {
        let g = geometry(&mut r);
        let batch = 1 + r.below(3);
        let (x, w) = (r.values(batch * g.input_len()), r.values(g.weight_len()));
        let (bias, dy) = (r.values(g.output[2]), r.values(batch * g.output_len()));
        let want = reference(&g, batch, &x, &w, &bias, &dy);
        for isa in Isa::available() {
            let name = |what: &str| format!("case {case} {isa:?} {g:?} {what}");
            let plan = Convolution::new(g);
            let mut y = vec![f32::NAN; want.y.len()];
            plan.forward_into(isa, &x, &w, Some(&bias), &mut y);
            close(&name("y"), &y, &want.y);
            let got = plan.backward(isa, &x, &w, &dy, Some(vec![f32::NAN; x.len()]));
            close(&name("dx"), &got.input.unwrap(), &want.dx);
            close(&name("dw"), &got.weight, &want.dw);
            close(&name("db"), &got.bias, &want.db);
            assert!(plan.backward(isa, &x, &w, &dy, None).input.is_none());
        }
    }
}

#[test]
fn depthwise_equals_plain_loops() {
    let mut r = Random(77);
    for case in 0..120 {
        let mut g = geometry(&mut r);
        let channels = 2 + r.below(40);
        (g.input[2], g.output[2], g.groups) = (channels, channels, channels);
        let batch = 1 + r.below(3);
        let (x, w) = (r.values(batch * g.input_len()), r.values(g.weight_len()));
        let (bias, dy) = (r.values(channels), r.values(batch * g.output_len()));
        let want = reference(&g, batch, &x, &w, &bias, &dy);
        for isa in Isa::available() {
            let name = |what: &str| format!("case {case} {isa:?} {g:?} {what}");
            let plan = Depthwise::new(g);
            let mut y = vec![f32::NAN; want.y.len()];
            plan.forward_into(isa, &x, &w, Some(&bias), &mut y);
            close(&name("y"), &y, &want.y);
            let got = plan.backward(isa, &x, &w, &dy, Some(vec![f32::NAN; x.len()]));
            close(&name("dx"), &got.input.unwrap(), &want.dx);
            close(&name("dw"), &got.weight, &want.dw);
            close(&name("db"), &got.bias, &want.db);
        }
    }
}

#[test]
fn linear_equals_plain_loops() {
    let mut r = Random(5);
    for _ in 0..60 {
        let l = Linear { inputs: 1 + r.below(300), outputs: 1 + r.below(90) };
        let batch = 1 + r.below(40);
        let g = Geometry {
            input: [1, 1, l.inputs],
            output: [1, 1, l.outputs],
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            before: [0, 0],
            groups: 1,
        };
        let (x, w) = (r.values(batch * l.inputs), r.values(l.inputs * l.outputs));
        let (bias, dy) = (r.values(l.outputs), r.values(batch * l.outputs));
        let want = reference(&g, batch, &x, &w, &bias, &dy);
        for isa in Isa::available() {
            close("y", &l.forward(isa, &x, &w, Some(&bias)), &want.y);
            close("dx", &l.input_gradient(isa, &dy, &w), &want.dx);
            close("dw", &l.weight_gradient(isa, &x, &dy), &want.dw);
            close("db", &l.bias_gradient(&dy), &want.db);
        }
    }
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    let mut r = Random(99);
    for _ in 0..10 {
        let g = geometry(&mut r);
        let batch = 1 + r.below(40);
        let (x, w, dy) = (r.values(batch * g.input_len()), r.values(g.weight_len()), r.values(batch * g.output_len()));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let plan = Convolution::new(g);
                let got = plan.backward(Isa::detect(), &x, &w, &dy, Some(vec![0.0; x.len()]));
                let mut y = vec![0.0; dy.len()];
                plan.forward_into(Isa::detect(), &x, &w, None, &mut y);
                (y, got.input, got.weight, got.bias)
            })
        };
        assert_eq!(run(1), run(2));
    }
}

#[test]
fn pools_equal_plain_loops() {
    let mut r = Random(31);
    for case in 0..200 {
        let g = geometry(&mut r);
        let average = r.below(2) == 1;
        let after = [0, 1].map(|d| {
            let reach = (g.output[d] - 1) * g.stride[d] + (g.kernel[d] - 1) * g.dilation[d] + 1;
            reach.saturating_sub(g.input[d] + g.before[d])
        });
        let include = r.below(2) == 1;
        let kind = if average { PoolKind::Average { count_include_pad: include } } else { PoolKind::Max };
        let pool = Pool {
            input: g.input,
            output: [g.output[0], g.output[1]],
            kernel: g.kernel,
            stride: g.stride,
            dilation: g.dilation,
            before: g.before,
            after,
            kind,
        };
        let c = g.input[2];
        let (x, dy) = (r.values(pool.input_len()), r.values(pool.output_len()));
        let (mut y, mut dx) = (vec![0.0f64; pool.output_len()], vec![0.0f64; pool.input_len()]);
        let mut empty = false;
        for oy in 0..pool.output[0] {
            for ox in 0..pool.output[1] {
                let mut cells = Vec::new();
                for ky in 0..g.kernel[0] {
                    for kx in 0..g.kernel[1] {
                        let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.before[0]);
                        let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.before[1]);
                        if iy < g.input[0] && ix < g.input[1] {
                            cells.push((iy * g.input[1] + ix) * c);
                        }
                    }
                }
                empty |= cells.is_empty();
                let all = g.kernel[0] * g.kernel[1];
                for channel in 0..c {
                    let o = (oy * pool.output[1] + ox) * c + channel;
                    if average {
                        let divisor = (if include { all } else { cells.len() }).max(1) as f64;
                        for cell in &cells {
                            y[o] += f64::from(x[cell + channel]) / divisor;
                            dx[cell + channel] += f64::from(dy[o]) / divisor;
                        }
                    } else if let Some(best) =
                        cells.iter().copied().reduce(|a, b| if x[b + channel] > x[a + channel] { b } else { a })
                    {
                        y[o] = f64::from(x[best + channel]);
                        dx[best + channel] += f64::from(dy[o]);
                    }
                }
            }
        }
        if empty {
            continue;
        }
        for isa in Isa::available() {
            let mut got = vec![0.0; y.len()];
            pool.forward_part(isa, &x, &mut got);
            close(&format!("case {case} {pool:?} y"), &got, &y);
            let mut got_dx = vec![0.0; dx.len()];
            pool.backward_part(isa, &x, &got, &dy, &mut got_dx);
            close(&format!("case {case} {pool:?} dx"), &got_dx, &dx);
        }
    }
}

#[test]
fn epilogues_equal_one_value_at_a_time() {
    let mut r = Random(12);
    let codes = Codes { scale: 0.02, low: -30.0, high: 225.0 };
    let relu = (0.0, f32::INFINITY);
    let all = (f32::NEG_INFINITY, f32::INFINITY);
    for (bounds, codes) in
        [(all, None), (relu, None), (all, Some(codes)), (relu, Some(codes)), ((0.0, 0.6), Some(codes))]
    {
        let e = Epilogue { min: bounds.0, max: bounds.1, codes };
        for channels in [1, 3, 20, 64, 70] {
            let (x, mul, add) = (r.values(channels * 37), r.values(channels), r.values(channels));
            let dy = r.values(x.len());
            let want: Vec<f64> = x
                .iter()
                .enumerate()
                .map(|(i, x)| f64::from(e.value(x * mul[i % channels] + add[i % channels])))
                .collect();
            for isa in Isa::available() {
                let mut y = vec![0.0; x.len()];
                epilogue::affine(isa, &x, &mul, &add, &e, &mut y);
                close("affine", &y, &want);
                let zeros = vec![0.0; channels];
                let ones = vec![1.0; channels];
                let mut g = vec![0.0; x.len()];
                epilogue::backward(isa, &x, &dy, (&mul, &add), &e, &ones, &zeros, &zeros, &mut g);
                let shift = r.values(channels);
                let sums = epilogue::backward_sums(isa, &x, &dy, (&mul, &add), &shift, &e, true);
                let (mut gradient, mut product) = (vec![0.0; channels], vec![0.0; channels]);
                for (i, &g) in g.iter().enumerate() {
                    let a = x[i] * mul[i % channels] + add[i % channels];
                    let (low, high) = codes.map_or(bounds, |c| {
                        (bounds.0.max((c.low - 0.5) * c.scale), bounds.1.min((c.high + 0.5) * c.scale))
                    });
                    assert_eq!(g, if a > low && a < high { dy[i] } else { 0.0 });
                    gradient[i % channels] += f64::from(g);
                    product[i % channels] += f64::from(g * (x[i] - shift[i % channels]));
                }
                close("gradient", &sums.gradient.iter().map(|&v| v as f32).collect::<Vec<_>>(), &gradient);
                close("product", &sums.product.iter().map(|&v| v as f32).collect::<Vec<_>>(), &product);
            }
        }
    }
}

#[test]
fn rounding_lies_on_codes_and_errs_by_half_a_step() {
    let codes = Codes { scale: 0.5, low: -2.0, high: 5.0 };
    let e = Epilogue { codes: Some(codes), ..Epilogue::NONE };
    for (x, y) in [(0.24, 0.0), (0.25, 0.0), (0.26, 0.5), (0.75, 1.0), (9.0, 2.5), (-9.0, -1.0), (-0.6, -0.5)] {
        assert_eq!(e.value(x), y, "{x}");
    }
}
