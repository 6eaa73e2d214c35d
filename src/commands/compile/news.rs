//! Progress of a compilation: the bar or lines that a person follows, and a line of JSON for every evaluation.

use crate::args;
use crate::console::{Bar, Console};
use crate::failure::Failure;
use releqc_passes::compile::{Event, Metric};
use releqc_runtime::BitWidth;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Away from a terminal a line is logged this often.
const INTERVAL: Duration = Duration::from_secs(30);

/// Who is told of a compilation.
pub(super) struct News {
    bar: Bar,
    lines: Option<(PathBuf, File)>,
    deadline: Option<Instant>,
    logged: Instant,
    /// Evaluations that were computed, not stored.
    computed: usize,
    failed: Option<Failure>,
}

impl News {
    pub(super) fn new(args: &args::Compile, console: Console, deadline: Option<Instant>) -> Result<Self, Failure> {
        let bar = console.bar("compile", 0);
        bar.breathe();
        let lines = match &args.json_lines {
            None => None,
            Some(path) => match File::create(path) {
                Ok(file) => Some((path.clone(), file)),
                Err(error) => return Err(Failure::input(format!("--json-lines {}: {error}", path.display()))),
            },
        };
        Ok(News { bar, lines, deadline, logged: Instant::now(), computed: 0, failed: None })
    }

    /// What went wrong with the file, if anything.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.failed.map_or(Ok(()), Err)
    }

    pub(super) fn tell(&mut self, event: Event) {
        match event {
            Event::Stage(name) => self.bar.set(name, 0, 0, String::new()),
            Event::Sensitivity { done, total } => self.bar.set("profile", done as u64, total as u64, String::new()),
            Event::Evaluated { .. } => self.evaluated(&event),
            Event::Retraining { step, steps, loss } => {
                self.bar.set("retrain", step as u64, steps as u64, format!("loss {loss:.4}"));
            }
            Event::Note(text) => tracing::info!("{text}"),
            Event::Warning(text) => tracing::warn!("{text}"),
            _ => {}
        }
    }

    fn evaluated(&mut self, event: &Event) {
        self.write(event);
        let Event::Evaluated {
            method, evaluations, limit, turns_left, metric, stored, seconds, best, best_loss, ..
        } = event
        else {
            return;
        };
        self.computed += usize::from(!stored);
        let minutes = seconds / 60.0;
        let mut text = format!("best so far {} {}", joined(best), loses(*metric, *best_loss));
        if self.computed > 0 && minutes > 0.0 {
            let rate = self.computed as f64 / minutes;
            let foreseen = limit.map(|limit| (limit - evaluations) as f64 * seconds / *evaluations as f64);
            let left =
                turns_left.map_or(f64::INFINITY, |left| left.as_secs_f64()).min(foreseen.unwrap_or(f64::INFINITY));
            let budget = self.deadline.map(|end| end.saturating_duration_since(Instant::now()).as_secs_f64());
            let left = budget.map_or(left, |budget| left.min(budget));
            text.push_str(&format!(", {rate:.0} a minute, at most {} left for the search", clock(left)));
        }
        let most = limit.unwrap_or_default();
        self.bar.set(method, *evaluations as u64, most as u64, text.clone());
        if self.bar.is_hidden() && self.logged.elapsed() >= INTERVAL {
            self.logged = Instant::now();
            let of = limit.map_or_else(String::new, |limit| format!(" of at most {limit}"));
            tracing::info!("evaluation {evaluations}{of} ({method}): {text}");
        }
    }

    fn write(&mut self, event: &Event) {
        let Event::Evaluated {
            method,
            evaluations,
            limit,
            metric,
            widths,
            relative_cost,
            accuracy,
            loss,
            reward,
            accepted,
            stored,
            seconds,
            best,
            best_loss,
            ..
        } = event
        else {
            return;
        };
        let Some((path, file)) = &mut self.lines else { return };
        let bits = |widths: &[BitWidth]| widths.iter().map(|width| width.bits()).collect::<Vec<u8>>();
        let line = json!({
            "method": method, "evaluation": evaluations, "limit": limit, "widths": bits(widths),
            "average_bits": widths.iter().map(|width| f64::from(width.bits())).sum::<f64>() / widths.len().max(1) as f64,
            "relative_cost": relative_cost, "metric": metric, "accuracy": accuracy, "loss": loss, "reward": reward,
            "accepted": accepted, "stored": stored, "seconds": seconds,
            "best": bits(best), "best_loss": best_loss,
        });
        // One call a line, so that a reader never sees a part of one.
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            let failure = Failure::input(format!("--json-lines {}: {error}", path.display()));
            self.failed.get_or_insert(failure);
        }
    }
}

/// What a choice loses, in the unit of the metric.
fn loses(metric: Metric, loss: f64) -> String {
    match metric {
        Metric::Top1 | Metric::Top5 | Metric::Agreement => format!("loses {loss:.2} points"),
        Metric::Snr if loss > 0.0 => format!("lies {loss:.2} dB below the ratio that is looked for"),
        Metric::Snr => format!("lies {:.2} dB above the ratio that is looked for", -loss),
        Metric::Mse | Metric::Mae => format!("adds {loss:.6} to the error"),
    }
}

fn joined(widths: &[BitWidth]) -> String {
    widths.iter().map(BitWidth::to_string).collect::<Vec<_>>().join(",")
}

/// `1:05:09`, `4:30` or `12 s`.
fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{clock, loses};
    use releqc_passes::compile::Metric;

    #[test]
    fn losses_are_in_the_unit_of_their_metric() {
        assert_eq!(loses(Metric::Top5, 0.25), "loses 0.25 points");
        assert_eq!(loses(Metric::Snr, -1.5), "lies 1.50 dB above the ratio that is looked for");
        assert_eq!(loses(Metric::Mae, 0.25), "adds 0.250000 to the error");
    }

    #[test]
    fn times_are_read_as_on_a_clock() {
        assert_eq!([0.2, 59.4, 61.0, 3909.0].map(clock), ["0 s", "59 s", "1:01", "1:05:09"]);
    }
}
