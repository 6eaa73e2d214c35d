//! Cost of one operator: from its shape, or its operands' sizes.

use super::units::{Cycles, EnergyModel, LANES_OF_CONSTANTS, PicoJoules};
use crate::BitWidth;
use crate::accel::config::AccelConfig;
use crate::accel::step::{ConvStep, Sink};
use crate::pack::packed_len;
use crate::program::{Conv, Destination, Program};
use std::ops::{AddAssign, Range};

/// Bytes that an operator moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Weights and constants from DRAM.
    pub weight_dram_bytes: u64,
    /// Activations and host floats from and to DRAM.
    pub activation_dram_bytes: u64,
    /// Weights written to and read from the chip's memory.
    pub weight_sram_bytes: u64,
    /// Activations written to and read from the chip's memory.
    pub activation_sram_bytes: u64,
}

/// Cycles, energy and traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Cycles the arrays or the vector unit work.
    pub compute: Cycles,
    /// Cycles the DRAM works.
    pub dram: Cycles,
    /// The longer of the two, instruction by instruction: they overlap.
    pub cycles: Cycles,
    /// Energy of all parts.
    pub energy: PicoJoules,
    /// The arrays' share of the energy: elements and registers.
    pub array_energy: PicoJoules,
    /// The share of the memories on the chip.
    pub sram_energy: PicoJoules,
    /// The share of the DRAM.
    pub dram_energy: PicoJoules,
    /// Bytes moved.
    pub traffic: Traffic,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.compute += other.compute;
        self.dram += other.dram;
        self.cycles += other.cycles;
        self.energy += other.energy;
        self.array_energy += other.array_energy;
        self.sram_energy += other.sram_energy;
        self.dram_energy += other.dram_energy;
        self.traffic.weight_dram_bytes += other.traffic.weight_dram_bytes;
        self.traffic.activation_dram_bytes += other.traffic.activation_dram_bytes;
        self.traffic.weight_sram_bytes += other.traffic.weight_sram_bytes;
        self.traffic.activation_sram_bytes += other.traffic.activation_sram_bytes;
    }
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
    /// Bytes of a result: 1 for codes, 4 for floats that go to the host.
    pub result_bytes: u32,
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
            result_bytes: match conv.destination {
                Destination::Codes { .. } => 1,
                Destination::Logits { .. } => 4,
            },
        }
    }

    pub(super) fn of_step(conv: &ConvStep) -> Self {
        LayerShape {
            group_inputs: conv.group_inputs(),
            group_outputs: conv.layer_outputs / conv.groups,
            groups: conv.groups,
            kernel: conv.window.kernel,
            input: [conv.x.height, conv.x.width],
            output: conv.extent,
            result_bytes: match conv.sink {
                Sink::Codes(_) => 1,
                Sink::Host(_) => 4,
            },
        }
    }

    fn taps(&self) -> u64 {
        u64::from(self.kernel[0]) * u64::from(self.kernel[1])
    }

    /// Weights an output channel.
    pub fn depth(&self) -> u64 {
        self.taps() * u64::from(self.group_inputs)
    }

    /// Output channels.
    pub fn outputs(&self) -> u32 {
        self.group_outputs * self.groups
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
        self.depth() * u64::from(self.outputs())
    }

    /// Packed bytes of the weights of `outputs` channels.
    pub fn weight_bytes(&self, outputs: u32, bits: BitWidth) -> u64 {
        packed_len(outputs as usize, self.depth() as usize, bits).map_or(u64::MAX, |len| len as u64)
    }

    /// Steps of one block of outputs and positions: how often the lanes are filled to cover the depth.
    ///
    /// Lanes take channels of one tap or taps of one channel, whichever needs fewer steps; or any depth where a window
    /// is the whole input, which lies in one piece.
    pub fn steps(&self, lanes: u32) -> u64 {
        let (channels, lanes) = (u64::from(self.group_inputs), u64::from(lanes));
        if self.kernel == self.input {
            return self.depth().div_ceil(lanes);
        }
        (channels.div_ceil(lanes) * self.taps()).min(self.taps().div_ceil(lanes) * channels)
    }

    /// Blocks of `rows` outputs of one group x `columns` positions of one image row, for a range of output channels.
    pub fn blocks(&self, outputs: &Range<u32>, config: &AccelConfig) -> u64 {
        let rows = u64::from(config.rows);
        let size = self.group_outputs.max(1);
        let group = |g: u32| {
            let (first, end) = (outputs.start.max(g * size), outputs.end.min((g + 1) * size));
            u64::from(end.saturating_sub(first)).div_ceil(rows)
        };
        let (first, last) = (outputs.start / size, outputs.end.saturating_sub(1) / size);
        let whole = u64::from(last.saturating_sub(first).saturating_sub(1)) * u64::from(size).div_ceil(rows);
        let row_blocks = if first == last { group(first) } else { group(first) + whole + group(last) };
        row_blocks * u64::from(self.output[1]).div_ceil(config.columns.into()) * u64::from(self.output[0])
    }

    fn input_bytes(&self) -> u64 {
        u64::from(self.input[0]) * u64::from(self.input[1]) * u64::from(self.group_inputs) * u64::from(self.groups)
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
    /// Cost of a weight layer at any width, before a program exists; that of the program which [`crate::accel::lower()`] makes.
    pub fn layer(&self, shape: &LayerShape, bits: BitWidth) -> Cost {
        let mut cost = Cost::default();
        for outputs in self.config.output_ranges(shape.outputs(), shape.depth(), bits) {
            cost += self.conv(shape, &outputs, bits);
        }
        cost
    }

    /// Cost of one `CONV`.
    pub(super) fn conv(&self, shape: &LayerShape, outputs: &Range<u32>, bits: BitWidth) -> Cost {
        let config = &self.config;
        let (rows, columns, lanes) = (u64::from(config.rows), u64::from(config.columns), u64::from(config.lanes));
        let (blocks, steps, planes) =
            (shape.blocks(outputs, config), shape.steps(config.lanes), u64::from(bits.bits()));
        // Blocks run on the tiles side by side; a step takes one cycle a bit plane.
        let compute = Cycles(blocks.div_ceil(config.tiles.into()) * steps * planes);
        let busy_steps = blocks * steps;
        let busy_cycles = busy_steps * planes;
        let count = outputs.end - outputs.start;
        let weight_bytes = shape.weight_bytes(count, bits);
        let mut traffic = Traffic {
            weight_dram_bytes: weight_bytes + 8 * u64::from(count),
            // A step reads the bit planes of its rows, and 8 bits for each lane of its columns.
            weight_sram_bytes: weight_bytes + busy_cycles * rows * lanes / 8,
            activation_sram_bytes: busy_steps * columns * lanes,
            ..Traffic::default()
        };
        self.stream(&mut traffic, shape.input_bytes(), shape.input_bytes());
        let result = shape.positions() * u64::from(count) * u64::from(shape.result_bytes);
        if shape.result_bytes == 4 {
            traffic.activation_dram_bytes += result;
        } else {
            traffic.activation_sram_bytes += result;
            self.stream(&mut traffic, shape.positions() * u64::from(shape.outputs()), result);
        }
        let e = &self.energy;
        let array = busy_cycles as f64 * (rows * columns) as f64 * e.element_cycle
            + busy_cycles as f64 * rows as f64 * e.weight_register_row_cycle
            + busy_steps as f64 * columns as f64 * e.activation_register_column_step;
        self.finish(compute, traffic, array * (lanes as f64 / LANES_OF_CONSTANTS))
    }

    /// Cost of an operator of the vector unit: `elements` go through its lanes and `written` bytes to the chip's memory; tensors
    /// of the given bytes are read and written, `dram` more bytes come from or go to DRAM.
    pub(super) fn vector(&self, elements: u64, written: u64, tensors: &[u64], dram: u64) -> Cost {
        let mut traffic = Traffic { activation_dram_bytes: dram, ..Traffic::default() };
        traffic.activation_sram_bytes += elements + written;
        for &bytes in tensors {
            self.stream(&mut traffic, bytes, bytes);
        }
        self.finish(Cycles(elements.div_ceil(self.config.vector_lanes.into())), traffic, 0.0)
    }

    /// A tensor larger than half of the activation memory lives in DRAM: `moved` bytes of it pass through.
    fn stream(&self, traffic: &mut Traffic, tensor_bytes: u64, moved: u64) {
        if tensor_bytes > u64::from(self.config.activation_sram_bytes / 2) {
            traffic.activation_dram_bytes += moved;
            traffic.activation_sram_bytes += moved;
        }
    }

    fn finish(&self, compute: Cycles, traffic: Traffic, array_pj: f64) -> Cost {
        let dram_bytes = traffic.weight_dram_bytes + traffic.activation_dram_bytes;
        let dram = Cycles(dram_bytes.div_ceil(self.config.dram_bytes_per_cycle.into()));
        let sram_bytes = (traffic.weight_sram_bytes + traffic.activation_sram_bytes) as f64;
        let array_energy = PicoJoules(array_pj);
        let sram_energy = PicoJoules(sram_bytes * self.energy.sram_byte);
        let dram_energy = PicoJoules(dram_bytes as f64 * self.energy.dram_byte);
        let energy = array_energy + sram_energy + dram_energy;
        Cost { compute, dram, cycles: compute.max(dram), energy, array_energy, sram_energy, dram_energy, traffic }
    }
}
