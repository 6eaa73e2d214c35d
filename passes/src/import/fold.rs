//! Evaluation of the nodes that a rule made of constants.
//!
//! Takes nodes whose shapes are known and paid for; returns their values. Floats are computed as the runtime's float operators
//! do, integers in f64: exact to 53 bits, and at the bounds of i64. Does not evaluate windows, nor products of more than
//! [`MOST_PRODUCTS`]: such nodes stay in the graph.

use super::build::Constant;
use crate::ir::{AxisMap, BinaryKind, Function, Node, NodeId, Op, ReduceKind};
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use releqc_runtime::float;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Most products of a folded matrix product.
const MOST_PRODUCTS: usize = 1 << 28;

/// A folded value.
pub(super) struct Array {
    dims: Vec<usize>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Floats(Arc<[f32]>),
    /// Integers, and what is computed from them.
    Numbers(Arc<[f64]>),
}

impl Array {
    fn of_constant(constant: &Constant) -> Self {
        let data = match constant.stored_floats() {
            Some(values) => Data::Floats(Arc::clone(values)),
            None => Data::Numbers(constant.numbers().into()),
        };
        Array { dims: constant.dims().to_vec(), data }
    }

    /// Rounded to an element type.
    pub(super) fn to_constant(&self, kind: DataType) -> Constant {
        match &self.data {
            Data::Floats(values) => Constant::of_shared(self.dims.clone(), kind, Arc::clone(values)),
            Data::Numbers(values) => Constant::of_numbers(self.dims.clone(), kind, values),
        }
    }

    fn floats(&self) -> Arc<[f32]> {
        match &self.data {
            Data::Floats(values) => Arc::clone(values),
            Data::Numbers(values) => values.iter().map(|&v| v as f32).collect(),
        }
    }

    fn numbers(&self) -> Arc<[f64]> {
        match &self.data {
            Data::Floats(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Data::Numbers(values) => Arc::clone(values),
        }
    }

    fn is_floats(&self) -> bool {
        matches!(self.data, Data::Floats(_))
    }

    /// Elements by one table of steps an axis.
    fn moved(&self, tables: &[Vec<Option<usize>>], fill: f32) -> Data {
        match &self.data {
            Data::Floats(values) => Data::Floats(moved(values, tables, fill).into()),
            Data::Numbers(values) => Data::Numbers(moved(values, tables, f64::from(fill)).into()),
        }
    }

    /// The elements repeated to `dims`.
    fn broadcast(&self, dims: &[usize]) -> Data {
        if self.dims == dims {
            return self.data.clone();
        }
        let strides = strides(&self.dims);
        let missing = dims.len() - self.dims.len();
        let tables: Vec<Vec<Option<usize>>> = (0..dims.len())
            .map(|axis| {
                let own = axis.checked_sub(missing);
                let step = own.map_or(0, |own| if self.dims[own] == 1 { 0 } else { strides[own] });
                (0..dims[axis]).map(|at| Some(at * step)).collect()
            })
            .collect();
        self.moved(&tables, 0.0)
    }

    /// `[before, extent, after]` of an axis.
    fn around(&self, axis: usize) -> [usize; 3] {
        [self.dims[..axis].iter().product(), self.dims[axis], self.dims[axis + 1..].iter().product()]
    }
}

/// The values of all nodes, which are `nodes[mark..]` of a graph and read each other only; `exact` has the constants some of
/// them stand for. `None` where one is not evaluated.
pub(super) fn evaluate(nodes: &[Node], mark: usize, exact: &BTreeMap<usize, Rc<Constant>>) -> Option<Vec<Array>> {
    let mut values: Vec<Array> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let value = match exact.get(&index) {
            Some(constant) => Array::of_constant(constant),
            None => {
                let operand = |id: &NodeId| id.0.checked_sub(mark).and_then(|at| values.get(at));
                let operands: Vec<&Array> = node.inputs.iter().map(operand).collect::<Option<_>>()?;
                Array { dims: node.shape.dims().to_vec(), data: apply(&node.op, &operands, node.shape.dims())? }
            }
        };
        values.push(value);
    }
    Some(values)
}

fn apply(op: &Op, operands: &[&Array], dims: &[usize]) -> Option<Data> {
    let x = || operands.first().copied();
    Some(match op {
        Op::Constant(tensor) => Data::Floats(tensor.shared()),
        Op::Reshape => x()?.data.clone(),
        Op::Unary(function) => unary(*function, x()?),
        Op::Clip(clip) => unary(Function::Clip { min: clip.min, max: clip.max }, x()?),
        Op::Binary(kind) => binary(*kind, operands.first()?, operands.get(1)?, dims),
        Op::ChannelAffine { mul, add } => {
            let [outer, channels, inner] = if dims.len() < 2 { return None } else { x()?.around(1) };
            let values = x()?.numbers();
            let at = |i: usize| i / inner.max(1) % channels.max(1);
            let result = (0..outer * channels * inner)
                .map(|i| values[i] * f64::from(mul[at(i)]) + f64::from(add[at(i)]))
                .collect::<Vec<f64>>();
            rounded(result, x()?.is_floats())
        }
        Op::Select => {
            let condition = operands.first()?.broadcast(dims);
            let condition = Array { dims: dims.to_vec(), data: condition }.numbers();
            let [a, b] = [operands.get(1)?, operands.get(2)?];
            let floats = a.is_floats() && b.is_floats();
            let [a, b] = [a, b].map(|side| Array { dims: dims.to_vec(), data: side.broadcast(dims) }.numbers());
            let chosen = condition.iter().enumerate().map(|(i, &c)| if c != 0.0 { a[i] } else { b[i] });
            rounded(chosen.collect(), floats)
        }
        Op::Transpose { perm } => {
            let strides = strides(&x()?.dims);
            let table = |&axis: &usize| (0..x()?.dims[axis]).map(|at| Some(Some(at * strides[axis]))).collect();
            x()?.moved(&perm.iter().map(table).collect::<Option<Vec<_>>>()?, 0.0)
        }
        Op::Gather { maps, fill } => {
            let strides = strides(&x()?.dims);
            let table = |(axis, map): (usize, &AxisMap)| {
                (0..dims[axis]).map(|at| map.at(at).map(|from| from * strides[axis])).collect()
            };
            x()?.moved(&maps.iter().enumerate().map(table).collect::<Vec<_>>(), *fill)
        }
        Op::Concat { axis } => concat(*axis, operands),
        Op::Reduce { kind, axes } => reduce(*kind, axes, x()?)?,
        Op::MatMul => mat_mul(operands.first()?, operands.get(1)?, dims)?,
        Op::FullyConnected(layer) if layer.batch_norm.is_none() => {
            let weight = Array { dims: layer.weight.dims().to_vec(), data: Data::Floats(layer.weight.shared()) };
            let turned = apply(&Op::Transpose { perm: vec![1, 0] }, &[&weight], &[])?;
            let turned = Array { dims: vec![weight.dims[1], weight.dims[0]], data: turned };
            let rows =
                Array { dims: vec![dims.iter().rev().skip(1).product(), turned.dims[0]], data: x()?.data.clone() };
            let product =
                Array { dims: dims.to_vec(), data: mat_mul(&rows, &turned, &[rows.dims[0], turned.dims[1]])? };
            match &layer.bias {
                Some(bias) => {
                    let bias = Array { dims: vec![bias.len()], data: Data::Floats(bias.clone().into()) };
                    binary(BinaryKind::Add, &product, &bias, dims)
                }
                None => product.data,
            }
        }
        Op::Softmax { axis, log } => {
            let [_, len, inner] = x()?.around(*axis);
            let mut values = x()?.floats().to_vec();
            if len * inner > 0 {
                float::softmax(&mut values, *log, len, inner);
            }
            Data::Floats(values.into())
        }
        Op::Resample { axis, taps } => {
            let [_, len, inner] = x()?.around(*axis);
            let narrow = |&(index, weight): &(usize, f32)| Some((u32::try_from(index).ok()?, weight));
            let taps = taps.iter().map(|taps| taps.iter().map(narrow).collect()).collect::<Option<Vec<Vec<_>>>>()?;
            let mut y = vec![0.0; dims.iter().product()];
            if len * inner > 0 {
                float::resample(&x()?.floats(), &mut y, &taps, len, inner);
            }
            Data::Floats(y.into())
        }
        _ => return None,
    })
}

/// f64 results as the type they stand for.
fn rounded(values: Vec<f64>, floats: bool) -> Data {
    if floats { Data::Floats(values.iter().map(|&v| v as f32).collect()) } else { Data::Numbers(values.into()) }
}

fn unary(function: Function, x: &Array) -> Data {
    let Data::Numbers(values) = &x.data else {
        let values = x.floats();
        let mut y = vec![0.0; values.len()];
        float::unary(function, &values, &mut y);
        return Data::Floats(y.into());
    };
    let each = |f: &dyn Fn(f64) -> f64| Data::Numbers(values.iter().map(|&v| f(v)).collect());
    match function {
        Function::Identity | Function::Round | Function::Floor | Function::Ceil | Function::Trunc => x.data.clone(),
        Function::Neg => each(&|v| -v),
        Function::Abs => each(&f64::abs),
        Function::Clip { min, max } => each(&|v| v.max(min.into()).min(max.into())),
        Function::Scale { mul, add } => each(&|v| v * f64::from(mul) + f64::from(add)),
        Function::Not => each(&|v| f64::from(u8::from(v == 0.0))),
        Function::IsNonzero => each(&|v| f64::from(u8::from(v != 0.0))),
        other => each(&|v| f64::from(other.eval(v as f32))),
    }
}

fn binary(kind: BinaryKind, a: &Array, b: &Array, dims: &[usize]) -> Data {
    let sides = [a, b].map(|side| Array { dims: dims.to_vec(), data: side.broadcast(dims) });
    let [a, b] = &sides;
    if a.is_floats() && b.is_floats() {
        let (a, b) = (a.floats(), b.floats());
        let mut y = vec![0.0; a.len()];
        match u32::try_from(a.len()) {
            Ok(len) if len > 0 => float::binary(kind, &a, &b, &mut y, &[len], &[1], &[1]),
            _ => {}
        }
        return Data::Floats(y.into());
    }
    let truth = |holds: bool| f64::from(u8::from(holds));
    let apply = |a: f64, b: f64| match kind {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Min => a.min(b),
        BinaryKind::Max => a.max(b),
        BinaryKind::Mod => a - (a / b).floor() * b,
        BinaryKind::Fmod => a % b,
        BinaryKind::Less => truth(a < b),
        BinaryKind::LessOrEqual => truth(a <= b),
        BinaryKind::Greater => truth(a > b),
        BinaryKind::GreaterOrEqual => truth(a >= b),
        BinaryKind::Equal => truth(a == b),
        BinaryKind::And => truth(a != 0.0 && b != 0.0),
        BinaryKind::Or => truth(a != 0.0 || b != 0.0),
        BinaryKind::Xor => truth((a != 0.0) != (b != 0.0)),
        BinaryKind::Pow | BinaryKind::PRelu => f64::from(kind.eval(a as f32, b as f32)),
    };
    Data::Numbers(a.numbers().iter().zip(&*b.numbers()).map(|(&a, &b)| apply(a, b)).collect())
}

fn concat(axis: usize, operands: &[&Array]) -> Data {
    let outer = operands.first().map_or(0, |first| first.around(axis)[0]);
    let block = |operand: &Array| operand.around(axis)[1] * operand.around(axis)[2];
    if operands.iter().all(|operand| operand.is_floats()) {
        let all: Vec<(Arc<[f32]>, usize)> = operands.iter().map(|x| (x.floats(), block(x))).collect();
        return Data::Floats(joined(&all, outer).into());
    }
    let all: Vec<(Arc<[f64]>, usize)> = operands.iter().map(|x| (x.numbers(), block(x))).collect();
    Data::Numbers(joined(&all, outer).into())
}

fn joined<T: Copy>(parts: &[(Arc<[T]>, usize)], outer: usize) -> Vec<T> {
    let mut result = Vec::with_capacity(parts.iter().map(|(values, _)| values.len()).sum());
    for at in 0..outer {
        for (values, block) in parts {
            result.extend_from_slice(&values[at * block..(at + 1) * block]);
        }
    }
    result
}

fn reduce(kind: ReduceKind, axes: &[usize], x: &Array) -> Option<Data> {
    let kept = (0..x.dims.len()).filter(|axis| !axes.contains(axis));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let strides = strides(&x.dims);
    let tables: Vec<Vec<Option<usize>>> =
        order.iter().map(|&axis| (0..x.dims[axis]).map(|at| Some(at * strides[axis])).collect()).collect();
    let len: usize = axes.iter().map(|&axis| x.dims[axis]).product();
    if len == 0 {
        return nothing(kind, x, axes);
    }
    let rows = Array { dims: vec![], data: x.moved(&tables, 0.0) };
    if let Data::Numbers(values) = &rows.data {
        let exact = |f: &dyn Fn(&[f64]) -> f64| Some(Data::Numbers(values.chunks_exact(len).map(f).collect()));
        match kind {
            ReduceKind::Sum => return exact(&|row| row.iter().sum()),
            ReduceKind::Prod => return exact(&|row| row.iter().product()),
            ReduceKind::Max => return exact(&|row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ReduceKind::Min => return exact(&|row| row.iter().copied().fold(f64::INFINITY, f64::min)),
            _ => {}
        }
    }
    let values = rows.floats();
    let mut y = vec![0.0; values.len() / len];
    float::reduce(kind, &values, &mut y, len, 1);
    Some(if x.is_floats() { Data::Floats(y.into()) } else { Data::Numbers(y.iter().map(|&v| f64::from(v)).collect()) })
}

/// What a reduction of no elements is; `None` where that is not a float.
fn nothing(kind: ReduceKind, x: &Array, axes: &[usize]) -> Option<Data> {
    let value = match kind {
        ReduceKind::Sum | ReduceKind::L1 | ReduceKind::L2 | ReduceKind::SumSquare => 0.0,
        ReduceKind::Prod => 1.0,
        ReduceKind::LogSum | ReduceKind::LogSumExp | ReduceKind::Max => f32::NEG_INFINITY,
        ReduceKind::Min => f32::INFINITY,
        _ => return None,
    };
    let count = (0..x.dims.len()).filter(|axis| !axes.contains(axis)).map(|axis| x.dims[axis]).product();
    x.is_floats().then(|| Data::Floats(vec![value; count].into()))
}

fn mat_mul(a: &Array, b: &Array, dims: &[usize]) -> Option<Data> {
    let ([batch @ .., m, n], [.., k]) = (dims, &a.dims[..]) else { return None };
    let count = batch.iter().product::<usize>();
    [count, *m, *n, *k].iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&p| p <= MOST_PRODUCTS)?;
    let side = |x: &Array, rows: usize, columns: usize| {
        Array { dims: vec![], data: x.broadcast(&[batch, &[rows, columns]].concat()) }.numbers()
    };
    let (left, right) = (side(a, *m, *k), side(b, *k, *n));
    let mut y = vec![0.0; count * m * n];
    for at in 0..count {
        for row in 0..*m {
            let result = &mut y[(at * m + row) * n..][..*n];
            for inner in 0..*k {
                let factor = left[(at * m + row) * k + inner];
                for (sum, &v) in result.iter_mut().zip(&right[(at * k + inner) * n..][..*n]) {
                    *sum += factor * v;
                }
            }
        }
    }
    Some(rounded(y, a.is_floats() && b.is_floats()))
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Elements whose place is the sum of one entry an axis; `fill` where an axis has none.
fn moved<T: Copy>(x: &[T], tables: &[Vec<Option<usize>>], fill: T) -> Vec<T> {
    let Some((last, outer)) = tables.split_last() else { return x.to_vec() };
    let rows: usize = outer.iter().map(Vec::len).product();
    let mut result = Vec::with_capacity(rows * last.len());
    let mut position = vec![0; outer.len()];
    for _ in 0..rows {
        let start = outer.iter().zip(&position).try_fold(0, |sum, (table, &at)| table[at].map(|step| sum + step));
        match start {
            Some(start) => result.extend(last.iter().map(|step| step.map_or(fill, |step| x[start + step]))),
            None => result.resize(result.len() + last.len(), fill),
        }
        for axis in (0..outer.len()).rev() {
            position[axis] += 1;
            if position[axis] < outer[axis].len() {
                break;
            }
            position[axis] = 0;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(dims: &[usize], values: &[f64]) -> Array {
        Array { dims: dims.to_vec(), data: Data::Numbers(values.into()) }
    }

    #[test]
    fn integers_are_exact() {
        let big = numbers(&[2], &[16_777_217.0, 9.223_372_036_854_776e18]);
        let one = numbers(&[], &[1.0]);
        let sum = Array { dims: vec![2], data: binary(BinaryKind::Add, &big, &one, &[2]) };
        assert_eq!(sum.to_constant(DataType::Int64).ints(), [16_777_218, i64::MAX]);
    }

    #[test]
    fn values_move_and_reduce() {
        let x = numbers(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let turned = apply(&Op::Transpose { perm: vec![1, 0] }, &[&x], &[3, 2]).unwrap();
        let turned = Array { dims: vec![3, 2], data: turned };
        assert_eq!(*turned.numbers(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let sums = reduce(ReduceKind::Sum, &[0], &x).unwrap();
        assert_eq!(*Array { dims: vec![3], data: sums }.numbers(), [3.0, 5.0, 7.0]);
        let product = mat_mul(&x, &turned, &[2, 2]).unwrap();
        assert_eq!(*Array { dims: vec![2, 2], data: product }.numbers(), [5.0, 14.0, 14.0, 50.0]);
        let none = moved(&[7.0], &[vec![Some(0), None]], -1.0);
        assert_eq!(none, [7.0, -1.0]);
        assert_eq!(moved::<f64>(&[], &[vec![]], 0.0), Vec::<f64>::new());
    }
}
