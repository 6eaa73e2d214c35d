//! Functions of one code as tables: exact for every function, whatever the executor.

use crate::activation::ActivationQuant;
use crate::ir::Clip;

/// The code of `function(x)` for each code of `x`, clipped: `clamp(rne(v / scale) + zero_point)`; of a NaN the code of 0.
pub(super) fn codes(
    x: ActivationQuant,
    y: ActivationQuant,
    clip: Option<Clip>,
    function: impl Fn(f32) -> f32,
) -> [u8; 256] {
    std::array::from_fn(|q| {
        let real = (q as f32 - f32::from(x.zero_point)) * x.scale;
        let value = function(real);
        let value = clip.map_or(value, |clip| value.max(clip.min).min(clip.max));
        if value.is_nan() { y.zero_point } else { code(value, y) }
    })
}

/// The code of a value that is no NaN.
pub(super) fn code(value: f32, y: ActivationQuant) -> u8 {
    let steps = (f64::from(value) / f64::from(y.scale)).round_ties_even() + f64::from(y.zero_point);
    steps.clamp(0.0, f64::from(y.largest)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_value() {
        let x = ActivationQuant { scale: 0.1, zero_point: 128, largest: 255 };
        let y = ActivationQuant { scale: 0.2, zero_point: 10, largest: 255 };
        let table = codes(x, y, Some(Clip { min: -1.0, max: f32::INFINITY }), |v| v * 2.0);
        // -12.8 * 2 is clipped to -1: 5 steps below 0; 12.7 * 2 = 127 steps above.
        assert_eq!([table[0], table[128], table[129], table[255]], [5, 10, 11, 137]);
        assert_eq!(codes(x, y, None, f32::sqrt)[0], 10, "of a NaN the code of 0");
    }
}
