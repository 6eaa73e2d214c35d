//! The operators of the float graph and their attributes.

use super::{BinaryKind, ElementType, Function, RecurrentKind, ReduceKind, Tensor};

/// Cells added around an image before a window slides over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// A window that slides over an image; `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Step between positions, each at least 1.
    pub stride: [usize; 2],
    /// Step between taps, each at least 1.
    pub dilation: [usize; 2],
    /// Cells added at the border.
    pub padding: Padding,
}

impl Window {
    /// Height and width of the result for an input of `height` x `width`; `None` where the window does not fit.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let p = self.padding;
        let extent = |size: usize, axis: usize| {
            let span = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            size.checked_sub(span).map(|room| room / self.stride[axis] + 1)
        };
        Some([extent(height + p.top + p.bottom, 0)?, extent(width + p.left + p.right, 1)?])
    }

    /// The same positions of a pool with trailing padding smaller than the window, as executors require: where every
    /// position sees the image, none starts so far behind it that it would reach more.
    pub fn within_reach(&self) -> Window {
        let reach = |axis: usize| (self.kernel[axis] - 1) * self.dilation[axis];
        let Padding { top, left, bottom, right } = self.padding;
        Window { padding: Padding { top, left, bottom: bottom.min(reach(0)), right: right.min(reach(1)) }, ..*self }
    }

    /// True where at every position over a `height` x `width` image at least one tap reads the image, as pools require.
    pub fn every_position_sees_image(&self, height: usize, width: usize) -> bool {
        let Some(outputs) = self.output(height, width) else { return false };
        let leading = [self.padding.top, self.padding.left];
        (0..2).all(|axis| {
            let (first, step) = (leading[axis], self.dilation[axis]);
            (0..outputs[axis]).all(|position| {
                let start = position * self.stride[axis];
                // The first tap that is not before the image.
                let tap = first.saturating_sub(start).div_ceil(step);
                tap < self.kernel[axis] && start + tap * step < first + [height, width][axis]
            })
        })
    }
}

/// Batch normalisation with its statistics, as after training; all vectors have one value a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Learned scale.
    pub gamma: Vec<f32>,
    /// Learned shift.
    pub beta: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub variance: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl BatchNorm {
    /// The affine form `y = x * mul + add`: `mul = gamma / sqrt(variance + epsilon)`, `add = beta - mean * mul`,
    /// computed in f64 and rounded once.
    pub fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let mut mul = Vec::with_capacity(self.gamma.len());
        let mut add = Vec::with_capacity(self.gamma.len());
        for c in 0..self.gamma.len() {
            let m = f64::from(self.gamma[c]) / (f64::from(self.variance[c]) + f64::from(self.epsilon)).sqrt();
            mul.push(m as f32);
            add.push((f64::from(self.beta[c]) - f64::from(self.mean[c]) * m) as f32);
        }
        (mul, add)
    }
}

/// Convolution over `[channels, height, width]`, then batch normalisation where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// `[outputs, inputs / groups, kernel height, kernel width]`, as in ONNX.
    pub weight: Tensor,
    /// One value an output channel.
    pub bias: Option<Vec<f32>>,
    /// Kernel, stride, dilation and padding.
    pub window: Window,
    /// Groups of channels that do not see each other; inputs and outputs are multiples of it.
    pub groups: usize,
    /// Applied to the result of the convolution; `None` once folded.
    pub batch_norm: Option<BatchNorm>,
}

/// `y[.., o] = sum_i w[o, i] x[.., i] + b[o]` over the last axis, then batch normalisation of the last axis where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct FullyConnected {
    /// `[outputs, inputs]`.
    pub weight: Tensor,
    /// One value an output.
    pub bias: Option<Vec<f32>>,
    /// Applied to the result; `None` once folded.
    pub batch_norm: Option<BatchNorm>,
}

/// `min(max(x, min), max)`; ReLU is `[0, inf)`, ReLU6 `[0, 6]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// Lower bound, may be `-inf`.
    pub min: f32,
    /// Upper bound, may be `+inf`.
    pub max: f32,
}

impl Clip {
    /// `max(x, 0)`.
    pub const RELU: Clip = Clip { min: 0.0, max: f32::INFINITY };

    /// This clip and then another as one.
    pub fn then(self, second: Clip) -> Clip {
        let clamp = |v: f32| v.max(second.min).min(second.max);
        Clip { min: clamp(self.min), max: clamp(self.max) }
    }
}

/// One direction of a recurrent layer. The first operand is `[steps, batch, gates * hidden]`, the products of the layer's input with W
/// and what of B can be added to them; then come the states at the beginning, `[batch, hidden]` each: none, h, or h and c. The
/// result is `[steps + extra, batch, hidden]`: the hidden state of every step, and behind them the extra states of the kind (the last c
/// of an LSTM).
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// Cell; gates stand in the order of ONNX.
    pub kind: RecurrentKind,
    /// Whether the last step comes first.
    pub reverse: bool,
    /// Functions f, g and h of ONNX, as many as the kind has.
    pub functions: Vec<Function>,
    /// What goes into f and g is clamped to `-clip..=clip`; infinite where it is not.
    pub clip: f32,
    /// R of ONNX: `[gates * hidden, hidden]`.
    pub weight: Tensor,
    /// Added to the products with the state: `[gates * hidden]`.
    pub bias: Vec<f32>,
    /// P of ONNX, `[3 * hidden]` for the gates i, o and f; empty where there are none.
    pub peepholes: Vec<f32>,
}

impl Recurrent {
    /// The word used in the text form, reports and errors.
    pub fn label(&self) -> &'static str {
        match self.kind {
            RecurrentKind::Rnn => "rnn",
            RecurrentKind::Gru => "gru",
            RecurrentKind::GruLinear => "gru_linear",
            RecurrentKind::Lstm => "lstm",
            RecurrentKind::LstmCoupled => "lstm_coupled",
        }
    }
}

/// Where the positions of one axis of a [`Op::Gather`] come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AxisMap {
    /// The same positions.
    All,
    /// Position `i` of the result is this position of the operand; `None` is the fill value.
    Indices(Vec<Option<usize>>),
}

impl AxisMap {
    /// Positions `start, start + step, ..`, `count` of them; `step` may be negative. All lie in `0..extent`.
    pub fn strided(start: usize, step: isize, count: usize) -> Self {
        AxisMap::Indices((0..count as isize).map(|i| Some((start as isize + i * step) as usize)).collect())
    }

    /// Extent of the result's axis.
    pub fn extent(&self, operand: usize) -> usize {
        match self {
            AxisMap::All => operand,
            AxisMap::Indices(indices) => indices.len(),
        }
    }

    /// The operand's position for a position of the result.
    pub fn at(&self, position: usize) -> Option<usize> {
        match self {
            AxisMap::All => Some(position),
            AxisMap::Indices(indices) => indices[position],
        }
    }
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// An input of the network.
    Input(ElementType),
    /// An operand that is the same for every sample.
    Constant(Tensor),
    /// Convolution of `[N, C, H, W]`.
    Conv(Conv),
    /// Fully connected layer (Gemm, MatMul by a constant) over the last axis.
    FullyConnected(FullyConnected),
    /// Batch normalisation of axis 1 that stands alone (its input is no conv, or has a second user).
    BatchNorm(BatchNorm),
    /// `y = x * mul + add`, one value of each a position of axis 1 (constant Mul, Div, Add, Sub).
    ChannelAffine {
        /// Factor of each channel.
        mul: Vec<f32>,
        /// Added to each channel after the product.
        add: Vec<f32>,
    },
    /// A clip that could not join the node before it.
    Clip(Clip),
    /// Maximum over a window of `[N, C, H, W]`; padding never wins.
    MaxPool(Window),
    /// Mean over a window of `[N, C, H, W]`; global pooling is a window of the whole image.
    AveragePool {
        /// The window; dilation is 1.
        window: Window,
        /// Whether padding cells count in the divisor.
        count_include_pad: bool,
    },
    /// A function of one value, element by element.
    Unary(Function),
    /// `x` where it is at least 0, else `x * slope`, one slope a position of axis 1.
    PRelu {
        /// Slope of each channel.
        slope: Vec<f32>,
    },
    /// A function of two values, element by element, broadcast as in ONNX; comparisons and logic give 0 or 1.
    Binary(BinaryKind),
    /// The second operand where the first is not 0, else the third; broadcast as in ONNX.
    Select,
    /// All operands one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Axis `i` of the result is axis `perm[i]` of the operand.
    Transpose {
        /// Each axis once.
        perm: Vec<usize>,
    },
    /// `y[i0, i1, ..] = x[m0[i0], m1[i1], ..]`, or `fill` where an axis says so: slices, pads, tiles, flips, nearest resizing.
    Gather {
        /// One an axis.
        maps: Vec<AxisMap>,
        /// Value of the positions that come from nowhere.
        fill: f32,
    },
    /// Same elements in row-major order under a new shape; Flatten is one.
    Reshape,
    /// Reduction over some axes, which stay with extent 1.
    Reduce {
        /// What is computed.
        kind: ReduceKind,
        /// The axes, ascending.
        axes: Vec<usize>,
    },
    /// Matrix product of two activations over their last two axes, the others broadcast.
    MatMul,
    /// Softmax along an axis.
    Softmax {
        /// The axis.
        axis: usize,
        /// Natural logarithm of it (LogSoftmax).
        log: bool,
    },
    /// `y[.., o, ..] = sum of weight * x[.., index, ..]` over the taps of `o`, in order: linear and cubic resizing.
    Resample {
        /// The axis.
        axis: usize,
        /// Position in the operand and weight of each tap, for every position of the result.
        taps: Vec<Vec<(usize, f32)>>,
    },
    /// Rows of a table `[V, D..]` by index: `y[i.., d..] = table[x[i..], d..]`.
    Lookup {
        /// The table.
        table: Tensor,
    },
    /// One direction of a recurrent layer, given the products of its input.
    Recurrent(Recurrent),
}

impl Op {
    /// [`Op::Binary`] sum.
    pub const ADD: Op = Op::Binary(BinaryKind::Add);

    /// The word used in the text form, reports and errors.
    pub fn label(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Constant(_) => "constant",
            Op::Conv(conv) if conv.groups > 1 => "conv_grouped",
            Op::Conv(_) => "conv",
            Op::FullyConnected(_) => "fully_connected",
            Op::BatchNorm(_) => "batch_norm",
            Op::ChannelAffine { .. } => "channel_affine",
            Op::Clip(_) => "clip",
            Op::MaxPool(_) => "max_pool",
            Op::AveragePool { .. } => "average_pool",
            Op::Unary(function) => function.label(),
            Op::PRelu { .. } => "prelu",
            Op::Binary(kind) => kind.label(),
            Op::Select => "select",
            Op::Concat { .. } => "concat",
            Op::Transpose { .. } => "transpose",
            Op::Gather { .. } => "gather",
            Op::Reshape => "reshape",
            Op::Reduce { kind, .. } => kind.label(),
            Op::MatMul => "mat_mul",
            Op::Softmax { log: false, .. } => "softmax",
            Op::Softmax { log: true, .. } => "log_softmax",
            Op::Resample { .. } => "resample",
            Op::Lookup { .. } => "lookup",
            Op::Recurrent(recurrent) => recurrent.label(),
        }
    }

    /// How many operands it takes.
    pub fn arity(&self) -> std::ops::RangeInclusive<usize> {
        match self {
            Op::Input(_) | Op::Constant(_) => 0..=0,
            Op::Binary(_) | Op::MatMul => 2..=2,
            Op::Select => 3..=3,
            Op::Recurrent(recurrent) => 1..=1 + recurrent.kind.initial_states(),
            Op::Concat { .. } => 1..=usize::MAX,
            _ => 1..=1,
        }
    }

    /// Whether some position of the result comes from nowhere.
    pub fn fills(&self) -> bool {
        let none = |map: &AxisMap| matches!(map, AxisMap::Indices(indices) if indices.contains(&None));
        matches!(self, Op::Gather { maps, .. } if maps.iter().any(none))
    }

    /// Whether it only moves values: every value of the result is one of an operand, or the fill value.
    pub fn moves(&self) -> bool {
        matches!(self, Op::Transpose { .. } | Op::Gather { .. } | Op::Reshape)
    }
}
