//! `releqc bench`: latency of one sample, from f32 input to f32 output.

mod layers;

use super::Context;
use crate::args::Bench;
use crate::artifact;
use crate::console;
use crate::failure::{Failure, Outcome};
use layers::{LayerReport, Limits};
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Op;
use releqc_runtime::session::{Session, SessionOptions};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Time and number of runs before anything is measured.
const WARM_UP: (Duration, usize) = (Duration::from_millis(200), 10);
/// Time and number of measured runs, at least.
const MEASURED: (Duration, usize) = (Duration::from_secs(1), 100);
/// Runs that are measured at most.
const MOST_RUNS: usize = 1_000_000;
/// Time that the measurement of the layers may take, and again at 8 bits.
const PROFILE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Report {
    median_us: f64,
    p05_us: f64,
    p95_us: f64,
    isa: &'static str,
    threads: usize,
    runs: usize,
    limits: Option<Limits>,
    /// Share of the time that operators on floats alone take, 0..=1; 0 where layers are not timed.
    island_share: f64,
    layers: Vec<LayerReport>,
}

pub(super) fn execute(args: &Bench, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let options = SessionOptions { threads: context.threads.unwrap_or(1), ..args.isa.options() };
    let mut session = Session::new(&artifact, options).map_err(Failure::input)?;
    let input = random_input(&artifact);
    let mut output = vec![0.0; session.output_len()];
    let mut once = || -> Result<Duration, Failure> {
        let start = Instant::now();
        session.run(&input, &mut output).map_err(Failure::defect)?;
        Ok(start.elapsed())
    };
    repeat(WARM_UP, &mut once)?;
    let mut times = repeat(MEASURED, &mut once)?;
    times.sort_unstable();
    let percentile = |p: usize| micros(times[(times.len() - 1) * p / 100]);
    let median = times[times.len() / 2];
    let (mut limits, mut layers) = (None, Vec::new());
    if !args.median {
        let rounds = (PROFILE.as_nanos() / median.as_nanos().max(1)).clamp(5, 10_000) as usize;
        let (measured, timed) = layers::measure(&mut session, options, &input, rounds)?;
        (limits, layers) = (Some(measured), timed);
    }
    let report = Report {
        median_us: percentile(50),
        p05_us: percentile(5),
        p95_us: percentile(95),
        isa: session.isa().name(),
        threads: session.threads(),
        runs: times.len(),
        limits,
        island_share: layers::island_share(&layers),
        layers,
    };
    context.console.result(&report, || if args.median { format!("{}\n", report.median_us) } else { report.text() })?;
    Ok(Outcome::Done)
}

/// Calls `once` until both the time and the number of runs are reached.
fn repeat(
    (time, runs): (Duration, usize),
    once: &mut impl FnMut() -> Result<Duration, Failure>,
) -> Result<Vec<Duration>, Failure> {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < MOST_RUNS && (times.len() < runs || start.elapsed() < time) {
        if console::interrupted() {
            return Err(Failure::interrupted("interrupted"));
        }
        times.push(once()?);
    }
    Ok(times)
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// Values over the whole range of the quantized input, from a fixed generator.
fn random_input(artifact: &Artifact) -> Vec<f32> {
    let program = artifact.program();
    let quantized = program.ops.iter().find_map(|op| match op {
        Op::Quantize { y, .. } => Some(program.tensor(*y)),
        _ => None,
    });
    let (scale, zero_point) = quantized.map_or((1.0, 0), |t| (t.scale, t.zero_point));
    // splitmix64
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 56
    };
    (0..program.input_len()).map(|_| (next() as f32 - f32::from(zero_point)) * scale).collect()
}

impl Report {
    fn text(&self) -> String {
        let head = format!(
            "median {:.1} us, 5 % {:.1} us, 95 % {:.1} us ({} runs, {}, {} thread(s))\n",
            self.median_us, self.p05_us, self.p95_us, self.runs, self.isa, self.threads
        );
        let limits = self.limits.as_ref().map(Limits::text).unwrap_or_default();
        format!("{head}{limits}\n{}", layers::text(&self.layers))
    }
}
