//! Cost of what a program does, and of a layer before a program exists.

use super::area::{LANES_OF_CONSTANTS, element_ratio};
use super::shape::LayerShape;
use super::units::{Cycles, EnergyModel, PicoJoules};
use crate::BitWidth;
use crate::accel::access::{Memory, accesses};
use crate::accel::array::Blocks;
use crate::accel::banks::Words;
use crate::accel::config::AccelConfig;
use crate::accel::cycle::{self, OVERHEAD};
use crate::accel::step::{Operation, Step, Weights};
use crate::program::Program;
use std::ops::AddAssign;

/// What a part of a program does to the machine, in numbers of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Cycles of elements.
    pub element_cycles: u64,
    /// Bit planes into the weight registers of rows.
    pub row_planes: u64,
    /// Steps of the activation registers of columns.
    pub column_steps: u64,
    /// Results scaled, clamped and rounded.
    pub requantized: u64,
    /// Elements through the lanes of the vector unit.
    pub vector_elements: u64,
    /// Bytes written to the weight buffer.
    pub weight_write_bytes: u64,
    /// Bytes of weights, in bit planes, read from the weight buffer.
    pub weight_read_bytes: u64,
    /// Bytes written to the activation buffer.
    pub activation_write_bytes: u64,
    /// Bytes read from the activation buffer.
    pub activation_read_bytes: u64,
    /// Bytes of DRAM moved.
    pub dram_bytes: u64,
}

impl AddAssign for Events {
    fn add_assign(&mut self, other: Events) {
        self.element_cycles += other.element_cycles;
        self.row_planes += other.row_planes;
        self.column_steps += other.column_steps;
        self.requantized += other.requantized;
        self.vector_elements += other.vector_elements;
        self.weight_write_bytes += other.weight_write_bytes;
        self.weight_read_bytes += other.weight_read_bytes;
        self.activation_write_bytes += other.activation_write_bytes;
        self.activation_read_bytes += other.activation_read_bytes;
        self.dram_bytes += other.dram_bytes;
    }
}

/// Energy by component.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    /// Elements and registers of the arrays.
    pub array: PicoJoules,
    /// Requantizers and the vector unit.
    pub vector: PicoJoules,
    /// Weight buffer.
    pub weight_buffer: PicoJoules,
    /// Activation buffer.
    pub activation_buffer: PicoJoules,
    /// DRAM.
    pub dram: PicoJoules,
}

impl Energy {
    /// All components.
    pub fn total(&self) -> PicoJoules {
        self.array + self.vector + self.weight_buffer + self.activation_buffer + self.dram
    }
}

impl Events {
    /// The events of a step, from its operands alone.
    pub(super) fn of(step: &Step, network: &Program, host_places: &[u32], config: &AccelConfig) -> Self {
        let accesses = accesses(&step.operation, network, host_places);
        let mut events = Events {
            vector_elements: cycle::vector_elements(&step.operation, network),
            dram_bytes: cycle::dram(step, &accesses, network, config)[0],
            ..Events::default()
        };
        let buffer = config.activation_sram_bytes as usize;
        for access in &accesses {
            let bytes = access.len() as u64;
            match (access.memory, access.is_write) {
                (Memory::Activations, true) if access.first < buffer => events.activation_write_bytes += bytes,
                (Memory::Activations, false) if access.first < buffer => events.activation_read_bytes += bytes,
                (Memory::Weights, true) => events.weight_write_bytes += bytes,
                _ => {}
            }
        }
        match &step.operation {
            Operation::Conv(conv) if matches!(conv.weights, Weights::Buffer { .. }) => {
                let (rows, columns, lanes) =
                    (u64::from(config.rows), u64::from(config.columns), u64::from(config.lanes));
                let steps = conv.blocks(config) * conv.steps(config.lanes);
                let planes = steps * u64::from(conv.bits.bits());
                events.element_cycles = steps * config.serial.planes(conv.bits) * rows * columns;
                // Registers hold what is not serial, and are charged when they are filled.
                events.row_planes = planes * rows;
                events.column_steps = steps * columns;
                // A step reads the bit planes of its rows, and 8 bits for each lane of its columns.
                events.weight_read_bytes += planes * rows * lanes / 8;
                events.activation_read_bytes = steps * columns * lanes;
                events.requantized = conv.positions() * u64::from(conv.outputs.end - conv.outputs.start);
            }
            // Cells under a window are read once for each window.
            Operation::PoolMax { x, .. } | Operation::PoolAvg { x, .. } if x.address < buffer => {
                events.activation_read_bytes = events.vector_elements;
            }
            _ => {}
        }
        events
    }

    /// Their energy on a machine: an element takes as much as its transistors are more than those of the element that was measured,
    /// registers as much as their lanes.
    pub fn energy(&self, model: &EnergyModel, config: &AccelConfig) -> Energy {
        let registers = self.row_planes as f64 * model.weight_register_row_cycle
            + self.column_steps as f64 * model.activation_register_column_step;
        let elements = self.element_cycles as f64 * model.element_cycle;
        let registers = registers * (f64::from(config.lanes) / f64::from(LANES_OF_CONSTANTS));
        Energy {
            array: PicoJoules(elements * element_ratio(config) + registers),
            vector: PicoJoules(
                self.requantized as f64 * model.requantize + self.vector_elements as f64 * model.vector_element,
            ),
            weight_buffer: PicoJoules(
                self.weight_write_bytes as f64 * model.weight_write_byte
                    + self.weight_read_bytes as f64 * model.weight_read_byte,
            ),
            activation_buffer: PicoJoules(
                self.activation_write_bytes as f64 * model.activation_write_byte
                    + self.activation_read_bytes as f64 * model.activation_read_byte,
            ),
            dram: PicoJoules(self.dram_bytes as f64 * model.dram_byte),
        }
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

/// Estimated cost of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerEstimate {
    /// Cycles the planes of the arrays work: those of the layer's program.
    pub compute: Cycles,
    /// Cycles: the longer of what one instruction for the whole layer takes with the banks to itself, and of moving.
    pub cycles: Cycles,
    /// Energy.
    pub energy: PicoJoules,
}

impl CostModel {
    /// Closed form of the cost of a weight layer at any width, before a program exists. Weights and constants move once; a
    /// tensor larger than half of the activation buffer moves from or to DRAM once.
    pub fn layer(&self, shape: &LayerShape, bits: BitWidth) -> LayerEstimate {
        let config = &self.config;
        let (rows, columns, lanes) = (u64::from(config.rows), u64::from(config.columns), u64::from(config.lanes));
        let (count, steps) = (shape.blocks(config), shape.lanes_over(config.lanes).1);
        let blocks = Blocks { count, positions: shape.positions(), planes: steps * config.serial.planes(bits) };
        let time = blocks.time(config);
        let outputs = u64::from(shape.outputs());
        let weight_bytes = shape.weight_bytes(shape.outputs(), bits);
        let results = shape.positions() * outputs;
        let streamed = |bytes: u64| if bytes > u64::from(config.activation_sram_bytes / 2) { bytes } else { 0 };
        let (from_dram, to_dram) =
            (streamed(shape.input_bytes()), if shape.result_bytes == 4 { 4 * results } else { streamed(results) });
        let (steps, planes) = (count * steps, count * steps * u64::from(bits.bits()));
        let events = Events {
            element_cycles: count * blocks.planes * rows * columns,
            row_planes: planes * rows,
            column_steps: steps * columns,
            requantized: results,
            vector_elements: 0,
            weight_write_bytes: weight_bytes,
            weight_read_bytes: planes * rows * lanes / 8,
            activation_write_bytes: from_dram + if shape.result_bytes == 4 { 0 } else { results },
            activation_read_bytes: steps * columns * lanes + streamed(results),
            dram_bytes: weight_bytes + 8 * outputs + from_dram + to_dram,
        };
        let dram = config.dram_cycles(events.dram_bytes, 1);
        let words = Words::of_blocks(count, bits, shape.result_bytes == 1, config);
        LayerEstimate {
            compute: Cycles(time.compute),
            cycles: Cycles(words.alone(time.drained + OVERHEAD, config).max(dram + OVERHEAD)),
            energy: events.energy(&self.energy, config).total(),
        }
    }
}
