//! The reference executor: docs/quantization.md, line by line. Slow, and meant to be read.
//!
//! It shares no arithmetic with the CPU kernels or the accelerator simulator.

use crate::RunError;
use crate::float_head;
use crate::format::Artifact;
use crate::pack;
use crate::program::{Conv, Destination, Op, Program, Tensor, TensorId, Window};

/// A network ready to run, weights unpacked.
pub struct Reference {
    artifact: Artifact,
    layers: Vec<Layer>,
}

/// The constants of one conv.
struct Layer {
    /// `[outputs][depth]`.
    codes: Vec<i8>,
    biases: Vec<i32>,
    multipliers: Vec<f32>,
}

impl Reference {
    /// Unpacks the weights.
    pub fn new(artifact: &Artifact) -> Self {
        let program = artifact.program();
        let layer = |conv: &Conv| Layer {
            codes: pack::unpack(
                artifact.weights(conv),
                conv.outputs as usize,
                conv.depth(program.tensor(conv.x)),
                conv.bits,
            ),
            biases: artifact.biases(conv),
            multipliers: artifact.multipliers(conv),
        };
        Reference { layers: program.convs().map(layer).collect(), artifact: artifact.clone() }
    }

    /// Runs one sample; yields one vector an output of the network.
    ///
    /// # Errors
    /// When the input does not hold exactly one sample.
    pub fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, RunError> {
        let program = self.artifact.program();
        if input.len() != program.input.len() {
            return Err(RunError::InputLength {
                name: program.input.name.clone(),
                found: input.len(),
                dims: program.input.dims.clone(),
                required: program.input.len(),
            });
        }
        let mut arena = vec![0u8; program.arena_bytes as usize];
        let mut floats: Vec<Vec<f32>> = program.floats.iter().map(|slot| vec![0.0; slot.len as usize]).collect();
        let mut layers = self.layers.iter();
        for op in &program.ops {
            let codes = |id: TensorId| &arena[program.tensor(id).arena_range()];
            let result = match op {
                Op::Quantize { y, inv_scale } => quantize(program.tensor(*y), input, *inv_scale),
                Op::Conv(conv) => {
                    let layer = layers.next().expect("one layer was unpacked for each conv");
                    let accumulators = accumulate(program, conv, layer, codes(conv.x));
                    match conv.destination {
                        Destination::Codes { y, lo, hi } => {
                            let z = program.tensor(y).zero_point;
                            let outputs = conv.outputs as usize;
                            let requantized = accumulators.iter().enumerate();
                            requantized
                                .map(|(i, &acc)| requantize(acc as f32 * layer.multipliers[i % outputs], z, lo, hi))
                                .collect()
                        }
                        Destination::Logits { y } => {
                            let outputs = conv.outputs as usize;
                            let positions = accumulators.len() / outputs;
                            for (i, &acc) in accumulators.iter().enumerate() {
                                let (position, c) = (i / outputs, i % outputs);
                                floats[y.0 as usize][c * positions + position] = acc as f32 * layer.multipliers[c];
                            }
                            continue;
                        }
                    }
                }
                Op::MaxPool { x, window, .. } => max_pool(program.tensor(*x), codes(*x), window),
                Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
                    let z = program.tensor(*y).zero_point;
                    average_pool(program.tensor(*x), codes(*x), window, *count_include_pad)
                        .into_iter()
                        .map(|(acc, count)| requantize(acc as f32 * (multiplier / count as f32), z, *lo, *hi))
                        .collect()
                }
                Op::Add { a, b, y, multiplier_a, multiplier_b, lo, hi } => {
                    let (ta, tb, z) = (program.tensor(*a), program.tensor(*b), program.tensor(*y).zero_point);
                    let pairs = codes(*a).iter().zip(codes(*b));
                    let sum = |(&qa, &qb): (&u8, &u8)| {
                        offset(qa, ta.zero_point) * multiplier_a + offset(qb, tb.zero_point) * multiplier_b
                    };
                    pairs.map(|pair| requantize(sum(pair), z, *lo, *hi)).collect()
                }
                Op::Concat { xs, y } => {
                    let y = program.tensor(*y);
                    let mut result = Vec::with_capacity(y.len());
                    for position in 0..y.height as usize * y.width as usize {
                        for (x, rescale) in xs {
                            let t = program.tensor(*x);
                            let channels = t.channels as usize;
                            let cell = &codes(*x)[position * channels..][..channels];
                            result.extend(cell.iter().map(|&q| match rescale {
                                None => q,
                                Some(m) => requantize(offset(q, t.zero_point) * m, y.zero_point, 0, 255),
                            }));
                        }
                    }
                    result
                }
                Op::Affine { x, y, constants_offset, lo, hi } => {
                    let (t, z) = (program.tensor(*x), program.tensor(*y).zero_point);
                    let (multipliers, addends) = self.artifact.affine(*constants_offset, t.channels);
                    let affine = |(i, &q): (usize, &u8)| {
                        let c = i % t.channels as usize;
                        requantize(offset(q, t.zero_point) * multipliers[c] + addends[c], z, *lo, *hi)
                    };
                    codes(*x).iter().enumerate().map(affine).collect()
                }
                Op::Reshape { x, y } => {
                    let (from, to) = (program.tensor(*x), program.tensor(*y));
                    let mut result = vec![0; to.len()];
                    for i in 0..to.len() {
                        result[channel_last(to, i)] = codes(*x)[channel_last(from, i)];
                    }
                    result
                }
                Op::Dequantize { x, y } => {
                    let t = program.tensor(*x);
                    for (i, value) in floats[y.0 as usize].iter_mut().enumerate() {
                        *value = offset(codes(*x)[channel_last(t, i)], t.zero_point) * t.scale;
                    }
                    continue;
                }
                Op::Softmax { x, y, log } => {
                    let mut values = floats[x.0 as usize].clone();
                    float_head::softmax(&mut values, *log);
                    floats[y.0 as usize] = values;
                    continue;
                }
            };
            if let Some(y) = op.writes() {
                arena[program.tensor(y).arena_range()].copy_from_slice(&result);
            }
        }
        Ok(program.outputs.iter().map(|(_, slot)| floats[slot.0 as usize].clone()).collect())
    }
}

/// Position in (row, column, channel) order of element `i` in (channel, row, column) order.
fn channel_last(t: &Tensor, i: usize) -> usize {
    let plane = t.height as usize * t.width as usize;
    i % plane * t.channels as usize + i / plane
}

fn offset(q: u8, zero_point: u8) -> f32 {
    f32::from(i16::from(q) - i16::from(zero_point))
}

/// `t = min(max(v, lo - z), hi - z); q = rne(t) + z`.
fn requantize(v: f32, z: u8, lo: u8, hi: u8) -> u8 {
    let t = v.max(offset(lo, z)).min(offset(hi, z));
    (t.round_ties_even() as i32 + i32::from(z)) as u8
}

/// `t = x * inv_s`, a NaN becomes `-z`, clamped to `-z..=255 - z`; `q = rne(t) + z`.
fn quantize(y: &Tensor, input: &[f32], inv_scale: f32) -> Vec<u8> {
    let mut codes = vec![0; y.len()];
    for (i, &x) in input.iter().enumerate() {
        // f32::max yields the other operand for a NaN.
        codes[channel_last(y, i)] = requantize(x * inv_scale, y.zero_point, 0, 255);
    }
    codes
}

/// Input row or column under tap `tap` of output position `at`, when it is inside the image.
fn tap(window: &Window, axis: usize, at: u32, tap: u32, size: u32) -> Option<u32> {
    let before = window.padding[axis];
    (at * window.stride[axis] + tap * window.dilation[axis]).checked_sub(before).filter(|&i| i < size)
}

/// `acc = b[c] + sum(q * w)`, wrapping, in (row, column, output) order.
fn accumulate(program: &Program, conv: &Conv, layer: &Layer, codes: &[u8]) -> Vec<i32> {
    let x = program.tensor(conv.x);
    let [height, width] = program.conv_output(conv);
    let [kernel_height, kernel_width] = conv.window.kernel;
    let depth = conv.depth(x);
    let inputs = x.channels / conv.groups;
    let outputs = conv.outputs / conv.groups;
    let mut accumulators = Vec::with_capacity((height * width * conv.outputs) as usize);
    let mut patch = Vec::with_capacity(depth);
    for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        for group in 0..conv.groups {
            patch.clear();
            for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx))) {
                let cell = tap(&conv.window, 0, row, ky, x.height).zip(tap(&conv.window, 1, column, kx, x.width));
                for c in group * inputs..(group + 1) * inputs {
                    patch.push(match cell {
                        Some((r, s)) => codes[((r * x.width + s) * x.channels + c) as usize],
                        None => x.zero_point,
                    });
                }
            }
            for o in group * outputs..(group + 1) * outputs {
                let weights = &layer.codes[o as usize * depth..][..depth];
                let products = patch.iter().zip(weights).map(|(&q, &w)| i32::from(q) * i32::from(w));
                accumulators.push(products.fold(layer.biases[o as usize], i32::wrapping_add));
            }
        }
    }
    accumulators
}

fn max_pool(x: &Tensor, codes: &[u8], window: &Window) -> Vec<u8> {
    pool(x, window, |cells, c| cells.iter().map(|&cell| codes[cell + c]).max().unwrap_or(0))
}

/// Sum of `q - z` over the cells inside the image, and the divisor, at least 1.
fn average_pool(x: &Tensor, codes: &[u8], window: &Window, count_include_pad: bool) -> Vec<(i32, u32)> {
    let all = window.kernel[0] * window.kernel[1];
    pool(x, window, |cells, c| {
        let sum = cells.iter().map(|&cell| i32::from(codes[cell + c]) - i32::from(x.zero_point)).sum();
        (sum, if count_include_pad { all } else { (cells.len() as u32).max(1) })
    })
}

/// Calls `result` with the first bytes of the cells under the window, for every position and channel.
fn pool<T>(x: &Tensor, window: &Window, result: impl Fn(&[usize], usize) -> T) -> Vec<T> {
    let [height, width] = window.output(x.height, x.width).unwrap_or([0, 0]);
    let mut results = Vec::new();
    for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        let mut cells = Vec::new();
        for (ky, kx) in (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx))) {
            let cell = tap(window, 0, row, ky, x.height).zip(tap(window, 1, column, kx, x.width));
            cells.extend(cell.map(|(r, s)| ((r * x.width + s) * x.channels) as usize));
        }
        results.extend((0..x.channels as usize).map(|c| result(&cells, c)));
    }
    results
}
