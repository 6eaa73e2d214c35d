//! The decision of a compilation without given widths: profile, search, baselines, long retraining of the winner.

use super::environment::{RetrainingEnvironment, facts};
use super::sensitivity::Profiler;
use super::{
    CompileError, CompileOptions, CostKind, Decision, Event, Hooks, Judge, Material, MethodReport, ParetoPoint,
    RewardKind, SearchReport, budget, build, retrain,
};
use crate::annotate::{Annotated, annotate};
use crate::calibrate::Calibrated;
use crate::evaluate::{agreement, predictions};
use crate::search::environment::mean_bits;
use crate::search::ledger::Terms;
use crate::search::{
    Baseline, CostModel, Environment, Evaluated, EvaluationStore, Ingredients, Reward, SearchError, SearchOptions,
    SearchResult, SensitivityProfile, Stored, baselines, search, store_key,
};
use crate::train::{Recipe, Trainer};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{CostModel as AcceleratorModel, LayerShape};
use releqc_runtime::session::{Session, SessionOptions};
use std::cell::RefCell;

/// Points that may be lost where the caller names no limit.
const DEFAULT_MAX_LOSS: f64 = 0.3;

/// Choices that get the long retraining when the first ones miss the goal.
const ATTEMPTS: usize = 3;

/// Searches widths and retrains the network for them.
pub(super) fn bitwidths(
    calibrated: &Calibrated,
    material: &Material<'_>,
    judge: &Judge,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Decision, CompileError> {
    hooks.stage("profile");
    let drops = Profiler::new(calibrated, material)?.profile(&options.action_set, hooks)?;
    let profile = SensitivityProfile { drops };

    hooks.stage("search");
    let recipe = budget::short_recipe(calibrated, material.is_labelled());
    let trainer = match options.retrain {
        Retrained::NONE => None,
        _ => Some(Trainer::new(calibrated, material.training(), recipe.clone(), options.seed)?),
    };
    let layers = facts(&calibrated.folded);
    let cost = cost_model(&layers, calibrated, options)?;
    let max_loss = options.max_loss.unwrap_or(DEFAULT_MAX_LOSS);
    let reward = match options.reward {
        RewardKind::Constrained => Reward::constrained(max_loss)?,
        RewardKind::Paper => Reward::paper(),
    };
    let evaluations = options.episodes.unwrap_or_else(|| budget::episodes(layers.len()));
    let (interrupted, out_of_time) = (hooks.interrupted, hooks.out_of_time);
    let stop = move || interrupted() || out_of_time();
    let expected = material.validation().labels().unwrap_or(judge.float_classes());
    let reference = agreement(judge.float_classes(), expected);
    let terms = |evaluations| Terms { reward, cost: &cost, reference: Some(reference), evaluations, stop: &stop };

    let hooks_cell = RefCell::new(&mut *hooks);
    let environment = RetrainingEnvironment::new(
        calibrated,
        material,
        judge,
        trainer.as_ref(),
        options.action_set.clone(),
        &hooks_cell,
    );
    let mut environment = Counting::new(environment, options, calibrated, material, &recipe)?;
    let search_options = SearchOptions {
        terms: terms(evaluations),
        seed: options.seed,
        profile: Some(profile.clone()),
        least_improvement: 0.0,
        ingredients: Ingredients::default(),
    };
    let result = search(environment.as_dyn(), &search_options, &mut |progress| {
        hooks_cell.borrow_mut().report(Event::Evaluated {
            evaluations: progress.evaluations,
            limit: progress.limit,
            widths: progress.latest.widths.clone(),
            loss: progress.latest.loss,
            best: progress.best.widths.clone(),
            best_loss: progress.best.loss,
        });
    })?;
    hooks_cell.borrow().check_interrupt()?;
    let mut methods = vec![method("agent", result.best.as_ref(), result.evaluations.len())];
    let made = result.evaluations.len().max(1);
    if options.baselines && !out_of_time() {
        let fixed = [
            Baseline::Uniform,
            Baseline::SensitivityGreedy { profile: Some(profile) },
            Baseline::Random { seed: options.seed },
        ];
        for baseline in fixed {
            let found = baselines::run(environment.as_dyn(), &terms(made), &baseline)?;
            hooks_cell.borrow().check_interrupt()?;
            methods.push(method(found.name, found.best.as_ref(), found.evaluations.len()));
        }
    }
    let paid = environment.paid();
    drop(environment);
    let hooks = hooks_cell.into_inner();

    let (annotated, chosen) = finish(calibrated, material, reference, max_loss, &result, options, hooks)?;
    let report = search_report(&result, methods, paid, &chosen);
    Ok(Decision { annotated, search: Some(report) })
}

/// Names the one variant the trainer depends on.
struct Retrained;

impl Retrained {
    const NONE: super::Retrain = super::Retrain::None;
}

/// The long retraining of the best choices, in order of reward, until one keeps the limit; else the one that loses least.
fn finish(
    calibrated: &Calibrated,
    material: &Material<'_>,
    reference: f64,
    max_loss: f64,
    result: &SearchResult,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<(Annotated, Vec<BitWidth>), CompileError> {
    let recipe: Option<Recipe> = match options.retrain {
        super::Retrain::None => None,
        super::Retrain::Short => Some(budget::short_recipe(calibrated, material.is_labelled())),
        super::Retrain::Full => Some(budget::full_recipe(calibrated, material.is_labelled())),
    };
    let widest = vec![*options.action_set.last().unwrap_or(&BitWidth::MAX); calibrated.folded.weight_layers().len()];
    let mut candidates: Vec<&Evaluated> = result.evaluations.iter().collect();
    candidates.sort_by(|a, b| b.reward.total_cmp(&a.reward));
    let mut choices: Vec<Vec<BitWidth>> = candidates.iter().take(ATTEMPTS).map(|e| e.widths.clone()).collect();
    choices.push(widest);
    let expected = |data: &crate::data::Dataset| data.labels().map(<[u32]>::to_vec);
    let mut best: Option<(f64, Annotated, Vec<BitWidth>)> = None;
    for widths in choices {
        hooks.stage("retrain");
        let annotated = match &recipe {
            Some(recipe) => retrain(calibrated, material, recipe.clone(), &widths, options.seed, hooks)?,
            None => annotate(calibrated, &widths),
        };
        let classes = predictions(&build(annotated.clone())?, material.validation())?;
        let accuracy = match expected(material.validation()) {
            Some(labels) => agreement(&classes, &labels),
            None => agreement(&classes, &float_of(calibrated, material)?),
        };
        let loss = 100.0 * (reference - accuracy);
        if best.as_ref().is_none_or(|(least, ..)| loss < *least) {
            best = Some((loss, annotated, widths));
        }
        if loss <= max_loss || (hooks.out_of_time)() {
            break;
        }
    }
    let (_, annotated, widths) = best.expect("at least the widest choice was tried");
    Ok((annotated, widths))
}

fn float_of(calibrated: &Calibrated, material: &Material<'_>) -> Result<Vec<u32>, CompileError> {
    super::float_classes(calibrated, material.validation())
}
