//! GridSample and AffineGrid.
//!
//! Takes `[N, C, ..]` of one to three spatial axes and a grid `[N, .., axes]` of coordinates in -1..1, the last axis first. A constant
//! grid for one sample makes one [`Op::Resample`] over the flat image, or a gather where the nearest pixel is taken. A grid that
//! depends on the input makes, for each axis, a matrix with the weight of every position of the axis at every point: the last
//! axis is summed over by a product of matrices, the others by products and sums.
//! Refuses results of too many products, and sizes that depend on the input.

use super::axis;
use super::forms::one;
use super::reduce::places;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::constant::element_count;
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, Clip, Function, NodeId, Op, ReduceKind};
use releqc_runtime::float::canonical;

pub(super) const RULES: &[(&str, Rule)] = &[("AffineGrid", affine_grid), ("GridSample", grid_sample)];

/// Most elements of what is summed over, for a grid that depends on the input.
const MOST_ELEMENTS: usize = 1 << 24;

/// The factor of the cubic kernel, as in the definition of the operator.
const CUBIC: f64 = -0.75;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What lies outside of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Zeros,
    /// The pixel at the border.
    Border,
    /// The image in a mirror.
    Reflection,
}

#[derive(Clone, Copy, Debug)]
struct Sampling {
    mode: Mode,
    outside: Outside,
    /// Whether -1 and 1 are the middles of the first and last pixel, or their outer edges.
    align_corners: bool,
}

impl Sampling {
    fn of(step: &Step) -> Result<Self, Problem> {
        let attributes = step.attributes();
        let mode = match attributes.string("mode", "linear")? {
            "nearest" => Mode::Nearest,
            "linear" | "bilinear" => Mode::Linear,
            "cubic" | "bicubic" => Mode::Cubic,
            other => return Err(invalid(format!("mode {other:?}; nearest, linear or cubic is required"))),
        };
        let outside = match attributes.string("padding_mode", "zeros")? {
            "zeros" => Outside::Zeros,
            "border" => Outside::Border,
            "reflection" => Outside::Reflection,
            other => return Err(invalid(format!("padding_mode {other:?}; zeros, border or reflection is required"))),
        };
        Ok(Sampling { mode, outside, align_corners: attributes.flag("align_corners", false)? })
    }

    /// Factor and addend from -1..1 to the positions of an axis.
    fn scale(self, extent: usize) -> (f32, f32) {
        let last = (extent as f32 - 1.0) / 2.0;
        if self.align_corners { (last, last) } else { (extent as f32 / 2.0, last) }
    }

    /// Where the mirrors of an axis are.
    fn mirrors(self, extent: usize) -> (f32, f32) {
        let last = extent as f32 - 1.0;
        if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// The positions of an axis that count at a coordinate, with their weights; those outside of the image are left out.
    fn taps(self, coordinate: f32, extent: usize) -> Vec<(usize, f64)> {
        let (mul, add) = self.scale(extent);
        let mut at = f64::from(coordinate * mul + add);
        if self.mode == Mode::Nearest {
            at = at.round_ties_even();
        }
        let last = extent as f64 - 1.0;
        at = match self.outside {
            Outside::Zeros => at,
            // Each tap of a cubic is brought inside alone; from 3 outside on all of them are the border.
            Outside::Border if self.mode == Mode::Cubic => at.clamp(-3.0, last + 3.0),
            Outside::Border => at.clamp(0.0, last),
            Outside::Reflection => self.reflected(at, extent),
        };
        let (first, part) = (at.floor(), at - at.floor());
        let weights = match self.mode {
            Mode::Nearest => vec![(0.0, 1.0)],
            Mode::Linear => vec![(0.0, 1.0 - part), (1.0, part)],
            Mode::Cubic => (-1..=2).map(|tap| (f64::from(tap), cubic(part - f64::from(tap)))).collect(),
        };
        let placed = weights.into_iter().filter_map(|(tap, weight)| {
            let position = match self.outside {
                Outside::Zeros => first + tap,
                Outside::Border => (first + tap).clamp(0.0, last),
                Outside::Reflection => self.reflected(first + tap, extent).clamp(0.0, last),
            };
            (position >= 0.0 && position <= last && weight != 0.0).then_some((position as usize, weight))
        });
        placed.collect()
    }

    fn reflected(self, at: f64, extent: usize) -> f64 {
        let (low, high) = self.mirrors(extent);
        let (low, span) = (f64::from(low), f64::from(high) - f64::from(low));
        if span <= 0.0 {
            return low;
        }
        low + span - ((at - low).abs() % (2.0 * span) - span).abs()
    }
}

/// The weight of a pixel at a distance below 2.
fn cubic(distance: f64) -> f64 {
    let d = distance.abs();
    if d <= 1.0 {
        ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0
    } else {
        ((CUBIC * d - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC
    }
}

fn grid_sample(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let sampling = Sampling::of(step)?;
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let grid = b.node(step, 1)?;
    let places = b.dims(grid);
    let sizes = dims.get(2..).unwrap_or_default();
    let fits = places.len() == dims.len() && places.first() == dims.first() && places.last() == Some(&sizes.len());
    if !fits || !(1..=3).contains(&sizes.len()) {
        return Err(invalid(format!(
            "an image of {dims:?} by a grid of {places:?}; [N, C, ..] of one to three axes and [N, .., axes] are required"
        )));
    }
    let out = &places[1..places.len() - 1];
    let points = out.iter().product::<usize>();
    let result = if b.is_constant(step, 1) && dims[0] == 1 {
        let coordinates = b.required(step, 1)?.floats();
        fixed(b, x, sizes, &coordinates, sampling)?
    } else {
        let flat = b.reshape(grid, vec![dims[0], points, sizes.len()])?;
        computed(b, x, sizes, flat, sampling)?
    };
    one(b.reshape(result, [&dims[..2], out].concat())?)
}

/// By a constant grid: `[1, C, points]`.
fn fixed(b: &mut Builder<'_>, x: NodeId, sizes: &[usize], grid: &[f32], sampling: Sampling) -> Result<NodeId, Problem> {
    let axes = sizes.len();
    let (strides, channels) = (axis::strides(sizes), b.dims(x)[1]);
    let most = match sampling.mode {
        Mode::Nearest => 1,
        Mode::Linear => 1 << axes,
        Mode::Cubic => 1 << (2 * axes),
    };
    b.spend((grid.len() / axes).saturating_mul(2 * most), "the weights of a grid")?;
    let taps: Vec<Vec<(usize, f32)>> = grid
        .chunks_exact(axes)
        .map(|point| {
            let mut all = vec![(0, 1.0)];
            for axis in 0..axes {
                // The last axis comes first in a grid.
                let (own, stride) = (sampling.taps(point[axes - 1 - axis], sizes[axis]), strides[axis]);
                let joined = all.iter().flat_map(|&(at, weight)| {
                    own.iter().map(move |&(position, w)| (at + position * stride, weight * w))
                });
                all = joined.collect();
            }
            all.into_iter().map(|(at, weight)| (at, canonical(weight as f32))).collect()
        })
        .collect();
    let flat = b.reshape(x, vec![1, channels, sizes.iter().product()])?;
    if sampling.mode == Mode::Nearest {
        let picked = taps.iter().map(|taps| taps.first().map(|&(at, _)| at)).collect();
        return b.gather_axis(flat, 2, picked, 0.0);
    }
    b.push(Op::Resample { axis: 2, taps }, &[flat])
}

/// By a grid `[N, points, axes]` that depends on the input: `[N, C, points]`.
fn computed(
    b: &mut Builder<'_>,
    x: NodeId,
    sizes: &[usize],
    grid: NodeId,
    sampling: Sampling,
) -> Result<NodeId, Problem> {
    let (dims, points) = (b.dims(x), b.dims(grid)[1]);
    let (batch, channels) = (dims[0], dims[1]);
    let (&columns, outer) =
        sizes.split_last().ok_or_else(|| invalid("an image without axes; at least 1 is required"))?;
    let rows = outer.iter().product::<usize>() * channels;
    let fits = |elements: &[usize]| element_count(elements).is_some_and(|count| count <= MOST_ELEMENTS);
    if !fits(&[batch, rows, points]) || !sizes.iter().all(|&size| fits(&[batch, size, points])) {
        return Err(unsupported(format!(
            "GridSample of {dims:?} at {points} points that depend on the network's input; at most {MOST_ELEMENTS} sums are \
             supported"
        )));
    }
    let weights = (0..sizes.len()).map(|axis| {
        let coordinate = b.slice(grid, 2, sizes.len() - 1 - axis, 1)?;
        let coordinate = b.reshape(coordinate, vec![batch, 1, points])?;
        weights_at(b, coordinate, sizes[axis], sampling)
    });
    let weights = weights.collect::<Result<Vec<NodeId>, Problem>>()?;
    let lines = b.reshape(x, vec![batch, rows, columns])?;
    let mut sums = b.push(Op::MatMul, &[lines, weights[sizes.len() - 1]])?;
    for axis in (0..outer.len()).rev() {
        let left = b.dims(sums)[1] / sizes[axis];
        let apart = b.reshape(sums, vec![batch, left, sizes[axis], points])?;
        let weight = b.reshape(weights[axis], vec![batch, 1, sizes[axis], points])?;
        let weighted = b.binary(BinaryKind::Mul, apart, weight)?;
        sums = b.reduce(ReduceKind::Sum, weighted, &[2], false)?;
    }
    Ok(sums)
}

/// The weight of every position of an axis at coordinates `[N, 1, points]`: `[N, extent, points]`.
fn weights_at(b: &mut Builder<'_>, coordinate: NodeId, extent: usize, sampling: Sampling) -> Result<NodeId, Problem> {
    let (mul, add) = sampling.scale(extent);
    let mut at = b.affine(coordinate, mul, add)?;
    if sampling.mode == Mode::Nearest {
        at = b.unary(Function::Round, at)?;
    }
    at = if sampling.mode == Mode::Cubic && sampling.outside == Outside::Border {
        clipped(b, at, -3.0, extent as f32 + 2.0)?
    } else {
        inside(b, at, extent, sampling)?
    };
    let positions = places(b, extent, 1, 3)?;
    match sampling.mode {
        Mode::Nearest => b.binary(BinaryKind::Equal, positions, at),
        Mode::Linear => {
            if sampling.outside == Outside::Reflection {
                // Behind the middle of the outermost pixel lies the same pixel again.
                at = clipped(b, at, 0.0, extent as f32 - 1.0)?;
            }
            let distance = b.binary(BinaryKind::Sub, positions, at)?;
            let distance = b.unary(Function::Abs, distance)?;
            let weight = b.affine(distance, -1.0, 1.0)?;
            clipped(b, weight, 0.0, f32::INFINITY)
        }
        Mode::Cubic => {
            let first = b.unary(Function::Floor, at)?;
            let part = b.binary(BinaryKind::Sub, at, first)?;
            let mut sum = None;
            for tap in [-1.0, 0.0, 1.0, 2.0] {
                let neighbour = b.affine(first, 1.0, tap)?;
                let mut neighbour = inside(b, neighbour, extent, sampling)?;
                if sampling.outside == Outside::Reflection {
                    neighbour = clipped(b, neighbour, 0.0, extent as f32 - 1.0)?;
                }
                let here = b.binary(BinaryKind::Equal, positions, neighbour)?;
                let weight = cubic_weight(b, part, tap)?;
                let weighted = b.binary(BinaryKind::Mul, here, weight)?;
                sum = Some(match sum {
                    None => weighted,
                    Some(sum) => b.binary(BinaryKind::Add, sum, weighted)?,
                });
            }
            sum.ok_or_else(|| invalid("a kernel without taps; four are required"))
        }
    }
}

/// [`cubic`] of `|part - tap|` for parts in 0..1.
fn cubic_weight(b: &mut Builder<'_>, part: NodeId, tap: f32) -> Result<NodeId, Problem> {
    // The polynomial a d^3 + b d^2 + c d + e, by Horner.
    let near = tap == 0.0 || tap == 1.0;
    let a = CUBIC as f32;
    let [third, second, first, constant] =
        if near { [a + 2.0, -(a + 3.0), 0.0, 1.0] } else { [a, -5.0 * a, 8.0 * a, -4.0 * a] };
    let sign = if tap <= 0.0 { 1.0 } else { -1.0 };
    let distance = b.affine(part, sign, -sign * tap)?;
    let mut value = b.affine(distance, third, second)?;
    value = b.binary(BinaryKind::Mul, value, distance)?;
    value = b.affine(value, 1.0, first)?;
    value = b.binary(BinaryKind::Mul, value, distance)?;
    b.affine(value, 1.0, constant)
}

fn clipped(b: &mut Builder<'_>, x: NodeId, min: f32, max: f32) -> Result<NodeId, Problem> {
    b.push(Op::Clip(Clip { min, max }), &[x])
}

/// Positions as what lies outside of the image says.
fn inside(b: &mut Builder<'_>, at: NodeId, extent: usize, sampling: Sampling) -> Result<NodeId, Problem> {
    match sampling.outside {
        Outside::Zeros => Ok(at),
        Outside::Border => clipped(b, at, 0.0, extent as f32 - 1.0),
        Outside::Reflection => {
            let (low, high) = sampling.mirrors(extent);
            let span = high - low;
            if span <= 0.0 {
                return b.affine(at, 0.0, low);
            }
            let shifted = b.affine(at, 1.0, -low)?;
            let distance = b.unary(Function::Abs, shifted)?;
            let period = b.literal(vec![], vec![2.0 * span])?;
            let wrapped = b.binary(BinaryKind::Fmod, distance, period)?;
            let centred = b.affine(wrapped, 1.0, -span)?;
            let folded = b.unary(Function::Abs, centred)?;
            b.affine(folded, -1.0, low + span)
        }
    }
}

/// `theta` `[N, axes, axes + 1]` applied to the middles of the pixels of a constant size `[N, C, ..]`.
fn affine_grid(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let theta = b.node(step, 0)?;
    let size = b.ints(step, 1)?.ok_or_else(|| invalid("AffineGrid without a size; it is required"))?;
    let size = size.iter().map(|&v| axis::count(v, "an extent of")).collect::<Result<Vec<usize>, _>>()?;
    let (sizes, axes) = (size.get(2..).unwrap_or_default(), size.len().saturating_sub(2));
    if !(2..=3).contains(&axes) || b.dims(theta) != [size[0], axes, axes + 1] || size.contains(&0) {
        return Err(invalid(format!("theta {} for a size of {size:?}; they must fit", b.shape(theta))));
    }
    let align_corners = step.attributes().flag("align_corners", false)?;
    let middle = |at: usize, extent: usize| {
        let (at, extent) = (at as f64, extent as f64);
        if align_corners && extent > 1.0 { 2.0 * at / (extent - 1.0) - 1.0 } else { (2.0 * at + 1.0) / extent - 1.0 }
    };
    let points = element_count(sizes).unwrap_or(usize::MAX);
    b.spend(points.saturating_mul(axes + 1), "the points of a grid")?;
    // One row a point: the coordinates, the last axis first, and 1.
    let rows = axis::positions(sizes).flat_map(|at| {
        let coordinates: Vec<f32> = (0..axes).rev().map(|axis| middle(at[axis], sizes[axis]) as f32).collect();
        coordinates.into_iter().chain([1.0])
    });
    let rows = b.literal(vec![1, points, axes + 1], rows.collect())?;
    let theta = b.transpose_last(theta)?;
    let grid = b.push(Op::MatMul, &[rows, theta])?;
    one(b.reshape(grid, [&size[..1], sizes, &[axes]].concat())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_name_pixels() {
        let mut sampling = Sampling { mode: Mode::Linear, outside: Outside::Zeros, align_corners: true };
        assert_eq!(sampling.taps(-1.0, 5), [(0, 1.0)]);
        assert_eq!(sampling.taps(0.25, 5), [(2, 0.5), (3, 0.5)]);
        assert_eq!(sampling.taps(-1.25, 5), [(0, 0.5)]);
        sampling.outside = Outside::Border;
        assert_eq!(sampling.taps(-1.25, 5), [(0, 1.0)]);
        sampling.outside = Outside::Reflection;
        assert_eq!(sampling.taps(-1.25, 5), [(0, 0.5), (1, 0.5)]);
        sampling.align_corners = false;
        assert_eq!(sampling.taps(1.0, 4), [(3, 0.5), (3, 0.5)]);
        sampling.mode = Mode::Nearest;
        assert_eq!(sampling.taps(-1.75, 4), [(1, 1.0)]);
    }

    #[test]
    fn the_weights_of_a_cubic_sum_to_one() {
        for part in [0.0, 0.25, 0.7] {
            let sum: f64 = (-1..=2).map(|tap| cubic(part - f64::from(tap))).sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
