//! Flags of searches that several processes work on.

use super::values::{parse_count, parse_duration};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Silence after which a process counts as dead, where nothing else is said.
const LEASE: Duration = Duration::from_secs(30);

/// How a search works with others.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sharing {
    /// Folder that keeps the evaluations, and in which workers (releqc worker) find what to evaluate [default: MODEL.rq.evaluations, for this
    /// search alone]
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Choices that are evaluated at the same time; what is found depends on it, and not on how many workers there are [default: 1]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) parallel: Option<usize>,
    #[command(flatten)]
    lease: Lease,
}

impl Sharing {
    pub(crate) fn lease(&self) -> Duration {
        self.lease.given()
    }

    /// Whether a lease is given.
    pub(crate) fn has_lease(&self) -> bool {
        self.lease.lease.is_some()
    }
}

/// Signs of life.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Lease {
    /// Others take over what this process is at when it has shown no sign of life for this time [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
}

impl Lease {
    pub(crate) fn given(self) -> Duration {
        self.lease.unwrap_or(LEASE)
    }
}

/// The instruction set of training.
#[derive(Clone, Debug, Args)]
pub(crate) struct TrainIsa {
    /// Instruction set that retraining and calibration use, avx512, avx2 or portable: sums are rounded in its order, so that machines that are to
    /// agree need the same [default: the widest of this machine]
    #[arg(long, value_name = "ISA")]
    pub(crate) train_isa: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The folder given to --store of the searches; it may be there or not
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// End when there was nothing to do for this time, such as 90s or 10m [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "once")]
    pub(crate) idle_exit: Option<Duration>,
    /// End as soon as there is nothing to do
    #[arg(long)]
    pub(crate) once: bool,
    /// Where the data are on this machine, if not where the search has found them; as --data of the search
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Vec<OsString>,
    #[command(flatten)]
    pub(crate) lease: Lease,
}
