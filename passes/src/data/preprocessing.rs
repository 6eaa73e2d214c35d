//! How stored pixels become network inputs.

use super::DataError;
use releqc_runtime::format::Metadata;

/// How stored pixels become network inputs: `(pixel / 255 - mean) / std` per channel, or the raw 0..255 value.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Preprocessing {
    /// `(pixel / 255 - mean[c]) / std[c]`; one value for all channels, or one a channel.
    Normalize {
        /// Subtracted after scaling to 0..1.
        mean: Vec<f32>,
        /// Divided by.
        std: Vec<f32>,
    },
    /// Pixels as 0.0..=255.0.
    Raw,
}

impl Preprocessing {
    /// Pixels scaled to 0..1 and nothing else: what is assumed where nothing is stated.
    pub fn unit() -> Self {
        Preprocessing::Normalize { mean: vec![0.0], std: vec![1.0] }
    }

    /// The network input for a stored value `v` of channel `c`; pixels are 0..=255, signed samples -128..=127.
    pub fn apply(&self, v: f32, c: usize) -> f32 {
        match self {
            Preprocessing::Raw => v,
            Preprocessing::Normalize { mean, std } => {
                (v / 255.0 - mean[c.min(mean.len() - 1)]) / std[c.min(std.len() - 1)]
            }
        }
    }

    /// The values the 256 pixel levels of channel `c` become.
    pub fn levels(&self, c: usize) -> [f32; 256] {
        std::array::from_fn(|level| self.apply(level as f32, c))
    }

    /// True where every channel gets the same values.
    pub fn is_uniform(&self) -> bool {
        match self {
            Preprocessing::Raw => true,
            Preprocessing::Normalize { mean, std } => mean.len() == 1 && std.len() == 1,
        }
    }

    /// Whether both turn every pixel into the same input: one value for all channels equals a list of just that value.
    pub fn agrees_with(&self, other: &Self) -> bool {
        fn same(a: &[f32], b: &[f32]) -> bool {
            let at = |list: &[f32], i: usize| list.get(i).or(list.last()).copied();
            (0..a.len().max(b.len())).all(|i| at(a, i) == at(b, i))
        }
        match (self, other) {
            (Preprocessing::Normalize { mean, std }, Preprocessing::Normalize { mean: other_mean, std: other_std }) => {
                same(mean, other_mean) && same(std, other_std)
            }
            _ => self == other,
        }
    }

    /// Checks it against the number of channels of the network's input.
    ///
    /// # Errors
    /// [`DataError::Preprocessing`] where a list has neither one value nor one a channel, a value is not finite, or a standard
    /// deviation is not positive.
    pub fn check(&self, channels: usize) -> Result<(), DataError> {
        let Preprocessing::Normalize { mean, std } = self else { return Ok(()) };
        let refuse = |what: String| Err(DataError::Preprocessing { what });
        for (name, values) in [("mean", mean), ("std", std)] {
            if values.len() != 1 && values.len() != channels {
                return refuse(format!(
                    "{name} has {} values; 1 or {channels} (one a channel) are required",
                    values.len()
                ));
            }
            if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
                return refuse(format!("{name} {bad}; a finite number is required"));
            }
        }
        match std.iter().find(|v| **v <= 0.0) {
            Some(bad) => refuse(format!("std {bad}; a number > 0 is required")),
            None => Ok(()),
        }
    }

    /// Writes it under the keys `preprocessing`, `preprocessing.mean` and `preprocessing.std` of an artifact.
    pub fn record(&self, metadata: &mut Metadata) {
        let (kind, lists) = match self {
            Preprocessing::Raw => ("raw", None),
            Preprocessing::Normalize { mean, std } => ("normalize", Some((mean, std))),
        };
        metadata.insert("preprocessing".into(), kind.into());
        if let Some((mean, std)) = lists {
            metadata.insert("preprocessing.mean".into(), join(mean));
            metadata.insert("preprocessing.std".into(), join(std));
        }
    }

    /// What [`Preprocessing::record`] wrote; `None` where the artifact states nothing that can be read.
    pub fn recorded(metadata: &Metadata) -> Option<Self> {
        match metadata.get("preprocessing")?.as_str() {
            "raw" => Some(Preprocessing::Raw),
            "normalize" => {
                let list = |key: &str| parse_list(metadata.get(key)?);
                Some(Preprocessing::Normalize { mean: list("preprocessing.mean")?, std: list("preprocessing.std")? })
            }
            _ => None,
        }
    }
}

/// `mean 0.1307 std 0.3081`, or `raw pixels`: for reports.
impl std::fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Preprocessing::Raw => f.write_str("raw pixels 0..255"),
            Preprocessing::Normalize { mean, std } => write!(f, "pixels / 255, mean {}, std {}", join(mean), join(std)),
        }
    }
}

/// Shortest decimals that give the same f32 again, separated by commas.
fn join(values: &[f32]) -> String {
    values.iter().map(f32::to_string).collect::<Vec<_>>().join(",")
}

fn parse_list(text: &str) -> Option<Vec<f32>> {
    text.split(',').map(|v| v.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_exactly() {
        let odd = Preprocessing::Normalize { mean: vec![0.485, 0.1 + 0.2, 1.0 / 3.0], std: vec![f32::MIN_POSITIVE] };
        for preprocessing in [Preprocessing::Raw, Preprocessing::unit(), odd] {
            let mut metadata = Metadata::new();
            preprocessing.record(&mut metadata);
            assert_eq!(Preprocessing::recorded(&metadata), Some(preprocessing));
        }
        assert_eq!(Preprocessing::recorded(&Metadata::new()), None);
    }

    #[test]
    fn one_value_agrees_with_a_list_of_it() {
        let normalize = |mean: &[f32]| Preprocessing::Normalize { mean: mean.into(), std: vec![0.25] };
        assert!(normalize(&[0.5]).agrees_with(&normalize(&[0.5, 0.5, 0.5])));
        assert!(!normalize(&[0.5]).agrees_with(&normalize(&[0.5, 0.5, 0.4])));
        assert!(!normalize(&[0.5, 0.4, 0.4]).agrees_with(&normalize(&[0.5, 0.4, 0.3])));
        assert!(!Preprocessing::Raw.agrees_with(&Preprocessing::unit()));
    }

    #[test]
    fn lists_of_the_wrong_length_and_impossible_values_are_refused() {
        let normalize = |mean: &[f32], std: &[f32]| Preprocessing::Normalize { mean: mean.into(), std: std.into() };
        assert!(normalize(&[0.5], &[0.5, 0.5, 0.5]).check(3).is_ok());
        for (mean, std) in [(&[0.5, 0.5][..], &[1.0][..]), (&[], &[1.0]), (&[f32::NAN], &[1.0]), (&[0.0], &[0.0])] {
            assert!(normalize(mean, std).check(3).is_err(), "{mean:?} {std:?}");
        }
    }
}
