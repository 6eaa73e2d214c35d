//! The decision of a compilation without given widths: profile, search, baselines, long retraining of the winner.

use super::budget::{Pace, Recipes};
use super::confirm::{Confirmed, confirm};
use super::cost::cost_model;
use super::curvature;
use super::environment::{RetrainingEnvironment, facts};
use super::exploration::{Exploration, Finished, Method};
use super::finish::Finish;
use super::key::key;
use super::limits::Limits;
use super::lookahead::Lookahead;
use super::reconstruct::Reconstruct;
use super::run::Run;
use super::sensitivity::Profiler;
use super::turn::Turn;
use super::unlearn::Unlearned;
use super::watch::{self, Watched};
use super::yardstick::{Goal, Yardstick};
use super::{
    CompileError, CompileOptions, CostKind, Decision, Event, Hooks, Judge, LossOf, Material, Metric, Retrain, Sharing,
    Store, UnlearnedAccuracy, budget,
};
use crate::calibrate::Calibrated;
use crate::post_training::{Memo, quantize_after_training};
use crate::search::answers::Tally;
use crate::search::board::Board;
use crate::search::constraint;
use crate::search::environment::Problem;
use crate::search::ledger::Terms;
use crate::search::prior::DamagePrior;
use crate::search::{
    Answers, Baseline, Environment, Evaluation, EvaluationStore, Reward, SearchError, SearchOptions, Stored, baselines,
    search,
};
use crate::train::{TrainError, Trainer};
use std::cell::RefCell;
use std::time::Instant;

/// Long retrainings that the search leaves time for: two choices and the reference.
const RESERVED_RUNS: u32 = 3;

/// Searches widths and retrains the network for them.
pub(super) fn bitwidths(
    model: &[u8],
    asked: Retrain,
    reconstruct: &Reconstruct<'_>,
    judge: &Judge,
    limits: &Limits<'_>,
    hooks: &mut Hooks<'_>,
) -> Result<Decision, CompileError> {
    let Reconstruct { calibrated, material, options, .. } = *reconstruct;
    let answers = RefCell::new(answers(&options.store)?);
    let recipes = recipes(calibrated, material, judge, options)?;
    let rounding = material.rounding(options.rounding);
    let pace = Pace::default();
    let unlearned = match &recipes {
        // What it has unlearned is told by its answers.
        Some(recipes) if options.retrain == Retrain::Full && judge.counts_answers() => {
            Unlearned::of(calibrated, material, judge, recipes, rounding, options, &pace, &answers, hooks)?
        }
        _ => None,
    };
    let goal = Goal::of(options, judge.unit())?;
    // Widths are judged on the copy, and deployed from the original.
    let (judged, judge) = unlearned.as_ref().map_or((calibrated, judge), |copy| (&copy.calibrated, &copy.judge));
    let runs_after = u32::from(unlearned.is_some());
    let recipes = recipes.as_ref();
    let samples = &material.calibration(&judged.folded);
    let memo = Memo::new(judged, samples, rounding);
    let yardstick = Yardstick {
        calibrated: judged,
        material,
        memo: &memo,
        rounding,
        judge,
        limits,
        options,
        asked,
        goal,
        recipes,
        pace: &pace,
        runs_after,
        answers: &answers,
    };

    let exploration = yardstick.explore(model, hooks)?;
    let finished = Finish::new(&yardstick, &exploration, hooks).run()?;
    let report = exploration.report(&goal, &finished);
    let mut search = report.in_units(judge.metric(), judge.unit(), judge.float_error());
    let Finished { annotated: judged, widths, reference, accuracy: quantized, recipe, counted_from, .. } = finished;
    let of_result = recipe.clone();
    let judged = match options.retrain {
        // What keeps the goal on the validation samples is not given up for what is closer on others.
        Retrain::Reconstruct => {
            let fitted = reconstruct.of(judged.clone(), &widths, hooks)?;
            if judge.worth(&fitted, material)? < judge.worth(&judged, material)? { judged } else { fitted }
        }
        Retrain::None | Retrain::Short | Retrain::Full => judged,
    };
    let deployed = match (&unlearned, recipe) {
        (None, _) => judged.clone(),
        (Some(_), Some(recipe)) => {
            hooks.stage("retrain");
            let run = Run::new(calibrated, material, &recipe, rounding, options.seed)?;
            run.retrained(&widths, pace.of(&recipe), &answers, hooks)?.0
        }
        (Some(_), None) => {
            let samples = material.calibration(&calibrated.folded);
            quantize_after_training(calibrated, &widths, &samples, yardstick.rounding).annotated
        }
    };
    let Tally { helped, repeated, contradicted } = answers.borrow().tally();
    (search.helped, search.repeated) = (helped, repeated);
    if contradicted > 0 {
        let text = format!(
            "{contradicted} questions were answered in two ways by two processes: one of them does not compute what it should; the first \
            answers count"
        );
        hooks.report(Event::Warning(text));
    }
    warn_of_missed_snr(options, judge, || judge.worth(&judged, material), hooks)?;
    hooks.stage("confirm");
    let loss_of = if unlearned.is_some() { LossOf::Unlearned } else { LossOf::Artifact };
    let networks = Confirmed {
        float: calibrated,
        judged_in_float: yardstick.calibrated,
        judged: &judged,
        reference: counted_from.as_ref(),
        deployed: &deployed,
    };
    let confirmation = confirm(&networks, yardstick.judge, material, loss_of)?;
    if options.method_time.is_some() {
        for (method, widths) in search.methods.iter_mut().zip(exploration.best_of_methods().map(|best| &best.widths)) {
            let (network, _) = yardstick.network(widths, of_result.as_ref(), hooks)?;
            let networks = Confirmed { judged: &network, deployed: &network, ..networks };
            method.confirmation = confirm(&networks, yardstick.judge, material, LossOf::Artifact)?;
        }
    }
    let copy = unlearned.is_some().then(|| UnlearnedAccuracy { float: yardstick.float(), reference, quantized });
    let reference = copy.is_none().then_some(reference);
    Ok(Decision { search: Some(search), reference, unlearned: copy, confirmation, ..Decision::of(deployed) })
}

/// Says so where the signal-to-noise ratio that is asked for is not kept, or not looked at.
fn warn_of_missed_snr(
    options: &CompileOptions,
    judge: &Judge,
    accuracy: impl Fn() -> Result<f64, CompileError>,
    hooks: &mut Hooks<'_>,
) -> Result<(), CompileError> {
    if judge.metric() != Metric::Snr {
        if options.min_snr.is_some() {
            let name = judge.metric().name();
            let text = format!("--min-snr says nothing here: widths are judged by {name} (--metric snr)");
            hooks.report(Event::Warning(text));
        }
        return Ok(());
    }
    // Budgets alone ask for the least noise.
    if options.min_snr.is_some() || !options.wants_least_loss() {
        let (decibels, wanted) = (judge.in_its_unit(accuracy()?), judge.min_snr());
        if decibels < wanted {
            hooks.report(Event::Warning(format!(
                "the signal-to-noise ratio is {decibels:.1} dB, and {wanted:.1} dB are asked for (--min-snr)"
            )));
        }
    }
    Ok(())
}

/// The answers of a search, and who helps with them.
fn answers(store: &Store) -> Result<Answers, CompileError> {
    Ok(match store {
        Store::Memory => Answers::alone(EvaluationStore::in_memory()),
        Store::New(folder) => Answers::alone(EvaluationStore::create(folder)?),
        Store::Resumed(folder) => Answers::alone(EvaluationStore::open(folder)?),
        Store::Shared(Sharing { folder, owner, lease }, _) => {
            let store = EvaluationStore::open(folder)?;
            Answers::new(store, Some(Board::open(folder, owner, *lease)?))
        }
    })
}

/// How a network is retrained; `None` where it is not.
pub(super) fn recipes(
    calibrated: &Calibrated,
    material: &Material<'_>,
    judge: &Judge,
    options: &CompileOptions,
) -> Result<Option<Recipes>, CompileError> {
    Ok(match options.retrain {
        Retrain::None | Retrain::Reconstruct => None,
        Retrain::Short | Retrain::Full => {
            Some(Recipes::new(calibrated, material, judge.counts_answers(), options.seed).map_err(TrainError::from)?)
        }
    })
}

impl Yardstick<'_> {
    fn explore(&self, model: &[u8], hooks: &mut Hooks<'_>) -> Result<Exploration, CompileError> {
        let Yardstick { calibrated, material, options, goal, recipes, pace, runs_after, answers, .. } = *self;
        hooks.stage("profile");
        let profile = Profiler::new(calibrated, material)?.profile(&options.action_set, hooks)?;
        hooks.stage("search");
        let trainer = match recipes {
            Some(recipes) => Some(Trainer::new(calibrated, material.training(), recipes.short.clone(), options.seed)?),
            None => None,
        };
        let (interrupted, remaining) = (hooks.interrupted, hooks.remaining);
        let at_start = remaining();
        let out_of_time = || {
            let long = recipes.and_then(|recipes| recipes.of(options.retrain));
            let runs = (RESERVED_RUNS + runs_after) * long.and_then(|recipe| pace.of(recipe)).unwrap_or_default();
            remaining().is_some_and(|left| left <= budget::kept_back(runs, at_start))
        };
        let stop = || interrupted() || out_of_time();

        let hooks = RefCell::new(hooks);
        let environment = RetrainingEnvironment::new(self, trainer.as_ref(), &hooks);
        let judged_by = self.judge.terms();
        let short = recipes.map(|recipes| &recipes.short);
        let key = key(calibrated, material, short, self.rounding, &judged_by, options.seed)?;
        let layers = facts(&calibrated.folded);
        self.announce(model, &key)?;
        let cost = cost_model(&layers, calibrated, options, answers.borrow_mut().store(), &key)?;
        let constraints = self.limits.constraints()?;
        let cost = match &constraints[..] {
            // Of choices that lose the same, the one that takes least of what is scarce.
            [only] if goal.reward == Reward::LeastLoss && options.cost == CostKind::Mean => only.cost.clone(),
            _ => cost,
        };
        let evaluation_key = key.clone();
        // Nobody waits for the answer of a process that may be dead when there is no time for another evaluation.
        let mut environment = Stored::new(environment, answers, key, &stop);
        let in_time = |found: Result<Evaluation, SearchError>| match found {
            Err(SearchError::Interrupted) if !interrupted() => Ok(None),
            found => found.map(Some),
        };
        let mut reference = self.float();
        if trainer.is_some() && self.judge.counts_answers() && !stop() {
            // Retraining may forget samples held back that the network was trained on; at 8 bits that is all that it loses.
            let start = Instant::now();
            if let Some(found) = in_time(environment.evaluate(&self.at_8_bits()))? {
                if let Some(short) = short.filter(|short| !found.cached && pace.of(short).is_none()) {
                    pace.note(short, short.steps, start.elapsed());
                }
                reference = reference.min(found.accuracy);
            }
        }
        let widest = self.widest();
        let loses = widest != self.at_8_bits() && !stop();
        let measured_widest = loses.then(|| in_time(environment.evaluate(&widest))).transpose()?.flatten();
        let reward = goal.reward;
        let problem = Problem::of(&environment)?;
        let prior = DamagePrior::new(&problem, profile.as_ref())?;
        let at_widest = problem.actions(&widest).unwrap_or_default();
        let narrowest = problem.chosen(&constraint::narrowed(&problem, &constraints, &prior, at_widest));
        let reachable = constraint::excess(&constraints, &narrowest) <= 0.0;
        if !reachable {
            let text = "no widths keep the budgets: nothing was searched, and what exceeds them least is written";
            hooks.borrow_mut().report(Event::Warning(text.into()));
        }
        let turn = Turn::new();
        let ends = || stop() || turn.is_over();
        let terms = |evaluations| Terms {
            reward,
            cost: &cost,
            constraints: &constraints,
            reference: Some(reference),
            evaluations,
            parallel: options.parallel,
            stop: &ends,
        };
        let affordable = options.episodes.unwrap_or_else(|| match options.method_time {
            Some(_) => budget::MOST_OF_A_TURN,
            None => budget::episodes(layers.len(), trainer.is_some()),
        });
        let evaluations = if reachable { affordable } else { 0 };
        let careful_evaluations = match reward {
            Reward::Constrained(_) => budget::careful(evaluations, options.retrain == Retrain::Full),
            // They know no limit.
            Reward::Paper(_) | Reward::LeastLoss => 0,
        };
        // Time that is as long for all methods takes nothing from the agent's turn.
        let of_agent = if options.method_time.is_some() { evaluations } else { evaluations - careful_evaluations };
        let search_options = SearchOptions {
            terms: terms(of_agent),
            seed: options.seed,
            profile: profile.clone(),
            widest: measured_widest,
            ingredients: options.ingredients,
        };
        let mut baselines = vec![
            Baseline::Uniform,
            Baseline::SensitivityGreedy { profile: profile.clone() },
            Baseline::IntegerProgramme { profile: profile.clone() },
        ];
        let compares = options.baselines && reachable;
        if compares {
            let damages = curvature::damages(calibrated, material, self.judge, options, &mut hooks.borrow_mut())?;
            baselines.extend(damages.map(|damages| Baseline::Hessian { damages }));
        }
        baselines.push(Baseline::Random { seed: options.seed });
        let compared = if compares { &baselines[..] } else { &[] };
        let most = |baselines: &[Baseline]| -> usize {
            let of =
                |baseline: &Baseline| if *baseline == Baseline::Uniform { problem.widths.len() } else { usize::MAX };
            baselines.iter().map(|baseline| of(baseline).min(of_agent)).sum()
        };
        let judged =
            watch::Terms { reward, cost: &cost, constraints: &constraints, reference, judge: self.judge, turn: &turn };
        let mut environment = Watched::new(environment, &hooks, judged);
        let careful_turn = options.method_time.filter(|_| careful_evaluations > 0).map(budget::careful_turn);
        let turns = |count: usize| options.method_time.unwrap_or_default() * count as u32;
        match options.method_time {
            Some(time) => {
                environment.begin_turn("agent", time, careful_turn.unwrap_or_default() + turns(compared.len()))
            }
            None => environment.begin("agent", evaluations + most(compared)),
        }
        let start = Instant::now();
        let mut result = search(&mut environment, &search_options, &mut |_| ())?;
        hooks.borrow().check_interrupt()?;
        let mut known = result.evaluations.clone();
        let of_method = |name, evaluated, start: Instant| {
            let taken = if options.method_time.is_some() { turn.taken() } else { start.elapsed() };
            Method { name, evaluated, seconds: taken.as_secs_f64() }
        };
        let mut methods = vec![of_method("agent", 0..known.len(), start)];
        let mut entropies = result.entropies.clone();
        let mut careful = 0;
        if careful_evaluations > 0 {
            match careful_turn {
                Some(time) => environment.begin_turn("careful", time, turns(compared.len())),
                None => environment.begin("careful", careful_evaluations + most(compared)),
            }
            let terms = Terms { reward: Reward::constrained(goal.max_loss)?, ..terms(careful_evaluations) };
            let options = SearchOptions { terms, profile: profile.clone(), ..search_options };
            let found = search(&mut environment, &options, &mut |_| ())?;
            hooks.borrow().check_interrupt()?;
            careful = found.evaluations.len();
            entropies.extend(found.entropies);
            known.extend(found.evaluations);
        }
        for (index, baseline) in compared.iter().enumerate() {
            let name = baseline.name();
            if stop() {
                hooks.borrow_mut().report(Event::Note(format!("no time for the baseline {name}")));
                continue;
            }
            match options.method_time {
                Some(time) => environment.begin_turn(name, time, turns(compared.len() - index - 1)),
                None => environment.begin(name, most(&compared[index..])),
            }
            let start = Instant::now();
            let terms = terms(match options.method_time {
                Some(_) => of_agent,
                None => methods[0].evaluated.len().max(1),
            });
            let helps = options.parallel > 1 && answers.borrow_mut().board().is_some();
            let later = if helps { &compared[index + 1..] } else { &[] };
            let mut ahead = Lookahead { inner: &mut environment, later, terms: &terms, answers, key: &evaluation_key };
            let found = baselines::run(&mut ahead, &terms, baseline)?;
            hooks.borrow().check_interrupt()?;
            let first = known.len();
            known.extend(found.evaluations);
            methods.push(of_method(name, first..known.len(), start));
        }
        methods.retain(|method| !method.evaluated.is_empty());
        if known.is_empty() && reachable {
            let text = "the time budget left no time for an evaluation: nothing was searched";
            hooks.borrow_mut().report(Event::Warning(text.into()));
        }
        result.judge_together(&mut known, &terms(0));
        answers.borrow_mut().forget()?;
        let paid = answers.borrow().paid();
        Ok(Exploration { result, methods, known, entropies, careful, paid, cost, narrowest, profile })
    }
}
