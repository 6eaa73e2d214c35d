//! What `check` says of a model against what becomes of it at 8 bits.

use releqc_passes::compile::{CompileOptions, Hooks, Labelled, Retrain, RoundingKind, WidthPolicy, check, compile};
use releqc_passes::data::{Dataset, Samples};
use releqc_passes::import::{ImportOptions, import};
use releqc_runtime::BitWidth;

/// Samples that ranges are taken from, and that the artifact is measured on: what is found out here does not depend on them.
const SAMPLES: usize = 2;

/// Whether a model is supported.
///
/// # Errors
/// Where `check` finds nothing and the model does not compile, or it compiles in spite of what `check` finds.
pub fn supported(model: &[u8], options: &ImportOptions) -> Result<bool, String> {
    let checked = check(model, options).map(|report| report.findings);
    let compiled = at_eight_bits(model, options);
    match (checked, compiled) {
        (Ok(findings), Ok(())) if findings.is_empty() => Ok(true),
        (Ok(findings), Err(error)) if findings.is_empty() => Err(format!("check finds nothing, compile: {error}")),
        (Ok(findings), Ok(())) => Err(format!("it compiles, check finds {findings:?}")),
        (Err(error), Ok(())) => Err(format!("it compiles, check: {error}")),
        (_, Err(_)) => Ok(false),
    }
}

/// A compilation without retraining, each weight rounded to the nearest.
fn at_eight_bits(model: &[u8], options: &ImportOptions) -> Result<(), String> {
    let data = import(model, options).ok().map(|graph| {
        let values = super::Random(7).floats(SAMPLES * graph.sample_len());
        let set = Dataset::new(graph.input_shape(), Samples::Values(values), None).expect("whole samples");
        Labelled { training: set.clone(), validation: set, fingerprint: String::new() }
    });
    let options = CompileOptions {
        import: options.clone(),
        widths: WidthPolicy::Uniform(BitWidth::MAX),
        retrain: Retrain::None,
        rounding: RoundingKind::Nearest,
        ..CompileOptions::default()
    };
    let mut hooks = Hooks { events: &mut |_| {}, interrupted: &|| false, remaining: &|| None };
    compile(model, data.as_ref(), &options, &mut hooks).map(drop).map_err(|error| error.to_string())
}
