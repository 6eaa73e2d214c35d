//! Kernel, stride, dilation and padding of convolutions and pools, from attributes to one window an axis.

use super::attributes::Attributes;
use super::error::{Problem, invalid, unsupported};

/// Largest stride, dilation, kernel or padding that is accepted: keeps every product of two of them in 32 bits.
const MAX_EXTENT: i64 = 65_535;

/// Attributes as they are in the file; every list has one entry a spatial axis, every value is in range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WindowAttributes {
    pub(super) kernel: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Pads,
    ceil: bool,
}

/// Where the padding comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pads {
    /// Begin of each axis, then end of each axis; empty for none.
    Explicit(Vec<usize>),
    SameUpper,
    SameLower,
    Valid,
}

/// A window on one axis, fitted to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AxisWindow {
    /// Extent of the input.
    pub(super) size: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Cells added before the first.
    pub(super) before: usize,
    /// Cells added behind the last, those that rounding up adds included.
    pub(super) after: usize,
    /// How many of the cells behind the last were added by rounding up.
    pub(super) enlarged: usize,
}

impl AxisWindow {
    /// A window of one cell on an axis of `size`.
    pub(super) fn trivial(size: usize) -> Self {
        AxisWindow { size, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, enlarged: 0 }
    }

    /// Whether it leaves the axis as it is.
    pub(super) fn is_trivial(&self) -> bool {
        *self == AxisWindow::trivial(self.size)
    }

    /// Cells from its first to its last tap.
    pub(super) fn span(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Number of positions.
    pub(super) fn positions(&self) -> usize {
        (self.size + self.before + self.after).checked_sub(self.span()).map_or(0, |room| room / self.stride + 1)
    }

    /// The cell under a tap at a position; `None` in the padding.
    pub(super) fn cell(&self, position: usize, tap: usize) -> Option<usize> {
        (position * self.stride + tap * self.dilation).checked_sub(self.before).filter(|&cell| cell < self.size)
    }

    /// Whether each position has a tap on the input.
    pub(super) fn always_sees(&self) -> bool {
        (0..self.positions()).all(|position| (0..self.kernel).any(|tap| self.cell(position, tap).is_some()))
    }
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
        if let Some(&first) = axes.first()
            && (axes.iter().any(|&a| a != first) || explicit.as_ref().is_some_and(|p| p.len() != 2 * first))
        {
            let show = |v: &Option<Vec<usize>>| v.as_ref().map_or("none".into(), |v| format!("{v:?}"));
            return Err(invalid(format!(
                "kernel_shape {}, strides {}, dilations {}, pads {}; each must have one entry an axis, pads two",
                show(&kernel),
                show(&strides),
                show(&dilations),
                show(&explicit)
            )));
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

    /// One window an axis for a kernel over an input of these spatial extents.
    pub(super) fn fit(&self, kernel: &[usize], sizes: &[usize]) -> Result<Vec<AxisWindow>, Problem> {
        let lists = [Some(kernel), self.strides.as_deref(), self.dilations.as_deref()];
        let pads = if let Pads::Explicit(pads) = &self.pads { &pads[..] } else { &[] };
        let axes = lists.into_iter().flatten().map(<[usize]>::len).chain((!pads.is_empty()).then_some(pads.len() / 2));
        if let Some(seen) = axes.into_iter().find(|&axes| axes != sizes.len()) {
            return Err(invalid(format!(
                "a window over {seen} axes on {} spatial axes; batch and channels come first",
                sizes.len()
            )));
        }
        (0..sizes.len()).map(|axis| self.fit_axis(axis, kernel[axis], sizes[axis], sizes.len())).collect()
    }

    fn fit_axis(&self, axis: usize, kernel: usize, size: usize, axes: usize) -> Result<AxisWindow, Problem> {
        let at = |list: &Option<Vec<usize>>| list.as_ref().map_or(1, |list| list[axis]);
        let (stride, dilation) = (at(&self.strides), at(&self.dilations));
        let mut window = AxisWindow { size, kernel, stride, dilation, before: 0, after: 0, enlarged: 0 };
        let outputs = size.div_ceil(stride).max(1);
        let total = ((outputs - 1) * stride + window.span()).saturating_sub(size);
        (window.before, window.after) = match &self.pads {
            Pads::Explicit(pads) if pads.is_empty() => (0, 0),
            Pads::Explicit(pads) => (pads[axis], pads[axes + axis]),
            Pads::Valid => (0, 0),
            Pads::SameUpper => (total / 2, total - total / 2),
            Pads::SameLower => (total - total / 2, total / 2),
        };
        if let (true, Some(room)) = (self.ceil, (size + window.before + window.after).checked_sub(window.span())) {
            let missing = (stride - room % stride) % stride;
            // A last window that would start beyond input and leading padding is dropped.
            let starts = (room + missing) / stride * stride;
            if missing > 0 && starts < size + window.before {
                window.after += missing;
                window.enlarged = missing;
            }
        }
        if window.positions() == 0 {
            return Err(invalid(format!(
                "a window of {} cells on an axis of {size}, padded by {} and {}; it must fit",
                window.span(),
                window.before,
                window.after
            )));
        }
        Ok(window)
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
        return Ok(None);
    }
    Ok(Some(values.iter().map(|&v| usize::try_from(v).unwrap_or(0)).collect()))
}
