//! Resize of every version, and Upsample.
//!
//! Takes an activation with constant scales or sizes; returns one gather for nearest, else one [`Op::Resample`] an axis that changes
//! (linear and cubic weights are separable). `roi` counts for `tf_crop_and_resize` only.
//! Refuses scales and sizes that depend on the input, and combinations that ONNX does not define.

mod coordinates;

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::{MAX_ELEMENTS, Step};
use crate::ir::{AxisMap, NodeId, Op};
use coordinates::{Coordinates, Interpolation, Nearest, Resized};

pub(super) const RULES: &[(&str, Rule)] = &[("Resize", resize), ("Upsample", upsample)];

/// How every axis is resized.
struct Plan {
    coordinates: Coordinates,
    interpolation: Interpolation,
    extrapolation: f32,
    /// One an axis of the operand.
    axes: Vec<Resized>,
}

fn upsample(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let scales = match b.constant(step, 1)? {
        Some(scales) => Some(scales.floats()),
        None => step.attributes().floats("scales")?,
    };
    let scales = scales.ok_or_else(|| invalid("Upsample without scales; they are required"))?;
    let interpolation = simple_mode(step.attributes().string("mode", "nearest")?)?;
    let axes = scaled(&dims, &scales)?;
    one(apply(b, x, &Plan { coordinates: Coordinates::Asymmetric, interpolation, extrapolation: 0.0, axes })?)
}

/// Modes of Upsample and of Resize before opset 11.
fn simple_mode(mode: &str) -> Result<Interpolation, Problem> {
    match mode {
        "nearest" => Ok(Interpolation::Nearest(Nearest::Simple)),
        "linear" | "bilinear" => Ok(Interpolation::Linear { antialias: false }),
        other => Err(invalid(format!("mode {other:?}; nearest or linear is required"))),
    }
}

fn scaled(dims: &[usize], scales: &[f32]) -> Result<Vec<Resized>, Problem> {
    if scales.len() != dims.len() {
        return Err(invalid(format!("scales {scales:?} of {dims:?}; one an axis is required")));
    }
    dims.iter().zip(scales).map(|(&extent, &scale)| by_scale(extent, scale)).collect()
}

fn by_scale(extent: usize, scale: f32) -> Result<Resized, Problem> {
    // In f32, as the scale is stated: 10 by 0.7 are 7.
    let result = (extent as f32 * scale).floor();
    if !(scale > 0.0 && result >= 1.0 && result <= MAX_ELEMENTS as f32) {
        return Err(invalid(format!("scale {scale} of an axis of {extent}; the result must have 1 to 2^28 positions")));
    }
    Ok(Resized { from: extent, to: result as usize, scale: f64::from(scale), roi: [0.0, 1.0] })
}

fn resize(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let attributes = step.attributes();
    if step.opset() < 11 {
        let scales = b.required(step, 1)?.floats();
        let interpolation = simple_mode(attributes.string("mode", "nearest")?)?;
        let axes = scaled(&dims, &scales)?;
        return one(apply(
            b,
            x,
            &Plan { coordinates: Coordinates::Asymmetric, interpolation, extrapolation: 0.0, axes },
        )?);
    }
    let coordinates = Coordinates::named(attributes.string("coordinate_transformation_mode", "half_pixel")?)?;
    let antialias = attributes.flag("antialias", false)?;
    let exclude_outside = attributes.flag("exclude_outside", false)?;
    let interpolation = match attributes.string("mode", "nearest")? {
        "nearest" if antialias => return Err(unsupported("antialias with mode nearest; linear or cubic is required")),
        "nearest" => Interpolation::Nearest(Nearest::named(attributes.string("nearest_mode", "round_prefer_floor")?)?),
        "linear" => Interpolation::Linear { antialias },
        "cubic" => {
            let a = f64::from(attributes.float("cubic_coeff_a", -0.75)?);
            Interpolation::Cubic { a, antialias, exclude_outside }
        }
        other => return Err(invalid(format!("mode {other:?}; nearest, linear or cubic is required"))),
    };
    let listed = match attributes.ints("axes")? {
        Some(axes) => axis::listed_axes(axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    let given =
        |constant: Option<std::rc::Rc<crate::import::build::Constant>>| constant.filter(|c| !c.floats().is_empty());
    let (scales, sizes) = (given(b.constant(step, 2)?), given(b.constant(step, 3)?));
    let mut axes = vec![Resized::default(); dims.len()];
    for (axis, &extent) in dims.iter().enumerate() {
        axes[axis] = Resized { from: extent, to: extent, scale: 1.0, roi: [0.0, 1.0] };
    }
    match (scales, sizes) {
        (Some(scales), None) => {
            let scales = scales.floats();
            if scales.len() != listed.len() {
                return Err(invalid(format!("scales {scales:?} of axes {listed:?}; one an axis is required")));
            }
            for (&axis, &scale) in listed.iter().zip(&scales) {
                axes[axis] = by_scale(dims[axis], scale)?;
            }
        }
        (None, Some(sizes)) => {
            let policy = attributes.string("keep_aspect_ratio_policy", "stretch")?;
            by_sizes(&mut axes, &listed, &sizes.ints(), policy)?;
        }
        _ => return Err(invalid("Resize with both or neither of scales and sizes; exactly one is required")),
    }
    if coordinates == Coordinates::TfCropAndResize {
        let roi = b.required(step, 1)?.floats();
        if roi.len() != 2 * listed.len() {
            return Err(invalid(format!("roi {roi:?} of axes {listed:?}; a start and an end an axis are required")));
        }
        for (i, &axis) in listed.iter().enumerate() {
            axes[axis].roi = [f64::from(roi[i]), f64::from(roi[listed.len() + i])];
        }
    }
    let extrapolation = attributes.float("extrapolation_value", 0.0)?;
    one(apply(b, x, &Plan { coordinates, interpolation, extrapolation, axes })?)
}

fn by_sizes(axes: &mut [Resized], listed: &[usize], sizes: &[i64], policy: &str) -> Result<(), Problem> {
    let fits = |&size: &i64| usize::try_from(size).is_ok_and(|size| (1..=MAX_ELEMENTS).contains(&size));
    if sizes.len() != listed.len() || !sizes.iter().all(fits) {
        return Err(invalid(format!("sizes {sizes:?} of axes {listed:?}; one >= 1 an axis is required")));
    }
    let scale = |i: usize| sizes[i] as f64 / axes[listed[i]].from as f64;
    let all = (0..sizes.len()).map(scale);
    let common = match policy {
        "stretch" => None,
        "not_larger" => Some(all.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(all.fold(0.0, f64::max)),
        other => {
            return Err(invalid(format!(
                "keep_aspect_ratio_policy {other:?}; stretch, not_larger or not_smaller is required"
            )));
        }
    };
    for (i, &axis) in listed.iter().enumerate() {
        let resized = &mut axes[axis];
        match common {
            None => {
                resized.scale = sizes[i] as f64 / resized.from as f64;
                resized.to = usize::try_from(sizes[i]).unwrap_or(1);
            }
            Some(scale) => {
                resized.scale = scale;
                resized.to = ((scale * resized.from as f64 + 0.5) as usize).max(1);
            }
        }
    }
    Ok(())
}

fn apply(b: &mut Builder<'_>, x: NodeId, plan: &Plan) -> Result<NodeId, Problem> {
    for axis in &plan.axes {
        // Where an axis shrinks, antialiasing reads more than four neighbours.
        b.afford(axis.to.saturating_mul(4).saturating_add(4 * axis.from), "a resized axis")?;
    }
    if let Interpolation::Nearest(nearest) = plan.interpolation {
        let maps = plan.axes.iter().map(|axis| AxisMap::Indices(axis.nearest(plan.coordinates, nearest)));
        return b.gather(x, maps.collect(), plan.extrapolation);
    }
    let mut result = x;
    for (axis, resized) in plan.axes.iter().enumerate() {
        if resized.is_identity() {
            continue;
        }
        let taps = resized.taps(plan.coordinates, plan.interpolation);
        result = b.push(Op::Resample { axis, taps }, &[result])?;
    }
    if plan.coordinates == Coordinates::TfCropAndResize {
        // What lies outside of the operand is one value: such positions come from nowhere.
        let maps = plan.axes.iter().map(|axis| AxisMap::Indices(axis.inside())).collect();
        result = b.gather(result, maps, plan.extrapolation)?;
    }
    Ok(result)
}
