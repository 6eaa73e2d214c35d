//! Text of the graph before and after every rewrite, and that rewriting changes no result.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::{Random, evaluate, nets};
use releqc_passes::rewrite::{REWRITES, canonicalize_observed, fold_batch_norm};
use releqc_passes::verify;

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn every_rewrite_of_every_net() {
    for graph in nets::all() {
        let name = graph.name.clone();
        let input = Random(11).floats(graph.input_shape().len());
        let expected = evaluate(&graph, &input);
        let mut text = format!("import\n{graph}");
        let mut before = graph.clone();
        let canonical = canonicalize_observed(graph, |rewrite, after| {
            if *after == before {
                text.push_str(&format!("{rewrite}: no change\n"));
            } else {
                text.push_str(&format!("{rewrite}\n{after}"));
            }
            close(&format!("{name} after {rewrite}"), &evaluate(after, &input), &expected);
            before = after.clone();
        })
        .unwrap();
        let folded = fold_batch_norm(&canonical);
        assert_eq!(verify::violations(&folded), []);
        close(&format!("{name} folded"), &evaluate(&folded, &input), &expected);
        text.push_str(&format!("fold_batch_norm\n{folded}"));
        snapshots().bind(|| insta::assert_snapshot!(format!("rewrite_{name}"), text));
    }
}

/// Every rewrite has a net that shows it at work.
#[test]
fn every_rewrite_is_seen_at_work() {
    let mut idle: Vec<&str> = REWRITES.iter().map(|(name, _)| *name).collect();
    for graph in nets::all() {
        let mut before = graph.clone();
        canonicalize_observed(graph, |rewrite, after| {
            if *after != before {
                idle.retain(|name| *name != rewrite);
            }
            before = after.clone();
        })
        .unwrap();
    }
    assert!(idle.is_empty(), "{idle:?}");
}

/// Folding rounds each weight once: differences are a few units in the last place of sums of at most 100 products.
fn close(what: &str, seen: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(1.0f32, |a, v| a.max(v.abs()));
    for (s, e) in seen.iter().zip(expected) {
        assert!((s - e).abs() <= 1e-5 * scale, "{what}: {s} instead of {e}");
    }
}
