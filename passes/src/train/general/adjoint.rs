//! Transposed derivatives: what a change of an operator's result asks of its operands. One sample, values in ONNX's order, sums in f64.
//!
//! At a corner the derivative is that of one side; where it is infinite or undefined it counts as 0, so that one value cannot cost a
//! run. Comparisons, indices and roundings have none.

use super::recurrent::Cell;
use crate::ir::access::{self, Run};
use crate::ir::{BinaryKind, Function, Op, ReduceKind, Shape};
use releqc_runtime::float::FILL;

/// The transposed derivative of an operator, prepared.
#[derive(Debug)]
pub(super) enum Adjoint {
    Unary(Function),
    /// Positions behind the channels.
    PRelu {
        slope: Vec<f32>,
        inner: usize,
    },
    /// For each value of the result, which value of each operand it comes from.
    Binary {
        kind: BinaryKind,
        places: [Vec<u32>; 2],
    },
    Select {
        places: [Vec<u32>; 3],
    },
    /// Values of each operand at every position of the axes before.
    Concat {
        parts: Vec<usize>,
    },
    /// Which value of the operand each of the result is; [`FILL`] for none.
    Move {
        places: Vec<u32>,
    },
    /// Which value of the result each of the operand goes into.
    Reduce {
        kind: ReduceKind,
        places: Vec<u32>,
    },
    /// Beginnings of the matrices of each product.
    MatMul {
        products: Vec<[u32; 2]>,
        m: usize,
        k: usize,
        n: usize,
    },
    Softmax {
        log: bool,
        run: Run,
    },
    Resample {
        taps: Vec<Vec<(usize, f32)>>,
        run: Run,
    },
    Recurrent(Cell),
    /// Its result does not change with its operands, or by steps.
    Nothing,
}

/// Offsets of all positions of some extents, in order.
fn places(extents: &[usize], strides: &[u32]) -> Vec<u32> {
    let mut places = vec![0];
    for (&extent, &stride) in extents.iter().zip(strides) {
        places = places.iter().flat_map(|&place| (0..extent as u32).map(move |i| place + i * stride)).collect();
    }
    places
}

/// The same by a table for each axis.
fn places_of(tables: &[Vec<u32>]) -> Vec<u32> {
    let mut places = vec![0];
    for table in tables {
        let next = |&place: &u32| {
            table.iter().map(move |&offset| if place == FILL || offset == FILL { FILL } else { place + offset })
        };
        places = places.iter().flat_map(next).collect();
    }
    places
}

impl Adjoint {
    /// Of an operator on operands of these shapes.
    pub(super) fn new(op: &Op, operands: &[&Shape], result: &Shape) -> Self {
        let repeated = |operand: usize| places(result.dims(), &access::broadcast_strides(operands[operand], result));
        match op {
            Op::Unary(function) => Adjoint::Unary(*function),
            Op::PRelu { slope } => {
                Adjoint::PRelu { slope: slope.clone(), inner: result.dims().iter().skip(2).product() }
            }
            Op::Binary(kind) => Adjoint::Binary { kind: *kind, places: [0, 1].map(repeated) },
            Op::Select => Adjoint::Select { places: [0, 1, 2].map(repeated) },
            Op::Concat { axis } => {
                Adjoint::Concat { parts: operands.iter().map(|x| x.dims()[*axis..].iter().product()).collect() }
            }
            Op::Transpose { perm } => Adjoint::Move { places: places_of(&access::transpose_tables(operands[0], perm)) },
            Op::Gather { maps, .. } => Adjoint::Move { places: places_of(&access::gather_tables(operands[0], maps)) },
            Op::Reshape => Adjoint::Unary(Function::Identity),
            Op::Reduce { kind, .. } => Adjoint::Reduce {
                kind: *kind,
                places: places(operands[0].dims(), &access::broadcast_strides(result, operands[0])),
            },
            Op::MatMul => mat_mul(operands[0], operands[1], result),
            Op::Softmax { axis, log } => Adjoint::Softmax { log: *log, run: Run::of_axis(result, *axis) },
            Op::Resample { axis, taps } => {
                Adjoint::Resample { taps: taps.clone(), run: Run::of_axis(operands[0], *axis) }
            }
            Op::Recurrent(recurrent) => Adjoint::Recurrent(Cell::new(recurrent, result)),
            Op::Lookup { .. } => Adjoint::Nothing,
            Op::Input(_)
            | Op::Constant(_)
            | Op::Conv(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::ChannelAffine { .. }
            | Op::Clip(_)
            | Op::MaxPool(_)
            | Op::AveragePool { .. } => unreachable!("{} has a form of its own", op.label()),
        }
    }

    /// The gradient of each operand `x`, given the result `y` and its gradient.
    pub(super) fn apply(&self, x: &[&[f32]], y: &[f32], dy: &[f32]) -> Vec<Vec<f32>> {
        match self {
            Adjoint::Unary(function) => {
                vec![x[0].iter().zip(dy).map(|(&x, dy)| dy * finite(function.derivative(x))).collect()]
            }
            Adjoint::PRelu { slope, inner } => {
                let value = |(i, (&x, dy)): (usize, (&f32, &f32))| {
                    if x < 0.0 { dy * slope[i / inner % slope.len()] } else { *dy }
                };
                vec![x[0].iter().zip(dy).enumerate().map(value).collect()]
            }
            Adjoint::Binary { kind, places } => binary(*kind, places, x, dy),
            Adjoint::Select { places: [c, a, b] } => {
                let mut sums = [vec![0.0; x[1].len()], vec![0.0; x[2].len()]];
                for (i, &dy) in dy.iter().enumerate() {
                    match x[0][c[i] as usize] != 0.0 {
                        true => sums[0][a[i] as usize] += f64::from(dy),
                        false => sums[1][b[i] as usize] += f64::from(dy),
                    }
                }
                let [a, b] = sums.map(narrow);
                vec![vec![0.0; x[0].len()], a, b]
            }
            Adjoint::Concat { parts } => {
                let whole = parts.iter().sum::<usize>().max(1);
                let mut begin = 0;
                let mut part = |&len: &usize| {
                    let gradient = dy.chunks_exact(whole).flat_map(|row| &row[begin..begin + len]).copied().collect();
                    begin += len;
                    gradient
                };
                parts.iter().map(&mut part).collect()
            }
            Adjoint::Move { places } => {
                let mut sums = vec![0.0; x[0].len()];
                let moved = places.iter().zip(dy).filter(|(place, _)| **place != FILL);
                moved.for_each(|(&place, &dy)| sums[place as usize] += f64::from(dy));
                vec![narrow(sums)]
            }
            Adjoint::Reduce { kind, places } => vec![reduce(*kind, places, x[0], y, dy)],
            Adjoint::MatMul { products, m, k, n } => matrices(products, [*m, *k, *n], x, dy),
            Adjoint::Softmax { log, run } => vec![softmax(*log, *run, y, dy)],
            Adjoint::Resample { taps, run } => {
                let mut sums = vec![0.0; x[0].len()];
                for outer in 0..run.outer {
                    for (at, taps) in taps.iter().enumerate() {
                        for inner in 0..run.inner {
                            let dy = f64::from(dy[(outer * self.resampled() + at) * run.inner + inner]);
                            for &(index, weight) in taps {
                                sums[(outer * run.len + index) * run.inner + inner] += f64::from(weight) * dy;
                            }
                        }
                    }
                }
                vec![narrow(sums)]
            }
            Adjoint::Recurrent(cell) => cell.adjoint(x, dy),
            Adjoint::Nothing => x.iter().map(|x| vec![0.0; x.len()]).collect(),
        }
    }

    /// Extent of a resampled axis.
    fn resampled(&self) -> usize {
        if let Adjoint::Resample { taps, .. } = self { taps.len() } else { 0 }
    }
}

fn finite(slope: f32) -> f32 {
    if slope.is_finite() { slope } else { 0.0 }
}

fn narrow(sums: Vec<f64>) -> Vec<f32> {
    sums.into_iter().map(|sum| finite(sum as f32)).collect()
}

fn binary(kind: BinaryKind, places: &[Vec<u32>; 2], x: &[&[f32]], dy: &[f32]) -> Vec<Vec<f32>> {
    let mut sums = [0, 1].map(|operand| vec![0.0; x[operand].len()]);
    for (i, &dy) in dy.iter().enumerate() {
        let at = [0, 1].map(|operand| places[operand][i] as usize);
        let slopes = slopes(kind, f64::from(x[0][at[0]]), f64::from(x[1][at[1]]));
        for operand in [0, 1] {
            let slope = slopes[operand];
            sums[operand][at[operand]] += if slope.is_finite() { slope * f64::from(dy) } else { 0.0 };
        }
    }
    sums.map(narrow).to_vec()
}

/// The derivatives by both operands.
fn slopes(kind: BinaryKind, a: f64, b: f64) -> [f64; 2] {
    match kind {
        BinaryKind::Add => [1.0, 1.0],
        BinaryKind::Sub => [1.0, -1.0],
        BinaryKind::Mul => [b, a],
        BinaryKind::Div => [1.0 / b, -a / (b * b)],
        BinaryKind::Min if a < b => [1.0, 0.0],
        BinaryKind::Max if a > b => [1.0, 0.0],
        BinaryKind::Min | BinaryKind::Max => [0.0, 1.0],
        BinaryKind::Pow => [b * libm::pow(a, b - 1.0), libm::pow(a, b) * libm::log(a)],
        BinaryKind::Mod => [1.0, -(a / b).floor()],
        BinaryKind::Fmod => [1.0, -(a / b).trunc()],
        BinaryKind::PRelu if a < 0.0 => [b, a],
        BinaryKind::PRelu => [1.0, 0.0],
        BinaryKind::Less
        | BinaryKind::LessOrEqual
        | BinaryKind::Greater
        | BinaryKind::GreaterOrEqual
        | BinaryKind::Equal
        | BinaryKind::And
        | BinaryKind::Or
        | BinaryKind::Xor => [0.0, 0.0],
    }
}

fn reduce(kind: ReduceKind, places: &[u32], x: &[f32], y: &[f32], dy: &[f32]) -> Vec<f32> {
    let count = (x.len() / y.len().max(1)) as f64;
    let each = |slope: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
        let value = |(&x, &place): (&f32, &u32)| {
            let (y, dy) = (f64::from(y[place as usize]), f64::from(dy[place as usize]));
            finite((slope(f64::from(x), y) * dy) as f32)
        };
        x.iter().zip(places).map(value).collect()
    };
    match kind {
        ReduceKind::Mean => each(&|_, _| 1.0 / count),
        ReduceKind::Sum => each(&|_, _| 1.0),
        ReduceKind::L1 => each(&|x, _| if x < 0.0 { -1.0 } else { 1.0 }),
        ReduceKind::L2 => each(&|x, y| x / y),
        ReduceKind::SumSquare => each(&|x, _| 2.0 * x),
        ReduceKind::LogSum => each(&|_, y| libm::exp(-y)),
        ReduceKind::LogSumExp => each(&|x, y| libm::exp(x - y)),
        // The first of equals alone.
        ReduceKind::Max | ReduceKind::Min => {
            let mut found = vec![false; y.len()];
            let value = |(x, &place): (&f32, &u32)| {
                let place = place as usize;
                let is_it = *x == y[place] && !found[place];
                found[place] |= is_it;
                if is_it { dy[place] } else { 0.0 }
            };
            x.iter().zip(places).map(value).collect()
        }
        ReduceKind::Prod => {
            let (mut zeros, mut products) = (vec![0; y.len()], vec![1.0; y.len()]);
            for (&x, &place) in x.iter().zip(places) {
                match x == 0.0 {
                    true => zeros[place as usize] += 1,
                    false => products[place as usize] *= f64::from(x),
                }
            }
            let value = |(&x, &place): (&f32, &u32)| {
                let place = place as usize;
                let others = match (x == 0.0, zeros[place]) {
                    (true, 1) => products[place],
                    (false, 0) => products[place] / f64::from(x),
                    _ => 0.0,
                };
                finite((others * f64::from(dy[place])) as f32)
            };
            x.iter().zip(places).map(value).collect()
        }
        ReduceKind::ArgMax | ReduceKind::ArgMin | ReduceKind::ArgMaxLast | ReduceKind::ArgMinLast => {
            vec![0.0; x.len()]
        }
    }
}

fn mat_mul(a: &Shape, b: &Shape, result: &Shape) -> Adjoint {
    let [m, k] = [0, 1].map(|i| a.dims()[a.rank() - 2 + i]);
    let n = b.dims()[b.rank() - 1];
    let batch_of = |shape: &Shape| Shape::new(shape.dims()[..shape.rank() - 2].to_vec());
    let batch = batch_of(result);
    let begins = [(a, m * k), (b, k * n)].map(|(shape, len)| {
        let strides = access::broadcast_strides(&batch_of(shape), &batch);
        places(batch.dims(), &strides).into_iter().map(|matrix| matrix * len as u32).collect::<Vec<u32>>()
    });
    let products = begins[0].iter().zip(&begins[1]).map(|(&a, &b)| [a, b]).collect();
    Adjoint::MatMul { products, m, k, n }
}

/// `da = dy b^T`, `db = a^T dy`.
fn matrices(products: &[[u32; 2]], [m, k, n]: [usize; 3], x: &[&[f32]], dy: &[f32]) -> Vec<Vec<f32>> {
    let mut sums = [0, 1].map(|operand| vec![0.0f64; x[operand].len()]);
    for (&[a_begin, b_begin], dy) in products.iter().zip(dy.chunks_exact((m * n).max(1))) {
        let (a_begin, b_begin) = (a_begin as usize, b_begin as usize);
        let (a, b) = (&x[0][a_begin..][..m * k], &x[1][b_begin..][..k * n]);
        let [da, db] = &mut sums;
        let (da, db) = (&mut da[a_begin..][..m * k], &mut db[b_begin..][..k * n]);
        for i in 0..m {
            let dy = &dy[i * n..][..n];
            for j in 0..k {
                let row = &b[j * n..][..n];
                da[i * k + j] += row.iter().zip(dy).map(|(&b, &dy)| f64::from(b) * f64::from(dy)).sum::<f64>();
                let a = f64::from(a[i * k + j]);
                db[j * n..][..n].iter_mut().zip(dy).for_each(|(db, &dy)| *db += a * f64::from(dy));
            }
        }
    }
    sums.map(narrow).to_vec()
}

/// `y (dy - sum dy y)`; of the logarithm `dy - exp(y) sum dy`.
fn softmax(log: bool, run: Run, y: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dx = vec![0.0; y.len()];
    for outer in 0..run.outer {
        for inner in 0..run.inner {
            let at = |i: usize| (outer * run.len + i) * run.inner + inner;
            let wide = |values: &[f32], i: usize| f64::from(values[at(i)]);
            let sum: f64 = (0..run.len).map(|i| wide(dy, i) * if log { 1.0 } else { wide(y, i) }).sum();
            for i in 0..run.len {
                let value =
                    if log { wide(dy, i) - libm::exp(wide(y, i)) * sum } else { wide(y, i) * (wide(dy, i) - sum) };
                dx[at(i)] = finite(value as f32);
            }
        }
    }
    dx
}
