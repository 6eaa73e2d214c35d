//! One file a command.

mod bench;
mod check;
mod compare;
mod compile;
mod conventions;
mod diff;
mod disasm;
mod emit_c;
mod eval;
mod export;
mod inspect;
mod run;
mod sim;
mod worker;

use crate::args::{Cli, Command, Common};
use crate::console::{self, Console};
use crate::failure::{Failure, Outcome};
pub(crate) use conventions::version;
use std::time::Instant;

/// What every command gets besides its own flags.
pub(crate) struct Context {
    pub(crate) console: Console,
    pub(crate) threads: Option<usize>,
    pub(crate) start: Instant,
    /// The words of the command line, as a shell takes them.
    pub(crate) command: String,
}

impl Context {
    /// Seconds since the program began.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Runs a command.
pub(crate) fn execute(cli: Cli, command: String) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let Common { json, quiet, threads } = cli.common;
    console::catch_interrupts()?;
    // The one pool of the process, before anything could start it with another size; results do not depend on it.
    if let Some(threads) = threads {
        let pool = releqc_passes::limit_threads(threads);
        pool.map_err(|error| Failure::defect(format!("thread pool: {error}")))?;
    }
    let context = Context { console: Console::new(json, quiet), threads, start, command };
    match cli.command {
        Command::Compile(args) => compile::execute(&args, &context),
        Command::Check(args) => check::execute(&args, &context),
        Command::Inspect(args) => inspect::execute(&args, &context),
        Command::Run(args) => run::execute(&args, &context),
        Command::Eval(args) => eval::execute(&args, &context),
        Command::Bench(args) => bench::execute(&args, &context),
        Command::Sim(args) => sim::execute(&args, &context),
        Command::Disasm(args) => disasm::execute(&args, &context),
        Command::EmitC(args) => emit_c::execute(&args, &context),
        Command::Export(args) => export::execute(&args, &context),
        Command::Compare(args) => compare::execute(&args, &context),
        Command::Diff(args) => diff::execute(&args, &context),
        Command::Worker(args) => worker::execute(&args, &context),
        Command::Completions(args) => conventions::completions(&args, &context),
        Command::Man(args) => conventions::man(&args, &context),
    }
}
