//! The decision of a compilation without given widths: profile, search, baselines, long retraining of the winner.

use super::budget::{Pace, Recipes};
use super::environment::{HOPELESS, PROBATION, RetrainingEnvironment, facts};
use super::finish::{Finish, Finished, Goal};
use super::sensitivity::Profiler;
use super::unlearn::Unlearned;
use super::{
    CompileError, CompileOptions, CostKind, Decision, Event, Hooks, Judge, LayerExplanation, Material, MethodReport,
    ParetoPoint, Retrain, RewardKind, SearchReport, UnlearnedAccuracy, WidthCost, budget, build, retrain,
};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::evaluate::agreement;
use crate::ir::Op;
use crate::search::environment::mean_bits;
use crate::search::ledger::Terms;
use crate::search::pareto::{self, LayerCost};
use crate::search::{
    Baseline, CostModel, Environment, Evaluated, EvaluationStore, Ingredients, LayerFacts, Reward, SearchOptions,
    SearchResult, SensitivityProfile, Stored, baselines, search, store_key,
};
use crate::train::{Recipe, TrainError, Trainer};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{Cost, CostModel as AcceleratorModel, LayerShape};
use releqc_runtime::program;
use releqc_runtime::session::{Session, SessionOptions};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Points that may be lost where the caller names no limit.
const DEFAULT_MAX_LOSS: f64 = 0.3;

/// Long retrainings that the search leaves time for: two choices and the reference, and the result's where it was judged on a copy.
const RESERVED_RUNS: u32 = 3;

/// Searches widths and retrains the network for them.
pub(super) fn bitwidths(
    calibrated: &Calibrated,
    material: &Material<'_>,
    judge: &Judge,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Decision, CompileError> {
    let recipes = match options.retrain {
        Retrain::None => None,
        Retrain::Short | Retrain::Full => {
            Some(Recipes::new(calibrated, material, options.seed).map_err(TrainError::from)?)
        }
    };
    let pace = Pace::default();
    let original = calibrated;
    let unlearned = match &recipes {
        Some(recipes) if options.retrain == Retrain::Full => {
            Unlearned::of(calibrated, material, judge, &recipes.unlearning, options.seed, &pace, hooks)?
        }
        _ => None,
    };
    // Widths are judged on the copy, and deployed from the original.
    let (calibrated, judge) = unlearned.as_ref().map_or((calibrated, judge), |copy| (&copy.calibrated, &copy.judge));

    hooks.stage("profile");
    let drops = Profiler::new(calibrated, material)?.profile(&options.action_set, hooks)?;
    let profile = SensitivityProfile { drops };

    hooks.stage("search");
    let trainer = match &recipes {
        Some(recipes) => Some(Trainer::new(calibrated, material.training(), recipes.short.clone(), options.seed)?),
        None => None,
    };
    let layers = facts(&calibrated.folded);
    let cost = cost_model(&layers, calibrated, options)?;
    let max_loss = options.max_loss.unwrap_or(DEFAULT_MAX_LOSS);
    let search_limit = budget::search_limit(max_loss, options.retrain == Retrain::Full);
    let reward = match options.reward {
        RewardKind::Constrained => Reward::constrained(search_limit)?,
        RewardKind::Paper => Reward::paper(),
    };
    let goal = Goal { max_loss, search_limit, reward };
    let evaluations = options.episodes.unwrap_or_else(|| budget::episodes(layers.len(), trainer.is_some()));
    let (interrupted, remaining) = (hooks.interrupted, hooks.remaining);
    // Time for the long retraining is kept back.
    let out_of_time = || {
        let long = recipes.as_ref().and_then(|recipes| recipes.of(options.retrain));
        let reserve = long.and_then(|recipe| pace.of(recipe)).unwrap_or_default();
        remaining().is_some_and(|left| left <= (RESERVED_RUNS + u32::from(unlearned.is_some())) * reserve)
    };
    let stop = || interrupted() || out_of_time();

    let hooks_cell = RefCell::new(&mut *hooks);
    let environment = RetrainingEnvironment::new(
        calibrated,
        material,
        judge,
        trainer.as_ref(),
        options.action_set.clone(),
        &hooks_cell,
        &pace,
    );
    let store = match &options.store {
        Some(path) => EvaluationStore::open(path)?,
        None => EvaluationStore::in_memory(),
    };
    let key = key(calibrated, material, recipes.as_ref().map(|recipes| &recipes.short), options.seed);
    let mut environment = Stored::new(environment, store, key);
    let mut reference = agreement(judge.float_classes(), judge.expected(material));
    if trainer.is_some() {
        // Retraining forgets samples held back that the float network was trained on; at 8 bits that is all that it loses.
        let widest = vec![*options.action_set.last().unwrap_or(&BitWidth::MAX); layers.len()];
        reference = reference.min(environment.evaluate(&widest)?.accuracy);
    }
    let terms = |evaluations| Terms { reward, cost: &cost, reference: Some(reference), evaluations, stop: &stop };
    let search_options = SearchOptions {
        terms: terms(evaluations),
        seed: options.seed,
        profile: Some(profile.clone()),
        least_improvement: 0.0,
        ingredients: Ingredients::default(),
    };
    let careful_evaluations = budget::careful(evaluations, options.retrain == Retrain::Full);
    let search_options = SearchOptions { terms: terms(evaluations - careful_evaluations), ..search_options };
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
    let mut known = result.evaluations.clone();
    let of_agent = known.len();
    let mut careful = 0;
    if careful_evaluations > 0 && matches!(reward, Reward::Constrained(_)) {
        let terms = Terms { reward: Reward::constrained(max_loss)?, ..terms(careful_evaluations) };
        let options = SearchOptions { terms, profile: Some(profile.clone()), ..search_options };
        let found = search(&mut environment, &options, &mut |_| ())?;
        hooks_cell.borrow().check_interrupt()?;
        careful = found.evaluations.len();
        known.extend(found.evaluations);
    }
    if options.baselines && !out_of_time() {
        let fixed = [
            Baseline::Uniform,
            Baseline::SensitivityGreedy { profile: Some(profile) },
            Baseline::Random { seed: options.seed },
        ];
        for baseline in fixed {
            if stop() {
                let name = baseline.name();
                hooks_cell.borrow_mut().report(Event::Note(format!("no time for the baseline {name}")));
                continue;
            }
            let found = baselines::run(&mut environment, &terms(made), &baseline)?;
            hooks_cell.borrow().check_interrupt()?;
            if found.best.is_some() {
                methods.push(method(found.name, found.best.as_ref(), found.evaluations.len()));
            }
            known.extend(found.evaluations);
        }
    }
    let paid = environment.paid();
    drop(environment);
    let hooks = hooks_cell.into_inner();

    let runs_after = u32::from(unlearned.is_some());
    let recipes = recipes.as_ref();
    let finish = Finish { calibrated, material, judge, options, goal, recipes, pace: &pace, runs_after, hooks };
    let finished = finish.run(&known, of_agent)?;
    let search = Some(search_report(&result, methods, [paid, careful], search_limit, &known, &finished));
    let Finished { annotated, widths, reference, accuracy: quantized, recipe, .. } = finished;
    if unlearned.is_none() {
        return Ok(Decision { annotated, search, reference: Some(reference), unlearned: None });
    }
    let float = agreement(judge.float_classes(), judge.expected(material));
    let annotated = match recipe {
        Some(recipe) => {
            hooks.stage("retrain");
            retrain(original, material, recipe, &widths, options.seed, hooks)?
        }
        None => annotate(original, &widths),
    };
    let unlearned = Some(UnlearnedAccuracy { float, reference, quantized });
    Ok(Decision { annotated, search, reference: None, unlearned })
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
    let recipe = format!("{recipe:?} {PROBATION} {HOPELESS} {ranges:?} {}", env!("CARGO_PKG_VERSION"));
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

fn search_report(
    result: &SearchResult,
    methods: Vec<MethodReport>,
    [paid, careful]: [usize; 2],
    limit: f64,
    known: &[Evaluated],
    finished: &Finished,
) -> SearchReport {
    let mut seen = BTreeSet::new();
    let different: Vec<Evaluated> = known.iter().filter(|entry| seen.insert(entry.widths.clone())).cloned().collect();
    let point = |&index: &usize| {
        let entry = &different[index];
        ParetoPoint {
            widths: bits(&entry.widths),
            average_bits: mean_bits(&entry.widths),
            relative_cost: entry.relative_cost,
            loss: entry.loss,
            chosen: entry.widths == finished.widths,
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
        evaluations: methods.iter().map(|m| m.evaluations).sum::<usize>() + careful,
        careful,
        paid,
        virtual_episodes: result.virtual_episodes,
        end: format!("{:?}", result.end).to_lowercase(),
        limit,
        reference: result.reference,
        methods,
        finalists: finished.finalists.clone(),
        pareto: pareto::pareto_front(&different).iter().map(point).collect(),
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
