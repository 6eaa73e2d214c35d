//! `releqc MODEL.onnx -o MODEL.rq`: the main job.

pub(super) mod material;
mod news;

use self::news::News;
use super::{Context, export};
use crate::args::{self, Bits};
use crate::console;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::machine;
use crate::output::{Output, require_different};
use crate::report::page::{self, Facts};
use crate::report::summary;
use crate::sharing;
use releqc_passes::activation_bits::ActivationBits;
use releqc_passes::compile::{
    CompileError, CompileOptions, CompileReport, Compiled, CostKind, DataSource, Event, Fault, Hooks, Labelled, Metric,
    Retrain, RewardKind, RoundingKind, Store, WidthPolicy, compile, preprocessing,
};
use releqc_passes::data::{Input, Preprocessing, Reading};
use releqc_passes::export::{ExportOptions, Format};
use releqc_passes::search::{EvaluationStore, Ingredients};
use releqc_passes::{annotation, import, simd};
use releqc_runtime::BitWidth;
use releqc_runtime::format::{Artifact, LoadOptions};
use serde::Serialize;
use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Points of accuracy that a search may lose where the user names no limit.
const DEFAULT_MAX_LOSS: f64 = 0.3;

/// The JSON object of a compilation.
#[derive(Serialize)]
struct Report<'a> {
    /// A path that is no UTF-8 is shown as far as it is.
    artifact: Cow<'a, str>,
    size_bytes: usize,
    episodes: usize,
    evaluations: usize,
    seconds: f64,
    warnings: &'a [String],
    #[serde(flatten)]
    compiled: &'a CompileReport,
}

/// Every file that may be written, checked before any work.
struct Places {
    artifact: Output,
    report: Option<Output>,
    annotated: Option<Output>,
    exports: Vec<(Format, Output)>,
    emit: Option<PathBuf>,
    /// Folder of the evaluations of a search; `None` where the artifact goes to a device or pipe, beside which no file belongs.
    store: Option<PathBuf>,
}

pub(super) fn execute(args: &args::Compile, context: &Context) -> Result<Outcome, Failure> {
    let model = input::model(&args.model)?;
    let places = Places::check(args)?;
    if let Some(isa) = &args.train_isa.train_isa {
        simd::use_isa(isa).map_err(|error| Failure::input(format!("--train-isa {error}")))?;
    }
    let annotated = annotation::header(&model).map_err(|error| failure(&args.model, &error.into()))?.is_some();
    let stated = args.pixels.stated()?;
    let pixels = preprocessing(&model, stated.as_ref()).map_err(|error| failure(&args.model, &error))?;
    let mut options = options(args, &places, annotated, pixels)?;
    let data = match &args.data[..] {
        [] => None,
        given => {
            let graph = import::import(&model, &options.import).map_err(|error| failure(&args.model, &error.into()))?;
            let reading = Reading {
                inputs: Input::of(&graph),
                preprocessing: options.preprocessing.clone(),
                stated: stated.is_some(),
                geometry: options.geometry,
            };
            let data = material::read(given, &reading, options.seed)?;
            if let (Store::Shared(_, source), Some(data)) = (&mut options.store, &data) {
                *source = Some(DataSource {
                    words: sharing::absolute(given)?,
                    preprocessing: reading.preprocessing,
                    stated: reading.stated,
                    fingerprint: data.fingerprint.clone(),
                });
            }
            data
        }
    };
    if let Some(data) = &data {
        material::settle(&mut options, data, args);
    }
    let mut warnings = Vec::new();
    let compiled = run(&model, data.as_ref(), &options, args, &mut warnings, context)?;
    drop(data);
    if let (Some(place), Some(network)) = (&places.annotated, &compiled.annotated) {
        place.write(|file| file.write_all(network))?;
    }
    if let Some(folder) = &places.emit {
        emit(folder, &compiled.stages)?;
    }
    for (format, place) in &places.exports {
        let artifact = Artifact::from_bytes(&compiled.artifact, LoadOptions::default()).map_err(Failure::defect)?;
        let options = ExportOptions { format: *format, int4: false };
        let exported = export::exported(&artifact, options)
            .map_err(|error| error.prefixed(&format!("--export {}", place.path().display())))?;
        place.write(|file| file.write_all(&exported.bytes))?;
    }
    let search = compiled.report.search.as_ref();
    let report = Report {
        artifact: args.output.to_string_lossy(),
        size_bytes: compiled.artifact.len(),
        episodes: search.map_or(0, |search| search.episodes),
        evaluations: search.map_or(0, |search| search.evaluations),
        seconds: context.seconds(),
        warnings: &warnings,
        compiled: &compiled.report,
    };
    if let Some(place) = &places.report {
        let artifact = Artifact::from_bytes(&compiled.artifact, LoadOptions::default()).map_err(Failure::defect)?;
        let sections = artifact.sections().map(|(name, bytes, _)| (name, bytes)).collect();
        let facts = Facts { report: &compiled.report, warnings: &warnings, sections, command: context.command.clone() };
        let page = page::html(&facts).map_err(Failure::defect)?;
        place.write(|file| file.write_all(page.as_bytes()))?;
    }
    // Last: where there is an artifact, everything beside it is of the same compilation.
    places.artifact.write(|file| file.write_all(&compiled.artifact))?;
    context.console.summary(&report, || summary::text(&compiled.report, &warnings, &args.output, report.seconds))?;
    if compiled.report.goal_missed {
        for missed in missed(&compiled.report) {
            tracing::warn!("the goal was missed: {missed}");
        }
        return Ok(Outcome::GoalMissed);
    }
    Ok(Outcome::Done)
}

/// What of the goal and the budgets was missed.
fn missed(report: &CompileReport) -> Vec<String> {
    let mut missed = Vec::new();
    let lost = report.accuracy.loss_points;
    let metric = report.accuracy.metric;
    if let Some(limit) = report.max_loss.filter(|limit| metric != Metric::Snr && lost > *limit) {
        missed.push(match metric.is_error() {
            true => format!("the {} grew by {lost:.6}, at most {limit} is allowed", metric.name()),
            false => format!("{lost:.2} points are lost, at most {limit} may be"),
        });
    }
    missed.extend(report.budgets.iter().filter(|budget| !budget.met).map(summary::budget));
    missed
}

impl Places {
    fn check(args: &args::Compile) -> Result<Self, Failure> {
        let mut inputs = vec![args.model.as_path()];
        let data = material::paths(&args.data);
        inputs.extend(data.iter().map(PathBuf::as_path));
        let artifact = Output::at(&args.output, &inputs)?;
        let report = args.report.as_deref().map(|path| Output::at(path, &inputs)).transpose()?;
        let annotated = args.annotated.as_deref().map(|path| Output::at(path, &inputs)).transpose()?;
        let export = |(format, path): &(args::ExportFormat, PathBuf)| Ok((format.format(), Output::at(path, &inputs)?));
        let exports = args.export.iter().map(export).collect::<Result<Vec<_>, Failure>>()?;
        let lines = args.json_lines.as_deref().map(|path| Output::at(path, &inputs)).transpose()?;
        let mut store = None;
        if let Some(folder) = &args.sharing.store {
            store = Some(Output::folder(folder, &inputs)?);
        } else if args.bits.is_none() && !artifact.is_special() {
            let mut path: OsString = artifact.name().into();
            path.push(".evaluations");
            store = Some(Output::folder(Path::new(&path), &inputs)?);
        }
        if let Some(store) = store.as_ref().filter(|store| !store.is_special()) {
            EvaluationStore::check(store.path()).map_err(Failure::input)?;
        }
        let named = [
            ("--output", Some(&artifact)),
            ("--report", report.as_ref()),
            ("--annotated", annotated.as_ref()),
            ("--json-lines", lines.as_ref()),
            ("the evaluations of the search", store.as_ref()),
        ];
        let mut all: Vec<(&str, &Output)> =
            named.into_iter().filter_map(|(name, output)| Some((name, output?))).collect();
        all.extend(exports.iter().map(|(_, output)| ("--export", output)));
        require_different(&all)?;
        if let Some(folder) = &args.emit {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() && (folder.exists() || !parent.is_dir()) {
                let what =
                    format!("--emit {}: a folder, or a new name in an existing one, is required", folder.display());
                return Err(Failure::input(what));
            }
        }
        let store = store.filter(|store| !store.is_special()).map(|store| store.path().to_owned());
        if args.resume && args.bits.is_none() && store.is_none() {
            let what = format!("--resume: {} is no file, so no evaluations were kept beside it", args.output.display());
            return Err(Failure::input(what));
        }
        Ok(Places { artifact, report, annotated, exports, emit: args.emit.clone(), store })
    }
}

fn options(
    args: &args::Compile,
    places: &Places,
    annotated: bool,
    preprocessing: Option<Preprocessing>,
) -> Result<CompileOptions, Failure> {
    let widths = match &args.bits {
        None => WidthPolicy::Search,
        Some(Bits::All(bits)) => WidthPolicy::Uniform(*bits),
        Some(Bits::Each(bits)) => WidthPolicy::PerLayer(bits.clone()),
    };
    // An annotated network has its widths and is retrained already.
    let finished = annotated && widths == WidthPolicy::Search;
    let searches = widths == WidthPolicy::Search && !finished;
    if finished && args.retrain.is_some_and(|retrain| retrain != args::Retrain::None) {
        let what = format!("--retrain: {} is annotated, which fixes its weights", args.model.display());
        return Err(Failure::input(format!("{what}; with --bits they are retrained for other widths")));
    }
    if finished && !args.input_range.is_empty() {
        let what = format!("--input-range: {} is annotated with its ranges", args.model.display());
        return Err(Failure::input(what));
    }
    if finished && args.activation_bits.is_some() {
        let what = format!("--activation-bits: {} is annotated with its scales", args.model.display());
        return Err(Failure::input(what));
    }
    if !searches {
        let useless = [
            ("--episodes", args.episodes.is_some()),
            ("--time-budget", args.time_budget.is_some()),
            ("--method-time", args.method_time.is_some()),
            ("--proposals", args.proposals.is_some()),
            ("--resume", args.resume),
            ("--store", args.sharing.store.is_some()),
            ("--parallel", args.sharing.parallel.is_some()),
            ("--lease", args.sharing.has_lease()),
            ("--widths", args.widths.is_some()),
            ("--cost", args.cost.is_some()),
            ("--reward", args.reward.is_some()),
            ("--json-lines", args.json_lines.is_some()),
        ];
        if let Some((flag, _)) = useless.iter().find(|(_, given)| *given) {
            let why = match &args.bits {
                Some(_) => "--bits makes none".to_owned(),
                None => format!("{} is annotated with its widths and needs none", args.model.display()),
            };
            return Err(Failure::input(format!("{flag} belongs to a search; {why}")));
        }
    }
    // Without labels retraining has nothing to learn from but the network itself: the search then works on scales alone.
    let default_retraining = if searches && !args.data.is_empty() { Retrain::Full } else { Retrain::None };
    let budgets = args.budgets.given();
    // Inside a budget the least loss is asked for, unless a limit of it is given too.
    let spends = budgets.iter().any(|budget| budget.quantity.depends_on_widths());
    let goal_by_default = searches && !args.data.is_empty() && !spends;
    let metric = args.metric.map(args::MetricName::metric);
    if metric.is_some_and(Metric::is_error) && args.data.is_empty() {
        return Err(Failure::input("--metric: an error is measured against labels; --data gives them"));
    }
    if metric.is_some_and(Metric::is_error) && searches && args.max_loss.is_none() {
        return Err(Failure::input("--metric: --max-loss states what the error may grow by, in its unit"));
    }
    Ok(CompileOptions {
        widths,
        retrain_values: args.retrain.is_some(),
        retrain: args.retrain.map_or(default_retraining, |retrain| match retrain {
            args::Retrain::None => Retrain::None,
            args::Retrain::Reconstruct => Retrain::Reconstruct,
            args::Retrain::Short => Retrain::Short,
            args::Retrain::Full => Retrain::Full,
        }),
        rounding: match args.rounding {
            None | Some(args::Rounding::Results) => RoundingKind::Results,
            Some(args::Rounding::Nearest) => RoundingKind::Nearest,
        },
        activation_bits: args
            .activation_bits
            .as_ref()
            .map_or_else(ActivationBits::default, |bits| ActivationBits { all: bits.all, named: bits.named.clone() }),
        metric,
        max_loss: args.max_loss.unwrap_or(DEFAULT_MAX_LOSS),
        min_snr: args.min_snr,
        goal: args.max_loss.is_some() || goal_by_default,
        action_set: args.widths.as_ref().map_or_else(|| BitWidth::all().collect(), |widths| widths.0.clone()),
        episodes: args.episodes,
        parallel: args.sharing.parallel.unwrap_or(1),
        method_time: args.method_time,
        ingredients: Ingredients { policy: args.proposals != Some(args::Proposals::Uniform), ..Ingredients::default() },
        cost: match args.cost.unwrap_or(args::Cost::Mean) {
            args::Cost::Mean => CostKind::Mean,
            args::Cost::Paper => CostKind::Paper,
            args::Cost::Cpu => CostKind::Cpu,
            args::Cost::Accelerator => CostKind::Accelerator,
            args::Cost::Energy => CostKind::Energy,
            args::Cost::Size => CostKind::Size,
        },
        reward: match args.reward.unwrap_or(args::Reward::Constrained) {
            args::Reward::Constrained => RewardKind::Constrained,
            args::Reward::Paper => RewardKind::Paper,
        },
        accelerator: machine::of_flag(&args.machine)?,
        budgets,
        annotated: args.annotated.is_some(),
        seed: args.seed,
        preprocessing,
        geometry: args.pixels.geometry().unwrap_or_default(),
        input_ranges: args.input_range.clone(),
        import: args.import.options(),
        store: match &places.store {
            Some(path) if searches && args.sharing.store.is_some() => {
                Store::Shared(sharing::of_process(path, args.sharing.lease()), None)
            }
            Some(path) if searches && args.resume => Store::Resumed(path.clone()),
            Some(path) if searches => Store::New(path.clone()),
            _ => Store::Memory,
        },
        ..CompileOptions::default()
    })
}

fn run(
    model: &[u8],
    data: Option<&Labelled>,
    options: &CompileOptions,
    args: &args::Compile,
    warnings: &mut Vec<String>,
    context: &Context,
) -> Result<Compiled, Failure> {
    // A budget beyond what the clock counts never ends.
    let deadline = args.time_budget.and_then(|budget| Instant::now().checked_add(budget));
    let mut news = News::new(args, context.console, deadline)?;
    let mut hooks = Hooks {
        events: &mut |event| {
            if let Event::Warning(text) = &event {
                warnings.push(text.clone());
            }
            news.tell(event);
        },
        interrupted: &console::interrupted,
        remaining: &|| deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
    };
    let compiled = compile(model, data, options, &mut hooks).map_err(|error| match error.fault() {
        Fault::Interrupted => Failure::interrupted(match options.store {
            Store::Memory => "interrupted",
            Store::New(_) | Store::Resumed(_) => "interrupted; --resume continues with the evaluations made so far",
            Store::Shared(..) => "interrupted; the same command continues with the evaluations made so far",
        }),
        _ => failure(&args.model, &error),
    })?;
    news.finish()?;
    Ok(compiled)
}

fn failure(model: &Path, error: &CompileError) -> Failure {
    let line = match error {
        // Its text begins with the flag.
        CompileError::Option(text) => text.clone(),
        _ => format!("{}: {error}", model.display()),
    };
    match error.fault() {
        Fault::Input => Failure::input(line),
        Fault::Unsupported => Failure::unsupported(line),
        Fault::Interrupted => Failure::interrupted("interrupted"),
        Fault::Defect => Failure::defect(line),
    }
}

/// One text file a stage, numbered in order.
fn emit(folder: &Path, stages: &[(String, String)]) -> Result<(), Failure> {
    if !folder.is_dir() {
        fs::create_dir(folder).map_err(|error| Failure::input(format!("--emit {}: {error}", folder.display())))?;
    }
    for (index, (name, text)) in stages.iter().enumerate() {
        let file = Output::at(&folder.join(format!("{index:02}-{name}.txt")), &[])?;
        file.write(|out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}
