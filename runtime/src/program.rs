//! What an artifact computes: operators over u8 tensors and float slots.
//!
//! A tensor holds one sample in (row, column, channel) order, one byte a value, dense; `real = (q - zero_point) * scale`.
//! A float slot holds f32 values in the order of ONNX; network inputs and outputs are slots. The operators are the table of
//! [`crate::ops`]; their arithmetic is specified in docs/quantization.md; [`crate::reference`] is its readable form.
//!
//! Invariant: a [`Program`] from [`crate::format::Artifact`] has passed [`crate::verify`]; executors rely on it.

use crate::ops::field::choice;
use std::ops::Range;

pub use crate::ops::{ArithmeticKind, Conv, Op, Operand};

/// Index into [`Program::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

/// Index into [`Program::floats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FloatId(pub u32);

/// A u8 activation tensor of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// ONNX name of the node that yields it.
    pub name: String,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Channels; innermost in memory.
    pub channels: u32,
    /// Real value of one step.
    pub scale: f32,
    /// Code of the real value 0.
    pub zero_point: u8,
    /// First byte in the dense arena of the static memory plan.
    pub arena_offset: u32,
}

impl Tensor {
    /// Bytes of one sample.
    pub fn len(&self) -> usize {
        self.height as usize * self.width as usize * self.channels as usize
    }

    /// True when it holds nothing; never so in a verified program.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes in the arena.
    pub fn arena_range(&self) -> std::ops::Range<usize> {
        self.arena_offset as usize..self.arena_offset as usize + self.len()
    }
}

/// Floats of one sample, in the order of ONNX.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatSlot {
    /// Number of values.
    pub len: u32,
}

choice! {
    /// Element type of a network input or output in ONNX. Every executor takes and gives f32.
    pub enum ElementType {
        /// `FLOAT`.
        F32 = 1 "f32",
        /// `FLOAT16`.
        F16 = 2 "f16",
        /// `BFLOAT16`.
        Bf16 = 3 "bf16",
        /// `DOUBLE`.
        F64 = 4 "f64",
        /// `INT8`.
        I8 = 5 "i8",
        /// `UINT8`.
        U8 = 6 "u8",
        /// `INT16`.
        I16 = 7 "i16",
        /// `UINT16`.
        U16 = 8 "u16",
        /// `INT32`.
        I32 = 9 "i32",
        /// `UINT32`.
        U32 = 10 "u32",
        /// `INT64`.
        I64 = 11 "i64",
        /// `UINT64`.
        U64 = 12 "u64",
        /// `BOOL`.
        Bool = 13 "bool",
    }

    /// Order of a float slot against the tensor that it is converted from or to.
    pub enum Order {
        /// (channel, row, column).
        ChannelFirst = 0 "channel_first",
        /// That of the tensor: (row, column, channel).
        Same = 1 "same",
    }

    /// Which ONNX layer a [`Conv`] came from; for reports only.
    pub enum LayerKind {
        /// Conv.
        Conv = 0 "conv",
        /// Gemm or MatMul: a convolution whose kernel covers its whole input.
        FullyConnected = 1 "fully_connected",
    }
}

impl ElementType {
    /// Whether its values are integers; booleans are none.
    pub fn is_integer(self) -> bool {
        !matches!(self, ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::F64 | ElementType::Bool)
    }
}

#[allow(clippy::derivable_impls, reason = "the macro that declares it derives none")]
impl Default for ElementType {
    fn default() -> Self {
        ElementType::F32
    }
}

/// A network input or output.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Port {
    /// ONNX name.
    pub name: String,
    /// Element type in ONNX.
    pub element: ElementType,
    /// Extents of one sample in ONNX.
    pub dims: Vec<u32>,
}

impl Port {
    /// Number of values of one sample.
    pub fn len(&self) -> usize {
        self.dims.iter().map(|&d| d as usize).product()
    }

    /// True for a port without values; never so in a verified program.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sliding window, `[vertical, horizontal]`; padding is `[top, left, bottom, right]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [u32; 2],
    /// Step between positions.
    pub stride: [u32; 2],
    /// Step between taps.
    pub dilation: [u32; 2],
    /// Cells added at the borders.
    pub padding: [u32; 4],
}

impl Window {
    /// Height and width of the result; `None` where the window does not fit or an extent is out of range.
    pub fn output(&self, height: u32, width: u32) -> Option<[u32; 2]> {
        let extent = |size: u32, before: u32, after: u32, axis: usize| {
            let span = self.kernel[axis].checked_sub(1)?.checked_mul(self.dilation[axis])?.checked_add(1)?;
            let room = size.checked_add(before)?.checked_add(after)?.checked_sub(span)?;
            room.checked_div(self.stride[axis])?.checked_add(1)
        };
        let [top, left, bottom, right] = self.padding;
        Some([extent(height, top, bottom, 0)?, extent(width, left, right, 1)?])
    }
}

/// Where the accumulators of a [`Conv`] go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Destination {
    /// Requantized to codes, clamped to `lo..=hi`.
    Codes {
        /// Result tensor.
        y: TensorId,
        /// Lowest code.
        lo: u8,
        /// Highest code.
        hi: u8,
    },
    /// Scaled to floats.
    Logits {
        /// Result.
        y: FloatId,
        /// Order of the floats.
        order: Order,
    },
}

/// A whole network: inputs, operators in execution order, outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The network's inputs and the slots that hold them at the start. A sample is all of them one after the other.
    pub inputs: Vec<(Port, FloatId)>,
    /// The network's outputs and the slots that hold them at the end.
    pub outputs: Vec<(Port, FloatId)>,
    /// Activation tensors; each is written by exactly one operator.
    pub tensors: Vec<Tensor>,
    /// Float slots; each is an input or written by exactly one operator.
    pub floats: Vec<FloatSlot>,
    /// Operators in execution order.
    pub ops: Vec<Op>,
    /// Bytes of the dense arena that holds every tensor at its `arena_offset` while it lives.
    pub arena_bytes: u32,
}

impl Program {
    /// The tensor of an id of this program.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// Values of a float slot of this program.
    pub fn float_len(&self, id: FloatId) -> usize {
        self.floats[id.0 as usize].len as usize
    }

    /// Values of one sample of all inputs.
    pub fn input_len(&self) -> usize {
        self.inputs.iter().map(|(port, _)| port.len()).sum()
    }

    /// Where each input lies in a sample, with its slot.
    pub fn input_ranges(&self) -> impl Iterator<Item = (FloatId, Range<usize>)> + '_ {
        self.inputs.iter().scan(0, |end, (port, slot)| {
            let start = *end;
            *end += port.len();
            Some((*slot, start..*end))
        })
    }

    /// The layers that own weights, in execution order.
    pub fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.ops.iter().filter_map(|op| match op {
            Op::Conv(conv) => Some(conv),
            _ => None,
        })
    }

    /// Height and width of a conv's result.
    pub fn conv_output(&self, conv: &Conv) -> [u32; 2] {
        let x = self.tensor(conv.x);
        conv.window.output(x.height, x.width).unwrap_or([0, 0])
    }

    /// Multiply-accumulates of one sample through a conv.
    pub fn macs(&self, conv: &Conv) -> u64 {
        let [h, w] = self.conv_output(conv);
        u64::from(h) * u64::from(w) * self.weights(conv)
    }

    /// Number of weights of a conv, padding not counted.
    pub fn weights(&self, conv: &Conv) -> u64 {
        conv.depth(self.tensor(conv.x)) as u64 * u64::from(conv.outputs)
    }
}
