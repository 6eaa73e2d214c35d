//! What an artifact computes: integer operators over u8 tensors.
//!
//! A tensor holds one sample in (row, column, channel) order, one byte a value, dense; `real = (q - zero_point) * scale`.
//! Network inputs and outputs are f32 in (channel, row, column) order. The arithmetic of every operator is
//! specified in docs/quantization.md; [`crate::reference`] is its readable form.
//!
//! Invariant: a [`Program`] from [`crate::format::Artifact`] has passed [`crate::verify`]; executors rely on it.

use crate::BitWidth;

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

/// A float vector of one sample in (channel, row, column) order.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatSlot {
    /// Number of values.
    pub len: u32,
}

/// A network input or output and its extents without the batch axis.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Port {
    /// ONNX name.
    pub name: String,
    /// Extents of one sample, as in ONNX without the batch axis.
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

/// Which ONNX layer a [`Conv`] came from; for reports only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Conv.
    Conv,
    /// Gemm or MatMul: a convolution whose kernel covers its whole input.
    FullyConnected,
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
    /// Scaled to floats, in (channel, row, column) order.
    Logits {
        /// Result.
        y: FloatId,
    },
}

/// Convolution or fully connected layer with bit-packed weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// ONNX node name.
    pub name: String,
    /// What it was in ONNX.
    pub kind: LayerKind,
    /// Input.
    pub x: TensorId,
    /// Output.
    pub destination: Destination,
    /// Kernel, stride, dilation, padding; padding cells hold the input's zero point.
    pub window: Window,
    /// Groups of channels.
    pub groups: u32,
    /// Output channels.
    pub outputs: u32,
    /// Width of the weight codes.
    pub bits: BitWidth,
    /// First byte of the packed codes in the weights section, a multiple of 64. Order: [`crate::pack`].
    pub weights_offset: u64,
    /// First byte in the constants section, a multiple of 64: `outputs` i32 biases, then `outputs` f32 multipliers.
    pub constants_offset: u64,
}

impl Conv {
    /// Weights an output channel: kernel height x kernel width x input channels of a group.
    pub fn depth(&self, x: &Tensor) -> usize {
        let [kh, kw] = self.window.kernel;
        kh as usize * kw as usize * (x.channels / self.groups) as usize
    }
}

/// One operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Network input to codes.
    Quantize {
        /// Result.
        y: TensorId,
        /// `1 / scale` of the result, rounded to f32.
        inv_scale: f32,
    },
    /// Convolution, fully connected.
    Conv(Conv),
    /// Maximum of codes; padding never wins. Input and result share scale and zero point.
    MaxPool {
        /// Input.
        x: TensorId,
        /// Result.
        y: TensorId,
        /// Window.
        window: Window,
    },
    /// Mean over a window.
    AveragePool {
        /// Input.
        x: TensorId,
        /// Result.
        y: TensorId,
        /// Window with dilation 1.
        window: Window,
        /// Whether padding counts in the divisor.
        count_include_pad: bool,
        /// Input scale / output scale; divided by the count in f32.
        multiplier: f32,
        /// Lowest code.
        lo: u8,
        /// Highest code.
        hi: u8,
    },
    /// Elementwise sum.
    Add {
        /// First input.
        a: TensorId,
        /// Second input.
        b: TensorId,
        /// Result.
        y: TensorId,
        /// Scale of `a` / scale of `y`.
        multiplier_a: f32,
        /// Scale of `b` / scale of `y`.
        multiplier_b: f32,
        /// Lowest code.
        lo: u8,
        /// Highest code.
        hi: u8,
    },
    /// Channels of all inputs, one after the other.
    Concat {
        /// Each input; codes move where there is no multiplier (equal scale and zero point).
        xs: Vec<(TensorId, Option<f32>)>,
        /// Result.
        y: TensorId,
    },
    /// `(q - z) * multiplier[c] + addend[c]`, then requantized.
    Affine {
        /// Input.
        x: TensorId,
        /// Result.
        y: TensorId,
        /// First byte in the constants section, a multiple of 64: `channels` f32 multipliers, then `channels` f32 addends.
        constants_offset: u64,
        /// Lowest code.
        lo: u8,
        /// Highest code.
        hi: u8,
    },
    /// The same codes in (channel, row, column) order under other extents.
    Reshape {
        /// Input.
        x: TensorId,
        /// Result.
        y: TensorId,
    },
    /// Codes to floats.
    Dequantize {
        /// Input.
        x: TensorId,
        /// Result.
        y: FloatId,
    },
    /// Softmax over all values of a slot.
    Softmax {
        /// Input.
        x: FloatId,
        /// Result.
        y: FloatId,
        /// Natural logarithm of it.
        log: bool,
    },
}

impl Op {
    /// The word used in text forms and errors.
    pub fn label(&self) -> &'static str {
        match self {
            Op::Quantize { .. } => "quantize",
            Op::Conv(conv) => match conv.kind {
                LayerKind::Conv => "conv",
                LayerKind::FullyConnected => "fully_connected",
            },
            Op::MaxPool { .. } => "max_pool",
            Op::AveragePool { .. } => "average_pool",
            Op::Add { .. } => "add",
            Op::Concat { .. } => "concat",
            Op::Affine { .. } => "affine",
            Op::Reshape { .. } => "reshape",
            Op::Dequantize { .. } => "dequantize",
            Op::Softmax { .. } => "softmax",
        }
    }

    /// The tensors it reads.
    pub fn reads(&self) -> Vec<TensorId> {
        match self {
            Op::Quantize { .. } | Op::Softmax { .. } => vec![],
            Op::Conv(conv) => vec![conv.x],
            Op::MaxPool { x, .. }
            | Op::AveragePool { x, .. }
            | Op::Affine { x, .. }
            | Op::Reshape { x, .. }
            | Op::Dequantize { x, .. } => vec![*x],
            Op::Add { a, b, .. } => vec![*a, *b],
            Op::Concat { xs, .. } => xs.iter().map(|(x, _)| *x).collect(),
        }
    }

    /// The tensor it writes, if it writes codes.
    pub fn writes(&self) -> Option<TensorId> {
        match self {
            Op::Conv(Conv { destination: Destination::Codes { y, .. }, .. })
            | Op::Quantize { y, .. }
            | Op::MaxPool { y, .. }
            | Op::AveragePool { y, .. }
            | Op::Add { y, .. }
            | Op::Concat { y, .. }
            | Op::Affine { y, .. }
            | Op::Reshape { y, .. } => Some(*y),
            Op::Conv(_) | Op::Dequantize { .. } | Op::Softmax { .. } => None,
        }
    }
}

/// A whole network: one input, operators in execution order, one or more outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The network's input.
    pub input: Port,
    /// The network's outputs and the slots that hold them at the end.
    pub outputs: Vec<(Port, FloatId)>,
    /// Activation tensors; each is written by exactly one operator.
    pub tensors: Vec<Tensor>,
    /// Float vectors; each is written by exactly one operator.
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
