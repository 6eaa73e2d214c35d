//! A search on several processes: the same bytes for any number of workers, and after any of them is killed.

use crate::support::{Place, squares};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn place() -> Place {
    let place = Place::new();
    squares(&place, 300);
    place
}

const SEARCH: [&str; 17] = [
    "small.onnx",
    "-o",
    "y.rq",
    "--data",
    "data",
    "--mean",
    "0.5",
    "--std",
    "0.25",
    "--retrain",
    "short",
    "--episodes",
    "6",
    "--seed",
    "5",
    "--threads",
    "1",
];

/// Silence after which a killed process is forgotten: longer than a busy machine stops a living one.
const LEASE: &str = "4s";

fn start(place: &Place, words: &[&str], output: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_releqc"));
    command.args(words).current_dir(place.path("")).stdout(output).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn worker(place: &Place, log: &str) -> Child {
    let log = File::options().create(true).append(true).open(place.path(log)).unwrap();
    start(place, &["worker", "--store", "store", "--threads", "1", "--lease", LEASE, "--json"], log.into())
}

/// As `kill -9` does.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Artifact and report of a search.
fn finished(place: &Place, more: &[&str]) -> (Vec<u8>, serde_json::Value) {
    let answer = place.releqc(&[&SEARCH[..], more, &["--json"]].concat());
    assert!(matches!(answer.code, Some(0 | 4)), "{more:?}: {answer:?}");
    (place.read("y.rq"), serde_json::from_str(&answer.stdout).unwrap())
}

/// What methods found, without what depends on time.
fn found(report: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut methods = report["search"]["methods"].as_array().unwrap().clone();
    methods.iter_mut().for_each(|method| method["seconds"] = serde_json::Value::Null);
    methods
}

/// The answers kept in a store, by name.
fn answers(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(store.join("answers")) else { return BTreeMap::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let whole = names.filter(|name| !name.starts_with('.'));
    whole.map(|name| (name.clone(), fs::read(store.join("answers").join(name)).unwrap())).collect()
}

/// The jobs that workers say they have done.
fn jobs(place: &Place, log: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(place.path(log)).unwrap_or_default();
    // A killed worker may have written half a line.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line.get("kept").is_some()).collect()
}

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let alone = place();
    let (plain, plain_report) = finished(&alone, &[]);
    let (one_by_one, report) = finished(&alone, &["--store", "store"]);
    assert_eq!((one_by_one, found(&report)), (plain, found(&plain_report)), "a store changes nothing");
    assert_eq!(report["search"]["helped"], 0);

    let four = ["--store", "store", "--parallel", "4", "--lease", LEASE];
    let place_of_none = place();
    let (artifact, first) = finished(&place_of_none, &four);
    for workers in [1, 2, 4] {
        let place = place();
        let mut children: Vec<Child> = (0..workers).map(|index| worker(&place, &format!("log{index}"))).collect();
        let (same, report) = finished(&place, &four);
        assert_eq!(same, artifact, "{workers} workers");
        assert_eq!(found(&report), found(&first), "{workers} workers");
        let helped = report["search"]["helped"].as_u64().unwrap() as usize;
        let done = || (0..workers).flat_map(|i| jobs(&place, &format!("log{i}"))).collect::<Vec<_>>();
        // A worker says so a moment after the answer is kept.
        let end = Instant::now() + Duration::from_secs(20);
        while done().len() < helped && Instant::now() < end {
            sleep(Duration::from_millis(20));
        }
        children.iter_mut().for_each(kill);
        let done = done();
        assert_eq!(done.len(), helped, "{done:?}");
        assert!(!done.is_empty(), "{workers} workers did something");
        assert!(done.iter().all(|job| job["kept"] == "new"), "nothing was done twice: {done:?}");
        assert_eq!(answers(&place.path("store")), answers(&place_of_none.path("store")), "{workers} workers");
    }
}

#[test]
fn a_worker_ends_when_there_is_nothing_to_do_and_says_what_it_cannot_serve() {
    let place = place();
    let words = ["worker", "--store", "store", "--threads", "1"];
    let idle = place.json(&[&words[..], &["--once"]].concat());
    assert_eq!((idle["jobs"].as_u64(), idle["tasks"].as_u64()), (Some(0), Some(0)));
    let start = Instant::now();
    place.json(&[&words[..], &["--idle-exit", "1s"]].concat());
    assert!(start.elapsed() >= Duration::from_secs(1));

    finished(&place, &["--store", "store", "--parallel", "2"]);
    let tasks: Vec<_> = fs::read_dir(place.path("store/tasks")).unwrap().map(|task| task.unwrap().path()).collect();
    let [task] = &tasks[..] else { panic!("one search, one task: {tasks:?}") };
    let description = fs::read_to_string(task.join("task.json")).unwrap();
    let (name, file) = answers(&place.path("store")).pop_first().unwrap();
    let question: serde_json::Value =
        serde_json::from_slice(&file[..file.iter().position(|&b| b == b'\n').unwrap()]).unwrap();
    let job = serde_json::json!({ "order": 0, "question": question["question"] }).to_string();

    // What is asked and answered already is taken away, and not computed again.
    fs::write(task.join("jobs").join(&name), &job).unwrap();
    assert_eq!(place.json(&[&words[..], &["--once"]].concat())["jobs"], 0);
    assert!(!task.join("jobs").join(&name).exists());

    let changes = [
        ("\"isa\": \"", "\"isa\": \"sse9", "sse9"),
        ("\"version\": \"", "\"version\": \"9.", "version 9."),
        ("\"key\": \"", "\"key\": \"0", "other questions"),
        ("\"fingerprint\": \"", "\"fingerprint\": \"0", "not those of the search"),
    ];
    for (from, to, said) in changes {
        fs::write(task.join("task.json"), description.replacen(from, to, 1)).unwrap();
        fs::write(task.join("jobs").join(&name), &job).unwrap();
        let answer = place.releqc(&[&words[..], &["--once"]].concat());
        assert!(answer.code == Some(2) && answer.stderr.contains(said), "{said}: {answer:?}");
        assert!(task.join("jobs").join(&name).exists(), "it is left to others");
    }
}

#[test]
fn a_worker_serves_a_search_that_retrains_on_values() {
    let place = place();
    let (_, report) = finished(&place, &["--store", "store", "--metric", "snr"]);
    assert!(!report["warnings"].to_string().contains("is not retrained"), "{report}");
    let kept = answers(&place.path("store"));
    let of = |file: &[u8]| -> serde_json::Value {
        serde_json::from_slice(&file[..file.iter().position(|&b| b == b'\n').unwrap()]).unwrap()
    };
    let is_evaluation = |file: &[u8]| of(file)["question"].to_string().to_lowercase().contains("evaluation");
    let (name, file) = kept.iter().find(|(_, file)| is_evaluation(file)).unwrap();
    fs::remove_file(place.path("store/answers").join(name)).unwrap();
    let task = fs::read_dir(place.path("store/tasks")).unwrap().next().unwrap().unwrap().path();
    let job = serde_json::json!({ "order": 0, "question": of(file)["question"] }).to_string();
    fs::write(task.join("jobs").join(name), job).unwrap();
    let answer = place.releqc(&["worker", "--store", "store", "--threads", "1", "--once", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(answer.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(summary["jobs"], 1, "{answer:?}");
    assert_eq!(answers(&place.path("store")), kept, "the worker finds what the search found");

    // The task states what was asked for. A worker that were told what became of it would prepare another network.
    let description = fs::read_to_string(task.join("task.json")).unwrap();
    let told = description.replacen("\"retrain\": \"short\"", "\"retrain\": \"none\"", 1);
    assert_ne!(told, description);
    fs::write(task.join("task.json"), told).unwrap();
    fs::remove_file(place.path("store/answers").join(name)).unwrap();
    let job = serde_json::json!({ "order": 0, "question": of(file)["question"] }).to_string();
    fs::write(task.join("jobs").join(name), job).unwrap();
    let answer = place.releqc(&["worker", "--store", "store", "--threads", "1", "--once"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("other questions"), "{answer:?}");
}

#[test]
fn a_search_with_a_deadline_does_not_wait_for_the_lease_of_the_dead() {
    let place = place();
    let log = File::options().create(true).append(true).open(place.path("log")).unwrap();
    let lease = ["--store", "store", "--lease", "10m"];
    let mut worker = start(&place, &[&["worker", "--threads", "1", "--json"][..], &lease].concat(), log.into());
    let limits = ["--parallel", "4", "--time-budget", "20s", "--quiet"];
    let mut search = start(&place, &[&SEARCH[..], &lease, &limits].concat(), Stdio::null());
    let claims = || fs::read_dir(place.path("store/claims")).map_or(0, |entries| entries.count());
    let end = Instant::now() + Duration::from_secs(120);
    while (jobs(&place, "log").is_empty() || claims() == 0) && search.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "no job in two minutes");
        sleep(Duration::from_millis(2));
    }
    assert!(search.try_wait().unwrap().is_none(), "the search has not ended yet");
    kill(&mut worker);
    assert!(claims() > 0, "what it was at stays claimed for ten minutes");
    let end = Instant::now() + Duration::from_secs(200);
    let code = loop {
        match search.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if Instant::now() >= end => {
                kill(&mut search);
                panic!("it waits for a process that is dead");
            }
            None => sleep(Duration::from_millis(50)),
        }
    };
    assert!(matches!(code, Some(0 | 4)), "{code:?}");
    assert!(!place.read("y.rq").is_empty());
}

#[cfg(unix)]
#[test]
fn a_worker_that_is_told_to_end_frees_what_it_was_at() {
    let place = place();
    let mut worker = worker(&place, "log");
    let four = ["--store", "store", "--parallel", "4", "--lease", "10m", "--quiet"];
    let mut search = start(&place, &[&SEARCH[..], &four].concat(), Stdio::null());
    let claims = || fs::read_dir(place.path("store/claims")).map_or(0, |entries| entries.count());
    let done = || jobs(&place, "log").len();
    let end = Instant::now() + Duration::from_secs(120);
    while (done() == 0 || claims() == 0) && search.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "no job in two minutes");
        sleep(Duration::from_millis(2));
    }
    let told = Command::new("kill").args(["-TERM", &worker.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(worker.wait().unwrap().code(), Some(130));
    // Nobody waits ten minutes for it.
    assert!(matches!(search.wait().unwrap().code(), Some(0 | 4)));
    assert_eq!(claims(), 0);
    let (same, _) = finished(&place, &four[..4]);
    assert_eq!(same, finished(&self::place(), &four[..4]).0);
}

/// Kills workers and the search itself at moments that a seed draws.
fn survives(kills: usize, seed: u32) {
    let four = ["--store", "store", "--parallel", "4", "--lease", LEASE, "--quiet"];
    let undisturbed = place();
    let (artifact, _) = finished(&undisturbed, &four[..6]);
    let mut state = seed;
    let mut draw = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let (mut place, mut round, mut done) = (place(), 0, 0);
    while done < kills {
        round += 1;
        let search = |place: &Place| start(place, &[&SEARCH[..], &four].concat(), Stdio::null());
        let mut proposer = search(&place);
        let mut workers = [worker(&place, "log0"), worker(&place, "log1")];
        loop {
            let end = Instant::now() + Duration::from_millis(200 + u64::from(draw(2500)));
            while Instant::now() < end && proposer.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(5));
            }
            if proposer.try_wait().unwrap().is_some() || done == kills {
                break;
            }
            let before = answers(&place.path("store"));
            match draw(3) as usize {
                2 => {
                    kill(&mut proposer);
                    proposer = search(&place);
                }
                index => {
                    kill(&mut workers[index]);
                    workers[index] = worker(&place, &format!("log{index}"));
                }
            }
            done += 1;
            let after = answers(&place.path("store"));
            let lost = before.iter().filter(|(name, bytes)| after.get(*name) != Some(bytes)).count();
            assert_eq!(lost, 0, "kill {done}: a finished answer is not lost");
        }
        let status = proposer.wait().unwrap();
        workers.iter_mut().for_each(kill);
        assert!(matches!(status.code(), Some(0 | 4)), "round {round}: {status:?}");
        assert_eq!(place.read("y.rq"), artifact, "round {round}");
        assert_eq!(answers(&place.path("store")), answers(&undisturbed.path("store")), "round {round}");
        let jobs: Vec<serde_json::Value> = [0, 1].iter().flat_map(|i| jobs(&place, &format!("log{i}"))).collect();
        assert!(jobs.iter().all(|job| job["kept"] == "new"), "round {round}: nothing was done twice: {jobs:?}");
        let mut names: Vec<String> = jobs.iter().map(|job| format!("{} {}", job["kind"], job["widths"])).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "round {round}: no worker did what another had done");
        place = self::place();
    }
}

#[test]
fn killed_workers_and_searches_lose_and_repeat_nothing() {
    survives(6, 7);
}

/// `cargo test --release --test cli -- --ignored fifty`
#[test]
#[ignore = "minutes"]
fn fifty_kills_lose_and_repeat_nothing() {
    survives(50, 11);
}
