//! What a program costs: cycles of the simulated queues, energy and bytes moved.
//!
//! docs/accelerator.md derives the formulas and cites the constants. What counts is taken from the decoded program alone, so
//! that it is the cost of what is executed. The same network with weights of 8 bits is lowered and simulated as well.

mod area;
mod model;
mod shape;
mod units;

pub use area::transistors;
pub use model::{CostModel, Energy, Events, LayerEstimate};
pub use shape::LayerShape;
pub use units::{Cycles, EnergyModel, PicoJoules};

use super::config::AccelConfig;
use super::cycle::{QueueCounters, Span, simulate};
use super::error::AccelError;
use super::host::host_places;
use super::lower;
use super::program::AccelProgram;
use super::step::{Operation, Queue, Sections, Step, Weights, steps};
use super::text::operator_name;
use super::verify::verify;
use crate::BitWidth;
use crate::format::Artifact;
use crate::program::{Op, Program};
use crate::verify::work;
use std::fmt;

/// What one operator of a program costs.
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
    /// From the end of what came before to the end of it.
    pub cycles: Cycles,
    /// Cycles the planes of the arrays, or the lanes of the vector unit, work.
    pub compute: Cycles,
    /// Cycles the bus of the DRAM works.
    pub dram: Cycles,
    /// Cycles of a bit-parallel 8-bit array of the same multipliers: an element makes a product of 8 x 8 bits a cycle for every 8
    /// lanes, or 64 where both operands are serial.
    pub bit_parallel: Cycles,
    /// The load, execute and store queue.
    pub queues: [QueueCounters; 3],
    /// What it did.
    pub events: Events,
    /// Its energy.
    pub energy: Energy,
}

impl LayerCost {
    /// Share of the products that the arrays could make in its cycles; 0 without weights.
    pub fn utilisation(&self, model: &CostModel) -> f64 {
        let config = &model.config;
        let planes = self.bits.map_or(0, |bits| config.serial.planes(bits));
        let elements = [config.tiles, config.rows, config.columns, config.lanes].map(f64::from);
        let most = elements.into_iter().product::<f64>() * self.cycles.0.max(1) as f64;
        (self.macs * planes) as f64 / most
    }

    /// What its time goes to: `banks` where conflicts take longest, `array` or `vector` where the execute queue works longer than
    /// anything moves, `DRAM` where moving is longer, `waiting` for what came before where neither takes half of the time.
    pub fn bound_by(&self) -> &'static str {
        let [load, execute, store] = &self.queues;
        let moving = self.dram.0.max(load.busy + store.busy).max(execute.starved);
        let conflicts = load.conflicts.max(execute.conflicts).max(store.conflicts);
        match () {
            () if conflicts > execute.busy.max(moving) => "banks",
            () if 2 * execute.busy.max(moving) < self.cycles.0 => "waiting",
            () if moving > execute.busy => "DRAM",
            () if self.bits.is_some() => "array",
            () => "vector",
        }
    }
}

/// Cost of a program, one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramCost {
    /// From the first cycle to the end of the last queue.
    pub cycles: Cycles,
    /// The longer of what the execute queue computes and what the bus moves: no schedule takes less.
    pub bound: Cycles,
    /// The load, execute and store queue: they sum to the cycles each.
    pub queues: [QueueCounters; 3],
    /// What it did.
    pub events: Events,
    /// Its energy.
    pub energy: Energy,
    /// Each operator.
    pub layers: Vec<LayerCost>,
}

/// Cost of a program beside that of the same network at 8 bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostReport {
    /// The program.
    pub program: ProgramCost,
    /// The same network with weights of 8 bits.
    pub baseline_8bit: ProgramCost,
    /// Cycles of a bit-parallel 8-bit array of the same multipliers, all layers.
    pub bit_parallel: Cycles,
    /// Lowest and highest energy ratio when any one constant of the energy model is halved or doubled.
    pub energy_ratio_range: [f64; 2],
    /// Elementary operations on floats that the host executes; they take none of the machine's cycles.
    pub host_operations: u64,
    /// Clock, in MHz.
    pub clock_mhz: u32,
}

impl CostReport {
    /// Cycles at 8 bits / cycles.
    pub fn speedup(&self) -> f64 {
        self.baseline_8bit.cycles.0 as f64 / self.program.cycles.0.max(1) as f64
    }

    /// Energy at 8 bits / energy.
    pub fn energy_ratio(&self) -> f64 {
        self.baseline_8bit.energy.total().0 / self.program.energy.total().0.max(f64::MIN_POSITIVE)
    }

    /// The ratio under another energy model.
    pub fn energy_ratio_under(&self, energy: &EnergyModel, config: &AccelConfig) -> f64 {
        let of = |cost: &ProgramCost| cost.events.energy(energy, config).total().0;
        of(&self.baseline_8bit) / of(&self.program).max(f64::MIN_POSITIVE)
    }

    /// Time of one sample in microseconds.
    pub fn latency_us(&self) -> f64 {
        self.program.cycles.0 as f64 / f64::from(self.clock_mhz.max(1))
    }
}

/// Cost of an artifact's program on the default machine.
///
/// # Errors
/// When it has none, or it is refused.
pub fn estimate(artifact: &Artifact) -> Result<CostReport, AccelError> {
    estimate_on(artifact, &AccelProgram::decode(artifact.accelerator())?, &CostModel::default())
}

/// Cost of a program of an artifact's network on a machine.
///
/// # Errors
/// When the program is refused, or was compiled for another machine.
pub fn estimate_on(artifact: &Artifact, program: &AccelProgram, model: &CostModel) -> Result<CostReport, AccelError> {
    let sections =
        Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
    let network = artifact.program();
    let own = program_cost(program, sections, network, model)?;
    let mut at_8_bits = network.clone();
    for op in &mut at_8_bits.ops {
        if let Op::Conv(conv) = op {
            conv.bits = BitWidth::MAX;
        }
    }
    // The addresses of wider weights run past the section, and nothing is read there.
    let sections = Sections { weights: 8 * sections.weights + (1 << 20), ..sections };
    let baseline = program_cost(&lower::program(&at_8_bits, &model.config)?, sections, &at_8_bits, model)?;
    Ok(report(own, baseline, model))
}

fn report(program: ProgramCost, baseline_8bit: ProgramCost, model: &CostModel) -> CostReport {
    let host_operations = program.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.host_operations));
    let bit_parallel = program.layers.iter().fold(Cycles(0), |sum, layer| sum + layer.bit_parallel);
    let clock_mhz = model.config.clock_mhz;
    let mut report =
        CostReport { program, baseline_8bit, bit_parallel, host_operations, clock_mhz, energy_ratio_range: [0.0; 2] };
    let mut range = [report.energy_ratio(); 2];
    for energy in model.energy.variants() {
        let ratio = report.energy_ratio_under(&energy, &model.config);
        range = [range[0].min(ratio), range[1].max(ratio)];
    }
    report.energy_ratio_range = range;
    report
}

/// Steps of a program, and when each runs.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The steps.
    pub steps: Vec<Step>,
    /// When each ran.
    pub spans: Vec<Span>,
}

/// Checks and simulates a program.
///
/// # Errors
/// When the program is refused, or was compiled for another machine.
pub fn timeline(
    program: &AccelProgram,
    sections: Sections,
    network: &Program,
    model: &CostModel,
) -> Result<Timeline, AccelError> {
    let steps = steps(program, sections, network, &model.config)?;
    verify(&steps, program, network, &model.config)?;
    let spans = simulate(&steps, network, &model.config);
    Ok(Timeline { steps, spans })
}

/// Cost of a program of a network.
///
/// # Errors
/// When the program is refused, or was compiled for another machine.
pub fn program_cost(
    program: &AccelProgram,
    sections: Sections,
    network: &Program,
    model: &CostModel,
) -> Result<ProgramCost, AccelError> {
    let Timeline { steps, spans } = timeline(program, sections, network, model)?;
    let host_places = host_places(network).0;
    let mut cost = ProgramCost::default();
    let (mut last, mut ended, mut bus) = (None, 0, 0);
    let mut computed = 0;
    for (step, span) in steps.iter().zip(&spans) {
        ended = span.end.max(ended);
        if let Some(operator) = step.operator.filter(|_| !matches!(step.operation, Operation::Return { .. }))
            && last.replace(operator) != Some(operator)
        {
            cost.layers.push(LayerCost::of(network, operator, &model.config));
        }
        let events = Events::of(step, network, &host_places, &model.config);
        bus += span.bus;
        computed += span.compute;
        cost.events += events;
        cost.queues[step.queue as usize].count(span);
        if let Some(layer) = cost.layers.last_mut() {
            layer.count(step, span, network, events);
            // Until a later step ends, the cycles so far are its.
            layer.cycles = Cycles(ended);
        }
    }
    cost.cycles = Cycles(ended);
    cost.bound = Cycles(computed.max(bus));
    let mut before = 0;
    for layer in &mut cost.layers {
        layer.energy = layer.events.energy(&model.energy, &model.config);
        let end = layer.cycles.0.max(before);
        layer.cycles = Cycles(end - before);
        before = end;
        for counters in &mut layer.queues {
            counters.idle = layer.cycles.0.saturating_sub(counters.occupied());
        }
    }
    for queue in Queue::ALL {
        let counters = &mut cost.queues[queue as usize];
        counters.idle = ended.saturating_sub(counters.occupied());
    }
    cost.energy = cost.events.energy(&model.energy, &model.config);
    Ok(cost)
}

impl QueueCounters {
    /// Cycles with an instruction.
    fn occupied(&self) -> u64 {
        self.busy + self.starved + self.blocked + self.conflicts
    }

    fn count(&mut self, span: &Span) {
        self.busy += span.busy;
        self.starved += span.starved;
        self.blocked += span.blocked;
        self.conflicts += span.conflicts;
    }
}

impl LayerCost {
    fn of(network: &Program, operator: u16, config: &AccelConfig) -> Self {
        let op = network.ops.get(usize::from(operator));
        let mut layer = LayerCost { name: op.map_or("?", operator_name).to_owned(), ..LayerCost::default() };
        if let Some(Op::Conv(conv)) = op {
            let shape = LayerShape::of(network, conv);
            layer.bits = Some(conv.bits);
            layer.macs = shape.macs();
            let products = (config.lanes / config.serial.lanes_of_a_product()).max(1);
            let waves = shape.blocks(config).div_ceil(config.tiles.into());
            layer.bit_parallel = Cycles(waves * shape.lanes_over(products).1);
            layer.weight_bytes = shape.weight_bytes(conv.outputs, conv.bits);
        }
        layer
    }

    fn count(&mut self, step: &Step, span: &Span, network: &Program, events: Events) {
        match &step.operation {
            Operation::Host(operator) => {
                let operations = work::of_operator(network, &network.ops[usize::from(*operator)]);
                self.host_operations = self.host_operations.saturating_add(operations);
            }
            Operation::Conv(conv) if matches!(conv.weights, Weights::Section { .. }) => {
                self.compute += Cycles(span.busy)
            }
            _ => self.compute += Cycles(span.compute),
        }
        self.dram += Cycles(span.bus);
        self.queues[step.queue as usize].count(span);
        self.events += events;
    }
}

impl fmt::Display for CostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = &self.program;
        let width = own.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(f, "{:width$} bits         MACs weight B       cycles  bound by    energy nJ", "layer")?;
        for layer in &own.layers {
            let bits = layer.bits.map_or("-".to_owned(), |bits| bits.to_string());
            write!(f, "{:width$} {bits:>4} {:>12} {:>8}", layer.name, layer.macs, layer.weight_bytes)?;
            let energy = layer.energy.total().0 / 1e3;
            writeln!(f, " {:>12}  {:8} {energy:>12.3}", layer.cycles.0, layer.bound_by())?;
        }
        if self.host_operations > 0 {
            writeln!(f, "host: {} operations on floats, outside of the cycles", self.host_operations)?;
        }
        let (base, total) = (&self.baseline_8bit, |cost: &ProgramCost| cost.energy.total().0 / 1e3);
        writeln!(f, "total: {} cycles ({:.3} us), {:.3} nJ", own.cycles.0, self.latency_us(), total(own))?;
        writeln!(f, "all weights at 8 bits: {} cycles, {:.3} nJ", base.cycles.0, total(base))?;
        let [low, high] = self.energy_ratio_range;
        write!(f, "speedup {:.3}, energy ratio {:.3}", self.speedup(), self.energy_ratio())?;
        writeln!(f, " ({low:.3} to {high:.3} with any one energy constant halved or doubled)")
    }
}
