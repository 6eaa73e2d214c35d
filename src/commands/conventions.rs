//! `releqc completions` and `releqc man`: what shells and manuals know of the arguments.

use super::Context;
use crate::args::{Cli, Completions, Man};
use crate::console;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use clap::CommandFactory;
use releqc_runtime::isa::Isa;
use serde::Serialize;
use std::fs;
use std::io;

#[derive(Serialize)]
struct Written {
    files: Vec<String>,
}

#[derive(Serialize)]
struct Script<'a> {
    shell: &'a str,
    script: &'a str,
}

/// Prints a completion script.
pub(super) fn completions(args: &Completions, context: &Context) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "releqc", &mut script);
    let script = String::from_utf8(script).map_err(Failure::defect)?;
    if context.console.is_json() {
        context.console.result(&Script { shell: &args.shell.to_string(), script: &script }, String::new)?;
    } else {
        console::print(&script)?;
    }
    Ok(Outcome::Done)
}

/// Writes a manual page for the program and each command.
pub(super) fn man(args: &Man, context: &Context) -> Result<Outcome, Failure> {
    if !args.folder.is_dir() {
        fs::create_dir(&args.folder)
            .map_err(|error| Failure::input(format!("output {}: {error}", args.folder.display())))?;
    }
    let mut root = Cli::command();
    root.build();
    let mut written = Written { files: Vec::new() };
    let mut page = |name: String, command: clap::Command| {
        let path = args.folder.join(format!("{name}.1"));
        let rendered = rendered(command).map_err(Failure::defect)?;
        Output::at(&path, &[])?.write(|file| file.write_all(&rendered))?;
        written.files.push(path.to_string_lossy().into_owned());
        Ok::<_, Failure>(())
    };
    page("releqc".into(), root.clone())?;
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        page(format!("releqc-{}", command.get_name()), command.clone())?;
    }
    context
        .console
        .summary(&written, || format!("wrote {} pages to {}\n", written.files.len(), args.folder.display()))?;
    Ok(Outcome::Done)
}

fn rendered(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // A date would make the pages differ from day to day.
    clap_mangen::Man::new(command).date("").render(&mut page)?;
    Ok(page)
}

/// The version, and what this machine has.
pub(crate) fn version() -> String {
    let isas = |available: bool| {
        let names: Vec<&str> =
            Isa::ALL.into_iter().filter(|isa| isa.is_available() == available).map(Isa::name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let (major, minor) = (releqc_runtime::format::FORMAT_MAJOR, releqc_runtime::format::FORMAT_MINOR);
    format!(
        "releqc {}\nartifact format {major}.{minor}\ntarget {}-{}\ninstruction sets {}; of this machine the best is {}\n\
        not on this machine {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        isas(true),
        Isa::detect().name(),
        isas(false)
    )
}
