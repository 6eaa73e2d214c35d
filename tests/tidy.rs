//! Rules of the house that no compiler checks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "in a test a panic is the message")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file; one concept fits.
const MOST_LINES: usize = 700;

/// Longest line of prose; tables and code may be wider.
const MOST_COLUMNS: usize = 100;

/// Files that a program wrote.
const GENERATED: &[&str] = &["passes/src/onnx/onnx_protobuf.rs"];

/// Where `unsafe` may stand: kernels, and the one file mapping.
const UNSAFE_PLACES: &[&str] = &[
    "runtime/src/kernels",
    "runtime/src/kernels.rs",
    "runtime/src/isa.rs",
    "runtime/src/isa",
    "runtime/src/c_api.rs",
    "runtime/src/session/threads.rs",
    "runtime/tests/files.rs",
    "runtime/tests/load_memory.rs",
    "runtime/tests/mutated_programs.rs",
    "runtime/tests/no_allocation.rs",
    "runtime/src/format/artifact.rs",
    "passes/src/simd.rs",
    "passes/src/float_exec/tile.rs",
    "passes/src/train/kernels",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the folders of the repository that hold code, with its path from the root.
fn sources() -> Vec<(String, String)> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && entry != root().join("fuzz/target") {
                visit(&entry, found);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["src", "passes", "runtime", "models", "emit-c", "python", "tests", "benches", "fuzz"] {
        visit(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources are found");
    found.sort();
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !GENERATED.contains(&path.as_str()))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "at most {MOST_LINES} lines are allowed: {long:#?}");
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let uses = |text: &str| {
        text.lines()
            .filter(is_code)
            .any(|line| line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl"))
    };
    let bad: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| path != "tests/tidy.rs" && uses(text))
        .map(|(path, _)| path)
        .filter(|path| !UNSAFE_PLACES.iter().any(|place| path == place || path.starts_with(&format!("{place}/"))))
        .collect();
    assert!(bad.is_empty(), "unsafe outside of {UNSAFE_PLACES:?}: {bad:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| !GENERATED.contains(&path.as_str()) && !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "each file begins with a //! line: {silent:#?}");
}

#[test]
fn no_snapshot_is_orphaned_or_pending() {
    let texts: String = sources().into_iter().map(|(_, text)| text).collect();
    let folder = root().join("snapshots");
    let mut bad = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // A snapshot is named in full, or by a prefix that a loop completes: "prefix_{..}".
        let named = name.strip_suffix(".snap").is_some_and(|stem| {
            let prefix = |(at, _): (usize, &str)| texts.contains(&format!("\"{}{{", &stem[..=at]));
            texts.contains(&format!("\"{stem}\"")) || stem.match_indices('_').any(prefix)
        });
        if !named {
            bad.insert(name);
        }
    }
    assert!(bad.is_empty(), "snapshots without a test, or not accepted: {bad:#?}");
}

/// Dependencies point one way: src -> passes -> runtime; only the import names tract, only training and search name Burn.
#[test]
fn dependencies_point_one_way() {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let rules: [(&str, &[&str]); 3] = [
        ("releqc_passes", &["src/", "passes/", "models/", "tests/", "benches/", "fuzz/"]),
        ("tract_", &["passes/src/import/", "passes/tests/", "passes/benches/", "tests/tidy.rs"]),
        (
            "burn::",
            &[
                "passes/src/train",
                "passes/src/search",
                "passes/tests/",
                "passes/benches/",
                "passes/examples/",
                "models/",
                "tests/tidy.rs",
            ],
        ),
    ];
    for (name, places) in rules {
        let bad: Vec<String> = sources()
            .into_iter()
            .filter(|(_, text)| text.lines().filter(is_code).any(|line| line.contains(name)))
            .map(|(path, _)| path)
            .filter(|path| !places.iter().any(|place| path.starts_with(place)))
            .collect();
        assert!(bad.is_empty(), "{name} is named outside of {places:?}: {bad:#?}");
    }
}

/// Every page of prose, with its path from the root.
fn pages() -> Vec<(String, String)> {
    fn visit(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.map(|entry| entry.unwrap().path()) {
            if deep && entry.is_dir() {
                visit(&entry, deep, found);
            } else if entry.extension().is_some_and(|e| e == "md") {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    visit(root(), false, &mut found);
    for folder in ["docs", "benches", "cluster", "examples", "rtl", "c", "emit-c", "models", "python", ".github"] {
        visit(&root().join(folder), true, &mut found);
    }
    found.sort();
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let pages: Vec<_> = found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect();
    assert!(pages.iter().any(|(path, _)| path == "docs/cli.md"), "the pages are found");
    pages
}

/// The lines of a page that are no code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((i + 1, line))
    })
}

#[test]
fn prose_is_wrapped() {
    let is_table = |line: &str| line.trim_start().starts_with('|');
    let mut long = Vec::new();
    for (path, text) in pages() {
        for (number, line) in prose(&text).filter(|(_, line)| !is_table(line)) {
            let columns = line.chars().count();
            if columns > MOST_COLUMNS {
                long.push(format!("{path}:{number}: {columns} columns"));
            }
        }
    }
    assert!(long.is_empty(), "prose has at most {MOST_COLUMNS} columns: {long:#?}");
}

/// What headings are called in links, as GitHub and mdbook make it.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading =
        |(_, line): (usize, &str)| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_owned());
    let anchor = |title: String| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    prose(text).filter_map(heading).map(anchor).collect()
}

/// The targets of the links in a line; what stands between backticks is no link.
fn links(line: &str) -> Vec<String> {
    let text: String = line.split('`').step_by(2).collect();
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut bad = Vec::new();
    let mut seen = 0;
    for (path, text) in pages() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for (number, line) in prose(&text) {
            for link in links(line).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
                seen += 1;
                let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
                let target = if file.is_empty() { root().join(&path) } else { folder.join(file) };
                let leads = target.exists()
                    && (anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
                if !leads {
                    bad.push(format!("{path}:{number}: {link}"));
                }
            }
        }
    }
    assert!(seen > 50, "{seen} links are found");
    assert!(bad.is_empty(), "links without a target: {bad:#?}");
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> = summary.lines().flat_map(links).map(|link| format!("docs/{link}")).collect();
    let there = pages().into_iter().map(|(path, _)| path);
    let there: BTreeSet<String> = there.filter(|p| p.starts_with("docs/") && p != "docs/SUMMARY.md").collect();
    assert_eq!(there, listed);
}
