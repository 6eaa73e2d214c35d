//! Whole searches on a network so small that they take seconds: what is counted from what, what is written, and what a time budget leaves out.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::nets::Net;
use common::{Random, evaluate};
use releqc_passes::compile::{
    CompileOptions, CompileReport, Event, Hooks, Labelled, LossOf, Retrain, RewardKind, compile,
};
use releqc_passes::data::{Dataset, Samples};
use releqc_passes::ir::{Graph, NodeId, Shape};
use releqc_passes::onnx;
use releqc_runtime::BitWidth;
use std::time::Duration;

const INPUTS: usize = 16;

fn network() -> Graph {
    let mut net = Net::new("teacher", Shape::vector(INPUTS), 11);
    let hidden = net.fc(NodeId(0), 24, false);
    let hidden = net.relu(hidden);
    let classes = net.fc(hidden, 6, false);
    net.output(&[("classes", classes)])
}

/// Random inputs, labelled with the class that the network itself gives them: in float it is always right, and every bit of its weights counts.
fn samples(graph: &Graph, count: usize, seed: u64) -> Dataset {
    let mut random = Random(seed);
    let inputs: Vec<Vec<f32>> = (0..count).map(|_| random.floats(INPUTS)).collect();
    let label = |input: &Vec<f32>| {
        let outputs = evaluate(graph, input);
        (0..outputs.len()).max_by(|&a, &b| outputs[a].total_cmp(&outputs[b])).unwrap() as u32
    };
    let labels = inputs.iter().map(label).collect();
    Dataset::new(Shape::vector(INPUTS), Samples::Values(inputs.concat()), Some(labels)).unwrap()
}

/// The report of a search, and the notes made on the way.
fn searched(options: &CompileOptions, remaining: Option<Duration>) -> (CompileReport, Vec<String>) {
    let graph = network();
    let (training, validation) = (samples(&graph, 1200, 1), samples(&graph, 600, 2));
    let data = Labelled { training, validation, fingerprint: "teacher".into() };
    let mut notes = Vec::new();
    let mut note = |event: Event| {
        if let Event::Note(text) | Event::Warning(text) = event {
            notes.push(text);
        }
    };
    let mut hooks = Hooks { events: &mut note, interrupted: &|| false, remaining: &|| remaining };
    let report = compile(&onnx::write(&graph, &[]).unwrap(), Some(&data), options, &mut hooks).unwrap().report;
    let search = report.search.as_ref().unwrap();
    for (layer, explained) in report.layers.iter().zip(&search.explanation) {
        let chosen = explained.widths.iter().find(|cost| cost.bits == layer.bits).unwrap();
        assert!(chosen.loss == 0.0, "the explanation starts at the widths of the artifact: {report:?}");
    }
    (report, notes)
}

fn widths(report: &CompileReport) -> Vec<u8> {
    report.layers.iter().map(|layer| layer.bits).collect()
}

fn action_set(bits: &[u8]) -> Vec<BitWidth> {
    bits.iter().map(|&bits| BitWidth::new(bits).unwrap()).collect()
}

fn options(max_loss: f64) -> CompileOptions {
    CompileOptions { max_loss, goal: true, episodes: Some(6), baselines: false, ..CompileOptions::default() }
}

#[test]
fn losses_are_counted_from_8_bits_where_the_action_set_ends_at_3() {
    let narrow = CompileOptions { action_set: action_set(&[2, 3]), ..options(0.3) };
    let (report, _) = searched(&narrow, None);
    assert!(report.goal_missed, "3 bits lose points that 8 keep: {report:?}");
    assert!(report.accuracy.loss_points > 1.0, "{:?}", report.accuracy);
    assert!(
        widths(&report).iter().all(|bits| (2..=3).contains(bits)),
        "8 bits are the measure and no choice: {report:?}"
    );
    let search = report.search.unwrap();
    assert!(search.pareto.iter().all(|point| point.loss > 1.0), "in the search too: {:?}", search.pareto);
    assert!(search.finalists.iter().all(|run| !run.kept), "{:?}", search.finalists);
}

#[test]
fn under_the_papers_reward_the_preferred_choice_is_written_and_every_episode_is_its() {
    let paper = CompileOptions { reward: RewardKind::Paper, ..options(40.0) };
    let (report, _) = searched(&paper, None);
    let search = report.search.as_ref().unwrap();
    assert_eq!((search.episodes, search.careful), (6, 0));
    let kept: Vec<bool> = search.finalists.iter().map(|run| run.kept).collect();
    assert_eq!(kept, [true], "the first long run keeps so wide a goal");
    assert_eq!(widths(&report), search.methods[0].widths);
}

#[test]
fn a_short_run_is_judged_as_the_search_has_judged_it() {
    let short = CompileOptions { retrain: Retrain::Short, ..options(10.0) };
    let (report, _) = searched(&short, None);
    let (accuracy, search) = (&report.accuracy, report.search.as_ref().unwrap());
    assert!(search.reference < accuracy.float, "retraining takes something: {accuracy:?}");
    assert_eq!(accuracy.reference, search.reference);
    let run = &search.finalists[0];
    assert!(run.kept && (run.loss - run.evaluated_loss.unwrap()).abs() < 1e-9, "{run:?}");
    assert_eq!(accuracy.loss_of, LossOf::Artifact);
    assert!((accuracy.loss_points - run.loss).abs() < 1e-9, "{accuracy:?} {run:?}");
}

#[test]
fn a_time_budget_that_leaves_no_time_is_kept_and_says_what_it_left_out() {
    let (report, notes) = searched(&options(0.3), Some(Duration::ZERO));
    for part in ["unlearning", "each layer loses alone", "no time for an evaluation"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
    let search = report.search.as_ref().unwrap();
    assert_eq!((search.evaluations, search.paid, search.finalists.len()), (0, 0, 0));
    assert!(search.methods.is_empty(), "nobody found anything: {:?}", search.methods);
    assert_eq!(widths(&report), [8, 8]);
    assert!(report.accuracy.unlearned.is_none());
}

#[test]
fn the_widths_of_the_long_runs_are_explained_and_not_those_that_the_agent_preferred() {
    let (report, _) = searched(&CompileOptions { baselines: true, ..options(1.0) }, None);
    let search = report.search.as_ref().unwrap();
    println!("{:?}\n{:?}\n{:?}", search.methods, search.finalists, report.accuracy);
    assert_ne!(
        widths(&report),
        search.methods[0].widths,
        "long runs ended elsewhere; `searched` has looked at the rest"
    );
    // Whether long runs keep it depends on the draws; what is said of it must not.
    assert_eq!(report.goal_missed, report.accuracy.loss_points > 1.0 + 1e-9, "{:?}", report.accuracy);
}
