//! Accelerators that a user describes, and the files of `sim`.

use crate::support::{Place, npy, npy_values, samples};

const EDGE: &str = include_str!("../../passes/src/machine/edge.toml");

#[test]
fn a_machine_changes_cycles_and_no_byte() {
    let place = Place::compiled();
    place.write("x.npy", &samples(3));
    let answer = place.releqc(&["run", "small.rq", "--input", "x.npy", "--output", "cpu.npy"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    place.write("mine.toml", EDGE.replace("rows = 8", "rows = 1").as_bytes());
    let mut cycles = Vec::new();
    for machine in ["default", "edge", "large", "mine.toml"] {
        let words = ["sim", "small.rq", "--machine", machine, "--input", "x.npy", "--output", "y.npy"];
        let sim = place.json(&words);
        assert_eq!(place.read("y.npy"), place.read("cpu.npy"), "{machine}");
        assert!(sim["cycles"].as_u64() >= sim["bound_cycles"].as_u64(), "{sim}");
        for queue in ["load", "execute", "store"] {
            let parts =
                ["busy", "starved", "blocked", "bank_conflicts", "idle"].map(|part| sim[queue][part].as_u64().unwrap());
            assert_eq!(parts.iter().sum::<u64>(), sim["cycles"].as_u64().unwrap(), "{queue}: {sim}");
        }
        assert_eq!(sim["energy_tables"].as_array().unwrap().len(), 3);
        cycles.push(sim["cycles"].as_u64().unwrap());
    }
    assert!(cycles[1] != cycles[0] && cycles[3] > cycles[1], "{cycles:?}");
    let words = ["small.onnx", "-o", "edge.rq", "--bits", "8,3,5", "--quiet", "--machine", "edge"];
    assert_eq!(place.releqc(&words).code, Some(0));
    let edge = place.json(&["sim", "edge.rq"]);
    assert_eq!((edge["machine"].as_str(), edge["cycles"].as_u64()), (Some("edge"), Some(cycles[1])));
    let words = ["run", "edge.rq", "--input", "x.npy", "--output", "z.npy", "--executor", "accelerator"];
    assert_eq!(place.releqc(&words).code, Some(0));
    assert_eq!(npy_values(&place.read("z.npy")).len(), npy_values(&place.read("cpu.npy")).len());
}

#[test]
fn a_wrong_machine_is_refused() {
    let place = Place::compiled();
    for (from, to) in [("rows = 8", "rows = 0"), ("rows = 8", "rows = 8\nrose = 8"), ("28nm", "5nm"), ("[array]", "[[")]
    {
        place.write("bad.toml", EDGE.replace(from, to).as_bytes());
        let answer = place.releqc(&["sim", "small.rq", "--machine", "bad.toml"]);
        assert_eq!(answer.code, Some(2), "{to}: {answer:?}");
        assert!(answer.stderr.contains("bad.toml"), "{answer:?}");
    }
    assert_eq!(place.releqc(&["sim", "small.rq", "--machine", "none"]).code, Some(2));
    assert_eq!(place.releqc(&["sim", "small.rq", "--sweep", "rows"]).code, Some(2));
}

#[test]
fn traces_tables_sweeps_and_vectors() {
    let place = Place::compiled();
    place.write("x.npy", &samples(1));
    let words = ["sim", "small.rq", "--csv", "l.csv", "--trace", "t.json", "--input", "x.npy", "--vectors", "v"];
    let sim = place.json(&[&words[..], &["--sweep", "rows=4,16", "lanes=8,16"]].concat());
    let csv = String::from_utf8(place.read("l.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + sim["layers"].as_array().unwrap().len());
    let trace: serde_json::Value = serde_json::from_slice(&place.read("t.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let ends = events.iter().filter_map(|event| event["args"]["end"].as_u64());
    assert_eq!(ends.max(), sim["cycles"].as_u64(), "the last event ends the program");
    let points = sim["sweep"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    assert!(points.iter().any(|point| point["pareto"] == true), "{points:?}");
    let script = String::from_utf8(place.read("v/script.hex")).unwrap();
    assert_eq!(script.lines().last(), Some("000000000000000000"));
    let runs = script.lines().filter(|line| line.starts_with("04")).count();
    assert_eq!(Some(runs as u64), sim["replayed"].as_u64());
}

#[test]
fn a_program_by_hand_runs_without_an_artifact() {
    let place = Place::new();
    place.write("fc.s", include_bytes!("../../examples/fully_connected.s"));
    place.write("x.npy", &npy(&[4], &[1.0, 2.0, 3.0, 4.0]));
    let words = ["sim", "--program", "fc.s", "--memory", "x.npy", "--output", "y.npy"];
    let mut cycles = Vec::new();
    for machine in ["default", "edge"] {
        let sim = place.json(&[&words[..], &["--machine", machine]].concat());
        // (1 - 3 - 8 + 40) / 2, (10 - 6) / 4, -4 + 4 + 100, (2 + 7) * 3 / 4 rounded.
        assert_eq!(sim["returned"], serde_json::json!([[15.0, 1.0, 100.0, 7.0]]), "{sim}");
        assert_eq!(npy_values(&place.read("y.npy")), [1.0, 2.0, 3.0, 4.0, 15.0, 1.0, 100.0, 7.0]);
        assert_eq!(npy_values(&place.read("y.activations.npy"))[64..68], [15.0, 1.0, 100.0, 7.0]);
        assert_eq!(npy_values(&place.read("y.arena.npy")).len(), 0);
        let parts =
            ["busy", "starved", "blocked", "bank_conflicts", "idle"].map(|part| sim["execute"][part].as_u64().unwrap());
        assert_eq!(parts.iter().sum::<u64>(), sim["cycles"].as_u64().unwrap());
        cycles.push(sim["cycles"].as_u64().unwrap());
    }
    assert_ne!(cycles[0], cycles[1]);
    let wrong = place.releqc(&["sim", "--program", "fc.s", "--memory", "y.npy"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("8 values"), "{wrong:?}");
    place.write("bad.s", b".input 1\nEXECUTE\nEND\n");
    let wrong = place.releqc(&["sim", "--program", "bad.s"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("bad.s: line 2: wait_load is missing"), "{wrong:?}");
    assert_eq!(place.releqc(&["sim"]).code, Some(2));
    assert_eq!(place.releqc(&["sim", "small.rq", "--program", "fc.s"]).code, Some(2));
}

#[test]
fn a_machine_says_what_is_serial() {
    let place = Place::compiled();
    let mut cycles = Vec::new();
    for (name, serial) in [("w.toml", "weights"), ("a.toml", "activations"), ("b.toml", "both")] {
        place.write(name, EDGE.replace("rows = 8", &format!("rows = 8\nserial = \"{serial}\"")).as_bytes());
        let sim = place.json(&["sim", "small.rq", "--machine", name]);
        assert_eq!(sim["serial"], serial);
        let compute = sim["layers"].as_array().unwrap().iter().filter(|layer| !layer["bits"].is_null());
        cycles.push(compute.map(|layer| layer["compute_cycles"].as_u64().unwrap()).sum::<u64>());
    }
    assert!(cycles[0] < cycles[1] && cycles[2] == 8 * cycles[0], "{cycles:?}");
    place.write("x.npy", &samples(1));
    let vectors = place.releqc(&["sim", "small.rq", "--machine", "b.toml", "--input", "x.npy", "--vectors", "v"]);
    assert!(vectors.code == Some(2) && vectors.stderr.contains("weights alone are serial"), "{vectors:?}");
}
