//! The C example, compiled with the system's C compiler and linked with the static library, prints what the session computes.

#![cfg(all(feature = "encode", unix))]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::Net;
use releqc_runtime::format::{ArtifactParts, encode};
use releqc_runtime::{BitWidth, Isa, Session, SessionOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

fn static_library() -> Option<PathBuf> {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    [deps.clone(), deps.parent().unwrap().to_owned()]
        .into_iter()
        .map(|d| d.join("libreleqc_runtime.a"))
        .find(|p| p.exists())
}

#[test]
fn the_c_example_computes_what_the_session_computes() {
    let Some(library) = static_library() else {
        eprintln!("skipped: the static library is not beside the test");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join(format!("releqc-c-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("run");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root.join("../include"))
        .arg(root.join("examples/c/run.c"))
        .arg(&library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .status()
        .unwrap();
    assert!(compiled.success(), "the C example does not compile");

    let bits = BitWidth::new(3).unwrap();
    let (mut net, x) = Net::new(9, [3, 9, 8], 100);
    let x = net.conv(x, 40, net::square(3, 1, 1), 1, bits, [0, 0, 255]).unwrap();
    let y = net.logits(x, 11, bits);
    net.output(y);
    let Net { program: network, constants, weights, .. } = net;
    let bytes = encode(&ArtifactParts { program: network, constants, weights, ..ArtifactParts::default() });
    let model = folder.join("model.rq");
    std::fs::write(&model, &bytes).unwrap();

    let artifact = releqc_runtime::format::Artifact::open(&model).unwrap();
    let mut session = Session::new(&artifact, SessionOptions::default()).unwrap();
    let mut expected = vec![0.0; session.output_len()];
    session.run(&vec![0.0; session.input_len()], &mut expected).unwrap();
    assert!(expected.iter().any(|&v| v != expected[0]), "the outputs are trivial");
    for isa in Isa::available() {
        let run = Command::new(&program).arg(&model).arg(isa.name()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let text = String::from_utf8(run.stdout).unwrap();
        let values: Vec<f32> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(values, expected, "{isa}");
    }

    session.run(&vec![(0.0 - 0.25) / 0.5; session.input_len()], &mut expected).unwrap();
    let run = Command::new(&program).arg(&model).args([Isa::detect().name(), "0.25", "0.5"]).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    let values: Vec<f32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(values, expected, "pixels");
    let run = Command::new(&program).arg(&model).args([Isa::detect().name(), "0.25", "0"]).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).contains("std 0; a number > 0 is required"));

    std::fs::write(&model, &bytes[..bytes.len() - 1]).unwrap();
    let run = Command::new(&program).arg(&model).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("truncated"), "{}", String::from_utf8_lossy(&run.stderr));
    let run = Command::new(&program).arg(&model).arg("sse9").output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    std::fs::remove_dir_all(&folder).unwrap();
}
