//! Operators of old converters that left the standard: ImageScaler and Crop.
//!
//! Takes constant attributes and `[N, C, H, W]`; returns an affine map or a gather.

use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::Op;

pub(super) const RULES: &[(&str, Rule)] = &[("Crop", crop), ("ImageScaler", image_scaler)];

/// `x * scale + bias[channel]`.
fn image_scaler(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let channels = b.shape(x).channels();
    let scale = step.attributes().float("scale", 1.0)?;
    let add = step.attributes().floats("bias")?.unwrap_or_else(|| vec![0.0; channels]);
    if add.len() != channels {
        return Err(invalid(format!("{} biases for {channels} channels; one each is required", add.len())));
    }
    one(b.push(Op::ChannelAffine { mul: vec![scale; channels], add }, &[x])?)
}

/// `border` is left, top, right, bottom; `scale`, where given, is height and width of the result.
fn crop(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let border = step.attributes().ints("border")?.unwrap_or(&[0, 0, 0, 0]).to_vec();
    let size = step.attributes().ints("scale")?.map(<[i64]>::to_vec);
    let (&[left, top, right, bottom], 4) = (&border[..], dims.len()) else {
        return Err(invalid(format!("Crop of {dims:?} by {border:?}; four borders of an image are required")));
    };
    let mut result = x;
    for (axis, before, after, index) in [(2, top, bottom, 0), (3, left, right, 1)] {
        let extent = dims[axis];
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        let count = match &size {
            Some(size) => size.get(index).and_then(|&v| usize::try_from(v).ok()),
            None => usize::try_from(after).ok().and_then(|after| extent.checked_sub(before.saturating_add(after))),
        };
        let fits = count.filter(|count| before.saturating_add(*count) <= extent);
        let count = fits.ok_or_else(|| invalid(format!("borders {border:?} of {dims:?}; something must be left")))?;
        result = b.slice(result, axis, before, count)?;
    }
    one(result)
}
