//! The plan section: tensors, float slots, ports and operators as records of little-endian words (docs/format.md).

use super::PARSE_MEMORY_FACTOR;
#[cfg(feature = "encode")]
use super::words::WordSink;
use super::words::Words;
use crate::error::quoted;
use crate::program::{Conv, Destination, FloatId, FloatSlot, LayerKind, Op, Port, Program, Tensor, TensorId, Window};
use crate::{BitWidth, FormatError};

/// First word of an operator record.
mod tag {
    pub(super) const QUANTIZE: u32 = 1;
    pub(super) const CONV: u32 = 2;
    pub(super) const FULLY_CONNECTED: u32 = 3;
    pub(super) const MAX_POOL: u32 = 4;
    pub(super) const AVERAGE_POOL: u32 = 5;
    pub(super) const ADD: u32 = 6;
    pub(super) const CONCAT: u32 = 7;
    pub(super) const AFFINE: u32 = 8;
    pub(super) const RESHAPE: u32 = 9;
    pub(super) const DEQUANTIZE: u32 = 10;
    pub(super) const SOFTMAX: u32 = 11;
}

/// Smallest size of each record, in bytes: with it, no stated count can make the reader allocate more than the file justifies.
const TENSOR_BYTES: usize = 28;
const FLOAT_SLOT_BYTES: usize = 4;
const OUTPUT_BYTES: usize = 12;
const OP_BYTES: usize = 12;
const EXTENT_BYTES: usize = 4;
const CONCAT_INPUT_BYTES: usize = 12;

/// Whether a decoded list of `T` is within the bound on memory, with room for what a loader notes of each element.
const fn is_bounded<T>(record_bytes: usize) -> bool {
    size_of::<T>() + NOTED_BYTES <= PARSE_MEMORY_FACTOR * record_bytes
}

/// What [`crate::verify`] notes of a tensor, a float slot or an operator, at most.
const NOTED_BYTES: usize = 56;

const _: () = assert!(is_bounded::<Tensor>(TENSOR_BYTES) && is_bounded::<FloatSlot>(FLOAT_SLOT_BYTES));
const _: () = assert!(is_bounded::<(Port, FloatId)>(OUTPUT_BYTES) && is_bounded::<Op>(OP_BYTES));
const _: () = assert!(is_bounded::<u32>(EXTENT_BYTES));
const _: () = assert!(is_bounded::<(TensorId, Option<f32>)>(CONCAT_INPUT_BYTES));

pub(super) fn decode(bytes: &[u8]) -> Result<Program, FormatError> {
    let mut words = Words::new("plan section", bytes);
    let input = port(&mut words)?;
    let tensors = words.list("tensors", TENSOR_BYTES, tensor)?;
    let floats = words.list("float slots", FLOAT_SLOT_BYTES, |words| Ok(FloatSlot { len: words.u32()? }))?;
    let ops = words.list("operators", OP_BYTES, op)?;
    let outputs = words.list("outputs", OUTPUT_BYTES, |words| Ok((port(words)?, FloatId(words.u32()?))))?;
    let arena_bytes = words.u32()?;
    words.end()?;
    Ok(Program { input, outputs, tensors, floats, ops, arena_bytes })
}

fn port(words: &mut Words) -> Result<Port, FormatError> {
    Ok(Port { name: words.string()?, dims: words.list("extents", EXTENT_BYTES, Words::u32)? })
}

fn tensor(words: &mut Words) -> Result<Tensor, FormatError> {
    Ok(Tensor {
        name: words.string()?,
        height: words.u32()?,
        width: words.u32()?,
        channels: words.u32()?,
        scale: words.f32()?,
        zero_point: words.u8("zero point")?,
        arena_offset: words.u32()?,
    })
}

fn window(words: &mut Words) -> Result<Window, FormatError> {
    Ok(Window { kernel: words.array()?, stride: words.array()?, dilation: words.array()?, padding: words.array()? })
}

fn op(words: &mut Words) -> Result<Op, FormatError> {
    Ok(match words.u32()? {
        tag::QUANTIZE => Op::Quantize { y: TensorId(words.u32()?), inv_scale: words.f32()? },
        tag::CONV => Op::Conv(conv(words, LayerKind::Conv)?),
        tag::FULLY_CONNECTED => Op::Conv(conv(words, LayerKind::FullyConnected)?),
        tag::MAX_POOL => Op::MaxPool { x: TensorId(words.u32()?), y: TensorId(words.u32()?), window: window(words)? },
        tag::AVERAGE_POOL => Op::AveragePool {
            x: TensorId(words.u32()?),
            y: TensorId(words.u32()?),
            window: window(words)?,
            count_include_pad: words.flag("count_include_pad")?,
            multiplier: words.f32()?,
            lo: words.u8("lo")?,
            hi: words.u8("hi")?,
        },
        tag::ADD => Op::Add {
            a: TensorId(words.u32()?),
            b: TensorId(words.u32()?),
            y: TensorId(words.u32()?),
            multiplier_a: words.f32()?,
            multiplier_b: words.f32()?,
            lo: words.u8("lo")?,
            hi: words.u8("hi")?,
        },
        tag::CONCAT => {
            let y = TensorId(words.u32()?);
            let xs = words.list("inputs", CONCAT_INPUT_BYTES, |words| {
                let (x, rescaled, multiplier) = (TensorId(words.u32()?), words.flag("rescaled")?, words.f32()?);
                Ok((x, rescaled.then_some(multiplier)))
            })?;
            Op::Concat { xs, y }
        }
        tag::AFFINE => Op::Affine {
            x: TensorId(words.u32()?),
            y: TensorId(words.u32()?),
            constants_offset: words.u64()?,
            lo: words.u8("lo")?,
            hi: words.u8("hi")?,
        },
        tag::RESHAPE => Op::Reshape { x: TensorId(words.u32()?), y: TensorId(words.u32()?) },
        tag::DEQUANTIZE => Op::Dequantize { x: TensorId(words.u32()?), y: FloatId(words.u32()?) },
        tag::SOFTMAX => Op::Softmax { x: FloatId(words.u32()?), y: FloatId(words.u32()?), log: words.flag("log")? },
        other => return Err(words.error(format!("operator tag {other}; this runtime knows 1..=11"))),
    })
}

fn conv(words: &mut Words, kind: LayerKind) -> Result<Conv, FormatError> {
    let name = words.string()?;
    let x = TensorId(words.u32()?);
    let (logits, y) = (words.flag("logits")?, words.u32()?);
    let (lo, hi) = (words.u8("lo")?, words.u8("hi")?);
    let destination =
        if logits { Destination::Logits { y: FloatId(y) } } else { Destination::Codes { y: TensorId(y), lo, hi } };
    let window = window(words)?;
    let (groups, outputs, bits) = (words.u32()?, words.u32()?, words.u8("width")?);
    let bits = BitWidth::new(bits)
        .ok_or_else(|| words.error(format!("{}: weight width {bits}; 2..=8 is required", quoted(&name))))?;
    let (weights_offset, constants_offset) = (words.u64()?, words.u64()?);
    Ok(Conv { name, kind, x, destination, window, groups, outputs, bits, weights_offset, constants_offset })
}

#[cfg(feature = "encode")]
pub(super) fn encode(program: &Program) -> Vec<u8> {
    let mut sink = WordSink::default();
    write_port(&mut sink, &program.input);
    sink.u32(program.tensors.len() as u32);
    for t in &program.tensors {
        sink.string(&t.name);
        sink.array(&[t.height, t.width, t.channels, t.scale.to_bits(), t.zero_point.into(), t.arena_offset]);
    }
    sink.u32(program.floats.len() as u32);
    for slot in &program.floats {
        sink.u32(slot.len);
    }
    sink.u32(program.ops.len() as u32);
    for op in &program.ops {
        write_op(&mut sink, op);
    }
    sink.u32(program.outputs.len() as u32);
    for (port, slot) in &program.outputs {
        write_port(&mut sink, port);
        sink.u32(slot.0);
    }
    sink.u32(program.arena_bytes);
    sink.0
}

#[cfg(feature = "encode")]
fn write_port(sink: &mut WordSink, port: &Port) {
    sink.string(&port.name);
    sink.u32(port.dims.len() as u32);
    sink.array(&port.dims);
}

#[cfg(feature = "encode")]
fn write_window(sink: &mut WordSink, window: &Window) {
    sink.array(&window.kernel);
    sink.array(&window.stride);
    sink.array(&window.dilation);
    sink.array(&window.padding);
}

#[cfg(feature = "encode")]
fn write_op(sink: &mut WordSink, op: &Op) {
    match op {
        Op::Quantize { y, inv_scale } => sink.array(&[tag::QUANTIZE, y.0, inv_scale.to_bits()]),
        Op::Conv(conv) => write_conv(sink, conv),
        Op::MaxPool { x, y, window } => {
            sink.array(&[tag::MAX_POOL, x.0, y.0]);
            write_window(sink, window);
        }
        Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
            sink.array(&[tag::AVERAGE_POOL, x.0, y.0]);
            write_window(sink, window);
            sink.array(&[(*count_include_pad).into(), multiplier.to_bits(), (*lo).into(), (*hi).into()]);
        }
        Op::Add { a, b, y, multiplier_a, multiplier_b, lo, hi } => {
            let (ma, mb) = (multiplier_a.to_bits(), multiplier_b.to_bits());
            sink.array(&[tag::ADD, a.0, b.0, y.0, ma, mb, (*lo).into(), (*hi).into()]);
        }
        Op::Concat { xs, y } => {
            sink.array(&[tag::CONCAT, y.0, xs.len() as u32]);
            for (x, multiplier) in xs {
                sink.array(&[x.0, multiplier.is_some().into(), multiplier.unwrap_or(0.0).to_bits()]);
            }
        }
        Op::Affine { x, y, constants_offset, lo, hi } => {
            sink.array(&[tag::AFFINE, x.0, y.0]);
            sink.u64(*constants_offset);
            sink.array(&[(*lo).into(), (*hi).into()]);
        }
        Op::Reshape { x, y } => sink.array(&[tag::RESHAPE, x.0, y.0]),
        Op::Dequantize { x, y } => sink.array(&[tag::DEQUANTIZE, x.0, y.0]),
        Op::Softmax { x, y, log } => sink.array(&[tag::SOFTMAX, x.0, y.0, (*log).into()]),
    }
}

#[cfg(feature = "encode")]
fn write_conv(sink: &mut WordSink, conv: &Conv) {
    sink.u32(match conv.kind {
        LayerKind::Conv => tag::CONV,
        LayerKind::FullyConnected => tag::FULLY_CONNECTED,
    });
    sink.string(&conv.name);
    sink.u32(conv.x.0);
    match conv.destination {
        Destination::Codes { y, lo, hi } => sink.array(&[0, y.0, lo.into(), hi.into()]),
        Destination::Logits { y } => sink.array(&[1, y.0, 0, 0]),
    }
    write_window(sink, &conv.window);
    sink.array(&[conv.groups, conv.outputs, conv.bits.bits().into()]);
    sink.u64(conv.weights_offset);
    sink.u64(conv.constants_offset);
}
