//! Emitted C of networks for microcontrollers: compiled by the system's compiler, it gives the bytes of the reference executor.

use crate::cases::shared;
use crate::support::{Place, npy, npy_values};
use std::io::Write;
use std::process::{Command, Stdio};

const SAMPLES: usize = 20;

/// Compiles `net.c` and runs it on samples.
fn computed(place: &Place, samples: &[f32], outputs: usize) -> Vec<u32> {
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/emit-c/tests/driver.c");
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-DHEADER=\"net.h\"", "-DRUN=net_run"]);
    command.args([format!("-DINPUTS={}", samples.len() / SAMPLES), format!("-DOUTPUTS={outputs}")]);
    let built = command.current_dir(place.path("")).args(["-I.", driver, "net.c", "-o", "net"]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut child = Command::new(place.path("net")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes: Vec<u8> = samples.iter().flat_map(|v| v.to_le_bytes()).collect();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn networks_for_microcontrollers_give_the_bytes_of_the_reference() {
    let Some(shared) = shared() else { return };
    let networks = [
        ("mnist_lenet5_sakgoyal", "8,4,3,2,8", [1, 28, 28], [0.0, 255.0]),
        ("kws_mlperftiny_dscnn", "4", [1, 49, 10], [-123.0, 100.0]),
        ("cifar10_mlperftiny_resnet8", "5", [3, 32, 32], [0.0, 255.0]),
        ("vww_mlperftiny_mobilenet_v1_025_96_bn", "3", [3, 96, 96], [0.0, 1.0]),
    ];
    for (name, bits, extents, [low, high]) in networks {
        let place = Place::new();
        let model = shared.join(format!("models/{name}.onnx"));
        let range = format!("--input-range={low}:{high}");
        let args = [model.to_str().unwrap(), "-o", "m.rq", "--bits", bits, "--rounding", "nearest", "--quiet", &range];
        let answer = place.releqc(&args);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let object = place.json(&["emit-c", "m.rq", "-o", ".", "--name", "net"]);
        assert_eq!(object["functions"], serde_json::json!(["net_run"]), "{name}");

        let len: usize = extents.iter().product();
        let unit = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_shr(8) as f32 / (1 << 24) as f32;
        let samples: Vec<f32> = (0..SAMPLES * len).map(|i| low + (high - low) * unit(i)).collect();
        place.write("x.npy", &npy(&[SAMPLES, extents[0], extents[1], extents[2]], &samples));
        let run = ["run", "m.rq", "--input", "x.npy", "--output", "y.npy", "--executor", "reference", "--quiet"];
        assert_eq!(place.releqc(&run).code, Some(0));
        let expected: Vec<u32> = npy_values(&place.read("y.npy")).into_iter().map(f32::to_bits).collect();
        assert!(expected.iter().any(|&word| word != expected[0]), "{name}: trivial outputs");
        assert_eq!(computed(&place, &samples, expected.len() / SAMPLES), expected, "{name}");
    }
}

#[test]
fn what_cannot_be_emitted_is_said() {
    let place = Place::compiled();
    let object = place.json(&["emit-c", "small.rq", "-o", "new"]);
    assert_eq!(object["files"].as_array().unwrap().len(), 2);
    let header = String::from_utf8(place.read("new/small.h")).unwrap();
    assert!(header.contains("int small_run(const float *input, float *output);"), "{header}");
    let net = crate::onnx::Net::new("soft", &[2, 12, 12])
        .weights("w", &[3, 2, 12, 12], 0.4)
        .node("Conv", &["x", "w"], "z", &[])
        .node("Softmax", &["z"], "y", &[])
        .finish(&["y"]);
    place.write("soft.onnx", &net);
    assert_eq!(place.releqc(&["soft.onnx", "-o", "soft.rq", "--bits", "6", "--quiet"]).code, Some(0));
    for (args, code, words) in [
        (&["emit-c", "soft.rq", "-o", "."][..], 3, "this network has softmax"),
        (&["emit-c", "small.rq", "-o", "absent/folder"], 2, "absent/folder"),
        (&["emit-c", "small.rq", "-o", ".", "--name", "1x"], 2, "name \"1x\""),
        (&["emit-c", "small.onnx", "-o", "."], 2, "small.onnx"),
    ] {
        let answer = place.releqc(args);
        assert!(answer.code == Some(code) && answer.stderr.contains(words), "{args:?}: {answer:?}");
    }
}
