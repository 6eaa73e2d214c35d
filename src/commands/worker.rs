//! `releqc worker --store DIR`: evaluates for searches that run elsewhere.

use super::Context;
use super::compile::material;
use crate::args;
use crate::console::{self, Bar};
use crate::failure::{Failure, Outcome};
use crate::sharing;
use releqc_passes::compile::{
    CompileError, CompileOptions, DataSource, Event, Fault, Hooks, Labelled, Sharing, Task, serve,
};
use releqc_passes::data::{Input, Reading};
use releqc_passes::import;
use releqc_passes::search::board::{Announced, Board};
use releqc_passes::search::shift::{Done, Shift};
use releqc_passes::search::store::Kept;
use releqc_passes::search::{Answer, EvaluationStore, SearchError};
use releqc_passes::simd;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::thread;
use std::time::{Duration, Instant};

/// How often a worker without a task looks for one.
const LOOK: Duration = Duration::from_millis(200);

/// A task whose jobs have been done for this long is left for another one that has some.
const LOYALTY: Duration = Duration::from_secs(5);

/// What a worker has done, as JSON.
#[derive(Serialize)]
struct Summary<'a> {
    jobs: usize,
    repeated: usize,
    contradicted: usize,
    tasks: usize,
    refused: Vec<&'a str>,
    seconds: f64,
}

struct Worker<'a> {
    args: &'a args::Worker,
    context: &'a Context,
    sharing: Sharing,
    jobs: usize,
    repeated: usize,
    contradicted: usize,
    tasks: BTreeSet<String>,
    /// Tasks that this worker cannot serve.
    refused: BTreeSet<String>,
    /// The reason for the first of them.
    reason: Option<String>,
}

pub(super) fn execute(args: &args::Worker, context: &Context) -> Result<Outcome, Failure> {
    // Made here where it is not there yet: workers may come before the search.
    EvaluationStore::open(&args.store).map_err(Failure::input)?;
    let sharing = sharing::of_process(&args.store, args.lease.given());
    let mut worker = Worker {
        args,
        context,
        sharing,
        jobs: 0,
        repeated: 0,
        contradicted: 0,
        tasks: BTreeSet::new(),
        refused: BTreeSet::new(),
        reason: None,
    };
    worker.run()?;
    let Worker { jobs, repeated, contradicted, tasks, refused, .. } = &worker;
    if let (0, Some(reason)) = (jobs, &worker.reason) {
        return Err(Failure::input(format!("none of the tasks in {} can be served: {reason}", args.store.display())));
    }
    let summary = Summary {
        jobs: *jobs,
        repeated: *repeated,
        contradicted: *contradicted,
        tasks: tasks.len(),
        refused: refused.iter().map(String::as_str).collect(),
        seconds: context.seconds(),
    };
    context
        .console
        .summary(&summary, || format!("{jobs} jobs of {} tasks done, {repeated} of them twice\n", tasks.len()))?;
    Ok(Outcome::Done)
}

impl Worker<'_> {
    /// Serves one task after the other until it is told to end.
    fn run(&mut self) -> Result<(), Failure> {
        let mut last: Option<String> = None;
        let mut served = BTreeSet::new();
        let mut busy = Instant::now();
        loop {
            if console::interrupted() {
                return Err(Failure::interrupted("interrupted; what was begun is free for others"));
            }
            let mut open = self.open_tasks()?;
            open.retain(|name| !self.args.once || !served.contains(name));
            let other = open.iter().find(|name| last.as_ref() != Some(*name));
            let Some(name) = other.or(open.first()).cloned() else {
                if self.is_over(busy.elapsed()) {
                    return Ok(());
                }
                thread::sleep(LOOK);
                continue;
            };
            let before = self.jobs;
            let idle = self.task(&name)?;
            if self.jobs > before {
                busy = Instant::now().checked_sub(idle).unwrap_or(busy);
            }
            if !self.args.once && self.is_over(idle) {
                return Ok(());
            }
            served.insert(name.clone());
            last = Some(name);
        }
    }

    /// Whether to end after so long without a job.
    fn is_over(&self, idle: Duration) -> bool {
        self.args.once || self.args.idle_exit.is_some_and(|most| idle >= most)
    }

    /// Tasks that this worker may serve and that have jobs.
    fn open_tasks(&self) -> Result<Vec<String>, Failure> {
        let mut open = Vec::new();
        for name in Board::tasks(&self.args.store).map_err(Failure::input)? {
            let jobs = || Board::jobs_of(&self.args.store, &name).map_err(Failure::input);
            if !self.refused.contains(&name) && !jobs()?.is_empty() {
                open.push(name);
            }
        }
        Ok(open)
    }

    /// Serves a task as long as it has jobs; for how long it had none in the end.
    fn task(&mut self, name: &str) -> Result<Duration, Failure> {
        let Some(Announced { description, model }) = Board::task(&self.args.store, name).map_err(Failure::input)?
        else {
            // Jobs without a description: nobody can tell what they are about.
            self.refused.insert(name.to_owned());
            return Ok(Duration::ZERO);
        };
        match self.serve(name, &description, &model) {
            Ok(idle) => Ok(idle),
            Err(CompileError::Interrupted) => Ok(Duration::ZERO),
            Err(CompileError::Search(error @ SearchError::Store { .. })) => Err(Failure::input(error)),
            Err(error) if error.fault() == Fault::Defect => Err(Failure::defect(error)),
            Err(error) => {
                tracing::warn!("task {name} is left to others: {error}");
                self.refused.insert(name.to_owned());
                self.reason.get_or_insert(error.to_string());
                Ok(Duration::ZERO)
            }
        }
    }

    fn serve(&mut self, name: &str, description: &[u8], model: &[u8]) -> Result<Duration, CompileError> {
        let refuse = |what: String| CompileError::Option(what);
        let task =
            Task::read(description).map_err(|error| refuse(format!("its description cannot be read: {error}")))?;
        let own = env!("CARGO_PKG_VERSION");
        if task.version != own {
            return Err(refuse(format!("it is of version {}, this is version {own}", task.version)));
        }
        simd::use_isa(&task.isa).map_err(|error| {
            refuse(format!("its training needs instruction set {error}; see --train-isa of the search"))
        })?;
        let options = task.options();
        let data = match &task.data {
            Some(source) => Some(self.data(source, model, &options)?),
            None => None,
        };
        let bar = self.context.console.bar("worker", 0);
        bar.breathe();
        let mut hooks =
            Hooks { events: &mut |event| tell(&bar, event), interrupted: &console::interrupted, remaining: &|| None };
        tracing::info!("task {name}: ready in a moment");
        let (sharing, args) = (self.sharing.clone(), self.args);
        let refused = self.refused.clone();
        let elsewhere = |name: &str| {
            let tasks = Board::tasks(&args.store).unwrap_or_default();
            let has_jobs = |task: &String| Board::jobs_of(&args.store, task).is_ok_and(|jobs| !jobs.is_empty());
            tasks.iter().any(|task| task != name && !refused.contains(task) && has_jobs(task))
        };
        let mut idle = Duration::ZERO;
        let mut leave = |silent: Duration| {
            idle = silent;
            let over = if args.once { silent > LOOK } else { args.idle_exit.is_some_and(|most| silent >= most) };
            over || console::interrupted() || (silent > LOYALTY && elsewhere(name))
        };
        let mut shift = Shift { told: &mut |done| self.done(name, done), leave: &mut leave };
        serve(model, data.as_ref(), &task, name, &sharing, &mut hooks, &mut shift)?;
        Ok(idle)
    }

    /// The data of a task, on this machine.
    fn data(&self, source: &DataSource, model: &[u8], options: &CompileOptions) -> Result<Labelled, CompileError> {
        let reading = Reading {
            inputs: Input::of(&import::import(model, &options.import)?),
            preprocessing: source.preprocessing.clone(),
            stated: source.stated,
            geometry: options.geometry,
        };
        let words: Vec<OsString> = match &self.args.data[..] {
            [] => source.words.iter().map(OsString::from).collect(),
            given => given.to_vec(),
        };
        let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(", ");
        let data = material::read(&words, &reading, options.seed)
            .map_err(|error| CompileError::Option(format!("{}; --data says where else they are", error.message())))?;
        let data = data.filter(|data| data.fingerprint == source.fingerprint);
        data.ok_or_else(|| CompileError::Option(format!("the data in {shown} are not those of the search")))
    }

    fn done(&mut self, task: &str, done: &Done) {
        self.jobs += 1;
        self.tasks.insert(task.to_owned());
        self.repeated += usize::from(done.kept == Kept::Same);
        let seconds = done.time.as_secs_f64();
        let (kind, widths) = (done.question.kind(), done.question.widths().unwrap_or_default());
        let bits: Vec<u8> = widths.iter().map(|width| width.bits()).collect();
        let accuracy = match &done.answer {
            Answer::Evaluation(evaluation) => Some(evaluation.accuracy),
            Answer::Costs(_) | Answer::Parameters(_) => None,
        };
        if done.kept == Kept::Other {
            self.contradicted += 1;
            tracing::warn!(
                "{kind} {bits:?}: another process has kept another answer, which stands; one of the two computes something else"
            );
        }
        let kept = match done.kept {
            Kept::New => "new",
            Kept::Same => "same",
            Kept::Other => "other",
        };
        let line = if self.context.console.is_json() {
            let job = json!({
                "task": task, "kind": kind, "widths": bits, "accuracy": accuracy, "seconds": seconds, "kept": kept,
            });
            format!("{job}\n")
        } else {
            let widths = bits.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            let accuracy = accuracy.map_or(String::new(), |accuracy| format!("  {:.2} %", 100.0 * accuracy));
            format!("{kind}  {widths}{accuracy}  {seconds:.1} s  {kept}\n")
        };
        // Nobody reads along any more; the answer is kept all the same.
        let _ = console::print(&line);
    }
}

fn tell(bar: &Bar, event: Event) {
    match event {
        Event::Stage(name) => bar.set(name, 0, 0, String::new()),
        Event::Retraining { step, steps, loss } => {
            bar.set("retrain", step as u64, steps as u64, format!("loss {loss:.4}"));
        }
        Event::Note(text) => tracing::info!("{text}"),
        Event::Warning(text) => tracing::warn!("{text}"),
        _ => {}
    }
}
