//! The functional simulator: executes an encoded program with its own arithmetic, formula by formula of
//! docs/quantization.md. Convolutions are bit-serial ([`super::planes`]).

mod source;
mod vector;
mod vectors;

pub use vectors::Vectors;

use super::config::AccelConfig;
use super::error::AccelError;
use super::host::host_places;
use super::planes::{ChannelPlanes, MASK_ALIGN};
use super::program::AccelProgram;
use super::step::{Clamped, ConvStep, HostTensor, Operation, Sections, Sink, Step, View, Weights, steps};
use super::text::Assembly;
use super::verify::verify;
use crate::RunError;
use crate::float;
use crate::format::Artifact;
use crate::program::{FloatId, Program, Window};
use source::Source;

/// Bytes of gathered activations that a convolution holds at a time.
const PATCH_BYTES: usize = 1 << 18;

/// A machine with a checked program and its memories.
pub struct Simulator {
    source: Source,
    /// Bytes of the activation buffer.
    buffer: usize,
    steps: Vec<Step>,
    input_values: usize,
    /// Activation buffer, then the arena.
    memory: Vec<u8>,
    weight_buffer: Vec<u8>,
    /// Bias and multiplier of a channel.
    constants_buffer: Vec<[u32; 2]>,
    host: Vec<f32>,
    /// First host value of each float slot of the network.
    host_places: Vec<u32>,
    patches: Patches,
    planes: ChannelPlanes,
}

/// Activations under the windows of a block of positions, one row a position, zero-padded.
#[derive(Default)]
struct Patches {
    bytes: Vec<u8>,
    sums: Vec<u32>,
    stride: usize,
}

impl Simulator {
    /// Reads and checks the artifact's program for the default machine.
    ///
    /// # Errors
    /// When there is none, or it is refused.
    pub fn new(artifact: &Artifact) -> Result<Self, AccelError> {
        Self::with_program(artifact, &AccelProgram::decode(artifact.accelerator())?, &AccelConfig::default())
    }

    /// Checks any program against the artifact's sections and ports.
    ///
    /// # Errors
    /// When it is refused.
    pub fn with_program(artifact: &Artifact, program: &AccelProgram, config: &AccelConfig) -> Result<Self, AccelError> {
        let network = artifact.program();
        let sections =
            Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
        let steps = steps(program, sections, network, config)?;
        verify(&steps, program, network, config)?;
        let returned = steps.iter().filter_map(|step| match &step.operation {
            Operation::Return { values } => Some(values.len()),
            _ => None,
        });
        let outputs = network.outputs.iter().map(|(port, _)| port.len());
        if program.input_values as usize != network.input_len() || !returned.eq(outputs) {
            return Err(AccelError::Header("its input and outputs are not those of the network".into()));
        }
        Ok(Self::of_steps(Source::Artifact(artifact.clone()), steps, program, config))
    }

    /// Checks a program that belongs to no network, and takes the weights and constants of its text.
    ///
    /// # Errors
    /// When it is refused.
    pub fn bare(assembly: &Assembly, config: &AccelConfig) -> Result<Self, AccelError> {
        let Assembly { program, weights, constants } = assembly;
        let network = Program::default();
        let sections = Sections { weights: weights.len(), constants: constants.len() };
        let steps = steps(program, sections, &network, config)?;
        verify(&steps, program, &network, config)?;
        let source = Source::Bare { network, weights: weights.clone(), constants: constants.clone() };
        Ok(Self::of_steps(source, steps, program, config))
    }

    fn of_steps(source: Source, steps: Vec<Step>, program: &AccelProgram, config: &AccelConfig) -> Self {
        let buffer = config.activation_sram_bytes as usize;
        Simulator {
            host_places: host_places(source.network()).0,
            source,
            buffer,
            steps,
            input_values: program.input_values as usize,
            memory: vec![0; buffer + program.arena_bytes as usize],
            weight_buffer: vec![0; config.weight_sram_bytes as usize],
            constants_buffer: vec![[0; 2]; config.constant_slots as usize],
            host: vec![0.0; program.host_values as usize],
            patches: Patches::default(),
            planes: ChannelPlanes::default(),
        }
    }

    /// The activation buffer after a run.
    pub fn activation_buffer(&self) -> &[u8] {
        &self.memory[..self.buffer]
    }

    /// The arena after a run.
    pub fn arena(&self) -> &[u8] {
        &self.memory[self.buffer..]
    }

    /// The host memory after a run, the input at its start.
    pub fn host_memory(&self) -> &[f32] {
        &self.host
    }

    /// Runs one sample; yields one vector a `RETURN`: an output of the network.
    ///
    /// # Errors
    /// When the input does not hold exactly one sample.
    pub fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, RunError> {
        if input.len() != self.input_values {
            return Err(self.wrong_length(input.len()));
        }
        self.clear(input);
        let mut outputs = Vec::new();
        let steps = std::mem::take(&mut self.steps);
        for step in &steps {
            match &step.operation {
                Operation::Return { values } => outputs.push(self.host[values.clone()].to_vec()),
                operation => self.execute(operation),
            }
        }
        self.steps = steps;
        Ok(outputs)
    }

    fn wrong_length(&self, found: usize) -> RunError {
        match &self.source {
            Source::Artifact(artifact) => RunError::input_length(artifact.program(), found),
            Source::Bare { .. } => {
                RunError::InputLength { inputs: "of the program".into(), found, required: self.input_values }
            }
        }
    }

    fn clear(&mut self, input: &[f32]) {
        self.memory.fill(0);
        self.weight_buffer.fill(0);
        self.constants_buffer.fill([0; 2]);
        self.host.fill(0.0);
        self.host.iter_mut().zip(input).for_each(|(host, &value)| *host = float::canonical(value));
    }

    fn execute(&mut self, operation: &Operation) {
        match operation {
            Operation::Quantize { host, y, inv_scale } => {
                let values = &self.host[host.first as usize..][..y.len()];
                let y_codes = &mut self.memory[y.range()];
                let all = Clamped { view: *y, lo: 0, hi: 255 };
                for (value, i) in values.iter().zip(in_order(y, host)) {
                    y_codes[i] = to_code(value * inv_scale, &all);
                }
            }
            Operation::LoadWeights { source, buffer, constants: [biases, multipliers], slots } => {
                let weights = &self.source.weights()[source.clone()];
                self.weight_buffer[*buffer..*buffer + weights.len()].copy_from_slice(weights);
                let section = self.source.constants();
                for (i, slot) in self.constants_buffer[slots.clone()].iter_mut().enumerate() {
                    *slot = [u32_word(&section[*biases..], i), u32_word(&section[*multipliers..], i)];
                }
            }
            Operation::LoadActivations(transfer) => {
                for (i, run) in transfer.runs().enumerate() {
                    self.memory.copy_within(run, transfer.buffer + i * transfer.run);
                }
            }
            Operation::Store(transfer) => {
                for (i, run) in transfer.runs().enumerate() {
                    let first = transfer.buffer + i * transfer.run;
                    self.memory.copy_within(first..first + transfer.run, run.start);
                }
            }
            Operation::Conv(conv) => self.conv(conv),
            Operation::PoolMax { x, y, window } => {
                let (x_codes, y_codes) = pair(&mut self.memory, x, &y.view);
                // Code 0 never beats a cell; a dilated window without a cell gives 0.
                y_codes.fill(0);
                over_windows(x, &y.view, window, |position, cells| {
                    let result = &mut y_codes[position..][..x.channels as usize];
                    for cell in cells {
                        for (best, &code) in result.iter_mut().zip(&x_codes[cell..]) {
                            *best = (*best).max(code);
                        }
                    }
                });
                y_codes.iter_mut().for_each(|code| *code = (*code).max(y.lo).min(y.hi));
            }
            Operation::PoolAvg { x, y, window, multiplier, count_include_pad } => {
                let (x_codes, y_codes) = pair(&mut self.memory, x, &y.view);
                let mut sums = vec![0i32; x.channels as usize];
                let all = window.kernel[0] * window.kernel[1];
                over_windows(x, &y.view, window, |position, cells| {
                    sums.fill(0);
                    let mut inside = 0u32;
                    for cell in cells {
                        inside += 1;
                        for (sum, &code) in sums.iter_mut().zip(&x_codes[cell..]) {
                            *sum += i32::from(code) - i32::from(x.zero_point);
                        }
                    }
                    let count = if *count_include_pad { all } else { inside.max(1) };
                    let scale = multiplier / count as f32;
                    for (code, &sum) in y_codes[position..].iter_mut().zip(&sums) {
                        *code = to_code(sum as f32 * scale, y);
                    }
                });
            }
            Operation::Add { a: (a, multiplier_a), b: (b, multiplier_b), y } => {
                for i in 0..y.view.len() {
                    let left = real(self.memory[a.address + i], a) * multiplier_a;
                    let right = real(self.memory[b.address + i], b) * multiplier_b;
                    self.memory[y.view.address + i] = to_code(left + right, y);
                }
            }
            Operation::Channels { x, y, first_channel, multiplier } => {
                let (x_codes, y_codes) = pair(&mut self.memory, x, y);
                let rows = x_codes.chunks_exact(x.channels as usize).zip(y_codes.chunks_exact_mut(y.channels as usize));
                let all = Clamped { view: *y, lo: 0, hi: 255 };
                for (from, to) in rows {
                    let to = &mut to[*first_channel as usize..][..from.len()];
                    match multiplier {
                        None => to.copy_from_slice(from),
                        Some(m) => {
                            to.iter_mut().zip(from).for_each(|(to, &code)| *to = to_code(real(code, x) * m, &all))
                        }
                    }
                }
            }
            Operation::Affine { x, y, constants } => {
                let constants = &self.source.constants()[constants.clone()];
                let channels = x.channels as usize;
                let (x_codes, y_codes) = pair(&mut self.memory, x, &y.view);
                for (from, to) in x_codes.chunks_exact(channels).zip(y_codes.chunks_exact_mut(channels)) {
                    for (c, (code, &q)) in to.iter_mut().zip(from).enumerate() {
                        let (m, a) = (f32_word(constants, c), f32_word(constants, channels + c));
                        *code = to_code(real(q, x) * m + a, y);
                    }
                }
            }
            Operation::Reshape { x, y } => {
                let (x_codes, y_codes) = pair(&mut self.memory, x, y);
                channel_first(x).zip(channel_first(y)).for_each(|(from, to)| y_codes[to] = x_codes[from]);
            }
            Operation::Dequantize { x, host, scale } => {
                let x_codes = &self.memory[x.range()];
                let values = &mut self.host[host.first as usize..][..x.len()];
                values.iter_mut().zip(in_order(x, host)).for_each(|(value, i)| *value = real(x_codes[i], x) * scale);
            }
            Operation::Vector { operator, places } => {
                vector::execute(&self.source, usize::from(*operator), places, &mut self.memory);
            }
            Operation::Host(operator) => self.on_host(usize::from(*operator)),
            Operation::Return { .. } => {}
        }
    }

    /// An operator on floats, in the one form that all executors share.
    fn on_host(&mut self, operator: usize) {
        let network = self.source.network();
        let op = &network.ops[operator];
        let range = |id: FloatId| {
            let first = self.host_places[id.0 as usize] as usize;
            first..first + network.float_len(id)
        };
        let Some(y) = op.writes_floats() else { return };
        let constants = float::decoded(&self.source.constants()[float::constants(network, op)]);
        let mut result = vec![0.0; network.float_len(y)];
        float::execute(op, &|id| &self.host[range(id)], &constants, &mut result);
        self.host[range(y)].copy_from_slice(&result);
    }

    /// Block of positions by block of positions, output channel by output channel, plane by plane.
    fn conv(&mut self, conv: &ConvStep) {
        // Weights and constants from channel `first_packed` on.
        let (weights, first_packed) = match &conv.weights {
            Weights::Buffer { bytes, .. } => (&self.weight_buffer[bytes.clone()], conv.outputs.start as usize),
            Weights::Section { weights, .. } => (&self.source.weights()[weights.clone()], 0),
        };
        let constant = |o: usize| match &conv.weights {
            Weights::Buffer { slots, .. } => self.constants_buffer[slots.start + o - first_packed],
            Weights::Section { constants, .. } => {
                let constants = &self.source.constants()[constants.clone()];
                [u32_word(constants, o), u32_word(constants, conv.layer_outputs as usize + o)]
            }
        };
        let (depth, outputs) = (conv.depth(), conv.layer_outputs as usize);
        let positions = conv.extent[0] as usize * conv.extent[1] as usize;
        let group_outputs = conv.layer_outputs / conv.groups;
        let block = (PATCH_BYTES / depth.next_multiple_of(MASK_ALIGN)).clamp(1, positions);
        for group in conv.outputs.start / group_outputs..=(conv.outputs.end - 1) / group_outputs {
            let first = conv.outputs.start.max(group * group_outputs);
            let end = conv.outputs.end.min((group + 1) * group_outputs);
            for start in (0..positions).step_by(block) {
                let many = block.min(positions - start);
                self.patches.gather(conv, &self.memory[conv.x.range()], group, start, many);
                for o in first as usize..end as usize {
                    self.planes.load(weights, conv.bits, o - first_packed, depth);
                    let [bias, multiplier] = constant(o);
                    let (bias, multiplier) = (bias.cast_signed(), f32::from_bits(multiplier));
                    for (i, (patch, &sum)) in self.patches.rows().enumerate() {
                        let accumulator = self.planes.dot(patch, sum, conv.bits).wrapping_add(bias);
                        let value = accumulator as f32 * multiplier;
                        let position = start + i;
                        match &conv.sink {
                            Sink::Codes(y) => {
                                let channel = conv.channel as usize + o - conv.outputs.start as usize;
                                let place = position * y.view.channels as usize + channel;
                                self.memory[y.view.address + place] = to_code(value, y);
                            }
                            Sink::Host { tensor, extent, first_row } => {
                                let all = extent[0] as usize * extent[1] as usize;
                                let position = position + (*first_row * extent[1]) as usize;
                                let place =
                                    if tensor.channel_last { position * outputs + o } else { o * all + position };
                                self.host[tensor.first as usize + place] = value;
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Patches {
    /// Gathers `many` positions from `start` for the channels of one group; padding cells hold the zero point.
    fn gather(&mut self, conv: &ConvStep, x_codes: &[u8], group: u32, start: usize, many: usize) {
        let (x, window) = (&conv.x, &conv.window);
        let channels = conv.group_inputs() as usize;
        let depth = conv.depth();
        self.stride = depth.next_multiple_of(MASK_ALIGN);
        self.bytes.clear();
        self.bytes.resize(many * self.stride, 0);
        self.sums.clear();
        for (i, patch) in self.bytes.chunks_exact_mut(self.stride).enumerate() {
            let (row, column) = ((start + i) / conv.extent[1] as usize, (start + i) % conv.extent[1] as usize);
            let mut cells = patch[..depth].chunks_exact_mut(channels);
            for ky in 0..window.kernel[0] as usize {
                let r = reach(window, 0, row, ky, x.height);
                for (kx, cell) in cells.by_ref().take(window.kernel[1] as usize).enumerate() {
                    match r.zip(reach(window, 1, column, kx, x.width)) {
                        Some((r, s)) => {
                            let first = (r * x.width as usize + s) * x.channels as usize + group as usize * channels;
                            cell.copy_from_slice(&x_codes[first..][..channels]);
                        }
                        None => cell.fill(x.zero_point),
                    }
                }
            }
            self.sums.push(patch.iter().fold(0u32, |sum, &code| sum.wrapping_add(code.into())));
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&[u8], &u32)> {
        self.bytes.chunks_exact(self.stride).zip(&self.sums)
    }
}

/// Row or column of the image under tap `tap` at position `at`; none outside.
fn reach(window: &Window, axis: usize, at: usize, tap: usize, size: u32) -> Option<usize> {
    let place = at * window.stride[axis] as usize + tap * window.dilation[axis] as usize;
    place.checked_sub(window.padding[axis] as usize).filter(|&place| place < size as usize)
}

/// Taps of position `at` whose cell is inside the image.
fn taps_inside(window: &Window, axis: usize, at: usize, size: u32) -> impl Iterator<Item = usize> + Clone {
    let (start, step) = (at * window.stride[axis] as usize, window.dilation[axis] as usize);
    let before = window.padding[axis] as usize;
    let first = before.saturating_sub(start).div_ceil(step);
    let end = (before + size as usize).saturating_sub(start).div_ceil(step).min(window.kernel[axis] as usize);
    (first..end).map(move |tap| start + tap * step - before)
}

/// Calls `visit` with the first byte of each result position and the first bytes of the cells under its window.
fn over_windows(x: &View, y: &View, window: &Window, mut visit: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) {
    for (row, column) in (0..y.height as usize).flat_map(|row| (0..y.width as usize).map(move |column| (row, column))) {
        let columns = taps_inside(window, 1, column, x.width);
        let mut cells = taps_inside(window, 0, row, x.height)
            .flat_map(|r| columns.clone().map(move |s| (r * x.width as usize + s) * x.channels as usize));
        visit((row * y.width as usize + column) * y.channels as usize, &mut cells);
    }
}

/// Bytes of two tensors that do not overlap.
fn pair<'a>(memory: &'a mut [u8], x: &View, y: &View) -> (&'a [u8], &'a mut [u8]) {
    if x.address < y.address {
        let (low, high) = memory.split_at_mut(y.address);
        (&low[x.range()], &mut high[..y.len()])
    } else {
        let (low, high) = memory.split_at_mut(x.address);
        (&high[..x.len()], &mut low[y.range()])
    }
}

/// Bytes of a tensor in the order of its host values.
fn in_order(view: &View, host: &HostTensor) -> Box<dyn Iterator<Item = usize>> {
    if host.channel_last { Box::new(0..view.len()) } else { Box::new(channel_first(view)) }
}

/// Bytes of a tensor in (channel, row, column) order.
fn channel_first(view: &View) -> impl Iterator<Item = usize> + use<> {
    let (channels, len) = (view.channels as usize, view.len());
    (0..channels).flat_map(move |channel| (channel..len).step_by(channels))
}

fn u32_word(bytes: &[u8], at: usize) -> u32 {
    bytes[4 * at..4 * at + 4].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn f32_word(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_word(bytes, at))
}

/// `q - z`.
fn real(code: u8, view: &View) -> f32 {
    f32::from(code) - f32::from(view.zero_point)
}

/// Clamps, rounds to nearest even and adds the zero point; a NaN gives the lowest code.
fn to_code(v: f32, y: &Clamped) -> u8 {
    // Adding 1.5 * 2^23 leaves no fraction bits: the addition itself rounds to nearest even.
    const NO_FRACTION: f32 = 12_582_912.0;
    let (low, high) = (real(y.lo, &y.view), real(y.hi, &y.view));
    let clamped = if v > low { v } else { low };
    let clamped = if clamped < high { clamped } else { high };
    let rounded = (clamped + NO_FRACTION) - NO_FRACTION;
    (rounded + f32::from(y.view.zero_point)) as u8
}
