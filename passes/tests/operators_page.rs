//! docs/operators.md and the import say the same of every operator.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

use releqc_passes::import;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What an operator may become; labels of the nodes of the graph, and two words for the many functions.
const KINDS: &[&str] = &[
    "arithmetic",
    "average_pool",
    "batch_norm",
    "channel_affine",
    "clip",
    "concat",
    "constant",
    "conv",
    "fully_connected",
    "function",
    "gather",
    "lookup",
    "mat_mul",
    "max_pool",
    "prelu",
    "recurrent",
    "reduce",
    "resample",
    "reshape",
    "select",
    "softmax",
    "transpose",
];

/// The rows of the tables under headings that `wanted` chooses, without their heads.
fn rows(page: &str, wanted: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
    let mut heading = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        } else if let Some(row) = line.strip_prefix("| ").filter(|_| wanted(heading)) {
            let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
            if cells[0] != "operator" {
                rows.push(cells);
            }
        }
    }
    rows
}

#[test]
fn the_page_names_what_the_import_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.md");
    let page = std::fs::read_to_string(path).unwrap();

    let supported = rows(&page, |heading| !["", "Refused"].contains(&heading));
    let names: Vec<&str> = supported.iter().map(|row| row[0]).collect();
    let known: BTreeSet<&str> = import::operators().into_iter().collect();
    let listed: BTreeSet<&str> = names.iter().copied().collect();
    let missing: Vec<&&str> = known.difference(&listed).collect();
    let too_many: Vec<&&str> = listed.difference(&known).collect();
    assert!(missing.is_empty() && too_many.is_empty(), "missing {missing:?}, unknown {too_many:?}");
    assert_eq!(names.len(), listed.len(), "each operator has one row");
    for row in &supported {
        let unknown: Vec<&str> = row[1].split(", ").filter(|kind| !KINDS.contains(kind)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", row[0]);
    }

    let refused: BTreeMap<&str, &str> =
        rows(&page, |heading| heading == "Refused").into_iter().map(|row| (row[0], row[1])).collect();
    let known: BTreeMap<&str, &str> = import::refused_operators().iter().copied().collect();
    assert_eq!(refused, known);
}
