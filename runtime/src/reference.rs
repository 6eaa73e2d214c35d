//! The reference executor: docs/quantization.md, line by line. Slow, and meant to be read.
//!
//! It shares no arithmetic on codes with the CPU kernels or the accelerator simulator. Operators on floats have one form, that of
//! [`crate::float`].

mod arithmetic;
mod convert;
mod layer;
mod numbers;
mod places;
mod pool;

use crate::RunError;
use crate::float;
use crate::format::Artifact;
use crate::program::{Conv, FloatId, Op, TensorId};
use layer::{Layer, Results};
use numbers::{offset, requantize};

/// A network ready to run, weights unpacked.
pub struct Reference {
    artifact: Artifact,
    layers: Vec<Layer>,
}

/// What an operator yields, for whoever looks at it.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// The codes of its tensor, dense.
    Codes(&'a [u8]),
    /// The values of its slot.
    Floats(&'a [f32]),
}

/// What an operator yields.
enum Yield {
    /// The codes of its tensor, dense.
    Codes(Vec<u8>),
    /// The values of its slot.
    Floats(Vec<f32>),
}

/// The memory of one run.
struct State {
    arena: Vec<u8>,
    floats: Vec<Vec<f32>>,
}

impl Reference {
    /// Unpacks the weights.
    pub fn new(artifact: &Artifact) -> Self {
        let layer = |conv: &Conv| Layer::new(artifact, conv);
        Reference { layers: artifact.program().convs().map(layer).collect(), artifact: artifact.clone() }
    }

    /// Runs one sample, all inputs one after the other; yields one vector an output of the network.
    ///
    /// # Errors
    /// When the input does not hold exactly one sample.
    pub fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, RunError> {
        self.observe(input, |_, _| ())
    }

    /// The same; `seen` gets every operator with what it yields, in execution order.
    ///
    /// # Errors
    /// As [`Reference::run`].
    pub fn observe(&self, input: &[f32], mut seen: impl FnMut(&Op, Observed<'_>)) -> Result<Vec<Vec<f32>>, RunError> {
        let program = self.artifact.program();
        if input.len() != program.input_len() {
            return Err(RunError::input_length(program, input.len()));
        }
        let mut state = State {
            arena: vec![0u8; program.arena_bytes as usize],
            floats: program.floats.iter().map(|slot| vec![0.0; slot.len as usize]).collect(),
        };
        for (slot, range) in program.input_ranges() {
            state.floats[slot.0 as usize] = input[range].iter().copied().map(float::canonical).collect();
        }
        let mut layers = self.layers.iter();
        for op in &program.ops {
            let layer = match op {
                Op::Conv(_) => layers.next(),
                _ => None,
            };
            match self.op(op, layer, &state) {
                Yield::Codes(codes) => {
                    seen(op, Observed::Codes(&codes));
                    if let Some(y) = op.writes() {
                        state.arena[program.tensor(y).arena_range()].copy_from_slice(&codes);
                    }
                }
                Yield::Floats(values) => {
                    seen(op, Observed::Floats(&values));
                    if let Some(y) = op.writes_floats() {
                        state.floats[y.0 as usize] = values;
                    }
                }
            }
        }
        Ok(program.outputs.iter().map(|(_, slot)| state.floats[slot.0 as usize].clone()).collect())
    }

    /// What an operator makes of the state; `layer` is that of a conv.
    fn op(&self, op: &Op, layer: Option<&Layer>, state: &State) -> Yield {
        let program = self.artifact.program();
        let tensor = |id: TensorId| program.tensor(id);
        let codes = |id: TensorId| &state.arena[program.tensor(id).arena_range()];
        let floats = |id: FloatId| &state.floats[id.0 as usize][..];
        let constants = |offset: u64, len: usize| &self.artifact.constants_section()[offset as usize..][..len];
        Yield::Codes(match op {
            Op::Quantize { x, y, inv_scale, order } => convert::quantize(tensor(*y), floats(*x), *inv_scale, *order),
            Op::Conv(conv) => {
                let Some(layer) = layer else { return Yield::Codes(Vec::new()) };
                match layer.results(program, conv, codes(conv.x)) {
                    Results::Codes(codes) => codes,
                    Results::Logits(values) => return Yield::Floats(values),
                }
            }
            Op::MaxPool { x, window, lo, hi, .. } => pool::max(tensor(*x), codes(*x), window, [*lo, *hi]),
            Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
                let z = tensor(*y).zero_point;
                pool::sums(tensor(*x), codes(*x), window, *count_include_pad)
                    .into_iter()
                    .map(|(acc, count)| requantize(acc as f32 * (multiplier / count as f32), z, *lo, *hi))
                    .collect()
            }
            Op::Arithmetic { kind, a, b, y, extents, strides_a, strides_b, multiplier_a, multiplier_b, lo, hi } => {
                let from = places::strided(extents, strides_a).zip(places::strided(extents, strides_b));
                let [za, zb, z] = [*a, *b, *y].map(|id| tensor(id).zero_point);
                let value = |(i, j): (usize, usize)| {
                    let (a, b) = (offset(codes(*a)[i], za), offset(codes(*b)[j], zb));
                    arithmetic::of(*kind, a, b, [*multiplier_a, *multiplier_b])
                };
                from.map(|from| requantize(value(from), z, *lo, *hi)).collect()
            }
            Op::Concat { xs, y, outer, lo, hi } => {
                let z = tensor(*y).zero_point;
                let mut result = Vec::with_capacity(tensor(*y).len());
                for part in 0..*outer as usize {
                    for (x, rescale) in xs {
                        let len = tensor(*x).len() / *outer as usize;
                        let zx = tensor(*x).zero_point;
                        result.extend(codes(*x)[part * len..][..len].iter().map(|&q| match rescale {
                            None => q.clamp(*lo, *hi),
                            Some(m) => requantize(offset(q, zx) * m, z, *lo, *hi),
                        }));
                    }
                }
                result
            }
            Op::Affine { x, y, constants_offset, lo, hi } => {
                let (x, codes, z) = (tensor(*x), codes(*x), tensor(*y).zero_point);
                let (multipliers, addends) = self.artifact.affine(*constants_offset, x.channels);
                let affine = |(i, &q): (usize, &u8)| {
                    let c = i % x.channels as usize;
                    requantize(offset(q, x.zero_point) * multipliers[c] + addends[c], z, *lo, *hi)
                };
                codes.iter().enumerate().map(affine).collect()
            }
            Op::Constant { y, constants_offset } => constants(*constants_offset, tensor(*y).len()).to_vec(),
            Op::Table { x, constants_offset, per_channel, .. } => {
                let channels = if *per_channel { tensor(*x).channels as usize } else { 1 };
                let table = constants(*constants_offset, 256 * channels);
                let of = |(i, &q): (usize, &u8)| table[i % channels * 256 + usize::from(q)];
                codes(*x).iter().enumerate().map(of).collect()
            }
            Op::Move { x, tables, fill, .. } => {
                places::of_tables(tables).map(|from| from.map_or(*fill, |from| codes(*x)[from])).collect()
            }
            Op::Dequantize { x, order, .. } => {
                return Yield::Floats(convert::dequantize(tensor(*x), codes(*x), *order));
            }
            _ => {
                let mut y = op.writes_floats().map_or(Vec::new(), |y| vec![0.0; program.float_len(y)]);
                let range = float::constants(program, op);
                let constants = float::decoded(&self.artifact.constants_section()[range]);
                float::execute(op, &floats, &constants, &mut y);
                return Yield::Floats(y);
            }
        })
    }
}
