//! CPU features beyond an instruction set: which may be hidden from the probe.

use std::fmt;
use std::str::FromStr;

/// A CPU feature that some machines with an instruction set have and others lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Affine maps over bits: AVX-512 VNNI unpacks narrow codes with them.
    Gfni,
    /// AVX-512 VBMI. No kernel asks for it today, so that hiding it changes nothing.
    Vbmi,
}

impl Feature {
    /// All features.
    pub const ALL: [Feature; 2] = [Feature::Gfni, Feature::Vbmi];

    /// The name in options.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::Gfni => "gfni",
            Feature::Vbmi => "vbmi",
        }
    }
}

/// A set of CPU features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u8);

impl Features {
    /// None of them.
    pub const NONE: Features = Features(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Features(self.0 | 1 << feature as u8)
    }

    /// Whether a feature is one of them.
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Feature::ALL.into_iter().filter(|&feature| self.contains(feature)).map(Feature::name).collect();
        f.pad(&names.join(","))
    }
}

/// A name that is no feature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CPU feature {0:?}; a list of gfni, vbmi is required")]
pub struct UnknownFeature(String);

impl FromStr for Features {
    type Err = UnknownFeature;

    /// Names, separated by commas; the empty text is [`Features::NONE`].
    fn from_str(names: &str) -> Result<Self, Self::Err> {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.into_iter().try_fold(Features::NONE, |features, name| {
            let feature = Feature::ALL.into_iter().find(|feature| feature.name() == name);
            feature.map(|feature| features.with(feature)).ok_or_else(|| UnknownFeature(name.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_parse_back() {
        for text in ["", "gfni", "vbmi", "gfni,vbmi"] {
            assert_eq!(text.parse::<Features>().unwrap().to_string(), text);
        }
        assert_eq!("vbmi, gfni".parse(), Ok(Features::NONE.with(Feature::Gfni).with(Feature::Vbmi)));
        assert!("gfni,sse9".parse::<Features>().unwrap_err().to_string().contains("\"sse9\""));
    }
}
