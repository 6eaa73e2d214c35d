//! The two register-tiled products every convolution and fully connected layer is made of.
//!
//! Both see a layer as a list of positions: position `p` reads values at `input + position.input` and owns the output
//! channels at `output + position.output`. A [`Run`] is a stretch of consecutive input values that meet consecutive
//! rows of the weight matrix:
//!
//! ```text
//! multiply:  output[position][o]     = sum over runs, i of  input[position + run.offset + i] * weight[run.row + i][o]
//! correlate: weight[run.row + i][o] += sum over positions of input[position + run.offset + i] * output[position][o]
//! ```
//!
//! Each inner loop is `accumulator[j] += broadcast(x_j) * vector`, with vectors along the output channels.
#![allow(unsafe_code, reason = "register-tiled inner loops without bounds checks")]

use super::simd::{Isa, Kernel, Simd};

/// Where one output position reads and writes, in values from the start of the two buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// Consecutive input values that meet consecutive weight rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// From the position's input.
    pub(crate) offset: usize,
    /// The first weight row.
    pub(crate) row: usize,
    /// How many.
    pub(crate) len: usize,
}

/// A weight matrix in the order [`multiply`] reads it: blocks of up to two registers of columns, rows within, the last
/// register filled up with zeros.
#[derive(Debug)]
pub(crate) struct PackedWeight {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
    lanes: usize,
}

impl PackedWeight {
    /// Packs `columns` columns; `at(row)` gives the offset of a row's values in `from` and `step` the distance of its columns.
    pub(crate) fn new(isa: Isa, rows: &[usize], columns: usize, from: &[f32], step: usize) -> Self {
        let lanes = match isa {
            Isa::Avx512(_) => 16,
            _ => 8,
        };
        let registers = columns.div_ceil(lanes);
        let mut data = vec![0.0; registers * lanes * rows.len()];
        let mut start = 0;
        for block in (0..registers).step_by(2) {
            let width = (registers - block).min(2) * lanes;
            let first = block * lanes;
            let used = width.min(columns - first);
            for (row, packed) in rows.iter().zip(data[start..].chunks_exact_mut(width)) {
                let source = &from[row + first * step..];
                if step == 1 {
                    packed[..used].copy_from_slice(&source[..used]);
                } else {
                    for (value, &w) in packed[..used].iter_mut().zip(source.iter().step_by(step)) {
                        *value = w;
                    }
                }
            }
            start += width * rows.len();
        }
        PackedWeight { data, rows: rows.len(), columns, lanes }
    }
}

/// `output[position] = (bias +) sum over runs of input * weight`, for all columns of `weight`.
/// The rows of `weight` are those of the runs, one run after the other.
///
/// # Panics
/// Where a position or run leads outside a buffer.
pub(crate) fn multiply(
    isa: Isa,
    input: &[f32],
    positions: &[Position],
    runs: &[Run],
    weight: &PackedWeight,
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let reach = runs.iter().map(|r| r.offset + r.len).max().unwrap_or(0);
    let (furthest_in, furthest_out) = furthest(positions);
    assert!(positions.is_empty() || furthest_in + reach <= input.len(), "input too short");
    assert!(positions.is_empty() || furthest_out + weight.columns <= output.len(), "output too short");
    assert_eq!(runs.iter().map(|r| r.len).sum::<usize>(), weight.rows, "rows of the runs");
    assert!(bias.is_none_or(|b| b.len() >= weight.columns), "bias too short");
    isa.run(Multiply { input, positions, runs, weight, bias, output });
}

fn furthest(positions: &[Position]) -> (usize, usize) {
    positions.iter().fold((0, 0), |(i, o), p| (i.max(p.input), o.max(p.output)))
}

struct Multiply<'a> {
    input: &'a [f32],
    positions: &'a [Position],
    runs: &'a [Run],
    weight: &'a PackedWeight,
    bias: Option<&'a [f32]>,
    output: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.weight.lanes, S::LANES, "packed for another instruction set");
        let Multiply { input, positions, runs, weight, bias, output } = self;
        let (input, output) = (input.as_ptr(), output.as_mut_ptr());
        let registers = weight.columns.div_ceil(S::LANES);
        let mut start = 0;
        for block in (0..registers).step_by(2) {
            let two = registers - block >= 2;
            let width = if two { 2 * S::LANES } else { S::LANES };
            let first = block * S::LANES;
            let columns = width.min(weight.columns - first);
            // SAFETY: `multiply` checked the furthest reach of positions and runs; the packed block has rows * width values.
            unsafe {
                let w = weight.data.as_ptr().add(start);
                let b = bias.map(|b| b.as_ptr().add(first));
                let o = output.add(first);
                let mut rest = positions;
                macro_rules! tiles {
                    ($v:literal: $($p:literal)*) => {{$(
                        while rest.len() >= $p {
                            multiply_tile::<S, $p, $v>(s, input, rest, runs, w, b, o, columns);
                            rest = &rest[$p..];
                        }
                    )*}};
                }
                match (two, S::LANES) {
                    (true, 16) => tiles!(2: 12 8 4 2 1),
                    (false, 16) => tiles!(1: 24 16 8 4 2 1),
                    (true, _) => tiles!(2: 6 4 2 1),
                    (false, _) => tiles!(1: 12 6 3 1),
                }
            }
            start += width * weight.rows;
        }
    }
}

/// `P` positions by `V` registers of columns.
///
/// # Safety
/// The first `P` positions and all runs stay within `input`; `weight` holds their rows of `V` registers; `columns` values
/// are readable at `bias` and writable at `output` plus each position's output.
#[expect(clippy::too_many_arguments, reason = "the innermost loop takes plain addresses")]
#[inline(always)]
unsafe fn multiply_tile<S: Simd, const P: usize, const V: usize>(
    s: S,
    input: *const f32,
    positions: &[Position],
    runs: &[Run],
    mut weight: *const f32,
    bias: Option<*const f32>,
    output: *mut f32,
    columns: usize,
) {
    // SAFETY: see the contract; register v covers columns v*LANES.. of which `columns` limits the last.
    unsafe {
        let last = columns - (V - 1) * S::LANES;
        let start: [S::Register; V] = match bias {
            None => [s.splat(0.0); V],
            Some(b) => std::array::from_fn(|v| {
                let at = b.add(v * S::LANES);
                if v + 1 == V { s.load_first(at, last) } else { s.load(at) }
            }),
        };
        let mut sums = [start; P];
        let inputs: [*const f32; P] = std::array::from_fn(|p| input.add(positions.get_unchecked(p).input));
        for run in runs {
            for i in run.offset..run.offset + run.len {
                let w: [S::Register; V] = std::array::from_fn(|v| s.load(weight.add(v * S::LANES)));
                for p in 0..P {
                    let x = s.splat(*inputs[p].add(i));
                    for v in 0..V {
                        sums[p][v] = s.fma(x, w[v], sums[p][v]);
                    }
                }
                weight = weight.add(V * S::LANES);
            }
        }
        for p in 0..P {
            let to = output.add(positions.get_unchecked(p).output);
            for v in 0..V {
                let at = to.add(v * S::LANES);
                if v + 1 == V && last < S::LANES {
                    s.store_first(at, sums[p][v], last);
                } else {
                    s.store(at, sums[p][v]);
                }
            }
        }
    }
}

/// `weight[run.row + i][o] += sum over positions of input * output`, rows `stride` values apart, `columns` columns.
///
/// # Panics
/// Where a position or run leads outside a buffer.
#[allow(clippy::too_many_arguments, reason = "three matrices and their walks")]
pub(crate) fn correlate(
    isa: Isa,
    input: &[f32],
    positions: &[Position],
    runs: &[Run],
    output: &[f32],
    columns: usize,
    weight: &mut [f32],
    stride: usize,
) {
    let reach = runs.iter().map(|r| r.offset + r.len).max().unwrap_or(0);
    let (furthest_in, furthest_out) = furthest(positions);
    assert!(positions.is_empty() || furthest_in + reach <= input.len(), "input too short");
    assert!(positions.is_empty() || furthest_out + columns <= output.len(), "output too short");
    let rows = runs.iter().map(|r| r.row + r.len).max().unwrap_or(0);
    assert!(rows == 0 || (rows - 1) * stride + columns <= weight.len(), "weight too short");
    isa.run(Correlate { input, positions, runs, output, columns, weight, stride });
}

struct Correlate<'a> {
    input: &'a [f32],
    positions: &'a [Position],
    runs: &'a [Run],
    output: &'a [f32],
    columns: usize,
    weight: &'a mut [f32],
    stride: usize,
}

/// Positions whose inputs and outputs stay in the first-level cache while all weight rows pass over them.
const POSITIONS_A_PASS: usize = 128;

impl Kernel for Correlate<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Correlate { input, positions, runs, output, columns, weight, stride } = self;
        let (input, output, weight) = (input.as_ptr(), output.as_ptr(), weight.as_mut_ptr());
        for positions in positions.chunks(POSITIONS_A_PASS) {
            for run in runs {
                for first in (0..columns).step_by(2 * S::LANES) {
                    let width = (columns - first).min(2 * S::LANES);
                    // SAFETY: `correlate` checked the furthest reach of positions, runs and rows.
                    unsafe {
                        let mut done = 0;
                        let (x, y) = (input.add(run.offset), output.add(first));
                        let w = weight.add(run.row * stride + first);
                        macro_rules! tiles {
                            ($v:literal: $($t:literal)*) => {{$(
                                while run.len - done >= $t {
                                    let w = w.add(done * stride);
                                    correlate_tile::<S, $t, $v>(s, x.add(done), positions, y, width, w, stride);
                                    done += $t;
                                }
                            )*}};
                        }
                        match (width > S::LANES, S::LANES) {
                            (true, 16) => tiles!(2: 12 10 9 8 6 5 4 3 2 1),
                            (false, 16) => tiles!(1: 24 16 12 9 8 6 5 4 3 2 1),
                            (true, _) => tiles!(2: 6 5 4 3 2 1),
                            (false, _) => tiles!(1: 12 9 8 6 5 4 3 2 1),
                        }
                    }
                }
            }
        }
    }
}

/// `T` weight rows by `V` registers of columns.
///
/// # Safety
/// At every position `T` values are readable at `input` and `columns` at `output`; `T` rows of `columns` values,
/// `stride` apart, are writable at `weight`.
#[inline(always)]
unsafe fn correlate_tile<S: Simd, const T: usize, const V: usize>(
    s: S,
    input: *const f32,
    positions: &[Position],
    output: *const f32,
    columns: usize,
    weight: *mut f32,
    stride: usize,
) {
    // SAFETY: see the contract.
    unsafe {
        let last = columns - (V - 1) * S::LANES;
        let mut sums = [[s.splat(0.0); V]; T];
        if last == S::LANES {
            for position in positions {
                let (x, y) = (input.add(position.input), output.add(position.output));
                let y: [S::Register; V] = std::array::from_fn(|v| s.load(y.add(v * S::LANES)));
                for t in 0..T {
                    let x = s.splat(*x.add(t));
                    for v in 0..V {
                        sums[t][v] = s.fma(x, y[v], sums[t][v]);
                    }
                }
            }
        } else {
            for position in positions {
                let (x, y) = (input.add(position.input), output.add(position.output));
                let y: [S::Register; V] = std::array::from_fn(|v| {
                    let at = y.add(v * S::LANES);
                    if v + 1 == V { s.load_first(at, last) } else { s.load(at) }
                });
                for t in 0..T {
                    let x = s.splat(*x.add(t));
                    for v in 0..V {
                        sums[t][v] = s.fma(x, y[v], sums[t][v]);
                    }
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let at = weight.add(t * stride + v * S::LANES);
                if v + 1 == V && last < S::LANES {
                    s.store_first(at, s.add(s.load_first(at, last), sum), last);
                } else {
                    s.store(at, s.add(s.load(at), sum));
                }
            }
        }
    }
}
