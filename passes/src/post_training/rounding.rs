//! Rounding of weights so that the results of a layer, not its weights, come close to those of floats.
//!
//! Rounds one weight after the other; what a weight lost is made up for by those that follow, as far as their operands move
//! together: GPTQ (Frantar et al., arXiv 2210.17323) in the form of LDLQ (Chee et al., arXiv 2307.13304). The scale of
//! each output is that of the least error among a few. The same bytes on every machine: sums run in a fixed order.

use crate::annotate::{WeightQuant, coded_weights};
use crate::equalize::ChannelFactors;
use crate::ir::{Conv, Layer, Node, Op, Shape};
use crate::simd::{Isa, vectorized};
use rayon::prelude::*;

/// Windows of the operand that the layer is rounded on, for each weight of an output.
const ROWS_A_WEIGHT: usize = 8;

/// Windows, at least.
const LEAST_ROWS: usize = 4096;

/// Deeper layers are rounded to the nearest.
const MOST_DEPTH: usize = 2400;

/// Lines of products that are summed up together.
const LINES: usize = 8;

/// Scales that are tried, in parts of that with the least error of the weights.
const SCALES: [f32; TRIED] = [1.0, 1.06, 1.12, 0.94, 0.88, 0.82, 0.76, 0.7];
const TRIED: usize = 8;

/// A layer and the samples that it is rounded on.
pub(super) struct LayerRounding<'a> {
    /// Without batch normalisation.
    pub(super) node: &'a Node,
    /// Shape of the operand.
    pub(super) shape: &'a Shape,
    /// Factors of the operand.
    pub(super) factors: &'a ChannelFactors,
    /// What the codes of the operand stand for, sample after sample.
    pub(super) codes: Vec<&'a [f32]>,
    /// The operand in floats.
    pub(super) floats: Vec<&'a [f32]>,
    /// Part of the mean square of an input that is added to each.
    pub(super) damping: f64,
}

impl LayerRounding<'_> {
    /// What does not depend on the width. `None` where the layer is too deep, or its operand not finite.
    pub(super) fn prepare(&self) -> Option<Prepared> {
        let layer = self.node.layer().expect("a layer with weights");
        let depth = layer.depth();
        if depth > MOST_DEPTH {
            return None;
        }
        let weights = coded_weights(&layer, self.factors);
        let mut groups = Vec::with_capacity(layer.groups);
        let outputs = layer.outputs / layer.groups;
        for group in 0..layer.groups {
            let rows = self.windows(&layer, group, &self.codes);
            let mut errors = self.windows(&layer, group, &self.floats);
            errors.iter_mut().zip(&rows).for_each(|(float, codes)| *float -= codes);
            if !rows.iter().chain(&errors).all(|v| v.is_finite()) {
                return None;
            }
            let squares = Squares::of(&rows, depth, self.damping);
            let first = group * outputs;
            let weights = weights[first * depth..][..outputs * depth].par_chunks_exact(depth);
            let aims = weights.map(|weights| squares.aim(weights, &rows, &errors)).collect();
            groups.push((squares, aims));
        }
        Some(Prepared { groups, depth })
    }

    /// What the weights of an output of a group are multiplied by, one window a row, divided by the factors.
    fn windows(&self, layer: &Layer<'_>, group: usize, operands: &[&[f32]]) -> Vec<f32> {
        let depth = layer.depth();
        let per_sample = match &self.node.op {
            Op::Conv(_) => self.node.shape.dims()[0] * self.node.shape.dims()[2..].iter().product::<usize>(),
            _ => self.shape.len() / depth,
        };
        let samples: Vec<&[f32]> = operands.iter().flat_map(|values| values.chunks_exact(self.shape.len())).collect();
        let total = per_sample * samples.len();
        let rows = (ROWS_A_WEIGHT * depth).max(LEAST_ROWS).min(total);
        let mut windows = Vec::with_capacity(rows * depth);
        for row in 0..rows {
            let at = row * total / rows;
            let (sample, position) = (samples[at / per_sample], at % per_sample);
            match &self.node.op {
                Op::Conv(conv) => self.window(conv, layer, group, sample, position, &mut windows),
                _ => windows.extend_from_slice(&sample[position * depth..][..depth]),
            }
        }
        if let Some(factors) = self.factors {
            let first = group * layer.outputs / layer.groups * depth;
            let inverse: Vec<f32> = (0..depth).map(|i| 1.0 / factors[layer.channel(first + i)]).collect();
            for row in windows.chunks_exact_mut(depth) {
                row.iter_mut().zip(&inverse).for_each(|(v, inverse)| *v *= inverse);
            }
        }
        windows
    }

    fn window(&self, conv: &Conv, layer: &Layer<'_>, group: usize, sample: &[f32], position: usize, to: &mut Vec<f32>) {
        let dims = self.shape.dims();
        let [channels, height, width] = [dims[1], dims[2], dims[3]];
        let columns = self.node.shape.dims()[3];
        let image = &sample[position / (self.node.shape.dims()[2] * columns) * channels * height * width..];
        let (row, column) = (position / columns % self.node.shape.dims()[2], position % columns);
        let w = &conv.window;
        for channel in group * layer.inputs..(group + 1) * layer.inputs {
            for (ky, kx) in (0..w.kernel[0]).flat_map(|ky| (0..w.kernel[1]).map(move |kx| (ky, kx))) {
                let y = (row * w.stride[0] + ky * w.dilation[0]).checked_sub(w.padding.top).filter(|&y| y < height);
                let x = (column * w.stride[1] + kx * w.dilation[1]).checked_sub(w.padding.left).filter(|&x| x < width);
                to.push(y.zip(x).map_or(0.0, |(y, x)| image[(channel * height + y) * width + x]));
            }
        }
    }
}

/// A layer ready to be rounded to any width.
pub(super) struct Prepared {
    /// Of each group the sums of products, and of each of its outputs the weights to come close to.
    groups: Vec<(Squares, Vec<Vec<f64>>)>,
    depth: usize,
}

impl Prepared {
    /// The codes as floats, in the order of the weights; `quant` gets their scales.
    pub(super) fn steps(&self, quant: &mut WeightQuant) -> Vec<f32> {
        let max_code = f32::from(quant.bits.max_code());
        let mut steps = vec![0.0; quant.scales.len() * self.depth];
        let outputs = self.groups.iter().flat_map(|(squares, aims)| aims.iter().map(move |aim| (squares, aim)));
        let outputs: Vec<(&Squares, &Vec<f64>)> = outputs.collect();
        let lines = steps.par_chunks_exact_mut(self.depth).zip(&mut quant.scales).zip(outputs);
        lines.for_each(|((steps, scale), (squares, aim))| squares.round(aim, scale, max_code, steps));
        steps
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let group = |(squares, aims): &(Squares, Vec<Vec<f64>>)| {
            8 * (squares.feedback.len() + aims.iter().map(Vec::len).sum::<usize>())
        };
        self.groups.iter().map(group).sum()
    }
}

/// The sum of products of inputs, `H = X^T X`, as `U D U^T` with `U` unit upper triangular, the inputs of most power first.
struct Squares {
    /// Input at each place.
    order: Vec<usize>,
    depth: usize,
    /// `U`, column after column above its diagonal.
    feedback: Vec<f64>,
    /// `D`.
    pivots: Vec<f64>,
}

impl Squares {
    fn of(rows: &[f32], depth: usize, damping: f64) -> Self {
        let mut products = vec![0.0f64; depth * depth];
        let isa = Isa::detect();
        let lines = products.par_chunks_mut(LINES * depth).enumerate();
        lines.for_each(|(block, lines)| add_products(isa, rows, depth, block * LINES, lines));
        let mean = (0..depth).map(|i| products[i * depth + i]).sum::<f64>() / depth as f64;
        let damping = if mean > 0.0 { mean * damping } else { 1.0 };
        (0..depth).for_each(|i| products[i * depth + i] += damping);
        let mut order: Vec<usize> = (0..depth).collect();
        order.sort_by(|&a, &b| products[b * depth + b].total_cmp(&products[a * depth + a]).then(a.cmp(&b)));
        let ordered = |(i, j): (usize, usize)| {
            let (a, b) = (order[i], order[j]);
            products[a.min(b) * depth + a.max(b)]
        };
        let products: Vec<f64> = (0..depth * depth).map(|at| ordered((at / depth, at % depth))).collect();
        let (feedback, pivots) = unit_upper(products, depth);
        Squares { order, depth, feedback, pivots }
    }

    /// The weights, in the order of places, that make up best for the errors of the inputs: `w + H^-1 X^T (E w)`.
    fn aim(&self, weights: &[f32], rows: &[f32], errors: &[f32]) -> Vec<f64> {
        let mut sums = vec![0.0; self.depth];
        let isa = Isa::detect();
        for (row, errors) in rows.chunks_exact(self.depth).zip(errors.chunks_exact(self.depth)) {
            add_errors(isa, weights, errors, row, &mut sums);
        }
        let mut b: Vec<f64> = self.order.iter().map(|&i| sums[i]).collect();
        // U (D (U^T v)) = b, the columns of U being lines of `feedback`.
        for k in (0..self.depth).rev() {
            let (before, rest) = b.split_at_mut(k);
            subtract(isa, rest[0], &self.feedback[k * self.depth..][..k], before);
        }
        b.iter_mut().zip(&self.pivots).for_each(|(b, pivot)| *b /= pivot);
        for k in 0..self.depth {
            b[k] -= dot(&self.feedback[k * self.depth..][..k], &b[..k]);
        }
        self.order.iter().zip(b).map(|(&i, change)| f64::from(weights[i]) + change).collect()
    }

    /// The codes of one output, and the scale of the least error `d^T H d`.
    fn round(&self, weights: &[f64], scale: &mut f32, max_code: f32, steps: &mut [f32]) {
        let tried = SCALES.map(|part| *scale * part);
        let mut codes = vec![[0.0; TRIED]; self.depth];
        let mut errors = [0.0; TRIED];
        ldlq(Isa::detect(), self, weights, &tried.map(f64::from), f64::from(max_code), &mut codes, &mut errors);
        let best = (1..TRIED).fold(0, |best, i| if errors[i] < errors[best] { i } else { best });
        *scale = tried[best];
        self.order.iter().zip(codes).for_each(|(&i, codes)| steps[i] = codes[best] as f32);
    }
}

vectorized! {
    /// Rounds one weight after the other, with each scale: what those before lost goes to those that move with them.
    fn ldlq(
        squares: &Squares,
        weights: &[f64],
        scales: &[f64; TRIED],
        max_code: f64,
        codes: &mut [[f64; TRIED]],
        errors: &mut [f64; TRIED],
    ) {
        let depth = squares.depth;
        let mut lost = vec![[0.0f64; TRIED]; depth];
        for k in 0..depth {
            let (blocks, rest) = squares.feedback[k * depth..][..k].as_chunks::<4>();
            let mut sums = [[0.0f64; TRIED]; 4];
            for (u, lost) in blocks.iter().zip(lost.as_chunks::<4>().0) {
                for chain in 0..4 {
                    for lane in 0..TRIED {
                        sums[chain][lane] += u[chain] * lost[chain][lane];
                    }
                }
            }
            for (u, lost) in rest.iter().zip(&lost[k - rest.len()..]) {
                for lane in 0..TRIED {
                    sums[0][lane] += u * lost[lane];
                }
            }
            for lane in 0..TRIED {
                let feedback = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
                let code = ((weights[k] + feedback) / scales[lane]).round_ties_even().clamp(-max_code, max_code);
                let own = weights[k] - code * scales[lane];
                let all = own + feedback;
                codes[k][lane] = code;
                lost[k][lane] = own;
                errors[lane] += squares.pivots[k] * all * all;
            }
        }
    }
}

/// `U` and `D` of `H = U D U^T`, each column of `U` above its diagonal as a line of the result.
fn unit_upper(mut h: Vec<f64>, depth: usize) -> (Vec<f64>, Vec<f64>) {
    let mut columns = vec![0.0; depth * depth];
    let mut pivots = vec![0.0; depth];
    for k in (0..depth).rev() {
        let pivot = h[k * depth + k];
        pivots[k] = pivot;
        let column: Vec<f64> = (0..k).map(|i| h[i * depth + k] / pivot).collect();
        columns[k * depth..][..k].copy_from_slice(&column);
        let isa = Isa::detect();
        h[..k * depth].par_chunks_exact_mut(depth).zip(&column).for_each(|(line, &u)| {
            subtract(isa, u * pivot, &column, &mut line[..k]);
        });
    }
    (columns, pivots)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    dot_lanes(Isa::detect(), a, b, &mut lanes);
    lanes.iter().sum()
}

vectorized! {
    fn dot_lanes(a: &[f64], b: &[f64], lanes: &mut [f64; 8]) {
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        for (a, b) in a.iter().zip(b) {
            for lane in 0..8 {
                lanes[lane] += a[lane] * b[lane];
            }
        }
        for ((sum, a), b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
            *sum += a * b;
        }
    }
}

vectorized! {
    /// Adds `row * (errors . weights)` to the sums.
    fn add_errors(weights: &[f32], errors: &[f32], row: &[f32], sums: &mut [f64]) {
        let mut lanes = [0.0f64; 8];
        let ((w, rest_w), (e, rest_e)) = (weights.as_chunks::<8>(), errors.as_chunks::<8>());
        for (w, e) in w.iter().zip(e) {
            for lane in 0..8 {
                lanes[lane] += f64::from(w[lane]) * f64::from(e[lane]);
            }
        }
        for ((sum, &w), &e) in lanes.iter_mut().zip(rest_w).zip(rest_e) {
            *sum += f64::from(w) * f64::from(e);
        }
        let error: f64 = lanes.iter().sum();
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += error * f64::from(x));
    }
}

vectorized! {
    /// `line -= factor * column`.
    fn subtract(factor: f64, column: &[f64], line: &mut [f64]) {
        line.iter_mut().zip(column).for_each(|(v, u)| *v -= factor * u);
    }
}

vectorized! {
    /// Adds `x[i] * x[j]` of every row, one after the other, to place `j >= i` of line `i`; `lines` begin with that of `first`.
    fn add_products(rows: &[f32], depth: usize, first: usize, lines: &mut [f64]) {
        for rows in rows.chunks(4 * depth) {
            for (line, i) in lines.chunks_exact_mut(depth).zip(first..) {
                let line = &mut line[i..];
                if rows.len() < 4 * depth {
                    for row in rows.chunks_exact(depth) {
                        let x = f64::from(row[i]);
                        line.iter_mut().zip(&row[i..]).for_each(|(sum, &v)| *sum += x * f64::from(v));
                    }
                    continue;
                }
                let row = |r: usize| &rows[r * depth + i..][..depth - i];
                let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
                let [xa, xb, xc, xd] = [a, b, c, d].map(|row| f64::from(row[0]));
                for ((((sum, &a), &b), &c), &d) in line.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *sum += xa * f64::from(a);
                    *sum += xb * f64::from(b);
                    *sum += xc * f64::from(c);
                    *sum += xd * f64::from(d);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotate::least_error_scale;
    use crate::ir::{FullyConnected, Tensor};
    use releqc_runtime::BitWidth;

    const INPUTS: usize = 24;
    const OUTPUTS: usize = 5;

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0
    }

    /// Samples whose neighbouring values move together.
    fn samples(count: usize, seed: usize) -> Vec<f32> {
        let own = |i: usize| value(i * 7 + seed);
        let mixed = |i: usize| own(i) + 0.9 * own(i / INPUTS * INPUTS + i % INPUTS / 4 * 4);
        (0..count * INPUTS).map(mixed).collect()
    }

    fn node() -> Node {
        let weights: Vec<f32> = (0..OUTPUTS * INPUTS).map(|i| value(i * 31 + 5)).collect();
        let weight = Tensor::new(vec![OUTPUTS, INPUTS], weights).expect("extents fit");
        Node {
            name: "layer".into(),
            op: Op::FullyConnected(FullyConnected { weight, bias: None, batch_norm: None }),
            inputs: vec![crate::ir::NodeId(0)],
            shape: Shape::vector(OUTPUTS),
            activation: None,
        }
    }

    /// Square error of the results on samples that the codes were not chosen on.
    fn error(weights: &[f32], steps: &[f32], scales: &[f32], codes: &[f32], floats: &[f32]) -> f64 {
        let output = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum::<f64>();
        let pairs = codes.chunks_exact(INPUTS).zip(floats.chunks_exact(INPUTS));
        let of_pair = |(codes, floats): (&[f32], &[f32])| {
            (0..OUTPUTS)
                .map(|o| {
                    let row: Vec<f32> = steps[o * INPUTS..][..INPUTS].iter().map(|s| s * scales[o]).collect();
                    (output(&row, codes) - output(&weights[o * INPUTS..][..INPUTS], floats)).powi(2)
                })
                .sum::<f64>()
        };
        pairs.map(of_pair).sum()
    }

    #[test]
    fn results_come_closer_than_by_rounding_to_the_nearest() {
        let node = node();
        let layer = node.layer().expect("weights");
        let bits = BitWidth::new(3).expect("3 bits");
        let scales: Vec<f32> =
            layer.weight.data().chunks_exact(INPUTS).map(|row| least_error_scale(row, bits)).collect();
        let nearest: Vec<f32> = layer
            .weight
            .data()
            .chunks_exact(INPUTS)
            .zip(&scales)
            .flat_map(|(row, scale)| row.iter().map(move |w| (w / scale).round_ties_even().clamp(-3.0, 3.0)))
            .collect();
        // The operand was rounded to steps of 1/8 before.
        let [floats, unseen] = [samples(300, 1), samples(200, 77)];
        let coarse = |values: &[f32]| values.iter().map(|v| (v * 8.0).floor() / 8.0).collect::<Vec<f32>>();
        let codes = coarse(&floats);
        let mut quant = WeightQuant { bits, scales: scales.clone() };
        let rounding = LayerRounding {
            node: &node,
            shape: &Shape::vector(INPUTS),
            factors: &None,
            codes: vec![&codes],
            floats: vec![&floats],
            damping: 0.01,
        };
        let steps = rounding.prepare().expect("no deep layer").steps(&mut quant);
        assert!(steps.iter().all(|step| step.fract() == 0.0 && step.abs() <= 3.0));
        let weights = layer.weight.data();
        let [by_nearest, by_results] = [(&nearest, &scales), (&steps, &quant.scales)]
            .map(|(steps, scales)| error(weights, steps, scales, &coarse(&unseen), &unseen));
        assert!(by_results < 0.5 * by_nearest, "{by_results} where the nearest gives {by_nearest}");
    }

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let rows = samples(301, 3);
        let weights: Vec<f64> = (0..INPUTS).map(|i| f64::from(value(i))).collect();
        let squares = Squares::of(&rows, INPUTS, 0.01);
        let of = |isa: Isa| {
            let mut lines = vec![0.0; INPUTS * INPUTS];
            add_products(isa, &rows, INPUTS, 0, &mut lines);
            let mut sums = vec![0.0; INPUTS];
            add_errors(isa, &rows[..INPUTS], &rows[INPUTS..2 * INPUTS], &rows[..INPUTS], &mut sums);
            subtract(isa, 0.3, &weights, &mut sums);
            let mut lanes = [0.0; 8];
            dot_lanes(isa, &weights, &sums, &mut lanes);
            let (mut codes, mut errors) = (vec![[0.0; TRIED]; INPUTS], [0.0; TRIED]);
            ldlq(isa, &squares, &weights, &[0.3; TRIED], 3.0, &mut codes, &mut errors);
            let all = lines.into_iter().chain(sums).chain(lanes).chain(codes.concat()).chain(errors);
            all.map(f64::to_bits).collect::<Vec<u64>>()
        };
        let found: Vec<Vec<u64>> = Isa::available().into_iter().map(of).collect();
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
