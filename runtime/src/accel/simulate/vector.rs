//! Operators of the network that the vector unit executes from their records in the plan.

use super::source::Source;
use super::{real, to_code};
use crate::accel::step::{Clamped, View};
use crate::program::{ArithmeticKind, Op, Program, TensorId};

/// Executes an operator on the memory of activations, in which its operands and its result lie apart at `places`.
pub(super) fn execute(source: &Source, operator: usize, places: &[(TensorId, usize)], memory: &mut [u8]) {
    let network = source.network();
    let op = &network.ops[operator];
    let Some(y) = op.writes() else { return };
    let unit = Unit { network, constants: source.constants(), places, memory };
    let (result, view) = (unit.result(op), unit.view(y));
    memory[view.range()].copy_from_slice(&result);
}

/// What an operator reads.
struct Unit<'a> {
    network: &'a Program,
    constants: &'a [u8],
    places: &'a [(TensorId, usize)],
    memory: &'a [u8],
}

impl<'a> Unit<'a> {
    fn view(&self, id: TensorId) -> View {
        let t = self.network.tensor(id);
        let address = self.places.iter().find(|(place, _)| *place == id).map_or(0, |&(_, address)| address);
        View { address, height: t.height, width: t.width, channels: t.channels, zero_point: t.zero_point }
    }

    fn codes(&self, id: TensorId) -> &'a [u8] {
        &self.memory[self.view(id).range()]
    }

    /// The codes of its result; none for operators that have instructions of their own.
    fn result(&self, op: &Op) -> Vec<u8> {
        match op {
            Op::Arithmetic { kind, a, b, y, extents, strides_a, strides_b, multiplier_a, multiplier_b, lo, hi } => {
                let y = Clamped { view: self.view(*y), lo: *lo, hi: *hi };
                let left = Operand { view: self.view(*a), multiplier: *multiplier_a };
                let right = Operand { view: self.view(*b), multiplier: *multiplier_b };
                let (a, b) = (self.codes(*a), self.codes(*b));
                let of = |result: usize| {
                    let codes = (a[source(result, extents, strides_a)], b[source(result, extents, strides_b)]);
                    to_code(arithmetic(*kind, codes, &left, &right), &y)
                };
                (0..y.view.len()).map(of).collect()
            }
            Op::Concat { xs, y, outer, lo, hi } => {
                let y = Clamped { view: self.view(*y), lo: *lo, hi: *hi };
                let mut result = Vec::with_capacity(y.view.len());
                for part in 0..*outer as usize {
                    for (x, multiplier) in xs {
                        let (view, codes) = (self.view(*x), self.codes(*x));
                        let len = codes.len() / *outer as usize;
                        let moved = codes[part * len..(part + 1) * len].iter().map(|&code| match multiplier {
                            Some(multiplier) => to_code(real(code, &view) * multiplier, &y),
                            None => code.max(*lo).min(*hi),
                        });
                        result.extend(moved);
                    }
                }
                result
            }
            Op::Constant { y, constants_offset } => {
                let first = *constants_offset as usize;
                self.constants[first..first + self.view(*y).len()].to_vec()
            }
            Op::Table { x, constants_offset, per_channel, .. } => {
                let tables = &self.constants[*constants_offset as usize..];
                let cells = self.codes(*x).chunks_exact(self.view(*x).channels as usize);
                let of = |(channel, &code): (usize, &u8)| {
                    let table = if *per_channel { channel } else { 0 };
                    tables[table * 256 + usize::from(code)]
                };
                cells.flat_map(|cell| cell.iter().enumerate().map(of)).collect()
            }
            Op::Move { x, y, tables, fill } => {
                let codes = self.codes(*x);
                let of = |result| entry(result, tables).map_or(*fill, |from| codes[from]);
                (0..self.view(*y).len()).map(of).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// One of two operands.
struct Operand {
    view: View,
    multiplier: f32,
}

/// What `kind` makes of two codes, in steps of the result.
fn arithmetic(kind: ArithmeticKind, (a, b): (u8, u8), left: &Operand, right: &Operand) -> f32 {
    let (l, r) = (real(a, &left.view) * left.multiplier, real(b, &right.view) * right.multiplier);
    match kind {
        ArithmeticKind::Add => l + r,
        ArithmeticKind::Sub => l - r,
        ArithmeticKind::Mul => {
            let steps = |code: u8, view: &View| i32::from(code) - i32::from(view.zero_point);
            (steps(a, &left.view) * steps(b, &right.view)) as f32 * left.multiplier
        }
        ArithmeticKind::Min if r < l => r,
        ArithmeticKind::Max if r > l => r,
        ArithmeticKind::Min | ArithmeticKind::Max => l,
    }
}

/// Place in an operand of value `result`, which is dense in the order of the axes.
fn source(result: usize, extents: &[u32], strides: &[u32]) -> usize {
    let (mut rest, mut place) = (result, 0);
    for (&extent, &stride) in extents.iter().zip(strides).rev() {
        place += rest % extent as usize * stride as usize;
        rest /= extent as usize;
    }
    place
}

/// Place of the source of value `result` by a table an axis; none where it is filled.
fn entry(result: usize, tables: &[Vec<u32>]) -> Option<usize> {
    let (mut rest, mut place) = (result, 0);
    for table in tables.iter().rev() {
        let step = table[rest % table.len()];
        if step == u32::MAX {
            return None;
        }
        place += step as usize;
        rest /= table.len();
    }
    Some(place)
}
