//! Operators on floats: what has no good integer form, and what stands between such operators.

use super::LowerError;
use super::lowering::{Lowering, append, at_least_one, extent};
use super::place::{broadcast, joined, row_major};
use crate::ir::{BinaryKind, Clip, Function, Node, NodeId, Op, Recurrent, ReduceKind};
use releqc_runtime::float::canonical;
use releqc_runtime::program::{self, FloatId};

/// `[outer, len, inner]` around a run of axes.
fn around(dims: &[usize], first: usize, last: usize) -> [usize; 3] {
    [dims[..first].iter().product(), dims[first..=last].iter().product(), dims[last + 1..].iter().product()]
}

impl<'q> Lowering<'q> {
    /// A node without weights whose value is floats.
    pub(super) fn island(&mut self, id: NodeId, node: &'q Node) -> Result<(), LowerError> {
        let x = |index: usize| node.inputs[index];
        let y = match &node.op {
            Op::Reshape => self.floats(x(0))?,
            Op::Unary(function) => {
                let x = self.floats(x(0))?;
                self.unary(node, x, *function)?
            }
            Op::Clip(clip) => {
                let x = self.floats(x(0))?;
                self.clipped(node, x, *clip)?
            }
            Op::Binary(kind) => {
                let operands = [self.floats(x(0))?, self.floats(x(1))?];
                self.binary(node, *kind, operands, [self.dims(x(0)), self.dims(x(1))])?
            }
            Op::BatchNorm(norm) => {
                let (mul, add) = norm.affine();
                self.affine_floats(node, &mul, &add)?
            }
            Op::ChannelAffine { mul, add } => self.affine_floats(node, mul, add)?,
            Op::PRelu { slope } => self.prelu_floats(node, slope)?,
            Op::Select => self.select(node)?,
            Op::Concat { axis } => {
                let xs = node.inputs.iter().map(|&input| self.floats(input)).collect::<Result<Vec<_>, _>>()?;
                let outer = extent(node, node.shape.dims()[..*axis].iter().product())?;
                let y = self.new_float(node, node.shape.len())?;
                self.emit(program::Op::FloatConcat { xs, y, outer });
                y
            }
            Op::Transpose { perm } => {
                let from = self.floats(x(0))?;
                let (dims, strides) = (node.shape.dims(), row_major(self.dims(x(0))));
                let table = |(axis, &source): (usize, &usize)| {
                    (0..dims[axis]).map(|position| (position * strides[source]) as u32).collect::<Vec<u32>>()
                };
                let tables = at_least_one(perm.iter().enumerate().map(table).collect());
                self.moved(node, from, tables, 0.0)?
            }
            Op::Gather { maps, fill } => {
                let from = self.floats(x(0))?;
                self.moved(node, from, self.float_tables(x(0), maps), canonical(*fill))?
            }
            Op::Reduce { kind, axes } => self.reduce(node, *kind, axes)?,
            Op::MatMul => self.mat_mul(node)?,
            Op::Softmax { axis, log } => {
                let from = self.floats(x(0))?;
                let [outer, len, inner] = around(node.shape.dims(), *axis, *axis);
                let y = self.new_float(node, node.shape.len())?;
                let (outer, len, inner) = (extent(node, outer)?, extent(node, len)?, extent(node, inner)?);
                self.emit(program::Op::Softmax { x: from, y, log: *log, outer, len, inner });
                y
            }
            Op::Resample { axis, taps } => {
                let from = self.floats(x(0))?;
                let [outer, len, inner] = around(self.dims(x(0)), *axis, *axis);
                let tap = |&(at, weight): &(usize, f32)| (at as u32, canonical(weight));
                let taps = taps.iter().map(|list| list.iter().map(tap).collect()).collect();
                let y = self.new_float(node, node.shape.len())?;
                let (outer, len, inner) = (extent(node, outer)?, extent(node, len)?, extent(node, inner)?);
                self.emit(program::Op::FloatResample { x: from, y, outer, len, inner, taps });
                y
            }
            Op::Recurrent(cell) => self.recurrent(node, cell)?,
            Op::Lookup { table } => {
                let from = self.floats(x(0))?;
                let bytes: Vec<u8> = table.data().iter().flat_map(|&v| canonical(v).to_le_bytes()).collect();
                let constants_offset = append(&mut self.lowered.constants, &bytes);
                let rows = table.dims()[0];
                let width = extent(node, table.data().len() / rows.max(1))?;
                let y = self.new_float(node, node.shape.len())?;
                let rows = extent(node, rows)?;
                self.emit(program::Op::FloatLookup { x: from, y, constants_offset, rows, width });
                y
            }
            other => {
                let what = format!("{} of floats; it has no float form", other.label());
                return Err(LowerError::Unsupported { node: node.name.clone(), what });
            }
        };
        self.keep_clipped(id, node, y)
    }

    /// The floats of a node before its activation are in a slot.
    pub(super) fn keep_clipped(&mut self, id: NodeId, node: &Node, y: FloatId) -> Result<(), LowerError> {
        let y = match node.activation {
            Some(clip) => self.clipped(node, y, clip)?,
            None => y,
        };
        self.keep_floats(id, y);
        Ok(())
    }

    fn clipped(&mut self, node: &Node, x: FloatId, clip: Clip) -> Result<FloatId, LowerError> {
        self.unary(node, x, Function::Clip { min: clip.min, max: clip.max })
    }

    pub(super) fn unary(&mut self, node: &Node, x: FloatId, function: Function) -> Result<FloatId, LowerError> {
        let y = self.new_float(node, node.shape.len())?;
        let parameters: Vec<f32> = function.parameters().into_iter().map(canonical).collect();
        let function = Function::from_parts(function.tag(), &parameters).unwrap_or(function);
        self.emit(program::Op::FloatUnary { x, y, function });
        Ok(y)
    }

    fn moved(&mut self, node: &Node, x: FloatId, tables: Vec<Vec<u32>>, fill: f32) -> Result<FloatId, LowerError> {
        let len = tables.iter().map(Vec::len).product();
        let y = self.new_float(node, len)?;
        self.emit(program::Op::FloatMove { x, y, tables, fill });
        Ok(y)
    }

    /// A function of two slots that hold tensors of these extents.
    fn binary(
        &mut self,
        node: &Node,
        kind: BinaryKind,
        [a, b]: [FloatId; 2],
        operands: [&[usize]; 2],
    ) -> Result<FloatId, LowerError> {
        let dims = node.shape.dims();
        let [sa, sb] = operands.map(|from| broadcast(from, &row_major(from), dims));
        let axes: Vec<_> = (0..dims.len()).map(|axis| (dims[axis], [sa[axis], sb[axis]])).collect();
        let (extents, [strides_a, strides_b]) = joined(&axes);
        let words = |values: Vec<usize>| values.iter().map(|&v| extent(node, v)).collect::<Result<Vec<u32>, _>>();
        let (extents, strides_a, strides_b) = (words(extents)?, words(strides_a)?, words(strides_b)?);
        let y = self.new_float(node, node.shape.len())?;
        self.emit(program::Op::FloatBinary { kind, a, b, y, extents, strides_a, strides_b });
        Ok(y)
    }

    /// Extents of one value a position of axis 1, against a node's shape.
    fn channel_dims(node: &Node) -> Vec<usize> {
        let channels = |(axis, &d): (usize, &usize)| if axis == 1 { d } else { 1 };
        node.shape.dims().iter().enumerate().map(channels).collect()
    }

    fn affine_floats(&mut self, node: &'q Node, mul: &[f32], add: &[f32]) -> Result<FloatId, LowerError> {
        let x = self.floats(node.inputs[0])?;
        let scaled = self.times_channels(node, x, mul)?;
        let add = self.constant_floats(node, add)?;
        self.binary(node, BinaryKind::Add, [scaled, add], [node.shape.dims(), &Self::channel_dims(node)])
    }

    /// Floats of a node's shape with each channel multiplied.
    pub(super) fn times_channels(&mut self, node: &Node, x: FloatId, mul: &[f32]) -> Result<FloatId, LowerError> {
        let mul = self.constant_floats(node, mul)?;
        self.binary(node, BinaryKind::Mul, [x, mul], [node.shape.dims(), &Self::channel_dims(node)])
    }

    fn prelu_floats(&mut self, node: &'q Node, slope: &[f32]) -> Result<FloatId, LowerError> {
        let x = self.floats(node.inputs[0])?;
        let slope = self.constant_floats(node, slope)?;
        self.binary(node, BinaryKind::PRelu, [x, slope], [node.shape.dims(), &Self::channel_dims(node)])
    }

    fn select(&mut self, node: &'q Node) -> Result<FloatId, LowerError> {
        let dims = node.shape.dims();
        let mut slots = Vec::with_capacity(3);
        for &input in &node.inputs {
            slots.push(self.floats(input)?);
        }
        let strides = |index: usize| {
            let from = self.dims(node.inputs[index]);
            broadcast(from, &row_major(from), dims)
        };
        let [sc, sa, sb] = [strides(0), strides(1), strides(2)];
        let axes: Vec<_> = (0..dims.len()).map(|axis| (dims[axis], [sc[axis], sa[axis], sb[axis]])).collect();
        let (extents, [strides_c, strides_a, strides_b]) = joined(&axes);
        let words = |values: Vec<usize>| values.iter().map(|&v| extent(node, v)).collect::<Result<Vec<u32>, _>>();
        let (extents, strides_c) = (words(extents)?, words(strides_c)?);
        let (strides_a, strides_b) = (words(strides_a)?, words(strides_b)?);
        let y = self.new_float(node, node.shape.len())?;
        let [c, a, b] = [slots[0], slots[1], slots[2]];
        self.emit(program::Op::FloatSelect { c, a, b, y, extents, strides_c, strides_a, strides_b });
        Ok(y)
    }

    /// Axes that do not lie side by side are brought together at the end first.
    fn reduce(&mut self, node: &'q Node, kind: ReduceKind, axes: &[usize]) -> Result<FloatId, LowerError> {
        let operand = node.inputs[0];
        let dims = self.dims(operand);
        let mut x = self.floats(operand)?;
        let (first, last) = (axes[0], axes[axes.len() - 1]);
        let together = (first..=last).all(|axis| axes.contains(&axis) || dims[axis] == 1);
        let [outer, len, inner] = if together {
            around(dims, first, last)
        } else {
            let kept = (0..dims.len()).filter(|axis| !axes.contains(axis));
            let perm: Vec<usize> = kept.chain(axes.iter().copied()).collect();
            let strides = row_major(dims);
            let tables = perm.iter().map(|&axis| (0..dims[axis]).map(|p| (p * strides[axis]) as u32).collect());
            x = self.moved(node, x, tables.collect(), 0.0)?;
            let len: usize = axes.iter().map(|&axis| dims[axis]).product();
            [node.shape.len(), len, 1]
        };
        let y = self.new_float(node, node.shape.len())?;
        let (outer, len, inner) = (extent(node, outer)?, extent(node, len)?, extent(node, inner)?);
        self.emit(program::Op::FloatReduce { kind, x, y, outer, len, inner });
        Ok(y)
    }

    /// The matrices of the gates are transposed: products with them are summed over cells in order.
    fn recurrent(&mut self, node: &'q Node, cell: &Recurrent) -> Result<FloatId, LowerError> {
        let xs = node.inputs.iter().map(|&input| self.floats(input)).collect::<Result<Vec<_>, _>>()?;
        let &[steps, batch, _] = self.dims(node.inputs[0]) else {
            let what = format!("{} over other than three axes", cell.label());
            return Err(LowerError::Unsupported { node: node.name.clone(), what });
        };
        let hidden = cell.weight.dims()[1];
        let gates = cell.weight.data().chunks_exact(hidden * hidden);
        let weights = gates.flat_map(|gate| (0..hidden * hidden).map(|i| gate[i % hidden * hidden + i / hidden]));
        let values = weights.chain(cell.bias.iter().copied()).chain(cell.peepholes.iter().copied());
        let bytes: Vec<u8> = values.flat_map(|v| canonical(v).to_le_bytes()).collect();
        let constants_offset = append(&mut self.lowered.constants, &bytes);
        let y = self.new_float(node, node.shape.len())?;
        self.emit(program::Op::FloatRecurrent {
            kind: cell.kind,
            xs,
            y,
            reverse: cell.reverse,
            steps: extent(node, steps)?,
            batch: extent(node, batch)?,
            hidden: extent(node, hidden)?,
            functions: cell.functions.clone(),
            clip: canonical(cell.clip),
            peepholes: !cell.peepholes.is_empty(),
            constants_offset,
        });
        Ok(y)
    }

    fn mat_mul(&mut self, node: &'q Node) -> Result<FloatId, LowerError> {
        let [a, b] = [self.floats(node.inputs[0])?, self.floats(node.inputs[1])?];
        let [da, db] = [self.dims(node.inputs[0]), self.dims(node.inputs[1])];
        let rank = node.shape.rank();
        let batch = &node.shape.dims()[..rank - 2];
        let strides = |dims: &[usize]| broadcast(&dims[..dims.len() - 2], &row_major(dims)[..dims.len() - 2], batch);
        let (sa, sb) = (strides(da), strides(db));
        let axes: Vec<_> = (0..batch.len()).map(|axis| (batch[axis], [sa[axis], sb[axis]])).collect();
        let (extents, [strides_a, strides_b]) = joined(&axes);
        let words = |values: Vec<usize>| values.iter().map(|&v| extent(node, v)).collect::<Result<Vec<u32>, _>>();
        let (batch, strides_a, strides_b) = (words(extents)?, words(strides_a)?, words(strides_b)?);
        let [m, k] = [da[da.len() - 2], da[da.len() - 1]];
        let n = db[db.len() - 1];
        let y = self.new_float(node, node.shape.len())?;
        let (m, k, n) = (extent(node, m)?, extent(node, k)?, extent(node, n)?);
        self.emit(program::Op::FloatMatMul { a, b, y, batch, strides_a, strides_b, m, k, n });
        Ok(y)
    }
}
