//! Closed-form cost of a program: cycles, energy and bytes moved.
//!
//! docs/accelerator.md derives the formulas and cites the constants. What counts is taken from the decoded program alone, so
//! that it is the cost of what is executed.

use super::config::AccelConfig;
use super::error::AccelError;
use super::program::AccelProgram;
use super::step::{ConvStep, Operation, Sections, Sink, View, steps};
use super::text::operator_name;
use crate::BitWidth;
use crate::format::Artifact;
use crate::program::{Conv, Destination, Program};
use std::fmt;
use std::ops::{Add, AddAssign};

/// Clock cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cycles(pub u64);

/// Picojoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PicoJoules(pub f64);

impl Add for Cycles {
    type Output = Cycles;
    fn add(self, other: Cycles) -> Cycles {
        Cycles(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Cycles) {
        *self = *self + other;
    }
}

impl Add for PicoJoules {
    type Output = PicoJoules;
    fn add(self, other: PicoJoules) -> PicoJoules {
        PicoJoules(self.0 + other.0)
    }
}

impl AddAssign for PicoJoules {
    fn add_assign(&mut self, other: PicoJoules) {
        *self = *self + other;
    }
}

/// Energy of events, in picojoules at 28 nm unless stated. Sources: docs/accelerator.md.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyModel {
    /// One element, 8 lanes, one cycle.
    pub element_cycle: f64,
    /// Weight register of one row, 8 lanes, one cycle.
    pub weight_register_row_cycle: f64,
    /// Activation register of one column, 8 lanes, one step.
    pub activation_register_column_step: f64,
    /// One byte of either memory on the chip, read or written.
    pub sram_byte: f64,
    /// One byte of DRAM, read or written.
    pub dram_byte: f64,
}

/// Lanes of the element that the register and element energies were measured for.
const LANES_OF_CONSTANTS: f64 = 8.0;

impl Default for EnergyModel {
    fn default() -> Self {
        // Place-and-route factor of the source.
        const LAYOUT: f64 = 1.5;
        EnergyModel {
            element_cycle: 0.28125 * LAYOUT,
            weight_register_row_cycle: 0.46 * LAYOUT,
            activation_register_column_step: (0.53 + 0.072625) * LAYOUT,
            sram_byte: 20.0 / 8.0,
            dram_byte: 1000.0 / 8.0,
        }
    }
}

/// Bytes that a layer moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Weights and constants from DRAM.
    pub weight_dram_bytes: u64,
    /// Activations from and to DRAM.
    pub activation_dram_bytes: u64,
    /// Weights written to and read from the chip's memory.
    pub weight_sram_bytes: u64,
    /// Activations written to and read from the chip's memory.
    pub activation_sram_bytes: u64,
}

/// Cycles, energy and traffic of one operator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Cycles the arrays or the vector unit work.
    pub compute: Cycles,
    /// Cycles the DRAM works.
    pub dram: Cycles,
    /// The longer of the two: they overlap.
    pub cycles: Cycles,
    /// Energy of all parts.
    pub energy: PicoJoules,
    /// Bytes moved.
    pub traffic: Traffic,
}

/// Shape of a weight layer: all that its cost depends on besides its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerShape {
    /// Input channels of a group.
    pub group_inputs: u32,
    /// Output channels of a group.
    pub group_outputs: u32,
    /// Groups.
    pub groups: u32,
    /// Taps down and across.
    pub kernel: [u32; 2],
    /// Rows and columns of the input.
    pub input: [u32; 2],
    /// Rows and columns of the result.
    pub output: [u32; 2],
    /// Whether results go to the host as floats.
    pub to_host: bool,
}

impl LayerShape {
    /// The shape of a layer of a network.
    pub fn of(network: &Program, conv: &Conv) -> Self {
        let x = network.tensor(conv.x);
        LayerShape {
            group_inputs: x.channels / conv.groups,
            group_outputs: conv.outputs / conv.groups,
            groups: conv.groups,
            kernel: conv.window.kernel,
            input: [x.height, x.width],
            output: network.conv_output(conv),
            to_host: matches!(conv.destination, Destination::Logits { .. }),
        }
    }

    fn of_step(conv: &ConvStep) -> Self {
        LayerShape {
            group_inputs: conv.group_inputs(),
            group_outputs: conv.layer_outputs / conv.groups,
            groups: conv.groups,
            kernel: conv.window.kernel,
            input: [conv.x.height, conv.x.width],
            output: conv.extent,
            to_host: matches!(conv.sink, Sink::Host(_)),
        }
    }

    fn taps(&self) -> u64 {
        u64::from(self.kernel[0]) * u64::from(self.kernel[1])
    }

    fn depth(&self) -> u64 {
        self.taps() * u64::from(self.group_inputs)
    }

    fn outputs(&self) -> u64 {
        u64::from(self.group_outputs) * u64::from(self.groups)
    }

    fn positions(&self) -> u64 {
        u64::from(self.output[0]) * u64::from(self.output[1])
    }

    /// Multiply-accumulates of one sample.
    pub fn macs(&self) -> u64 {
        self.weights() * self.positions()
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.depth() * self.outputs()
    }

    /// Bytes of packed codes.
    pub fn weight_bytes(&self, bits: BitWidth) -> u64 {
        let tiles = self.outputs().div_ceil(16) * self.depth().div_ceil(4);
        tiles * 8 * u64::from(bits.bits())
    }

    /// Steps of one block of outputs and positions: how often the lanes are filled to cover the depth.
    ///
    /// Lanes take channels of one tap or taps of one channel, whichever needs fewer; or any depth where a window is
    /// the whole input, which lies in one piece.
    fn steps(&self, lanes: u64) -> u64 {
        let channels = u64::from(self.group_inputs);
        if self.kernel == self.input {
            return self.depth().div_ceil(lanes);
        }
        (channels.div_ceil(lanes) * self.taps()).min(self.taps().div_ceil(lanes) * channels)
    }

    /// Blocks of `rows` outputs x `columns` positions of a row.
    fn blocks(&self, config: &AccelConfig) -> u64 {
        let outputs = u64::from(self.group_outputs).div_ceil(config.rows.into()) * u64::from(self.groups);
        outputs * u64::from(self.output[1]).div_ceil(config.columns.into()) * u64::from(self.output[0])
    }

    fn input_bytes(&self) -> u64 {
        u64::from(self.input[0]) * u64::from(self.input[1]) * u64::from(self.group_inputs) * u64::from(self.groups)
    }

    fn output_bytes(&self) -> u64 {
        self.positions() * self.outputs() * if self.to_host { 4 } else { 1 }
    }
}

/// A machine whose cost is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CostModel {
    /// Sizes.
    pub config: AccelConfig,
    /// Energy of events.
    pub energy: EnergyModel,
}

impl CostModel {
    /// Cost of a weight layer at any width, before a program exists; equal to that of the program that [`super::lower()`] makes.
    pub fn layer(&self, shape: &LayerShape, bits: BitWidth) -> Cost {
        let config = &self.config;
        let (rows, columns, lanes) = (u64::from(config.rows), u64::from(config.columns), u64::from(config.lanes));
        // Blocks run on the tiles side by side; each takes `steps` steps of one cycle a bit plane.
        let array_steps = shape.blocks(config).div_ceil(config.tiles.into()) * shape.steps(lanes);
        let compute = Cycles(array_steps * u64::from(bits.bits()));
        let weight_bytes = shape.weight_bytes(bits);
        let half = u64::from(config.weight_sram_bytes / 2);
        let mut traffic = self.activations(shape.input_bytes(), shape.output_bytes(), shape.to_host);
        if traffic.spills && weight_bytes > half {
            // Every part of the weights meets the whole input.
            traffic.bytes.activation_dram_bytes += (weight_bytes.div_ceil(half) - 1) * shape.input_bytes();
        }
        let mut traffic = traffic.bytes;
        traffic.weight_dram_bytes = weight_bytes + 8 * shape.outputs();
        let busy_steps = shape.blocks(config) * shape.steps(lanes);
        // A step reads the bit planes of its rows and 8 bits for each lane of its columns.
        let weights_read = busy_steps * rows * lanes * u64::from(bits.bits()) / 8;
        let activations_read = busy_steps * columns * lanes;
        traffic.weight_sram_bytes = weight_bytes + weights_read;
        traffic.activation_sram_bytes += activations_read;
        let e = &self.energy;
        let share = lanes as f64 / LANES_OF_CONSTANTS;
        let busy_cycles = (busy_steps * u64::from(bits.bits())) as f64;
        let array = busy_cycles * (rows * columns) as f64 * e.element_cycle
            + busy_cycles * rows as f64 * e.weight_register_row_cycle
            + busy_steps as f64 * columns as f64 * e.activation_register_column_step;
        self.finish(compute, traffic, array * share)
    }

    /// Cost of an operator of the vector unit that reads and writes bytes, `elements` of them one by one.
    fn vector(&self, elements: u64, read: u64, written: u64, host: bool) -> Cost {
        let compute = Cycles(elements.div_ceil(self.config.vector_lanes.into()));
        let mut traffic = self.activations(read, written, host).bytes;
        traffic.activation_sram_bytes += elements;
        self.finish(compute, traffic, 0.0)
    }

    /// Operands and results that fit the chip's memory together stay there; else both pass through DRAM. Host floats always do.
    fn activations(&self, read: u64, written: u64, host: bool) -> Activations {
        let spills = read + written > self.config.activation_sram_bytes.into();
        let activation_dram_bytes = match (spills, host) {
            (true, _) => read + written,
            (false, true) => written,
            (false, false) => 0,
        };
        let bytes = Traffic { activation_dram_bytes, activation_sram_bytes: written, ..Traffic::default() };
        Activations { bytes, spills }
    }

    fn finish(&self, compute: Cycles, traffic: Traffic, array_pj: f64) -> Cost {
        let dram_bytes = traffic.weight_dram_bytes + traffic.activation_dram_bytes;
        let dram = Cycles(dram_bytes.div_ceil(self.config.dram_bytes_per_cycle.into()));
        let sram_bytes = (traffic.weight_sram_bytes + traffic.activation_sram_bytes) as f64;
        let energy = array_pj + sram_bytes * self.energy.sram_byte + dram_bytes as f64 * self.energy.dram_byte;
        Cost { compute, dram, cycles: compute.max(dram), energy: PicoJoules(energy), traffic }
    }
}

struct Activations {
    bytes: Traffic,
    spills: bool,
}

/// Cost of one operator of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCost {
    /// ONNX name of a weight layer, kind of another operator.
    pub name: String,
    /// Width of its weights; `None` without weights.
    pub bits: Option<BitWidth>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Packed bytes of weights.
    pub weight_bytes: u64,
    /// At its width.
    pub cost: Cost,
    /// With weights of 8 bits.
    pub baseline_8bit: Cost,
}

/// Cycles and energy of a whole network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// Cycles, layer after layer.
    pub cycles: Cycles,
    /// Energy.
    pub energy_pj: PicoJoules,
}

/// Cost of a program, one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct CostReport {
    /// Cycles, layer after layer.
    pub cycles: Cycles,
    /// Energy.
    pub energy_pj: PicoJoules,
    /// The same program with weights of 8 bits.
    pub baseline_8bit: Total,
    /// Each operator.
    pub layers: Vec<LayerCost>,
    /// Clock, in MHz.
    pub clock_mhz: u32,
}

impl CostReport {
    /// Cycles at 8 bits / cycles.
    pub fn speedup(&self) -> f64 {
        self.baseline_8bit.cycles.0 as f64 / self.cycles.0.max(1) as f64
    }

    /// Energy at 8 bits / energy.
    pub fn energy_ratio(&self) -> f64 {
        self.baseline_8bit.energy_pj.0 / self.energy_pj.0.max(f64::MIN_POSITIVE)
    }

    /// Time of one sample in microseconds.
    pub fn latency_us(&self) -> f64 {
        self.cycles.0 as f64 / f64::from(self.clock_mhz.max(1))
    }
}

/// Cost of an artifact's program on the default machine.
///
/// # Errors
/// When it has none, or it is refused.
pub fn estimate(artifact: &Artifact) -> Result<CostReport, AccelError> {
    let program = AccelProgram::decode(artifact.accelerator())?;
    let sections =
        Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
    estimate_program(&program, sections, artifact.program(), &CostModel::default())
}

/// Cost of a program; `network` gives the layers their names.
///
/// # Errors
/// When the program is refused, or was compiled for another machine.
pub fn estimate_program(
    program: &AccelProgram,
    sections: Sections,
    network: &Program,
    model: &CostModel,
) -> Result<CostReport, AccelError> {
    program.check_config(&model.config)?;
    let mut layers: Vec<(u16, LayerCost)> = Vec::new();
    for step in steps(program, sections)? {
        let Some(operator) = step.operator else { continue };
        if layers.last().is_some_and(|(last, layer)| *last == operator && layer.bits.is_some()) {
            // A further range of the same layer: counted with the first.
            continue;
        }
        let name = network.ops.get(usize::from(operator)).map_or("?", operator_name).to_owned();
        layers.push((operator, layer_cost(&step.operation, name, model)));
    }
    let layers: Vec<LayerCost> = layers.into_iter().map(|(_, layer)| layer).collect();
    let mut report = CostReport {
        cycles: Cycles(0),
        energy_pj: PicoJoules(0.0),
        baseline_8bit: Total::default(),
        layers: Vec::new(),
        clock_mhz: model.config.clock_mhz,
    };
    for layer in &layers {
        report.cycles += layer.cost.cycles;
        report.energy_pj += layer.cost.energy;
        report.baseline_8bit.cycles += layer.baseline_8bit.cycles;
        report.baseline_8bit.energy_pj += layer.baseline_8bit.energy;
    }
    report.layers = layers;
    Ok(report)
}

fn layer_cost(operation: &Operation, name: String, model: &CostModel) -> LayerCost {
    let bytes = |view: &View| view.len() as u64;
    let cost = match operation {
        Operation::Conv(conv) => {
            let shape = LayerShape::of_step(conv);
            return LayerCost {
                name,
                bits: Some(conv.bits),
                macs: shape.macs(),
                weight_bytes: shape.weight_bytes(conv.bits),
                cost: model.layer(&shape, conv.bits),
                baseline_8bit: model.layer(&shape, BitWidth::MAX),
            };
        }
        Operation::Quantize { y, .. } => {
            let mut cost = model.vector(bytes(y), 0, bytes(y), false);
            cost.traffic.activation_dram_bytes += 4 * bytes(y);
            model.finish(cost.compute, cost.traffic, 0.0)
        }
        Operation::PoolMax { x, y, window } => model.vector(window_cells(window.kernel, y), bytes(x), bytes(y), false),
        Operation::PoolAvg { x, y, window, .. } => {
            model.vector(window_cells(window.kernel, &y.view), bytes(x), bytes(&y.view), false)
        }
        Operation::Add { a: (a, _), b: (b, _), y } => {
            model.vector(bytes(a) + bytes(b), bytes(a) + bytes(b), bytes(&y.view), false)
        }
        Operation::Channels { x, .. } => model.vector(bytes(x), bytes(x), bytes(x), false),
        Operation::Affine { x, y, constants } => {
            let mut cost = model.vector(bytes(x), bytes(x), bytes(&y.view), false);
            cost.traffic.weight_dram_bytes += constants.len() as u64;
            model.finish(cost.compute, cost.traffic, 0.0)
        }
        Operation::Reshape { x, y } => model.vector(bytes(x), bytes(x), bytes(y), false),
        Operation::Dequantize { x, .. } => model.vector(bytes(x), bytes(x), 4 * bytes(x), true),
        // The host computes; the machine waits for nothing.
        Operation::Softmax { .. } | Operation::Return { .. } => Cost::default(),
    };
    LayerCost { name, bits: None, macs: 0, weight_bytes: 0, cost, baseline_8bit: cost }
}

fn window_cells(kernel: [u32; 2], y: &View) -> u64 {
    u64::from(kernel[0]) * u64::from(kernel[1]) * y.len() as u64
}

impl fmt::Display for CostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:width$}  bits         MACs  weight B  compute cyc     DRAM cyc       cycles    8-bit cyc    energy nJ  8-bit nJ",
            "layer"
        )?;
        for layer in &self.layers {
            let bits = layer.bits.map_or("-".to_owned(), |bits| bits.to_string());
            let (cost, base) = (&layer.cost, &layer.baseline_8bit);
            writeln!(
                f,
                "{:width$}  {bits:>4} {:>12} {:>9} {:>12} {:>12} {:>12} {:>12} {:>12.3} {:>9.3}",
                layer.name,
                layer.macs,
                layer.weight_bytes,
                cost.compute.0,
                cost.dram.0,
                cost.cycles.0,
                base.cycles.0,
                cost.energy.0 / 1e3,
                base.energy.0 / 1e3,
            )?;
        }
        writeln!(f, "total: {} cycles ({:.3} us), {:.3} nJ", self.cycles.0, self.latency_us(), self.energy_pj.0 / 1e3)?;
        let base = &self.baseline_8bit;
        writeln!(f, "all weights at 8 bits: {} cycles, {:.3} nJ", base.cycles.0, base.energy_pj.0 / 1e3)?;
        writeln!(f, "speedup {:.3}, energy ratio {:.3}", self.speedup(), self.energy_ratio())
    }
}
