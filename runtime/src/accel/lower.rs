//! Lowers a network to an accelerator program.
//!
//! Takes the network whose tensors have their places in the arena and whose layers have theirs in the sections. Does not
//! look at weights: the program addresses the packed codes of the artifact, whose bit planes the machine reads.
//!
//! Tensors that fit stay in the activation buffer ([`home`]); a layer is cut into tiles ([`tile`]) whose order tokens keep
//! ([`tokens`]); repetitions become loops ([`compress`]). A layer whose smallest tile does not fit the buffers is
//! computed by the vector unit from DRAM. A descriptor that already holds is not set again.

mod compress;
mod conv;
mod home;
mod tile;
mod tokens;

use super::config::AccelConfig;
use super::error::AccelError;
use super::host::host_places;
use super::program::{AccelProgram, MAX_HOST_VALUES};
use super::table::{ADDRESS_UNIT, Instruction};
use crate::program::{ArithmeticKind, FloatId, Op, Order, Program, Tensor, TensorId, Window};
use home::Homes;
use tokens::Stream;

/// The bytes of the accelerator section for a machine.
///
/// # Errors
/// When an operator does not fit the instruction set.
pub fn lower(network: &Program, config: &AccelConfig) -> Result<Vec<u8>, AccelError> {
    program(network, config)?.encode()
}

/// [`lower`], before it is encoded.
///
/// # Errors
/// When an operator does not fit the instruction set.
pub fn program(network: &Program, config: &AccelConfig) -> Result<AccelProgram, AccelError> {
    config.check()?;
    let (host, host_values) = host_places(network);
    if host_values > MAX_HOST_VALUES.into() {
        let what = format!("{host_values} host values; at most {MAX_HOST_VALUES} are allowed");
        return Err(AccelError::Header(what));
    }
    let homes = Homes::new(network, config.activation_sram_bytes);
    let mut writer =
        Writer { network, config, host, homes, stream: Stream::default(), upper_half: false, placed: Vec::new() };
    for (at, op) in network.ops.iter().enumerate() {
        let error = |what| AccelError::Lower { operator: at, label: op.label().to_owned(), what };
        let operator = u16::try_from(at).map_err(|_| error("at most 65536 operators are allowed".into()))?;
        writer.op(operator, op).map_err(error)?;
    }
    for (port, slot) in &network.outputs {
        let (host, count) = (writer.slot(*slot), port.len() as u32);
        writer.emit(Instruction::Return { host, count });
    }
    writer.emit(Instruction::End {});
    Ok(AccelProgram {
        config_hash: config.hash(),
        arena_bytes: network.arena_bytes,
        input_values: network.input_len() as u32,
        host_values: host_values as u32,
        instructions: compress::compress(&writer.stream.instructions),
    })
}

struct Writer<'a> {
    network: &'a Program,
    config: &'a AccelConfig,
    /// First host value of each float slot.
    host: Vec<u32>,
    homes: Homes,
    stream: Stream,
    /// Which half of the weight buffer the next load fills.
    upper_half: bool,
    /// Tensors that `PLACE` has named.
    placed: Vec<TensorId>,
}

impl Writer<'_> {
    fn slot(&self, id: FloatId) -> u32 {
        self.host[id.0 as usize]
    }

    fn emit(&mut self, instruction: Instruction) {
        self.stream.push(instruction);
    }

    /// Sets a descriptor unless it already holds.
    fn set(&mut self, instruction: Instruction) {
        let same_register =
            |other: &&Instruction| std::mem::discriminant(*other) == std::mem::discriminant(&instruction);
        if self.stream.instructions.iter().rev().find(same_register) != Some(&instruction) {
            self.emit(instruction);
        }
    }

    /// Address of a tensor, and whether it lies in the arena.
    fn place(&self, id: TensorId) -> (u32, bool) {
        self.homes.resident(id).map_or((self.network.tensor(id).arena_offset, true), |address| (address, false))
    }

    fn input(&mut self, id: TensorId) {
        let t = self.network.tensor(id);
        let (address, dram) = self.place(id);
        let (height, width, channels, zero_point) = (t.height, t.width, t.channels, t.zero_point);
        self.set(Instruction::SetInput { address, height, width, channels, zero_point, dram });
    }

    fn output(&mut self, id: TensorId) {
        let t = self.network.tensor(id);
        let (address, dram) = self.place(id);
        let (height, width, channels, zero_point) = (t.height, t.width, t.channels, t.zero_point);
        self.set(Instruction::SetOutput { address, height, width, channels, zero_point, dram });
    }

    fn window(&mut self, window: &Window) {
        let ([height, width], [dilation_height, dilation_width]) = (window.kernel, window.dilation);
        self.set(Instruction::SetKernel { height, width, dilation_height, dilation_width });
        let [height, width] = window.stride;
        self.set(Instruction::SetStride { height, width });
        let [top, left, bottom, right] = window.padding;
        self.set(Instruction::SetPadding { top, left, bottom, right });
    }

    /// Begins an operator. One that touches the arena waits until all before has ended.
    fn begin(&mut self, operator: u16, op: &Op) {
        let in_arena = |id: TensorId| self.homes.resident(id).is_none();
        let sync = op.reads().into_iter().chain(op.writes()).any(in_arena);
        self.emit(Instruction::Begin { operator, sync });
    }

    /// An operator for the vector unit, its operands placed.
    fn vector(&mut self, operator: u16, op: &Op) {
        for id in op.reads().into_iter().chain(op.writes()) {
            if let (Some(address), false) = (self.homes.resident(id), self.placed.contains(&id)) {
                self.placed.push(id);
                self.emit(Instruction::Place { tensor: id.0, address });
            }
        }
        self.emit(Instruction::Vector { operator });
    }

    fn op(&mut self, operator: u16, op: &Op) -> Result<(), String> {
        self.begin(operator, op);
        match op {
            Op::Quantize { x, y, inv_scale, order } => {
                self.output(*y);
                let (host, inv_scale) = (self.slot(*x), *inv_scale);
                let channel_last = is_channel_last(*order, self.extents(*y));
                self.emit(Instruction::Quantize { host, inv_scale, channel_last });
            }
            Op::Conv(conv) => self.conv(operator, op, conv)?,
            Op::MaxPool { x, y, window, lo, hi } => {
                self.input(*x);
                self.output(*y);
                self.window(window);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                self.emit(Instruction::PoolMax {});
            }
            Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
                self.input(*x);
                self.output(*y);
                self.window(window);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                let (multiplier, count_include_pad) = (*multiplier, *count_include_pad);
                self.emit(Instruction::PoolAvg { multiplier, count_include_pad });
            }
            Op::Arithmetic { kind: ArithmeticKind::Add, a, b, y, multiplier_a, multiplier_b, lo, hi, .. }
                if self.is_elementwise(op) =>
            {
                self.input(*a);
                let t = self.network.tensor(*b);
                let (address, dram) = self.place(*b);
                let (height, width, channels, zero_point) = (t.height, t.width, t.channels, t.zero_point);
                self.set(Instruction::SetAddend { address, height, width, channels, zero_point, dram });
                self.output(*y);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                let (multiplier_a, multiplier_b) = (*multiplier_a, *multiplier_b);
                self.emit(Instruction::Add { multiplier_a, multiplier_b });
            }
            Op::Concat { xs, y, outer, lo: 0, hi: 255 } if self.joins_channels(xs, *y, *outer) => {
                self.output(*y);
                let mut first_channel = 0;
                for (x, multiplier) in xs {
                    self.input(*x);
                    self.emit(match *multiplier {
                        None => Instruction::CopyChannels { first_channel },
                        Some(multiplier) => Instruction::ScaleChannels { first_channel, multiplier },
                    });
                    first_channel += self.network.tensor(*x).channels;
                }
            }
            Op::Affine { x, y, constants_offset, lo, hi } => {
                self.input(*x);
                self.output(*y);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                self.emit(Instruction::Affine { constants: units(*constants_offset)? });
            }
            Op::Move { x, y, tables, .. } if self.is_reshape(*x, *y, tables) => {
                self.input(*x);
                self.output(*y);
                self.emit(Instruction::Reshape {});
            }
            Op::Dequantize { x, y, order } => {
                self.input(*x);
                let (host, scale) = (self.slot(*y), self.network.tensor(*x).scale);
                let channel_last = is_channel_last(*order, self.extents(*x));
                self.emit(Instruction::Dequantize { host, scale, channel_last });
            }
            op if op.is_float() => self.emit(Instruction::Host { operator }),
            _ => self.vector(operator, op),
        }
        Ok(())
    }

    fn extents(&self, id: TensorId) -> [u32; 3] {
        let t = self.network.tensor(id);
        [t.height, t.width, t.channels]
    }

    fn is_elementwise(&self, op: &Op) -> bool {
        let Op::Arithmetic { a, b, y, extents, strides_a, strides_b, .. } = op else { return false };
        let [a, b, y] = [*a, *b, *y].map(|id| self.extents(id));
        let mut step = 1;
        let mut axes = extents.iter().zip(strides_a).zip(strides_b).rev();
        let dense = axes.all(|((&extent, &stride_a), &stride_b)| {
            let dense = extent == 1 || (stride_a == step && stride_b == step);
            step *= extent;
            dense
        });
        dense && a == y && b == y
    }

    fn joins_channels(&self, xs: &[(TensorId, Option<f32>)], y: TensorId, outer: u32) -> bool {
        let [height, width, _] = self.extents(y);
        outer == height * width && xs.iter().all(|(x, _)| self.extents(*x)[..2] == [height, width])
    }

    /// Whether a move keeps the (channel, row, column) order.
    fn is_reshape(&self, x: TensorId, y: TensorId, tables: &[Vec<u32>]) -> bool {
        let (x, y) = (self.network.tensor(x), self.network.tensor(y));
        let [table] = tables else { return false };
        let place = |t: &Tensor, i: usize| {
            let plane = t.height as usize * t.width as usize;
            i % plane * t.channels as usize + i / plane
        };
        x.len() == y.len() && x.len() == table.len() && (0..x.len()).all(|i| table[place(y, i)] as usize == place(x, i))
    }
}

/// Whether values in an order are encoded as channel last: where the orders do not differ they are channel first.
fn is_channel_last(order: Order, [height, width, channels]: [u32; 3]) -> bool {
    order == Order::Same && channels > 1 && u64::from(height) * u64::from(width) > 1
}

fn units(offset: u64) -> Result<u64, String> {
    let aligned = offset.is_multiple_of(ADDRESS_UNIT);
    if aligned { Ok(offset / ADDRESS_UNIT) } else { Err(format!("offset {offset}; a multiple of 64 is required")) }
}
