//! Pixels as network input: how the 256 levels of a pixel become values.

use crate::RunError;
use crate::format::Metadata;

/// How pixels of 0..=255 become network inputs; what `preprocessing` of an artifact's metadata states.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
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

impl Pixels {
    /// Most values of a list: a session holds the codes of all levels for each.
    pub const MOST_VALUES: usize = 4096;

    /// What an artifact records; `None` where it states nothing that can be read.
    pub fn recorded(metadata: &Metadata) -> Option<Self> {
        let list =
            |key: &str| -> Option<Vec<f32>> { metadata.get(key)?.split(',').map(|v| v.trim().parse().ok()).collect() };
        match metadata.get("preprocessing")?.as_str() {
            "raw" => Some(Pixels::Raw),
            "normalize" => {
                Some(Pixels::Normalize { mean: list("preprocessing.mean")?, std: list("preprocessing.std")? })
            }
            _ => None,
        }
    }

    /// How many mappings of levels to inputs it holds: one for all channels, or one a channel.
    pub(crate) fn mappings(&self) -> usize {
        match self {
            Pixels::Raw => 1,
            Pixels::Normalize { mean, std } => mean.len().max(std.len()),
        }
    }

    /// The network input for a pixel of channel `c`.
    ///
    /// # Panics
    /// Where a list is empty, which [`Pixels::check`] refuses.
    pub fn value(&self, pixel: u8, c: usize) -> f32 {
        match self {
            Pixels::Raw => pixel.into(),
            Pixels::Normalize { mean, std } => {
                (f32::from(pixel) / 255.0 - mean[c.min(mean.len() - 1)]) / std[c.min(std.len() - 1)]
            }
        }
    }

    /// Checks it against the channels of an input.
    ///
    /// # Errors
    /// [`RunError::Pixels`] where a list has neither one value nor one a channel, or more than [`Pixels::MOST_VALUES`], a value is not
    /// finite, or a standard deviation is not a positive normal number.
    pub fn check(&self, channels: usize) -> Result<(), RunError> {
        let Pixels::Normalize { mean, std } = self else { return Ok(()) };
        for (name, values) in [("mean", mean), ("std", std)] {
            if values.len() != 1 && values.len() != channels {
                let found = values.len();
                return Err(RunError::Pixels(format!(
                    "{name} has {found} values; 1 or {channels} (one a channel) are required"
                )));
            }
            if values.len() > Self::MOST_VALUES {
                let (found, most) = (values.len(), Self::MOST_VALUES);
                return Err(RunError::Pixels(format!("{name} has {found} values; at most {most} are supported")));
            }
            if let Some(bad) = values.iter().find(|v| !v.is_finite() || (name == "std" && **v < f32::MIN_POSITIVE)) {
                let required = if name == "std" { "a number > 0" } else { "a finite number" };
                return Err(RunError::Pixels(format!("{name} {bad}; {required} is required")));
            }
        }
        Ok(())
    }
}
