//! What a test bench replays: contents of the buffers, instructions, expected results and cycles.
//!
//! The files and the script that orders them are in docs/accelerator.md. Convolutions, pools, sums and quantizations on the activation
//! buffer are replayed; what other instructions write enters as contents.

use super::Simulator;
use crate::RunError;
use crate::accel::cycle::{OVERHEAD, vector_elements};
use crate::accel::expand::expand;
use crate::accel::program::AccelProgram;
use crate::accel::step::{Operation, Sink, Step, Weights};
use crate::accel::table::Instruction;
use crate::accel::{AccelConfig, AccelError};
use std::fmt::Write;

/// Texts of hexadecimal words, one a line, and their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vectors {
    weights: String,
    constants: String,
    activations: String,
    inputs: String,
    instructions: String,
    expected: String,
    host: String,
    script: String,
    /// Instructions that are replayed.
    pub replayed: usize,
}

impl Vectors {
    /// File names and their texts.
    pub fn files(&self, config: &AccelConfig) -> Vec<(&'static str, String)> {
        let AccelConfig { rows, columns, lanes, weight_sram_bytes, activation_sram_bytes, .. } = *config;
        let AccelConfig { constant_slots, vector_lanes, requantizers, .. } = *config;
        let machine = format!(
            "{rows} {columns} {lanes} {weight_sram_bytes} {activation_sram_bytes} {constant_slots} {vector_lanes} \
             {requantizers}\n"
        );
        vec![
            ("machine.txt", machine),
            ("weights.hex", self.weights.clone()),
            ("constants.hex", self.constants.clone()),
            ("activations.hex", self.activations.clone()),
            ("inputs.hex", self.inputs.clone()),
            ("instructions.hex", self.instructions.clone()),
            ("expected.hex", self.expected.clone()),
            ("host.hex", self.host.clone()),
            ("script.hex", self.script.clone()),
        ]
    }

    /// A line of the script.
    fn act(&mut self, kind: u8, a: u64, b: usize) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.script, "{kind:02x}{a:08x}{b:08x}");
    }
}

/// What the hardware holds.
struct Mirror {
    weights: Vec<u8>,
    constants: Vec<[u32; 2]>,
    activations: Vec<u8>,
}

/// Runs of entries that differ, and which; the mirror takes them.
fn renew<T: Copy + PartialEq>(mirror: &mut [T], now: &[T]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, (old, new)) in mirror.iter_mut().zip(now).enumerate() {
        if *old != *new {
            *old = *new;
            match runs.last_mut() {
                Some(run) if run.end == i => run.end += 1,
                _ => runs.push(i..i + 1),
            }
        }
    }
    runs
}

fn bytes(text: &mut String, bytes: &[u8]) {
    bytes.iter().for_each(|byte| {
        let _ = writeln!(text, "{byte:02x}");
    });
}

fn floats(text: &mut String, values: &[f32]) {
    values.iter().for_each(|value| {
        let _ = writeln!(text, "{:08x}", value.to_bits());
    });
}

impl Simulator {
    /// Runs one sample of the program that it was made of, and records what it does for a test bench of one tile.
    ///
    /// # Errors
    /// When the program is another, or the input does not hold exactly one sample.
    pub fn vectors(
        &mut self,
        program: &AccelProgram,
        config: &AccelConfig,
        input: &[f32],
    ) -> Result<Vectors, RunError> {
        if input.len() != self.input_values {
            return Err(self.wrong_length(input.len()));
        }
        let body = program.instructions.split_last().map_or(&[][..], |(_, body)| body);
        let unrolled = expand(body)?;
        self.clear(input);
        let mut mirror = Mirror {
            weights: vec![0; self.weight_buffer.len()],
            constants: vec![[0; 2]; self.constants_buffer.len()],
            activations: vec![0; config.activation_sram_bytes as usize],
        };
        let mut vectors = Vectors::default();
        let mut pending: Vec<Instruction> = Vec::new();
        let steps = std::mem::take(&mut self.steps);
        let mut next = steps.iter();
        let mut result = Ok(());
        for (_, instruction) in unrolled {
            match instruction {
                Instruction::Begin { .. } | Instruction::Place { .. } => continue,
                Instruction::SetInput { .. }
                | Instruction::SetAddend { .. }
                | Instruction::SetOutput { .. }
                | Instruction::SetKernel { .. }
                | Instruction::SetStride { .. }
                | Instruction::SetPadding { .. }
                | Instruction::SetWeights { .. }
                | Instruction::SetClamp { .. }
                | Instruction::SetHost { .. } => {
                    pending.push(instruction);
                    continue;
                }
                _ => {}
            }
            let Some(step) = next.next() else {
                result = Err(AccelError::Header("the program is not the one that was checked".into()));
                break;
            };
            match self.cycles(step, config) {
                None => self.execute(&step.operation),
                Some(cycles) => {
                    pending.push(instruction);
                    self.replay(step, cycles, &mut pending, &mut mirror, &mut vectors);
                }
            }
        }
        self.steps = steps;
        result?;
        let last = self.memory[..mirror.activations.len()].to_vec();
        self.renew_activations(&mut mirror, &mut vectors);
        vectors.act(5, 0, last.len());
        bytes(&mut vectors.expected, &last);
        vectors.act(0, 0, 0);
        Ok(vectors)
    }

    /// Cycles of a step that is replayed.
    fn cycles(&self, step: &Step, config: &AccelConfig) -> Option<u64> {
        let buffer = config.activation_sram_bytes as usize;
        let vector = || {
            let elements = vector_elements(&step.operation, self.source.network());
            elements.div_ceil(config.vector_lanes.into()) + OVERHEAD
        };
        match &step.operation {
            Operation::Conv(conv) if matches!(conv.weights, Weights::Buffer { .. }) => {
                Some(conv.array_cycles(config)[1])
            }
            Operation::PoolMax { x, y, .. } | Operation::PoolAvg { x, y, .. } => {
                (x.address < buffer && y.view.address < buffer).then(vector)
            }
            Operation::Add { a: (a, _), b: (b, _), y } => {
                (a.address.max(b.address).max(y.view.address) < buffer).then(vector)
            }
            Operation::Quantize { y, .. } if y.address < buffer => Some(vector()),
            _ => None,
        }
    }

    fn renew_activations(&self, mirror: &mut Mirror, vectors: &mut Vectors) {
        let now = &self.memory[..mirror.activations.len()];
        for run in renew(&mut mirror.activations, now) {
            vectors.act(3, run.start as u64, run.len());
            bytes(&mut vectors.activations, &now[run]);
        }
    }

    fn replay(
        &mut self,
        step: &Step,
        cycles: u64,
        pending: &mut Vec<Instruction>,
        mirror: &mut Mirror,
        vectors: &mut Vectors,
    ) {
        for run in renew(&mut mirror.weights, &self.weight_buffer) {
            vectors.act(1, run.start as u64, run.len());
            bytes(&mut vectors.weights, &self.weight_buffer[run]);
        }
        for run in renew(&mut mirror.constants, &self.constants_buffer) {
            vectors.act(2, run.start as u64, run.len());
            for [bias, multiplier] in &self.constants_buffer[run] {
                let _ = writeln!(vectors.constants, "{multiplier:08x}{bias:08x}");
            }
        }
        self.renew_activations(mirror, vectors);
        if let Operation::Quantize { host, y, .. } = &step.operation {
            let first = host.first as usize;
            vectors.act(7, first as u64, y.len());
            floats(&mut vectors.inputs, &self.host[first..first + y.len()]);
        }
        vectors.act(4, cycles, pending.len());
        for instruction in pending.drain(..) {
            let _ = writeln!(vectors.instructions, "{:032x}", instruction.encode().unwrap_or_default());
        }
        vectors.replayed += 1;
        self.execute(&step.operation);
        let result = match &step.operation {
            Operation::Conv(conv) => match &conv.sink {
                Sink::Codes(y) => Some(y.view),
                Sink::Host { tensor, extent, .. } => {
                    let all = extent[0] as usize * extent[1] as usize * conv.layer_outputs as usize;
                    // Values that no step has written yet are zeros on both sides.
                    vectors.act(6, tensor.first.into(), all);
                    floats(&mut vectors.host, &self.host[tensor.first as usize..][..all]);
                    None
                }
            },
            Operation::PoolMax { y, .. } | Operation::PoolAvg { y, .. } | Operation::Add { y, .. } => Some(y.view),
            Operation::Quantize { y, .. } => Some(*y),
            _ => None,
        };
        if let Some(view) = result {
            vectors.act(5, view.address as u64, view.len());
            bytes(&mut vectors.expected, &self.memory[view.range()]);
            mirror.activations[view.range()].copy_from_slice(&self.memory[view.range()]);
        }
    }
}
