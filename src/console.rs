//! stdout, stderr, and progress on a terminal.

use crate::colour;
use crate::failure::Failure;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// All bars of the process; log lines are printed above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Set by the first interrupt.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Where results and news go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    json: bool,
    quiet: bool,
}

impl Console {
    /// Starts logging to stderr: notes and warnings, with `quiet` only warnings.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let level = if quiet { LevelFilter::WARN } else { LevelFilter::INFO };
        let log = tracing_subscriber::fmt()
            .with_writer(AboveBars)
            .with_max_level(level)
            .without_time()
            .with_target(false)
            .with_ansi(colour::wanted(io::stderr().is_terminal(), |name| std::env::var_os(name)));
        // A second console in one process would find a logger installed; the first stays.
        let _ = log.try_init();
        Console { json, quiet }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The result of a command: `object` on one line with `--json`, else `text`.
    pub(crate) fn result(self, object: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(object).map_err(Failure::defect)?;
            return print(&format!("{line}\n"));
        }
        print(&text())
    }

    /// As [`Console::result`], but `--quiet` leaves the text out: for commands whose result is a file.
    pub(crate) fn summary(self, object: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.quiet && !self.json { Ok(()) } else { self.result(object, text) }
    }

    /// A bar of `total` steps; invisible with `--quiet`, away from a terminal and on one that cannot move its cursor.
    pub(crate) fn bar(self, what: &str, total: u64) -> Bar {
        if self.quiet || !io::stderr().is_terminal() || colour::is_dumb(|name| std::env::var_os(name)) {
            return Bar(ProgressBar::hidden());
        }
        let bar = BARS.add(ProgressBar::new(total));
        let style = ProgressStyle::with_template("{prefix:>12} {bar:30} {pos}/{len} {elapsed} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what.to_owned());
        Bar(bar)
    }
}

/// A progress bar that disappears with its owner.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn advance(&self) {
        self.0.inc(1);
    }

    pub(crate) fn set(&self, what: &str, done: u64, total: u64, message: String) {
        self.0.set_prefix(what.to_owned());
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(message);
    }

    /// Whether nobody sees it.
    pub(crate) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// Shows that something goes on although no step ends.
    pub(crate) fn breathe(&self) {
        if !self.0.is_hidden() {
            self.0.enable_steady_tick(Duration::from_millis(200));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}

/// Writes log lines above the bars.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().lock().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl MakeWriter<'_> for AboveBars {
    type Writer = AboveBars;

    fn make_writer(&self) -> AboveBars {
        AboveBars
    }
}

/// Writes to stdout. A reader that closed its end has seen enough: no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::input(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// `error: ..` on stderr, one line.
pub(crate) fn error(message: &str) {
    // Without stderr there is no way left to say it.
    let _ = writeln!(io::stderr().lock(), "error: {message}");
}

/// Makes the first interrupt (Ctrl-C, SIGTERM) set a flag; a second ends the process at once.
pub(crate) fn catch_interrupts() -> Result<(), Failure> {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::defect(format!("signal handler: {error}")))
}

/// Whether the user asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
