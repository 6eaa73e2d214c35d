//! Runs the node tests of ONNX, which `benches/onnx_node/make_cases.py` has written, through the import and the float executor.
//!
//!     cargo run --release -p releqc-passes --example node_cases CASES EXPECTED [--accept]
//!
//! One line a case: `pass`, `refused` with the reason of the last model tried, or `wrong` with what differs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example is a program of its own")]

use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::import::{ImportOptions, import};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

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
}

#[derive(Deserialize)]
struct Case {
    operators: Vec<String>,
    opset: i64,
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
        let verdict = catch_unwind(|| run(&folder, &case)).unwrap_or_else(|_| "wrong: panic".to_owned());
        lines.push(format!("{name}: {verdict}{}", origin(&case, &verdict)));
        println!("{}", lines[lines.len() - 1]);
    }
    let count = |word: &str| lines.iter().filter(|line| verdict_of(line).starts_with(word)).count();
    println!("{} cases: {} pass, {} refused, {} wrong", lines.len(), count("pass"), count("refused"), count("wrong"));
    if accept {
        std::fs::write(expected, lines.join("\n") + "\n").unwrap();
        return ExitCode::SUCCESS;
    }
    let known = std::fs::read_to_string(expected).unwrap_or_default();
    let known: BTreeMap<&str, &str> = known.lines().map(|line| (name_of(line), verdict_of(line))).collect();
    let mut worse = 0;
    for line in &lines {
        let before = known.get(name_of(line)).copied().unwrap_or("refused");
        let now = verdict_of(line);
        if (before.starts_with("pass") && !now.starts_with("pass"))
            || (now.starts_with("wrong") && !before.starts_with("wrong"))
        {
            println!("worse: {line} (before: {before})");
            worse += 1;
        }
    }
    ExitCode::from(u8::from(worse > 0))
}

fn name_of(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(name, _)| name)
}

fn verdict_of(line: &str) -> &str {
    line.split_once(": ").map_or("", |(_, verdict)| verdict)
}

fn origin(case: &Case, verdict: &str) -> String {
    if verdict == "pass" { String::new() } else { format!(" [{} of opset {}]", case.operators.join(", "), case.opset) }
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
        let shapes = model.inputs.iter().map(|&i| (case.inputs[i].name.clone(), case.inputs[i].dims.clone()));
        let options = ImportOptions { shapes: shapes.collect(), ..ImportOptions::default() };
        let graph = match import(&bytes, &options) {
            Ok(graph) => graph,
            Err(error) => {
                refusal = error.findings().first().map_or_else(|| error.to_string(), ToString::to_string);
                continue;
            }
        };
        // Inputs that no output needs are gone.
        let mut sample = Vec::new();
        for (_, node) in graph.inputs() {
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
        return "pass".to_owned();
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
