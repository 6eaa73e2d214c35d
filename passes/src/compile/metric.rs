//! What networks are judged by.

use serde::{Deserialize, Serialize};

/// What is measured, on the artifact and on the float network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Share of samples whose class is the label.
    Top1,
    /// Share of samples whose label is among the five largest values.
    Top5,
    /// Share of samples whose class is that of the float network.
    Agreement,
    /// Signal-to-noise ratio against the float network in dB, of the worst output: where the output is no vector of classes.
    #[serde(rename = "snr_db")]
    Snr,
    /// Mean squared error against labels of numbers.
    Mse,
    /// Mean absolute error against labels of numbers.
    Mae,
}

impl Metric {
    /// The word that users read.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Top1 => "top-1",
            Metric::Top5 => "top-5",
            Metric::Agreement => "agreement",
            Metric::Snr => "signal-to-noise ratio",
            Metric::Mse => "mean squared error",
            Metric::Mae => "mean absolute error",
        }
    }

    /// Whether it is a share of right answers, 0..=1; what is lost of it is counted in points, hundredths.
    pub fn is_share(self) -> bool {
        matches!(self, Metric::Top1 | Metric::Top5 | Metric::Agreement)
    }

    /// Whether it is an error, of which less is better; what is lost of it is counted in its own unit.
    pub fn is_error(self) -> bool {
        matches!(self, Metric::Mse | Metric::Mae)
    }

    /// How many of the largest values an answer may be among.
    pub fn answers(self) -> usize {
        if self == Metric::Top5 { 5 } else { 1 }
    }

    /// Mean error of values, of which `wanted` are right; 0 for none. Only for [errors](Metric::is_error).
    pub fn error(self, values: &[f32], wanted: &[f32]) -> f64 {
        let sum: f64 = values
            .iter()
            .zip(wanted)
            .map(|(&value, &wanted)| {
                let distance = f64::from(value) - f64::from(wanted);
                if self == Metric::Mae { distance.abs() } else { distance * distance }
            })
            .sum();
        sum / wanted.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_means() {
        assert_eq!(Metric::Mse.error(&[1.0, 4.0], &[2.0, 2.0]), 2.5);
        assert_eq!(Metric::Mae.error(&[1.0, 4.0], &[2.0, 2.0]), 1.5);
        assert_eq!(Metric::Mae.error(&[], &[]), 0.0);
    }
}
