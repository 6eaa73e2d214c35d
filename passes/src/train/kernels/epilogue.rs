//! What happens to a value between the sum of its layer and the tensor: affine per channel, clip, rounding to 8-bit codes;
//! and the way back for gradients.
//!
//! ```text
//! a = x * mul[c] + add[c]
//! z = clip(a)                                   (ReLU, ReLU6, ..)
//! y = clamp(rne(z / scale), low, high) * scale   with low = -zero_point, high = 255 - zero_point
//! ```
//! The gradient passes straight through the rounding where `a` lies inside the clip and inside the codes' range, and is
//! zero elsewhere (straight-through estimator, Bengio et al. 2013).

use super::simd::{Isa, vectorized};

/// The 8-bit codes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codes {
    /// Step between two codes, > 0.
    pub scale: f32,
    /// Smallest code less the zero point.
    pub low: f32,
    /// Largest code less the zero point.
    pub high: f32,
}

/// Clip and rounding at the output of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    /// Smallest value, may be -inf.
    pub min: f32,
    /// Largest value, may be inf.
    pub max: f32,
    /// Rounding to codes, where the tensor has them.
    pub codes: Option<Codes>,
}

/// An epilogue in the form the inner loops use.
#[derive(Clone, Copy)]
struct Bounds {
    scale: f32,
    inverse: f32,
    low: f32,
    high: f32,
    pass_low: f32,
    pass_high: f32,
}

impl Epilogue {
    /// Leaves values as they are.
    pub const NONE: Epilogue = Epilogue { min: f32::NEG_INFINITY, max: f32::INFINITY, codes: None };

    /// True where it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Epilogue::NONE
    }

    fn bounds(&self) -> Bounds {
        match self.codes {
            None => Bounds {
                scale: 1.0,
                inverse: 1.0,
                low: self.min,
                high: self.max,
                pass_low: self.min,
                pass_high: self.max,
            },
            Some(c) => {
                let inverse = 1.0 / c.scale;
                Bounds {
                    scale: c.scale,
                    inverse,
                    low: c.low.max(self.min * inverse),
                    high: c.high.min(self.max * inverse),
                    pass_low: ((c.low - 0.5) * c.scale).max(self.min),
                    pass_high: ((c.high + 0.5) * c.scale).min(self.max),
                }
            }
        }
    }

    /// `y` of one value.
    pub fn value(&self, a: f32) -> f32 {
        let b = self.bounds();
        if self.codes.is_some() { quantize(a, b) } else { clamp(a, b.low, b.high) }
    }
}

#[inline(always)]
fn clamp(a: f32, low: f32, high: f32) -> f32 {
    let a = if a > low { a } else { low };
    if a < high { a } else { high }
}

#[inline(always)]
fn quantize(a: f32, b: Bounds) -> f32 {
    clamp(a * b.inverse, b.low, b.high).round_ties_even() * b.scale
}

/// Per-channel values repeated until they fill at least 64 lanes, so that few channels still make long inner loops.
pub(crate) fn widen(values: &[f32]) -> Vec<f32> {
    values.repeat(64usize.div_ceil(values.len().max(1)))
}

/// Sums of each repetition of the channels, added up.
fn fold(wide: &[f32], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for group in wide.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(group) {
            *sum += f64::from(value);
        }
    }
    sums
}

/// Pixels whose sums stay in f32 before they join the f64 totals.
const PIXELS_A_SUM: usize = 1024;

/// Per channel, sum of `x - shift` and of its square; `x` is `[pixel][channel]`.
pub(crate) fn moments(isa: Isa, x: &[f32], shift: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let channels = shift.len();
    let wide_shift = widen(shift);
    let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
    for block in x.chunks(PIXELS_A_SUM * channels) {
        let (mut s, mut q) = (vec![0.0; wide_shift.len()], vec![0.0; wide_shift.len()]);
        moments_block(isa, block, &wide_shift, &mut s, &mut q);
        add_folded(&s, &mut sums);
        add_folded(&q, &mut squares);
    }
    (sums, squares)
}

fn add_folded(wide: &[f32], totals: &mut [f64]) {
    let sums = fold(wide, totals.len());
    for (total, value) in totals.iter_mut().zip(sums) {
        *total += value;
    }
}

vectorized! {
    fn moments_block(x: &[f32], shift: &[f32], sums: &mut [f32], squares: &mut [f32]) {
        for x in x.chunks(shift.len()) {
            let n = x.len();
            let (shift, sums, squares) = (&shift[..n], &mut sums[..n], &mut squares[..n]);
            for i in 0..n {
                let d = x[i] - shift[i];
                sums[i] += d;
                squares[i] += d * d;
            }
        }
    }
}

/// `y = epilogue(x * mul + add)`; `mul` and `add` have one value a channel.
pub(crate) fn affine(isa: Isa, x: &[f32], mul: &[f32], add: &[f32], epilogue: &Epilogue, y: &mut [f32]) {
    let (mul, add) = (widen(mul), widen(add));
    match epilogue.codes {
        Some(_) => affine_loop::<true>(isa, x, &mul, &add, epilogue.bounds(), y),
        None => affine_loop::<false>(isa, x, &mul, &add, epilogue.bounds(), y),
    }
}

vectorized! {
    fn affine_loop<const CODES: bool>(x: &[f32], mul: &[f32], add: &[f32], b: Bounds, y: &mut [f32]) {
        for (x, y) in x.chunks(mul.len()).zip(y.chunks_mut(mul.len())) {
            let n = x.len();
            let (mul, add, y) = (&mul[..n], &add[..n], &mut y[..n]);
            for i in 0..n {
                let a = x[i] * mul[i] + add[i];
                y[i] = if CODES { quantize(a, b) } else { clamp(a, b.low, b.high) };
            }
        }
    }
}

/// The epilogue alone, in place.
pub(crate) fn apply(isa: Isa, epilogue: &Epilogue, y: &mut [f32]) {
    match epilogue.codes {
        Some(_) => apply_loop::<true>(isa, epilogue.bounds(), y),
        None if epilogue.is_none() => {}
        None => apply_loop::<false>(isa, epilogue.bounds(), y),
    }
}

vectorized! {
    fn apply_loop<const CODES: bool>(b: Bounds, y: &mut [f32]) {
        for y in y {
            *y = if CODES { quantize(*y, b) } else { clamp(*y, b.low, b.high) };
        }
    }
}

/// What one pass over the gradient of an epilogue's output sums up.
pub(crate) struct EpilogueSums {
    /// Per channel, of the gradient `g` that passes.
    pub(crate) gradient: Vec<f64>,
    /// Per channel, of `g * (x - shift)`.
    pub(crate) product: Vec<f64>,
    /// Gradient of the step, before its scaling (LSQ, Esser et al. 2020, equation 3); 0 without codes.
    pub(crate) step: f64,
}

/// Sums over `[pixel][channel]` values of `x`, the input of the affine, and `dy`, the gradient of the output.
pub(crate) fn backward_sums(
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    affine: (&[f32], &[f32]),
    shift: &[f32],
    epilogue: &Epilogue,
    want_step: bool,
) -> EpilogueSums {
    let channels = shift.len();
    let (mul, add, wide_shift) = (widen(affine.0), widen(affine.1), widen(shift));
    let mut sums = EpilogueSums { gradient: vec![0.0; channels], product: vec![0.0; channels], step: 0.0 };
    let size = PIXELS_A_SUM * channels;
    for (x, dy) in x.chunks(size).zip(dy.chunks(size)) {
        let (mut g, mut p) = (vec![0.0; mul.len()], vec![0.0; mul.len()]);
        sums_block(isa, x, dy, &mul, &add, &wide_shift, epilogue.bounds(), &mut g, &mut p);
        add_folded(&g, &mut sums.gradient);
        add_folded(&p, &mut sums.product);
        if want_step && epilogue.codes.is_some() {
            let mut step = vec![0.0; mul.len()];
            step_block(isa, x, dy, &mul, &add, epilogue.bounds(), &mut step);
            sums.step += step.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
    }
    sums
}

vectorized! {
    fn sums_block(
        x: &[f32], dy: &[f32], mul: &[f32], add: &[f32], shift: &[f32], b: Bounds, gradient: &mut [f32], product: &mut [f32],
    ) {
        for (x, dy) in x.chunks(mul.len()).zip(dy.chunks(mul.len())) {
            let n = x.len();
            let (mul, add, shift, dy) = (&mul[..n], &add[..n], &shift[..n], &dy[..n]);
            let (gradient, product) = (&mut gradient[..n], &mut product[..n]);
            for i in 0..n {
                let a = x[i] * mul[i] + add[i];
                let g = if a > b.pass_low && a < b.pass_high { dy[i] } else { 0.0 };
                gradient[i] += g;
                product[i] += g * (x[i] - shift[i]);
            }
        }
    }
}

vectorized! {
    fn step_block(x: &[f32], dy: &[f32], mul: &[f32], add: &[f32], b: Bounds, step: &mut [f32]) {
        for (x, dy) in x.chunks(mul.len()).zip(dy.chunks(mul.len())) {
            let n = x.len();
            let (mul, add, dy, step) = (&mul[..n], &add[..n], &dy[..n], &mut step[..n]);
            for i in 0..n {
                let t = (x[i] * mul[i] + add[i]) * b.inverse;
                let code = clamp(t, b.low, b.high).round_ties_even();
                let inside = if t > b.low && t < b.high { t } else { 0.0 };
                step[i] += dy[i] * (code - inside);
            }
        }
    }
}

/// `dx = g * by[c] + x * along[c] + plus[c]`, where `g` is the part of `dy` that passes the epilogue of `x * mul + add`.
#[expect(clippy::too_many_arguments, reason = "one pass over memory with everything it needs")]
pub(crate) fn backward(
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    affine: (&[f32], &[f32]),
    epilogue: &Epilogue,
    by: &[f32],
    along: &[f32],
    plus: &[f32],
    dx: &mut [f32],
) {
    let (mul, add) = (widen(affine.0), widen(affine.1));
    backward_loop(isa, x, dy, &mul, &add, epilogue.bounds(), &widen(by), &widen(along), &widen(plus), dx);
}

vectorized! {
    fn backward_loop(
        x: &[f32], dy: &[f32], mul: &[f32], add: &[f32], b: Bounds, by: &[f32], along: &[f32], plus: &[f32], dx: &mut [f32],
    ) {
        let w = mul.len();
        for ((x, dy), dx) in x.chunks(w).zip(dy.chunks(w)).zip(dx.chunks_mut(w)) {
            let n = x.len();
            let (mul, add, dy) = (&mul[..n], &add[..n], &dy[..n]);
            let (by, along, plus, dx) = (&by[..n], &along[..n], &plus[..n], &mut dx[..n]);
            for i in 0..n {
                let a = x[i] * mul[i] + add[i];
                let g = if a > b.pass_low && a < b.pass_high { dy[i] } else { 0.0 };
                dx[i] = g * by[i] + x[i] * along[i] + plus[i];
            }
        }
    }
}

/// `y = epilogue(a + b)`.
pub(crate) fn add(isa: Isa, a: &[f32], b: &[f32], epilogue: &Epilogue, y: &mut [f32]) {
    match epilogue.codes {
        Some(_) => add_loop::<true>(isa, a, b, epilogue.bounds(), y),
        None => add_loop::<false>(isa, a, b, epilogue.bounds(), y),
    }
}

vectorized! {
    fn add_loop<const CODES: bool>(a: &[f32], b: &[f32], e: Bounds, y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            let sum = a + b;
            *y = if CODES { quantize(sum, e) } else { clamp(sum, e.low, e.high) };
        }
    }
}

/// The part of `dy` that passes the epilogue of `a + b`.
pub(crate) fn add_backward(isa: Isa, a: &[f32], b: &[f32], dy: &[f32], epilogue: &Epilogue, dx: &mut [f32]) {
    add_backward_loop(isa, a, b, dy, epilogue.bounds(), dx);
}

vectorized! {
    fn add_backward_loop(a: &[f32], b: &[f32], dy: &[f32], e: Bounds, dx: &mut [f32]) {
        for (((dx, a), b), dy) in dx.iter_mut().zip(a).zip(b).zip(dy) {
            let sum = a + b;
            *dx = if sum > e.pass_low && sum < e.pass_high { *dy } else { 0.0 };
        }
    }
}
