//! Operators on codes.

use super::layer::window_attributes;
use super::message::Message;
use super::network::{Layout, Network, Source, Written, extents, widened};
use super::places::{self, AxisStep, Dense, axis_step};
use crate::onnx::attribute::{int, ints};
use releqc_runtime::program::{ArithmeticKind, Op, Order, TensorId};

/// Two scales whose quotient lies so near to a multiplier are those it was made of.
const SAME_SCALE: f64 = 1e-6;

/// Axes of `[1, c, h, w]`.
const IMAGE_RANK: usize = 4;

pub(super) fn write(network: &mut Network<'_>, op: &Op, name: &str) -> Written {
    match *op {
        Op::Quantize { x, y, order, .. } => {
            let shape = network.extents_of(x);
            let value = network.floats(x, &shape);
            network.store(&value, y, [0, 255], layout_of(order), &shape);
        }
        Op::Dequantize { x, y, order } => {
            let tensor = network.program.tensor(x);
            let (scale, [h, w, c]) = (tensor.scale, extents(tensor));
            let (layout, shape) = match order {
                Order::ChannelFirst => (Layout::Channels, [1, c, h, w]),
                Order::Same => (Layout::Rows, [1, h, w, c]),
            };
            let value = network.real(x, scale, layout, &shape);
            network.define_floats(y, &shape, value);
        }
        Op::MaxPool { x, y, ref window, lo, hi } => {
            let input = network.image(x, network.program.tensor(x).scale);
            let result = network.message.node("MaxPool", name, &[&input], window_attributes(window, true));
            store_image(network, &result, y, [lo, hi]);
        }
        Op::AveragePool { x, y, ref window, count_include_pad, multiplier, lo, hi } => {
            let input = network.image(x, scale_of(network, x, multiplier, network.program.tensor(y).scale));
            let mut attributes = window_attributes(window, false);
            attributes.push(int("count_include_pad", count_include_pad.into()));
            let result = network.message.node("AveragePool", name, &[&input], attributes);
            store_image(network, &result, y, [lo, hi]);
        }
        Op::Arithmetic { .. } => arithmetic(network, op, name),
        Op::Concat { ref xs, y, outer, lo, hi } => concat(network, name, xs, y, outer as usize, [lo, hi]),
        Op::Affine { x, y, constants_offset, lo, hi } => {
            let channels = network.program.tensor(x).channels;
            let (scale, target) = (network.program.tensor(x).scale, network.program.tensor(y).scale);
            let (mul, add) = network.artifact.affine(constants_offset, channels);
            let real = |m: f32| (f64::from(m) * f64::from(target) / f64::from(scale)) as f32;
            let mul: Vec<f32> = mul.into_iter().map(real).collect();
            let add: Vec<f32> = add.into_iter().map(|a| a * target).collect();
            let dims = [1, channels as usize, 1, 1];
            let mut value = network.image(x, scale);
            if mul.iter().any(|&m| m != 1.0) {
                let factor = network.message.f32s(&format!("{name}.mul"), &dims, &mul);
                value = network.message.node("Mul", &format!("{name}:scaled"), &[&value, &factor], vec![]);
            }
            if add.iter().any(|&a| a != 0.0) {
                let addend = network.message.f32s(&format!("{name}.add"), &dims, &add);
                value = network.message.node("Add", name, &[&value, &addend], vec![]);
            }
            store_image(network, &value, y, [lo, hi]);
        }
        Op::Constant { y, constants_offset } => {
            let [h, w, c] = extents(network.program.tensor(y));
            let codes = constant(network, constants_offset, h * w * c);
            let value = network.stored_codes(name, y, &[1, h, w, c], &codes);
            network.define(y, Layout::Rows, &[1, h, w, c], value);
        }
        Op::Table { x, y, constants_offset, per_channel } => {
            table(network, name, [x, y], constants_offset, per_channel)
        }
        Op::Move { x, y, ref tables, fill } => moved(network, name, [x, y], tables, fill),
        _ => return Err(format!("{}: no form", op.label())),
    }
    Ok(())
}

fn constant(network: &Network<'_>, offset: u64, len: usize) -> Vec<u8> {
    network.artifact.constants_section()[offset as usize..offset as usize + len].to_vec()
}

/// The scale with which an operand is dequantized, so that its quotient by that of the result is
/// the multiplier: its own where that is so.
fn scale_of(network: &Network<'_>, x: TensorId, multiplier: f32, target: f32) -> f32 {
    let (own, wanted) = (f64::from(network.program.tensor(x).scale), f64::from(multiplier) * f64::from(target));
    if (wanted / own - 1.0).abs() < SAME_SCALE { own as f32 } else { wanted as f32 }
}

fn store_image(network: &mut Network<'_>, value: &str, y: TensorId, clamp: [u8; 2]) {
    let [h, w, c] = extents(network.program.tensor(y));
    network.store(value, y, clamp, Layout::Channels, &[1, c, h, w]);
}

fn arithmetic(network: &mut Network<'_>, op: &Op, name: &str) {
    let Op::Arithmetic { kind, a, b, y, ref extents, ref strides_a, ref strides_b, multiplier_a, multiplier_b, lo, hi } =
        *op
    else {
        return;
    };
    let target = network.program.tensor(y).scale;
    let scales = if kind == ArithmeticKind::Mul {
        // One multiplier for both: the first operand takes what the second one's scale leaves.
        let own = network.program.tensor(b).scale;
        [scale_of(network, a, multiplier_a / own, target), own]
    } else {
        [scale_of(network, a, multiplier_a, target), scale_of(network, b, multiplier_b, target)]
    };
    let operands = [(a, scales[0], strides_a), (b, scales[1], strides_b)];
    let images = operands.map(|(x, _, strides)| image_extents(network, x, y, extents, strides));
    let (layout, shape, values) = if images.iter().all(Option::is_some) {
        let [h, w, c] = self::extents(network.program.tensor(y));
        let values = operands.map(|(x, scale, _)| network.image(x, scale));
        (Layout::Channels, vec![1, c, h, w], values)
    } else {
        let values = operands.map(|(x, scale, strides)| network.strided(Source::Codes(x, scale), extents, strides));
        (Layout::Rows, widened(extents), values)
    };
    let kind = match kind {
        ArithmeticKind::Add => "Add",
        ArithmeticKind::Sub => "Sub",
        ArithmeticKind::Mul => "Mul",
        ArithmeticKind::Min => "Min",
        ArithmeticKind::Max => "Max",
    };
    let [left, right] = &values;
    let mut result = network.message.node(kind, name, &[left, right], vec![]);
    // Where both operands are repeated along an axis.
    result = match (layout, images) {
        (Layout::Channels, [Some(a), Some(b)]) => {
            let to = self::extents(network.program.tensor(y));
            let lacks = (0..3).any(|axis| a[axis].max(b[axis]) != to[axis]);
            if lacks { network.expanded(&result, &shape) } else { result }
        }
        _ => network.whole(result, extents, &[strides_a, strides_b]),
    };
    network.store(&result, y, [lo, hi], layout, &shape);
}

fn layout_of(order: Order) -> Layout {
    match order {
        Order::ChannelFirst => Layout::Channels,
        Order::Same => Layout::Rows,
    }
}

/// The extents of an operand that is broadcast to the image of a result axis by axis.
fn image_extents(
    network: &Network<'_>,
    x: TensorId,
    y: TensorId,
    op_extents: &[u32],
    strides: &[u32],
) -> Option<[usize; 3]> {
    let (from, to) = (extents(network.program.tensor(x)), extents(network.program.tensor(y)));
    if (0..3).any(|axis| from[axis] != 1 && from[axis] != to[axis]) {
        return None;
    }
    let own = [from[1] * from[2], from[2], 1];
    let own: Vec<usize> = (0..3).map(|axis| if from[axis] == 1 { 0 } else { own[axis] }).collect();
    let same = places::walked(&widened(op_extents), &widened(strides)) == places::walked(&to, &own);
    same.then_some(from)
}

fn concat(
    network: &mut Network<'_>,
    name: &str,
    xs: &[(TensorId, Option<f32>)],
    y: TensorId,
    outer: usize,
    clamp: [u8; 2],
) {
    let target = network.program.tensor(y);
    let (scale, [h, w, c]) = (target.scale, extents(target));
    let images: Vec<[usize; 3]> = xs.iter().map(|(x, _)| extents(network.program.tensor(*x))).collect();
    let channels = outer == h * w && images.iter().all(|image| image[0] == h && image[1] == w);
    let rows = outer == 1 && images.iter().all(|image| image[1] == w && image[2] == c);
    let columns = outer == h && images.iter().all(|image| image[0] == h && image[2] == c);
    let axis = [(channels, 1), (rows, 2), (columns, 3)].into_iter().find(|(holds, _)| *holds).map(|(_, axis)| axis);
    let moves = xs.iter().all(|(_, multiplier)| multiplier.is_none()) && clamp == [0, 255];
    let mut values = Vec::new();
    for (&(x, multiplier), image) in xs.iter().zip(&images) {
        let [xh, xw, xc] = *image;
        let (layout, shape) = match axis {
            Some(_) => (Layout::Channels, vec![1, xc, xh, xw]),
            None => (Layout::Rows, vec![outer, xh * xw * xc / outer]),
        };
        values.push(if moves {
            network.carrier(x, layout, &shape)
        } else {
            let own = multiplier.map_or(network.program.tensor(x).scale, |m| scale_of(network, x, m, scale));
            network.real(x, own, layout, &shape)
        });
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let result = network.message.node("Concat", name, &values, vec![int("axis", axis.unwrap_or(1))]);
    let (layout, shape) = match axis {
        Some(_) => (Layout::Channels, vec![1, c, h, w]),
        None => (Layout::Rows, vec![outer, h * w * c / outer]),
    };
    if moves {
        network.define(y, layout, &shape, result);
    } else {
        network.store(&result, y, clamp, layout, &shape);
    }
}

fn table(network: &mut Network<'_>, name: &str, [x, y]: [TensorId; 2], offset: u64, per_channel: bool) {
    let [h, w, c] = extents(network.program.tensor(x));
    let tables = if per_channel { c } else { 1 };
    let codes = constant(network, offset, 256 * tables);
    let table = network.stored_codes(&format!("{name}.table"), y, &[codes.len()], &codes);
    let shape = [1, c, h, w];
    let mut indices = network.indices(x, Layout::Channels, &shape);
    if per_channel {
        let first: Vec<i32> = (0..c).map(|channel| channel as i32 * 256).collect();
        let first = network.message.i32s(&format!("{name}.first"), &[1, c, 1, 1], &first);
        indices = network.message.node("Add", &format!("{name}:indices"), &[&indices, &first], vec![]);
    }
    let value = network.message.node("Gather", name, &[&table, &indices], vec![]);
    // A table moves codes one by one, so extents may differ only in how they are counted.
    let from = network.program.tensor(x);
    if extents(from) == extents(network.program.tensor(y)) {
        network.define(y, Layout::Channels, &shape, value);
    } else {
        let rows = vec![ints("perm", vec![0, 2, 3, 1])];
        let value = network.message.node("Transpose", &format!("{name}:moved"), &[&value], rows);
        network.define(y, Layout::Rows, &[1, h, w, c], value);
    }
}

fn moved(network: &mut Network<'_>, name: &str, [x, y]: [TensorId; 2], tables: &[Vec<u32>], fill: u8) {
    let (from, to) = (extents(network.program.tensor(x)), extents(network.program.tensor(y)));
    let len: usize = from.iter().product();
    // What only counts otherwise, in one of the two orders on each side.
    let sources = places::sources(tables);
    for (layout_x, layout_y) in [
        (Layout::Channels, Layout::Channels),
        (Layout::Rows, Layout::Rows),
        (Layout::Channels, Layout::Rows),
        (Layout::Rows, Layout::Channels),
    ] {
        let (read, written) = (order(layout_x, from), order(layout_y, to));
        if read.len() == written.len() && read.iter().zip(&written).all(|(&r, &w)| sources[w] == Some(r)) {
            let [h, w, c] = to;
            let shape = if layout_y == Layout::Channels { [1, c, h, w] } else { [1, h, w, c] };
            let value = network.carrier(x, layout_x, &shape);
            return network.define(y, layout_y, &shape, value);
        }
    }
    if let Some(axes) = places::by_axis(tables, from, to) {
        let [h, w, c] = from;
        let mut value = network.carrier(x, Layout::Channels, &[1, c, h, w]);
        for (axis, positions, extent) in [(1, &axes[2], c), (2, &axes[0], h), (3, &axes[1], w)] {
            value = along(network, name, &value, axis, axis_step(positions, extent), y, fill, extent);
        }
        let [h, w, c] = to;
        return network.define(y, Layout::Channels, &[1, c, h, w], value);
    }
    let extents: Vec<usize> = tables.iter().map(Vec::len).collect();
    let dense = places::strides_of(tables).and_then(|strides| Dense::of(&extents, &strides, len));
    if let Some(dense) = dense.filter(|dense| dense.shape == extents) {
        let value = network.carrier(x, Layout::Rows, &dense.source);
        let permutation = dense.permutation.iter().map(|&p| p as i64).collect();
        let value = network.message.node("Transpose", name, &[&value], vec![ints("perm", permutation)]);
        return network.define(y, Layout::Rows, &extents, value);
    }
    let flat = network.carrier(x, Layout::Rows, &[len]);
    let step = axis_step(&sources, len);
    let value = along(network, name, &flat, 0, step, y, fill, len);
    network.define(y, Layout::Rows, &[sources.len()], value);
}

/// Positions of (row, column, channel) order, in a layout.
fn order(layout: Layout, [h, w, c]: [usize; 3]) -> Vec<usize> {
    match layout {
        Layout::Rows => (0..h * w * c).collect(),
        Layout::Channels => (0..c).flat_map(|channel| (0..h * w).map(move |cell| cell * c + channel)).collect(),
    }
}

/// One axis to other positions.
#[allow(clippy::too_many_arguments, reason = "a step has an axis, its extent and what fills")]
fn along(
    network: &mut Network<'_>,
    name: &str,
    x: &str,
    axis: i64,
    step: AxisStep,
    of: TensorId,
    fill: u8,
    extent: usize,
) -> String {
    let wanted = format!("{name}:axis{axis}");
    match step {
        AxisStep::Keep => x.to_owned(),
        AxisStep::Slice { start, step, count } => {
            let end = start + (count - 1) * step + 1;
            let bounds = [start as i64, end as i64, axis, step as i64]
                .map(|value| network.message.i64s(&format!("{wanted}:bound"), &[value]));
            let [start, end, axes, step] = &bounds;
            network.message.node("Slice", &wanted, &[x, start, end, axes, step], vec![])
        }
        AxisStep::Pad { before, behind } => {
            let fill = network.stored_codes(&format!("{name}.fill"), of, &[], &[fill]);
            padded(&mut network.message, &wanted, x, axis, [before, behind], &fill)
        }
        AxisStep::Gather(positions) => {
            let mut value = x.to_owned();
            if positions.contains(&extent) {
                let fill = network.stored_codes(&format!("{name}.fill"), of, &[], &[fill]);
                value = padded(&mut network.message, &format!("{wanted}:filled"), x, axis, [0, 1], &fill);
            }
            let positions: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
            let positions = network.message.i64s(&format!("{wanted}:places"), &positions);
            network.message.node("Gather", &wanted, &[&value, &positions], vec![int("axis", axis)])
        }
    }
}

/// Values of `fill` before and behind an axis: the only one, or one of an image.
pub(super) fn padded(
    message: &mut Message,
    wanted: &str,
    x: &str,
    axis: i64,
    [before, behind]: [usize; 2],
    fill: &str,
) -> String {
    // For every axis: what moves transpositions in onnxruntime takes `axes` for none.
    let rank = if axis == 0 { 1 } else { IMAGE_RANK };
    let mut pads = vec![0; 2 * rank];
    pads[axis as usize] = before as i64;
    pads[rank + axis as usize] = behind as i64;
    let pads = message.i64s(&format!("{wanted}:pads"), &pads);
    message.node("Pad", wanted, &[x, &pads, fill], vec![])
}
