//! A search on labelled data: the same bytes for any number of threads, and after being killed.

use crate::support::{Place, idx, squares};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SEARCH: [&str; 13] =
    ["small.onnx", "-o", "y.rq", "--data", "data", "--mean", "0.5", "--std", "0.25", "--episodes", "3", "--seed", "5"];

fn place() -> Place {
    let place = Place::new();
    squares(&place, 600);
    place
}

/// A search without data, in seconds.
fn quick(place: &Place, more: &[&str]) -> serde_json::Value {
    place.json(&[&["small.onnx", "-o", "y.rq", "--episodes", "3"], more].concat())
}

fn paid(report: &serde_json::Value) -> u64 {
    report["search"]["paid"].as_u64().unwrap()
}

/// Each sample is answered right under one of five labellings, so some are near chance.
#[test]
fn a_float_network_at_the_level_of_chance_is_warned_of() {
    let place = place();
    let mut warned = Vec::new();
    for shift in 0..5 {
        let labels: Vec<u8> = (0..600).map(|sample| ((sample + shift) % 5) as u8).collect();
        place.write("data/train-labels.idx", &idx(&[600], &labels));
        let answer = place.releqc(&["small.onnx", "-o", "y.rq", "--data", "data", "--bits", "8", "--json"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let report: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        let chance = report["accuracy"]["float"].as_f64().unwrap() * 5.0 <= 1.5;
        assert_eq!(answer.stderr.contains("chance among 5 classes is 20.00 %"), chance, "{answer:?}");
        warned.push(chance);
    }
    assert!(warned.contains(&true), "{warned:?}");
}

#[test]
fn only_resume_reads_what_an_earlier_search_has_kept() {
    let place = Place::new();
    let first = paid(&quick(&place, &[]));
    let artifact = place.read("y.rq");
    assert!(first > 3, "agent and baselines were evaluated: {first}");
    assert_eq!(paid(&quick(&place, &[])), first, "a second search begins anew");
    assert_eq!(kept_evaluations(&place) as u64, first, "and so does its folder");
    assert_eq!(paid(&quick(&place, &["--resume"])), 0);
    assert_eq!(place.read("y.rq"), artifact);
    assert!(paid(&quick(&place, &["--resume", "--seed", "1"])) > 0, "of another search nothing fits");
    for name in kept(&place) {
        place.write(&format!("y.rq.evaluations/answers/{name}"), b"nonsense\n");
    }
    let answer = place.releqc(&["small.onnx", "-o", "y.rq", "--episodes", "3", "--resume"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert_eq!(paid(&quick(&place, &[])), first, "what is not read cannot be damaged");
}

#[test]
fn a_resumed_search_counts_the_latencies_that_were_measured_first() {
    let place = Place::new();
    let first = quick(&place, &["--cost", "cpu"]);
    let again = quick(&place, &["--cost", "cpu", "--resume"]);
    assert_eq!(paid(&again), 0);
    let timeless = |report: &serde_json::Value| {
        let mut methods = report["search"]["methods"].as_array().unwrap().clone();
        methods.iter_mut().for_each(|method| method["seconds"] = serde_json::Value::Null);
        methods
    };
    assert_eq!(timeless(&first), timeless(&again), "rewards are of the same costs, to the bit");
}

#[test]
fn an_artifact_for_a_pipe_leaves_no_evaluations_behind() {
    let place = Place::new();
    quick(&place, &[]);
    let piped = Command::new(env!("CARGO_BIN_EXE_releqc"))
        .args(["small.onnx", "-o", "/dev/stdout", "--episodes", "3", "--quiet"])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert!(piped.status.success() && piped.stdout == place.read("y.rq"), "{:?}", String::from_utf8(piped.stderr));
    assert!(!std::path::Path::new("/dev/stdout.evaluations").exists());
}

#[test]
fn a_budget_longer_than_time_itself_is_none() {
    quick(&Place::new(), &["--time-budget", "1e19s"]);
}

/// The artifact and the report of a whole search; the untrained network may miss its goal.
fn finished(place: &Place, more: &[&str]) -> (Vec<u8>, serde_json::Value) {
    let answer = place.releqc(&[&SEARCH[..], more, &["--json"]].concat());
    assert!(matches!(answer.code, Some(0 | 4)), "{more:?}: {answer:?}");
    (place.read("y.rq"), serde_json::from_str(&answer.stdout).unwrap())
}

/// Names of the evaluations kept beside the artifact.
fn kept(place: &Place) -> Vec<String> {
    let folder = place.path("y.rq.evaluations/answers");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_evaluation = |name: &String| {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        !name.starts_with('.') && bytes.starts_with(br#"{"question":{"kind":"evaluation""#)
    };
    names.filter(is_evaluation).collect()
}

fn kept_evaluations(place: &Place) -> usize {
    kept(place).len()
}

/// Starts a search and kills it, as `kill -9` does, once the store holds `evaluations` of them.
fn killed(place: &Place, evaluations: usize) {
    let mut child: Child = Command::new(env!("CARGO_BIN_EXE_releqc"))
        .args(SEARCH)
        .arg("--quiet")
        .current_dir(place.path(""))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(240);
    while kept_evaluations(place) < evaluations {
        assert!(child.try_wait().unwrap().is_none(), "the search ended before {evaluations} evaluations were kept");
        assert!(Instant::now() < deadline, "no {evaluations} evaluations in four minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("y.rq").exists(), "a killed search leaves no artifact");
}

#[test]
fn threads_and_kills_change_no_byte() {
    let (artifact, report) = finished(&place(), &["--threads", "1"]);
    let paid = report["search"]["paid"].as_u64().unwrap();
    assert!(paid >= 4, "agent and baselines were evaluated: {report}");
    let (again, _) = finished(&place(), &["--threads", "2"]);
    assert_eq!(again, artifact, "two threads");
    for evaluations in [1, 4] {
        let place = place();
        killed(&place, evaluations);
        let (resumed, report) = finished(&place, &["--resume"]);
        assert_eq!(resumed, artifact, "killed after {evaluations} evaluations");
        let rest = report["search"]["paid"].as_u64().unwrap();
        assert!(rest < paid, "{rest} of {paid} evaluations were computed again after {evaluations} were kept");
    }
}
