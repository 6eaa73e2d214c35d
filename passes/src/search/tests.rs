//! Networks for the tests of the search, and the tests of the search as a whole.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use releqc_runtime::BitWidth;

use super::answers::{Answers, Stored};
use super::baselines::{self, Baseline};
use super::environment::{Environment, Evaluation, LayerFacts, Problem, SearchError, mean_bits};
use super::ledger::{Evaluated, Origin, Terms};
use super::random::Draws;
use super::store::EvaluationStore;
use super::{Constraint, CostModel, Ingredients, Reward, SearchOptions, SearchResult, SensitivityProfile, search};
use crate::random::Purpose;

pub(super) fn layers(weights: &[u64], macs: &[u64]) -> Vec<LayerFacts> {
    let layer = |(index, (&weights, &macs)): (usize, (&u64, &u64))| LayerFacts {
        name: format!("layer{index}"),
        outputs: 10,
        inputs: 10,
        kernel: 3,
        weights,
        macs,
        weight_std: 0.1,
    };
    weights.iter().zip(macs).enumerate().map(layer).collect()
}

/// A network whose loss is a sum over layers and products of neighbours, in points; exact.
#[derive(Clone, Debug)]
pub(super) struct Additive {
    layers: Vec<LayerFacts>,
    widths: Vec<BitWidth>,
    sensitivity: Vec<f64>,
}

impl Additive {
    pub(super) fn new(depth: usize, seed: u64) -> Self {
        let mut draws = Draws::new(seed, Purpose::Agent);
        let mut sensitivity: Vec<f64> = (0..depth).map(|_| draws.normal().exp()).collect();
        let scale = 0.3 * 4.0f64.powf(1.0 + draws.unit()) / sensitivity.iter().sum::<f64>();
        sensitivity.iter_mut().for_each(|s| *s *= scale);
        let weights: Vec<u64> = (0..depth).map(|_| 1000 + draws.below(100_000) as u64).collect();
        Additive { layers: layers(&weights, &weights), widths: BitWidth::all().collect(), sensitivity }
    }

    pub(super) fn loss(&self, widths: &[BitWidth]) -> f64 {
        let damage = |(w, s): (&BitWidth, &f64)| s * 0.25f64.powi(i32::from(w.bits()) - 2);
        let damage: Vec<f64> = widths.iter().zip(&self.sensitivity).map(damage).collect();
        let coupled: f64 = damage.windows(2).map(|pair| 0.2 * (pair[0] * pair[1]).sqrt()).sum();
        damage.iter().sum::<f64>() + coupled
    }
}

impl Environment for Additive {
    fn layers(&self) -> &[LayerFacts] {
        &self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        &self.widths
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let accuracy = 0.95 - self.loss(widths) / 100.0;
        Ok(Evaluation { accuracy, samples: 0, standard_error: None, cached: false })
    }
}

/// One of the authors' tables.
#[derive(Clone, Debug)]
pub(super) struct AuthorsTable {
    pub(super) layers: Vec<LayerFacts>,
    pub(super) reference: f64,
    accuracies: BTreeMap<Vec<BitWidth>, f64>,
    widths: Vec<BitWidth>,
}

impl AuthorsTable {
    pub(super) fn rows(&self) -> Vec<(Vec<BitWidth>, f64)> {
        self.accuracies.iter().map(|(widths, accuracy)| (widths.clone(), *accuracy)).collect()
    }
}

impl Environment for AuthorsTable {
    fn layers(&self) -> &[LayerFacts] {
        &self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        &self.widths
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let accuracy = self.accuracies.get(widths).copied();
        let accuracy = accuracy.ok_or_else(|| SearchError::invalid("row", format!("{widths:?}"), "must be listed"))?;
        Ok(Evaluation { accuracy, samples: 0, standard_error: None, cached: false })
    }
}

/// `None`, with a message, where the shared data is absent.
pub(super) fn authors_table(file: &str, weights: &[u64], macs: &[u64]) -> Option<AuthorsTable> {
    let root = std::env::var_os("RELEQC_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(root.join("tables").join(file)) else {
        assert!(std::env::var_os("RELEQC_REQUIRE_SHARED").is_none(), "{} is absent", file);
        // Past the capture of test output: a skipped test must be seen.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {} is absent\n", file).as_bytes());
        return None;
    };
    let row = |line: &str| {
        let (bits, accuracy) = line.split_once(',')?;
        let widths: Option<Vec<BitWidth>> = bits.split(' ').map(|b| BitWidth::new(b.parse().ok()?)).collect();
        Some((widths?, accuracy.parse::<f64>().ok()? / 100.0))
    };
    let accuracies: BTreeMap<Vec<BitWidth>, f64> = text.lines().skip(1).filter_map(row).collect();
    let reference = *accuracies.get(&vec![BitWidth::MAX; weights.len()]).expect("the reference is listed");
    let widths = [2, 3, 4, 5, 8].iter().filter_map(|&b| BitWidth::new(b)).collect();
    Some(AuthorsTable { layers: layers(weights, macs), reference, accuracies, widths })
}

fn options<'a>(cost: &'a CostModel, evaluations: usize, seed: u64, stop: &'a dyn Fn() -> bool) -> SearchOptions<'a> {
    SearchOptions {
        terms: Terms {
            reward: Reward::constrained(0.3).expect("valid"),
            cost,
            constraints: &[],
            reference: None,
            evaluations,
            parallel: 1,
            stop,
        },
        seed,
        profile: None,
        widest: None,
        ingredients: Ingredients::default(),
    }
}

fn run(environment: &mut dyn Environment, evaluations: usize, seed: u64) -> SearchResult {
    let cost = CostModel::mean(environment.layers().len());
    search(environment, &options(&cost, evaluations, seed, &|| false), &mut |_| {}).expect("searches")
}

fn asked(result: &SearchResult) -> Vec<(Vec<BitWidth>, u64)> {
    result.evaluations.iter().map(|e| (e.widths.clone(), e.reward.to_bits())).collect()
}

#[test]
fn equal_seeds_search_equally_and_a_longer_search_begins_like_a_shorter() {
    let mut network = Additive::new(6, 4);
    let short = run(&mut network, 8, 1);
    let long = run(&mut network, 14, 1);
    let other = run(&mut network, 8, 2);
    assert_eq!(asked(&short), asked(&long)[..9], "the reference and eight evaluations");
    assert_ne!(asked(&short), asked(&other));
    assert_eq!(long.evaluations.len(), 15);
}

/// Gives up after some answers, as a killed process does.
struct Mortal {
    inner: Additive,
    left: usize,
}

impl Environment for Mortal {
    fn layers(&self) -> &[LayerFacts] {
        self.inner.layers()
    }

    fn widths(&self) -> &[BitWidth] {
        self.inner.widths()
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        self.left = self.left.checked_sub(1).ok_or(SearchError::Interrupted)?;
        self.inner.evaluate(widths)
    }
}

#[test]
fn a_search_that_was_killed_ends_as_an_undisturbed_one() {
    let folder = tempfile::tempdir().expect("folder");
    let undisturbed = run(&mut Additive::new(5, 9), 12, 3);
    for lives in [0, 1, 5, 11] {
        let path = folder.path().join(format!("{lives}"));
        let answers = || RefCell::new(Answers::alone(EvaluationStore::open(&path).expect("opens")));
        let mortal = |left| Mortal { inner: Additive::new(5, 9), left };
        let first = answers();
        let killed = run(&mut Stored::new(mortal(lives), &first, "key".into(), &|| false), 12, 3);
        assert_eq!(killed.evaluations.len(), lives);
        let second = answers();
        let resumed = run(&mut Stored::new(mortal(usize::MAX), &second, "key".into(), &|| false), 12, 3);
        assert_eq!(asked(&resumed), asked(&undisturbed), "killed after {lives}");
        assert_eq!(resumed.best.map(|b| b.widths), undisturbed.best.clone().map(|b| b.widths));
        assert_eq!(second.borrow().paid(), 13 - lives, "only what is new is paid for");
    }
}

/// Answers when it is asked to measure, as a process alone does, and writes down what was asked ahead.
struct Ahead {
    inner: Additive,
    open: BTreeSet<Vec<BitWidth>>,
    most: usize,
}

impl Environment for Ahead {
    fn layers(&self) -> &[LayerFacts] {
        self.inner.layers()
    }

    fn widths(&self) -> &[BitWidth] {
        self.inner.widths()
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        self.open.remove(widths);
        self.inner.evaluate(widths)
    }

    fn ask(&mut self, widths: &[BitWidth]) -> Result<(), SearchError> {
        self.open.insert(widths.to_vec());
        self.most = self.most.max(self.open.len());
        Ok(())
    }
}

#[test]
fn several_choices_are_pending_at_once_none_is_lost_and_the_search_is_the_same_again() {
    let cost = CostModel::mean(8);
    let searched = |parallel: usize, evaluations: usize| {
        let mut network = Ahead { inner: Additive::new(8, 4), open: BTreeSet::new(), most: 0 };
        let stop = || false;
        let mut options = options(&cost, evaluations, 1, &stop);
        options.terms.parallel = parallel;
        let result = search(&mut network, &options, &mut |_| {}).expect("searches");
        assert!(network.open.is_empty(), "what is asked is measured: {:?}", network.open);
        assert_eq!((network.most, result.evaluations.len()), (parallel, evaluations + 1));
        result
    };
    let four = asked(&searched(4, 20));
    assert_eq!(four, asked(&searched(4, 20)));
    let different: BTreeSet<_> = four.iter().map(|(widths, _)| widths).collect();
    assert_eq!(different.len(), 21, "no choice is asked for twice");
    assert_eq!(four[..12], asked(&searched(4, 12))[..12], "a longer search begins as a shorter one");
    let one = asked(&searched(1, 20));
    assert_eq!(one[..2], four[..2], "the first choice knows of no other");
    assert_ne!(one, four);
    assert_eq!(one, asked(&run(&mut Additive::new(8, 4), 20, 1)));
}

#[test]
fn with_four_pending_the_agent_needs_hardly_more_evaluations() {
    let mean = |parallel: usize| {
        let found = (0..4).map(|seed| {
            let mut network = Additive::new(9, 300 + seed);
            let cost = CostModel::mean(9);
            let stop = || false;
            let mut options = options(&cost, 24, seed, &stop);
            options.terms.parallel = parallel;
            let best = search(&mut network, &options, &mut |_| {}).expect("searches").best.expect("found");
            assert!(best.accepted);
            mean_bits(&best.widths)
        });
        found.sum::<f64>() / 4.0
    };
    let (one, four) = (mean(1), mean(4));
    assert!(four < one + 0.25, "{four} bits with four pending, {one} with one");
}

#[test]
fn baselines_find_the_same_however_many_are_asked_at_once() {
    let cost = CostModel::mean(5);
    let all = [
        Baseline::Uniform,
        Baseline::CoordinateGreedy,
        Baseline::SensitivityGreedy { profile: None },
        Baseline::IntegerProgramme { profile: None },
        Baseline::Random { seed: 3 },
    ];
    for baseline in all {
        let found = |parallel: usize| {
            let stop = || false;
            let mut options = options(&cost, 15, 1, &stop);
            options.terms.parallel = parallel;
            let mut network = Ahead { inner: Additive::new(5, 9), open: BTreeSet::new(), most: 0 };
            let result = baselines::run(&mut network, &options.terms, &baseline).expect("runs");
            assert!(network.most <= parallel);
            result.evaluations.iter().map(|e| e.widths.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(4), found(1), "{}", baseline.name());
    }
}

#[test]
fn a_deadline_leaves_the_best_so_far() {
    let mut network = Additive::new(6, 4);
    let cost = CostModel::mean(6);
    let calls = Cell::new(0);
    let stop = || {
        calls.set(calls.get() + 1);
        calls.get() > 5
    };
    let mut seen = Vec::new();
    let result = search(&mut network, &options(&cost, 50, 1, &stop), &mut |news| {
        seen.push((news.evaluations, news.best.standing));
    })
    .expect("searches");
    assert_eq!(result.end, super::agent::End::Stopped);
    assert_eq!(seen.iter().map(|s| s.0).collect::<Vec<_>>(), vec![1, 2, 3, 4, 5]);
    assert!(seen.windows(2).all(|pair| pair[1].1 >= pair[0].1));
    assert_eq!(result.best.map(|b| b.standing), seen.last().map(|s| s.1));
}

#[test]
fn nothing_is_evaluated_twice_and_a_small_space_is_exhausted() {
    let mut network = Additive::new(2, 4);
    network.widths = vec![BitWidth::MIN, BitWidth::MAX];
    let result = run(&mut network, 50, 1);
    assert_eq!(result.end, super::agent::End::Exhausted);
    let mut all: Vec<_> = result.evaluations.iter().map(|e| e.widths.clone()).collect();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), result.evaluations.len()), (4, 4));
}

#[test]
fn beats_the_baselines_on_networks_it_was_not_made_on() {
    let mut all = [0.0; 5];
    for (depth, evaluations) in [(4, 15), (9, 20), (22, 25)] {
        let mut sums = [0.0; 5];
        for seed in 0..3 {
            let network = Additive::new(depth, 100 + seed);
            let cost = CostModel::mean(depth);
            let kept = |entries: &[Evaluated]| {
                let accepted = entries.iter().filter(|e| e.accepted);
                accepted.map(|e| mean_bits(&e.widths)).fold(8.0, f64::min)
            };
            sums[0] += kept(&run(&mut network.clone(), evaluations, seed).evaluations);
            let others = [
                Baseline::Uniform,
                Baseline::CoordinateGreedy,
                Baseline::SensitivityGreedy { profile: None },
                Baseline::Random { seed },
            ];
            for (sum, baseline) in sums[1..].iter_mut().zip(others) {
                let stop = || false;
                let options = options(&cost, evaluations, seed, &stop);
                let result = baselines::run(&mut network.clone(), &options.terms, &baseline).expect("runs");
                assert!(result.evaluations.len() <= evaluations + 1);
                *sum += kept(&result.evaluations);
            }
        }
        // Of few layers a baseline may find the same.
        assert!(sums[1..].iter().all(|other| sums[0] <= *other), "{depth} layers: {sums:?}");
        all.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
    }
    assert!(all[1..].iter().all(|other| all[0] < *other), "{all:?}");
}

#[test]
fn greedy_repeats_the_known_figures_and_the_agent_is_sooner() {
    let Some(table) =
        authors_table("releq_lenet.csv", &[500, 25_000, 400_000, 5_000], &[288_000, 1_600_000, 400_000, 5_000])
    else {
        return;
    };
    let cost = CostModel::mean(4);
    let stop = || false;
    let options = options(&cost, usize::MAX, 0, &stop);
    let greedy = baselines::run(&mut table.clone(), &options.terms, &Baseline::CoordinateGreedy).expect("runs");
    assert_eq!(greedy.evaluations.len(), 41);
    assert_eq!(greedy.best.map(|b| mean_bits(&b.widths)), Some(3.75));
    for seed in 0..3 {
        let result = run(&mut table.clone(), 25, seed);
        let best = result.best.expect("evaluated");
        assert!(best.accepted && mean_bits(&best.widths) <= 3.25, "seed {seed}: {best:?}");
    }
}

#[test]
fn the_result_explains_any_choice() {
    let mut network = Additive::new(6, 4);
    let result = run(&mut network, 15, 1);
    assert_eq!(result.evaluations[0].origin, Origin::Reference);
    let best = result.best.clone().expect("evaluated").widths;
    let mut other = best.clone();
    other[3] = if other[3] == BitWidth::MAX { BitWidth::MIN } else { BitWidth::MAX };
    for (widths, evaluated) in [(&best, true), (&other, result.evaluations.iter().any(|e| e.widths == other))] {
        let explanation = result.explain(widths, &result.evaluations);
        assert_eq!(explanation.len(), 6);
        for (layer, &chosen) in explanation.iter().zip(widths) {
            let chosen = layer.widths.iter().find(|w| w.width == chosen).expect("listed");
            assert_eq!((chosen.loss_change, chosen.measured), (0.0, evaluated.then_some(0.0)));
            let first = layer.widths.first().expect("widths");
            let last = layer.widths.last().expect("widths");
            assert!(first.loss_change > last.loss_change, "fewer bits lose more");
        }
    }
    assert!(result.explain(&best[1..], &result.evaluations).is_empty(), "widths of another network");
}

/// With 3 bits as the widest choice something is lost everywhere; an agent that is told so expects it.
#[test]
fn what_the_widest_choice_loses_is_believed() {
    let mut network = Additive::new(2, 4);
    network.widths.truncate(2);
    let [narrow, wide] = [network.widths[0], network.widths[1]];
    let told = network.evaluate(&[wide; 2]).expect("answers");
    let truth = network.loss(&[wide; 2]) - network.loss(&[narrow, wide]);
    assert!(truth < -0.1, "the test has something to see");
    let cost = CostModel::mean(2);
    let stop = || false;
    let error = |widest: Option<Evaluation>| {
        let mut options = SearchOptions { widest, ..options(&cost, 1, 0, &stop) };
        options.terms.reference = Some(0.95);
        let result = search(&mut network.clone(), &options, &mut |_| {}).expect("searches");
        let explanation = result.explain(&[narrow, wide], &[]);
        (explanation[0].widths[1].loss_change - truth).abs()
    };
    let (told, untold) = (error(Some(told)), error(None));
    assert!(told < 0.5 * untold, "{told} and {untold} points beside the truth");
}

#[test]
fn input_that_fits_no_network_is_refused() {
    let mut network = Additive::new(3, 1);
    let cost = CostModel::mean(4);
    let error = search(&mut network, &options(&cost, 5, 0, &|| false), &mut |_| {}).expect_err("refused");
    assert!(matches!(error, SearchError::Invalid { .. }), "{error}");
    let cost = CostModel::mean(3);
    let mut wrong = options(&cost, 5, 0, &|| false);
    wrong.profile = Some(super::SensitivityProfile { drops: vec![vec![0.0; 7]; 2] });
    assert!(search(&mut network, &wrong, &mut |_| {}).is_err());
    network.widths.truncate(1);
    assert!(Problem::of(&network).is_err());
}

#[test]
fn a_budget_is_kept_by_every_method_and_the_agent_loses_least_inside_it() {
    let mut sums = [0.0; 5];
    for seed in 0..3 {
        let network = Additive::new(8, 200 + seed);
        let cost = CostModel::mean(8);
        let constraints = [Constraint { cost: cost.clone(), base: 0.0, limit: 3.5 }];
        let profile = one_at_a_time(&network);
        let stop = || false;
        let mut options = options(&cost, 40, seed, &stop);
        options.terms.reward = Reward::LeastLoss;
        options.terms.constraints = &constraints;
        options.profile = Some(profile.clone());
        let least = |entries: &[Evaluated]| {
            let inside = |entry: &&Evaluated| entry.origin == Origin::Reference || mean_bits(&entry.widths) <= 3.5;
            assert_eq!(entries.iter().filter(inside).count(), entries.len(), "nothing outside is paid for");
            let chosen = entries.iter().filter(|entry| entry.accepted);
            chosen.map(|entry| entry.loss).fold(f64::INFINITY, f64::min)
        };
        sums[0] += least(&search(&mut network.clone(), &options, &mut |_| {}).expect("searches").evaluations);
        let others = [
            Baseline::Uniform,
            Baseline::SensitivityGreedy { profile: Some(profile.clone()) },
            Baseline::IntegerProgramme { profile: Some(profile) },
            Baseline::Random { seed },
        ];
        for (sum, baseline) in sums[1..].iter_mut().zip(others) {
            *sum += least(&baselines::run(&mut network.clone(), &options.terms, &baseline).expect("runs").evaluations);
        }
    }
    assert!(sums.iter().all(|sum| sum.is_finite()), "{sums:?}");
    assert!(sums[1..].iter().all(|other| sums[0] <= *other + 1e-9), "{sums:?}");
    assert!(sums[3] < sums[1] && sums[3] < sums[4], "the programme is no straw man: {sums:?}");
}

/// What each layer loses alone.
fn one_at_a_time(network: &Additive) -> SensitivityProfile {
    let problem = Problem::of(network).expect("valid");
    let drop = |layer: usize, width: BitWidth| {
        let mut widths = problem.widest();
        widths[layer] = width;
        network.loss(&widths) - network.loss(&problem.widest())
    };
    let row = |layer: usize| problem.widths.iter().map(|&width| drop(layer, width)).collect();
    SensitivityProfile { drops: (0..problem.depth()).map(row).collect() }
}

#[test]
fn judged_together_a_lucky_measurement_is_not_believed_whoever_made_it() {
    let network = Additive::new(5, 9);
    let cost = CostModel::mean(5);
    let stop = || false;
    let options = options(&cost, 30, 1, &stop);
    let mut result = search(&mut network.clone(), &options, &mut |_| {}).expect("searches");
    let mut known = result.evaluations.clone();
    let lucky = vec![BitWidth::MIN; 5];
    let truth = network.loss(&lucky);
    let mut entry = known[1].clone();
    entry.widths = lucky.clone();
    entry.relative_cost = cost.relative(&lucky);
    entry.loss = 0.0;
    entry.evaluation.standard_error = Some(0.01 * truth);
    let known_before = known.iter().any(|entry| entry.widths == lucky);
    known.retain(|entry| entry.widths != lucky);
    known.push(entry);
    result.judge_together(&mut known, &options.terms);
    let last = known.last().expect("pushed");
    assert_eq!(last.reward, 1.0 - last.relative_cost, "as measured it is the best of all");
    assert!(known_before || last.believed_loss > 0.05 * truth, "{} of {truth}", last.believed_loss);
    assert!(known_before || last.standing < last.reward, "{last:?}");
}
