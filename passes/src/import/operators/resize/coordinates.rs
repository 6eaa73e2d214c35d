//! Where positions of a resized axis lie on the axis before, and with which weights its neighbours count.
//!
//! All in f64, as the reference implementation of ONNX computes it; weights are rounded to f32 once.

use crate::import::error::{Problem, invalid};

/// `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

impl Coordinates {
    pub(super) fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
            "tf_crop_and_resize" => Coordinates::TfCropAndResize,
            other => return Err(invalid(format!("coordinate_transformation_mode {other:?}; ONNX has no such mode"))),
        })
    }
}

/// How a coordinate between two positions is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// Before opset 11: down where the axis grows, up where it shrinks.
    Simple,
}

impl Nearest {
    pub(super) fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "round_prefer_floor" => Nearest::RoundPreferFloor,
            "round_prefer_ceil" => Nearest::RoundPreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            other => return Err(invalid(format!("nearest_mode {other:?}; ONNX has no such mode"))),
        })
    }

    fn round(self, at: f64, scale: f64) -> f64 {
        match self {
            Nearest::RoundPreferFloor => (at - 0.5).ceil(),
            Nearest::RoundPreferCeil => (at + 0.5).floor(),
            Nearest::Floor => at.floor(),
            Nearest::Ceil => at.ceil(),
            Nearest::Simple if scale < 1.0 => at.ceil(),
            Nearest::Simple => at.floor(),
        }
    }
}

/// Which neighbours count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Interpolation {
    Nearest(Nearest),
    Linear { antialias: bool },
    Cubic { a: f64, antialias: bool, exclude_outside: bool },
}

/// One axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resized {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Result by operand, before the result was rounded to whole positions.
    pub(super) scale: f64,
    /// Start and end in parts of the operand, for `tf_crop_and_resize`.
    pub(super) roi: [f64; 2],
}

/// One position of the operand and its weight.
type Tap = (usize, f32);

impl Resized {
    pub(super) fn is_identity(&self) -> bool {
        self.from == self.to && (self.scale - 1.0).abs() < 1e-9 && self.roi == [0.0, 1.0]
    }

    /// Coordinate on the operand of a position of the result.
    fn at(&self, position: usize, coordinates: Coordinates) -> f64 {
        let (x, from, scale) = (position as f64, self.from as f64, self.scale);
        let exact = scale * from;
        match coordinates {
            Coordinates::Asymmetric => x / scale,
            Coordinates::HalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::TfHalfPixelForNn => (x + 0.5) / scale,
            Coordinates::PytorchHalfPixel if self.to == 1 => 0.0,
            Coordinates::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = self.to as f64 / exact;
                from / 2.0 * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
            }
            Coordinates::AlignCorners if exact == 1.0 => 0.0,
            Coordinates::AlignCorners => x * (from - 1.0) / (exact - 1.0),
            Coordinates::TfCropAndResize => {
                let [start, end] = self.roi;
                let offset = if exact == 1.0 {
                    (end - start) * (from - 1.0) / 2.0
                } else {
                    x * (end - start) * (from - 1.0) / (exact - 1.0)
                };
                start * (from - 1.0) + offset
            }
        }
    }

    fn clamp(&self, at: f64) -> usize {
        at.clamp(0.0, (self.from - 1) as f64) as usize
    }

    fn is_outside(&self, position: usize) -> bool {
        let at = self.at(position, Coordinates::TfCropAndResize);
        at < 0.0 || at > (self.from - 1) as f64
    }

    /// The result's own positions, without those that lie outside of the operand.
    pub(super) fn inside(&self) -> Vec<Option<usize>> {
        (0..self.to).map(|position| (!self.is_outside(position)).then_some(position)).collect()
    }

    /// The operand's position for each of the result's.
    pub(super) fn nearest(&self, coordinates: Coordinates, nearest: Nearest) -> Vec<Option<usize>> {
        let outside = |position| coordinates == Coordinates::TfCropAndResize && self.is_outside(position);
        (0..self.to)
            .map(|position| {
                let at = nearest.round(self.at(position, coordinates), self.scale);
                (!outside(position)).then(|| self.clamp(at))
            })
            .collect()
    }

    /// Neighbours and weights of each position of the result; neighbours beyond the ends are the end itself.
    pub(super) fn taps(&self, coordinates: Coordinates, interpolation: Interpolation) -> Vec<Vec<Tap>> {
        (0..self.to).map(|position| self.taps_at(self.at(position, coordinates), interpolation)).collect()
    }

    fn taps_at(&self, at: f64, interpolation: Interpolation) -> Vec<Tap> {
        let base = at.floor();
        let ratio = at - base;
        // Filters grow where the axis shrinks.
        let narrow = self.scale.min(1.0);
        let filter = |reach: f64, narrow: f64, weight: &dyn Fn(f64) -> f64| {
            let first = (-reach / narrow).floor() as i64 + 1;
            let last = 1 - first;
            (first..=last)
                .map(|i| (base + i as f64, weight(((i as f64) - ratio) * narrow)))
                .collect::<Vec<(f64, f64)>>()
        };
        let mut weights = match interpolation {
            Interpolation::Nearest(nearest) => vec![(nearest.round(at, self.scale), 1.0)],
            Interpolation::Linear { antialias } => {
                let triangle = |x: f64| (1.0 - x.abs()).max(0.0);
                filter(1.0, if antialias { narrow } else { 1.0 }, &triangle)
            }
            Interpolation::Cubic { a, antialias, .. } => {
                filter(2.0, if antialias { narrow } else { 1.0 }, &|x| cubic(x, a))
            }
        };
        if let Interpolation::Cubic { exclude_outside: true, .. } = interpolation {
            weights.retain(|&(index, _)| index >= 0.0 && index < self.from as f64);
        }
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut merged: Vec<(usize, f64)> = Vec::with_capacity(weights.len());
        for (index, weight) in weights {
            let (index, weight) = (self.clamp(index), weight / sum);
            match merged.last_mut() {
                Some((last, total)) if *last == index => *total += weight,
                _ => merged.push((index, weight)),
            }
        }
        merged.retain(|&(_, weight)| weight != 0.0);
        merged.into_iter().map(|(index, weight)| (index, weight as f32)).collect()
    }
}

/// Keys' cubic convolution.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: usize, to: usize) -> Resized {
        Resized { from, to, scale: to as f64 / from as f64, roi: [0.0, 1.0] }
    }

    fn nearest(from: usize, to: usize, coordinates: Coordinates, nearest: Nearest) -> Vec<usize> {
        axis(from, to).nearest(coordinates, nearest).into_iter().flatten().collect()
    }

    #[test]
    fn nearest_positions() {
        assert_eq!(nearest(2, 4, Coordinates::Asymmetric, Nearest::Floor), [0, 0, 1, 1]);
        assert_eq!(nearest(2, 4, Coordinates::HalfPixel, Nearest::RoundPreferFloor), [0, 0, 1, 1]);
        assert_eq!(nearest(4, 8, Coordinates::AlignCorners, Nearest::RoundPreferCeil), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(nearest(4, 3, Coordinates::TfHalfPixelForNn, Nearest::Floor), [0, 2, 3]);
        assert_eq!(nearest(4, 2, Coordinates::HalfPixel, Nearest::RoundPreferFloor), [0, 2]);
        assert_eq!(nearest(4, 2, Coordinates::HalfPixel, Nearest::RoundPreferCeil), [1, 3]);
    }

    #[test]
    fn linear_by_two_weighs_three_to_one() {
        let taps = axis(2, 4).taps(Coordinates::HalfPixel, Interpolation::Linear { antialias: false });
        assert_eq!(taps, [vec![(0, 1.0)], vec![(0, 0.75), (1, 0.25)], vec![(0, 0.25), (1, 0.75)], vec![(1, 1.0)]]);
    }

    #[test]
    fn weights_sum_to_one() {
        for interpolation in [
            Interpolation::Linear { antialias: true },
            Interpolation::Cubic { a: -0.75, antialias: false, exclude_outside: false },
            Interpolation::Cubic { a: -0.5, antialias: true, exclude_outside: true },
        ] {
            for (from, to) in [(4, 9), (9, 4), (1, 3), (5, 1)] {
                for taps in axis(from, to).taps(Coordinates::HalfPixel, interpolation) {
                    let sum: f32 = taps.iter().map(|(_, weight)| weight).sum();
                    assert!((sum - 1.0).abs() < 1e-5 && taps.iter().all(|&(index, _)| index < from), "{taps:?}");
                }
            }
        }
    }

    #[test]
    fn a_crop_beyond_the_ends_comes_from_nowhere() {
        let axis = Resized { from: 4, to: 3, scale: 0.75, roi: [0.0, 1.5] };
        let seen = axis.nearest(Coordinates::TfCropAndResize, Nearest::Floor);
        assert_eq!(seen, [Some(0), Some(2), None]);
    }
}
