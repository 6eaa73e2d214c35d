//! Closed-form cost of a program: cycles, energy and bytes moved.
//!
//! docs/accelerator.md derives the formulas and cites the constants. What counts is taken from the decoded program alone, so
//! that it is the cost of what is executed.

mod model;
mod units;

pub use model::{Cost, CostModel, LayerShape, Traffic};
pub use units::{Cycles, EnergyModel, PicoJoules};

use super::error::AccelError;
use super::program::AccelProgram;
use super::step::{Clamped, Operation, Sections, Step, View, steps};
use super::text::operator_name;
use crate::BitWidth;
use crate::format::Artifact;
use crate::program::{Op, Program, TensorId, Window};
use crate::verify::work;
use std::fmt;

/// Cost of one operator of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerCost {
    /// ONNX name of a weight layer, kind of another operator.
    pub name: String,
    /// Width of its weights; `None` without weights.
    pub bits: Option<BitWidth>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Packed bytes of weights.
    pub weight_bytes: u64,
    /// Elementary operations on floats that the host executes; they take none of the machine's cycles.
    pub host_operations: u64,
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostReport {
    /// Cycles, layer after layer.
    pub cycles: Cycles,
    /// Energy.
    pub energy_pj: PicoJoules,
    /// The same program with weights of 8 bits.
    pub baseline_8bit: Total,
    /// Lowest and highest energy ratio when any one constant of the energy model is halved or doubled.
    pub energy_ratio_range: [f64; 2],
    /// Elementary operations on floats that the host executes; they take none of the machine's cycles.
    pub host_operations: u64,
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
    let steps = steps(program, sections, network)?;
    let mut report = report(&steps, network, model);
    for energy in model.energy.variants() {
        let ratio = self::report(&steps, network, &CostModel { energy, ..*model }).energy_ratio();
        let [low, high] = report.energy_ratio_range;
        report.energy_ratio_range = [low.min(ratio), high.max(ratio)];
    }
    Ok(report)
}

fn report(steps: &[Step], network: &Program, model: &CostModel) -> CostReport {
    let mut report = CostReport { clock_mhz: model.config.clock_mhz, ..CostReport::default() };
    let mut last = None;
    for step in steps {
        let Some(operator) = step.operator else { continue };
        if last.replace(operator) != Some(operator) {
            let name = network.ops.get(usize::from(operator)).map_or("?", operator_name).to_owned();
            report.layers.push(LayerCost { name, ..LayerCost::default() });
        }
        if let Some(layer) = report.layers.last_mut() {
            layer.count(&step.operation, network, model);
        }
    }
    for layer in &report.layers {
        report.host_operations = report.host_operations.saturating_add(layer.host_operations);
        report.cycles += layer.cost.cycles;
        report.energy_pj += layer.cost.energy;
        report.baseline_8bit.cycles += layer.baseline_8bit.cycles;
        report.baseline_8bit.energy_pj += layer.baseline_8bit.energy;
    }
    report.energy_ratio_range = [report.energy_ratio(); 2];
    report
}

impl LayerCost {
    /// Adds the cost of an instruction.
    fn count(&mut self, operation: &Operation, network: &Program, model: &CostModel) {
        if let Operation::Host(operator) = operation {
            let operations = work::steps(network, &network.ops[usize::from(*operator)]);
            self.host_operations = self.host_operations.saturating_add(operations);
        } else if let Operation::Conv(conv) = operation {
            let shape = LayerShape::of_step(conv);
            let count = conv.outputs.end - conv.outputs.start;
            // All ranges of a layer have one baseline: at 8 bits the ranges are others.
            if self.bits.replace(conv.bits).is_none() {
                self.baseline_8bit += model.layer(&shape, BitWidth::MAX);
            }
            self.macs += shape.macs() / u64::from(shape.outputs()) * u64::from(count);
            self.weight_bytes += shape.weight_bytes(count, conv.bits);
            self.cost += model.conv(&shape, &conv.outputs, conv.bits);
        } else {
            let cost = vector_cost(operation, network, model);
            self.cost += cost;
            self.baseline_8bit += cost;
        }
    }
}

/// Cost of an operation of the vector unit.
fn vector_cost(operation: &Operation, network: &Program, model: &CostModel) -> Cost {
    let bytes = |view: &View| view.len() as u64;
    // Elements through the lanes, bytes written to the chip, tensors, further bytes of DRAM. Host floats do not enter the chip.
    let (elements, written, tensors, dram) = match operation {
        Operation::Quantize { y, .. } => (bytes(y), bytes(y), [bytes(y), 0, 0], 4 * bytes(y)),
        Operation::PoolMax { x, y: Clamped { view: y, .. }, window }
        | Operation::PoolAvg { x, y: Clamped { view: y, .. }, window, .. } => {
            (window_cells(window, y), bytes(y), [bytes(x), bytes(y), 0], 0)
        }
        Operation::Add { a: (a, _), b: (b, _), y } => {
            (bytes(a) + bytes(b), bytes(&y.view), [bytes(a), bytes(b), bytes(&y.view)], 0)
        }
        Operation::Affine { x, y, constants } => {
            (bytes(x), bytes(x), [bytes(x), bytes(&y.view), 0], constants.len() as u64)
        }
        Operation::Channels { x, .. } => (bytes(x), bytes(x), [bytes(x), bytes(x), 0], 0),
        Operation::Reshape { x, y } => (bytes(x), bytes(y), [bytes(x), bytes(y), 0], 0),
        Operation::Dequantize { x, .. } => (bytes(x), 0, [bytes(x), 0, 0], 4 * bytes(x)),
        Operation::Vector(operator) => return named_cost(&network.ops[usize::from(*operator)], network, model),
        Operation::Host(_) | Operation::Return { .. } | Operation::Conv(_) => return Cost::default(),
    };
    model.vector(elements, written, &tensors, dram)
}

/// Cost of an operator of the network on the vector unit: a lane takes one code of each operand a result.
fn named_cost(op: &Op, network: &Program, model: &CostModel) -> Cost {
    let bytes = |id: &TensorId| network.tensor(*id).len() as u64;
    let reads = op.reads();
    let result = op.writes().as_ref().map_or(0, bytes);
    let (elements, dram) = match op {
        Op::Arithmetic { .. } => (2 * result, 0),
        Op::Table { x, per_channel, .. } => {
            (result, 256 * if *per_channel { u64::from(network.tensor(*x).channels) } else { 1 })
        }
        Op::Constant { .. } => (result, result),
        _ => (result, 0),
    };
    let tensors: Vec<u64> = reads.iter().chain(&op.writes()).map(bytes).collect();
    model.vector(elements, result, &tensors, dram)
}

/// Cells under all positions of a window, padding included.
fn window_cells(window: &Window, y: &View) -> u64 {
    u64::from(window.kernel[0]) * u64::from(window.kernel[1]) * y.len() as u64
}

impl fmt::Display for CostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).max(5);
        write!(f, "{:width$} bits         MACs weight B", "layer")?;
        writeln!(f, "  compute cyc     DRAM cyc       cycles    8-bit cyc    energy nJ array sram dram     8-bit nJ")?;
        for layer in &self.layers {
            let bits = layer.bits.map_or("-".to_owned(), |bits| bits.to_string());
            let (cost, base) = (&layer.cost, &layer.baseline_8bit);
            let share = |part: PicoJoules| 100.0 * part.0 / cost.energy.0.max(f64::MIN_POSITIVE);
            write!(f, "{:width$} {bits:>4} {:>12} {:>8}", layer.name, layer.macs, layer.weight_bytes)?;
            write!(f, " {:>12} {:>12} {:>12}", cost.compute.0, cost.dram.0, cost.cycles.0)?;
            write!(f, " {:>12} {:>12.3}", base.cycles.0, cost.energy.0 / 1e3)?;
            let (array, sram, dram) = (share(cost.array_energy), share(cost.sram_energy), share(cost.dram_energy));
            writeln!(f, " {array:>4.0}% {sram:>3.0}% {dram:>3.0}% {:>12.3}", base.energy.0 / 1e3)?;
        }
        if self.host_operations > 0 {
            writeln!(f, "host: {} operations on floats, outside of the cycles", self.host_operations)?;
        }
        writeln!(f, "total: {} cycles ({:.3} us), {:.3} nJ", self.cycles.0, self.latency_us(), self.energy_pj.0 / 1e3)?;
        let base = &self.baseline_8bit;
        writeln!(f, "all weights at 8 bits: {} cycles, {:.3} nJ", base.cycles.0, base.energy_pj.0 / 1e3)?;
        let [low, high] = self.energy_ratio_range;
        write!(f, "speedup {:.3}, energy ratio {:.3}", self.speedup(), self.energy_ratio())?;
        writeln!(f, " ({low:.3} to {high:.3} with any one energy constant halved or doubled)")
    }
}
