//! The plan section: ports, tensors, float slots and operators as records of little-endian words (docs/format.md).

use super::PARSE_MEMORY_FACTOR;
#[cfg(feature = "encode")]
use super::words::WordSink;
use super::words::Words;
use crate::FormatError;
use crate::ops::field::Field;
use crate::program::{FloatId, FloatSlot, Op, Port, Program, Tensor, TensorId};

/// Smallest size of each record, in bytes: with it, no stated count can make the reader allocate more than the file justifies.
const TENSOR_BYTES: usize = 28;
const FLOAT_SLOT_BYTES: usize = 4;
const PORT_BYTES: usize = 16;
const OP_BYTES: usize = 12;
const EXTENT_BYTES: usize = 4;
const CONCAT_INPUT_BYTES: usize = 12;
const TABLE_BYTES: usize = 4;

/// Whether a decoded list of `T` is within the bound on memory, with room for what a loader notes of each element.
const fn is_bounded<T>(record_bytes: usize) -> bool {
    size_of::<T>() + NOTED_BYTES <= PARSE_MEMORY_FACTOR * record_bytes
}

/// What [`crate::verify`] notes of a tensor, a float slot or an operator, at most.
const NOTED_BYTES: usize = 56;

const _: () = assert!(is_bounded::<Tensor>(TENSOR_BYTES) && is_bounded::<FloatSlot>(FLOAT_SLOT_BYTES));
const _: () = assert!(is_bounded::<(Port, FloatId)>(PORT_BYTES) && is_bounded::<Op>(OP_BYTES));
const _: () = assert!(is_bounded::<u32>(EXTENT_BYTES));
const _: () = assert!(is_bounded::<(TensorId, Option<f32>)>(CONCAT_INPUT_BYTES));
// Nothing is noted of a list inside of an operator.
const _: () = assert!(size_of::<Vec<u32>>() + size_of::<u32>() <= PARSE_MEMORY_FACTOR * TABLE_BYTES);

pub(super) fn decode(bytes: &[u8]) -> Result<Program, FormatError> {
    let mut words = Words::new("plan section", bytes);
    let inputs = words.list("inputs", PORT_BYTES, port)?;
    let tensors = words.list("tensors", TENSOR_BYTES, tensor)?;
    let floats = words.list("float slots", FLOAT_SLOT_BYTES, |words| Ok(FloatSlot { len: words.u32()? }))?;
    let ops = words.list("operators", OP_BYTES, Op::decode)?;
    let outputs = words.list("outputs", PORT_BYTES, port)?;
    let arena_bytes = words.u32()?;
    words.end()?;
    Ok(Program { inputs, outputs, tensors, floats, ops, arena_bytes })
}

fn port(words: &mut Words) -> Result<(Port, FloatId), FormatError> {
    let (name, element) = (words.string()?, Field::decode(words, "element type")?);
    let dims = words.list("extents", EXTENT_BYTES, Words::u32)?;
    Ok((Port { name, element, dims }, FloatId(words.u32()?)))
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

#[cfg(feature = "encode")]
pub(super) fn encode(program: &Program) -> Vec<u8> {
    let mut sink = WordSink::default();
    write_ports(&mut sink, &program.inputs);
    sink.u32(program.tensors.len() as u32);
    for t in &program.tensors {
        sink.string(&t.name);
        sink.array(&[t.height, t.width, t.channels, t.scale.to_bits(), t.zero_point.into(), t.arena_offset]);
    }
    sink.u32(program.floats.len() as u32);
    program.floats.iter().for_each(|slot| sink.u32(slot.len));
    sink.u32(program.ops.len() as u32);
    program.ops.iter().for_each(|op| op.encode(&mut sink));
    write_ports(&mut sink, &program.outputs);
    sink.u32(program.arena_bytes);
    sink.0
}

#[cfg(feature = "encode")]
fn write_ports(sink: &mut WordSink, ports: &[(Port, FloatId)]) {
    sink.u32(ports.len() as u32);
    for (port, slot) in ports {
        sink.string(&port.name);
        port.element.encode(sink);
        port.dims.encode(sink);
        sink.u32(slot.0);
    }
}
