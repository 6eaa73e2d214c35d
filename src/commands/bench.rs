//! `releqc bench`: latency of one sample, from f32 input to f32 output.

use super::Context;
use crate::args::Bench;
use crate::artifact;
use crate::console;
use crate::failure::{Failure, Outcome};
use crate::report::{Align, Table};
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Op;
use releqc_runtime::session::{Session, SessionOptions};
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Time and number of runs before anything is measured.
const WARM_UP: (Duration, usize) = (Duration::from_millis(200), 10);
/// Time and number of measured runs, at least.
const MEASURED: (Duration, usize) = (Duration::from_secs(1), 100);
/// Runs that are measured at most.
const MOST_RUNS: usize = 1_000_000;
/// Time that the measurement of the layers may take.
const PROFILE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Report {
    median_us: f64,
    p05_us: f64,
    p95_us: f64,
    isa: &'static str,
    threads: usize,
    runs: usize,
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LayerReport {
    name: String,
    op: &'static str,
    bits: Option<u8>,
    median_us: f64,
    macs: u64,
}

pub(super) fn execute(args: &Bench, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let options = SessionOptions { isa: args.isa.isa, threads: context.threads.unwrap_or(1) };
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
    let rounds = (PROFILE.as_nanos() / median.as_nanos().max(1)).clamp(5, 10_000) as usize;
    let profile = session.profile(&input, rounds).map_err(Failure::defect)?;
    let report = Report {
        median_us: percentile(50),
        p05_us: percentile(5),
        p95_us: percentile(95),
        isa: session.isa().name(),
        threads: session.threads(),
        runs: times.len(),
        layers: layers(&artifact, &profile),
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
    (0..program.input.len()).map(|_| (next() as f32 - f32::from(zero_point)) * scale).collect()
}

fn layers(artifact: &Artifact, profile: &[Duration]) -> Vec<LayerReport> {
    let program = artifact.program();
    let layer = |(op, time): (&Op, &Duration)| {
        let conv = if let Op::Conv(conv) = op { Some(conv) } else { None };
        let written = op.writes().map(|id| program.tensor(id).name.clone());
        LayerReport {
            name: conv.map(|conv| conv.name.clone()).or(written).unwrap_or_else(|| op.label().to_owned()),
            op: op.label(),
            bits: conv.map(|conv| conv.bits.bits()),
            median_us: micros(*time),
            macs: conv.map_or(0, |conv| program.macs(conv)),
        }
    };
    program.ops.iter().zip(profile).map(layer).collect()
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "median {:.1} us, 5 % {:.1} us, 95 % {:.1} us ({} runs, {}, {} thread(s))\n",
            self.median_us, self.p05_us, self.p95_us, self.runs, self.isa, self.threads
        );
        let mut table = Table::new(&[
            ("layer", Align::Left),
            ("op", Align::Left),
            ("bits", Align::Right),
            ("us", Align::Right),
            ("share", Align::Right),
            ("GMAC/s", Align::Right),
        ]);
        let total: f64 = self.layers.iter().map(|layer| layer.median_us).sum();
        for layer in &self.layers {
            let rate = layer.macs as f64 / layer.median_us.max(1e-3) / 1000.0;
            table.row([
                layer.name.clone(),
                layer.op.into(),
                layer.bits.map(|bits| bits.to_string()).unwrap_or_default(),
                format!("{:.2}", layer.median_us),
                format!("{:.1} %", 100.0 * layer.median_us / total.max(f64::MIN_POSITIVE)),
                if layer.macs > 0 { format!("{rate:.1}") } else { String::new() },
            ]);
        }
        let _ = write!(text, "{table}");
        text
    }
}
