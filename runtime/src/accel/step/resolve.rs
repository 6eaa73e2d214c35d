//! Runs the descriptor registers and checks every operation.

use super::{Clamped, HostTensor, MAX_WORK, Memories, Operation, Queue, Sections, Sink, Step, Tokens, Transfer, View};
use crate::BitWidth;
use crate::accel::config::AccelConfig;
use crate::accel::error::AccelError;
use crate::accel::expand::expand;
use crate::accel::host::host_places;
use crate::accel::program::{AccelProgram, instruction_error};
use crate::accel::table::{ADDRESS_UNIT, Instruction};
use crate::program::{Op, Program, TensorId, Window};
use crate::verify::{MAX_EXTENT, MULTIPLIER_RANGE, work};
use std::collections::BTreeMap;
use std::ops::Range;

// Checking a program allocates no more than `expand::MAX_STEPS` of these.
const _: () = assert!(size_of::<Step>() <= 288);

/// Checks a program of a verified network for a machine and resolves its operations.
///
/// # Errors
/// The first instruction that is refused, and why.
pub fn steps(
    program: &AccelProgram,
    sections: Sections,
    network: &Program,
    config: &AccelConfig,
) -> Result<Vec<Step>, AccelError> {
    program.check_config(config)?;
    program.check_memories(network)?;
    let Some((Instruction::End {}, body)) = program.instructions.split_last() else {
        return Err(AccelError::Header("the last instruction must be END".into()));
    };
    let mut machine = Registers::new(program, sections, network, config);
    let mut steps: Vec<Step> = Vec::with_capacity(body.len());
    let mut after = 0;
    for (at, instruction) in expand(body)? {
        if let Instruction::Begin { operator, sync } = instruction {
            machine.operator = Some(operator);
            if sync {
                after = steps.len();
            }
            continue;
        }
        let executed = machine.execute(&instruction).map_err(|what| instruction_error(at, &instruction, what))?;
        let Some(operation) = executed else { continue };
        let (queue, tokens) = queue(&instruction);
        let after = if matches!(operation, Operation::LoadWeights { .. }) { 0 } else { after };
        steps.push(Step { at, operator: machine.operator, queue, tokens, after, operation });
    }
    Ok(steps)
}

/// Which queue takes an instruction, and its tokens.
fn queue(instruction: &Instruction) -> (Queue, Tokens) {
    let none = Tokens::default();
    match *instruction {
        Instruction::LoadWeights { wait_execute, signal_execute, .. }
        | Instruction::LoadActivations { wait_execute, signal_execute, .. } => {
            (Queue::Load, Tokens { wait_execute, signal_execute, ..none })
        }
        Instruction::Store { wait_execute, signal_execute, .. } => {
            (Queue::Store, Tokens { wait_execute, signal_execute, ..none })
        }
        Instruction::Execute { wait_load, wait_store, signal_load, signal_store, .. }
        | Instruction::ExecuteHost { wait_load, wait_store, signal_load, signal_store, .. } => {
            (Queue::Execute, Tokens { wait_load, wait_store, signal_load, signal_store, ..none })
        }
        _ => (Queue::Execute, none),
    }
}

/// Descriptors in force.
pub(super) struct Registers<'a> {
    program: &'a AccelProgram,
    pub(super) sections: Sections,
    pub(super) network: &'a Program,
    pub(super) memories: Memories,
    /// First host value of each float slot of the network.
    pub(super) host_places: Vec<u32>,
    operator: Option<u16>,
    /// Products so far, and their bound.
    work: u64,
    most_work: u64,
    places: BTreeMap<TensorId, usize>,
    pub(super) input: Option<View>,
    addend: Option<View>,
    pub(super) output: Option<View>,
    kernel: Option<([u32; 2], [u32; 2])>,
    stride: Option<[u32; 2]>,
    padding: Option<[u32; 4]>,
    pub(super) layer: Option<Layer>,
    clamp: Option<(u8, u8)>,
    pub(super) host_sink: Option<(HostTensor, [u32; 3])>,
}

#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) weights: u64,
    pub(super) constants: u64,
    pub(super) bits: BitWidth,
    pub(super) outputs: u32,
    pub(super) groups: u32,
    pub(super) lanes_over: u8,
}

pub(super) type Check<T = ()> = Result<T, String>;

pub(super) fn require(condition: bool, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(what()) }
}

pub(super) fn set<T: Copy>(register: Option<T>, setter: &str) -> Check<T> {
    register.ok_or_else(|| format!("it executes before {setter}"))
}

fn multiplier(value: f32) -> Check {
    require(MULTIPLIER_RANGE.contains(&value), || format!("multiplier {value:e}; 2^-40..=2^20 is required"))
}

pub(super) fn extents(name: &str, values: &[u32], least: u32) -> Check {
    let fits = values.iter().all(|v| (least..=MAX_EXTENT).contains(v));
    require(fits, || format!("{name} {values:?}; each must be in {least}..={MAX_EXTENT}"))
}

fn same_extents(a: &View, b: &View) -> bool {
    [a.height, a.width, a.channels] == [b.height, b.width, b.channels]
}

pub(super) fn disjoint(x: &View, y: &View) -> Check {
    let (a, b) = (x.range(), y.range());
    require(a.end <= b.start || b.end <= a.start, || format!("the result {b:?} overlaps its operand {a:?}"))
}

/// Values of a tensor of the given rows, columns and channels.
fn values([height, width, channels]: [u32; 3]) -> Check<u64> {
    let values = (u64::from(height) * u64::from(width)).checked_mul(channels.into());
    values.ok_or_else(|| "the tensor is too large".into())
}

/// `start + len` as a range inside a memory of `size`.
pub(super) fn inside(name: &str, start: u64, len: u64, size: usize) -> Check<Range<usize>> {
    let end = start.checked_add(len).filter(|&end| end <= size as u64);
    let end = end.ok_or_else(|| format!("{len} at {start} leave the {name} of {size}"))?;
    Ok(start as usize..end as usize)
}

impl<'a> Registers<'a> {
    fn new(program: &'a AccelProgram, sections: Sections, network: &'a Program, config: &AccelConfig) -> Self {
        Registers {
            program,
            sections,
            network,
            memories: Memories::new(config, program.arena_bytes),
            host_places: host_places(network).0,
            operator: None,
            work: 0,
            most_work: if network.ops.is_empty() { MAX_WORK } else { work::steps(network).min(MAX_WORK) },
            places: BTreeMap::new(),
            input: None,
            addend: None,
            output: None,
            kernel: None,
            stride: None,
            padding: None,
            layer: None,
            clamp: None,
            host_sink: None,
        }
    }

    /// Sets a register, or yields the operation.
    fn execute(&mut self, instruction: &Instruction) -> Check<Option<Operation>> {
        let operation = match *instruction {
            Instruction::SetInput { address, height, width, channels, zero_point, dram } => {
                self.input = Some(self.view(address, [height, width, channels], zero_point, dram)?);
                return Ok(None);
            }
            Instruction::SetAddend { address, height, width, channels, zero_point, dram } => {
                self.addend = Some(self.view(address, [height, width, channels], zero_point, dram)?);
                return Ok(None);
            }
            Instruction::SetOutput { address, height, width, channels, zero_point, dram } => {
                self.output = Some(self.view(address, [height, width, channels], zero_point, dram)?);
                return Ok(None);
            }
            Instruction::SetHost { host, height, width, channels, channel_last } => {
                extents("extents", &[height, width, channels], 1)?;
                let tensor = self.host_tensor(host, channel_last, [height, width, channels])?;
                self.host_sink = Some((tensor, [height, width, channels]));
                return Ok(None);
            }
            Instruction::Place { tensor, address } => {
                let known = (tensor as usize) < self.network.tensors.len();
                require(known, || format!("tensor {tensor} of {}", self.network.tensors.len()))?;
                let id = TensorId(tensor);
                let bytes = self.network.tensor(id).len() as u64;
                inside("activation buffer", address.into(), bytes, self.memories.buffer)?;
                self.places.insert(id, address as usize);
                return Ok(None);
            }
            Instruction::SetKernel { height, width, dilation_height, dilation_width } => {
                extents("kernel and dilation", &[height, width, dilation_height, dilation_width], 1)?;
                self.kernel = Some(([height, width], [dilation_height, dilation_width]));
                return Ok(None);
            }
            Instruction::SetStride { height, width } => {
                extents("stride", &[height, width], 1)?;
                self.stride = Some([height, width]);
                return Ok(None);
            }
            Instruction::SetPadding { top, left, bottom, right } => {
                extents("padding", &[top, left, bottom, right], 0)?;
                self.padding = Some([top, left, bottom, right]);
                return Ok(None);
            }
            Instruction::SetWeights { weights, constants, bits, outputs, groups, lanes_over } => {
                let bits = BitWidth::new(bits).ok_or_else(|| format!("{bits} bits; 2..=8 is required"))?;
                extents("outputs and groups", &[outputs, groups], 1)?;
                let (weights, constants) = (weights * ADDRESS_UNIT, constants * ADDRESS_UNIT);
                self.layer = Some(Layer { weights, constants, bits, outputs, groups, lanes_over });
                return Ok(None);
            }
            Instruction::SetClamp { lo, hi } => {
                require(lo <= hi, || format!("clamp {lo}..={hi} is empty"))?;
                self.clamp = Some((lo, hi));
                return Ok(None);
            }
            Instruction::Quantize { host, inv_scale, channel_last } => {
                let y = set(self.output, "SET_OUTPUT")?;
                multiplier(inv_scale)?;
                let host = self.host_tensor(host, channel_last, [y.height, y.width, y.channels])?;
                Operation::Quantize { host, y, inv_scale }
            }
            Instruction::LoadWeights { buffer, slot, first_output, outputs, .. } => {
                self.load_weights(buffer, slot, first_output, outputs)?
            }
            Instruction::LoadActivations { dram, buffer, run, runs, pitch, .. } => {
                Operation::LoadActivations(self.transfer(dram, buffer, [run, runs, pitch])?)
            }
            Instruction::Store { dram, buffer, run, runs, pitch, .. } => {
                Operation::Store(self.transfer(dram, buffer, [run, runs, pitch])?)
            }
            Instruction::Execute { weights, slot, first_output, outputs, channel, .. } => {
                let sink = Sink::Codes(self.clamped()?);
                Operation::Conv(self.conv_of_tile(
                    sink,
                    [weights, slot.into()],
                    first_output..first_output.saturating_add(outputs),
                    channel,
                )?)
            }
            Instruction::ExecuteHost { weights, slot, first_output, outputs, first_row, .. } => {
                let (tensor, [height, width, _]) = set(self.host_sink, "SET_HOST")?;
                let sink = Sink::Host { tensor, extent: [height, width], first_row };
                let outputs = first_output..first_output.saturating_add(outputs);
                Operation::Conv(self.conv_of_tile(sink, [weights, slot.into()], outputs, first_output)?)
            }
            Instruction::PoolMax {} => {
                let (x, y) = (self.operands()?.0, self.clamped()?);
                require(x.zero_point == y.view.zero_point, || "input and result must share the zero point".into())?;
                Operation::PoolMax { x, y, window: self.pool(&x, &y.view)? }
            }
            Instruction::PoolAvg { multiplier: m, count_include_pad } => {
                let (x, y) = (self.operands()?.0, self.clamped()?);
                let window = self.pool(&x, &y.view)?;
                let cells = u64::from(window.kernel[0]) * u64::from(window.kernel[1]);
                require(window.dilation == [1, 1], || "dilation must be 1".into())?;
                require(cells <= 1 << 22, || format!("a window of {cells} cells; at most 2^22 are allowed"))?;
                multiplier(m)?;
                multiplier(m / cells as f32)?;
                Operation::PoolAvg { x, y, window, multiplier: m, count_include_pad }
            }
            Instruction::Add { multiplier_a, multiplier_b } => {
                let (a, b, y) = (self.operands()?.0, set(self.addend, "SET_ADDEND")?, self.clamped()?);
                disjoint(&b, &y.view)?;
                require(same_extents(&a, &y.view) && same_extents(&b, &y.view), || {
                    "input, addend and result must have equal extents".into()
                })?;
                multiplier(multiplier_a)?;
                multiplier(multiplier_b)?;
                Operation::Add { a: (a, multiplier_a), b: (b, multiplier_b), y }
            }
            Instruction::CopyChannels { first_channel } => self.channels(first_channel, None)?,
            Instruction::ScaleChannels { first_channel, multiplier: m } => {
                multiplier(m)?;
                self.channels(first_channel, Some(m))?
            }
            Instruction::Affine { constants } => {
                let (x, y) = (self.operands()?.0, self.clamped()?);
                require(same_extents(&x, &y.view), || "input and result must have equal extents".into())?;
                let constants = self.constants(constants * ADDRESS_UNIT, x.channels)?;
                Operation::Affine { x, y, constants }
            }
            Instruction::Reshape {} => {
                let (x, y) = self.operands()?;
                require(x.len() == y.len(), || format!("{} codes become {}", x.len(), y.len()))?;
                require(x.zero_point == y.zero_point, || "input and result must share the zero point".into())?;
                Operation::Reshape { x, y }
            }
            Instruction::Dequantize { host, scale, channel_last } => {
                let x = set(self.input, "SET_INPUT")?;
                require(scale.is_normal() && scale > 0.0, || {
                    format!("scale {scale}; a positive normal number is required")
                })?;
                let host = self.host_tensor(host, channel_last, [x.height, x.width, x.channels])?;
                Operation::Dequantize { x, host, scale }
            }
            Instruction::Vector { operator } => {
                self.operator = Some(operator);
                self.vector(operator)?
            }
            Instruction::Host { operator } => {
                self.operator = Some(operator);
                self.named(operator, Op::is_float)?;
                Operation::Host(operator)
            }
            Instruction::Return { host, count } => {
                extents("count", &[count], 1)?;
                Operation::Return { values: self.host(host, count.into())? }
            }
            Instruction::Begin { .. } | Instruction::Loop { .. } => return Ok(None),
            Instruction::End {} => return Err("it must be the last instruction".into()),
        };
        Ok(Some(operation))
    }

    /// A tensor in the activation buffer, or in the arena.
    fn view(&self, address: u32, [height, width, channels]: [u32; 3], zero_point: u8, dram: bool) -> Check<View> {
        extents("extents", &[height, width, channels], 1)?;
        let bytes = values([height, width, channels])?;
        let Memories { buffer, arena, .. } = self.memories;
        let (name, size, first) = if dram { ("arena", arena, buffer) } else { ("activation buffer", buffer, 0) };
        let range = inside(name, address.into(), bytes, size)?;
        Ok(View { address: first + range.start, height, width, channels, zero_point })
    }

    fn transfer(&self, dram: u32, buffer: u32, [run, runs, pitch]: [u32; 3]) -> Check<Transfer> {
        require(run > 0 && runs > 0 && pitch >= run, || {
            format!("{runs} runs of {run} bytes, {pitch} apart; runs must not be empty or overlap")
        })?;
        let (run, runs, pitch) = (run as usize, runs as usize, pitch as usize);
        let transfer = Transfer { dram: dram as usize, buffer: buffer as usize, run, runs, pitch };
        let hull = transfer.hull();
        inside("arena", dram.into(), hull.len() as u64, self.memories.arena)?;
        inside("activation buffer", buffer.into(), transfer.len() as u64, self.memories.buffer)?;
        Ok(Transfer { dram: self.memories.buffer + transfer.dram, ..transfer })
    }

    /// First byte of a tensor of the plan.
    fn place(&self, id: TensorId) -> Check<usize> {
        if let Some(&place) = self.places.get(&id) {
            return Ok(place);
        }
        let t = self.network.tensor(id);
        let range = inside("arena", t.arena_offset.into(), t.len() as u64, self.memories.arena)?;
        Ok(self.memories.buffer + range.start)
    }

    fn vector(&mut self, operator: u16) -> Check<Operation> {
        let executes = |op: &Op| {
            matches!(
                op,
                Op::Arithmetic { .. }
                    | Op::Concat { .. }
                    | Op::Constant { .. }
                    | Op::Table { .. }
                    | Op::Move { .. }
                    | Op::Conv(_)
            )
        };
        self.named(operator, executes)?;
        let network = self.network;
        let op = &network.ops[usize::from(operator)];
        let mut places = Vec::new();
        for id in op.reads().into_iter().chain(op.writes()) {
            places.push((id, self.place(id)?));
        }
        let range = |&(id, place): &(TensorId, usize)| place..place + network.tensor(id).len();
        if let (Some(_), Some((result, operands))) = (op.writes(), places.split_last()) {
            let result = range(result);
            for operand in operands.iter().map(range) {
                let apart = operand.end <= result.start || result.end <= operand.start;
                require(apart, || format!("the result {result:?} overlaps its operand {operand:?}"))?;
            }
        }
        match op {
            Op::Conv(conv) => Ok(Operation::Conv(self.conv_of_plan(conv, &places)?)),
            _ => Ok(Operation::Vector { operator, places }),
        }
    }

    fn host(&self, start: u32, count: u64) -> Check<Range<usize>> {
        inside("host memory", start.into(), count, self.program.host_values as usize)
    }

    /// The values of a tensor of the given rows, columns and channels. There is one encoding of each order.
    pub(super) fn host_tensor(&self, first: u32, channel_last: bool, extents: [u32; 3]) -> Check<HostTensor> {
        self.host(first, values(extents)?)?;
        let [height, width, channels] = extents;
        let differs = channels > 1 && u64::from(height) * u64::from(width) > 1;
        require(!channel_last || differs, || format!("{extents:?} values have one order, channel first"))?;
        Ok(HostTensor { first, channel_last })
    }

    /// Checks that an operator of the network is one that an instruction may name, and that its operands lie in the memories.
    fn named(&self, operator: u16, is_allowed: impl Fn(&Op) -> bool) -> Check {
        let op = self.network.ops.get(usize::from(operator)).filter(|op| is_allowed(op));
        let op = op.ok_or_else(|| format!("operator {operator} of the network is none that it executes"))?;
        for id in op.reads_floats().into_iter().chain(op.writes_floats()) {
            self.host(self.host_places[id.0 as usize], self.network.float_len(id) as u64)?;
        }
        Ok(())
    }

    /// Two words a channel.
    pub(super) fn constants(&self, start: u64, channels: u32) -> Check<Range<usize>> {
        inside("constants section", start, u64::from(channels) * 8, self.sections.constants)
    }

    fn operands(&self) -> Check<(View, View)> {
        let (x, y) = (set(self.input, "SET_INPUT")?, set(self.output, "SET_OUTPUT")?);
        disjoint(&x, &y)?;
        Ok((x, y))
    }

    fn clamped(&self) -> Check<Clamped> {
        let (lo, hi) = set(self.clamp, "SET_CLAMP")?;
        Ok(Clamped { view: set(self.output, "SET_OUTPUT")?, lo, hi })
    }

    /// The window, and the rows and columns it yields on `x`.
    pub(super) fn window(&self, x: &View) -> Check<(Window, [u32; 2])> {
        let (kernel, dilation) = set(self.kernel, "SET_KERNEL")?;
        let stride = set(self.stride, "SET_STRIDE")?;
        let padding = set(self.padding, "SET_PADDING")?;
        let extent = |size: u32, axis: usize| {
            let span = (u64::from(kernel[axis]) - 1) * u64::from(dilation[axis]) + 1;
            let room = u64::from(size) + u64::from(padding[axis]) + u64::from(padding[axis + 2]);
            let positions = room.checked_sub(span)? / u64::from(stride[axis]) + 1;
            u32::try_from(positions).ok()
        };
        let rows_columns = extent(x.height, 0).zip(extent(x.width, 1));
        let (rows, columns) = rows_columns.ok_or("the window does not fit its input")?;
        Ok((Window { kernel, stride, dilation, padding }, [rows, columns]))
    }

    fn pool(&mut self, x: &View, y: &View) -> Check<Window> {
        let (window, [rows, columns]) = self.window(x)?;
        require([y.height, y.width, y.channels] == [rows, columns, x.channels], || {
            format!("result {}x{}x{}; {rows}x{columns}x{} is required", y.height, y.width, y.channels, x.channels)
        })?;
        let span = |axis: usize| (u64::from(window.kernel[axis]) - 1) * u64::from(window.dilation[axis]) + 1;
        let inner = (0..4).all(|side| u64::from(window.padding[side]) < span(side % 2));
        require(inner, || format!("padding {:?} must be smaller than the window", window.padding))?;
        self.work(&[window.kernel[0], window.kernel[1], rows, columns, x.channels])?;
        Ok(window)
    }

    fn channels(&self, first_channel: u32, multiplier: Option<f32>) -> Check<Operation> {
        let (x, y) = self.operands()?;
        let fits = first_channel.checked_add(x.channels).is_some_and(|end| end <= y.channels);
        require(fits && [x.height, x.width] == [y.height, y.width], || {
            format!("{} channels at {first_channel} of {}, or rows and columns that differ", x.channels, y.channels)
        })?;
        let moves = multiplier.is_none();
        require(!moves || x.zero_point == y.zero_point, || "codes move only to the same zero point".into())?;
        Ok(Operation::Channels { x, y, first_channel, multiplier })
    }

    /// Bounds the products of the program; the counts are those of loops.
    pub(super) fn work(&mut self, counts: &[u32]) -> Check {
        let product = counts.iter().try_fold(1u64, |product, &n| product.checked_mul(n.into()));
        let most = self.most_work;
        self.work = product.and_then(|n| self.work.checked_add(n)).filter(|&n| n <= most).ok_or_else(|| {
            format!("loops of {counts:?} after {} products; at most {most} are allowed in all", self.work)
        })?;
        Ok(())
    }
}
