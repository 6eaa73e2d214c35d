//! Operators of `ai.onnx.ml` around a network.
//!
//! Takes features `[N, F]`; Scaler, Normalizer, Binarizer, Imputer, FeatureVectorizer and the linear models become affine maps,
//! reductions and layers, ArrayFeatureExtractor a gather or a table. ZipMap is left out: its map has the probabilities in key order.
//! Refuses support vectors and everything of text.

use super::axis;
use super::forms::{one, tensor};
use super::normalize::divided;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, Function, NodeId, Op, ReduceKind};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ai.onnx.ml.ArrayFeatureExtractor", array_feature_extractor),
    ("ai.onnx.ml.Binarizer", binarizer),
    ("ai.onnx.ml.FeatureVectorizer", feature_vectorizer),
    ("ai.onnx.ml.Imputer", imputer),
    ("ai.onnx.ml.LinearClassifier", linear_classifier),
    ("ai.onnx.ml.LinearRegressor", linear_regressor),
    ("ai.onnx.ml.Normalizer", normalizer),
    ("ai.onnx.ml.Scaler", scaler),
    ("ai.onnx.ml.ZipMap", zip_map),
];

/// One value for each of `count` features; a single one is that of all.
fn spread(values: Option<Vec<f32>>, missing: f32, count: usize, what: &str) -> Result<Vec<f32>, Problem> {
    let values = values.unwrap_or_else(|| vec![missing]);
    match values.len() {
        1 => Ok(vec![values[0]; count]),
        n if n == count => Ok(values),
        n => Err(invalid(format!("{n} values of {what} for {count} features; one or one each is required"))),
    }
}

/// `x * mul + add` over the last axis.
fn feature_affine(b: &mut Builder<'_>, x: NodeId, mul: Vec<f32>, add: Vec<f32>) -> Result<NodeId, Problem> {
    if b.rank(x) == 2 {
        return b.push(Op::ChannelAffine { mul, add }, &[x]);
    }
    let (mul, add) = (b.literal(vec![mul.len()], mul)?, b.literal(vec![add.len()], add)?);
    let product = b.binary(BinaryKind::Mul, x, mul)?;
    b.binary(BinaryKind::Add, product, add)
}

fn features(b: &mut Builder<'_>, step: &Step) -> Result<(NodeId, usize), Problem> {
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let count = dims.last().copied();
    Ok((x, count.ok_or_else(|| invalid(format!("{} of a scalar; features are required", step.op_type())))?))
}

/// `(x - offset) * scale`.
fn scaler(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (x, count) = features(b, step)?;
    let offset = spread(step.attributes().floats("offset")?, 0.0, count, "offset")?;
    let scale = spread(step.attributes().floats("scale")?, 1.0, count, "scale")?;
    let add = offset.iter().zip(&scale).map(|(&o, &s)| (-f64::from(o) * f64::from(s)) as f32).collect();
    one(feature_affine(b, x, scale, add)?)
}

fn normalizer(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (x, _) = features(b, step)?;
    let last = [b.rank(x) - 1];
    let norm = match step.attributes().string("norm", "MAX")? {
        "MAX" => {
            let magnitude = b.unary(Function::Abs, x)?;
            b.reduce(ReduceKind::Max, magnitude, &last, true)?
        }
        "L1" => b.reduce(ReduceKind::L1, x, &last, true)?,
        "L2" => b.reduce(ReduceKind::L2, x, &last, true)?,
        other => return Err(invalid(format!("norm {other:?}; MAX, L1 or L2 is required"))),
    };
    one(divided(b, x, norm)?)
}

fn binarizer(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let threshold = step.attributes().float("threshold", 0.0)?;
    let threshold = b.literal(vec![], vec![threshold])?;
    one(b.binary(BinaryKind::Greater, x, threshold)?)
}

/// Another value where the one to replace stands; NaN is replaced as such.
fn imputer(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let (x, count) = features(b, step)?;
    let attributes = step.attributes();
    let values = attributes.floats("imputed_value_floats")?;
    let values = match (values, attributes.ints("imputed_value_int64s")?) {
        (Some(values), _) => values,
        (None, Some(values)) => values.iter().map(|&v| v as f32).collect(),
        (None, None) => return Err(invalid("Imputer without values; they are required")),
    };
    let values = spread(Some(values), 0.0, count, "imputed values")?;
    let replaced = step.attributes().raw_float("replaced_value_float")?.unwrap_or(0.0);
    let missing = if replaced.is_nan() {
        b.unary(Function::IsNaN, x)?
    } else {
        let replaced = b.literal(vec![], vec![replaced])?;
        b.binary(BinaryKind::Equal, x, replaced)?
    };
    let values = b.literal(vec![count], values)?;
    one(b.push(Op::Select, &[missing, values, x])?)
}

fn feature_vectorizer(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut parts = Vec::new();
    for index in 0..step.input_count() {
        let part = b.node(step, index)?;
        let dims = b.dims(part);
        parts.push(if dims.len() == 1 { b.reshape(part, vec![dims[0], 1])? } else { part });
    }
    if parts.is_empty() {
        return Err(invalid("FeatureVectorizer without an input; it requires one"));
    }
    one(b.concat(1, &parts)?)
}

/// Columns of a constant by an activation (labels by the place of the best class), or of an activation by constants.
fn array_feature_extractor(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    if b.is_constant(step, 0) && !b.is_constant(step, 1) {
        let labels = b.required(step, 0)?;
        if labels.dims().iter().rev().skip(1).any(|&extent| extent != 1) {
            return Err(unsupported(format!(
                "columns of a constant of shape {:?}; one row is supported",
                labels.dims()
            )));
        }
        let indices = b.node(step, 1)?;
        let values = labels.floats();
        let found = b.push(Op::Lookup { table: tensor(vec![values.len()], values)? }, &[indices])?;
        let len = b.shape(found).len();
        return one(b.reshape(found, vec![1, len])?);
    }
    let x = b.node(step, 0)?;
    let dims = b.dims(x);
    let last = dims.len().checked_sub(1).ok_or_else(|| invalid("columns of a scalar"))?;
    let columns = b.required(step, 1)?.ints();
    let columns = columns.iter().map(|&c| axis::axis(c, dims[last]).map(Some)).collect::<Result<Vec<_>, _>>()?;
    let x = if dims.len() == 1 { b.reshape(x, vec![1, dims[0]])? } else { x };
    let axis = b.rank(x) - 1;
    one(b.gather_axis(x, axis, columns, 0.0)?)
}

/// The map of each class to its probability: what leaves the network are the probabilities, in the order of the classes.
fn zip_map(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    b.note(step, "ZipMap is left out: the output holds the probabilities in the order of the classes");
    one(x)
}

fn linear(b: &mut Builder<'_>, step: &Step, rows: usize) -> Result<NodeId, Problem> {
    let (x, count) = features(b, step)?;
    let attributes = step.attributes();
    let coefficients = attributes.floats("coefficients")?.unwrap_or_default();
    if rows == 0 || coefficients.len() != rows * count {
        return Err(invalid(format!(
            "{} coefficients for {rows} rows of {count} features; one each is required",
            coefficients.len()
        )));
    }
    let bias = attributes.floats("intercepts")?;
    if bias.as_ref().is_some_and(|bias| bias.len() != rows) {
        return Err(invalid(format!("intercepts for {rows} rows; one each is required")));
    }
    b.fully_connected(x, tensor(vec![rows, count], coefficients)?, bias)
}

fn transformed(b: &mut Builder<'_>, step: &Step, x: NodeId) -> Result<NodeId, Problem> {
    match step.attributes().string("post_transform", "NONE")? {
        "NONE" => Ok(x),
        "LOGISTIC" => b.unary(Function::Sigmoid, x),
        "SOFTMAX" => {
            let axis = b.rank(x) - 1;
            b.push(Op::Softmax { axis, log: false }, &[x])
        }
        other => Err(unsupported(format!("post_transform {other}; NONE, LOGISTIC and SOFTMAX are supported"))),
    }
}

fn linear_regressor(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let targets = axis::count(step.attributes().int("targets", 1)?, "targets")?;
    let x = linear(b, step, targets)?;
    one(transformed(b, step, x)?)
}

/// Labels of two classes or more, one row of coefficients a class; the second result are the scores.
fn linear_classifier(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let Some(labels) = attributes.ints("classlabels_ints")? else {
        return Err(unsupported("LinearClassifier of text labels; whole numbers are supported"));
    };
    let labels: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
    let rows = attributes.floats("intercepts")?.map_or(labels.len(), |intercepts| intercepts.len());
    if rows != labels.len() {
        return Err(unsupported(format!("{rows} rows for {} classes; one each is supported", labels.len())));
    }
    let scores = linear(b, step, rows)?;
    let last = b.rank(scores) - 1;
    let best = b.reduce(ReduceKind::ArgMax, scores, &[last], false)?;
    let label = b.push(Op::Lookup { table: tensor(vec![labels.len()], labels)? }, &[best])?;
    let scores = transformed(b, step, scores)?;
    Ok(vec![Value::Node(label), Value::Node(scores)])
}
