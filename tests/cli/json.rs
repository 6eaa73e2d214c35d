//! The keys that pipelines rely on.

use crate::support::{Place, samples};
use serde_json::Value;

/// Every path of `wanted`, such as `layers.0.name`, must be there.
fn require(object: &Value, wanted: &[&str]) {
    for path in wanted {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(object.pointer(&pointer).is_some_and(|value| !value.is_null()), "{path} is missing in {object}");
    }
}

#[test]
fn compile() {
    let place = Place::new();
    let object = place.json(&["small.onnx", "-o", "small.rq", "--bits", "8,3,4", "--seed", "7"]);
    require(&object, &["artifact", "size_bytes", "average_bits", "episodes", "evaluations", "seed", "seconds"]);
    require(&object, &["layers.2.name", "layers.2.op", "layers.2.bits", "layers.2.weights", "layers.2.macs"]);
    require(
        &object,
        &["accuracy.metric", "accuracy.float", "accuracy.quantized", "accuracy.split", "accuracy.samples"],
    );
    assert_eq!(object["average_bits"], 5.0);
    assert_eq!(object["seed"], 7);
    assert_eq!(object["accuracy"]["metric"], "agreement");
    assert_eq!(object["size_bytes"], place.read("small.rq").len());
    let names: Vec<&str> =
        object["layers"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["conv1", "conv2", "classes"]);
    assert_eq!(object["layers"][1]["weights"], 6 * 6 * 9);
    assert_eq!(object["layers"][1]["macs"], 6 * 6 * 9 * 36);
}

#[test]
fn the_other_commands() {
    let place = Place::compiled();
    place.write("x.npy", &samples(3));
    let inspect = place.json(&["inspect", "small.rq"]);
    require(&inspect, &["format", "size_bytes", "average_bits", "layers.2.bits", "inputs.0.name", "outputs.0.name"]);
    assert_eq!(inspect["inputs"][0]["shape"], serde_json::json!([1, 2, 12, 12]));
    assert_eq!(inspect["outputs"][0]["shape"], serde_json::json!([1, 5]));
    assert_eq!(
        inspect["layers"].as_array().unwrap().iter().map(|l| l["bits"].as_u64().unwrap()).collect::<Vec<_>>(),
        [8, 3, 5]
    );
    let run = place.json(&["run", "small.rq", "--input", "x.npy"]);
    require(&run, &["outputs.0.name", "outputs.0.shape", "seconds"]);
    assert_eq!(run["outputs"][0]["shape"], serde_json::json!([3, 5]));
    let bench = place.json(&["bench", "small.rq", "--isa", "scalar"]);
    require(&bench, &["median_us", "p05_us", "p95_us", "layers.0.name", "layers.0.median_us"]);
    assert_eq!((&bench["isa"], &bench["threads"]), (&"scalar".into(), &1.into()));
    let (low, mid, high) = (bench["p05_us"].as_f64(), bench["median_us"].as_f64(), bench["p95_us"].as_f64());
    assert!(low <= mid && mid <= high && low > Some(0.0));
    let layers = bench["layers"].as_array().unwrap();
    let convs: Vec<_> = layers.iter().filter(|layer| layer["bits"].is_u64()).collect();
    assert_eq!(convs.len(), 3);
    for layer in convs {
        let positive = ["median_us", "gmacs", "gbytes", "limit_fraction", "median_us_8bit"];
        assert!(positive.iter().all(|key| layer[key].as_f64() > Some(0.0)), "{layer}");
        assert!(["arithmetic", "bandwidth"].contains(&layer["limit"].as_str().unwrap()), "{layer}");
        assert!(bench["limits"]["gmacs"][layer["bits"].to_string()].as_f64() > Some(0.0), "{bench}");
    }
    let shares: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let sim = place.json(&["sim", "small.rq"]);
    require(&sim, &["cycles", "energy_pj", "baseline_8bit.cycles", "baseline_8bit.energy_pj", "layers.0.name"]);
    let ratio = sim["baseline_8bit"]["cycles"].as_f64().unwrap() / sim["cycles"].as_f64().unwrap();
    assert!((sim["speedup"].as_f64().unwrap() - ratio).abs() < 1e-9);
    let ratio = sim["baseline_8bit"]["energy_pj"].as_f64().unwrap() / sim["energy_pj"].as_f64().unwrap();
    assert!((sim["energy_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9);
    require(&place.json(&["disasm", "small.rq"]), &["plan", "accelerator"]);
    let check = place.json(&["check", "small.onnx"]);
    assert_eq!((&check["supported"], check["nodes"].as_array().unwrap().len()), (&true.into(), 7));
}

#[test]
fn the_median_alone_is_one_number() {
    let place = Place::compiled();
    let answer = place.releqc(&["bench", "small.rq", "--median"]);
    assert!(answer.stdout.trim().parse::<f64>().is_ok_and(|us| us > 0.0), "{answer:?}");
}
