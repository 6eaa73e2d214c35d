//! MaxPool and AveragePool over any number of axes.
//!
//! Takes an activation `[N, C, ..]`; returns pools of images. Both separate by axis: all but the last two axes of a pool over more are pooled
//! one by one. An average whose window the image's pool does not know (dilated, or padding that counts beyond what rounding up
//! adds) is one over windows that lie side by side.
//! Refuses indices of MaxPool, and positions that lie in the padding alone.

use super::conv::ir_window;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::import::window::{AxisWindow, WindowAttributes};
use crate::ir::{BinaryKind, NodeId, Op};

pub(super) const RULES: &[(&str, Rule)] = &[("AveragePool", average_pool), ("MaxPool", max_pool)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Max,
    /// Padding cells count in the divisor, or not; those that rounding up adds never do.
    Average {
        count_include_pad: bool,
    },
}

fn max_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    if step.has_output(1) {
        return Err(unsupported("MaxPool with indices as output; only values are supported"));
    }
    one(pool(b, step, Kind::Max)?)
}

fn average_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let count_include_pad = step.attributes().flag("count_include_pad", false)?;
    one(pool(b, step, Kind::Average { count_include_pad })?)
}

fn pool(b: &mut Builder<'_>, step: &Step, kind: Kind) -> Result<NodeId, Problem> {
    let attributes = WindowAttributes::parse(step.attributes(), true)?;
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let Some((&[_, _], sizes)) = dims.split_first_chunk() else {
        return Err(invalid(format!("{} of shape {dims:?}; batch and channels come first", step.op_type())));
    };
    if sizes.is_empty() {
        return Err(invalid(format!("{} of shape {dims:?}; an axis to pool over is required", step.op_type())));
    }
    let windows = attributes.fit(attributes.kernel.as_deref().unwrap_or_default(), sizes)?;
    over(b, x, &windows, kind)
}

/// The pool of `[N, C, ..]` over one window an axis.
pub(super) fn over(b: &mut Builder<'_>, x: NodeId, windows: &[AxisWindow], kind: Kind) -> Result<NodeId, Problem> {
    let dims = b.dims(x);
    let Some((&[batch, channels], sizes)) = dims.split_first_chunk() else {
        return Err(invalid(format!("a pool of shape {dims:?}; batch and channels come first")));
    };
    if let Some(blind) = windows.iter().find(|window| !window.always_sees()) {
        return Err(unsupported(format!(
            "a window of {} cells on an axis of {}, padded by {} and {}; no position may lie in the padding alone",
            blind.span(),
            blind.size,
            blind.before,
            blind.after
        )));
    }
    // The last two axes first: what is before them is channels.
    let last = windows.len().saturating_sub(2);
    let (outer, inner) = windows.split_at(last);
    let image = match *inner {
        [rows, columns] => [rows, columns],
        [columns] => [AxisWindow::trivial(1), columns],
        _ => return Err(invalid("a pool without axes; at least 1 is required")),
    };
    let mut planes = batch * channels * sizes[..last].iter().product::<usize>();
    let mut x = plane(b, x, planes, image, kind)?;
    let mut behind = image[0].positions() * image[1].positions();
    for window in outer.iter().rev() {
        planes /= window.size;
        if window.is_trivial() {
            behind *= window.size;
            continue;
        }
        x = plane(b, x, planes, [*window, AxisWindow::trivial(behind)], kind)?;
        behind *= window.positions();
    }
    let mut result = vec![batch, channels];
    result.extend(windows.iter().map(AxisWindow::positions));
    b.reshape(x, result)
}

/// The pool of `planes` images of the sizes of the windows.
fn plane(
    b: &mut Builder<'_>,
    x: NodeId,
    planes: usize,
    window: [AxisWindow; 2],
    kind: Kind,
) -> Result<NodeId, Problem> {
    let dims = b.dims(x);
    let sizes = window.map(|axis| axis.size);
    // An image that is one already keeps its channels.
    let x = if dims.len() == 4 && dims[0] == 1 && dims[1] == planes && dims[2..] == sizes {
        x
    } else {
        b.reshape(x, vec![1, planes, sizes[0], sizes[1]])?
    };
    let Kind::Average { count_include_pad } = kind else { return b.push(Op::MaxPool(ir_window(window)), &[x]) };
    // Without padding of its own, what rounding up adds is all there is, and does not count.
    let padded = window.iter().any(|axis| axis.before > 0 || axis.after > axis.enlarged);
    let count_include_pad = count_include_pad && padded;
    let enlarged = window.iter().any(|axis| axis.enlarged > 0);
    if window.iter().all(|axis| axis.dilation == 1) && !(count_include_pad && enlarged) {
        return b.push(Op::AveragePool { window: ir_window(window), count_include_pad }, &[x]);
    }
    side_by_side(b, x, window, count_include_pad)
}

/// The average over windows of which each gets cells of its own: zeros where it sees padding, which the divisor mends.
fn side_by_side(
    b: &mut Builder<'_>,
    mut x: NodeId,
    window: [AxisWindow; 2],
    count_include_pad: bool,
) -> Result<NodeId, Problem> {
    let mut counts = Vec::new();
    for (place, axis) in window.iter().enumerate() {
        b.afford(axis.positions() * axis.kernel, "windows")?;
        let taps = |position| (0..axis.kernel).map(move |tap| (position, tap));
        let cells = (0..axis.positions()).flat_map(taps).map(|(position, tap)| axis.cell(position, tap));
        x = b.gather_axis(x, 2 + place, cells.collect(), 0.0)?;
        let end = axis.size + axis.before + axis.after - axis.enlarged;
        counts.push(
            (0..axis.positions())
                .map(|position| {
                    let taps = (0..axis.kernel).filter(|&tap| {
                        let inside = position * axis.stride + tap * axis.dilation < end;
                        if count_include_pad { inside } else { axis.cell(position, tap).is_some() }
                    });
                    taps.count()
                })
                .collect::<Vec<usize>>(),
        );
    }
    let apart = window.map(|axis| AxisWindow {
        size: axis.positions() * axis.kernel,
        stride: axis.kernel,
        ..AxisWindow { kernel: axis.kernel, ..AxisWindow::trivial(1) }
    });
    let mean = b.push(Op::AveragePool { window: ir_window(apart), count_include_pad: false }, &[x])?;
    let all = window[0].kernel * window[1].kernel;
    let factor = |rows: usize, columns: usize| all as f32 / (rows * columns) as f32;
    let factors: Vec<f32> =
        counts[0].iter().flat_map(|&rows| counts[1].iter().map(move |&columns| factor(rows, columns))).collect();
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok(mean);
    }
    let factors = b.literal(vec![1, 1, counts[0].len(), counts[1].len()], factors)?;
    b.binary(BinaryKind::Mul, mean, factors)
}
