//! Which bytes a step reads and writes.

use super::step::{Clamped, ConvStep, HostTensor, Operation, Sink, Transfer, View, Weights};
use crate::program::{FloatId, Program};
use std::ops::Range;

/// A memory of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Activation buffer, then the arena; bytes.
    Activations,
    /// Weight buffer; bytes.
    Weights,
    /// Constants buffer; entries.
    Constants,
    /// Host values.
    Host,
}

impl Memory {
    pub(super) const COUNT: usize = 4;
}

/// Runs of entries of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) memory: Memory,
    pub(super) is_write: bool,
    pub(super) first: usize,
    pub(super) run: usize,
    pub(super) runs: usize,
    pub(super) pitch: usize,
}

impl Access {
    fn dense(memory: Memory, is_write: bool, range: Range<usize>) -> Self {
        Access { memory, is_write, first: range.start, run: range.len(), runs: 1, pitch: range.len() }
    }

    fn read(view: &View) -> Self {
        Self::dense(Memory::Activations, false, view.range())
    }

    fn write(view: &View) -> Self {
        Self::dense(Memory::Activations, true, view.range())
    }

    /// From the first entry to the last.
    pub(super) fn hull(&self) -> Range<usize> {
        self.first..self.first + self.pitch * (self.runs - 1) + self.run
    }

    /// Each run; one where they touch.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Access { first, run, pitch, runs, .. } = *self;
        let (run, runs) = if run == pitch { (run * runs, 1) } else { (run, runs) };
        (0..runs).map(move |i| first + i * pitch..first + i * pitch + run)
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.run * self.runs
    }
}

fn transfer(transfer: &Transfer, load: bool) -> [Access; 2] {
    let Transfer { dram, buffer, run, runs, pitch } = *transfer;
    let outside = Access { memory: Memory::Activations, is_write: !load, first: dram, run, runs, pitch };
    let inside = Access::dense(Memory::Activations, load, buffer..buffer + transfer.len());
    if load { [outside, inside] } else { [inside, outside] }
}

fn host(tensor: &HostTensor, len: usize, is_write: bool) -> Access {
    let first = tensor.first as usize;
    Access::dense(Memory::Host, is_write, first..first + len)
}

fn conv(conv: &ConvStep) -> Vec<Access> {
    let mut accesses = vec![Access::read(&conv.x)];
    if let Weights::Buffer { bytes, slots } = &conv.weights {
        accesses.push(Access::dense(Memory::Weights, false, bytes.clone()));
        accesses.push(Access::dense(Memory::Constants, false, slots.clone()));
    }
    let count = (conv.outputs.end - conv.outputs.start) as usize;
    let positions = conv.extent[0] as usize * conv.extent[1] as usize;
    accesses.push(match &conv.sink {
        Sink::Codes(Clamped { view, .. }) => Access {
            memory: Memory::Activations,
            is_write: true,
            first: view.address + conv.channel as usize,
            run: count,
            runs: positions,
            pitch: view.channels as usize,
        },
        Sink::Host { tensor, extent, first_row } => {
            let all = extent[0] as usize * extent[1] as usize;
            let (before, output) = (*first_row as usize * extent[1] as usize, conv.outputs.start as usize);
            let outputs = conv.layer_outputs as usize;
            let (first, run, runs, pitch) = if tensor.channel_last {
                (before * outputs + output, count, positions, outputs)
            } else {
                (output * all + before, positions, count, all)
            };
            Access { memory: Memory::Host, is_write: true, first: tensor.first as usize + first, run, runs, pitch }
        }
    });
    accesses
}

/// Reads first, then writes.
pub(super) fn accesses(operation: &Operation, network: &Program, host_places: &[u32]) -> Vec<Access> {
    let slot = |id: FloatId, is_write| {
        let first = host_places[id.0 as usize] as usize;
        Access::dense(Memory::Host, is_write, first..first + network.float_len(id))
    };
    match operation {
        Operation::LoadWeights { source, buffer, slots, .. } => vec![
            Access::dense(Memory::Weights, true, *buffer..*buffer + source.len()),
            Access::dense(Memory::Constants, true, slots.clone()),
        ],
        Operation::LoadActivations(moved) => transfer(moved, true).to_vec(),
        Operation::Store(moved) => transfer(moved, false).to_vec(),
        Operation::Quantize { host: values, y, .. } => vec![host(values, y.len(), false), Access::write(y)],
        Operation::Conv(step) => conv(step),
        Operation::PoolMax { x, y, .. } | Operation::PoolAvg { x, y, .. } | Operation::Affine { x, y, .. } => {
            vec![Access::read(x), Access::write(&y.view)]
        }
        Operation::Add { a: (a, _), b: (b, _), y } => vec![Access::read(a), Access::read(b), Access::write(&y.view)],
        Operation::Channels { x, y, first_channel, .. } => {
            let written = Access {
                memory: Memory::Activations,
                is_write: true,
                first: y.address + *first_channel as usize,
                run: x.channels as usize,
                runs: x.height as usize * x.width as usize,
                pitch: y.channels as usize,
            };
            vec![Access::read(x), written]
        }
        Operation::Reshape { x, y } => vec![Access::read(x), Access::write(y)],
        Operation::Dequantize { x, host: values, .. } => vec![Access::read(x), host(values, x.len(), true)],
        Operation::Vector { operator, places } => {
            let written = network.ops[usize::from(*operator)].writes();
            let access = |&(id, place)| {
                let range = place..place + network.tensor(id).len();
                Access::dense(Memory::Activations, Some(id) == written, range)
            };
            places.iter().map(access).collect()
        }
        Operation::Host(operator) => {
            let op = &network.ops[usize::from(*operator)];
            let reads = op.reads_floats().into_iter().map(|id| slot(id, false));
            reads.chain(op.writes_floats().map(|id| slot(id, true))).collect()
        }
        Operation::Return { values } => vec![Access::dense(Memory::Host, false, values.clone())],
    }
}
