//! The operators of the float graph and their attributes.

use super::Tensor;

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

/// `y = W x + b` over the flattened input (channel, row, column), then batch normalisation where there is one.
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
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The network's input.
    Input,
    /// Convolution.
    Conv(Conv),
    /// Fully connected layer (Gemm, MatMul).
    FullyConnected(FullyConnected),
    /// Batch normalisation that stands alone (its input is no conv, or has a second user).
    BatchNorm(BatchNorm),
    /// `y = x * mul + add`, one value of each a channel (constant Mul, Div, Add, Sub).
    ChannelAffine {
        /// Factor of each channel.
        mul: Vec<f32>,
        /// Added to each channel after the product.
        add: Vec<f32>,
    },
    /// A clip that could not join the node before it.
    Clip(Clip),
    /// Maximum over a window; padding never wins.
    MaxPool(Window),
    /// Mean over a window; global pooling is a window of the whole image.
    AveragePool {
        /// The window; dilation is 1.
        window: Window,
        /// Whether padding cells count in the divisor.
        count_include_pad: bool,
    },
    /// Elementwise sum of two tensors of equal shape.
    Add,
    /// Channels of all inputs, one after the other.
    Concat,
    /// Same elements in (channel, row, column) order under a new shape; Flatten is one.
    Reshape,
    /// Softmax over all features of a sample.
    Softmax {
        /// Natural logarithm of it (LogSoftmax).
        log: bool,
    },
}

impl Op {
    /// The word used in the text form, reports and errors.
    pub fn label(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv(conv) if conv.groups > 1 => "conv_grouped",
            Op::Conv(_) => "conv",
            Op::FullyConnected(_) => "fully_connected",
            Op::BatchNorm(_) => "batch_norm",
            Op::ChannelAffine { .. } => "channel_affine",
            Op::Clip(_) => "clip",
            Op::MaxPool(_) => "max_pool",
            Op::AveragePool { .. } => "average_pool",
            Op::Add => "add",
            Op::Concat => "concat",
            Op::Reshape => "reshape",
            Op::Softmax { log: false } => "softmax",
            Op::Softmax { log: true } => "log_softmax",
        }
    }
}
