//! What a program does, checked: descriptors joined with the operations that use them.
//!
//! A program is a straight line. `SET_*` instructions fill registers, the others execute with them. [`steps`] runs the
//! registers, checks every operation against the memories it touches and returns the operations with all they need. Where an instruction
//! names an operator of the network, whose plan was verified, only the places of its operands are checked.
//!
//! Checked: every address range lies inside the arena, the host memory and the sections; a result overlaps no operand; extents agree
//! with the window; clamps are not empty; multipliers are in [`crate::verify::MULTIPLIER_RANGE`]; no operation takes more than
//! [`MAX_WORK`] products; the program ends in one `END`.
//!
//! Not checked: that an operand has been written before (memory begins as zeros), and the values in the constants section
//! (the arithmetic is defined for all of them).

use crate::BitWidth;
use crate::program::Window;
use std::ops::Range;

mod resolve;

pub use resolve::steps;

/// Bound on the products (window cells times results) of one instruction.
pub const MAX_WORK: u64 = 1 << 42;

/// A tensor in the activation arena, dense, (row, column, channel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// First byte.
    pub address: u32,
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
        self.address as usize..self.address as usize + self.len()
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
    /// Floats in host memory.
    Host(HostTensor),
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
    /// Groups of channels.
    pub groups: u32,
    /// Bit planes.
    pub bits: BitWidth,
    /// The layer's bytes in the weights section.
    pub weights: Range<usize>,
    /// The layer's bytes in the constants section.
    pub constants: Range<usize>,
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
    Vector(u16),
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
    /// Operator of the network it belongs to, for reports; `RETURN` has none.
    pub operator: Option<u16>,
    /// What it does.
    pub operation: Operation,
}

/// Lengths of the sections that addresses point into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Bytes of the weights section.
    pub weights: usize,
    /// Bytes of the constants section.
    pub constants: usize,
}
