//! Ensembles of decision trees of `ai.onnx.ml`, as comparisons and selects.
//!
//! Takes features `[N, F]`. All nodes that branch compare their feature with their value at once; then, from the deepest level
//! up, each node that branches selects the value of one of its children, and each leaf is a constant. What the roots have is
//! aggregated. So every comparison is exact, and the time does not depend on the features.
//! Refuses post-transforms other than NONE, LOGISTIC and SOFTMAX (of a regressor, other than NONE), weights of both of two classes,
//! and aggregates MIN and MAX where a leaf has no weight.

use super::axis;
use super::forms::{one, tensor};
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, Function, NodeId, Op, ReduceKind};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const RULES: &[(&str, Rule)] =
    &[("ai.onnx.ml.TreeEnsembleClassifier", classifier), ("ai.onnx.ml.TreeEnsembleRegressor", regressor)];

/// How a node that branches compares its feature with its value.
const MODES: &[(&str, Comparison)] = &[
    ("BRANCH_LEQ", Comparison { kind: BinaryKind::LessOrEqual, negated: false }),
    ("BRANCH_LT", Comparison { kind: BinaryKind::Less, negated: false }),
    ("BRANCH_GTE", Comparison { kind: BinaryKind::GreaterOrEqual, negated: false }),
    ("BRANCH_GT", Comparison { kind: BinaryKind::Greater, negated: false }),
    ("BRANCH_EQ", Comparison { kind: BinaryKind::Equal, negated: false }),
    ("BRANCH_NEQ", Comparison { kind: BinaryKind::Equal, negated: true }),
];

#[derive(Clone, Copy, Debug, PartialEq)]
struct Comparison {
    kind: BinaryKind,
    negated: bool,
}

/// A node that branches.
#[derive(Clone, Debug)]
struct Branch {
    feature: usize,
    value: f32,
    comparison: Comparison,
    /// Whether a feature that is no number counts as true.
    missing_is_true: bool,
    /// Nodes where the comparison holds, and where it does not.
    children: [usize; 2],
}

#[derive(Clone, Debug)]
struct Ensemble {
    /// `None` is a leaf.
    nodes: Vec<Option<Branch>>,
    /// The nodes by their distance from the root of their tree; the first level are the roots.
    levels: Vec<Vec<usize>>,
    /// `[node][target]`, 0 where none is given.
    weights: Vec<Vec<f32>>,
    /// Whether each leaf has a weight for each target.
    complete: bool,
    /// Whether some tree has a weight for each target in all of its leaves, so that every sample has one.
    reached: bool,
}

/// The numbers of an attribute, or of its tensor form.
fn numbers(step: &Step, name: &str) -> Result<Vec<f32>, Problem> {
    let attributes = step.attributes();
    match attributes.tensor(&format!("{name}_as_tensor"))? {
        Some(tensor) => Ok(Constant::read(tensor)?.floats()),
        None => Ok(attributes.floats(name)?.unwrap_or_default()),
    }
}

/// An attribute with one integer a node.
fn list<'a>(step: &'a Step, name: &str, nodes: &[i64]) -> Result<&'a [i64], Problem> {
    let values = step.attributes().ints(name)?.unwrap_or_default();
    same_length(name, values.len(), nodes.len())?;
    Ok(values)
}

impl Ensemble {
    /// `prefix` is that of the attributes of weights, `count` the number of targets.
    fn read(b: &mut Builder<'_>, step: &Step, prefix: &str, count: usize, features: usize) -> Result<Self, Problem> {
        let attributes = step.attributes();
        let trees = attributes.ints("nodes_treeids")?.unwrap_or_default();
        b.spend(trees.len().saturating_mul(count), "weights of leaves")?;
        let (ids, tested) = (list(step, "nodes_nodeids", trees)?, list(step, "nodes_featureids", trees)?);
        let (yes, no) = (list(step, "nodes_truenodeids", trees)?, list(step, "nodes_falsenodeids", trees)?);
        let missing = attributes.ints("nodes_missing_value_tracks_true")?.unwrap_or_default();
        if !missing.is_empty() {
            same_length("nodes_missing_value_tracks_true", missing.len(), trees.len())?;
        }
        let modes = attributes.strings("nodes_modes")?.unwrap_or_default();
        same_length("nodes_modes", modes.len(), trees.len())?;
        let values = numbers(step, "nodes_values")?;
        same_length("nodes_values", values.len(), trees.len())?;

        let keys = trees.iter().copied().zip(ids.iter().copied());
        let places: BTreeMap<(i64, i64), usize> = keys.enumerate().map(|(node, key)| (key, node)).collect();
        if places.len() != trees.len() {
            return Err(invalid("two nodes of a tree have one id; ids must differ"));
        }
        let place = |tree: i64, id: i64| {
            places.get(&(tree, id)).copied().ok_or_else(|| invalid(format!("tree {tree} has no node {id}")))
        };
        let mut nodes = Vec::with_capacity(trees.len());
        for node in 0..trees.len() {
            if modes[node] == "LEAF" {
                nodes.push(None);
                continue;
            }
            let found = MODES.iter().find(|(name, _)| *name == modes[node]);
            let &(_, comparison) =
                found.ok_or_else(|| unsupported(format!("node of mode {:?}; it is not supported", modes[node])))?;
            if values[node].is_nan() {
                return Err(invalid("a node that compares with NaN; a number is required"));
            }
            nodes.push(Some(Branch {
                feature: axis::axis(tested[node], features)?,
                value: values[node],
                comparison,
                missing_is_true: missing.get(node).is_some_and(|&flag| flag != 0),
                children: [place(trees[node], yes[node])?, place(trees[node], no[node])?],
            }));
        }
        let levels = levels(&nodes)?;

        let targets = attributes.ints(&format!("{prefix}_ids"))?.unwrap_or_default();
        let (of_trees, of_nodes) = (format!("{prefix}_treeids"), format!("{prefix}_nodeids"));
        let of_trees = attributes.ints(&of_trees)?.unwrap_or_default();
        let of_nodes = attributes.ints(&of_nodes)?.unwrap_or_default();
        let given = numbers(step, &format!("{prefix}_weights"))?;
        for len in [of_trees.len(), of_nodes.len(), given.len()] {
            same_length(&format!("{prefix}_ids"), len, targets.len())?;
        }
        let mut weights = vec![vec![]; nodes.len()];
        let mut seen = vec![vec![]; nodes.len()];
        for (entry, &target) in targets.iter().enumerate() {
            let node = place(of_trees[entry], of_nodes[entry])?;
            let target = axis::axis(target, count)?;
            weights[node].resize(count, 0.0);
            seen[node].resize(count, false);
            weights[node][target] += given[entry];
            seen[node][target] = true;
        }
        let complete =
            nodes.iter().zip(&seen).all(|(node, seen)| node.is_some() || !seen.is_empty() && seen.iter().all(|s| *s));
        let of_tree = |tree: i64| (0..nodes.len()).filter(move |&node| trees[node] == tree);
        let roots: BTreeSet<i64> = trees.iter().copied().collect();
        b.spend(roots.len().saturating_mul(nodes.len()), "leaves of trees")?;
        let in_all_leaves = |tree: i64| -> Vec<bool> {
            let leaves: Vec<usize> = of_tree(tree).filter(|&node| nodes[node].is_none()).collect();
            let has = |target: usize| leaves.iter().all(|&leaf| seen[leaf].get(target) == Some(&true));
            (0..count).map(has).collect()
        };
        let mut in_some_tree = vec![false; count];
        for tree in roots {
            in_some_tree.iter_mut().zip(in_all_leaves(tree)).for_each(|(any, own)| *any |= own);
        }
        let reached = in_some_tree.iter().all(|reached| *reached);
        Ok(Ensemble { nodes, levels, weights, complete, reached })
    }

    /// What each tree has for each target, `[N, trees, targets]`.
    fn evaluate(&self, b: &mut Builder<'_>, x: NodeId, count: usize) -> Result<NodeId, Problem> {
        let samples = b.dims(x)[0];
        b.spend(self.nodes.len().saturating_mul(count).saturating_mul(samples), "values of leaves")?;
        let mut below: Option<(NodeId, BTreeMap<usize, usize>)> = None;
        for level in self.levels.iter().rev() {
            let branches: Vec<usize> = level.iter().copied().filter(|&node| self.nodes[node].is_some()).collect();
            let leaves: Vec<usize> = level.iter().copied().filter(|&node| self.nodes[node].is_none()).collect();
            let mut parts = Vec::new();
            let mut order = Vec::new();
            if let (Some((values, places)), false) = (&below, branches.is_empty()) {
                let (chosen, sorted) = self.conditions(b, x, &branches)?;
                let chosen = b.reshape(chosen, vec![samples, sorted.len(), 1])?;
                let child = |which: usize| -> Vec<Option<usize>> {
                    let children = sorted.iter().filter_map(|&node| self.nodes[node].as_ref());
                    children.map(|branch| places.get(&branch.children[which]).copied()).collect()
                };
                let yes = b.gather_axis(*values, 1, child(0), 0.0)?;
                let no = b.gather_axis(*values, 1, child(1), 0.0)?;
                parts.push(b.push(Op::Select, &[chosen, yes, no])?);
                order.extend(sorted);
            }
            if !leaves.is_empty() {
                let empty = vec![0.0; count];
                let rows = leaves.iter().map(|&leaf| &self.weights[leaf]);
                let row: Vec<f32> = rows.flat_map(|row| if row.is_empty() { &empty } else { row }).copied().collect();
                parts.push(b.literal(vec![samples, leaves.len(), count], row.repeat(samples))?);
                order.extend(leaves);
            }
            let places = order.into_iter().enumerate().map(|(place, node)| (node, place)).collect();
            below = Some((b.concat(1, &parts)?, places));
        }
        below.map(|(values, _)| values).ok_or_else(|| invalid("no tree; one is required"))
    }

    /// Whether the comparison of each node holds, `[N, nodes]`, and the nodes in that order.
    fn conditions(&self, b: &mut Builder<'_>, x: NodeId, nodes: &[usize]) -> Result<(NodeId, Vec<usize>), Problem> {
        let mut parts = Vec::new();
        let mut order = Vec::new();
        for (_, comparison) in MODES {
            let alike: Vec<(usize, &Branch)> = nodes
                .iter()
                .filter_map(|&node| Some((node, self.nodes[node].as_ref()?)))
                .filter(|(_, branch)| branch.comparison == *comparison)
                .collect();
            if alike.is_empty() {
                continue;
            }
            let tested = alike.iter().map(|(_, branch)| Some(branch.feature)).collect();
            let tested = b.gather_axis(x, 1, tested, 0.0)?;
            let row = |value: fn(&Branch) -> f32| alike.iter().map(|(_, branch)| value(branch)).collect::<Vec<f32>>();
            let values = b.literal(vec![1, alike.len()], row(|branch| branch.value))?;
            let mut holds = b.binary(comparison.kind, tested, values)?;
            if comparison.negated {
                holds = b.affine(holds, -1.0, 1.0)?;
            }
            if alike.iter().any(|(_, branch)| branch.missing_is_true) {
                let flags =
                    b.literal(vec![1, alike.len()], row(|branch| f32::from(u8::from(branch.missing_is_true))))?;
                let missing = b.unary(Function::IsNaN, tested)?;
                let missing = b.binary(BinaryKind::And, missing, flags)?;
                holds = b.binary(BinaryKind::Or, holds, missing)?;
            }
            parts.push(holds);
            order.extend(alike.iter().map(|(node, _)| *node));
        }
        Ok((b.concat(1, &parts)?, order))
    }
}

fn same_length(name: &str, seen: usize, wanted: usize) -> Result<(), Problem> {
    if seen == wanted { Ok(()) } else { Err(invalid(format!("{seen} values of {name}; {wanted} are required"))) }
}

/// The nodes by their distance from the root. Each node must be the child of at most one, and be reached from a root.
fn levels(nodes: &[Option<Branch>]) -> Result<Vec<Vec<usize>>, Problem> {
    let mut parents = vec![0usize; nodes.len()];
    for child in nodes.iter().flatten().flat_map(|branch| branch.children) {
        parents[child] += 1;
    }
    if parents.iter().any(|&parents| parents > 1) {
        return Err(invalid("a node with two parents; trees are required"));
    }
    let mut levels = vec![(0..nodes.len()).filter(|&node| parents[node] == 0).collect::<Vec<usize>>()];
    let mut reached = 0;
    while let Some(level) = levels.last().filter(|level| !level.is_empty()) {
        reached += level.len();
        let below = level.iter().filter_map(|&node| nodes[node].as_ref()).flat_map(|branch| branch.children).collect();
        levels.push(below);
    }
    levels.pop();
    if reached != nodes.len() { Err(invalid("nodes that form a circle; trees are required")) } else { Ok(levels) }
}

/// The features as `[N, F]`.
fn features(b: &mut Builder<'_>, step: &Step) -> Result<(NodeId, usize), Problem> {
    let x = b.node(step, 0)?;
    match b.dims(x)[..] {
        [count] => Ok((b.reshape(x, vec![1, count])?, count)),
        [_, count] => Ok((x, count)),
        ref dims => Err(invalid(format!("features of shape {dims:?}; one or two axes are required"))),
    }
}

/// Adds `base_values`, one each or none.
fn with_base(b: &mut Builder<'_>, step: &Step, scores: NodeId) -> Result<NodeId, Problem> {
    let base = numbers(step, "base_values")?;
    let targets = b.dims(scores)[1];
    if base.is_empty() {
        return Ok(scores);
    }
    same_length("base_values", base.len(), targets)?;
    b.push(Op::ChannelAffine { mul: vec![1.0; targets], add: base }, &[scores])
}

fn regressor(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let targets = axis::count(attributes.int("n_targets", 1)?, "n_targets")?;
    let transform = attributes.string("post_transform", "NONE")?;
    if transform != "NONE" {
        return Err(unsupported(format!("post_transform {transform} of a regressor; NONE is supported")));
    }
    let (x, count) = features(b, step)?;
    let ensemble = Ensemble::read(b, step, "target", targets, count)?;
    let kind = match attributes.string("aggregate_function", "SUM")? {
        "SUM" => ReduceKind::Sum,
        "AVERAGE" => ReduceKind::Mean,
        "MIN" if ensemble.complete => ReduceKind::Min,
        "MAX" if ensemble.complete => ReduceKind::Max,
        "MIN" | "MAX" => return Err(unsupported("aggregate MIN or MAX with leaves without a weight; each needs one")),
        other => return Err(invalid(format!("aggregate_function {other:?}; SUM, AVERAGE, MIN or MAX is required"))),
    };
    let trees = ensemble.evaluate(b, x, targets)?;
    let scores = b.reduce(kind, trees, &[1], false)?;
    one(with_base(b, step, scores)?)
}

/// The results are the label and the scores, `[N]` and `[N, classes]`.
fn classifier(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let labels: Vec<f32> = match (attributes.ints("classlabels_int64s")?, attributes.strings("classlabels_strings")?) {
        (Some(labels), _) if !labels.is_empty() => {
            if let Some(label) = labels.iter().find(|label| label.unsigned_abs() > 1 << 24) {
                return Err(unsupported(format!("class label {label}; labels up to 2^24 are supported")));
            }
            labels.iter().map(|&label| label as f32).collect()
        }
        (_, Some(texts)) if !texts.is_empty() => {
            b.note(step, "labels of text are left out: the output holds the place of the class in their list");
            (0..texts.len()).map(|place| place as f32).collect()
        }
        _ => return Err(invalid("no labels of classes; they are required")),
    };
    let (x, count) = features(b, step)?;
    let ids = attributes.ints("class_ids")?.unwrap_or_default();
    let single = ids.first().copied().filter(|first| ids.iter().all(|id| id == first));
    let ensemble = Ensemble::read(b, step, "class", labels.len(), count)?;
    let trees = ensemble.evaluate(b, x, labels.len())?;
    let scores = b.reduce(ReduceKind::Sum, trees, &[1], false)?;
    let (best, scores) = match (labels.len(), single) {
        (2, Some(class)) => two_classes(b, step, scores, class)?,
        (2, None) => return Err(unsupported("weights of both of two classes; those of one are supported")),
        // A class that no leaf spoke of is not chosen, whatever the others have.
        _ if !ensemble.reached && numbers(step, "base_values")?.is_empty() => {
            return Err(unsupported(
                "samples may reach no leaf with a weight for some class; a tree with one in all its leaves is required for each",
            ));
        }
        _ => {
            let scores = with_base(b, step, scores)?;
            let best = b.reduce(ReduceKind::ArgMax, scores, &[1], false)?;
            (best, transformed(b, step, scores)?)
        }
    };
    let label = b.push(Op::Lookup { table: tensor(vec![labels.len()], labels)? }, &[best])?;
    Ok(vec![Value::Node(label), Value::Node(scores)])
}

/// The place of the label, and the scores, of two classes of which only `class` has weights: as onnxruntime has them. The second class
/// is the label above 0.5 where all weights are positive, else above 0.
fn two_classes(b: &mut Builder<'_>, step: &Step, scores: NodeId, class: i64) -> Result<(NodeId, NodeId), Problem> {
    let base = numbers(step, "base_values")?;
    let positive = numbers(step, "class_weights")?.iter().all(|&weight| weight >= 0.0);
    let class = axis::axis(class, 2)?;
    let mut score = b.slice(scores, 1, class, 1)?;
    match (class, &base[..]) {
        (_, []) => {}
        (0, &[base]) => score = b.affine(score, 1.0, base)?,
        _ => return Err(unsupported(format!("{} base_values with the weights of one class", base.len()))),
    }
    let threshold = b.literal(vec![1, 1], vec![if positive { 0.5 } else { 0.0 }])?;
    let best = b.binary(BinaryKind::Greater, score, threshold)?;
    let best = b.drop_axes(best, &[1])?;
    let transform = step.attributes().string("post_transform", "NONE")?;
    let scores = match (class, transform) {
        (1, _) => {
            let samples = b.dims(score)[0];
            let zero = b.literal(vec![samples, 1], vec![0.0; samples])?;
            let both = b.concat(1, &[zero, score])?;
            transformed(b, step, both)?
        }
        (_, "LOGISTIC") => {
            let opposite = b.affine(score, -1.0, 0.0)?;
            let both = b.concat(1, &[opposite, score])?;
            b.unary(Function::Sigmoid, both)?
        }
        (_, "NONE" | "SOFTMAX") => {
            let opposite = b.affine(score, -1.0, if positive { 1.0 } else { 0.0 })?;
            b.concat(1, &[opposite, score])?
        }
        _ => transformed(b, step, score)?,
    };
    Ok((best, scores))
}

fn transformed(b: &mut Builder<'_>, step: &Step, scores: NodeId) -> Result<NodeId, Problem> {
    match step.attributes().string("post_transform", "NONE")? {
        "NONE" => Ok(scores),
        "LOGISTIC" => b.unary(Function::Sigmoid, scores),
        "SOFTMAX" => b.push(Op::Softmax { axis: 1, log: false }, &[scores]),
        other => Err(unsupported(format!("post_transform {other}; NONE, LOGISTIC and SOFTMAX are supported"))),
    }
}
