//! One value of many along an axis.

use super::canonical;
use crate::ops::field::choice;

/// Results that are computed at the same time.
const LANES: usize = 16;

choice! {
    /// What is made of the values along an axis.
    pub enum ReduceKind {
        /// The sum, divided by the number of values.
        Mean = 0 "reduce_mean",
        /// Sum.
        Sum = 1 "reduce_sum",
        /// Greatest; NaN where one is.
        Max = 2 "reduce_max",
        /// Least; NaN where one is.
        Min = 3 "reduce_min",
        /// Product.
        Prod = 4 "reduce_prod",
        /// Sum of magnitudes.
        L1 = 5 "reduce_l1",
        /// Square root of the sum of squares.
        L2 = 6 "reduce_l2",
        /// Sum of squares.
        SumSquare = 7 "reduce_sum_square",
        /// Natural logarithm of the sum.
        LogSum = 8 "reduce_log_sum",
        /// Natural logarithm of the sum of powers, without overflow.
        LogSumExp = 9 "reduce_log_sum_exp",
        /// Index of the first of the greatest; NaN counts as greater than all.
        ArgMax = 10 "arg_max",
        /// Index of the first of the least; NaN counts as less than all.
        ArgMin = 11 "arg_min",
        /// Index of the last of the greatest; NaN counts as greater than all.
        ArgMaxLast = 12 "arg_max_last",
        /// Index of the last of the least; NaN counts as less than all.
        ArgMinLast = 13 "arg_min_last",
    }
}

/// `y[o, i] = kind(x[o, 0, i], x[o, 1, i], ..)` for `x` as `[outer][len][inner]`. Sums and products
/// in f64, in ascending order, rounded once at the end; an index is exact up to 2^24.
pub fn reduce(kind: ReduceKind, x: &[f32], y: &mut [f32], len: usize, inner: usize) {
    let run = Run { x, y, len, inner };
    let sum = |sum: f64, v: f32, _: usize| sum + f64::from(v);
    let first = |better: fn(f32, f32) -> bool| {
        move |(best, at): (f32, usize), v: f32, i: usize| {
            let wins = i == 0 || better(v, best) || v.is_nan() && !best.is_nan();
            if wins { (v, i) } else { (best, at) }
        }
    };
    let last = |as_good: fn(f32, f32) -> bool| {
        move |(best, at): (f32, usize), v: f32, i: usize| {
            let wins = as_good(v, best) && !best.is_nan() || v.is_nan();
            if wins { (v, i) } else { (best, at) }
        }
    };
    let nothing = |_: f32| (0.0f32, 0usize);
    let index = |(_, at): (f32, usize)| at as f64;
    match kind {
        ReduceKind::Mean => run.fold(zero, sum, |sum| sum / len as f64),
        ReduceKind::Sum => run.fold(zero, sum, |sum| sum),
        ReduceKind::Max => run.fold(|_| f32::NEG_INFINITY, max, f64::from),
        ReduceKind::Min => run.fold(|_| f32::INFINITY, min, f64::from),
        ReduceKind::Prod => run.fold(|_| 1.0, |product, v, _| settled(product * f64::from(v)), |product| product),
        ReduceKind::L1 => run.fold(zero, |sum, v, _| sum + f64::from(v.abs()), |sum| sum),
        ReduceKind::L2 => run.fold(zero, sum_square, f64::sqrt),
        ReduceKind::SumSquare => run.fold(zero, sum_square, |sum| sum),
        ReduceKind::LogSum => run.fold(zero, sum, libm::log),
        ReduceKind::LogSumExp => {
            Run { x, y: run.y, len, inner }.fold(|_| f32::NEG_INFINITY, max, f64::from);
            // The greatest is subtracted; where it is infinite, nothing.
            let start = |max: f32| (if max.is_infinite() { 0.0 } else { f64::from(max) }, 0.0);
            let power = |(shift, sum): (f64, f64), v: f32, _| (shift, sum + crate::function::exp(f64::from(v) - shift));
            Run { x, y, len, inner }.fold(start, power, |(shift, sum)| shift + libm::log(sum));
        }
        ReduceKind::ArgMax => run.fold(nothing, first(|v, best| v > best), index),
        ReduceKind::ArgMin => run.fold(nothing, first(|v, best| v < best), index),
        ReduceKind::ArgMaxLast => run.fold(|_| (f32::NEG_INFINITY, 0), last(|v, best| v >= best), index),
        ReduceKind::ArgMinLast => run.fold(|_| (f32::INFINITY, 0), last(|v, best| v <= best), index),
    }
}

fn zero(_: f32) -> f64 {
    0.0
}

fn sum_square(sum: f64, v: f32, _: usize) -> f64 {
    sum + f64::from(v) * f64::from(v)
}

fn max(best: f32, v: f32, _: usize) -> f32 {
    if v > best || v.is_nan() { v } else { best }
}

fn min(best: f32, v: f32, _: usize) -> f32 {
    if v < best || v.is_nan() { v } else { best }
}

/// A product without what a machine may flush to 0.
fn settled(product: f64) -> f64 {
    if product.abs() <= f64::MIN_POSITIVE { 0.0 } else { product }
}

/// Operand, result and extents of a call.
struct Run<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    len: usize,
    inner: usize,
}

impl Run<'_> {
    /// Each result by `step(state, value, index)` in ascending order from `start` of what `y`
    /// holds. Several results are computed at the same time: neighbours, or where the axis is the
    /// innermost, the results of neighbouring rows.
    #[inline(always)]
    fn fold<S: Copy>(self, start: impl Fn(f32) -> S, step: impl Fn(S, f32, usize) -> S, finish: impl Fn(S) -> f64) {
        let Run { x, y, len, inner } = self;
        let (group, stride) = if inner == 1 { (y.len(), len) } else { (inner, 1) };
        for (y, x) in y.chunks_exact_mut(group).zip(x.chunks_exact(group * len)) {
            for (block, y) in y.chunks_mut(LANES).enumerate() {
                let x = &x[block * LANES * stride..];
                let mut states = [start(0.0); LANES];
                for (state, &y) in states.iter_mut().zip(&*y) {
                    *state = start(y);
                }
                for i in 0..len {
                    let x = &x[i * inner..];
                    if stride == 1 && y.len() == LANES {
                        for (state, &v) in states.iter_mut().zip(&x[..LANES]) {
                            *state = step(*state, v, i);
                        }
                    } else {
                        for (lane, state) in states[..y.len()].iter_mut().enumerate() {
                            *state = step(*state, x[lane * stride], i);
                        }
                    }
                }
                for (y, state) in y.iter_mut().zip(states) {
                    *y = canonical(finish(state) as f32);
                }
            }
        }
    }
}
