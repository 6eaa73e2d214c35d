//! Budgets of an artifact, the confirmation, and the news of a search.

use crate::support::{Answer, Place, idx};
use serde_json::Value;

/// A search without data, in seconds; its answer and its object.
fn searched(place: &Place, more: &[&str]) -> (Answer, Value) {
    let episodes: &[&str] = if more.contains(&"--episodes") { &[] } else { &["--episodes", "4"] };
    let answer = place.releqc(&[&["small.onnx", "-o", "y.rq", "--json"], episodes, more].concat());
    let object = serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    (answer, object)
}

fn bits(report: &Value) -> Vec<u64> {
    report["layers"].as_array().unwrap().iter().map(|layer| layer["bits"].as_u64().unwrap()).collect()
}

/// No row of the comparison has a higher reward than the row whose widths were written.
fn nothing_beats_what_is_written(report: &Value) {
    let methods = report["search"]["methods"].as_array().unwrap();
    let reward = |method: &Value| method["reward"].as_f64().unwrap();
    let most = methods.iter().map(reward).fold(f64::NEG_INFINITY, f64::max);
    let written: Vec<u64> = bits(report);
    let of_written = methods.iter().find(|method| {
        let widths: Vec<u64> = method["widths"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap()).collect();
        widths == written
    });
    let of_written = of_written.unwrap_or_else(|| panic!("{written:?} is no method's best: {methods:#?}"));
    assert_eq!(reward(of_written), most, "{report}");
    let found_by: Vec<&str> =
        report["search"]["found_by"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(found_by.contains(&of_written["name"].as_str().unwrap()), "{found_by:?}");
}

#[test]
fn the_best_choice_of_any_method_is_written() {
    for seed in ["0", "1", "2"] {
        let place = Place::new();
        let (answer, report) = searched(&place, &["--seed", seed]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        nothing_beats_what_is_written(&report);
        let names: Vec<&str> = report["search"]["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|method| method["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["agent", "uniform", "sensitivity", "programme", "hessian", "random"]);
    }
}

#[test]
fn a_budget_alone_asks_for_the_least_loss_inside_it() {
    let place = Place::new();
    place.json(&["small.onnx", "-o", "four.rq", "--bits", "4"]);
    let size = place.read("four.rq").len();
    let at_4 = place.json(&["sim", "four.rq"]);
    let (size, cycles, energy) = (
        size.to_string(),
        at_4["cycles"].to_string(),
        format!("{}pJ", at_4["energy_pj"].as_f64().unwrap() * 1.000_001),
    );
    for budget in [
        ["--average-bits", "3.34"],
        ["--max-size", &size],
        ["--max-cycles", &cycles],
        ["--max-energy", &energy],
        ["--max-latency", "10s"],
    ] {
        let (answer, report) = searched(&place, &budget);
        assert_eq!(answer.code, Some(0), "{budget:?}: {answer:?}");
        let [reported] = &report["budgets"].as_array().unwrap()[..] else { panic!("{report}") };
        assert_eq!((&reported["met"], &report["goal_missed"]), (&true.into(), &false.into()), "{report}");
        let (limit, reached) = (reported["limit"].as_f64().unwrap(), reported["reached"].as_f64().unwrap());
        assert!(reached <= limit, "{reported}");
        nothing_beats_what_is_written(&report);
        match budget[0] {
            "--average-bits" => assert!(report["average_bits"].as_f64().unwrap() <= 3.34),
            "--max-size" => assert_eq!(reached, place.read("y.rq").len() as f64),
            "--max-cycles" => assert_eq!(reached, place.json(&["sim", "y.rq"])["cycles"].as_f64().unwrap()),
            "--max-energy" => assert_eq!(reached, place.json(&["sim", "y.rq"])["energy_pj"].as_f64().unwrap()),
            _ => {}
        }
    }
}

#[test]
fn two_budgets_and_a_goal_hold_together() {
    let place = Place::new();
    let (answer, report) = searched(&place, &["--average-bits", "5", "--max-ram", "1MiB", "--max-loss", "50"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let budgets = report["budgets"].as_array().unwrap();
    assert!(budgets.len() == 2 && budgets.iter().all(|budget| budget["met"] == true), "{report}");
    assert!(report["accuracy"]["loss_points"].as_f64().unwrap() <= 50.0);
    assert_eq!(report["max_loss"], 50.0);
}

#[test]
fn what_cannot_be_met_is_missed_and_the_nearest_is_written() {
    let place = Place::new();
    let (answer, report) = searched(&place, &["--average-bits", "1.5"]);
    assert_eq!(answer.code, Some(4), "{answer:?}");
    assert_eq!(bits(&report), [2, 2, 2]);
    let reported = &report["budgets"][0];
    assert_eq!((&reported["met"], &reported["reached"]), (&false.into(), &2.0.into()));
    assert_eq!(report["search"]["evaluations"], 0, "nothing is paid for");
    assert!(answer.stderr.contains("average 2.00 of at most 1.50 bits"), "{answer:?}");
    assert!(!place.read("y.rq").is_empty());
    for (budget, unit) in [("--max-ram", "bytes"), ("--max-size", "bytes")] {
        let answer = place.releqc(&["small.onnx", "-o", "z.rq", "--bits", "4", budget, "9", "--json"]);
        assert_eq!(answer.code, Some(4), "{answer:?}");
        let report: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!((&report["budgets"][0]["unit"], &report["goal_missed"]), (&unit.into(), &true.into()));
        assert!(!place.read("z.rq").is_empty());
    }
}

#[test]
fn a_budget_holds_on_labelled_data_without_and_with_retraining() {
    for retrain in ["none", "short"] {
        let place = Place::new();
        let pixel = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
        let pixels: Vec<u8> = (0..400 * 288).map(pixel).collect();
        let labels: Vec<u8> = (0..400).map(|sample| (sample % 5) as u8).collect();
        place.write("data/train-images.idx", &idx(&[400, 2, 12, 12], &pixels));
        place.write("data/train-labels.idx", &idx(&[400], &labels));
        place.write("data/val-images.idx", &idx(&[400, 2, 12, 12], &pixels));
        place.write("data/val-labels.idx", &idx(&[400], &labels));
        let data = ["--data", "data", "--mean", "0.5", "--std", "0.25", "--retrain", retrain];
        let (answer, report) = searched(&place, &[&data[..], &["--average-bits", "4"]].concat());
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(report["average_bits"].as_f64().unwrap() <= 4.0, "{report}");
        assert!(report["max_loss"].is_null(), "a budget alone sets no goal: {report}");
        assert_eq!(report["accuracy"]["samples"], 265, "two thirds are chosen on: {report}");
        let confirmation = &report["confirmation"];
        assert_eq!(confirmation["samples"], 135, "and a third confirms: {report}");
        let [low, lost, high] = ["low", "loss_points", "high"].map(|key| confirmation[key].as_f64().unwrap());
        assert!(low <= lost + 0.5 && lost <= high + 0.5 && low < high, "{confirmation}");
    }
}

#[test]
fn every_evaluation_is_a_line_of_json_as_it_comes() {
    let place = Place::new();
    let (_, report) = searched(&place, &["--json-lines", "lines.jsonl"]);
    let text = String::from_utf8(place.read("lines.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, report["search"]["evaluations"].as_u64().unwrap());
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["evaluation"], index + 1);
        assert_eq!(line["widths"].as_array().unwrap().len(), 3);
        assert!(line["loss"].is_f64() && line["accuracy"].is_f64() && line["seconds"].is_f64(), "{line}");
        assert!(line["limit"].as_u64().unwrap() as usize > index, "{line}");
    }
    let methods: Vec<&str> = lines.iter().map(|line| line["method"].as_str().unwrap()).collect();
    assert!(methods.contains(&"agent") && methods.contains(&"programme"), "{methods:?}");
    assert!(lines.iter().all(|line| line["metric"] == "agreement"), "{lines:?}");
    let confirmation = &report["confirmation"];
    assert!(confirmation["samples"].as_u64().unwrap() > 100, "fresh samples are synthesised: {confirmation}");
    let refused = place.releqc(&["small.onnx", "-o", "y.rq", "--bits", "4", "--json-lines", "x"]);
    assert_eq!(refused.code, Some(2), "without a search there are none: {refused:?}");
}

#[test]
fn a_search_by_signal_to_noise_says_all_in_decibels_and_confirms() {
    let place = Place::new();
    let words = ["--metric", "snr", "--min-snr", "20", "--json-lines", "lines.jsonl"];
    let (answer, report) = searched(&place, &words);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let confirmation = &report["confirmation"];
    assert_eq!((&confirmation["metric"], &confirmation["reference"]), (&"snr_db".into(), &20.0.into()), "{report}");
    assert!(confirmation["samples"].as_u64().unwrap() > 100, "{confirmation}");
    let [low, lost, high] = ["low", "loss_points", "high"].map(|key| confirmation[key].as_f64().unwrap());
    let decibels = confirmation["quantized"].as_f64().unwrap();
    assert!(low < lost && lost < high && (20.0 - lost - decibels).abs() < 1e-9, "{confirmation}");
    // Samples of the same kind: the figure is near that of the samples that widths were chosen on.
    let chosen_on = report["accuracy"]["quantized"].as_f64().unwrap();
    assert!((decibels - chosen_on).abs() < 3.0, "{decibels} dB, {chosen_on} where it was chosen");
    let text = String::from_utf8(place.read("lines.jsonl")).unwrap();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let [accuracy, loss] = ["accuracy", "loss"].map(|key| line[key].as_f64().unwrap());
        let reference = report["search"]["reference"].as_f64().unwrap();
        assert!(
            line["metric"] == "snr_db" && (reference - accuracy - loss).abs() < 1e-9,
            "{line}, from {reference} dB"
        );
    }
    let said = place.releqc(&[&["small.onnx", "-o", "y.rq", "--episodes", "2"], &words[..4]].concat()).stdout;
    assert!(said.contains("dB over the noise") && said.contains("dB lost") && !said.contains("points lost"), "{said}");
}

#[test]
fn a_search_says_what_becomes_of_a_ratio_that_it_was_asked_for() {
    let place = Place::new();
    let (answer, report) = searched(&place, &["--metric", "snr", "--min-snr", "90"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("90.0 dB are asked for (--min-snr)"), "{warnings}");
    // Agreement is what counts unless another metric is named.
    let (_, report) = searched(&place, &["--min-snr", "90"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("--min-snr says nothing here: widths are judged by agreement"), "{warnings}");
}

#[test]
fn methods_of_equal_time_are_each_confirmed_and_pay_for_what_they_ask() {
    let place = Place::new();
    let (answer, report) = searched(&place, &["--method-time", "1s", "--episodes", "5", "--json-lines", "lines.jsonl"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    nothing_beats_what_is_written(&report);
    let written = &report["confirmation"];
    for method in report["search"]["methods"].as_array().unwrap() {
        assert!(method["evaluations"].as_u64().unwrap() <= 7, "{method}");
        assert_eq!(method["confirmation"]["samples"], written["samples"], "{method}");
        if method["widths"] == report["layers"].as_array().unwrap().iter().map(|l| l["bits"].clone()).collect::<Value>()
        {
            assert_eq!(method["confirmation"], *written, "the same artifact, the same loss");
        }
    }
    let text = String::from_utf8(place.read("lines.jsonl")).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["limit"].is_null()), "{text}");
    let refused = place.releqc(&["small.onnx", "-o", "y.rq", "--bits", "4", "--method-time", "1s"]);
    assert_eq!(refused.code, Some(2), "without a search there are none: {refused:?}");
}

#[test]
fn uniform_proposals_in_place_of_the_policy_are_another_search_with_the_same_rules() {
    let place = Place::new();
    let (_, report) = searched(&place, &["--proposals", "uniform"]);
    nothing_beats_what_is_written(&report);
    let of_agent = |report: &Value| {
        let history = report["search"]["history"].as_array().unwrap().clone();
        history.into_iter().filter(|entry| entry["method"] == "agent").collect::<Vec<Value>>()
    };
    assert!(of_agent(&report).iter().all(|entry| entry["entropy"].is_null()), "no policy draws: {report}");
    let (_, with_policy) = searched(&place, &[]);
    assert!(of_agent(&with_policy).iter().all(|entry| entry["entropy"].is_f64()), "{with_policy}");
}
