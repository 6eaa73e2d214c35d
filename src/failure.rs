//! Exit codes and the one line that explains them.

use crate::console;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

/// How a command ended that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// Two files differ and the caller asked for exit code 1 then.
    Different,
    /// The artifact is written, but loses more than the goal allows: exit code 4.
    GoalMissed,
}

impl Outcome {
    pub(crate) fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Different => 1,
            Outcome::GoalMissed => 4,
        }
    }
}

/// Why a command ended without its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A defect of the program.
    Defect,
    /// Usage, bad or unreadable input, an output that cannot be written.
    Input,
    /// A valid model that is not supported.
    Unsupported,
    /// The user stopped it.
    Interrupted,
}

/// Turns a panic, which is a defect by definition, into a failure with its place.
pub(crate) fn catch_defects(work: impl FnOnce() -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    static FIRST: Mutex<Option<String>> = Mutex::new(None);
    let first = || FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    std::panic::set_hook(Box::new(move |panic| {
        first().get_or_insert_with(|| panic.to_string());
    }));
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let place = first().take().unwrap_or_default();
        Err(Failure::defect(format!("a defect of releqc, please report it: {place}")))
    })
}

/// A cause and the line that is printed.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: Cause,
    message: String,
    /// Further keys of the JSON object.
    details: Map<String, Value>,
}

impl Failure {
    fn new(cause: Cause, message: impl Display) -> Self {
        // One line, whatever the parts of the message hold.
        let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Failure { cause, message, details: Map::new() }
    }

    pub(crate) fn defect(message: impl Display) -> Self {
        Self::new(Cause::Defect, message)
    }

    pub(crate) fn input(message: impl Display) -> Self {
        Self::new(Cause::Input, message)
    }

    pub(crate) fn unsupported(message: impl Display) -> Self {
        Self::new(Cause::Unsupported, message)
    }

    pub(crate) fn interrupted(message: impl Display) -> Self {
        Self::new(Cause::Interrupted, message)
    }

    /// Says in front what it is about.
    pub(crate) fn prefixed(mut self, subject: &str) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// The line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Adds the keys of `details` to the object that `--json` prints.
    pub(crate) fn with_details(mut self, details: &impl Serialize) -> Self {
        if let Ok(Value::Object(details)) = serde_json::to_value(details) {
            self.details = details;
        }
        self
    }

    pub(crate) fn code(&self) -> u8 {
        match self.cause {
            Cause::Defect => 1,
            Cause::Input => 2,
            Cause::Unsupported => 3,
            Cause::Interrupted => 130,
        }
    }

    /// `error: ..` on stderr; with `json` also an object on stdout.
    pub(crate) fn report(self, json: bool) {
        console::error(&self.message);
        if json {
            let mut object = self.details.clone();
            object.insert("error".into(), json!(self.message));
            object.insert("exit_code".into(), json!(self.code()));
            // Nobody is left to tell that stdout is closed.
            let _ = console::print(&format!("{}\n", Value::Object(object)));
        }
    }
}
