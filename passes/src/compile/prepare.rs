//! What comes before the decision on widths: import, rewriting, calibration.

use super::judge::Asked;
use super::{
    CompileError, CompileOptions, Event, Hooks, Judge, Labelled, MIN_SNR, Material, Retrain, WidthPolicy, preprocessing,
};
use crate::annotate::Annotated;
use crate::annotation;
use crate::calibrate::{Calibrated, Ends, Granularity, Stated, calibrate, calibrate_each};
use crate::data::{Dataset, Preprocessing};
use crate::import;
use crate::ir::Graph;
use crate::legality;
use crate::post_training::best_ranges;
use crate::rewrite::{canonicalize_observed, fold_batch_norm};
use crate::synthesize::{InputRange, RangeSource};
use crate::train::with_batch_norm;

/// A network, calibrated, and what widths for it are judged on.
pub(super) struct Prepared<'d> {
    pub(super) calibrated: Calibrated,
    /// The same with one scale a tensor, where a reconstruction needs it and the other has more.
    pub(super) plain: Option<Calibrated>,
    pub(super) material: Material<'d>,
    pub(super) judge: Judge,
    /// Those that ranges were taken from.
    pub(super) samples: Vec<Vec<f32>>,
    /// What was known of tensors before.
    pub(super) stated: Stated,
    /// The options, with retraining left out where the network cannot be retrained.
    pub(super) options: CompileOptions,
    /// The retraining that was asked for, by which ranges were chosen.
    pub(super) asked: Retrain,
    /// How pixels become inputs.
    pub(super) preprocessing: Option<Preprocessing>,
    /// What the model itself says of its widths.
    pub(super) annotation: Option<Annotated>,
    /// Number of weight layers.
    pub(super) layers: usize,
    /// Name and text of every stage so far.
    pub(super) stages: Vec<(String, String)>,
}

/// Makes a model ready for the decision on its widths.
///
/// # Errors
/// As [`compile`](super::compile()).
pub(super) fn prepare<'d>(
    model: &[u8],
    data: Option<&'d Labelled>,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Prepared<'d>, CompileError> {
    let mut stages = Vec::new();
    hooks.stage("import");
    let imported = import::import(model, &options.import)?;
    stages.push(("import".to_owned(), imported.to_string()));
    let graph = canonicalize_observed(imported, |name, graph| stages.push((name.to_owned(), graph.to_string())))?;
    let folded = fold_batch_norm(&graph);
    stages.push(("fold_batch_norm".to_owned(), folded.to_string()));
    let layers = options.check(&folded, data)?;
    legality::check(&folded)?;
    let narrow = options.activation_bits.of(&folded)?;

    let annotation = match options.widths {
        WidthPolicy::Search => annotation::read(model, &folded)?,
        WidthPolicy::Uniform(_) | WidthPolicy::PerLayer(_) => None,
    };
    let preprocessing = preprocessing(model, options.preprocessing.as_ref())?;

    hooks.stage("calibrate");
    let input_ranges = InputRange::of(&graph, preprocessing.as_ref(), &options.input_ranges);
    if data.is_none() {
        warn_of_assumed_ranges(&input_ranges, hooks);
    }
    let searches = annotation.is_none() && options.widths == WidthPolicy::Search;
    let material = Material::gather(&folded, data, &input_ranges, searches, options);
    let samples = material.calibration(&folded);
    let ranges = options.stated_ranges(&folded, &input_ranges);
    let stated = Stated { ranges, narrow };
    let ends: &[Ends] =
        if material.is_synthetic() { &[Ends::OF_SYNTHESISED] } else { &[Ends::LeastError, Ends::OF_SAMPLES] };
    let (granularity, ends) = match options.retrain {
        Retrain::None | Retrain::Reconstruct => best_ranges(&graph, &folded, &samples, &stated, ends),
        Retrain::Short | Retrain::Full => (Granularity::Tensor, ends[0]),
    };
    let refined = options.retrain == Retrain::Reconstruct && granularity != Granularity::Tensor;
    let plain =
        refined.then(|| calibrate_each(&graph, &folded, &samples, &stated, ends, &[Granularity::Tensor]).remove(0));
    let graph = match options.retrain {
        Retrain::None | Retrain::Reconstruct => graph,
        Retrain::Short | Retrain::Full => normalized(graph, material.training(), options.seed),
    };
    let calibrated = calibrate(graph, folded, &samples, &stated, ends, granularity);
    hooks.check_interrupt()?;

    let asked =
        Asked { metric: options.metric, min_snr: options.min_snr.unwrap_or(MIN_SNR), max_loss: options.max_loss };
    let judge = Judge::new(&calibrated, material.validation(), asked)?;
    if options.metric.is_none() && material.validation().targets().is_some() {
        let text = "the labels are numbers and no class indices: nothing is measured by them (--metric mse or mae)";
        hooks.report(Event::Warning(text.into()));
    }
    let retrain = options.retrain;
    let options = trainable(options, &calibrated, &judge, hooks);
    judge.warn_of_chance(&material, hooks);
    Ok(Prepared {
        calibrated,
        plain,
        material,
        judge,
        samples,
        stated,
        options,
        asked: retrain,
        preprocessing,
        annotation,
        layers,
        stages,
    })
}

/// The graph as retraining takes it, with batch normalisation where it was folded away.
fn normalized(graph: Graph, training: &Dataset, seed: u64) -> Graph {
    // What has no training form is refused where it is to be trained.
    with_batch_norm(&graph, training, seed).unwrap_or(graph)
}

/// Says so where nobody stated the range of an input: as it is, so good is what was measured on it.
fn warn_of_assumed_ranges(ranges: &[InputRange], hooks: &mut Hooks<'_>) {
    let said = ranges.iter().filter_map(|range| {
        let how = match range.source {
            RangeSource::Assumed => "was assumed",
            RangeSource::Statistics => "is what batch normalisation tells",
            RangeSource::Biases => "is what the first layer's biases tell",
            RangeSource::Stated | RangeSource::Network => return None,
        };
        let (low, high) = range.ends();
        Some(format!("[{low}, {high}] {how} for {:?}", range.name))
    });
    let names: Vec<String> = said.collect();
    if !names.is_empty() {
        hooks.report(Event::Warning(format!(
            "input range not stated: {}; the figure means nothing if inputs differ (--input-range, --mean and --std, --raw-pixels or --data, which \
            needs no labels, tell it)",
            names.join(", ")
        )));
    }
}

/// The options with retraining left out where the network cannot be retrained, or where it would be on values that nobody asked for.
fn trainable(
    options: &CompileOptions,
    calibrated: &Calibrated,
    judge: &Judge,
    hooks: &mut Hooks<'_>,
) -> CompileOptions {
    let mut options = options.clone();
    if options.retrain == Retrain::None {
        return options;
    }
    let of_classes = matches!(options.retrain, Retrain::Short | Retrain::Full);
    let event = match crate::train::Inference::float(&calibrated.graph) {
        Err(error) if of_classes => Event::Warning(format!("the network is not retrained: {error}")),
        Err(error) => Event::Note(format!("the network is not retrained: {error}")),
        Ok(_) if of_classes && !options.retrain_values && !judge.counts_answers() => Event::Note(format!(
            "the network is not retrained: it is judged by its {} (--retrain short or full: on the values of its outputs)",
            judge.metric().name()
        )),
        Ok(_) => return options,
    };
    hooks.report(event);
    options.retrain = Retrain::None;
    options
}
