//! Kernel, stride, dilation and padding of convolutions and pools, from attributes to the IR's window.

use super::attributes::Attributes;
use super::error::{Problem, invalid, unsupported};
use crate::ir::{Padding, Window};

/// Largest stride, dilation, kernel or padding that is accepted: keeps every product of two of them in 32 bits.
const MAX_EXTENT: i64 = 65_535;

/// Attributes as they are in the file; every list has one entry a spatial axis, every value is in range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WindowAttributes {
    pub(super) kernel: Option<Vec<usize>>,
    pub(super) strides: Option<Vec<usize>>,
    pub(super) dilations: Option<Vec<usize>>,
    pub(super) pads: Pads,
    pub(super) ceil: bool,
}

/// Where the padding comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pads {
    /// Begin of each axis, then end of each axis; empty for none.
    Explicit(Vec<usize>),
    SameUpper,
    SameLower,
    Valid,
}

/// A window fitted to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) window: Window,
    /// Rounding up added cells at the end, beyond the padding that was asked for.
    pub(super) enlarged: bool,
}

impl WindowAttributes {
    /// `kernel_required`: pools name their kernel, a convolution may leave it to its weight.
    pub(super) fn parse(attributes: Attributes<'_>, kernel_required: bool) -> Result<Self, Problem> {
        let kernel = extents(attributes, "kernel_shape", 1)?;
        if kernel_required && kernel.is_none() {
            return Err(invalid("no kernel_shape; a pool requires one"));
        }
        let strides = extents(attributes, "strides", 1)?;
        let dilations = extents(attributes, "dilations", 1)?;
        let explicit = extents(attributes, "pads", 0)?;
        let axes = [&kernel, &strides, &dilations].into_iter().flatten().map(Vec::len);
        let axes: Vec<usize> = axes.chain(explicit.as_ref().map(|p| p.len() / 2)).collect();
        if let Some(&first) = axes.first() {
            if !(1..=2).contains(&first) {
                return Err(unsupported(format!("a window over {first} axes; 1 or 2 are supported")));
            }
            if axes.iter().any(|&a| a != first) || explicit.as_ref().is_some_and(|p| p.len() != 2 * first) {
                let show = |v: &Option<Vec<usize>>| v.as_ref().map_or("none".into(), |v| format!("{v:?}"));
                return Err(invalid(format!(
                    "kernel_shape {}, strides {}, dilations {}, pads {}; each must have one entry an axis, pads two",
                    show(&kernel),
                    show(&strides),
                    show(&dilations),
                    show(&explicit)
                )));
            }
        }
        let pads = match attributes.string("auto_pad", "NOTSET")? {
            "NOTSET" | "" => Pads::Explicit(explicit.unwrap_or_default()),
            other if explicit.as_ref().is_some_and(|p| p.iter().any(|&p| p != 0)) => {
                return Err(invalid(format!("auto_pad {other} beside pads; only one of them may be given")));
            }
            "SAME_UPPER" => Pads::SameUpper,
            "SAME_LOWER" => Pads::SameLower,
            "VALID" => Pads::Valid,
            other => {
                return Err(invalid(format!(
                    "auto_pad {other:?}; NOTSET, SAME_UPPER, SAME_LOWER or VALID is required"
                )));
            }
        };
        Ok(WindowAttributes { kernel, strides, dilations, pads, ceil: attributes.flag("ceil_mode", false)? })
    }

    /// Number of spatial axes, where an attribute tells it.
    pub(super) fn axes(&self) -> Option<usize> {
        let pads = match &self.pads {
            Pads::Explicit(pads) if !pads.is_empty() => Some(pads.len() / 2),
            _ => None,
        };
        [&self.kernel, &self.strides, &self.dilations].into_iter().flatten().map(Vec::len).next().or(pads)
    }

    /// The window over an image of `height` x `width`. `spatial` is the number of axes in the file: of one axis the
    /// image is a row. `more` is padding of a Pad node before it.
    pub(super) fn fit(
        &self,
        kernel: &[usize],
        spatial: usize,
        [height, width]: [usize; 2],
        more: Padding,
    ) -> Result<Fitted, Problem> {
        let lists = [Some(kernel), self.strides.as_deref(), self.dilations.as_deref()];
        if lists.into_iter().flatten().any(|list| list.len() != spatial) {
            return Err(invalid(format!("a window over {} axes; the input has {spatial} spatial axes", kernel.len())));
        }
        let pair = |list: &[usize], missing: usize| match *list {
            [h, w] => [h, w],
            [w] => [missing, w],
            _ => [missing; 2],
        };
        let kernel = pair(kernel, 1);
        let stride = pair(self.strides.as_deref().unwrap_or_default(), 1);
        let dilation = pair(self.dilations.as_deref().unwrap_or_default(), 1);
        let size = [height, width];
        let (mut begin, mut end) = ([0; 2], [0; 2]);
        for axis in 0..2 {
            let span = (kernel[axis] - 1) * dilation[axis] + 1;
            let outputs = size[axis].div_ceil(stride[axis]);
            let total = ((outputs.max(1) - 1) * stride[axis] + span).saturating_sub(size[axis]);
            (begin[axis], end[axis]) = match &self.pads {
                Pads::Explicit(pads) => match (pads[..].len(), axis) {
                    (4, _) => (pads[axis], pads[axis + 2]),
                    (2, 1) => (pads[0], pads[1]),
                    _ => (0, 0),
                },
                Pads::Valid => (0, 0),
                Pads::SameUpper => (total / 2, total - total / 2),
                Pads::SameLower => (total - total / 2, total / 2),
            };
        }
        let padding = Padding {
            top: begin[0] + more.top,
            left: begin[1] + more.left,
            bottom: end[0] + more.bottom,
            right: end[1] + more.right,
        };
        let mut window = Window { kernel, stride, dilation, padding };
        let mut enlarged = false;
        if self.ceil {
            for axis in 0..2 {
                let p = &mut window.padding;
                let (before, after) = if axis == 0 { (p.top, &mut p.bottom) } else { (p.left, &mut p.right) };
                let span = (kernel[axis] - 1) * dilation[axis] + 1;
                let Some(room) = (size[axis] + before + *after).checked_sub(span) else { continue };
                let missing = (stride[axis] - room % stride[axis]) % stride[axis];
                // A last window that would start beyond input and leading padding is dropped.
                let starts = (room + missing) / stride[axis] * stride[axis];
                if missing > 0 && starts < size[axis] + before {
                    *after += missing;
                    enlarged = true;
                }
            }
        }
        if window.output(height, width).is_none() {
            return Err(invalid(format!(
                "window {window} on an image of {height}x{width}; it must fit the padded image"
            )));
        }
        Ok(Fitted { window, enlarged })
    }
}

fn extents(attributes: Attributes<'_>, name: &str, least: i64) -> Result<Option<Vec<usize>>, Problem> {
    let Some(values) = attributes.ints(name)? else { return Ok(None) };
    if let Some(bad) = values.iter().find(|&&v| v < least) {
        let text = format!("{name} {values:?}; each must be >= {least}");
        return Err(if name == "pads" && *bad < 0 { unsupported(text) } else { invalid(text) });
    }
    if values.iter().any(|&v| v > MAX_EXTENT) {
        return Err(unsupported(format!("{name} {values:?}; each must be <= {MAX_EXTENT}")));
    }
    if values.is_empty() {
        return Err(invalid(format!("{name} []; it must have one entry an axis")));
    }
    Ok(Some(values.iter().map(|&v| usize::try_from(v).unwrap_or(0)).collect()))
}
