//! LpPool: the p-norm of every window.
//!
//! Takes `[N, C, ..]`; returns an average pool that counts padding, between the powers.
//! Refuses a last window beyond the padding (ceil_mode that enlarges it).

use super::forms::one;
use super::pool::{self, Kind};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::import::window::WindowAttributes;
use crate::ir::Function;

pub(super) const RULES: &[(&str, Rule)] = &[("LpPool", lp_pool)];

fn lp_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let p = step.attributes().int("p", 2)?;
    if p < 1 {
        return Err(invalid(format!("p {p}; it must be >= 1")));
    }
    let attributes = WindowAttributes::parse(step.attributes(), true)?;
    let kernel = attributes.kernel.clone().unwrap_or_default();
    let dims = b.dims(x);
    let windows = attributes.fit(&kernel, dims.get(2..).unwrap_or_default())?;
    if windows.iter().any(|window| window.enlarged > 0) {
        return Err(unsupported("LpPool with a last window beyond the padding (ceil_mode); it is not supported"));
    }
    let magnitude = b.unary(Function::Abs, x)?;
    let exponent = p as f32;
    let power = if p == 1 { magnitude } else { b.unary(Function::Pow { exponent }, magnitude)? };
    let mean = pool::over(b, power, &windows, Kind::Average { count_include_pad: true })?;
    let sum = b.affine(mean, kernel.iter().product::<usize>() as f32, 0.0)?;
    one(match p {
        1 => sum,
        2 => b.unary(Function::Sqrt, sum)?,
        _ => b.unary(Function::Pow { exponent: 1.0 / exponent }, sum)?,
    })
}
