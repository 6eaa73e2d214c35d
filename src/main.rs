//! The command line `releqc`: flags, exit codes, progress and reports. What it does lives in `releqc_passes` and `releqc_runtime`.

mod args;
mod artifact;
mod commands;
mod console;
mod executor;
mod failure;
mod input;
mod output;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let json = words.iter().any(|word| word == "--json");
    let result = args::parse(words).and_then(|parsed| match parsed {
        args::Parsed::Text(text) => console::print(&text).map(|()| failure::Outcome::Done),
        args::Parsed::Cli(cli) => commands::execute(cli),
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
