//! The decision of a compilation without given widths: profile, search, baselines, long retraining of the winner.

use super::budget::{Pace, Recipes};
use super::confirm::{Confirmed, confirm};
use super::cost::cost_model;
use super::curvature;
use super::environment::{RetrainingEnvironment, facts};
use super::finish::{Finish, Finished, Goal};
use super::key::key;
use super::limits::Limits;
use super::lookahead::Lookahead;
use super::reconstruct::Reconstruct;
use super::run::Run;
use super::sensitivity::Profiler;
use super::task::Task;
use super::turn::Turn;
use super::unlearn::Unlearned;
use super::watch::{self, Watched};
use super::{
    CompileError, CompileOptions, CostKind, Decision, EvaluationReport, Event, Hooks, Judge, LayerExplanation, LossOf,
    LossUnit, Material, MethodReport, ParetoPoint, Retrain, SearchReport, Sharing, Store, UnlearnedAccuracy, WidthCost,
    budget, build,
};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::post_training::{Memo, Rounding, quantize_after_training};
use crate::search::answers::Tally;
use crate::search::board::Board;
use crate::search::constraint;
use crate::search::environment::{Problem, mean_bits};
use crate::search::ledger::{Terms, best_of};
use crate::search::pareto::{self, LayerCost};
use crate::search::prior::DamagePrior;
use crate::search::{
    Answers, Baseline, CostModel, Environment, Evaluated, Evaluation, EvaluationStore, Reward, SearchError,
    SearchOptions, SearchResult, SensitivityProfile, Stored, baselines, search,
};
use crate::train::{Recipe, TrainError, Trainer};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

/// Long retrainings that the search leaves time for: two choices and the reference.
const RESERVED_RUNS: u32 = 3;

/// What agent and baselines evaluated.
pub(super) struct Exploration {
    /// What the agent found.
    pub(super) result: SearchResult,
    methods: Vec<Method>,
    /// The agent's evaluations first, then those with the goal itself as limit, then the baselines'.
    pub(super) known: Vec<Evaluated>,
    /// Entropy of the policy before each evaluation of the agent.
    entropies: Vec<Option<f64>>,
    /// Evaluations with the goal itself as limit.
    careful: usize,
    /// Evaluations that no store answered.
    paid: usize,
    /// What widths cost.
    pub(super) cost: CostModel,
    /// The widest widths, narrowed until they keep the budgets, or to the end where none does.
    pub(super) narrowest: Vec<BitWidth>,
    /// What each layer loses alone, where there was time to measure it.
    pub(super) profile: Option<SensitivityProfile>,
}

/// One method of the comparison.
struct Method {
    name: &'static str,
    /// Its part of what is known.
    evaluated: Range<usize>,
    seconds: f64,
}

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
    let recipes = recipes(calibrated, material, options)?;
    let rounding = material.rounding(options.rounding);
    let pace = Pace::default();
    let unlearned = match &recipes {
        Some(recipes) if options.retrain == Retrain::Full => {
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
            let worth = |annotated: &Annotated| {
                Ok::<_, CompileError>(judge.score(&build(annotated.clone())?, material)?.accuracy)
            };
            if worth(&fitted)? < worth(&judged)? { judged } else { fitted }
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
    options: &CompileOptions,
) -> Result<Option<Recipes>, CompileError> {
    Ok(match options.retrain {
        Retrain::None | Retrain::Reconstruct => None,
        Retrain::Short | Retrain::Full => {
            Some(Recipes::new(calibrated, material, options.seed).map_err(TrainError::from)?)
        }
    })
}

/// Everything that a choice of widths is judged by.
#[derive(Clone, Copy)]
pub(super) struct Yardstick<'a> {
    /// The float network, or its copy that has unlearned the validation samples.
    pub(super) calibrated: &'a Calibrated,
    pub(super) material: &'a Material<'a>,
    /// Quantizes the network where it is not retrained.
    pub(super) memo: &'a Memo<'a>,
    pub(super) rounding: Rounding,
    pub(super) judge: &'a Judge,
    pub(super) limits: &'a Limits<'a>,
    pub(super) options: &'a CompileOptions,
    /// The retraining that was asked for, by which ranges were chosen.
    pub(super) asked: Retrain,
    pub(super) goal: Goal,
    /// `None` retrains nothing.
    pub(super) recipes: Option<&'a Recipes>,
    pub(super) pace: &'a Pace,
    /// Runs of the result's recipe that follow the judging, for which time is kept back.
    pub(super) runs_after: u32,
    /// What was answered before or by others.
    pub(super) answers: &'a RefCell<Answers>,
}

impl Yardstick<'_> {
    /// What losses are counted from, 0..=1: accuracy of the float network on the validation samples.
    pub(super) fn float(&self) -> f64 {
        self.judge.reference(self.material, self.options.max_loss)
    }

    /// 8 bits in every layer: what losses are counted from, whatever the action set.
    pub(super) fn at_8_bits(&self) -> Vec<BitWidth> {
        vec![BitWidth::MAX; self.calibrated.folded.weight_layers().len()]
    }

    /// The widest of the action set in every layer.
    pub(super) fn widest(&self) -> Vec<BitWidth> {
        let widest = *self.options.action_set.last().unwrap_or(&BitWidth::MAX);
        vec![widest; self.calibrated.folded.weight_layers().len()]
    }

    /// The network under a recipe.
    pub(super) fn run(&self, recipe: &Recipe) -> Result<Run<'_>, CompileError> {
        Run::new(self.calibrated, self.material, recipe, self.rounding, self.options.seed)
    }

    /// The network with these widths after a recipe, and whether it had to be retrained now.
    pub(super) fn network(
        &self,
        widths: &[BitWidth],
        recipe: Option<&Recipe>,
        hooks: &mut Hooks<'_>,
    ) -> Result<(Annotated, bool), CompileError> {
        match recipe {
            Some(recipe) => self.run(recipe)?.retrained(widths, self.pace.of(recipe), self.answers, hooks),
            None => Ok((self.memo.quantize(widths).annotated, false)),
        }
    }

    /// Makes the questions of this search known to processes that can answer them.
    fn announce(&self, model: &[u8], key: &str) -> Result<(), CompileError> {
        let Store::Shared(_, data) = &self.options.store else { return Ok(()) };
        // A worker leaves retraining out for the same reason, once ranges were chosen for it.
        let asked = CompileOptions { retrain: self.asked, ..self.options.clone() };
        let task = Task::new(&asked, data.clone(), key, self.runs_after > 0);
        let (name, description) =
            task.description(model).map_err(|error| CompileError::Option(format!("--store: {error}")))?;
        match self.answers.borrow_mut().board() {
            Some(board) => Ok(board.announce(&name, &description, model)?),
            None => Ok(()),
        }
    }

    fn explore(&self, model: &[u8], hooks: &mut Hooks<'_>) -> Result<Exploration, CompileError> {
        let Yardstick { calibrated, material, options, goal, recipes, pace, runs_after, answers, .. } = *self;
        hooks.stage("profile");
        let profile = Profiler::new(calibrated, material)?.profile(&options.action_set, hooks)?;
        let curvature = match options.baselines {
            true => curvature::damages(calibrated, material, self.judge, options, hooks)?,
            false => None,
        };

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
        if trainer.is_some() && !stop() {
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
        baselines.extend(curvature.map(|damages| Baseline::Hessian { damages }));
        baselines.push(Baseline::Random { seed: options.seed });
        let compared = if options.baselines && reachable { &baselines[..] } else { &[] };
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

impl Exploration {
    /// What each method prefers of its own evaluations, in the order of the methods.
    pub(super) fn best_of_methods(&self) -> impl Iterator<Item = &Evaluated> {
        self.methods.iter().filter_map(|method| best_of(&self.known[method.evaluated.clone()]))
    }

    /// The methods that evaluated these widths.
    fn found_by(&self, widths: &[BitWidth]) -> Vec<String> {
        let evaluated = |method: &&Method| self.known[method.evaluated.clone()].iter().any(|e| e.widths == widths);
        let mut names: Vec<String> = self.methods.iter().filter(evaluated).map(|method| method.name.into()).collect();
        if names.is_empty() {
            let careful = self.known.iter().any(|entry| entry.widths == widths);
            let derived = if self.known.is_empty() { "no method" } else { "long runs" };
            names.push(if careful { "agent" } else { derived }.into());
        }
        names
    }

    fn method(&self, method: &Method, finished: &Finished) -> Option<MethodReport> {
        let best = best_of(&self.known[method.evaluated.clone()])?;
        let widths = bits(&best.widths);
        let long_run = finished.finalists.iter().find(|finalist| finalist.widths == widths);
        Some(MethodReport {
            name: method.name.to_owned(),
            average_bits: mean_bits(&best.widths),
            loss: best.loss,
            believed_loss: best.believed_loss,
            reward: best.standing,
            evaluations: method.evaluated.len(),
            seconds: method.seconds,
            long_run_loss: long_run.map(|finalist| finalist.loss),
            kept: long_run.map(|finalist| finalist.kept),
            confirmation: None,
            widths,
        })
    }

    fn report(&self, goal: &Goal, finished: &Finished) -> SearchReport {
        let Exploration { result, methods, known, careful, paid, .. } = self;
        let mut seen = BTreeSet::new();
        let different: Vec<Evaluated> =
            known.iter().filter(|entry| seen.insert(entry.widths.clone())).cloned().collect();
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
            evaluations: known.len(),
            careful: *careful,
            paid: *paid,
            helped: 0,
            repeated: 0,
            virtual_episodes: result.virtual_episodes,
            end: format!("{:?}", result.end).to_lowercase(),
            limit: (goal.reward != Reward::LeastLoss).then_some(goal.search_limit),
            reference: result.reference,
            found_by: self.found_by(&finished.widths),
            methods: methods.iter().filter_map(|method| self.method(method, finished)).collect(),
            finalists: finished.finalists.clone(),
            pareto: pareto::pareto_front(&different).iter().map(point).collect(),
            explanation: result.explain(&finished.widths, known).iter().map(explain).collect(),
            history: self.history(),
            unit: LossUnit::default(),
        }
    }

    fn history(&self) -> Vec<EvaluationReport> {
        let method = |index: usize| self.methods.iter().find(|method| method.evaluated.contains(&index));
        let methods = (0..self.known.len()).map(|index| method(index).map_or("careful", |method| method.name));
        let entropies = self.entropies.iter().copied().chain(std::iter::repeat(None));
        let report = |((entry, method), entropy): ((&Evaluated, &str), Option<f64>)| EvaluationReport {
            method: method.to_owned(),
            widths: bits(&entry.widths),
            average_bits: mean_bits(&entry.widths),
            relative_cost: entry.relative_cost,
            loss: entry.loss,
            reward: entry.reward,
            entropy,
        };
        self.known.iter().zip(methods).zip(entropies).map(report).collect()
    }
}

fn bits(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|w| w.bits()).collect()
}
