//! What pages show is what the project has: the Rust of README.md runs here, and code that is said to come from a file stands there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the message")]

// README.md, Rust:
use releqc_runtime::format::Artifact;
use releqc_runtime::{Session, SessionOptions};

fn infer(path: &Path, input: &[f32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let artifact = Artifact::open(path)?; // every byte is checked
    let mut session = Session::new(&artifact, SessionOptions::default())?;
    let mut output = vec![0.0; session.output_len()];
    session.run(input, &mut output)?; // one sample
    Ok(output)
}
// The end of it.

use releqc_runtime::reference::Reference;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The code blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn the_rust_of_the_readme_gives_what_the_reference_gives() {
    let own = include_str!("readme.rs");
    let shown = blocks(&page("README.md"), "rust");
    let [shown] = &shown[..] else { panic!("{} blocks of Rust; one is required", shown.len()) };
    assert!(own.contains(&format!("// README.md, Rust:\n{shown}// The end of it.\n")), "{shown}");

    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("m.rq");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny_chain.onnx");
    let mut compile = Command::new(env!("CARGO_BIN_EXE_releqc"));
    compile.arg(model).arg("-o").arg(&artifact).args(["--bits", "4", "--quiet"]);
    assert!(compile.status().unwrap().success());
    let opened = Artifact::open(&artifact).unwrap();
    let len = Session::new(&opened, SessionOptions::default()).unwrap().input_len();
    let input: Vec<f32> = (0..len).map(|i| (i * 37 % 256) as f32 / 64.0 - 2.0).collect();
    let output = infer(&artifact, &input).unwrap();
    assert_eq!(output, Reference::new(&opened).run(&input).unwrap().concat());
    assert!(output.iter().any(|value| *value != output[0]), "{output:?}");
    assert!(infer(&folder.path().join("absent.rq"), &input).is_err());
}

#[test]
fn the_page_on_operators_shows_the_code_that_is_there() {
    let shown = blocks(&page("docs/adding-an-operator.md"), "rust");
    let sources =
        ["runtime/src/function/table.rs", "passes/src/onnx/functions.rs", "passes/src/import/operators/movement.rs"];
    let sources = sources.map(page);
    assert_eq!(shown.len(), 3);
    for part in shown.iter().flat_map(|block| block.trim_end().split("\n\n")) {
        assert!(sources.iter().any(|source| source.contains(part)), "not in the sources:\n{part}");
    }
}
