//! Lowers a network to an accelerator program.
//!
//! Takes the network whose tensors have their places in the arena and whose layers have theirs in the sections. Does not
//! look at weights: the program addresses the packed codes of the artifact, whose bit planes the machine reads.
//!
//! A layer whose weights do not fit half of the weight memory becomes several `CONV`, each of as many blocks of 16 output
//! channels as fit. A descriptor that already holds is not set again.

use super::config::AccelConfig;
use super::error::AccelError;
use super::host::host_places;
use super::program::{AccelProgram, MAX_HOST_VALUES};
use super::table::{ADDRESS_UNIT, Instruction};
use crate::program::{ArithmeticKind, Conv, Destination, FloatId, Op, Order, Program, Tensor, TensorId, Window};
use std::ops::Range;

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
    let mut writer = Writer { network, config, host, instructions: Vec::new() };
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
        instructions: writer.instructions,
    })
}

struct Writer<'a> {
    network: &'a Program,
    config: &'a AccelConfig,
    /// First host value of each float slot.
    host: Vec<u32>,
    instructions: Vec<Instruction>,
}

impl Writer<'_> {
    fn slot(&self, id: FloatId) -> u32 {
        self.host[id.0 as usize]
    }

    fn emit(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    /// Sets a descriptor unless it already holds.
    fn set(&mut self, instruction: Instruction) {
        let same_register =
            |other: &&Instruction| std::mem::discriminant(*other) == std::mem::discriminant(&instruction);
        if self.instructions.iter().rev().find(same_register) != Some(&instruction) {
            self.emit(instruction);
        }
    }

    fn input(&mut self, id: TensorId) {
        let t = self.network.tensor(id);
        self.set(Instruction::SetInput {
            address: t.arena_offset,
            height: t.height,
            width: t.width,
            channels: t.channels,
            zero_point: t.zero_point,
        });
    }

    fn output(&mut self, id: TensorId) {
        let t = self.network.tensor(id);
        self.set(Instruction::SetOutput {
            address: t.arena_offset,
            height: t.height,
            width: t.width,
            channels: t.channels,
            zero_point: t.zero_point,
        });
    }

    fn window(&mut self, window: &Window) {
        let ([height, width], [dilation_height, dilation_width]) = (window.kernel, window.dilation);
        self.set(Instruction::SetKernel { height, width, dilation_height, dilation_width });
        let [height, width] = window.stride;
        self.set(Instruction::SetStride { height, width });
        let [top, left, bottom, right] = window.padding;
        self.set(Instruction::SetPadding { top, left, bottom, right });
    }

    fn op(&mut self, operator: u16, op: &Op) -> Result<(), String> {
        match op {
            Op::Quantize { x, y, inv_scale, order } => {
                self.output(*y);
                let (host, inv_scale) = (self.slot(*x), *inv_scale);
                let channel_last = is_channel_last(*order, self.extents(*y));
                self.emit(Instruction::Quantize { operator, host, inv_scale, channel_last });
            }
            Op::Conv(conv) => self.conv(operator, conv)?,
            Op::MaxPool { x, y, window, lo, hi } => {
                self.input(*x);
                self.output(*y);
                self.window(window);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                self.emit(Instruction::PoolMax { operator });
            }
            Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
                self.input(*x);
                self.output(*y);
                self.window(window);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                let (multiplier, count_include_pad) = (*multiplier, *count_include_pad);
                self.emit(Instruction::PoolAvg { operator, multiplier, count_include_pad });
            }
            Op::Arithmetic { kind: ArithmeticKind::Add, a, b, y, multiplier_a, multiplier_b, lo, hi, .. }
                if self.is_elementwise(op) =>
            {
                self.input(*a);
                let t = self.network.tensor(*b);
                self.set(Instruction::SetAddend {
                    address: t.arena_offset,
                    height: t.height,
                    width: t.width,
                    channels: t.channels,
                    zero_point: t.zero_point,
                });
                self.output(*y);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                let (multiplier_a, multiplier_b) = (*multiplier_a, *multiplier_b);
                self.emit(Instruction::Add { operator, multiplier_a, multiplier_b });
            }
            Op::Concat { xs, y, outer, lo: 0, hi: 255 } if self.joins_channels(xs, *y, *outer) => {
                self.output(*y);
                let mut first_channel = 0;
                for (x, multiplier) in xs {
                    self.input(*x);
                    self.emit(match *multiplier {
                        None => Instruction::CopyChannels { operator, first_channel },
                        Some(multiplier) => Instruction::ScaleChannels { operator, first_channel, multiplier },
                    });
                    first_channel += self.network.tensor(*x).channels;
                }
            }
            Op::Affine { x, y, constants_offset, lo, hi } => {
                self.input(*x);
                self.output(*y);
                self.set(Instruction::SetClamp { lo: *lo, hi: *hi });
                self.emit(Instruction::Affine { operator, constants: units(*constants_offset)? });
            }
            Op::Move { x, y, tables, .. } if self.is_reshape(*x, *y, tables) => {
                self.input(*x);
                self.output(*y);
                self.emit(Instruction::Reshape { operator });
            }
            Op::Dequantize { x, y, order } => {
                self.input(*x);
                let (host, scale) = (self.slot(*y), self.network.tensor(*x).scale);
                let channel_last = is_channel_last(*order, self.extents(*x));
                self.emit(Instruction::Dequantize { operator, host, scale, channel_last });
            }
            op if op.is_float() => self.emit(Instruction::Host { operator }),
            _ => self.emit(Instruction::Vector { operator }),
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

    fn conv(&mut self, operator: u16, conv: &Conv) -> Result<(), String> {
        self.input(conv.x);
        if let Destination::Codes { y, lo, hi } = conv.destination {
            self.output(y);
            self.set(Instruction::SetClamp { lo, hi });
        }
        self.window(&conv.window);
        let (weights, constants) = (units(conv.weights_offset)?, units(conv.constants_offset)?);
        let (bits, outputs, groups) = (conv.bits.bits(), conv.outputs, conv.groups);
        self.set(Instruction::SetWeights { weights, constants, bits, outputs, groups });
        let depth = conv.depth(self.network.tensor(conv.x));
        for Range { start: first_output, end } in self.config.output_ranges(conv.outputs, depth as u64, conv.bits) {
            let outputs = end - first_output;
            self.emit(match conv.destination {
                Destination::Codes { .. } => Instruction::Conv { operator, first_output, outputs },
                Destination::Logits { y, order } => {
                    let [height, width] = self.network.conv_output(conv);
                    let channel_last = is_channel_last(order, [height, width, conv.outputs]);
                    Instruction::ConvHost { operator, first_output, outputs, host: self.slot(y), channel_last }
                }
            });
        }
        Ok(())
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
