//! The decision of a compilation without given widths: profile, search, baselines, long retraining of the winner.

use super::budget::{Pace, Recipes};
use super::cost::cost_model;
use super::environment::{RetrainingEnvironment, ending_rule, facts};
use super::finish::{Finish, Finished, Goal};
use super::sensitivity::Profiler;
use super::unlearn::Unlearned;
use super::{
    CompileError, CompileOptions, Decision, EvaluationReport, Event, Hooks, Judge, LayerExplanation, Material,
    MethodReport, ParetoPoint, Retrain, SearchReport, Store, UnlearnedAccuracy, WidthCost, budget, encoded, retrain,
};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::post_training::{self, Rounding, quantize_after_training};
use crate::search::environment::mean_bits;
use crate::search::ledger::Terms;
use crate::search::pareto::{self, LayerCost};
use crate::search::{
    Baseline, CostModel, Environment, Evaluated, EvaluationStore, Ingredients, Reward, SearchOptions, SearchResult,
    SensitivityProfile, Stored, baselines, search, store_key,
};
use crate::train::kernels::simd::Isa;
use crate::train::{self, Recipe, TrainError, Trainer};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Long retrainings that the search leaves time for: two choices and the reference.
const RESERVED_RUNS: u32 = 3;

/// What agent and baselines evaluated.
pub(super) struct Exploration {
    /// What the agent found.
    pub(super) result: SearchResult,
    methods: Vec<MethodReport>,
    /// The agent's evaluations first, then those with the goal itself as limit, then the baselines'.
    pub(super) known: Vec<Evaluated>,
    /// Methods in the order of `known`, with the number of their evaluations.
    sources: Vec<(&'static str, usize)>,
    /// Entropy of the policy before each evaluation of the agent.
    entropies: Vec<Option<f64>>,
    /// Evaluations with the goal itself as limit.
    careful: usize,
    /// Evaluations that no store answered.
    paid: usize,
    /// What widths cost.
    pub(super) cost: CostModel,
    /// Holds the file of the evaluations until the compilation has what it needs of them.
    _store: EvaluationStore,
    /// What each layer loses alone, where there was time to measure it.
    pub(super) profile: Option<SensitivityProfile>,
}

/// Searches widths and retrains the network for them.
pub(super) fn bitwidths(
    calibrated: &Calibrated,
    material: &Material<'_>,
    judge: &Judge,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Decision, CompileError> {
    let store = match &options.store {
        Store::Memory => EvaluationStore::in_memory(),
        Store::New(path) => EvaluationStore::create(path)?,
        Store::Resumed(path) => EvaluationStore::open(path)?,
    };
    let recipes = match options.retrain {
        Retrain::None => None,
        Retrain::Short | Retrain::Full => {
            Some(Recipes::new(calibrated, material, options.seed).map_err(TrainError::from)?)
        }
    };
    let pace = Pace::default();
    let unlearned = match &recipes {
        Some(recipes) if options.retrain == Retrain::Full => {
            Unlearned::of(calibrated, material, judge, &recipes.unlearning, options.seed, &pace, hooks)?
        }
        _ => None,
    };
    let goal = Goal::of(options)?;
    // Widths are judged on the copy, and deployed from the original.
    let (judged, judge) = unlearned.as_ref().map_or((calibrated, judge), |copy| (&copy.calibrated, &copy.judge));
    let runs_after = u32::from(unlearned.is_some());
    let recipes = recipes.as_ref();
    let samples = &material.calibration(&judged.folded);
    let rounding = material.rounding(options.rounding);
    let yardstick = Yardstick {
        calibrated: judged,
        material,
        samples,
        rounding,
        judge,
        options,
        goal,
        recipes,
        pace: &pace,
        runs_after,
    };

    let exploration = yardstick.explore(store, hooks)?;
    let finished = Finish::new(&yardstick, &exploration, hooks).run()?;
    let search = Some(exploration.report(goal.search_limit, &finished));
    let Finished { annotated, widths, reference, accuracy: quantized, recipe, .. } = finished;
    if unlearned.is_none() {
        return Ok(Decision {
            annotated,
            calibrated: None,
            noise: None,
            search,
            reference: Some(reference),
            unlearned: None,
        });
    }
    let annotated = match recipe {
        Some(recipe) => {
            hooks.stage("retrain");
            retrain(calibrated, material, recipe, &widths, options.seed, hooks)?
        }
        None => {
            let samples = material.calibration(&calibrated.folded);
            quantize_after_training(calibrated, &widths, &samples, yardstick.rounding).annotated
        }
    };
    let unlearned = Some(UnlearnedAccuracy { float: yardstick.float(), reference, quantized });
    Ok(Decision { annotated, calibrated: None, noise: None, search, reference: None, unlearned })
}

/// Everything that a choice of widths is judged by.
#[derive(Clone, Copy)]
pub(super) struct Yardstick<'a> {
    /// The float network, or its copy that has unlearned the validation samples.
    pub(super) calibrated: &'a Calibrated,
    pub(super) material: &'a Material<'a>,
    /// What a network that is not retrained is quantized on.
    pub(super) samples: &'a [Vec<f32>],
    pub(super) rounding: Rounding,
    pub(super) judge: &'a Judge,
    pub(super) options: &'a CompileOptions,
    pub(super) goal: Goal,
    /// `None` retrains nothing.
    pub(super) recipes: Option<&'a Recipes>,
    pub(super) pace: &'a Pace,
    /// Runs of the result's recipe that follow the judging, for which time is kept back.
    pub(super) runs_after: u32,
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

    fn explore(&self, mut store: EvaluationStore, hooks: &mut Hooks<'_>) -> Result<Exploration, CompileError> {
        let Yardstick { calibrated, material, options, goal, recipes, pace, runs_after, .. } = *self;
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
        let key = key(calibrated, material, recipes.map(|recipes| &recipes.short), self.rounding, options.seed)?;
        let layers = facts(&calibrated.folded);
        let cost = cost_model(&layers, calibrated, options, &mut store, &key)?;
        let mut environment = Stored::new(environment, store, key);
        let mut reference = self.float();
        if trainer.is_some() && !stop() {
            // Retraining may forget samples held back that the network was trained on; at 8 bits that is all that it loses.
            reference = reference.min(environment.evaluate(&self.at_8_bits())?.accuracy);
        }
        let widest = self.widest();
        let loses = widest != self.at_8_bits() && !stop();
        let widest = loses.then(|| environment.evaluate(&widest)).transpose()?;
        let reward = goal.reward;
        let terms = |evaluations| Terms { reward, cost: &cost, reference: Some(reference), evaluations, stop: &stop };
        let evaluations = options.episodes.unwrap_or_else(|| budget::episodes(layers.len(), trainer.is_some()));
        let careful_evaluations = match reward {
            Reward::Constrained(_) => budget::careful(evaluations, options.retrain == Retrain::Full),
            // It knows no limit.
            Reward::Paper(_) => 0,
        };
        let search_options = SearchOptions {
            terms: terms(evaluations - careful_evaluations),
            seed: options.seed,
            profile: profile.clone(),
            widest,
            ingredients: Ingredients::default(),
        };
        let result = search(&mut environment, &search_options, &mut |progress| {
            hooks.borrow_mut().report(Event::Evaluated {
                evaluations: progress.evaluations,
                limit: progress.limit,
                widths: progress.latest.widths.clone(),
                loss: progress.latest.loss,
                best: progress.best.widths.clone(),
                best_loss: progress.best.loss,
            });
        })?;
        hooks.borrow().check_interrupt()?;
        let mut methods: Vec<MethodReport> =
            result.best.iter().map(|best| method("agent", best, result.evaluations.len())).collect();
        let mut known = result.evaluations.clone();
        let mut sources = vec![("agent", known.len())];
        let mut entropies = result.entropies.clone();
        let mut careful = 0;
        if careful_evaluations > 0 {
            let terms = Terms { reward: Reward::constrained(goal.max_loss)?, ..terms(careful_evaluations) };
            let options = SearchOptions { terms, profile: profile.clone(), ..search_options };
            let found = search(&mut environment, &options, &mut |_| ())?;
            hooks.borrow().check_interrupt()?;
            careful = found.evaluations.len();
            sources.push(("careful", careful));
            entropies.extend(found.entropies);
            known.extend(found.evaluations);
        }
        let baselines = [
            Baseline::Uniform,
            Baseline::SensitivityGreedy { profile: profile.clone() },
            Baseline::Random { seed: options.seed },
        ];
        for baseline in baselines.iter().filter(|_| options.baselines) {
            if stop() {
                let name = baseline.name();
                hooks.borrow_mut().report(Event::Note(format!("no time for the baseline {name}")));
                continue;
            }
            let found = baselines::run(&mut environment, &terms(result.evaluations.len().max(1)), baseline)?;
            hooks.borrow().check_interrupt()?;
            methods.extend(found.best.iter().map(|best| method(found.name, best, found.evaluations.len())));
            sources.push((found.name, found.evaluations.len()));
            known.extend(found.evaluations);
        }
        if known.is_empty() {
            let text = "the time budget left no time for an evaluation: nothing was searched";
            hooks.borrow_mut().report(Event::Warning(text.into()));
        }
        let paid = environment.paid();
        Ok(Exploration {
            result,
            methods,
            known,
            sources,
            entropies,
            careful,
            paid,
            cost,
            profile,
            _store: environment.into_store(),
        })
    }
}

impl Exploration {
    fn report(&self, limit: f64, finished: &Finished) -> SearchReport {
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
            evaluations: methods.iter().map(|m| m.evaluations).sum::<usize>() + careful,
            careful: *careful,
            paid: *paid,
            virtual_episodes: result.virtual_episodes,
            end: format!("{:?}", result.end).to_lowercase(),
            limit,
            reference: result.reference,
            methods: methods.clone(),
            finalists: finished.finalists.clone(),
            pareto: pareto::pareto_front(&different).iter().map(point).collect(),
            explanation: result.explain(&finished.widths, known).iter().map(explain).collect(),
            history: self.history(),
        }
    }

    fn history(&self) -> Vec<EvaluationReport> {
        let methods = self.sources.iter().flat_map(|&(name, count)| std::iter::repeat_n(name, count));
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

/// Everything an evaluation depends on besides the widths: network, ranges, samples, recipe, the code that trains, the instruction set that
/// it trains with, as each rounds sums in its own order, and the code between a trained network and its artifact, by what that makes of
/// this network at the widest and the narrowest width.
fn key(
    calibrated: &Calibrated,
    material: &Material<'_>,
    recipe: Option<&Recipe>,
    rounding: Rounding,
    seed: u64,
) -> Result<String, CompileError> {
    let network = calibrated.graph.fingerprint();
    let ranges: Vec<_> = calibrated.ranges.iter().map(|r| (r.min.to_bits(), r.max.to_bits())).collect();
    let revisions = format!("{} {} {rounding:?}", train::REVISION, post_training::REVISION);
    let code = format!("{} {} {:?} {}", env!("CARGO_PKG_VERSION"), revisions, Isa::detect(), ending_rule());
    let recipe = format!("{recipe:?} {ranges:?} {code}");
    let layers = calibrated.folded.weight_layers().len();
    let artifact = |bits| encoded(annotate(calibrated, &vec![bits; layers]));
    let (widest, narrowest) = (artifact(BitWidth::MAX)?, artifact(BitWidth::MIN)?);
    let fingerprint = material.fingerprint();
    let parts = [&network[..], fingerprint.as_bytes(), recipe.as_bytes(), &seed.to_le_bytes(), &widest, &narrowest];
    Ok(store_key(&parts))
}

fn method(name: &str, best: &Evaluated, evaluations: usize) -> MethodReport {
    MethodReport {
        name: name.to_owned(),
        widths: bits(&best.widths),
        average_bits: mean_bits(&best.widths),
        loss: best.loss,
        reward: best.reward,
        evaluations,
    }
}

fn bits(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|w| w.bits()).collect()
}
