//! Operators on floats: ordinary operators of ONNX.

use super::codes::padded;
use super::network::{Network, Source, Written, widened};
use super::places::{self, AxisStep, Dense, axis_step};
use super::{function, recurrent};
use crate::onnx::attribute::{int, ints};
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use releqc_runtime::float::{BinaryKind, ReduceKind};
use releqc_runtime::program::{FloatId, Op};

pub(super) fn write(network: &mut Network<'_>, op: &Op, name: &str) -> Written {
    match *op {
        Op::FloatUnary { x, y, function } => {
            let shape = [network.program.float_len(x)];
            let value = network.floats(x, &shape);
            let value = function::write(&mut network.message, function, &value, name);
            network.define_floats(y, &shape, value);
        }
        Op::FloatBinary { kind, a, b, y, ref extents, ref strides_a, ref strides_b } => {
            let a = network.strided(Source::Floats(a), extents, strides_a);
            let b = network.strided(Source::Floats(b), extents, strides_b);
            let value = binary(network, kind, [&a, &b], name);
            let value = network.whole(value, extents, &[strides_a, strides_b]);
            network.define_floats(y, &widened(extents), value);
        }
        Op::FloatSelect { c, a, b, y, ref extents, ref strides_c, ref strides_a, ref strides_b } => {
            let condition = network.strided(Source::Floats(c), extents, strides_c);
            let condition = network.cast(&condition, DataType::Bool);
            let a = network.strided(Source::Floats(a), extents, strides_a);
            let b = network.strided(Source::Floats(b), extents, strides_b);
            let value = network.message.node("Where", name, &[&condition, &a, &b], vec![]);
            let value = network.whole(value, extents, &[strides_c, strides_a, strides_b]);
            network.define_floats(y, &widened(extents), value);
        }
        Op::FloatMove { x, y, ref tables, fill } => moved(network, name, [x, y], tables, fill),
        Op::FloatConcat { ref xs, y, outer } => {
            let outer = outer as usize;
            let part = |network: &mut Network<'_>, &x: &FloatId| {
                let inner = network.program.float_len(x) / outer;
                network.floats(x, &[outer, inner])
            };
            let values: Vec<String> = xs.iter().map(|x| part(network, x)).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let value = network.message.node("Concat", name, &values, vec![int("axis", 1)]);
            let shape = [outer, network.program.float_len(y) / outer];
            network.define_floats(y, &shape, value);
        }
        Op::FloatReduce { kind, x, y, outer, len, inner } => {
            let [outer, len, inner] = [outer, len, inner].map(|extent| extent as usize);
            let value = network.floats(x, &[outer, len, inner]);
            let value = reduce(network, kind, &value, name);
            network.define_floats(y, &[outer, inner], value);
        }
        Op::Softmax { x, y, log, outer, len, inner } => {
            let shape = [outer, len, inner].map(|extent| extent as usize);
            let value = network.floats(x, &shape);
            let kind = if log { "LogSoftmax" } else { "Softmax" };
            let value = network.message.node(kind, name, &[&value], vec![int("axis", 1)]);
            network.define_floats(y, &shape, value);
        }
        Op::FloatMatMul { a, b, y, ref batch, ref strides_a, ref strides_b, m, k, n } => {
            let with = |own: &[u32], last: [u32; 2]| own.iter().copied().chain(last).collect::<Vec<u32>>();
            let a = network.strided(Source::Floats(a), &with(batch, [m, k]), &with(strides_a, [k, 1]));
            let b = network.strided(Source::Floats(b), &with(batch, [k, n]), &with(strides_b, [n, 1]));
            let value = network.message.node("MatMul", name, &[&a, &b], vec![]);
            // Rows and columns are always there.
            let (extents, own) = (with(batch, [m, n]), [with(strides_a, [1, 1]), with(strides_b, [1, 1])]);
            let value = network.whole(value, &extents, &[&own[0], &own[1]]);
            network.define_floats(y, &widened(&extents), value);
        }
        Op::FloatConstant { y, constants_offset } => {
            let len = network.program.float_len(y);
            let values = network.float_constants(constants_offset, len);
            let value = network.message.f32s(name, &[len], &values);
            network.define_floats(y, &[len], value);
        }
        Op::FloatResample { x, y, outer, len, inner, ref taps } => {
            let [outer, len, inner] = [outer, len, inner].map(|extent| extent as usize);
            let mut matrix = vec![0.0; taps.len() * len];
            for (row, list) in taps.iter().enumerate() {
                for &(position, weight) in list {
                    matrix[row * len + position as usize] += weight;
                }
            }
            let weights = network.message.f32s(&format!("{name}.weights"), &[taps.len(), len], &matrix);
            let value = network.floats(x, &[outer, len, inner]);
            let value = network.message.node("MatMul", name, &[&weights, &value], vec![]);
            network.define_floats(y, &[outer, taps.len(), inner], value);
        }
        Op::FloatLookup { x, y, constants_offset, rows, width } => {
            let [rows, width] = [rows, width].map(|extent| extent as usize);
            let values = network.float_constants(constants_offset, rows * width);
            let table = network.message.f32s(&format!("{name}.table"), &[rows, width], &values);
            let len = network.program.float_len(x);
            let value = network.floats(x, &[len]);
            let rounded = network.message.node("Round", &format!("{name}:round"), &[&value], vec![]);
            let low = network.message.f32(&format!("{name}.first"), 0.0);
            let high = network.message.f32(&format!("{name}.last"), (rows - 1) as f32);
            let clamped = network.message.node("Clip", &format!("{name}:clip"), &[&rounded, &low, &high], vec![]);
            let indices = network.cast(&clamped, DataType::Int64);
            let value = network.message.node("Gather", name, &[&table, &indices], vec![]);
            network.define_floats(y, &[len, width], value);
        }
        Op::FloatRecurrent { .. } => return recurrent::write(network, op, name),
        _ => return Err(format!("{}: no form", op.label())),
    }
    Ok(())
}

impl Network<'_> {
    /// Floats of the constants section.
    pub(super) fn float_constants(&self, offset: u64, len: usize) -> Vec<f32> {
        let bytes = &self.artifact.constants_section()[offset as usize..offset as usize + 4 * len];
        bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
    }
}

fn binary(network: &mut Network<'_>, kind: BinaryKind, [a, b]: [&str; 2], name: &str) -> String {
    let plain = |network: &mut Network<'_>, op: &str| network.message.node(op, name, &[a, b], vec![]);
    let condition = |network: &mut Network<'_>, op: &str, a: &str, b: &str| {
        let truth = network.message.node(op, name, &[a, b], vec![]);
        network.cast(&truth, DataType::Float)
    };
    let truths = |network: &mut Network<'_>, op: &str| {
        let [a, b] = [a, b].map(|x| network.cast(x, DataType::Bool));
        condition(network, op, &a, &b)
    };
    match kind {
        BinaryKind::Add => plain(network, "Add"),
        BinaryKind::Sub => plain(network, "Sub"),
        BinaryKind::Mul => plain(network, "Mul"),
        BinaryKind::Div => plain(network, "Div"),
        BinaryKind::Min => plain(network, "Min"),
        BinaryKind::Max => plain(network, "Max"),
        BinaryKind::Pow => plain(network, "Pow"),
        BinaryKind::Fmod => network.message.node("Mod", name, &[a, b], vec![int("fmod", 1)]),
        BinaryKind::Mod => {
            // ONNX has this remainder for integers alone.
            let quotient = network.message.node("Div", &format!("{name}:quotient"), &[a, b], vec![]);
            let floor = network.message.node("Floor", &format!("{name}:floor"), &[&quotient], vec![]);
            let whole = network.message.node("Mul", &format!("{name}:whole"), &[&floor, b], vec![]);
            network.message.node("Sub", name, &[a, &whole], vec![])
        }
        BinaryKind::Less => condition(network, "Less", a, b),
        BinaryKind::LessOrEqual => condition(network, "LessOrEqual", a, b),
        BinaryKind::Greater => condition(network, "Greater", a, b),
        BinaryKind::GreaterOrEqual => condition(network, "GreaterOrEqual", a, b),
        BinaryKind::Equal => condition(network, "Equal", a, b),
        BinaryKind::And => truths(network, "And"),
        BinaryKind::Or => truths(network, "Or"),
        BinaryKind::Xor => truths(network, "Xor"),
        BinaryKind::PRelu => {
            let zero = network.message.f32(&format!("{name}.zero"), 0.0);
            let below = network.message.node("Less", &format!("{name}:below"), &[a, &zero], vec![]);
            let sloped = network.message.node("Mul", &format!("{name}:sloped"), &[a, b], vec![]);
            network.message.node("Where", name, &[&below, &sloped, a], vec![])
        }
    }
}

fn reduce(network: &mut Network<'_>, kind: ReduceKind, x: &str, name: &str) -> String {
    let extreme = |op, last| (op, Some(last));
    let (op, last) = match kind {
        ReduceKind::Mean => ("ReduceMean", None),
        ReduceKind::Sum => ("ReduceSum", None),
        ReduceKind::Max => ("ReduceMax", None),
        ReduceKind::Min => ("ReduceMin", None),
        ReduceKind::Prod => ("ReduceProd", None),
        ReduceKind::L1 => ("ReduceL1", None),
        ReduceKind::L2 => ("ReduceL2", None),
        ReduceKind::SumSquare => ("ReduceSumSquare", None),
        ReduceKind::LogSum => ("ReduceLogSum", None),
        ReduceKind::LogSumExp => ("ReduceLogSumExp", None),
        ReduceKind::ArgMax => extreme("ArgMax", 0),
        ReduceKind::ArgMin => extreme("ArgMin", 0),
        ReduceKind::ArgMaxLast => extreme("ArgMax", 1),
        ReduceKind::ArgMinLast => extreme("ArgMin", 1),
    };
    let Some(last) = last else {
        let axes = network.message.i64s(&format!("{name}:axes"), &[1]);
        return network.message.node(op, name, &[x, &axes], vec![int("keepdims", 0)]);
    };
    let attributes = vec![int("axis", 1), int("keepdims", 0), int("select_last_index", last)];
    let index = network.message.node(op, name, &[x], attributes);
    network.cast(&index, DataType::Float)
}

fn moved(network: &mut Network<'_>, name: &str, [x, y]: [FloatId; 2], tables: &[Vec<u32>], fill: f32) {
    let len = network.program.float_len(x);
    let extents: Vec<usize> = tables.iter().map(Vec::len).collect();
    let dense = places::strides_of(tables).and_then(|strides| Dense::of(&extents, &strides, len));
    if let Some(dense) = dense {
        let mut value = network.floats(x, &dense.source);
        if !dense.is_in_order() {
            let permutation = dense.permutation.iter().map(|&p| p as i64).collect();
            value = network.message.node("Transpose", name, &[&value], vec![ints("perm", permutation)]);
        }
        if dense.shape != extents {
            let shaped = network.message.reshape(&value, &dense.shape);
            value = network.expanded(&shaped, &extents);
        } else if dense.source.len() != extents.len() {
            value = network.message.reshape(&value, &extents);
        }
        return network.define_floats(y, &extents, value);
    }
    let flat = network.floats(x, &[len]);
    let sources = places::sources(tables);
    let value = match axis_step(&sources, len) {
        AxisStep::Keep => flat,
        AxisStep::Slice { start, step, count } => {
            let end = start + (count - 1) * step + 1;
            let bounds = [start as i64, end as i64, 0, step as i64]
                .map(|value| network.message.i64s(&format!("{name}:bound"), &[value]));
            let [start, end, axes, step] = &bounds;
            network.message.node("Slice", name, &[&flat, start, end, axes, step], vec![])
        }
        AxisStep::Pad { before, behind } => {
            let fill = network.message.f32(&format!("{name}.fill"), fill);
            padded(&mut network.message, name, &flat, 0, [before, behind], &fill)
        }
        AxisStep::Gather(positions) => {
            let mut value = flat;
            if positions.contains(&len) {
                let fill = network.message.f32(&format!("{name}.fill"), fill);
                value = padded(&mut network.message, &format!("{name}:filled"), &value, 0, [0, 1], &fill);
            }
            let positions: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
            let positions = network.message.i64s(&format!("{name}:places"), &positions);
            network.message.node("Gather", name, &[&value, &positions], vec![])
        }
    };
    network.define_floats(y, &[sources.len()], value);
}
