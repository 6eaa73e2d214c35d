//! The agent and its baselines on a table of bit vector -> accuracy instead of training.
//!
//! `search_table TABLE.csv LAYERS.csv [--seeds 20] [--objective paper|constrained] [--max-loss 0.3] [--cost paper|mean]
//! [--evaluations 200] [--parallel 1] [--without policy|surrogate|refinement|prior|replay]... [--trace] [--json]`
//!
//! TABLE has the columns `bits,accuracy` (bits separated by spaces, accuracy in %), LAYERS `name,n,c,k,weights,macs,std`.
//! The widths in the table are the action set; all layers at the widest are the reference, which no method pays for. A row that is
//! missing is answered by the mean of its nearest rows in L1 distance; only listed rows count as reaching the target or as a
//! value.
//!
//! The target is a reward within 1 % of the best (paper), or a feasible row within 0.25 bits of the best feasible mean
//! (constrained; with `--cost paper` the mean is the weighted one). Values are rewards (paper, higher is better) or the mean
//! bits of the best feasible row (constrained, lower is better), medians over the seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use releqc_passes::search::baselines::{self, Baseline};
use releqc_passes::search::ledger::{Evaluated, Origin, Terms};
use releqc_passes::search::reward::Outcome;
use releqc_passes::search::{
    CostModel, Environment, Evaluation, Ingredients, LayerFacts, Reward, SearchError, SearchOptions, search,
};
use releqc_runtime::BitWidth;
use serde_json::{Value, json};

/// Numbers of evaluations after which the value is reported.
const CHECKPOINTS: [usize; 6] = [15, 25, 40, 50, 100, 200];

/// Random search is followed until it reaches the target, but never beyond this many evaluations.
const MOST_RANDOM: u64 = 20_000;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, PartialEq)]
enum Objective {
    Paper,
    Constrained,
}

struct Arguments {
    table: String,
    layers: String,
    seeds: u64,
    objective: Objective,
    max_loss: f64,
    weighted_cost: bool,
    evaluations: usize,
    parallel: usize,
    ingredients: Ingredients,
    json: bool,
    trace: bool,
}

impl Arguments {
    fn parse() -> Result<Self, AnyError> {
        let mut parsed = Arguments {
            table: String::new(),
            layers: String::new(),
            seeds: 20,
            objective: Objective::Constrained,
            max_loss: 0.3,
            weighted_cost: false,
            evaluations: 200,
            parallel: 1,
            ingredients: Ingredients::default(),
            json: false,
            trace: false,
        };
        let mut files = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seeds" => parsed.seeds = value()?.parse()?,
                "--max-loss" => parsed.max_loss = value()?.parse()?,
                "--evaluations" => parsed.evaluations = value()?.parse()?,
                "--parallel" => parsed.parallel = value()?.parse()?,
                "--json" => parsed.json = true,
                "--trace" => parsed.trace = true,
                "--objective" => {
                    parsed.objective = match value()?.as_str() {
                        "paper" => Objective::Paper,
                        "constrained" => Objective::Constrained,
                        other => return Err(format!("--objective {other}: paper or constrained").into()),
                    }
                }
                "--cost" => {
                    parsed.weighted_cost = match value()?.as_str() {
                        "paper" => true,
                        "mean" => false,
                        other => return Err(format!("--cost {other}: paper or mean").into()),
                    }
                }
                "--without" => match value()?.as_str() {
                    "policy" => parsed.ingredients.policy = false,
                    "surrogate" => parsed.ingredients.surrogate = false,
                    "refinement" => parsed.ingredients.refinement = false,
                    "prior" => parsed.ingredients.prior = false,
                    "replay" => parsed.ingredients.replay = false,
                    other => return Err(format!("--without {other}: no such ingredient").into()),
                },
                flag if flag.starts_with("--") => return Err(format!("{flag}: no such option").into()),
                _ => files.push(word),
            }
        }
        let [table, layers] = <[String; 2]>::try_from(files).map_err(|_| "usage: search_table TABLE.csv LAYERS.csv")?;
        if parsed.seeds == 0 || parsed.evaluations == 0 || parsed.parallel == 0 {
            return Err("--seeds, --evaluations and --parallel must be 1 or more".into());
        }
        Ok(Arguments { table, layers, ..parsed })
    }
}

/// Accuracies by bit vector; the environment of the bench.
#[derive(Clone)]
struct Table {
    rows: BTreeMap<Vec<u8>, f64>,
    layers: Vec<LayerFacts>,
    widths: Vec<BitWidth>,
    missing: usize,
}

impl Table {
    fn read(table: &Path, layers: &Path) -> Result<Self, AnyError> {
        let text = std::fs::read_to_string(table).map_err(|e| format!("{}: {e}", table.display()))?;
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
            let at = |reason: String| format!("{}: line {}: {reason}", table.display(), index + 1);
            let (bits, accuracy) = line.split_once(',').ok_or_else(|| at("needs bits,accuracy".into()))?;
            let bits: Result<Vec<u8>, _> = bits.split_whitespace().map(str::parse).collect();
            let bits = bits.map_err(|e| at(e.to_string()))?;
            if let Some(bad) = bits.iter().find(|&&b| BitWidth::new(b).is_none()) {
                return Err(at(format!("{bad} bits; each must lie in 2..=8")).into());
            }
            rows.insert(bits, accuracy.trim().parse::<f64>().map_err(|e| at(e.to_string()))? / 100.0);
        }
        let layers = read_layers(layers)?;
        if let Some(bad) = rows.keys().find(|bits| bits.len() != layers.len()) {
            return Err(format!("{}: a row has {} widths, LAYERS {}", table.display(), bad.len(), layers.len()).into());
        }
        let used: BTreeSet<u8> = rows.keys().flatten().copied().collect();
        let widths = used.into_iter().filter_map(BitWidth::new).collect();
        Ok(Table { rows, layers, widths, missing: 0 })
    }

    fn listed(&self, widths: &[BitWidth]) -> Option<f64> {
        self.rows.get(&bits_of(widths)).copied()
    }

    fn nearest(&self, widths: &[BitWidth]) -> f64 {
        let bits = bits_of(widths);
        let (mut least, mut sum, mut count) = (u32::MAX, 0.0, 0.0);
        for (row, accuracy) in &self.rows {
            let distance: u32 = row.iter().zip(&bits).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum();
            if distance < least {
                (least, sum, count) = (distance, 0.0, 0.0);
            }
            if distance == least {
                sum += accuracy;
                count += 1.0;
            }
        }
        sum / count
    }
}

fn bits_of(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|w| w.bits()).collect()
}

fn read_layers(path: &Path) -> Result<Vec<LayerFacts>, AnyError> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    if header != ["name", "n", "c", "k", "weights", "macs", "std"] {
        return Err(format!("{}: columns {header:?}; needs name,n,c,k,weights,macs,std", path.display()).into());
    }
    let layer = |line: &str| -> Result<LayerFacts, AnyError> {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let [name, n, c, k, weights, macs, std] = cells[..] else {
            return Err(format!("{}: {line:?}: needs 7 cells", path.display()).into());
        };
        Ok(LayerFacts {
            name: name.to_owned(),
            outputs: n.parse()?,
            inputs: c.parse()?,
            kernel: k.parse()?,
            weights: weights.parse()?,
            macs: macs.parse()?,
            weight_std: std.parse()?,
        })
    };
    lines.map(layer).collect()
}

impl Environment for Table {
    fn layers(&self) -> &[LayerFacts] {
        &self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        &self.widths
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let accuracy = self.listed(widths).unwrap_or_else(|| {
            self.missing += 1;
            self.nearest(widths)
        });
        // The table is the truth that is searched: its accuracies are exact.
        Ok(Evaluation { accuracy, samples: 0, standard_error: None, cached: true })
    }
}

/// What counts as having found it.
struct Goal<'a> {
    table: &'a Table,
    objective: Objective,
    best: f64,
}

impl<'a> Goal<'a> {
    fn of(table: &'a Table, objective: Objective, reward: &Reward, cost: &CostModel) -> Result<Self, AnyError> {
        let widest = vec![*table.widths.last().ok_or("the table has no rows")?; table.layers.len()];
        let reference = table.listed(&widest).unwrap_or_else(|| table.nearest(&widest));
        let mut goal = Goal { table, objective, best: f64::NEG_INFINITY };
        for (bits, accuracy) in &table.rows {
            let widths: Vec<BitWidth> = bits.iter().filter_map(|&b| BitWidth::new(b)).collect();
            let loss = 100.0 * (reference - accuracy);
            let outcome = Outcome { relative_cost: cost.relative(&widths), loss, reference, noise: 0.0, excess: 0.0 };
            if reward.accepts(&outcome) {
                goal.best = goal.best.max(goal.gain(outcome.relative_cost, reward.value(&outcome)));
            }
        }
        Ok(goal)
    }

    /// Larger is better: the reward, or the negative mean bits.
    fn gain(&self, relative_cost: f64, reward: f64) -> f64 {
        match self.objective {
            Objective::Paper => reward,
            Objective::Constrained => -8.0 * relative_cost,
        }
    }

    fn value(&self, gain: f64) -> f64 {
        if self.objective == Objective::Paper { gain } else { -gain }
    }

    fn reached(&self, gain: f64) -> bool {
        match self.objective {
            Objective::Paper => gain >= self.best - 0.01 * self.best.abs(),
            Objective::Constrained => gain >= self.best - 0.25 - 1e-9,
        }
    }

    fn follow(&self, evaluations: &[Evaluated]) -> Run {
        let mut run = Run { to_target: None, gains: Vec::new(), missing: 0 };
        let mut best = f64::NEG_INFINITY;
        for entry in evaluations {
            let listed = self.table.listed(&entry.widths).is_some();
            run.missing += usize::from(!listed);
            if listed && entry.accepted {
                best = best.max(self.gain(entry.relative_cost, entry.reward));
            }
            if entry.origin != Origin::Reference {
                run.gains.push(best);
                if run.to_target.is_none() && self.reached(best) {
                    run.to_target = Some(run.gains.len());
                }
            } else if self.reached(best) {
                run.to_target = Some(0);
            }
        }
        run
    }
}

/// One run of one method.
struct Run {
    to_target: Option<usize>,
    /// Best gain after each evaluation.
    gains: Vec<f64>,
    missing: usize,
}

impl Run {
    fn gain_after(&self, evaluations: usize) -> Option<f64> {
        let at = evaluations.min(self.gains.len());
        at.checked_sub(1).map(|last| self.gains[last]).filter(|gain| gain.is_finite())
    }
}

/// Median with missing values counted as infinite; `None` when the median is one of those.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.map(|v| v.unwrap_or(f64::INFINITY)).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get((values.len().max(1) - 1) / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0).filter(|m| m.is_finite())
}

fn summary(goal: &Goal<'_>, runs: &[Run]) -> Value {
    let to_target = median(runs.iter().map(|run| run.to_target.map(|n| n as f64)));
    // A gain is larger when better; the median counts a run without a value as the worst.
    let value_at = |n: usize| median(runs.iter().map(|run| run.gain_after(n).map(|g| -g))).map(|g| goal.value(-g));
    let values: serde_json::Map<String, Value> =
        CHECKPOINTS.iter().map(|&n| (n.to_string(), value_at(n).map_or(Value::Null, |v| json!(v)))).collect();
    let mut hits: Vec<Option<usize>> = runs.iter().map(|run| run.to_target).collect();
    hits.sort_by_key(|hit| hit.unwrap_or(usize::MAX));
    json!({
        "evaluations_to_target": to_target,
        "worst_to_target": hits.last().copied().flatten(),
        "evaluations": median(runs.iter().map(|run| Some(run.gains.len() as f64))),
        "final_value": value_at(usize::MAX),
        "value_after": values,
        "missing_rows": median(runs.iter().map(|run| Some(run.missing as f64))),
    })
}

/// Runs `job` for every seed on the machine's threads; results in the order of the seeds. The agent brings a thread pool of its
/// own, so the seeds do not run on one.
fn for_seeds<T: Send>(seeds: u64, job: impl Fn(u64) -> Result<T, SearchError> + Sync) -> Result<Vec<T>, SearchError> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let result = job(seed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((seed, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, result)| result).collect()
}

fn bench(arguments: &Arguments) -> Result<Value, AnyError> {
    let table = Table::read(Path::new(&arguments.table), Path::new(&arguments.layers))?;
    let cost =
        if arguments.weighted_cost { CostModel::paper(&table.layers) } else { CostModel::mean(table.layers.len()) };
    let reward = match arguments.objective {
        Objective::Paper => Reward::paper(),
        Objective::Constrained => Reward::constrained(arguments.max_loss)?,
    };
    let goal = Goal::of(&table, arguments.objective, &reward, &cost)?;
    let terms = |evaluations: usize| Terms {
        reward,
        cost: &cost,
        constraints: &[],
        reference: None,
        evaluations,
        parallel: arguments.parallel,
        stop: &|| false,
    };
    let began = std::time::Instant::now();
    let agent = for_seeds(arguments.seeds, |seed| {
        let options = SearchOptions {
            terms: terms(arguments.evaluations),
            seed,
            profile: None,
            widest: None,
            ingredients: arguments.ingredients,
        };
        let result = search(&mut table.clone(), &options, &mut |news| {
            if arguments.trace && seed == 0 {
                let e = news.latest;
                let _ = writeln!(
                    std::io::stderr(),
                    "{:4} {:?} {:?} loss {:.2} reward {:.4} best {:.4}",
                    news.evaluations,
                    bits_of(&e.widths),
                    e.origin,
                    e.loss,
                    e.reward,
                    news.best.reward
                );
            }
        })?;
        Ok(goal.follow(&result.evaluations))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let choices = (table.widths.len() as u64).saturating_pow(table.layers.len() as u32).min(MOST_RANDOM) as usize;
    let run = |baseline: Baseline, evaluations: usize| -> Result<Run, SearchError> {
        Ok(goal.follow(&baselines::run(&mut table.clone(), &terms(evaluations), &baseline)?.evaluations))
    };
    let random = for_seeds(arguments.seeds, |seed| run(Baseline::Random { seed }, choices))?;
    let greedy = run(Baseline::CoordinateGreedy, usize::MAX)?;
    let sensitivity = run(Baseline::SensitivityGreedy { profile: None }, usize::MAX)?;
    let programme = run(Baseline::IntegerProgramme { profile: None }, usize::MAX)?;
    let agent_at = |n: usize| median(agent.iter().map(|r| r.gain_after(n).map(|g| -g))).map(|g| goal.value(-g));
    let at_greedy = agent_at(greedy.gains.len());
    let at_sensitivity = agent_at(sensitivity.gains.len());
    let at_programme = agent_at(programme.gains.len());
    Ok(json!({
        "table": arguments.table,
        "objective": if arguments.objective == Objective::Paper { "paper" } else { "constrained" },
        "max_loss": if arguments.objective == Objective::Paper { Value::Null } else { json!(arguments.max_loss) },
        "cost": cost.name(),
        "seeds": arguments.seeds,
        "value": if arguments.objective == Objective::Paper { "reward, higher is better" } else { "mean bits, lower is better" },
        "best": goal.value(goal.best),
        "rows": table.rows.len(),
        "agent_seconds": seconds,
        "agent_value_at_greedy_evaluations": at_greedy,
        "agent_value_at_sensitivity_evaluations": at_sensitivity,
        "agent_value_at_programme_evaluations": at_programme,
        "methods": {
            "agent": summary(&goal, &agent),
            "greedy": summary(&goal, &[greedy]),
            "sensitivity": summary(&goal, &[sensitivity]),
            "programme": summary(&goal, &[programme]),
            "random": summary(&goal, &random),
            "uniform": summary(&goal, &[run(Baseline::Uniform, usize::MAX)?]),
        },
    }))
}

fn text(report: &Value) -> String {
    let show = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let count = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |v| v.to_string());
    let mut lines = vec![
        format!(
            "{} objective {} cost {} seeds {}: best {} ({})",
            report["table"],
            report["objective"],
            report["cost"],
            report["seeds"],
            show(&report["best"]),
            report["value"]
        ),
        format!(
            "{:<12} {:>9} {:>6} {:>12} {}",
            "method", "to target", "worst", "evaluations", "value after 15, 25, 40, 50, 100, 200, at the end"
        ),
    ];
    for (name, method) in report["methods"].as_object().into_iter().flatten() {
        let values: Vec<String> =
            CHECKPOINTS.iter().map(|n| show(&method["value_after"][n.to_string().as_str()])).collect();
        lines.push(format!(
            "{name:<12} {:>9} {:>6} {:>12} {} {}",
            count(&method["evaluations_to_target"]),
            count(&method["worst_to_target"]),
            count(&method["evaluations"]),
            values.join(" "),
            show(&method["final_value"])
        ));
    }
    lines.push(format!(
        "agent at greedy's evaluations {}, at sensitivity's {}, at the programme's {}; {:.1} s for all seeds",
        show(&report["agent_value_at_greedy_evaluations"]),
        show(&report["agent_value_at_sensitivity_evaluations"]),
        show(&report["agent_value_at_programme_evaluations"]),
        report["agent_seconds"].as_f64().unwrap_or(0.0)
    ));
    lines.join("\n")
}

fn main() -> ExitCode {
    let outcome = Arguments::parse().and_then(|arguments| {
        let report = bench(&arguments)?;
        let text = if arguments.json { report.to_string() } else { text(&report) };
        writeln!(std::io::stdout(), "{text}")?;
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "search_table: {error}");
            ExitCode::from(2)
        }
    }
}
