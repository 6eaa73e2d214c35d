//! Runs the tests of ONNX, which `benches/onnx_node/make_cases.py` has written, through the import and the float executor.
//!
//!     cargo run --release -p releqc-passes --example node_cases CASES EXPECTED [--accept]
//!
//! One line a case: `pass`, `constant` (it passes where every operand is a constant), `refused` with the reason of the last model
//! tried, or `wrong` with what differs. Then every file of CASES/files is imported.
//!
//! Exits 1 where a case that EXPECTED calls passed is none any more, or is wrong and EXPECTED does not say so; where a file panics
//! or takes longer than [`MOST_SECONDS`]; and where all of it took more than [`MOST_MEMORY`].

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example is a program of its own")]

use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::import::{ImportOptions, import};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Longest time for one case or file; the slowest takes a fraction of it.
const MOST_SECONDS: u64 = 20;
/// Most bytes that are ever in memory: what any file may use (`import/budget.rs`), and as much for the program itself.
const MOST_MEMORY: usize = 512 << 20;

#[derive(Deserialize)]
struct Value {
    name: String,
    dims: Vec<usize>,
}

#[derive(Deserialize)]
struct Model {
    file: String,
    /// Which of the case's operands are inputs of this model.
    inputs: Vec<usize>,
    /// Inputs that are 0, where every operand is a constant.
    #[serde(default)]
    zeros: Vec<Value>,
}

#[derive(Deserialize)]
struct Case {
    operators: Vec<String>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    rtol: f32,
    atol: f32,
    models: Vec<Model>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cases, expected, rest @ ..] = &arguments[..] else {
        println!("usage: node_cases CASES EXPECTED [--accept]");
        return ExitCode::from(2);
    };
    let accept = rest.first().is_some_and(|flag| flag == "--accept");
    std::panic::set_hook(Box::new(|_| {}));
    let mut names: Vec<String> = std::fs::read_dir(cases)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(cases).join(name).join("case.json").is_file())
        .collect();
    names.sort();
    let mut lines = Vec::new();
    for name in &names {
        let folder = Path::new(cases).join(name);
        let case: Case = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        let start = Instant::now();
        let mut verdict = catch_unwind(|| run(&folder, &case)).unwrap_or_else(|_| "wrong: panic".to_owned());
        if start.elapsed().as_secs() >= MOST_SECONDS {
            verdict = format!("wrong: it takes more than {MOST_SECONDS} s");
        }
        println!("{name}: {verdict}");
        lines.push(Line { name: name.clone(), operators: case.operators.join(", "), verdict });
    }
    let (files, mut worse) = import_files(&Path::new(cases).join("files"));
    let count = |word: &str| lines.iter().filter(|line| line.verdict.starts_with(word)).count();
    println!(
        "{} cases: {} pass, {} with constants only, {} refused, {} wrong; {files} files imported or refused",
        lines.len(),
        count("pass"),
        count("constant"),
        count("refused"),
        count("wrong")
    );
    if let Some(peak) = peak_memory().filter(|&peak| peak > MOST_MEMORY) {
        println!("worse: {} MiB in memory; at most {} are allowed", peak >> 20, MOST_MEMORY >> 20);
        worse += 1;
    }
    if accept {
        std::fs::write(expected, page(&lines)).unwrap();
        return ExitCode::from(u8::from(worse > 0));
    }
    let known = std::fs::read_to_string(expected).unwrap_or_default();
    let known: BTreeMap<&str, &str> = known.lines().filter_map(|line| line.split_once(": ")).collect();
    for Line { name, verdict, .. } in &lines {
        let before = known.get(name.as_str()).copied().unwrap_or("refused");
        let passed = |verdict: &str| verdict.starts_with("pass") || verdict.starts_with("constant");
        let lost = passed(before) && !passed(verdict);
        if lost || (verdict.starts_with("wrong") && !before.starts_with("wrong")) {
            println!("worse: {name}: {verdict} (before: {before})");
            worse += 1;
        }
    }
    ExitCode::from(u8::from(worse > 0))
}

/// What became of a case.
struct Line {
    name: String,
    operators: String,
    verdict: String,
}

/// All cases, those that do not pass first, by their operators.
fn page(lines: &[Line]) -> String {
    let mut text = String::from("# What becomes of the tests of ONNX; written by `node_cases --accept`.\n");
    let sections = [
        ("wrong", "Wrong"),
        ("refused", "Refused, with the reason"),
        ("constant", "Passed where every operand is a constant"),
        ("pass", "Passed"),
    ];
    for (word, title) in sections {
        let chosen: Vec<&Line> = lines.iter().filter(|line| line.verdict.starts_with(word)).collect();
        text += &format!("\n# {title}: {}\n", chosen.len());
        let mut groups: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in chosen {
            groups.entry(if word == "pass" { "" } else { &line.operators }).or_default().push(line);
        }
        for (operators, lines) in groups {
            if !operators.is_empty() {
                text += &format!("## {operators}\n");
            }
            for line in lines {
                text += &format!("{}: {}\n", line.name, line.verdict);
            }
        }
    }
    text
}

/// Imports every file of a folder; returns how many there are, and how many panic or take too long.
fn import_files(folder: &Path) -> (usize, usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return (0, 0) };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut bad = 0;
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let start = Instant::now();
        let outcome = catch_unwind(|| import(&bytes, &ImportOptions::default()).map(|_| ()));
        let seconds = start.elapsed().as_secs();
        if outcome.is_err() || seconds >= MOST_SECONDS {
            println!(
                "worse: {}: {} after {seconds} s",
                file.display(),
                if outcome.is_err() { "panic" } else { "done" }
            );
            bad += 1;
        }
    }
    (files.len(), bad)
}

/// Most bytes that this process ever had in memory, where the system says it.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
}

fn run(folder: &Path, case: &Case) -> String {
    let bytes = std::fs::read(folder.join("data.bin")).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let mut parts = Vec::new();
    let mut at = 0;
    for value in case.inputs.iter().chain(&case.outputs) {
        let len: usize = value.dims.iter().product();
        parts.push(&values[at..at + len]);
        at += len;
    }
    let (inputs, outputs) = parts.split_at(case.inputs.len());
    let mut refusal = "no model".to_owned();
    for model in &case.models {
        let bytes = std::fs::read(folder.join(&model.file)).unwrap();
        let given = model.inputs.iter().map(|&i| &case.inputs[i]).chain(&model.zeros);
        let shapes = given.map(|value| (value.name.clone(), value.dims.clone()));
        let options = ImportOptions { shapes: shapes.collect(), ..ImportOptions::default() };
        let graph = match import(&bytes, &options) {
            Ok(graph) => graph,
            Err(error) => {
                if model.zeros.is_empty() {
                    refusal = error.findings().first().map_or_else(|| error.to_string(), ToString::to_string);
                }
                continue;
            }
        };
        // Inputs that no output needs are gone.
        let mut sample = Vec::new();
        for (_, node) in graph.inputs() {
            if model.zeros.iter().any(|zeros| zeros.name == node.name) {
                sample.resize(sample.len() + node.shape.len(), 0.0);
                continue;
            }
            let index = model.inputs.iter().copied().find(|&i| case.inputs[i].name == node.name);
            let Some(index) = index else { return format!("wrong: an input {:?} of its own", node.name) };
            sample.extend_from_slice(inputs[index]);
        }
        let canonical = match canonicalize(graph.clone()) {
            Ok(graph) => graph,
            Err(error) => return format!("wrong: {error}"),
        };
        for (stage, graph) in [("imported", &graph), ("canonical", &canonical)] {
            let folded = fold_batch_norm(graph);
            let seen = FloatExecutor::new(&folded).run(&sample, |_, _| {});
            if let Some(difference) = difference(case, outputs, &seen, &folded) {
                return format!("wrong: {stage}, {difference}");
            }
        }
        return if model.zeros.is_empty() { "pass" } else { "constant" }.to_owned();
    }
    format!("refused: {}", refusal.replace('\n', " "))
}

fn difference(case: &Case, expected: &[&[f32]], seen: &[Vec<f32>], graph: &releqc_passes::ir::Graph) -> Option<String> {
    if seen.len() != expected.len() {
        return Some(format!("{} outputs instead of {}", seen.len(), expected.len()));
    }
    for (index, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        let output = &case.outputs[index];
        let dims = graph.node(graph.outputs[index].1).shape.dims();
        if dims != output.dims {
            return Some(format!("{}: shape {dims:?} instead of {:?}", output.name, output.dims));
        }
        for (at, (&s, &e)) in seen.iter().zip(*expected).enumerate() {
            let same = s == e || (s.is_nan() && e.is_nan()) || (s - e).abs() <= case.atol + case.rtol * e.abs();
            // Infinities beyond f32 are its greatest number here.
            let infinite = e.is_infinite() && s.abs() == f32::MAX && (s > 0.0) == (e > 0.0);
            if !same && !infinite {
                return Some(format!("{}[{at}]: {s} instead of {e}", output.name));
            }
        }
    }
    None
}
