//! The command line `releqc`: flags, exit codes, progress and reports. What it does lives in `releqc_passes` and `releqc_runtime`.

mod args;
mod artifact;
mod colour;
mod commands;
mod console;
mod executor;
mod failure;
mod input;
mod machine;
mod output;
mod report;
mod rows;
mod saturation;
mod sharing;

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let command = output::shell_line(&words);
    let json = words.iter().any(|word| word == "--json");
    let result = failure::catch_defects(|| match args::parse(words)? {
        args::Parsed::Text(text) => console::print(&text).map(|()| failure::Outcome::Done),
        args::Parsed::VerboseVersion => console::print(&commands::version()).map(|()| failure::Outcome::Done),
        args::Parsed::Cli(cli) => commands::execute(*cli, command),
    });
    match result {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(failure) => {
            let code = failure.code();
            failure.report(json);
            ExitCode::from(code)
        }
    }
}
