//! Operators on tensors.

use super::strided;
use super::{Checker, MAX_EXTENT};
use crate::ops::field::{Check, clamp, multiplier, require};
use crate::program::{ArithmeticKind, Conv, Destination, FloatId, LayerKind, Op, Tensor, TensorId, Window};

impl Checker<'_> {
    /// What binds the fields of an operator on tensors, all of which exist.
    pub(super) fn codes(&self, op: &Op) -> Check {
        let tensor = |id: TensorId| self.program.tensor(id);
        match *op {
            Op::Quantize { x, y, .. } => self.converted(y, x),
            Op::Dequantize { x, y, .. } => self.converted(x, y),
            Op::Conv(ref conv) => self.conv(conv),
            Op::MaxPool { x, y, ref window, lo, hi } => {
                clamp(lo, hi)?;
                same_quantization(tensor(x), tensor(y))?;
                pooled(tensor(x), tensor(y), window)
            }
            Op::AveragePool { x, y, ref window, multiplier: m, lo, hi, .. } => {
                let cells = u64::from(window.kernel[0]) * u64::from(window.kernel[1]);
                require(window.dilation == [1, 1], || "dilation must be 1".into())?;
                require(cells <= 1 << 22, || format!("a window of {cells} cells; at most 2^22 are allowed"))?;
                multiplier(m / cells as f32)?;
                clamp(lo, hi)?;
                pooled(tensor(x), tensor(y), window)
            }
            Op::Arithmetic {
                kind, a, b, y, ref extents, ref strides_a, ref strides_b, multiplier_b, lo, hi, ..
            } => {
                clamp(lo, hi)?;
                let (a, b, y) = (tensor(a), tensor(b), tensor(y));
                let count = strided::positions(extents)?;
                require(count == y.len(), || format!("extents {extents:?} for a result of {}", y.len()))?;
                strided::strides("a", extents, strides_a, a.len())?;
                strided::strides("b", extents, strides_b, b.len())?;
                require(kind != ArithmeticKind::Mul || multiplier_b.to_bits() == 1.0f32.to_bits(), || {
                    format!("multiplier_b of a product is {multiplier_b:e}; 1 is required")
                })
            }
            Op::Concat { ref xs, y, outer, lo, hi } => {
                clamp(lo, hi)?;
                self.concat(xs, tensor(y), outer)
            }
            Op::Affine { x, y, lo, hi, .. } => {
                clamp(lo, hi)?;
                same_extents(tensor(x), tensor(y))
            }
            Op::Table { x, y, .. } => same_extents(tensor(x), tensor(y)),
            Op::Move { x, y, ref tables, .. } => {
                same_quantization(tensor(x), tensor(y))?;
                strided::tables(tables, tensor(x).len(), tensor(y).len())
            }
            _ => Ok(()),
        }
    }

    /// A slot holds as many values as a tensor.
    fn converted(&self, codes: TensorId, floats: FloatId) -> Check {
        let (codes, held) = (self.program.tensor(codes).len(), self.program.float_len(floats));
        require(codes == held, || format!("float slot {} holds {held} values, the tensor {codes}", floats.0))
    }

    fn concat(&self, xs: &[(TensorId, Option<f32>)], y: &Tensor, outer: u32) -> Check {
        let mut sum = 0usize;
        for (x, rescale) in xs {
            let x = self.program.tensor(*x);
            require(x.len().is_multiple_of(outer as usize), || format!("{} codes in {outer} parts", x.len()))?;
            if rescale.is_none() {
                same_quantization(x, y)?;
            }
            sum = sum.saturating_add(x.len());
        }
        require(sum == y.len(), || format!("{sum} codes in, {} out", y.len()))
    }

    fn conv(&self, conv: &Conv) -> Check {
        let x = self.program.tensor(conv.x);
        let groups = conv.groups;
        let divides = |n: u32| n.is_multiple_of(groups);
        require(divides(x.channels) && divides(conv.outputs), || {
            format!("{groups} groups must divide {} inputs and {} outputs", x.channels, conv.outputs)
        })?;
        let [height, width] = windowed(x, &conv.window)?;
        if conv.kind == LayerKind::FullyConnected {
            let whole = conv.window.kernel == [x.height, x.width] && conv.window.padding == [0; 4];
            let positions =
                conv.window.kernel == [1, 1] && conv.window.stride == [1, 1] && conv.window.padding == [0; 4];
            require((whole || positions) && groups == 1, || {
                "the kernel of a fully connected layer must cover its whole input, or one position".into()
            })?;
        }
        let cells = [height, width, conv.outputs].into_iter().try_fold(1u32, |n, e| n.checked_mul(e));
        let cells = cells.ok_or("the result is too large")?;
        match conv.destination {
            Destination::Codes { y, .. } => {
                let y = self.program.tensor(y);
                require([y.height, y.width, y.channels] == [height, width, conv.outputs], || {
                    let found = format!("{}x{}x{}", y.height, y.width, y.channels);
                    format!("result {found}; {height}x{width}x{} is required", conv.outputs)
                })
            }
            Destination::Logits { y, .. } => {
                let held = self.program.float_len(y);
                require(held == cells as usize, || {
                    format!("float slot {} holds {held} values, {cells} are written", y.0)
                })
            }
        }
    }
}

fn same_extents(a: &Tensor, b: &Tensor) -> Check {
    require([a.height, a.width, a.channels] == [b.height, b.width, b.channels], || {
        "input and result must have equal extents".into()
    })
}

fn same_quantization(a: &Tensor, b: &Tensor) -> Check {
    require(a.scale.to_bits() == b.scale.to_bits() && a.zero_point == b.zero_point, || {
        "codes move only between tensors of equal scale and zero point".into()
    })
}

fn windowed(x: &Tensor, window: &Window) -> Check<[u32; 2]> {
    let fits = window.output(x.height, x.width).filter(|output| output.iter().all(|&extent| extent <= MAX_EXTENT));
    fits.ok_or_else(|| "the window does not fit its input".into())
}

fn pooled(x: &Tensor, y: &Tensor, window: &Window) -> Check {
    let [height, width] = windowed(x, window)?;
    let [top, left, bottom, right] = window.padding;
    let span = |axis: usize| (u64::from(window.kernel[axis]) - 1) * u64::from(window.dilation[axis]) + 1;
    require(u64::from(top.max(bottom)) < span(0) && u64::from(left.max(right)) < span(1), || {
        format!("padding {:?} must be smaller than the window", window.padding)
    })?;
    require([y.height, y.width, y.channels] == [height, width, x.channels], || {
        format!("result {}x{}x{}; {height}x{width}x{} is required", y.height, y.width, y.channels, x.channels)
    })
}
