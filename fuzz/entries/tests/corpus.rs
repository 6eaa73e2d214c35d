//! Inputs that fuzzing has kept, through the entries of the fuzz targets (docs/testing.md).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use releqc_fuzz_entries::accelerator::{accelerator, assembler};
use releqc_fuzz_entries::artifact::artifact;
use releqc_fuzz_entries::container::{mutate, sections};
use releqc_fuzz_entries::data;
use releqc_fuzz_entries::model::{Outcome, model};
use releqc_fuzz_entries::network::network;
use releqc_fuzz_entries::replay::{all, replay};
use std::collections::BTreeMap;

#[test]
fn artifacts() {
    replay("artifact", artifact);
}

/// What the mutator makes has right hashes: a changed plan is decoded.
#[test]
fn mutated_artifacts() {
    let (mut files, mut sealed) = (0, 0);
    replay("artifact", |bytes| {
        let Some(parts) = sections(bytes) else { return };
        let mut data = bytes.to_vec();
        data.resize(2 * bytes.len() + 4096, 0);
        let most = data.len();
        let size = mutate(&mut data, bytes.len(), most, 1, |part, len, _| {
            part[len / 2] ^= 1;
            len
        });
        let changed = sections(&data[..size]).unwrap();
        files += 1;
        sealed += usize::from(changed != parts && changed.len() == parts.len());
        artifact(&data[..size]);
    });
    // Of some inputs the table itself is broken.
    assert!(files > 0 && 50 * sealed >= 49 * files, "{sealed} of {files} files have one changed section");
}

#[test]
fn accelerator_programs() {
    replay("accelerator", accelerator);
}

#[test]
fn assembly_text() {
    replay("assembler", assembler);
}

#[test]
fn models() {
    replay("onnx", |bytes| {
        model(bytes);
    });
}

#[test]
fn networks() {
    let (mut models, mut compiled) = (0, 0);
    replay("network", |bytes| {
        models += 1;
        compiled += usize::from(model(&network(bytes)) == Outcome::Compiled);
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
        let outcome = model(&network(bytes));
        *outcomes.entry(format!("{outcome:?}")).or_default() += 1;
    });
    println!("{outcomes:?}");
    assert!(3 * outcomes["Compiled"] as u64 > count, "{outcomes:?}");
}
