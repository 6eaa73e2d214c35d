//! Attention of opset 23 and 24, and the simple forms of `com.microsoft`.
//!
//! Takes queries, keys and values `[N, heads, T, D]` or `[N, T, heads * D]`; returns products of activations, one softmax, and
//! transposes. Masks may be constants or activations, numbers or bool; keys and values of the past are put in front.
//! Refuses windows beside `nonpad_kv_seqlen`, and masks, relative positions and past states in the form of `com.microsoft`.

use super::axis;
use super::forms::tensor;
use super::reduce::places;
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::ir::{BinaryKind, ElementType, Function, NodeId, Op, ReduceKind};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Attention", attention),
    ("com.microsoft.Attention", packed_attention),
    ("com.microsoft.MultiHeadAttention", multi_head_attention),
];

/// What is added to a score that must not count: far below all others, without the infinities that would make a row of
/// masked scores NaN.
const MASKED: f32 = -1e30;

/// Queries, keys and values as `[N, heads, T, D]`.
struct Heads {
    q: NodeId,
    k: NodeId,
    v: NodeId,
}

/// `[N, T, heads * D]` to `[N, heads, T, D]`.
fn split_heads(b: &mut Builder<'_>, x: NodeId, heads: usize) -> Result<NodeId, Problem> {
    let dims = b.dims(x);
    let [n, t, width] = dims[..] else {
        return Err(invalid(format!("attention over {dims:?}; 3 or 4 axes are required")));
    };
    if heads == 0 || width % heads != 0 {
        return Err(invalid(format!("{heads} heads of {width} features; they must divide")));
    }
    let x = b.reshape(x, vec![n, t, heads, width / heads])?;
    b.transpose(x, &[0, 2, 1, 3])
}

/// Queries, keys and values are `[batch, head, position, feature]`.
fn require_heads(b: &Builder<'_>, x: NodeId) -> Result<(), Problem> {
    match b.rank(x) {
        4 => Ok(()),
        _ => Err(invalid(format!(
            "attention over {:?}; 3 axes of the queries, keys and values, or 4, are required",
            b.dims(x)
        ))),
    }
}

fn join_heads(b: &mut Builder<'_>, x: NodeId) -> Result<NodeId, Problem> {
    let x = b.transpose(x, &[0, 2, 1, 3])?;
    let dims = b.dims(x);
    b.reshape(x, vec![dims[0], dims[1], dims[2] * dims[3]])
}

/// Heads of keys or values repeated until there are as many as of queries.
fn repeat_heads(b: &mut Builder<'_>, x: NodeId, heads: usize) -> Result<NodeId, Problem> {
    let own = b.dims(x)[1];
    if own == 0 || !heads.is_multiple_of(own) {
        return Err(invalid(format!("{heads} heads of queries for {own} of keys; they must divide")));
    }
    b.gather_axis(x, 1, (0..heads).map(|head| Some(head / (heads / own))).collect(), 0.0)
}

fn attention(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let mut heads = Heads { q: b.node(step, 0)?, k: b.node(step, 1)?, v: b.node(step, 2)? };
    let flat = b.rank(heads.q) == 3;
    if flat {
        let count = |name| axis::count(attributes.int(name, 0)?, name);
        let (queries, keys) = (count("q_num_heads")?, count("kv_num_heads")?);
        heads.q = split_heads(b, heads.q, queries)?;
        heads.k = split_heads(b, heads.k, keys)?;
        heads.v = split_heads(b, heads.v, keys)?;
    }
    [heads.q, heads.k, heads.v].into_iter().try_for_each(|x| require_heads(b, x))?;
    let mut past = 0;
    if let (Some(key), Some(value)) = (b.optional(step, 4)?, b.optional(step, 5)?) {
        [key, value].into_iter().try_for_each(|x| require_heads(b, x))?;
        past = b.dims(key)[2];
        heads.k = b.concat(2, &[key, heads.k])?;
        heads.v = b.concat(2, &[value, heads.v])?;
    }
    let (present_key, present_value) = (heads.k, heads.v);
    let queries = b.dims(heads.q)[1];
    heads.k = repeat_heads(b, heads.k, queries)?;
    heads.v = repeat_heads(b, heads.v, queries)?;
    let mut bias = Vec::new();
    let lengths = b.optional(step, 6)?;
    let has_window = ["left_window_size", "right_window_size"]
        .iter()
        .any(|name| attributes.int(name, -1).is_ok_and(|size| size >= 0));
    let is_masked = step.input(3).is_some() || lengths.is_some() || has_window;
    if step.input(3).is_some() {
        bias.push(mask(b, step, 3, b.dims(heads.k)[2])?);
    }
    let windows = [attributes.int("left_window_size", -1)?, attributes.int("right_window_size", -1)?];
    let is_causal = attributes.flag("is_causal", false)?;
    if let Some(lengths) = lengths {
        if windows != [-1, -1] {
            return Err(unsupported("Attention with a window and nonpad_kv_seqlen; one of them is supported"));
        }
        bias.push(length_mask(b, &heads, lengths, is_causal)?);
    } else if is_causal || windows != [-1, -1] {
        bias.push(position_mask(b, &heads, past, is_causal, windows)?);
    }
    let wanted = Wanted {
        is_masked,
        scale: if attributes.has("scale") { Some(attributes.float("scale", 1.0)?) } else { None },
        softcap: attributes.float("softcap", 0.0)?,
        scores: usize::try_from(attributes.int("qk_matmul_output_mode", 0)?).unwrap_or(0),
    };
    let (result, scores) = attend(b, &heads, &bias, &wanted)?;
    let result = if flat { join_heads(b, result)? } else { result };
    Ok([result, present_key, present_value, scores].map(Value::Node).to_vec())
}

/// A mask as numbers to add; where it is short, the keys behind it do not count.
fn mask(b: &mut Builder<'_>, step: &Step, index: usize, keys: usize) -> Result<NodeId, Problem> {
    let is_bool = b.element(step, index)? == ElementType::Bool;
    let mut mask = b.node(step, index)?;
    if is_bool {
        mask = b.affine(mask, -MASKED, MASKED)?;
    } else {
        let clip = crate::ir::Clip { min: MASKED, max: f32::INFINITY };
        mask = b.push(Op::Clip(clip), &[mask])?;
    }
    let dims = b.dims(mask);
    let Some((&own, _)) = dims.split_last() else {
        return Err(invalid("a mask without axes; [.., keys] is required"));
    };
    if own == 1 || own >= keys {
        return Ok(mask);
    }
    b.gather_axis(mask, dims.len() - 1, (0..keys).map(|at| (at < own).then_some(at)).collect(), MASKED)
}

/// Which keys a query sees by their distance: those up to its own place where causal, and those within the windows.
fn position_mask(
    b: &mut Builder<'_>,
    heads: &Heads,
    past: usize,
    is_causal: bool,
    [left, right]: [i64; 2],
) -> Result<NodeId, Problem> {
    let (queries, keys) = (b.dims(heads.q)[2], b.dims(heads.k)[2]);
    b.afford(queries * keys, "a mask of positions")?;
    let allowed = |at: usize| {
        let ahead = (at % keys) as i64 - (at / keys + past) as i64;
        (!is_causal || ahead <= 0) && (left < 0 || -ahead <= left) && (right < 0 || ahead <= right)
    };
    let values = (0..queries * keys).map(|at| if allowed(at) { 0.0 } else { MASKED }).collect();
    b.literal(vec![queries, keys], values)
}

/// Which keys of each sample are there, by its number of keys; where causal, its last query sees the last of them.
fn length_mask(b: &mut Builder<'_>, heads: &Heads, lengths: NodeId, is_causal: bool) -> Result<NodeId, Problem> {
    let (queries, keys) = (b.dims(heads.q)[2], b.dims(heads.k)[2]);
    let samples = b.shape(lengths).len();
    let lengths = b.reshape(lengths, vec![samples, 1, 1, 1])?;
    let places = places(b, keys, 3, 4)?;
    let mut allowed = b.binary(BinaryKind::Less, places, lengths)?;
    if is_causal {
        b.afford(queries * keys, "a mask of positions")?;
        let ahead = (0..queries * keys).map(|at| (at % keys) as f32 - (at / keys) as f32).collect();
        let ahead = b.literal(vec![1, 1, queries, keys], ahead)?;
        let offset = b.affine(lengths, 1.0, -(queries as f32))?;
        let seen = b.binary(BinaryKind::LessOrEqual, ahead, offset)?;
        allowed = b.binary(BinaryKind::And, allowed, seen)?;
    }
    b.affine(allowed, -MASKED, MASKED)
}

/// What beside the heads and masks decides.
struct Wanted {
    /// Whether the masks may leave a query without any key; what it sees then is 0.
    is_masked: bool,
    /// Factor of the scores; by default `1 / sqrt(D)`.
    scale: Option<f32>,
    /// Where above 0, scores are `softcap * tanh(scores / softcap)`.
    softcap: f32,
    /// Which scores are the second result: raw, capped, masked, or after the softmax.
    scores: usize,
}

fn attend(b: &mut Builder<'_>, heads: &Heads, bias: &[NodeId], wanted: &Wanted) -> Result<(NodeId, NodeId), Problem> {
    let width = b.dims(heads.q)[3];
    let keys = b.transpose(heads.k, &[0, 1, 3, 2])?;
    let products = b.push(Op::MatMul, &[heads.q, keys])?;
    let raw = b.affine(products, wanted.scale.unwrap_or(1.0 / (width as f32).sqrt()), 0.0)?;
    let mut scores = raw;
    if wanted.softcap > 0.0 {
        let part = b.affine(scores, 1.0 / wanted.softcap, 0.0)?;
        let bounded = b.unary(Function::Tanh, part)?;
        scores = b.affine(bounded, wanted.softcap, 0.0)?;
    }
    let capped = scores;
    for &mask in bias {
        scores = b.binary(BinaryKind::Add, scores, mask)?;
    }
    let mut weights = b.push(Op::Softmax { axis: 3, log: false }, &[scores])?;
    if wanted.is_masked {
        weights = without_blind_rows(b, weights, bias)?;
    }
    let result = b.push(Op::MatMul, &[weights, heads.v])?;
    let shown = match wanted.scores {
        0 => raw,
        1 => capped,
        2 => scores,
        _ => weights,
    };
    Ok((result, shown))
}

/// The weights with 0 in the rows in which no key counts.
fn without_blind_rows(b: &mut Builder<'_>, weights: NodeId, bias: &[NodeId]) -> Result<NodeId, Problem> {
    let Some((&first, others)) = bias.split_first() else { return Ok(weights) };
    let mut sum = first;
    for &mask in others {
        sum = b.binary(BinaryKind::Add, sum, mask)?;
    }
    let last = b.rank(sum) - 1;
    let best = b.reduce(ReduceKind::Max, sum, &[last], true)?;
    let bound = b.literal(vec![], vec![MASKED / 2.0])?;
    let blind = b.binary(BinaryKind::Less, best, bound)?;
    let zero = b.literal(vec![], vec![0.0])?;
    b.push(Op::Select, &[blind, zero, weights])
}

/// `com.microsoft.Attention`: queries, keys and values from one weight `[width, 3 * hidden]`.
fn packed_attention(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    refuse_inputs(step, 3..7)?;
    let attributes = step.attributes();
    let x = b.node(step, 0)?;
    let weight = b.required(step, 1)?;
    let [width, columns] = weight.dims()[..] else {
        return Err(invalid(format!("weight of shape {:?}; two axes are required", weight.dims())));
    };
    let values = weight.floats();
    let transposed = (0..columns).flat_map(|c| (0..width).map(move |r| (r, c))).map(|(r, c)| values[r * columns + c]);
    let weight = tensor(vec![columns, width], transposed.collect())?;
    let bias = b.constant(step, 2)?.map(|bias| bias.floats());
    let projected = b.fully_connected(x, weight, bias)?;
    let sizes: Vec<usize> = match attributes.ints("qkv_hidden_sizes")? {
        Some(sizes) => sizes.iter().map(|&size| axis::count(size, "a hidden size of")).collect::<Result<_, _>>()?,
        None => vec![columns / 3; 3],
    };
    if sizes.len() != 3 || sizes.iter().sum::<usize>() != columns {
        return Err(invalid(format!("hidden sizes {sizes:?} of {columns} columns; their sum must be that")));
    }
    let count = axis::count(attributes.int("num_heads", 0)?, "num_heads")?;
    let mut parts = Vec::new();
    let mut start = 0;
    for size in sizes {
        let part = b.slice(projected, 2, start, size)?;
        parts.push(split_heads(b, part, count)?);
        start += size;
    }
    let heads = Heads { q: parts[0], k: parts[1], v: parts[2] };
    let mut bias = Vec::new();
    if attributes.flag("unidirectional", false)? {
        bias.push(position_mask(b, &heads, 0, true, [-1, -1])?);
    }
    finish(b, step, &heads, &bias)
}

/// `com.microsoft.MultiHeadAttention` of separate queries, keys and values.
fn multi_head_attention(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    refuse_inputs(step, 3..8)?;
    let count = axis::count(step.attributes().int("num_heads", 0)?, "num_heads")?;
    let mut parts = Vec::new();
    for index in 0..3 {
        let part = b.node(step, index)?;
        parts.push(split_heads(b, part, count)?);
    }
    let heads = Heads { q: parts[0], k: parts[1], v: parts[2] };
    let mut bias = Vec::new();
    if step.attributes().flag("unidirectional", false)? {
        bias.push(position_mask(b, &heads, 0, true, [-1, -1])?);
    }
    finish(b, step, &heads, &bias)
}

fn finish(b: &mut Builder<'_>, step: &Step, heads: &Heads, bias: &[NodeId]) -> Result<Vec<Value>, Problem> {
    let scale = step.attributes().float("scale", 0.0)?;
    let wanted = Wanted { is_masked: false, scale: (scale != 0.0).then_some(scale), softcap: 0.0, scores: 0 };
    let (result, _) = attend(b, heads, bias, &wanted)?;
    Ok(vec![Value::Node(join_heads(b, result)?)])
}

fn refuse_inputs(step: &Step, inputs: std::ops::Range<usize>) -> Result<(), Problem> {
    match inputs.into_iter().find(|&index| step.input(index).is_some()) {
        Some(index) => Err(unsupported(format!(
            "{} with input {index}; masks, biases and states in this form are not supported",
            step.op_type()
        ))),
        None => Ok(()),
    }
}
