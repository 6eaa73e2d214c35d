//! The summary at the end of a compilation.

use super::{Align, Table, grouped};
use releqc_passes::compile::{
    Accuracy, BudgetReport, CompileReport, Confirmation, LossOf, LossUnit, Metric, Quantity, SearchReport,
};
use std::fmt::Write;
use std::path::Path;

/// Everything a user wants to know, on one screen where the network allows.
pub(crate) fn text(report: &CompileReport, warnings: &[String], artifact: &Path, seconds: f64) -> String {
    let mut text = format!("{}\n{}\n", layers(report), accuracy(report));
    if let Some(line) = activations(report.layers.iter().map(|layer| layer.activation_bits)) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(confirmation) = &report.confirmation {
        let _ = writeln!(text, "{}", confirmed(confirmation));
    }
    for budget in &report.budgets {
        let _ = writeln!(text, "budget       {}", self::budget(budget));
    }
    let size = &report.size;
    let _ = writeln!(
        text,
        "size         {} bytes: {} of the weights as f32, {} of them as int8",
        grouped(size.artifact),
        percent_of(size.artifact, size.float_weights),
        percent_of(size.artifact, size.int8_weights)
    );
    let _ = writeln!(
        text,
        "accelerator  {:.2} times as fast as at 8 bit, {:.2} times less energy (simulated)",
        report.accelerator_speedup, report.accelerator_energy_ratio
    );
    if let Some(search) = &report.search {
        let _ = write!(text, "{}", spent(search));
    }
    for assumption in &report.assumptions {
        let _ = writeln!(text, "assumed      {assumption}");
    }
    for warning in warnings {
        let _ = writeln!(text, "warning      {warning}");
    }
    let _ = writeln!(text, "seed         {}, {seconds:.1} s", report.seed);
    let _ = writeln!(text, "wrote        {}", artifact.display());
    text
}

/// `bytes` in percent of `whole`.
pub(super) fn percent_of(bytes: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * bytes as f64 / whole.max(1) as f64)
}

/// What the layers read, where some of it has fewer than 8 bits.
pub(crate) fn activations(bits: impl Iterator<Item = u8>) -> Option<String> {
    let bits: Vec<u8> = bits.collect();
    let listed: Vec<String> = bits.iter().map(u8::to_string).collect();
    let narrow = bits.iter().any(|&bits| bits < 8);
    narrow.then(|| format!("activations  layers read codes of {} bits", listed.join(",")))
}

pub(super) fn layers(report: &CompileReport) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("op", Align::Left),
        ("bits", Align::Right),
        ("weights", Align::Right),
        ("MACs", Align::Right),
        ("bytes", Align::Right),
        ("sensitivity", Align::Right),
    ]);
    for layer in &report.layers {
        table.row([
            layer.name.clone(),
            layer.op.into(),
            layer.bits.to_string(),
            grouped(layer.weights),
            grouped(layer.macs),
            grouped(layer.bytes),
            format!("{:.2}", layer.sensitivity),
        ]);
    }
    let sum = |of: fn(&releqc_passes::compile::LayerReport) -> u64| grouped(report.layers.iter().map(of).sum());
    table.row([
        "all".into(),
        String::new(),
        format!("{:.2}", report.average_bits),
        sum(|layer| layer.weights),
        sum(|layer| layer.macs),
        sum(|layer| layer.bytes),
    ]);
    table
}

fn accuracy(report: &CompileReport) -> String {
    let Accuracy { metric, float, quantized, reference, loss_points, loss_of, split, samples, unlearned } =
        &report.accuracy;
    let samples = format!("{} {split} samples", grouped(*samples as u64));
    let mut text = match metric {
        Metric::Top1 | Metric::Top5 if let Some(copy) = unlearned => {
            // What is known: it answers them as well as training samples. That is memory, or they are easy.
            let mut text = format!(
                "accuracy     {:.2} % -> {:.2} % {} on {samples} that the float network may have seen in training;\n             \
                {:.2} points lost by a copy of it that has unlearned them ({:.2} % -> {:.2} %)",
                100.0 * float,
                100.0 * quantized,
                metric.name(),
                100.0 * (copy.reference - copy.quantized),
                100.0 * copy.reference,
                100.0 * copy.quantized,
            );
            if *loss_of == LossOf::Artifact {
                let _ =
                    write!(text, "; the artifact lies {loss_points:.2} points below {:.2} %", 100.0 * copy.reference);
            }
            text
        }
        Metric::Top1 | Metric::Top5 => format!(
            "accuracy     {:.2} % -> {:.2} % {}, {:.2} points lost on {samples}",
            100.0 * float,
            100.0 * quantized,
            metric.name(),
            loss_points
        ),
        Metric::Mse | Metric::Mae => {
            format!("error        {float:.6} -> {quantized:.6} {} on {samples}", metric.name())
        }
        Metric::Snr => {
            return format!(
                "signal       {quantized:.1} dB over the noise, of the output with the most, against the float network on {samples}\n"
            );
        }
        Metric::Agreement => format!("agreement    {:.2} % with the float network on {samples}", 100.0 * quantized),
    };
    if reference < float && metric.is_share() {
        let _ = write!(
            text,
            " against {:.2} % at 8 bits after the same retraining (as a rule because the float network was trained on these samples)",
            100.0 * reference
        );
    }
    match report.max_loss {
        Some(limit) if report.goal_missed && *loss_points > limit => {
            let _ = write!(text, "; GOAL MISSED: at most {limit} may be lost, this is the best artifact found");
        }
        Some(limit) => {
            let _ = write!(text, " (goal: at most {limit})");
        }
        None => {}
    }
    text
}

fn spent(search: &SearchReport) -> String {
    let mut text = format!(
        "search       {} episodes, {} evaluations ({} computed now), {} more on the surrogate; it ended {}\n",
        grouped(search.episodes as u64),
        grouped(search.evaluations as u64),
        grouped(search.paid as u64),
        grouped(search.virtual_episodes as u64),
        ended(search)
    );
    let careful = match search.careful {
        0 => String::new(),
        careful => format!("; {careful} more with the goal as limit"),
    };
    let from = reference(search);
    let _ = match search.limit {
        Some(limit) => {
            writeln!(text, "             an evaluation might lose {} from {from}{careful}", allowed(search, limit))
        }
        None => writeln!(text, "             the least loss inside the budgets was looked for, from {from}"),
    };
    let _ = writeln!(text, "             what is written was found by: {}", search.found_by.join(", "));
    if !search.methods.is_empty() {
        let _ = write!(text, "\n{}\n{}\n", methods(search), pareto(search));
    }
    if !search.finalists.is_empty() {
        let _ = write!(text, "\n{}", finalists(search));
    }
    text
}

/// How a search ended, to be read behind "it ended".
fn ended(search: &SearchReport) -> &str {
    match search.end.as_str() {
        "evaluations" => "when its evaluations were used up",
        "stopped" => "before its evaluations were used up",
        "converged" => "when the policy repeated what it knew",
        "exhausted" => "when every choice had been evaluated",
        other => other,
    }
}

/// A loss, in points, dB or the unit of an error.
fn loss(search: &SearchReport, loss: f64) -> String {
    if search.unit == LossUnit::Errors { format!("{loss:.6}") } else { format!("{loss:.2}") }
}

/// A loss with its unit.
pub(super) fn allowed(search: &SearchReport, limit: f64) -> String {
    let unit = match search.unit {
        LossUnit::Points => " points",
        LossUnit::Decibels => " dB",
        LossUnit::Errors => "",
    };
    format!("{}{unit}", loss(search, limit))
}

/// What losses are counted from.
fn reference(search: &SearchReport) -> String {
    match search.unit {
        LossUnit::Points => format!("{:.2} %", 100.0 * search.reference),
        LossUnit::Decibels => format!("{:.2} dB", search.reference),
        LossUnit::Errors => loss(search, search.reference),
    }
}

/// The heading of a column of losses.
pub(super) fn lost(search: &SearchReport) -> &'static str {
    match search.unit {
        LossUnit::Points => "points lost",
        LossUnit::Decibels => "dB lost",
        LossUnit::Errors => "error added",
    }
}

/// What a search did, in one sentence.
pub(super) fn spent_line(search: &SearchReport) -> String {
    let limit = search.limit.map_or_else(
        || "The least loss inside the budgets was looked for".to_owned(),
        |limit| format!("An evaluation might lose {}", allowed(search, limit)),
    );
    format!(
        "{} episodes, {} evaluations ({} computed now), {} more on the surrogate; it ended {}. {limit}, from {}. \
        What is written was found by: {}.",
        grouped(search.episodes as u64),
        grouped(search.evaluations as u64),
        grouped(search.paid as u64),
        grouped(search.virtual_episodes as u64),
        ended(search),
        reference(search),
        search.found_by.join(", ")
    )
}

/// The loss on samples that nothing was chosen on.
fn confirmed(confirmation: &Confirmation) -> String {
    let Confirmation { metric, samples, reference, loss_points, low, high, loss_of, artifact, .. } = confirmation;
    let of = match loss_of {
        LossOf::Artifact => String::new(),
        LossOf::Unlearned => format!(" by the copy; the artifact answers {:.2} % of them", 100.0 * artifact),
    };
    let lost = match metric {
        Metric::Snr => {
            let [decibels, least, most] = [loss_points, high, low].map(|lost| reference - lost);
            format!("{decibels:.2} dB over the noise, {least:.2} to {most:.2}")
        }
        Metric::Mse | Metric::Mae => format!("{loss_points:.6} added to the error, {low:.6} to {high:.6}"),
        Metric::Top1 | Metric::Top5 | Metric::Agreement => {
            format!("{loss_points:.2} points lost, {low:.2} to {high:.2}")
        }
    };
    format!(
        "confirmed    {lost} with 95 % probability, on {} held-back samples that nothing was chosen on{of}",
        grouped(*samples as u64)
    )
}

/// One budget in words.
pub(crate) fn budget(budget: &BudgetReport) -> String {
    let (name, digits) = match budget.budget {
        Quantity::AverageBits => ("average", 2),
        Quantity::Size => ("size", 0),
        Quantity::Ram => ("memory for values", 0),
        Quantity::Latency => ("latency measured here", 1),
        Quantity::Cycles | Quantity::Energy => ("accelerator", 0),
    };
    let BudgetReport { unit, limit, reached, met, .. } = budget;
    let outcome = if *met { "kept" } else { "MISSED" };
    format!("{name} {reached:.digits$} of at most {limit:.digits$} {unit}: {outcome}")
}

/// The choices that got the last retraining.
pub(super) fn finalists(search: &SearchReport) -> Table {
    let mut table = Table::new(&[
        ("long retraining", Align::Left),
        ("average bits", Align::Right),
        ("lost in the search", Align::Right),
        (lost(search), Align::Right),
        ("widths", Align::Left),
    ]);
    for finalist in &search.finalists {
        table.row([
            if finalist.kept { "kept the goal" } else { "missed the goal" }.into(),
            format!("{:.2}", finalist.average_bits),
            finalist.evaluated_loss.map_or_else(|| "-".into(), |value| loss(search, value)),
            loss(search, finalist.loss),
            joined(&finalist.widths),
        ]);
    }
    table
}

/// Agent and baselines at the same number of evaluations.
pub(super) fn methods(search: &SearchReport) -> Table {
    let mut table = Table::new(&[
        ("method", Align::Left),
        ("average bits", Align::Right),
        (lost(search), Align::Right),
        ("believed", Align::Right),
        ("reward", Align::Right),
        ("long run", Align::Right),
        ("evaluations", Align::Right),
        ("seconds", Align::Right),
        ("widths", Align::Left),
    ]);
    for method in &search.methods {
        table.row([
            method.name.clone(),
            format!("{:.2}", method.average_bits),
            loss(search, method.loss),
            loss(search, method.believed_loss),
            format!("{:.3}", method.reward),
            method.long_run_loss.map_or_else(|| "-".into(), |value| loss(search, value)),
            method.evaluations.to_string(),
            format!("{:.1}", method.seconds),
            joined(&method.widths),
        ]);
    }
    table
}

/// What no other evaluated choice beats in cost and accuracy at once.
pub(super) fn pareto(search: &SearchReport) -> Table {
    let mut table = Table::new(&[
        ("Pareto front", Align::Left),
        ("average bits", Align::Right),
        ("cost / 8 bit", Align::Right),
        (lost(search), Align::Right),
        ("widths", Align::Left),
    ]);
    for point in &search.pareto {
        table.row([
            if point.chosen { "* chosen" } else { "" }.into(),
            format!("{:.2}", point.average_bits),
            format!("{:.3}", point.relative_cost),
            loss(search, point.loss),
            joined(&point.widths),
        ]);
    }
    table
}

fn joined(widths: &[u8]) -> String {
    widths.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}
