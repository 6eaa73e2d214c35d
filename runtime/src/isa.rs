//! Instruction sets of the CPU: the one probe, and the proofs that kernels ask for.
//!
//! A kernel that needs a CPU feature takes a token such as [`Avx2`]. Only this module makes tokens, and only after the probe has seen
//! the feature, so holding one is the proof that the kernel may run.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod features;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use amx::Amx;
pub use features::{Feature, Features, UnknownFeature};

use crate::RunError;
use std::fmt;
use std::str::FromStr;

/// An instruction set the kernels are written for, from the least to the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Portable code.
    Scalar,
    /// AVX2: 8-bit products through `vpmaddubsw` or `vpmaddwd`.
    Avx2,
    /// AVX2 with AVX-VNNI: `vpdpbusd` on 256 bits.
    Avx2Vnni,
    /// AVX-512 F, BW, DQ and VL without dot products.
    Avx512,
    /// AVX-512 with VNNI: `vpdpbusd` on 512 bits.
    Avx512Vnni,
    /// AMX int8 tiles, over AVX-512 VNNI.
    Amx,
}

impl Isa {
    /// All instruction sets, ascending.
    pub const ALL: [Isa; 6] = [Isa::Scalar, Isa::Avx2, Isa::Avx2Vnni, Isa::Avx512, Isa::Avx512Vnni, Isa::Amx];

    /// The name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx2Vnni => "avx2-vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Amx => "amx",
        }
    }

    /// The most capable instruction set of this machine.
    pub fn detect() -> Isa {
        Isa::available().next_back().unwrap_or(Isa::Scalar)
    }

    /// The instruction sets of this machine, ascending; the first is always [`Isa::Scalar`].
    pub fn available() -> impl DoubleEndedIterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => Avx2::probe().is_some(),
            Isa::Avx2Vnni => Avx2Vnni::probe().is_some(),
            Isa::Avx512 => Avx512::probe().is_some(),
            Isa::Avx512Vnni => Avx512Vnni::probe().is_some(),
            Isa::Amx => TileUnit::probe().is_some(),
        }
    }

    /// Proof that the machine has it.
    ///
    /// # Errors
    /// [`RunError::Isa`] where it does not.
    pub(crate) fn require(self) -> Result<Available, RunError> {
        if self.is_available() {
            let tiles = if self == Isa::Amx { TileUnit::probe() } else { None };
            return Ok(Available { isa: self, tiles, hidden: Features::NONE });
        }
        let available: Vec<&str> = Isa::available().map(Isa::name).collect();
        Err(RunError::Isa { isa: self.name().to_owned(), available: available.join(", ") })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Proof that the machine has an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Available {
    isa: Isa,
    tiles: Option<TileUnit>,
    /// Features that no kernel gets a token of, whether the machine has them or not.
    hidden: Features,
}

impl Available {
    /// The best instruction set below AMX, with emulated tiles in the place of its tile unit.
    #[cfg(feature = "encode")]
    pub(crate) fn with_emulated_tiles(use_of_tiles: EmulatedTiles) -> Self {
        let vectors = Isa::available().rfind(|&isa| isa < Isa::Amx).unwrap_or(Isa::Scalar);
        let tiles = Some(TileUnit::Emulated(use_of_tiles));
        Available { isa: vectors, tiles, hidden: Features::NONE }
    }

    /// The instruction set.
    pub(crate) fn isa(self) -> Isa {
        self.isa
    }

    /// The same without some features: what another machine of this instruction set would be given.
    pub(crate) fn without(self, features: Features) -> Self {
        Available { hidden: features, ..self }
    }

    /// Proof of VBMI beside AVX-512, where the machine has it and it is not hidden.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vbmi(self) -> Option<Vbmi> {
        Vbmi::probe().filter(|_| self.isa >= Isa::Avx512 && !self.hidden.contains(Feature::Vbmi))
    }

    /// Proof of GFNI, where the machine has it, unpacks codes of `bits` bits faster with it, and it is not hidden.
    ///
    /// On AMD (measured on Zen 5) affine maps take turns with dot products, shifts and logic do not: of 2 and 4 bits, which need only
    /// three of the latter, those are faster.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn gfni_for(self, bits: u8) -> Option<Gfni> {
        let shifts = matches!(bits, 2 | 4) && is_amd();
        Gfni::probe().filter(|_| !shifts && !self.hidden.contains(Feature::Gfni))
    }

    /// What multiplies tiles, if anything does.
    pub(crate) fn tiles(self) -> Option<TileUnit> {
        self.tiles
    }
}

/// What multiplies tiles of int8.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TileUnit {
    /// The tile unit of this machine.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Hardware(Amx),
    /// Portable code with the semantics of its instructions.
    #[cfg(feature = "encode")]
    Emulated(EmulatedTiles),
}

impl TileUnit {
    /// The tile unit of this machine, where it has one that may be used.
    fn probe() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        return Amx::probe().map(TileUnit::Hardware);
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        None
    }
}

/// Which layers emulated tiles compute.
#[doc(hidden)]
#[cfg(feature = "encode")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulatedTiles {
    /// Those for which the hardware would be chosen.
    WhereHardwarePays,
    /// Every layer that they can compute, and codes packed wherever they can be read so.
    Everywhere,
}

/// A name that is no instruction set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("instruction set {0:?}; one of scalar, avx2, avx2-vnni, avx512, avx512-vnni, amx is required")]
pub struct UnknownIsa(String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident: $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(());

        impl $name {
            /// The proof, where the machine has the features.
            pub(crate) fn probe() -> Option<Self> {
                #[cfg(target_arch = "x86_64")]
                if true $(&& std::arch::is_x86_feature_detected!($feature))+ {
                    return Some($name(()));
                }
                None
            }
        }
    };
}

token! {
    /// Proof of AVX2.
    Avx2: "avx2"
}
token! {
    /// Proof of AVX2 and AVX-VNNI.
    Avx2Vnni: "avx2", "avxvnni"
}
token! {
    /// Proof of AVX-512 F, BW, DQ and VL, and of AVX2.
    Avx512: "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"
}
token! {
    /// Proof of AVX-512 F, BW, DQ, VL and VNNI, and of AVX2.
    Avx512Vnni: "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"
}
#[cfg(target_arch = "x86_64")]
token! {
    /// Proof of GFNI.
    Gfni: "gfni"
}

#[cfg(target_arch = "x86_64")]
token! {
    /// Proof of AVX-512 F, BW and VBMI.
    Vbmi: "avx512f", "avx512bw", "avx512vbmi"
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert!("sse9".parse::<Isa>().unwrap_err().to_string().contains("\"sse9\""));
    }

    #[test]
    fn scalar_is_everywhere_and_detect_is_the_last_available() {
        assert_eq!(Isa::available().next(), Some(Isa::Scalar));
        assert_eq!(Isa::available().next_back(), Some(Isa::detect()));
    }
}
