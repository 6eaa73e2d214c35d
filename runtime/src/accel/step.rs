//! What a program does, checked: descriptors joined with the operations that use them.
//!
//! A program is a line of instructions with loops, which [`super::expand`] unrolls. `SET_*` instructions fill registers, the others
//! execute with them on one of three queues. [`steps`] runs the registers, checks every operation against the memories it touches and
//! returns the operations with all they need. Where an instruction names an operator of the network, whose plan was verified, only
//! the places of its operands are checked.
//!
//! Checked: every address range lies inside its buffer, the arena, the host memory and the sections; a result overlaps no operand;
//! extents agree with the window; clamps are not empty; multipliers are in [`crate::verify::MULTIPLIER_RANGE`]; the program takes no
//! more products than its network, or than [`MAX_WORK`] where it belongs to none; it ends in one `END`.
//!
//! Not checked here but in [`super::verify`]: the order that tokens enforce, and that what is read has been written.

use super::config::AccelConfig;
use crate::BitWidth;
use crate::program::{TensorId, Window};
use std::ops::Range;

mod conv;
mod resolve;

pub use resolve::steps;

/// Bound on the products (window cells times results) of a program.
pub const MAX_WORK: u64 = 1 << 42;

/// Which of the machine's queues executes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// DRAM to buffers.
    Load,
    /// The array, the vector unit and the host.
    Execute,
    /// Buffers to DRAM.
    Store,
}

impl Queue {
    /// All of them.
    pub const ALL: [Queue; 3] = [Queue::Load, Queue::Execute, Queue::Store];
}

/// Tokens that a step takes before it starts and gives when it has ended. Between the execute queue and each of the others
/// tokens wait in two lines, one a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Takes one that the load queue gave.
    pub wait_load: bool,
    /// Takes one that the execute queue gave.
    pub wait_execute: bool,
    /// Takes one that the store queue gave.
    pub wait_store: bool,
    /// Gives one to the load queue.
    pub signal_load: bool,
    /// Gives one to the execute queue.
    pub signal_execute: bool,
    /// Gives one to the store queue.
    pub signal_store: bool,
}

/// Bytes between the arena and the activation buffer: runs in the arena, dense in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// First byte in the memory of activations (see [`View::address`]).
    pub dram: usize,
    /// First byte in the activation buffer.
    pub buffer: usize,
    /// Bytes of a run.
    pub run: usize,
    /// Runs.
    pub runs: usize,
    /// Bytes from one run to the next.
    pub pitch: usize,
}

impl Transfer {
    /// Bytes moved.
    pub fn len(&self) -> usize {
        self.run * self.runs
    }

    /// True when nothing moves; never so in a step.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the memory of activations from the first run to the last.
    pub fn hull(&self) -> Range<usize> {
        self.dram..self.dram + self.pitch * (self.runs - 1) + self.run
    }

    /// Each run.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Transfer { dram, run, pitch, runs, .. } = *self;
        (0..runs).map(move |i| dram + i * pitch..dram + i * pitch + run)
    }
}

/// A tensor, dense, (row, column, channel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// First byte in the memory of activations: the buffer, then the arena.
    pub address: usize,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Channels.
    pub channels: u32,
    /// Code of the real value 0.
    pub zero_point: u8,
}

impl View {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.height as usize * self.width as usize * self.channels as usize
    }

    /// True when it holds nothing; never so in a step.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes in the arena.
    pub fn range(&self) -> Range<usize> {
        self.address..self.address + self.len()
    }
}

/// A tensor and the codes it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamped {
    /// The tensor.
    pub view: View,
    /// Lowest code.
    pub lo: u8,
    /// Highest code.
    pub hi: u8,
}

/// Where the values of a tensor lie in host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTensor {
    /// First host value.
    pub first: u32,
    /// In (row, column, channel) order instead of (channel, row, column).
    pub channel_last: bool,
}

/// Where a convolution's results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Codes in the arena.
    Codes(Clamped),
    /// Rows of floats in host memory.
    Host {
        /// The whole tensor.
        tensor: HostTensor,
        /// Its rows and columns.
        extent: [u32; 2],
        /// The row that the first one computed goes to.
        first_row: u32,
    },
}

/// Where the weights and constants of a convolution are.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// In the buffers, from the first channel computed on.
    Buffer {
        /// Bytes of the weight buffer.
        bytes: Range<usize>,
        /// Entries of the constants buffer.
        slots: Range<usize>,
    },
    /// In the sections, all channels of the layer: the vector unit streams them.
    Section {
        /// Bytes of the weights section.
        weights: Range<usize>,
        /// Bytes of the constants section.
        constants: Range<usize>,
    },
}

/// What the lanes of a step take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanesOver {
    /// Channels of one tap.
    Channels = 0,
    /// Taps of one channel.
    Taps = 1,
    /// A piece of the whole depth, where the kernel covers its input.
    Depth = 2,
}

/// A convolution of a range of output channels.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvStep {
    /// Input.
    pub x: View,
    /// Result, all channels.
    pub sink: Sink,
    /// Rows and columns of the result.
    pub extent: [u32; 2],
    /// Window.
    pub window: Window,
    /// Output channels of the layer.
    pub layer_outputs: u32,
    /// Output channels computed.
    pub outputs: Range<u32>,
    /// Channel of the result that the first goes to.
    pub channel: u32,
    /// Groups of channels.
    pub groups: u32,
    /// Bit planes.
    pub bits: BitWidth,
    /// Weights and constants.
    pub weights: Weights,
    /// What the lanes of a step take.
    pub lanes_over: LanesOver,
}

impl ConvStep {
    /// Input channels of a group.
    pub fn group_inputs(&self) -> u32 {
        self.x.channels / self.groups
    }

    /// Weights an output channel.
    pub fn depth(&self) -> usize {
        self.window.kernel[0] as usize * self.window.kernel[1] as usize * self.group_inputs() as usize
    }
}

/// An operation with everything it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Weights and constants to their buffers.
    LoadWeights {
        /// Bytes of the weights section.
        source: Range<usize>,
        /// First byte in the weight buffer.
        buffer: usize,
        /// First bytes of the biases and of the multipliers in the constants section.
        constants: [usize; 2],
        /// Entries of the constants buffer.
        slots: Range<usize>,
    },
    /// Activations to the buffer.
    LoadActivations(Transfer),
    /// Activations from the buffer.
    Store(Transfer),
    /// Host floats to codes.
    Quantize {
        /// Values.
        host: HostTensor,
        /// Result.
        y: View,
        /// 1 / scale.
        inv_scale: f32,
    },
    /// Convolution.
    Conv(ConvStep),
    /// Maximum over a window.
    PoolMax {
        /// Input.
        x: View,
        /// Result.
        y: Clamped,
        /// Window.
        window: Window,
    },
    /// Mean over a window.
    PoolAvg {
        /// Input.
        x: View,
        /// Result.
        y: Clamped,
        /// Window.
        window: Window,
        /// Input scale / result scale.
        multiplier: f32,
        /// Whether padding counts in the divisor.
        count_include_pad: bool,
    },
    /// Elementwise sum.
    Add {
        /// First operand and its multiplier.
        a: (View, f32),
        /// Second operand and its multiplier.
        b: (View, f32),
        /// Result.
        y: Clamped,
    },
    /// Channels into a range of the result's channels, rescaled when there is a multiplier.
    Channels {
        /// Input.
        x: View,
        /// Result, all channels.
        y: View,
        /// First channel written.
        first_channel: u32,
        /// Input scale / result scale.
        multiplier: Option<f32>,
    },
    /// Multiplier and addend a channel.
    Affine {
        /// Input.
        x: View,
        /// Result.
        y: Clamped,
        /// Bytes of the constants section.
        constants: Range<usize>,
    },
    /// Codes in (channel, row, column) order under other extents.
    Reshape {
        /// Input.
        x: View,
        /// Result.
        y: View,
    },
    /// Codes to host floats.
    Dequantize {
        /// Input.
        x: View,
        /// Values.
        host: HostTensor,
        /// Real value of one step.
        scale: f32,
    },
    /// An operator of the network on tensors.
    Vector {
        /// Operator of the network.
        operator: u16,
        /// First byte of each tensor that it reads or writes.
        places: Vec<(TensorId, usize)>,
    },
    /// An operator of the network on floats.
    Host(u16),
    /// The next output.
    Return {
        /// Host values.
        values: Range<usize>,
    },
}

/// One executed instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Index of the instruction.
    pub at: usize,
    /// Operator of the network it belongs to, for reports.
    pub operator: Option<u16>,
    /// Which queue executes it.
    pub queue: Queue,
    /// What it takes and gives.
    pub tokens: Tokens,
    /// How many of the steps before it must have ended: those before the last `BEGIN` that says so.
    pub after: usize,
    /// What it does.
    pub operation: Operation,
}

/// What a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Bytes of the weights section.
    pub weights: usize,
    /// Bytes of the constants section.
    pub constants: usize,
}

/// Entries of the memories.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memories {
    pub(super) buffer: usize,
    pub(super) arena: usize,
    pub(super) weights: usize,
    pub(super) slots: usize,
}

impl Memories {
    pub(super) fn new(config: &AccelConfig, arena_bytes: u32) -> Self {
        Memories {
            buffer: config.activation_sram_bytes as usize,
            arena: arena_bytes as usize,
            weights: config.weight_sram_bytes as usize,
            slots: config.constant_slots as usize,
        }
    }
}
