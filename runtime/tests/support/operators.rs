//! Random operators that move codes, join two operands, or compute on floats.

use super::{Net, Random, dense};
use releqc_runtime::BitWidth;
use releqc_runtime::float::{BinaryKind, ReduceKind};
use releqc_runtime::function::{FUNCTIONS, Function};
use releqc_runtime::program::{ArithmeticKind, Destination, FloatId, LayerKind, Op, Order, Port, TensorId};

/// Values of a list that a stream picks from.
fn pick<T: Copy>(r: &mut Random, values: &[T]) -> T {
    values[r.below(values.len() as u32) as usize]
}

/// A table for an axis of `extent` positions that are `stride` apart: a part of it, reversed, repeated, in any order, filled at places.
fn table(r: &mut Random, extent: u32, stride: u32, fills: bool) -> Vec<u32> {
    let positions: Vec<u32> = match r.below(6) {
        0 => (0..extent).rev().collect(),
        1 => (r.below(extent)..extent).collect(),
        2 => (0..extent).step_by(r.between(1, 3) as usize).collect(),
        3 if extent <= 8 => (0..2 * extent).map(|i| i / 2).collect(),
        4 => (0..r.between(1, extent)).map(|_| r.below(extent)).collect(),
        _ => (0..extent).collect(),
    };
    let mut entries: Vec<u32> = positions.into_iter().map(|position| position * stride).collect();
    if fills && r.once_in(3) {
        let (before, after) = (r.below(3) as usize, r.below(3) as usize);
        entries.splice(0..0, vec![u32::MAX; before]);
        entries.extend(vec![u32::MAX; after]);
    }
    entries
}

/// Extents as rows, columns, channels: some of the axes in each, or all in one.
fn grouped(r: &mut Random, extents: &[u32]) -> [u32; 3] {
    let cuts = [r.below(extents.len() as u32 + 1) as usize, r.below(extents.len() as u32 + 1) as usize];
    let [first, second] = if cuts[0] < cuts[1] { cuts } else { [cuts[1], cuts[0]] };
    let [rows, columns, channels] = [&extents[..first], &extents[first..second], &extents[second..]];
    [rows, columns, channels].map(|axes| axes.iter().product())
}

/// Extents whose product is `len`.
fn factored(r: &mut Random, mut len: u32) -> Vec<u32> {
    let mut extents = Vec::new();
    while len > 1 && extents.len() < 5 {
        let divisors: Vec<u32> = (2..=len).filter(|d| len.is_multiple_of(*d)).collect();
        let extent = pick(r, &divisors);
        extents.push(extent);
        len /= extent;
    }
    extents.push(len);
    extents
}

impl Net {
    fn add_bytes(&mut self, bytes: &[u8]) -> u64 {
        self.constants.resize(self.constants.len().next_multiple_of(64), 0);
        let offset = self.constants.len() as u64;
        self.constants.extend(bytes);
        offset
    }

    /// A further input of the network.
    pub fn input(&mut self, dims: Vec<u32>) -> FloatId {
        let slot = self.slot(dims.iter().product());
        let name = format!("input{}", self.program.inputs.len());
        self.program.inputs.push((Port { name, dims, ..Port::default() }, slot));
        slot
    }

    /// Floats as codes.
    pub fn quantize(&mut self, x: FloatId, extents: [u32; 3], order: Order, zero_point: u8) -> TensorId {
        let y = self.tensor(extents, 1.0 / 40.0, zero_point);
        self.program.ops.push(Op::Quantize { x, y, inv_scale: 40.0, order });
        y
    }

    /// Any codes.
    pub fn constant(&mut self, extents: [u32; 3], zero_point: u8) -> TensorId {
        let y = self.tensor(extents, 1.0, zero_point);
        let codes: Vec<u8> = (0..extents.iter().product()).map(|_| self.random.below(256) as u8).collect();
        let constants_offset = self.add_bytes(&codes);
        self.program.ops.push(Op::Constant { y, constants_offset });
        y
    }

    /// A code for each code, one table or one a channel.
    pub fn table(&mut self, x: TensorId, zero_point: u8, per_channel: bool) -> TensorId {
        let extents = self.extents(x);
        let y = self.tensor(extents, 1.0, zero_point);
        let tables = if per_channel { extents[2] } else { 1 };
        let codes: Vec<u8> = (0..256 * tables).map(|_| self.random.below(256) as u8).collect();
        let constants_offset = self.add_bytes(&codes);
        self.program.ops.push(Op::Table { x, y, constants_offset, per_channel });
        y
    }

    /// An operand that is repeated along some axes of `x`, or as large.
    pub fn gate(&mut self, r: &mut Random, x: TensorId) -> TensorId {
        let [h, w, c] = self.extents(x);
        let extents = pick(r, &[[1, 1, c], [h, 1, c], [h, w, 1], [1, w, 1], [1, 1, 1], [h, w, c]]);
        self.constant(extents, r.below(256) as u8)
    }

    /// Two operands; those that have one row, column or channel are repeated.
    pub fn arithmetic(
        &mut self,
        r: &mut Random,
        kind: ArithmeticKind,
        [a, b]: [TensorId; 2],
        [zero_point, lo, hi]: [u8; 3],
    ) -> TensorId {
        let [of_a, of_b] = [a, b].map(|id| self.extents(id));
        let extents: [u32; 3] = std::array::from_fn(|axis| of_a[axis].max(of_b[axis]));
        let y = self.tensor(extents, 1.0, zero_point);
        let strides = |of: [u32; 3]| -> Vec<u32> {
            let steps = dense(&of).into_iter().zip(of);
            steps.map(|(stride, extent)| if extent == 1 { 0 } else { stride }).collect()
        };
        let size = if kind == ArithmeticKind::Mul { 0.01 } else { 1.0 };
        let multiplier_a = (0.3 + r.unit()) * size;
        let multiplier_b = if kind == ArithmeticKind::Mul { 1.0 } else { 0.3 + r.unit() };
        self.program.ops.push(Op::Arithmetic {
            kind,
            a,
            b,
            y,
            extents: extents.to_vec(),
            strides_a: strides(of_a),
            strides_b: strides(of_b),
            multiplier_a,
            multiplier_b,
            lo,
            hi,
        });
        y
    }

    /// Any arithmetic of a tensor with itself in another order, over axes that are no rows, columns or channels.
    pub fn turned(&mut self, r: &mut Random, x: TensorId, [zero_point, lo, hi]: [u8; 3]) -> TensorId {
        let of_x = self.extents(x);
        let extents = factored(r, of_x.iter().product());
        let strides = dense(&extents);
        let mut order: Vec<usize> = (0..extents.len()).collect();
        order.rotate_left(r.below(extents.len() as u32) as usize);
        let [turned, strides_b] =
            [&extents, &strides].map(|of| order.iter().map(|&axis| of[axis]).collect::<Vec<u32>>());
        let y_extents = grouped(r, &turned);
        let y = self.tensor(y_extents, 1.0, zero_point);
        let (strides_a, kind) = (dense(&turned), pick(r, ArithmeticKind::ALL));
        let multipliers = if kind == ArithmeticKind::Mul { [0.01, 1.0] } else { [0.5 + r.unit(), 0.5] };
        let [multiplier_a, multiplier_b] = multipliers;
        self.program.ops.push(Op::Arithmetic {
            kind,
            a: x,
            b: x,
            y,
            extents: turned,
            strides_a,
            strides_b,
            multiplier_a,
            multiplier_b,
            lo,
            hi,
        });
        y
    }

    /// Codes to other places: parts of rows, columns, channels or of any axes, in any order.
    pub fn moved(&mut self, r: &mut Random, x: TensorId) -> TensorId {
        let of_x = self.extents(x);
        let extents = if r.once_in(3) { factored(r, of_x.iter().product()) } else { of_x.to_vec() };
        let axes = extents.iter().zip(dense(&extents));
        let mut tables: Vec<Vec<u32>> = axes.map(|(&extent, stride)| table(r, extent, stride, true)).collect();
        if r.once_in(2) {
            let axes = tables.len() as u32;
            tables.rotate_left(r.below(axes) as usize);
        }
        let results: Vec<u32> = tables.iter().map(|table| table.len() as u32).collect();
        let y_extents = match results[..] {
            [rows, columns, channels] if !r.once_in(3) => [rows, columns, channels],
            _ => grouped(r, &results),
        };
        let y = self.like(x, y_extents);
        let fill = r.below(256) as u8;
        self.program.ops.push(Op::Move { x, y, tables, fill });
        y
    }

    /// Tensors of equal extents one after the other, along rows, columns or channels.
    pub fn concat_along(&mut self, axis: usize, xs: &[(TensorId, Option<f32>)], [lo, hi]: [u8; 2]) -> TensorId {
        let mut extents = self.extents(xs[0].0);
        let outer = extents[..axis].iter().product();
        extents[axis] = xs.iter().map(|(x, _)| self.extents(*x)[axis]).sum();
        let y = self.like(xs[0].0, extents);
        self.program.ops.push(Op::Concat { xs: xs.to_vec(), y, outer, lo, hi });
        y
    }

    /// Codes as floats.
    pub fn dequantize_in(&mut self, x: TensorId, order: Order) -> FloatId {
        let y = self.slot(self.extents(x).iter().product());
        self.program.ops.push(Op::Dequantize { x, y, order });
        y
    }

    /// A fully connected layer at every position, to floats or codes.
    pub fn fully_connected_rows(&mut self, r: &mut Random, x: TensorId) -> TensorId {
        let (outputs, bits) = (r.between(1, 24), BitWidth::new(r.between(2, 8) as u8).expect("2..=8"));
        let [h, w, _] = self.extents(x);
        let window = super::square(1, 1, 0);
        let kind = LayerKind::FullyConnected;
        if r.once_in(2) {
            let (y, order) = (self.slot(h * w * outputs), if r.once_in(2) { Order::Same } else { Order::ChannelFirst });
            self.layer(x, outputs, window, 1, bits, kind, Destination::Logits { y, order });
            return self.quantize(y, [h, w, outputs], order, 128);
        }
        let y = self.tensor([h, w, outputs], 1.0, 60);
        self.layer(x, outputs, window, 1, bits, kind, Destination::Codes { y, lo: 0, hi: 255 });
        y
    }

    fn len(&self, x: FloatId) -> u32 {
        self.program.floats[x.0 as usize].len
    }

    pub fn float_constant(&mut self, r: &mut Random, len: u32) -> FloatId {
        let y = self.slot(len);
        let words: Vec<u32> = (0..len).map(|_| r.normal().to_bits()).collect();
        let constants_offset = self.add_constants(words.into_iter());
        self.program.ops.push(Op::FloatConstant { y, constants_offset });
        y
    }

    /// One random operator on a slot.
    pub fn island(&mut self, r: &mut Random, x: FloatId) -> FloatId {
        let len = self.len(x);
        let extents = factored(r, len);
        let axis = r.below(extents.len() as u32) as usize;
        let (outer, middle, inner) =
            (extents[..axis].iter().product(), extents[axis], extents[axis + 1..].iter().product());
        match r.below(10) {
            0 => {
                let row = pick(r, FUNCTIONS);
                let parameters: Vec<f32> = row.parameters.iter().map(|_| 0.5 + r.unit()).collect();
                let y = self.slot(len);
                let function = Function::from_parts(row.tag, &parameters).expect("a row of the table");
                self.program.ops.push(Op::FloatUnary { x, y, function });
                y
            }
            1 | 2 => {
                let repeated: Vec<bool> = extents.iter().map(|_| r.once_in(2)).collect();
                let of_b: Vec<u32> =
                    extents.iter().zip(&repeated).map(|(&extent, &once)| if once { 1 } else { extent }).collect();
                let b = self.float_constant(r, of_b.iter().product());
                let steps = dense(&of_b).into_iter().zip(&repeated);
                let strides_b: Vec<u32> = steps.map(|(stride, &once)| if once { 0 } else { stride }).collect();
                let y = self.slot(len);
                let strides_a = dense(&extents);
                let op = if r.once_in(4) {
                    Op::FloatSelect {
                        c: b,
                        a: x,
                        b: x,
                        y,
                        extents,
                        strides_c: strides_b,
                        strides_a: strides_a.clone(),
                        strides_b: strides_a,
                    }
                } else {
                    Op::FloatBinary { kind: pick(r, BinaryKind::ALL), a: x, b, y, extents, strides_a, strides_b }
                };
                self.program.ops.push(op);
                y
            }
            3 => {
                let axes = extents.iter().zip(dense(&extents));
                let mut tables: Vec<Vec<u32>> = axes.map(|(&extent, stride)| table(r, extent, stride, true)).collect();
                tables.rotate_left(axis);
                let y = self.slot(tables.iter().map(|table| table.len() as u32).product());
                self.program.ops.push(Op::FloatMove { x, y, tables, fill: r.normal() });
                y
            }
            4 => {
                let y = self.slot(3 * len);
                self.program.ops.push(Op::FloatConcat { xs: vec![x; 3], y, outer });
                y
            }
            5 => {
                let y = self.slot(outer * inner);
                let kind = pick(r, ReduceKind::ALL);
                self.program.ops.push(Op::FloatReduce { kind, x, y, outer, len: middle, inner });
                y
            }
            6 => {
                let y = self.slot(len);
                self.program.ops.push(Op::Softmax { x, y, log: r.once_in(2), outer, len: middle, inner });
                y
            }
            7 => {
                let (batch, m, k, n) = (outer, middle, inner, r.between(1, 20));
                let b = self.float_constant(r, k * n);
                let y = self.slot(batch * m * n);
                let (batch, strides_a, strides_b) = (vec![batch], vec![m * k], vec![0]);
                self.program.ops.push(Op::FloatMatMul { a: x, b, y, batch, strides_a, strides_b, m, k, n });
                y
            }
            8 => {
                let mut taps = Vec::new();
                for _ in 0..r.between(1, 2 * middle) {
                    taps.push((0..r.below(4)).map(|_| (r.below(middle), r.normal())).collect());
                }
                let y = self.slot(outer * taps.len() as u32 * inner);
                self.program.ops.push(Op::FloatResample { x, y, outer, len: middle, inner, taps });
                y
            }
            _ => {
                let (rows, width) = (r.between(1, 5), r.between(1, 3));
                let words: Vec<u32> = (0..rows * width).map(|_| r.normal().to_bits()).collect();
                let constants_offset = self.add_constants(words.into_iter());
                let y = self.slot(len * width);
                self.program.ops.push(Op::FloatLookup { x, y, constants_offset, rows, width });
                y
            }
        }
    }
}
