//! The decision of a compilation without given widths: profile, search, baselines, long retraining of the winner.

use super::environment::{RetrainingEnvironment, facts};
use super::sensitivity::Profiler;
use super::{
    CompileError, CompileOptions, CostKind, Decision, Event, Hooks, Judge, LayerExplanation, Material, MethodReport,
    ParetoPoint, Retrain, RewardKind, SearchReport, WidthCost, budget, build, retrain,
};
use crate::annotate::{Annotated, annotate};
use crate::calibrate::Calibrated;
use crate::evaluate::{agreement, predictions};
use crate::ir::Op;
use crate::search::environment::mean_bits;
use crate::search::ledger::Terms;
use crate::search::pareto::{self, LayerCost};
use crate::search::{
    Baseline, CostModel, Evaluated, EvaluationStore, Ingredients, LayerFacts, Reward, SearchOptions, SearchResult,
    SensitivityProfile, Stored, baselines, search, store_key,
};
use crate::train::{Recipe, Trainer};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{Cost, CostModel as AcceleratorModel, LayerShape};
use releqc_runtime::program;
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
        Retrain::None => None,
        Retrain::Short | Retrain::Full => {
            Some(Trainer::new(calibrated, material.training(), recipe.clone(), options.seed)?)
        }
    };
    let layers = facts(&calibrated.folded);
    let cost = cost_model(&layers, calibrated, options)?;
    let max_loss = options.max_loss.unwrap_or(DEFAULT_MAX_LOSS);
    let reward = match options.reward {
        RewardKind::Constrained => Reward::constrained(max_loss)?,
        RewardKind::Paper => Reward::paper(),
    };
    let evaluations = options.episodes.unwrap_or_else(|| budget::episodes(layers.len(), trainer.is_some()));
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
    let store = match &options.store {
        Some(path) => EvaluationStore::open(path)?,
        None => EvaluationStore::in_memory(),
    };
    let key = key(calibrated, material, trainer.is_some().then_some(&recipe), options.seed);
    let mut environment = Stored::new(environment, store, key);
    let search_options = SearchOptions {
        terms: terms(evaluations),
        seed: options.seed,
        profile: Some(profile.clone()),
        least_improvement: 0.0,
        ingredients: Ingredients::default(),
    };
    let result = search(&mut environment, &search_options, &mut |progress| {
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
            let found = baselines::run(&mut environment, &terms(made), &baseline)?;
            hooks_cell.borrow().check_interrupt()?;
            methods.push(method(found.name, found.best.as_ref(), found.evaluations.len()));
        }
    }
    let paid = environment.paid();
    drop(environment);
    let hooks = hooks_cell.into_inner();

    let (annotated, chosen) = finish(calibrated, material, judge, max_loss, &result, options, hooks)?;
    let report = search_report(&result, methods, paid, &chosen);
    Ok(Decision { annotated, search: Some(report) })
}

/// The long retraining of the best choices, in order of reward, until one keeps the limit; else the one that loses least.
fn finish(
    calibrated: &Calibrated,
    material: &Material<'_>,
    judge: &Judge,
    max_loss: f64,
    result: &SearchResult,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<(Annotated, Vec<BitWidth>), CompileError> {
    let recipe: Option<Recipe> = match options.retrain {
        Retrain::None => None,
        Retrain::Short => Some(budget::short_recipe(calibrated, material.is_labelled())),
        Retrain::Full => Some(budget::full_recipe(calibrated, material.is_labelled())),
    };
    let widest = vec![*options.action_set.last().unwrap_or(&BitWidth::MAX); calibrated.folded.weight_layers().len()];
    let mut candidates: Vec<&Evaluated> = result.evaluations.iter().collect();
    candidates.sort_by(|a, b| b.reward.total_cmp(&a.reward));
    let mut choices: Vec<Vec<BitWidth>> = candidates.iter().take(ATTEMPTS).map(|e| e.widths.clone()).collect();
    choices.push(widest);
    let validation = material.validation();
    let expected = match validation.labels() {
        Some(labels) => labels,
        None => judge.float_classes(),
    };
    let mut best: Option<(f64, Annotated, Vec<BitWidth>)> = None;
    for widths in choices {
        hooks.stage("retrain");
        let annotated = match &recipe {
            Some(recipe) => retrain(calibrated, material, recipe.clone(), &widths, options.seed, hooks)?,
            None => annotate(calibrated, &widths),
        };
        let classes = predictions(&build(annotated.clone())?, material.validation())?;
        let loss = 100.0 * (result.reference - agreement(&classes, expected));
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

/// Everything an evaluation depends on besides the widths.
fn key(calibrated: &Calibrated, material: &Material<'_>, recipe: Option<&Recipe>, seed: u64) -> String {
    let mut network = calibrated.graph.to_string();
    for id in calibrated.graph.weight_layers() {
        let (weight, bias) = match &calibrated.folded.node(id).op {
            Op::Conv(conv) => (&conv.weight, &conv.bias),
            Op::FullyConnected(fc) => (&fc.weight, &fc.bias),
            other => unreachable!("{} owns no weights", other.label()),
        };
        let values = weight.data().iter().chain(bias.iter().flatten());
        network.extend(values.map(|v| format!(" {:08x}", v.to_bits())));
    }
    let ranges: Vec<_> = calibrated.ranges.iter().map(|r| (r.min.to_bits(), r.max.to_bits())).collect();
    let recipe = format!("{recipe:?} {ranges:?} {}", env!("CARGO_PKG_VERSION"));
    store_key(&[network.as_bytes(), material.fingerprint().as_bytes(), recipe.as_bytes(), &seed.to_le_bytes()])
}

fn method(name: &str, best: Option<&Evaluated>, evaluations: usize) -> MethodReport {
    let widths = best.map_or(&[][..], |best| &best.widths);
    MethodReport {
        name: name.to_owned(),
        widths: bits(widths),
        average_bits: mean_bits(widths),
        loss: best.map_or(f64::NAN, |best| best.loss),
        reward: best.map_or(f64::NAN, |best| best.reward),
        evaluations,
    }
}

fn bits(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|w| w.bits()).collect()
}

fn search_report(result: &SearchResult, methods: Vec<MethodReport>, paid: usize, chosen: &[BitWidth]) -> SearchReport {
    let point = |&index: &usize| {
        let entry = &result.evaluations[index];
        ParetoPoint {
            widths: bits(&entry.widths),
            average_bits: mean_bits(&entry.widths),
            relative_cost: entry.relative_cost,
            loss: entry.loss,
            chosen: entry.widths == chosen,
        }
    };
    let explain = |layer: &pareto::LayerExplanation| {
        let change = |cost: &LayerCost| WidthCost {
            bits: cost.width.bits(),
            loss: cost.measured.unwrap_or(cost.loss_change),
            measured: cost.measured.is_some(),
        };
        LayerExplanation { name: layer.name.clone(), widths: layer.widths.iter().map(change).collect() }
    };
    SearchReport {
        episodes: result.episodes,
        evaluations: methods.iter().map(|m| m.evaluations).sum(),
        paid,
        virtual_episodes: result.virtual_episodes,
        end: format!("{:?}", result.end).to_lowercase(),
        methods,
        pareto: result.pareto.iter().map(point).collect(),
        explanation: result.explanation.iter().map(explain).collect(),
    }
}

/// The cost table that the reward counts.
fn cost_model(
    layers: &[LayerFacts],
    calibrated: &Calibrated,
    options: &CompileOptions,
) -> Result<CostModel, CompileError> {
    Ok(match options.cost {
        CostKind::Paper => CostModel::paper(layers),
        CostKind::Mean => CostModel::mean(layers.len()),
        CostKind::Size => CostModel::size(layers),
        CostKind::Accelerator => {
            CostModel::measured("accelerator", "cycles", &accelerator(calibrated, |cost| cost.cycles.0 as f64)?)?
        }
        CostKind::Energy => CostModel::measured("energy", "pJ", &accelerator(calibrated, |cost| cost.energy.0)?)?,
        CostKind::Cpu => CostModel::measured("cpu", "us", &latencies(calibrated)?)?,
    })
}

/// `[layer][bits - 2]` of the simulator's closed form.
fn accelerator(calibrated: &Calibrated, of: impl Fn(&Cost) -> f64) -> Result<Vec<Vec<f64>>, CompileError> {
    let artifact = build(annotate(calibrated, &vec![BitWidth::MAX; calibrated.folded.weight_layers().len()]))?;
    let model = AcceleratorModel::default();
    let program = artifact.program();
    let row = |conv| BitWidth::all().map(|bits| of(&model.layer(&LayerShape::of(program, conv), bits))).collect();
    Ok(program.convs().map(row).collect())
}

/// Timed runs of each width; the median of a layer counts.
const TIMED_RUNS: usize = 30;

/// `[layer][bits - 2]`, microseconds of each layer with the whole network at that width.
fn latencies(calibrated: &Calibrated) -> Result<Vec<Vec<f64>>, CompileError> {
    let layers = calibrated.folded.weight_layers().len();
    let mut rows = vec![Vec::new(); layers];
    for bits in BitWidth::all() {
        let artifact = build(annotate(calibrated, &vec![bits; layers]))?;
        let mut session = Session::new(&artifact, SessionOptions { isa: None, threads: 1 })?;
        let input = vec![0.5; session.input_len()];
        let times = session.profile(&input, TIMED_RUNS)?;
        let convs = artifact.program().ops.iter().zip(times).filter(|(op, _)| matches!(op, program::Op::Conv(_)));
        for (row, (_, time)) in rows.iter_mut().zip(convs) {
            row.push(time.as_secs_f64() * 1e6 + f64::MIN_POSITIVE);
        }
    }
    Ok(rows)
}
