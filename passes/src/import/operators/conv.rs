//! Conv over one, two or three axes, with any batch.
//!
//! Takes an activation and constant weights; returns [`Op::Conv`] over `[1, C, H, W]`. One axis is a row. Of three axes one that the
//! kernel does not span joins the batch. The samples of a batch lie under each other in one image, with zeros between
//! them where the kernel would see two.
//! Refuses weights that depend on the input, and kernels that span three axes.

use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::import::window::{AxisWindow, WindowAttributes};
use crate::ir::{Conv, NodeId, Op, Padding, Tensor, Window};

pub(super) const RULES: &[(&str, Rule)] = &[("Conv", conv)];

fn conv(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = WindowAttributes::parse(step.attributes(), false)?;
    let x = b.node(step, 0)?;
    let weight = b.required(step, 1)?;
    let bias = b.constant(step, 2)?;
    let groups = groups(step)?;
    one(convolve(b, x, &weight, bias.as_deref(), groups, &attributes)?)
}

/// The attribute `group`.
pub(super) fn groups(step: &Step) -> Result<usize, Problem> {
    let stated = step.attributes().int("group", 1)?;
    usize::try_from(stated).ok().filter(|&g| g >= 1).ok_or_else(|| invalid(format!("group {stated}; it must be >= 1")))
}

/// A convolution of `[N, C, ..]` by weights `[O, C / groups, ..]`.
pub(super) fn convolve(
    b: &mut Builder<'_>,
    x: NodeId,
    weight: &Constant,
    bias: Option<&Constant>,
    groups: usize,
    attributes: &WindowAttributes,
) -> Result<NodeId, Problem> {
    let dims = b.dims(x);
    let (Some((&[batch, channels], sizes)), Some((&[outputs, per_group], kernel))) =
        (dims.split_first_chunk(), weight.dims().split_first_chunk())
    else {
        return Err(invalid(format!(
            "weight of shape {:?} on {dims:?}; [O, C, ..] and [N, C, ..] are required",
            weight.dims()
        )));
    };
    if kernel.len() != sizes.len() || sizes.is_empty() {
        return Err(invalid(format!(
            "a window over {} axes on {} spatial axes; batch and channels come first",
            kernel.len(),
            sizes.len()
        )));
    }
    if attributes.kernel.as_ref().is_some_and(|stated| stated != kernel) || weight.dims().contains(&0) {
        let seen = attributes.kernel.as_deref().unwrap_or(kernel);
        return Err(invalid(format!(
            "kernel_shape {seen:?} for a weight of shape {:?}; they must agree",
            weight.dims()
        )));
    }
    if outputs % groups != 0 || per_group.checked_mul(groups) != Some(channels) {
        return Err(invalid(format!(
            "weight of shape {:?} with {groups} groups for {channels} input channels; they must agree",
            weight.dims()
        )));
    }
    let bias = bias.map(|bias| vector(bias, outputs, "bias")).transpose()?;
    let windows = attributes.fit(kernel, sizes)?;
    let weight = weight.tensor()?;
    let layer = |window: [AxisWindow; 2]| -> Result<Conv, Problem> {
        let dims = vec![outputs, per_group, window[0].kernel, window[1].kernel];
        let weight =
            Tensor::new(dims, weight.shared()).ok_or_else(|| invalid("weight; its extents and data disagree"))?;
        Ok(Conv { weight, bias: bias.clone(), window: ir_window(window), groups, batch_norm: None })
    };
    match windows[..] {
        [columns] => {
            let row = b.reshape(x, vec![batch, channels, 1, sizes[0]])?;
            let y = images(b, row, [AxisWindow::trivial(1), columns], &layer)?;
            b.reshape(y, vec![batch, outputs, columns.positions()])
        }
        [rows, columns] => images(b, x, [rows, columns], &layer),
        [a0, a1, a2] => {
            let Some(free) = (0..3).find(|&axis| windows[axis].is_trivial()) else {
                return Err(unsupported(format!("a kernel of {kernel:?}; at most two axes may be more than 1")));
            };
            let window = match free {
                0 => [a1, a2],
                1 => [a0, a2],
                _ => [a0, a1],
            };
            // The axis that the kernel does not span joins the batch.
            let moved = b.move_axis(x, 2 + free, 1)?;
            let flat = b.reshape(moved, vec![batch * sizes[free], channels, window[0].size, window[1].size])?;
            let y = images(b, flat, window, &layer)?;
            let split =
                b.reshape(y, vec![batch, sizes[free], outputs, window[0].positions(), window[1].positions()])?;
            b.move_axis(split, 1, 2 + free)
        }
        _ => Err(unsupported(format!("a window over {} axes; 1 to 3 are supported", windows.len()))),
    }
}

/// Convolution of a batch of images.
fn images(
    b: &mut Builder<'_>,
    x: NodeId,
    [rows, columns]: [AxisWindow; 2],
    layer: &dyn Fn([AxisWindow; 2]) -> Result<Conv, Problem>,
) -> Result<NodeId, Problem> {
    let dims = b.dims(x);
    let [batch, channels, height, width] = dims[..] else {
        return Err(invalid(format!("an image of shape {dims:?}; [N, C, H, W] is required")));
    };
    if batch == 1 {
        return b.push(Op::Conv(layer([rows, columns])?), &[x]);
    }
    // Each sample takes `pitch` rows: those of the padded sample, rounded up so that windows of the next one start with it.
    let pitch = (rows.before + height + rows.after).next_multiple_of(rows.stride);
    b.afford(batch * pitch, "rows")?;
    let x = b.transpose(x, &[1, 0, 2, 3])?;
    let padded = (0..pitch).map(|at| at.checked_sub(rows.before).filter(|&row| row < height)).collect();
    let x = b.gather_axis(x, 2, padded, 0.0)?;
    let x = b.reshape(x, vec![1, channels, batch * pitch, width])?;
    let stacked = AxisWindow { size: batch * pitch, before: 0, after: 0, enlarged: 0, ..rows };
    let y = b.push(Op::Conv(layer([stacked, columns])?), &[x])?;
    let outputs = b.dims(y)[1];
    let kept = (0..batch)
        .flat_map(|sample| (0..rows.positions()).map(move |position| Some(sample * pitch / rows.stride + position)));
    let y = b.gather_axis(y, 2, kept.collect(), 0.0)?;
    let y = b.reshape(y, vec![outputs, batch, rows.positions(), columns.positions()])?;
    b.transpose(y, &[1, 0, 2, 3])
}

/// Two axes as the window of an image.
pub(super) fn ir_window([rows, columns]: [AxisWindow; 2]) -> Window {
    Window {
        kernel: [rows.kernel, columns.kernel],
        stride: [rows.stride, columns.stride],
        dilation: [rows.dilation, columns.dilation],
        padding: Padding { top: rows.before, left: columns.before, bottom: rows.after, right: columns.after },
    }
}

/// A parameter with one value a channel.
pub(super) fn vector(constant: &Constant, channels: usize, what: &str) -> Result<Vec<f32>, Problem> {
    if constant.len() != channels {
        return Err(invalid(format!("{what} of shape {:?}; [{channels}] is required", constant.dims())));
    }
    Ok(constant.floats())
}
