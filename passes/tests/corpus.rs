//! Inputs that fuzzing has kept, through the entries of the fuzz targets (docs/testing.md).

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

#[path = "../../fuzz/entries/artifact.rs"]
#[allow(dead_code, reason = "its samples are used")]
mod artifact;
#[path = "../../fuzz/entries/data.rs"]
mod data;
#[path = "../../fuzz/entries/model.rs"]
mod model;
#[path = "../../fuzz/entries/network.rs"]
mod network;
#[path = "../../fuzz/entries/replay.rs"]
mod replay;

use model::Outcome;
use replay::{all, replay};
use std::collections::BTreeMap;

#[test]
fn models() {
    replay("onnx", |bytes| {
        model::model(bytes);
    });
}

#[test]
fn networks() {
    let (mut models, mut compiled) = (0, 0);
    replay("network", |bytes| {
        models += 1;
        compiled += usize::from(model::model(&network::network(bytes)) == Outcome::Compiled);
    });
    println!("{compiled} of {models} models compile");
    assert!(2 * compiled > models, "{compiled} of {models} models compile");
}

#[test]
fn data_sets() {
    let folder = std::env::temp_dir().join(format!("releqc-corpus-{}", std::process::id()));
    replay("data", |bytes| data::data(bytes, &folder));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn machines() {
    replay("machine", data::machine);
}

/// More networks than a corpus holds, each from a seed.
#[test]
fn networks_of_seeds() {
    const NETWORKS: u64 = 600;
    const BYTES: u64 = 160;
    let seeds = std::env::var("RELEQC_NETWORKS").ok().and_then(|range| {
        let (first, count) = range.split_once('+')?;
        Some((first.parse().ok()?, count.parse().ok()?))
    });
    let (first, count): (u64, u64) = seeds.unwrap_or((0, NETWORKS));
    let inputs = (first..first + count).map(|seed| {
        let mut state = seed;
        let mut byte = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        (format!("seed {seed}"), (0..BYTES).map(&mut byte).collect())
    });
    let mut outcomes = BTreeMap::<String, usize>::new();
    all(inputs, &mut |bytes| {
        let outcome = model::model(&network::network(bytes));
        *outcomes.entry(format!("{outcome:?}")).or_default() += 1;
    });
    println!("{outcomes:?}");
    assert!(3 * outcomes["Compiled"] as u64 > count, "{outcomes:?}");
}
