//! The key of stored answers.

use super::hopeless::ending_rule;
use super::{CompileError, Material, encoded};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::post_training::{self, Rounding};
use crate::search::store_key;
use crate::simd::Isa;
use crate::train::{self, Recipe};
use releqc_runtime::BitWidth;

/// Everything an answer depends on besides the widths: network, ranges, samples, recipe, what judges it (nothing, of trained
/// parameters), the code that trains, the instruction set that it trains with, as each rounds sums in its own order, and the code between a trained network and its artifact, by what that makes of
/// this network at the widest and the narrowest width.
pub(super) fn key(
    calibrated: &Calibrated,
    material: &Material<'_>,
    recipe: Option<&Recipe>,
    rounding: Rounding,
    judged_by: &str,
    seed: u64,
) -> Result<String, CompileError> {
    let network = calibrated.graph.fingerprint();
    let ranges: Vec<_> = calibrated.ranges.iter().map(|r| (r.min.to_bits(), r.max.to_bits())).collect();
    let revisions = format!("{} {} {rounding:?}", train::REVISION, post_training::REVISION);
    let isa = Isa::detect();
    let code = format!("{} {revisions} {} {}", env!("CARGO_PKG_VERSION"), isa.name(), ending_rule());
    let recipe = format!("{recipe:?} {ranges:?} {code} {judged_by}");
    let layers = calibrated.folded.weight_layers().len();
    let artifact = |bits| encoded(annotate(calibrated, &vec![bits; layers]));
    let (widest, narrowest) = (artifact(BitWidth::MAX)?, artifact(BitWidth::MIN)?);
    let fingerprint = material.fingerprint();
    let parts = [&network[..], fingerprint.as_bytes(), recipe.as_bytes(), &seed.to_le_bytes(), &widest, &narrowest];
    Ok(store_key(&parts))
}
