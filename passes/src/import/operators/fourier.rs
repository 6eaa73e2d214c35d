//! DFT and STFT, the windows of signals and the Mel scale.
//!
//! Takes a signal of a constant length; returns products with constant sines and cosines: a DFT is a fully connected layer over its
//! axis, an STFT a convolution along the signal whose weights have the window in them. Windows and Mel weights are constants.
//! Refuses lengths, steps and windows that depend on the input.

use super::axis;
use super::forms::{one, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid};
use crate::import::expand::Expansion;
use crate::import::source::Step;
use crate::import::types;
use crate::onnx::attribute::ints;
use std::f64::consts::PI;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("BlackmanWindow", window),
    ("DFT", dft),
    ("HammingWindow", window),
    ("HannWindow", window),
    ("MelWeightMatrix", mel_weights),
    ("STFT", stft),
];

/// Cosine and sine of `2 pi step / period`, exact at the multiples of a quarter.
fn turn(step: usize, period: usize) -> (f64, f64) {
    let step = step % period;
    match step * 4 {
        0 => (1.0, 0.0),
        at if at == period => (0.0, 1.0),
        at if at == 2 * period => (-1.0, 0.0),
        at if at == 3 * period => (0.0, -1.0),
        _ => {
            let angle = 2.0 * PI * step as f64 / period as f64;
            (libm::cos(angle), libm::sin(angle))
        }
    }
}

/// What a transform makes of `used` values of `parts` each (the real one, or both).
struct Transform {
    /// Values that count.
    used: usize,
    parts: usize,
    /// Results, and how many parts they have.
    results: usize,
    result_parts: usize,
    /// Row-major `[results * result_parts, used * parts]`.
    weights: Vec<f32>,
}

/// The transform of `used` complex or real values to `results` frequencies, over a period of `length`.
fn transform(used: usize, parts: usize, results: usize, length: usize, inverse: bool) -> Transform {
    let scale = if inverse { 1.0 / length as f64 } else { 1.0 };
    let mut weights = Vec::with_capacity(results * 2 * used * parts);
    for frequency in 0..results {
        for result_part in 0..2 {
            for at in 0..used {
                // exp(-+ i angle) = cos -+ i sin.
                let (cos, sin) = turn(frequency * at % length, length);
                let sin = if inverse { sin } else { -sin };
                let row = if result_part == 0 { [cos, -sin] } else { [sin, cos] };
                weights.extend(row[..parts].iter().map(|&weight| (weight * scale) as f32));
            }
        }
    }
    Transform { used, parts, results, result_parts: 2, weights }
}

/// Real values from the first half of their frequencies.
fn real_inverse(used: usize, parts: usize, length: usize) -> Transform {
    let mut weights = Vec::with_capacity(length * used * parts);
    for at in 0..length {
        for frequency in 0..used {
            let (cos, sin) = turn(frequency * at % length, length);
            // Every frequency stands for its mirror too, but for the first and, of an even length, the middle one.
            let times = if frequency == 0 || 2 * frequency == length { 1.0 } else { 2.0 };
            let scale = times / length as f64;
            weights.extend([cos * scale, -sin * scale][..parts].iter().map(|&weight| weight as f32));
        }
    }
    Transform { used, parts, results: length, result_parts: 1, weights }
}

fn dft(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let stated = if step.opset() < 20 { attributes.int("axis", 1)? } else { b.integer(step, 2)?.unwrap_or(-2) };
    let axis = axis::axis(stated, dims.len())?;
    let (last, parts) = (dims.len() - 1, dims.last().copied().unwrap_or(0));
    if axis == last || !(1..=2).contains(&parts) {
        return Err(invalid(format!("DFT of {dims:?} over axis {axis}; the last axis must hold one or two parts")));
    }
    let (inverse, onesided) = (attributes.flag("inverse", false)?, attributes.flag("onesided", false)?);
    let extent = dims[axis];
    let length = match b.integer(step, 1)? {
        Some(length) => axis::count(length, "dft_length")?,
        None if inverse && onesided => 2 * extent.saturating_sub(1),
        None => extent,
    };
    if length == 0 {
        return Err(invalid("DFT of length 0; at least 1 is required"));
    }
    let half = length / 2 + 1;
    let used = extent.min(if inverse && onesided { half } else { length });
    let results = if onesided && !inverse { half } else { length };
    b.spend(results.saturating_mul(4).saturating_mul(used), "the weights of a DFT")?;
    let transform = if inverse && onesided {
        real_inverse(used, parts, length)
    } else {
        transform(used, parts, results, length, inverse)
    };
    let x = b.slice(x, axis, 0, transform.used)?;
    let x = b.move_axis(x, axis, last - 1)?;
    let mut flat = b.dims(x);
    flat.truncate(last - 1);
    let rows = b.reshape(x, [&flat[..], &[transform.used * transform.parts]].concat())?;
    let (outputs, inputs) = (transform.results * transform.result_parts, transform.used * transform.parts);
    let y = b.fully_connected(rows, tensor(vec![outputs, inputs], transform.weights)?, None)?;
    let y = b.reshape(y, [&flat[..], &[transform.results, transform.result_parts]].concat())?;
    one(b.move_axis(y, last - 1, axis)?)
}

fn stft(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let (batch, samples, parts) = match dims[..] {
        [batch, samples] => (batch, samples, 1),
        [batch, samples, parts @ (1 | 2)] => (batch, samples, parts),
        _ => return Err(invalid(format!("STFT of {dims:?}; [N, samples, 1 or 2] is required"))),
    };
    let hop = b.integer(step, 1)?.ok_or_else(|| invalid("STFT without a frame_step; it is required"))?;
    let window = b.constant(step, 2)?.map(|window| window.floats());
    let length = match (b.integer(step, 3)?, &window) {
        (Some(length), _) => axis::count(length, "frame_length")?,
        (None, Some(window)) => window.len(),
        (None, None) => samples,
    };
    if hop < 1 || length == 0 || length > samples || window.as_ref().is_some_and(|window| window.len() != length) {
        return Err(invalid(format!(
            "STFT of {samples} samples in frames of {length}, every {hop}, a window of {:?}; they must fit",
            window.map(|window| window.len())
        )));
    }
    let bins = if step.attributes().flag("onesided", true)? { length / 2 + 1 } else { length };
    b.spend(bins.saturating_mul(4).saturating_mul(length), "the weights of an STFT")?;
    let transform = transform(length, parts, bins, length, false);
    // [bins * 2, length * parts] to [bins * 2, parts, length].
    let factor = |at: usize| window.as_ref().map_or(1.0, |window| window[at]);
    let weights =
        (0..bins * 2).flat_map(|row| (0..parts).flat_map(move |part| (0..length).map(move |at| (row, part, at))));
    let weights: Vec<f32> =
        weights.map(|(row, part, at)| transform.weights[(row * length + at) * parts + part] * factor(at)).collect();
    let weights = Constant::of_floats(vec![bins * 2, parts, length], weights)
        .ok_or_else(|| invalid("the weights of an STFT; they have other extents"))?;
    let mut nodes = Expansion::of(step);
    let extents =
        |dims: &[usize]| Constant::of_ints(dims.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect());
    let shape = nodes.constant(extents(&[batch, samples, parts]));
    let signal = nodes.node("Reshape", &[nodes.input(0), &shape], Vec::new());
    let channels = nodes.node("Transpose", &[&signal], vec![ints("perm", vec![0, 2, 1])]);
    let weights = nodes.constant(weights);
    let frames = nodes.main("Conv", &[&channels, &weights], vec![ints("strides", vec![hop])]);
    let frames = nodes.node("Transpose", &[&frames], vec![ints("perm", vec![0, 2, 1])]);
    let count = (samples - length) / usize::try_from(hop).unwrap_or(usize::MAX) + 1;
    let shape = nodes.constant(extents(&[batch, count, bins, 2]));
    let result = nodes.node("Reshape", &[&frames, &shape], Vec::new());
    Ok(vec![nodes.value(b, &result)?])
}

/// Sums of cosines over a constant number of places, whole periods or one place less.
fn window(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let size =
        b.integer(step, 0)?.ok_or_else(|| invalid(format!("{} without a size; it is required", step.op_type())))?;
    let size = axis::count(size, "a window of")?;
    b.spend(size, "a window")?;
    let attributes = step.attributes();
    let period = if attributes.flag("periodic", true)? { size } else { size.saturating_sub(1) }.max(1);
    let terms: &[f64] = match step.op_type() {
        "HannWindow" => &[0.5, -0.5],
        "HammingWindow" => &[25.0 / 46.0, -21.0 / 46.0],
        _ => &[0.42, -0.5, 0.08],
    };
    let value = |at: usize| terms.iter().enumerate().map(|(k, &term)| term * turn(k * at % period, period).0).sum();
    let values: Vec<f64> = (0..size).map(value).collect();
    let kind = types::data_type(attributes.int("output_datatype", 1)?)?;
    Ok(vec![Value::Constant(Constant::of_numbers(vec![size], kind, &values).into())])
}

/// Triangles that are equally wide in mel, `[bins, mel bins]`.
fn mel_weights(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let whole = |index: usize, what: &str| -> Result<usize, Problem> {
        axis::count(b.integer(step, index)?.unwrap_or(0), what)
    };
    let (mels, length, rate) = (whole(0, "num_mel_bins")?, whole(1, "dft_length")?, whole(2, "sample_rate")?);
    let (lowest, highest) = (b.scalar(step, 3)?.unwrap_or(0.0), b.scalar(step, 4)?.unwrap_or(0.0));
    let bins = length / 2 + 1;
    if rate == 0 || mels == 0 || !(lowest >= 0.0 && highest >= lowest) {
        return Err(invalid(format!("{mels} mel bins of {rate} Hz between {lowest} and {highest} Hz; they must fit")));
    }
    b.spend(bins.saturating_mul(mels), "the weights of mel bins")?;
    let mel = |hertz: f32| 2595.0 * libm::log10(1.0 + f64::from(hertz) / 700.0);
    let (low, high) = (mel(lowest), mel(highest));
    let place = |index: usize| {
        let mel = index as f64 * ((high - low) / (mels + 2) as f64) + low;
        let hertz = 700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0);
        ((length + 1) as f64 * hertz / rate as f64).floor() as usize
    };
    if place(mels + 1) > bins {
        return Err(invalid(format!(
            "mel bins up to {highest} Hz of a signal of {rate} Hz; at most half of it is there"
        )));
    }
    let mut weights = vec![0.0; bins * mels];
    for index in 0..mels {
        let (left, middle, right) = (place(index), place(index + 1), place(index + 2));
        let mut set = |bin: usize, value: f64| {
            if bin < bins {
                weights[bin * mels + index] = value;
            }
        };
        if left == middle {
            set(middle, 1.0);
        }
        for bin in left..middle {
            set(bin, (bin - left) as f64 / (middle - left) as f64);
        }
        if left < middle {
            set(middle, 1.0);
        }
        for bin in middle..right {
            set(bin, (right - bin) as f64 / (right - middle) as f64);
        }
    }
    let kind = types::data_type(step.attributes().int("output_datatype", 1)?)?;
    Ok(vec![Value::Constant(Constant::of_numbers(vec![bins, mels], kind, &weights).into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_exact_at_quarters() {
        assert_eq!(
            [0, 1, 2, 3, 4].map(|step| turn(step, 4)),
            [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)]
        );
        assert!((turn(1, 8).0 - 0.5f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn a_transform_and_its_inverse_change_nothing() {
        let n = 6;
        let there = transform(n, 2, n, n, false).weights;
        let back = transform(n, 2, n, n, true).weights;
        for row in 0..2 * n {
            for column in 0..2 * n {
                let product: f32 = (0..2 * n).map(|k| back[row * 2 * n + k] * there[k * 2 * n + column]).sum();
                let wanted = if row == column { 1.0 } else { 0.0 };
                assert!((product - wanted).abs() < 1e-6, "{row} {column}: {product}");
            }
        }
        let half = transform(n, 1, n / 2 + 1, n, false).weights;
        let real = real_inverse(n / 2 + 1, 2, n).weights;
        for row in 0..n {
            for column in 0..n {
                let product: f32 = (0..n + 2).map(|k| real[row * (n + 2) + k] * half[k * n + column]).sum();
                let wanted = if row == column { 1.0 } else { 0.0 };
                assert!((product - wanted).abs() < 1e-6, "{row} {column}: {product}");
            }
        }
    }
}
