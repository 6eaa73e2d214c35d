//! ConvTranspose, as a convolution whose outputs are the cells of a block.
//!
//! Takes an activation `[N, C, W]` or `[N, C, H, W]` and a constant weight `[C, M / groups, kernel..]`. With stride s, output position
//! `s q + r` is the sum over j of `x[q - j] w[r + s j]`: a convolution of kernel `ceil(k / s)` gives the s x s outputs of a block as
//! channels, and depth to space puts them in place; where the kernel is the stride, the convolution is 1x1. With dilation, zeros are put
//! between the cells of the operand and the convolution has the flipped kernel.
//! Refuses weights that depend on the input and more than two spatial axes.

use super::axis;
use super::forms::{one, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::{MAX_ELEMENTS, Step};
use crate::ir::{AxisMap, Conv, NodeId, Op, Padding, Window};

pub(super) const RULES: &[(&str, Rule)] = &[("ConvTranspose", conv_transpose)];

/// One spatial axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    /// Positions of the operand.
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Cut off in front; negative where zeros are put there.
    begin: i64,
    /// Positions of the result.
    result: usize,
}

/// What the convolution of an axis looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Blocks {
    /// Taps of the convolution.
    taps: usize,
    before: usize,
    after: usize,
    /// First position of the result among the positions that the blocks give.
    first: usize,
}

impl Axis {
    /// Blocks that cover the result. `None` where zeros stand in front of everything.
    fn blocks(&self) -> Option<Blocks> {
        let begin = usize::try_from(self.begin).ok()?;
        let taps = self.kernel.div_ceil(self.stride);
        // The first block that is needed, as far as padding in front can skip the others.
        let skipped = (begin / self.stride).min(taps - 1);
        let before = taps - 1 - skipped;
        let wanted = (begin + self.result).div_ceil(self.stride) - skipped;
        let given = self.size + before;
        let after = (wanted + taps - 1).saturating_sub(given);
        Some(Blocks { taps, before, after, first: begin - skipped * self.stride })
    }
}

fn conv_transpose(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut x = b.node(step, 0)?;
    let weight = b.required(step, 1)?;
    let dims = b.dims(x);
    let spatial = dims.len().saturating_sub(2);
    if !(1..=2).contains(&spatial) || weight.dims().len() != dims.len() {
        return Err(unsupported(format!(
            "ConvTranspose of {dims:?} by a weight of shape {:?}; one or two spatial axes are supported",
            weight.dims()
        )));
    }
    let groups = axis::count(step.attributes().int("group", 1)?, "group")?;
    let [channels, per_group] = [weight.dims()[0], weight.dims()[1]];
    if groups == 0 || channels % groups != 0 || channels != dims[1] || weight.dims().contains(&0) {
        return Err(invalid(format!(
            "weight of shape {:?} with {groups} groups for {} channels; they must agree",
            weight.dims(),
            dims[1]
        )));
    }
    let outputs = per_group * groups;
    let mut axes = spatial_axes(step, &dims[2..], &weight.dims()[2..])?;
    if spatial == 1 {
        x = b.reshape(x, vec![dims[0], dims[1], 1, dims[2]])?;
        axes.insert(0, Axis { size: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, result: 1 });
    }
    let bias = match b.constant(step, 2)? {
        Some(bias) if bias.floats().len() == outputs => Some(bias.floats()),
        Some(bias) => return Err(invalid(format!("bias of shape {:?}; [{outputs}] is required", bias.dims()))),
        None => None,
    };
    let weight =
        Weight { values: weight.floats(), groups, channels, per_group, kernel: [axes[0].kernel, axes[1].kernel] };
    let axes = [axes[0], axes[1]];
    let blocks = [axes[0].blocks(), axes[1].blocks()];
    let result = match blocks {
        [Some(rows), Some(columns)] if axes.iter().all(|axis| axis.dilation == 1) => {
            by_blocks(b, x, &weight, bias, axes, [rows, columns])?
        }
        _ => by_zeros(b, x, &weight, bias, axes)?,
    };
    if spatial == 1 {
        return one(b.drop_axes(result, &[2])?);
    }
    one(result)
}

/// The attributes of every axis, with padding and output extents worked out.
fn spatial_axes(step: &Step, sizes: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, Problem> {
    let attributes = step.attributes();
    let list = |name: &str, missing: i64, entries: usize| -> Result<Vec<i64>, Problem> {
        let values = attributes.ints(name)?.map_or_else(|| vec![missing; entries], <[i64]>::to_vec);
        // Numbers beyond the largest tensor cannot be meant, and products of them would overflow.
        if values.len() != entries || values.iter().any(|v| v.unsigned_abs() > MAX_ELEMENTS as u64) {
            return Err(invalid(format!("{name} {values:?}; {entries} entries of reasonable size are required")));
        }
        Ok(values)
    };
    let n = sizes.len();
    let (strides, dilations) = (list("strides", 1, n)?, list("dilations", 1, n)?);
    let (extra, pads) = (list("output_padding", 0, n)?, list("pads", 0, 2 * n)?);
    let stated = attributes.ints("output_shape")?;
    if strides.iter().chain(&dilations).any(|&v| v < 1) || extra.iter().any(|&v| v < 0) {
        return Err(invalid(format!(
            "strides {strides:?}, dilations {dilations:?}, output_padding {extra:?}; at least 1, 1 and 0 are required"
        )));
    }
    if attributes.ints("kernel_shape")?.is_some_and(|shape| {
        shape.len() != n || shape.iter().zip(kernel).any(|(&stated, &seen)| usize::try_from(stated) != Ok(seen))
    }) {
        return Err(invalid(format!("kernel_shape beside a weight of kernel {kernel:?}; they must agree")));
    }
    let auto_pad = attributes.string("auto_pad", "NOTSET")?;
    let mut axes = Vec::with_capacity(n);
    for i in 0..n {
        let (size, taps) = (sizes[i] as i64, kernel[i] as i64);
        let full = strides[i] * (size - 1) + extra[i] + (taps - 1) * dilations[i] + 1;
        let wanted = match stated {
            Some(shape) if shape.len() >= n => Some(shape[shape.len() - n + i]),
            Some(shape) => return Err(invalid(format!("output_shape {shape:?}; one extent an axis is required"))),
            None if matches!(auto_pad, "SAME_UPPER" | "SAME_LOWER") => Some(size * strides[i]),
            None => None,
        };
        let (begin, result) = match (wanted, auto_pad) {
            (Some(wanted), _) => {
                let total = full - wanted;
                (if auto_pad == "SAME_UPPER" { total.div_euclid(2) } else { total - total.div_euclid(2) }, wanted)
            }
            (None, "VALID") => (0, full),
            (None, "NOTSET" | "") => (pads[i], full - pads[i] - pads[n + i]),
            (None, other) => return Err(invalid(format!("auto_pad {other:?}; ONNX has no such mode"))),
        };
        let result = usize::try_from(result).ok().filter(|&result| (1..=MAX_ELEMENTS).contains(&result));
        axes.push(Axis {
            size: sizes[i],
            kernel: kernel[i],
            stride: strides[i] as usize,
            dilation: dilations[i] as usize,
            begin,
            result: result
                .ok_or_else(|| invalid("padding that leaves nothing; the result needs 1 to 2^28 positions"))?,
        });
    }
    Ok(axes)
}

/// `[C, M / groups, kernel..]`, as ONNX stores it.
struct Weight {
    values: Vec<f32>,
    groups: usize,
    channels: usize,
    per_group: usize,
    kernel: [usize; 2],
}

impl Weight {
    /// The value of a tap; 0 beyond the kernel.
    fn at(&self, channel: usize, output: usize, [row, column]: [usize; 2]) -> f32 {
        let [rows, columns] = self.kernel;
        if row >= rows || column >= columns {
            return 0.0;
        }
        self.values[((channel * self.per_group + output) * rows + row) * columns + column]
    }

    fn outputs(&self) -> usize {
        self.per_group * self.groups
    }
}

fn by_blocks(
    b: &mut Builder<'_>,
    x: NodeId,
    weight: &Weight,
    bias: Option<Vec<f32>>,
    axes: [Axis; 2],
    [rows, columns]: [Blocks; 2],
) -> Result<NodeId, Problem> {
    let [sy, sx] = [axes[0].stride, axes[1].stride];
    let inputs = weight.channels / weight.groups;
    let mut values = Vec::new();
    for output in 0..weight.outputs() {
        let group = output / weight.per_group;
        for cell in 0..sy * sx {
            let (ry, rx) = (cell / sx, cell % sx);
            for input in 0..inputs {
                for ty in (0..rows.taps).rev() {
                    for tx in (0..columns.taps).rev() {
                        let tap = [ry + sy * ty, rx + sx * tx];
                        values.push(weight.at(group * inputs + input, output % weight.per_group, tap));
                    }
                }
            }
        }
    }
    let outputs = weight.outputs();
    let window = Window {
        kernel: [rows.taps, columns.taps],
        stride: [1, 1],
        dilation: [1, 1],
        padding: Padding { top: rows.before, left: columns.before, bottom: rows.after, right: columns.after },
    };
    let conv = Conv {
        weight: tensor(vec![outputs * sy * sx, inputs, rows.taps, columns.taps], values)?,
        bias: bias.map(|bias| bias.iter().flat_map(|&value| vec![value; sy * sx]).collect()),
        window,
        groups: weight.groups,
        batch_norm: None,
    };
    let blocks = b.push(Op::Conv(conv), &[x])?;
    let [n, _, h, w] = b.dims(blocks)[..] else { return Err(invalid("a convolution of an image")) };
    let split = b.reshape(blocks, vec![n, outputs, sy, sx, h, w])?;
    let spread = b.transpose(split, &[0, 1, 4, 2, 5, 3])?;
    let all = b.reshape(spread, vec![n, outputs, h * sy, w * sx])?;
    let rows = b.slice(all, 2, rows.first, axes[0].result)?;
    b.slice(rows, 3, columns.first, axes[1].result)
}

/// Zeros between the cells, so many before and after that the result begins and ends where it should.
fn by_zeros(
    b: &mut Builder<'_>,
    x: NodeId,
    weight: &Weight,
    bias: Option<Vec<f32>>,
    axes: [Axis; 2],
) -> Result<NodeId, Problem> {
    let mut maps = vec![AxisMap::All; 4];
    for (map, axis) in maps[2..].iter_mut().zip(&axes) {
        // Position p of the result sums over positions p + begin - reach .. p + begin of the spread operand.
        let reach = (axis.kernel - 1) * axis.dilation;
        let first = axis.begin - reach as i64;
        let spread = |at: i64| {
            let at = usize::try_from(at).ok()?;
            (at % axis.stride == 0 && at / axis.stride < axis.size).then_some(at / axis.stride)
        };
        *map = AxisMap::Indices((first..first + (axis.result + reach) as i64).map(spread).collect());
    }
    let x = b.gather(x, maps, 0.0)?;
    let inputs = weight.channels / weight.groups;
    let [rows, columns] = weight.kernel;
    let mut values = Vec::with_capacity(weight.values.len());
    for output in 0..weight.outputs() {
        let group = output / weight.per_group;
        for input in 0..inputs {
            for row in (0..rows).rev() {
                for column in (0..columns).rev() {
                    values.push(weight.at(group * inputs + input, output % weight.per_group, [row, column]));
                }
            }
        }
    }
    let conv = Conv {
        weight: tensor(vec![weight.outputs(), inputs, rows, columns], values)?,
        bias,
        window: Window {
            kernel: weight.kernel,
            stride: [1, 1],
            dilation: [axes[0].dilation, axes[1].dilation],
            padding: Padding::default(),
        },
        groups: weight.groups,
        batch_norm: None,
    };
    b.push(Op::Conv(conv), &[x])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(size: usize, kernel: usize, stride: usize, begin: i64, result: usize) -> Axis {
        Axis { size, kernel, stride, dilation: 1, begin, result }
    }

    #[test]
    fn a_kernel_as_wide_as_the_stride_needs_one_tap() {
        let blocks = axis(5, 2, 2, 0, 10).blocks().unwrap();
        assert_eq!(blocks, Blocks { taps: 1, before: 0, after: 0, first: 0 });
    }

    /// Blocks give every position of the result, at the right place.
    #[test]
    fn blocks_cover_the_result() {
        for (size, kernel, stride) in [(4usize, 3usize, 2usize), (5, 4, 2), (3, 5, 3), (6, 3, 1), (2, 2, 4), (1, 7, 2)]
        {
            for begin in 0..kernel {
                let full = (size - 1) * stride + kernel;
                for end in 0..2 {
                    for extra in 0..stride {
                        let Some(result) = (full + extra).checked_sub(begin + end).filter(|&r| r > 0) else { continue };
                        let blocks = axis(size, kernel, stride, begin as i64, result).blocks().unwrap();
                        let given = (size + blocks.before + blocks.after + 1 - blocks.taps) * stride;
                        assert!(
                            blocks.first + result <= given,
                            "{size} {kernel} {stride} {begin} {result}: {blocks:?}"
                        );
                        // The block at q sums from x[q - taps + 1 ..= q]; the first one starts `before` cells outside.
                        let q = blocks.taps - 1 - blocks.before;
                        assert_eq!(q * stride + blocks.first, begin);
                    }
                }
            }
        }
    }
}
