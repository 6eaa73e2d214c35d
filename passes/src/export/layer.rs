//! Convolutions and fully connected layers, with their codes.

use super::network::{Layout, Network, Written, extents};
use crate::onnx::attribute::{int, ints};
use crate::onnx::onnx_protobuf::AttributeProto;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use releqc_runtime::pack::unpack;
use releqc_runtime::program::{Conv, Destination, LayerKind, Order, Window};

/// Widths up to this one are stored as INT4 where that is asked for.
const INT4_BITS: u8 = 4;

/// The layer in the order of ONNX.
struct Layer {
    /// `[outputs, inputs of a group, kernel height, kernel width]`.
    dims: [usize; 4],
    codes: Vec<i8>,
    scales: Vec<f32>,
    /// As ONNX has it: what the zero point of the input adds is not in it.
    biases: Vec<i64>,
}

pub(super) fn write(network: &mut Network<'_>, conv: &Conv) -> Written {
    let layer = Layer::of(network, conv)?;
    let x = network.program.tensor(conv.x);
    let (x_scale, [h, w, c]) = (x.scale, extents(x));
    let whole =
        conv.kind == LayerKind::FullyConnected && [conv.window.kernel[0], conv.window.kernel[1]] == [x.height, x.width];
    let weight_dims: &[usize] = if whole { &[layer.dims[0], h * w * c] } else { &layer.dims };
    let weight = weights(network, conv, &layer, weight_dims);
    let input = match whole {
        true => network.real(conv.x, x_scale, Layout::Channels, &[1, h * w * c]),
        false => network.image(conv.x, x_scale),
    };
    let mut operands = vec![input, weight];
    operands.extend(bias(network, conv, &layer, x_scale));
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let result = if whole {
        network.message.node("Gemm", &conv.name, &operands, vec![int("transB", 1)])
    } else {
        let mut attributes = window_attributes(&conv.window, true);
        attributes.push(int("group", conv.groups.into()));
        network.message.node("Conv", &conv.name, &operands, attributes)
    };
    let [rows, columns] = network.program.conv_output(conv).map(|extent| extent as usize);
    let outputs = layer.dims[0];
    let shape = if whole { vec![1, outputs] } else { vec![1, outputs, rows, columns] };
    match conv.destination {
        Destination::Codes { y, lo, hi } => network.store(&result, y, [lo, hi], Layout::Channels, &shape),
        Destination::Logits { y, order } => {
            let keeps = order == Order::ChannelFirst || rows * columns == 1 || outputs == 1;
            if keeps {
                network.define_floats(y, &shape, result);
            } else {
                let permutation = vec![ints("perm", vec![0, 2, 3, 1])];
                let moved = network.message.node("Transpose", &format!("{result}:moved"), &[&result], permutation);
                network.define_floats(y, &[1, rows, columns, outputs], moved);
            }
        }
    }
    Ok(())
}

impl Layer {
    fn of(network: &Network<'_>, conv: &Conv) -> Result<Self, String> {
        let x = network.program.tensor(conv.x);
        let [kh, kw] = conv.window.kernel.map(|extent| extent as usize);
        let (outputs, depth) = (conv.outputs as usize, conv.depth(x));
        let inputs = depth / (kh * kw);
        let packed = unpack(network.artifact.weights(conv), outputs, depth, conv.bits);
        let mut codes = Vec::with_capacity(packed.len());
        for row in packed.chunks_exact(depth) {
            for channel in 0..inputs {
                codes.extend((0..kh * kw).map(|tap| row[tap * inputs + channel]));
            }
        }
        let target = match conv.destination {
            Destination::Codes { y, .. } => f64::from(network.program.tensor(y).scale),
            Destination::Logits { .. } => 1.0,
        };
        let scale = |m: f32| (f64::from(m) * target / f64::from(x.scale)) as f32;
        let scales: Vec<f32> = network.artifact.multipliers(conv).into_iter().map(scale).collect();
        if let Some(bad) = scales.iter().find(|scale| !scale.is_normal()) {
            return Err(format!("a weight scale of {bad:e}; a normal number is required"));
        }
        let sums = packed.chunks_exact(depth).map(|row| row.iter().map(|&w| i64::from(w)).sum::<i64>());
        let stored = network.artifact.biases(conv);
        let biases = stored.iter().zip(sums).map(|(&b, sum)| i64::from(b) + i64::from(x.zero_point) * sum).collect();
        Ok(Layer { dims: [outputs, inputs, kh, kw], codes, scales, biases })
    }
}

/// The real weights: codes and a scale an output.
fn weights(network: &mut Network<'_>, conv: &Conv, layer: &Layer, dims: &[usize]) -> String {
    let (name, bits) = (&conv.name, conv.bits.bits());
    let outputs = layer.scales.len();
    if !network.is_qdq() {
        let per_output = layer.codes.len() / outputs;
        let real = layer.codes.iter().enumerate().map(|(i, &code)| f32::from(code) * layer.scales[i / per_output]);
        let values: Vec<f32> = real.collect();
        let value = network.message.f32s(&format!("{name}.weight"), dims, &values);
        let scale_dims: Vec<usize> = dims.iter().enumerate().map(|(i, &d)| if i == 0 { d } else { 1 }).collect();
        return network.quant(&format!("{name}.weight:quant"), &value, &layer.scales, &scale_dims, 0, bits, true);
    }
    let is_int4 = network.options.int4 && bits <= INT4_BITS;
    // One an output, as engines ask for where scales are.
    let (kind, bytes) = if is_int4 { (DataType::Int4, outputs.div_ceil(2)) } else { (DataType::Int8, outputs) };
    let zero = network.message.own_tensor(&format!("{name}.weight:zero_point"), kind, &[outputs], vec![0; bytes]);
    let codes = if is_int4 {
        // Element 0 in the low bits.
        let nibble = |code: i8| code.cast_unsigned() & 0xf;
        let pair = |pair: &[i8]| nibble(pair[0]) | pair.get(1).map_or(0, |&high| nibble(high)) << 4;
        let raw = layer.codes.chunks(2).map(pair).collect();
        network.message.own_tensor(&format!("{name}.weight"), kind, dims, raw)
    } else {
        let raw = layer.codes.iter().map(|&code| code.cast_unsigned()).collect();
        network.message.own_tensor(&format!("{name}.weight"), kind, dims, raw)
    };
    let scale = network.message.f32s(&format!("{name}.weight:scale"), &[outputs], &layer.scales);
    network.message.node(
        "DequantizeLinear",
        &format!("{name}.weight:real"),
        &[&codes, &scale, &zero],
        vec![int("axis", 0)],
    )
}

/// The real biases; `None` where all are 0.
fn bias(network: &mut Network<'_>, conv: &Conv, layer: &Layer, x_scale: f32) -> Option<String> {
    if layer.biases.iter().all(|&b| b == 0) {
        return None;
    }
    let name = format!("{}.bias", conv.name);
    let outputs = layer.biases.len();
    let exact: Option<Vec<i32>> = layer.biases.iter().map(|&b| i32::try_from(b).ok()).collect();
    let scales: Vec<f32> = layer.scales.iter().map(|scale| x_scale * scale).collect();
    match exact {
        Some(codes) if network.is_qdq() && scales.iter().all(|scale| scale.is_normal()) => {
            let codes = network.message.i32s(&name, &[outputs], &codes);
            let scale = network.message.f32s(&format!("{name}:scale"), &[outputs], &scales);
            let attributes = vec![int("axis", 0)];
            Some(network.message.node("DequantizeLinear", &format!("{name}:real"), &[&codes, &scale], attributes))
        }
        _ => {
            let real = |(&b, &scale): (&i64, &f32)| (b as f64 * f64::from(x_scale) * f64::from(scale)) as f32;
            let values: Vec<f32> = layer.biases.iter().zip(&layer.scales).map(real).collect();
            Some(network.message.f32s(&name, &[outputs], &values))
        }
    }
}

pub(super) fn window_attributes(window: &Window, dilations: bool) -> Vec<AttributeProto> {
    let wide = |values: &[u32]| values.iter().map(|&v| i64::from(v)).collect::<Vec<_>>();
    let mut attributes = vec![
        ints("kernel_shape", wide(&window.kernel)),
        ints("strides", wide(&window.stride)),
        ints("pads", wide(&window.padding)),
    ];
    if dilations {
        attributes.push(ints("dilations", wide(&window.dilation)));
    }
    attributes
}
