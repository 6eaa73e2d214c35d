//! Sums over two tensors of equal length, in f64 and in an order that no instruction set changes.

use crate::simd::{Isa, vectorized};

/// Chains that run side by side.
const LANES: usize = 8;

/// `sum(a^2)`.
pub(super) fn power(a: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    add_squares(Isa::detect(), a, &mut lanes);
    lanes.iter().sum()
}

/// `sum((a - b)^2)`.
pub(super) fn square_error(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    add_square_errors(Isa::detect(), a, b, &mut lanes);
    lanes.iter().sum()
}

vectorized! {
    fn add_squares(a: &[f32], lanes: &mut [f64; LANES]) {
        let (blocks, rest) = a.as_chunks::<LANES>();
        for block in blocks {
            lanes.iter_mut().zip(block).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
        }
        lanes.iter_mut().zip(rest).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
    }
}

vectorized! {
    fn add_square_errors(a: &[f32], b: &[f32], lanes: &mut [f64; LANES]) {
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                let distance = f64::from(a[lane]) - f64::from(b[lane]);
                lanes[lane] += distance * distance;
            }
        }
        for ((sum, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
            let distance = f64::from(a) - f64::from(b);
            *sum += distance * distance;
        }
    }
}

/// Adds `a - b` of each channel to `sums`; `a` and `b` hold lines of `inner` values, one a channel, from the first channel again.
pub(super) fn add_differences(a: &[f32], b: &[f32], inner: usize, sums: &mut [f64]) {
    add_lines(Isa::detect(), a, b, inner, sums);
}

vectorized! {
    fn add_lines(a: &[f32], b: &[f32], inner: usize, sums: &mut [f64]) {
        let channels = sums.len();
        if inner == 1 {
            for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
                for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += f64::from(a) - f64::from(b);
                }
            }
            return;
        }
        for (line, (a, b)) in a.chunks_exact(inner).zip(b.chunks_exact(inner)).enumerate() {
            let mut lanes = [0.0f64; LANES];
            let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            for (a, b) in a.iter().zip(b) {
                for lane in 0..LANES {
                    lanes[lane] += f64::from(a[lane]) - f64::from(b[lane]);
                }
            }
            for ((sum, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
                *sum += f64::from(a) - f64::from(b);
            }
            sums[line % channels] += lanes.iter().sum::<f64>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0;
        let [a, b] = [0, 500].map(|seed| (0..3 * 37).map(|i| value(i + seed)).collect::<Vec<f32>>());
        let of = |isa: Isa| {
            let mut all = Vec::new();
            let (mut squares, mut errors) = ([0.0; LANES], [0.0; LANES]);
            add_squares(isa, &a, &mut squares);
            add_square_errors(isa, &a, &b, &mut errors);
            for inner in [37, 1] {
                let mut sums = vec![0.0; 3];
                add_lines(isa, &a, &b, inner, &mut sums);
                all.extend(sums);
            }
            all.into_iter().chain(squares).chain(errors).map(f64::to_bits).collect::<Vec<u64>>()
        };
        let found: Vec<Vec<u64>> = Isa::available().into_iter().map(of).collect();
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
        let plain: f64 = a.iter().zip(&b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
        assert!((square_error(&a, &b) - plain).abs() < 1e-9);
    }
}
