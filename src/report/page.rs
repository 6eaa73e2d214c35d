//! The report as one self-contained page.

use super::{Table, summary};
use releqc_passes::compile::{CompileReport, WidthCost};
use std::fmt::Write;
use std::path::Path;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}\
td.r,th.r{text-align:right;font-variant-numeric:tabular-nums}pre{white-space:pre-wrap}";

/// The page; nothing in it refers to another file.
pub(crate) fn html(report: &CompileReport, warnings: &[String], artifact: &Path, seconds: f64) -> String {
    let title = escape(&format!("{} at {:.2} bits", report.network, report.average_bits));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n"
    );
    let _ = write!(page, "<h2>Summary</h2>\n<pre>{}</pre>\n", escape(&facts(report, warnings, artifact, seconds)));
    let _ = write!(page, "<h2>Layers</h2>\n{}", table(&summary::layers(report)));
    if let Some(search) = &report.search {
        let _ = write!(page, "<h2>Agent and baselines</h2>\n{}", table(&summary::methods(search)));
        let _ = write!(page, "<h2>Pareto front</h2>\n{}", table(&summary::pareto(search)));
        if !search.finalists.is_empty() {
            let _ = write!(page, "<h2>Long retraining</h2>\n{}", table(&summary::finalists(search)));
        }
        if !search.explanation.is_empty() {
            page.push_str(
                "<h2>What each layer costs at each width</h2>\n<p>Points lost more than at its width in the artifact (below 0: less), after the search's retraining.</p>\n\
                <table><tr><th>layer<th>bits: points\n",
            );
            for layer in &search.explanation {
                let cell = |cost: &WidthCost| {
                    let estimated = if cost.measured { "" } else { " (estimated)" };
                    format!("{}: {:.2}{estimated}", cost.bits, cost.loss)
                };
                let cells: Vec<String> = layer.widths.iter().map(cell).collect();
                let _ = writeln!(page, "<tr><td>{}<td>{}", escape(&layer.name), cells.join(", "));
            }
            page.push_str("</table>\n");
        }
    }
    page.push_str("</html>\n");
    page
}

/// The lines of the summary that are no tables.
fn facts(report: &CompileReport, warnings: &[String], artifact: &Path, seconds: f64) -> String {
    let tables = [
        Some(summary::layers(report)),
        report.search.as_ref().map(summary::methods),
        report.search.as_ref().map(summary::pareto),
        report.search.as_ref().map(summary::finalists),
    ];
    let mut text = summary::text(report, warnings, artifact, seconds);
    for table in tables.into_iter().flatten() {
        text = text.replace(&table.to_string(), "");
    }
    text.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn table(table: &Table) -> String {
    let mut html = String::from("<table>\n");
    for (index, row) in table.cells().enumerate() {
        html.push_str("<tr>");
        let tag = if index == 0 { "th" } else { "td" };
        for (cell, right) in row {
            let _ = write!(html, "<{tag}{}>{}", if right { " class=r" } else { "" }, escape(cell));
        }
        html.push('\n');
    }
    html.push_str("</table>\n");
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
