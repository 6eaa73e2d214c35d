//! Runs the descriptor registers and checks every operation.

use super::{Clamped, ConvStep, HostTensor, MAX_WORK, Operation, Sections, Sink, Step, View};
use crate::BitWidth;
use crate::accel::error::AccelError;
use crate::accel::host::host_places;
use crate::accel::program::{AccelProgram, MAX_HOST_VALUES, instruction_error};
use crate::accel::table::{ADDRESS_UNIT, INSTRUCTION_BYTES, Instruction};
use crate::pack::{TILE_OUTPUTS, packed_len};
use crate::program::{Op, Program, Window};
use crate::verify::{MAX_EXTENT, MULTIPLIER_RANGE};
use std::ops::Range;

// Checking a program allocates no more than sixteen times its length.
const _: () = assert!(size_of::<Step>() <= 16 * INSTRUCTION_BYTES);

/// Checks a program of a verified network and resolves its operations.
///
/// # Errors
/// The first instruction that is refused, and why.
pub fn steps(program: &AccelProgram, sections: Sections, network: &Program) -> Result<Vec<Step>, AccelError> {
    if program.host_values > MAX_HOST_VALUES || program.input_values > program.host_values {
        let what = format!("{} host values, {} of them input", program.host_values, program.input_values);
        return Err(AccelError::Header(format!("{what}; at most {MAX_HOST_VALUES} are allowed, the input among them")));
    }
    let Some((Instruction::End {}, body)) = program.instructions.split_last() else {
        return Err(AccelError::Header("the last instruction must be END".into()));
    };
    let mut machine = Registers::new(program, sections, network);
    let mut steps = Vec::with_capacity(body.len());
    for (at, instruction) in body.iter().enumerate() {
        let executed = machine.execute(instruction).map_err(|what| instruction_error(at, instruction, what))?;
        steps.extend(executed.map(|(operator, operation)| Step { at, operator, operation }));
    }
    Ok(steps)
}

/// Descriptors in force.
struct Registers<'a> {
    program: &'a AccelProgram,
    sections: Sections,
    network: &'a Program,
    /// First host value of each float slot of the network.
    host_places: Vec<u32>,
    input: Option<View>,
    addend: Option<View>,
    output: Option<View>,
    kernel: Option<([u32; 2], [u32; 2])>,
    stride: Option<[u32; 2]>,
    padding: Option<[u32; 4]>,
    layer: Option<Layer>,
    clamp: Option<(u8, u8)>,
}

#[derive(Clone, Copy)]
struct Layer {
    weights: u64,
    constants: u64,
    bits: BitWidth,
    outputs: u32,
    groups: u32,
}

type Check<T = ()> = Result<T, String>;

fn require(condition: bool, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(what()) }
}

fn set<T: Copy>(register: Option<T>, setter: &str) -> Check<T> {
    register.ok_or_else(|| format!("it executes before {setter}"))
}

fn multiplier(value: f32) -> Check {
    require(MULTIPLIER_RANGE.contains(&value), || format!("multiplier {value:e}; 2^-40..=2^20 is required"))
}

fn extents(name: &str, values: &[u32], least: u32) -> Check {
    let fits = values.iter().all(|v| (least..=MAX_EXTENT).contains(v));
    require(fits, || format!("{name} {values:?}; each must be in {least}..={MAX_EXTENT}"))
}

fn same_extents(a: &View, b: &View) -> bool {
    [a.height, a.width, a.channels] == [b.height, b.width, b.channels]
}

fn disjoint(x: &View, y: &View) -> Check {
    let (a, b) = (x.range(), y.range());
    require(a.end <= b.start || b.end <= a.start, || format!("the result {b:?} overlaps its operand {a:?}"))
}

/// `start + len` as a range inside a memory of `size`.
fn inside(name: &str, start: u64, len: u64, size: usize) -> Check<Range<usize>> {
    let end = start.checked_add(len).filter(|&end| end <= size as u64);
    let end = end.ok_or_else(|| format!("{len} at {start} leave the {name} of {size}"))?;
    Ok(start as usize..end as usize)
}

impl<'a> Registers<'a> {
    fn new(program: &'a AccelProgram, sections: Sections, network: &'a Program) -> Self {
        Registers {
            program,
            sections,
            network,
            host_places: host_places(network).0,
            input: None,
            addend: None,
            output: None,
            kernel: None,
            stride: None,
            padding: None,
            layer: None,
            clamp: None,
        }
    }

    /// Sets a register, or yields the operation.
    fn execute(&mut self, instruction: &Instruction) -> Check<Option<(Option<u16>, Operation)>> {
        let (operator, operation) = match *instruction {
            Instruction::SetInput { address, height, width, channels, zero_point } => {
                self.input = Some(self.view(View { address, height, width, channels, zero_point })?);
                return Ok(None);
            }
            Instruction::SetAddend { address, height, width, channels, zero_point } => {
                self.addend = Some(self.view(View { address, height, width, channels, zero_point })?);
                return Ok(None);
            }
            Instruction::SetOutput { address, height, width, channels, zero_point } => {
                self.output = Some(self.view(View { address, height, width, channels, zero_point })?);
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
            Instruction::SetWeights { weights, constants, bits, outputs, groups } => {
                let bits = BitWidth::new(bits).ok_or_else(|| format!("{bits} bits; 2..=8 is required"))?;
                extents("outputs and groups", &[outputs, groups], 1)?;
                let (weights, constants) = (weights * ADDRESS_UNIT, constants * ADDRESS_UNIT);
                self.layer = Some(Layer { weights, constants, bits, outputs, groups });
                return Ok(None);
            }
            Instruction::SetClamp { lo, hi } => {
                require(lo <= hi, || format!("clamp {lo}..={hi} is empty"))?;
                self.clamp = Some((lo, hi));
                return Ok(None);
            }
            Instruction::Quantize { operator, host, inv_scale, channel_last } => {
                let y = set(self.output, "SET_OUTPUT")?;
                multiplier(inv_scale)?;
                let host = self.host_tensor(host, channel_last, [y.height, y.width, y.channels])?;
                (operator, Operation::Quantize { host, y, inv_scale })
            }
            Instruction::Conv { operator, first_output, outputs } => {
                let sink = Sink::Codes(self.clamped()?);
                (operator, Operation::Conv(self.conv(sink, first_output, outputs)?))
            }
            Instruction::ConvHost { operator, first_output, outputs, host, channel_last } => {
                let sink = Sink::Host(HostTensor { first: host, channel_last });
                (operator, Operation::Conv(self.conv(sink, first_output, outputs)?))
            }
            Instruction::PoolMax { operator } => {
                let (x, y) = (self.operands()?.0, self.clamped()?);
                require(x.zero_point == y.view.zero_point, || "input and result must share the zero point".into())?;
                (operator, Operation::PoolMax { x, y, window: self.pool(&x, &y.view)? })
            }
            Instruction::PoolAvg { operator, multiplier: m, count_include_pad } => {
                let (x, y) = (self.operands()?.0, self.clamped()?);
                let window = self.pool(&x, &y.view)?;
                let cells = u64::from(window.kernel[0]) * u64::from(window.kernel[1]);
                require(window.dilation == [1, 1], || "dilation must be 1".into())?;
                require(cells <= 1 << 22, || format!("a window of {cells} cells; at most 2^22 are allowed"))?;
                multiplier(m)?;
                multiplier(m / cells as f32)?;
                (operator, Operation::PoolAvg { x, y, window, multiplier: m, count_include_pad })
            }
            Instruction::Add { operator, multiplier_a, multiplier_b } => {
                let (a, b, y) = (self.operands()?.0, set(self.addend, "SET_ADDEND")?, self.clamped()?);
                disjoint(&b, &y.view)?;
                require(same_extents(&a, &y.view) && same_extents(&b, &y.view), || {
                    "input, addend and result must have equal extents".into()
                })?;
                multiplier(multiplier_a)?;
                multiplier(multiplier_b)?;
                (operator, Operation::Add { a: (a, multiplier_a), b: (b, multiplier_b), y })
            }
            Instruction::CopyChannels { operator, first_channel } => (operator, self.channels(first_channel, None)?),
            Instruction::ScaleChannels { operator, first_channel, multiplier: m } => {
                multiplier(m)?;
                (operator, self.channels(first_channel, Some(m))?)
            }
            Instruction::Affine { operator, constants } => {
                let (x, y) = (self.operands()?.0, self.clamped()?);
                require(same_extents(&x, &y.view), || "input and result must have equal extents".into())?;
                let constants = self.constants(constants * ADDRESS_UNIT, x.channels)?;
                (operator, Operation::Affine { x, y, constants })
            }
            Instruction::Reshape { operator } => {
                let (x, y) = self.operands()?;
                require(x.len() == y.len(), || format!("{} codes become {}", x.len(), y.len()))?;
                require(x.zero_point == y.zero_point, || "input and result must share the zero point".into())?;
                (operator, Operation::Reshape { x, y })
            }
            Instruction::Dequantize { operator, host, scale, channel_last } => {
                let x = set(self.input, "SET_INPUT")?;
                require(scale.is_normal() && scale > 0.0, || {
                    format!("scale {scale}; a positive normal number is required")
                })?;
                let host = self.host_tensor(host, channel_last, [x.height, x.width, x.channels])?;
                (operator, Operation::Dequantize { x, host, scale })
            }
            Instruction::Vector { operator } => {
                self.named(operator, |op| {
                    matches!(
                        op,
                        Op::Arithmetic { .. }
                            | Op::Concat { .. }
                            | Op::Constant { .. }
                            | Op::Table { .. }
                            | Op::Move { .. }
                    )
                })?;
                (operator, Operation::Vector(operator))
            }
            Instruction::Host { operator } => {
                self.named(operator, Op::is_float)?;
                (operator, Operation::Host(operator))
            }
            Instruction::Return { host, count } => {
                extents("count", &[count], 1)?;
                return Ok(Some((None, Operation::Return { values: self.host(host, count.into())? })));
            }
            Instruction::End {} => return Err("it must be the last instruction".into()),
        };
        Ok(Some((Some(operator), operation)))
    }

    /// A tensor that lies in the arena.
    fn view(&self, view: View) -> Check<View> {
        extents("extents", &[view.height, view.width, view.channels], 1)?;
        let bytes = u64::from(view.height) * u64::from(view.width);
        let bytes = bytes.checked_mul(view.channels.into()).ok_or("the tensor is too large")?;
        inside("arena", view.address.into(), bytes, self.program.arena_bytes as usize)?;
        Ok(view)
    }

    fn host(&self, start: u32, count: u64) -> Check<Range<usize>> {
        inside("host memory", start.into(), count, self.program.host_values as usize)
    }

    /// The values of a tensor of the given rows, columns and channels. There is one encoding of each order.
    fn host_tensor(&self, first: u32, channel_last: bool, extents: [u32; 3]) -> Check<HostTensor> {
        self.host(first, extents.into_iter().map(u64::from).product())?;
        let [height, width, channels] = extents;
        let differs = channels > 1 && u64::from(height) * u64::from(width) > 1;
        require(!channel_last || differs, || format!("{extents:?} values have one order, channel first"))?;
        Ok(HostTensor { first, channel_last })
    }

    /// Checks that an operator of the network is one that an instruction may name, and that its operands lie in the memories.
    fn named(&self, operator: u16, is_allowed: impl Fn(&Op) -> bool) -> Check {
        let op = self.network.ops.get(usize::from(operator)).filter(|op| is_allowed(op));
        let op = op.ok_or_else(|| format!("operator {operator} of the network is none that it executes"))?;
        for id in op.reads().into_iter().chain(op.writes()) {
            let t = self.network.tensor(id);
            inside("arena", t.arena_offset.into(), t.len() as u64, self.program.arena_bytes as usize)?;
        }
        for id in op.reads_floats().into_iter().chain(op.writes_floats()) {
            self.host(self.host_places[id.0 as usize], self.network.float_len(id) as u64)?;
        }
        Ok(())
    }

    /// Two words a channel.
    fn constants(&self, start: u64, channels: u32) -> Check<Range<usize>> {
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
    fn window(&self, x: &View) -> Check<(Window, [u32; 2])> {
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

    fn pool(&self, x: &View, y: &View) -> Check<Window> {
        let (window, [rows, columns]) = self.window(x)?;
        require([y.height, y.width, y.channels] == [rows, columns, x.channels], || {
            format!("result {}x{}x{}; {rows}x{columns}x{} is required", y.height, y.width, y.channels, x.channels)
        })?;
        let span = |axis: usize| (u64::from(window.kernel[axis]) - 1) * u64::from(window.dilation[axis]) + 1;
        let inner = (0..4).all(|side| u64::from(window.padding[side]) < span(side % 2));
        require(inner, || format!("padding {:?} must be smaller than the window", window.padding))?;
        work(&[window.kernel[0], window.kernel[1], rows, columns, x.channels])?;
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

    fn conv(&self, sink: Sink, first: u32, count: u32) -> Check<ConvStep> {
        let x = set(self.input, "SET_INPUT")?;
        let layer = set(self.layer, "SET_WEIGHTS")?;
        let (window, extent) = self.window(&x)?;
        let divides = |n: u32| n.is_multiple_of(layer.groups);
        require(divides(x.channels) && divides(layer.outputs), || {
            format!("{} groups must divide {} inputs and {} outputs", layer.groups, x.channels, layer.outputs)
        })?;
        let end = first.checked_add(count).filter(|&end| end <= layer.outputs && count > 0);
        let end = end.ok_or_else(|| format!("{count} outputs from {first}; the layer has {}", layer.outputs))?;
        require((first as usize).is_multiple_of(TILE_OUTPUTS), || {
            format!("first output {first}; a multiple of 16 is required")
        })?;
        let [rows, columns] = extent;
        let group_inputs = x.channels / layer.groups;
        let [kernel_height, kernel_width] = window.kernel;
        work(&[kernel_height, kernel_width, group_inputs, rows, columns, layer.outputs])?;
        match sink {
            Sink::Codes(Clamped { view: y, .. }) => {
                disjoint(&x, &y)?;
                require([y.height, y.width, y.channels] == [rows, columns, layer.outputs], || {
                    let (h, w, c) = (y.height, y.width, y.channels);
                    format!("result {h}x{w}x{c}; {rows}x{columns}x{} is required", layer.outputs)
                })?;
            }
            Sink::Host(host) => {
                // At most MAX_WORK by the check above.
                self.host_tensor(host.first, host.channel_last, [rows, columns, layer.outputs])?;
            }
        }
        let constants = self.constants(layer.constants, layer.outputs)?;
        let depth = usize::try_from(u64::from(kernel_height) * u64::from(kernel_width) * u64::from(group_inputs)).ok();
        let len =
            depth.and_then(|depth| packed_len(layer.outputs as usize, depth, layer.bits)).ok_or("too many weights")?;
        let weights = inside("weights section", layer.weights, len as u64, self.sections.weights)?;
        Ok(ConvStep {
            x,
            sink,
            extent,
            window,
            layer_outputs: layer.outputs,
            outputs: first..end,
            groups: layer.groups,
            bits: layer.bits,
            weights,
            constants,
        })
    }
}

/// Bounds the product of loop counts.
fn work(counts: &[u32]) -> Check {
    let product = counts.iter().try_fold(1u64, |product, &n| product.checked_mul(n.into()));
    require(product.is_some_and(|n| n <= MAX_WORK), || {
        format!("loops of {counts:?}; at most 2^42 products are allowed")
    })
}
