//! Pad in every mode, on any axes; negative pads crop.
//!
//! Takes an activation with constant pads; returns one gather with fill. A rewrite moves zeros around an image into the window of
//! the convolution that reads them.
//! Refuses pads or a fill value that depend on the input.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::{MAX_ELEMENTS, Step};
use crate::ir::AxisMap;

pub(super) const RULES: &[(&str, Rule)] = &[("Pad", pad)];

/// What lies outside of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

impl Mode {
    fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "constant" => Mode::Constant,
            "reflect" => Mode::Reflect,
            "edge" => Mode::Edge,
            "wrap" => Mode::Wrap,
            other => return Err(invalid(format!("mode {other:?}; constant, reflect, edge or wrap is required"))),
        })
    }

    /// Where position `at` of an endless axis lies on one of `extent`.
    fn source(self, at: i64, extent: i64) -> Option<usize> {
        let inside = (0..extent).contains(&at);
        let position = match self {
            _ if inside => at,
            Mode::Constant => return None,
            Mode::Edge => at.clamp(0, extent - 1),
            Mode::Wrap => at.rem_euclid(extent),
            Mode::Reflect if extent == 1 => 0,
            Mode::Reflect => {
                let period = 2 * (extent - 1);
                let folded = at.rem_euclid(period);
                folded.min(period - folded)
            }
        };
        usize::try_from(position).ok()
    }
}

fn indices(extent: usize, before: i64, after: i64, mode: Mode) -> Result<Vec<Option<usize>>, Problem> {
    let most = i64::try_from(MAX_ELEMENTS).unwrap_or(i64::MAX);
    let extent = i64::try_from(extent).unwrap_or(most);
    if before.abs() > most || after.abs() > most {
        return Err(unsupported(format!("pads {before} and {after}; at most {most} are supported")));
    }
    // A crop happens first: what it cuts off is not reflected.
    let (cut_start, cut_end) = ((-before).max(0), (-after).max(0));
    let left = extent - cut_start - cut_end;
    if left <= 0 {
        return Err(unsupported(format!("pads {before} and {after} of an axis of {extent}; an element must be left")));
    }
    let offset = usize::try_from(cut_start).unwrap_or(0);
    let range = -before.max(0)..left + after.max(0);
    Ok(range.map(|at| mode.source(at, left).map(|at| at + offset)).collect())
}

fn pad(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let mode = Mode::named(step.attributes().string("mode", "constant")?)?;
    let pads = b.ints_of(step, 1, "pads")?.ok_or_else(|| invalid("Pad without pads; they are required"))?;
    let value = step.attributes().float("value", 0.0)?;
    let fill = b.scalar(step, 2)?.unwrap_or(value);
    let axes = match b.ints(step, 3)? {
        Some(axes) => axis::listed_axes(&axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(invalid(format!("pads {pads:?} of axes {axes:?}; two an axis are required")));
    }
    let mut maps = vec![AxisMap::All; dims.len()];
    for (i, &axis) in axes.iter().enumerate() {
        let more = pads[i].max(0).saturating_add(pads[axes.len() + i].max(0));
        b.afford(usize::try_from(more).unwrap_or(usize::MAX).saturating_add(dims[axis]), "a padded axis")?;
        maps[axis] = AxisMap::Indices(indices(dims[axis], pads[i], pads[axes.len() + i], mode)?);
    }
    one(b.gather(x, maps, fill)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_pads_as_onnx_says() {
        let run = |before, after, mode| indices(3, before, after, mode).unwrap();
        let some = |positions: &[usize]| positions.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(run(1, 2, Mode::Constant), [None, Some(0), Some(1), Some(2), None, None]);
        assert_eq!(run(2, 2, Mode::Reflect), some(&[2, 1, 0, 1, 2, 1, 0]));
        assert_eq!(run(3, 0, Mode::Reflect), some(&[1, 2, 1, 0, 1, 2]));
        assert_eq!(run(2, 1, Mode::Edge), some(&[0, 0, 0, 1, 2, 2]));
        assert_eq!(run(1, 2, Mode::Wrap), some(&[2, 0, 1, 2, 0, 1]));
        assert_eq!(run(-1, 0, Mode::Constant), some(&[1, 2]));
        assert_eq!(run(-1, 1, Mode::Constant), [Some(1), Some(2), None]);
        assert!(indices(3, -2, -1, Mode::Edge).is_err());
        assert!(indices(3, i64::MAX, 0, Mode::Edge).is_err());
    }
}
