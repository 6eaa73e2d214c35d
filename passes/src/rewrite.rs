//! Rewrites of the float graph, and the one order they run in.
//!
//! Every rewrite is a function from graph to graph in a file of its own, whose header says what it takes, what it returns and
//! what it does not do. None of them changes what the network computes beyond the rounding of f32 constants.

mod attach_batch_norm;
mod attach_bias;
mod drop_identity;
mod edit;
mod fold_batch_norm;
mod fold_forward;
mod fuse_activation;
mod fuse_function;
mod hoist_pointwise;
mod merge_affine;
mod merge_moves;
mod merge_padding;

pub use fold_batch_norm::fold_batch_norm;

use crate::ir::Graph;
use crate::verify::{self, Violation};

/// A rewrite: from graph to graph, computing the same.
pub type Rewrite = fn(Graph) -> Graph;

/// The rewrites of [`canonicalize`] in the order they run.
pub const REWRITES: [(&str, Rewrite); 12] = [
    ("fuse_function", fuse_function::fuse_function),
    ("merge_padding", merge_padding::merge_padding),
    ("drop_identity", drop_identity::drop_identity),
    ("hoist_pointwise", hoist_pointwise::hoist_pointwise),
    ("drop_identity", drop_identity::drop_identity),
    ("merge_moves", merge_moves::merge_moves),
    ("attach_bias", attach_bias::attach_bias),
    ("attach_batch_norm", attach_batch_norm::attach_batch_norm),
    ("merge_affine", merge_affine::merge_affine),
    ("fold_forward", fold_forward::fold_forward),
    // What was folded away may have been all that needed a reshape.
    ("drop_identity", drop_identity::drop_identity),
    ("fuse_activation", fuse_activation::fuse_activation),
];

/// A rewrite left a graph that breaks an invariant, or was given one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{stage} gave a graph that breaks {} invariants, first: {}", .violations.len(), .violations[0])]
pub struct RewriteError {
    /// The rewrite, or `input` where the graph was broken before the first.
    pub stage: &'static str,
    /// What is broken, at least one.
    pub violations: Vec<Violation>,
}

/// The canonical form of a graph: identities gone, batch normalisation and constant affine maps inside the layers they
/// follow, clips in the `activation` of the node they follow.
///
/// Node names are those of the first node of each fused group; layers keep theirs.
///
/// # Errors
/// [`RewriteError`] where the graph, or the result of a rewrite, breaks an invariant of [`crate::verify`].
pub fn canonicalize(graph: Graph) -> Result<Graph, RewriteError> {
    canonicalize_observed(graph, |_, _| {})
}

/// [`canonicalize`], with `observe` called after every rewrite with its name and result.
///
/// # Errors
/// As [`canonicalize`].
pub fn canonicalize_observed(
    graph: Graph,
    mut observe: impl FnMut(&'static str, &Graph),
) -> Result<Graph, RewriteError> {
    let mut graph = verified("input", graph)?;
    for (name, rewrite) in REWRITES {
        graph = verified(name, rewrite(graph))?;
        observe(name, &graph);
    }
    Ok(graph)
}

fn verified(stage: &'static str, graph: Graph) -> Result<Graph, RewriteError> {
    let violations = verify::violations(&graph);
    if violations.is_empty() { Ok(graph) } else { Err(RewriteError { stage, violations }) }
}
