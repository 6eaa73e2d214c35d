//! Einsum, as transposes, sums and matrix products.
//!
//! Takes one or more operands, at least one an activation; operands are joined from the left, two at a time. An ellipsis stands for
//! leading axes; a label twice in one operand for its diagonal.
//! Refuses labels that are no letters.

use super::axis;
use super::forms::one;
use super::mat_mul::{Factor, product};
use crate::import::Rule;
use crate::import::build::{Builder, Value};
use crate::import::error::{Problem, invalid};
use crate::import::source::Step;
use crate::ir::{NodeId, ReduceKind};
use std::collections::BTreeMap;

pub(super) const RULES: &[(&str, Rule)] = &[("Einsum", einsum)];

/// Labels of the operands' axes and of the result's. Axes of an ellipsis bear upper-case letters that the equation has not.
#[derive(Debug, PartialEq)]
struct Equation {
    operands: Vec<Vec<char>>,
    result: Vec<char>,
}

/// Letters for axes of an ellipsis, rightmost first.
const ELLIPSIS: [char; 8] = ['\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{5}', '\u{6}', '\u{7}', '\u{8}'];

fn parse(equation: &str, ranks: &[usize]) -> Result<Equation, Problem> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let bad = |why: &str| invalid(format!("equation {equation:?}; {why}"));
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (text.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return Err(bad(&format!("{} operands are given", ranks.len())));
    }
    let labels = |term: &str, hidden: usize| -> Result<Vec<char>, Problem> {
        if hidden > ELLIPSIS.len() {
            return Err(bad("an ellipsis stands for 8 axes at most"));
        }
        let dots: Vec<char> = ELLIPSIS[..hidden].iter().rev().copied().collect();
        let (before, after) = match term.split_once("...") {
            Some((before, after)) => (before, Some(after)),
            None => (term, None),
        };
        let mut labels: Vec<char> = before.chars().collect();
        if let Some(after) = after {
            labels.extend(dots);
            labels.extend(after.chars());
        }
        if labels.iter().any(|label| !label.is_ascii_alphabetic() && !ELLIPSIS.contains(label)) {
            return Err(bad("letters, commas, -> and ... are required"));
        }
        Ok(labels)
    };
    let mut operands = Vec::new();
    let mut most = 0;
    for (term, &rank) in terms.iter().zip(ranks) {
        let named = term.replace("...", "").chars().count();
        let hidden = if term.contains("...") { rank.checked_sub(named) } else { Some(0) };
        let labels = labels(term, hidden.ok_or_else(|| bad("an operand has too few axes"))?)?;
        most = most.max(hidden.unwrap_or(0));
        if labels.len() != rank {
            return Err(bad(&format!("operand {:?} has {rank} axes", term)));
        }
        operands.push(labels);
    }
    let result = match right {
        Some(term) => labels(term, most)?,
        None => {
            let all: Vec<char> = operands.iter().flatten().copied().collect();
            let mut once: Vec<char> =
                all.iter().copied().filter(|label| all.iter().filter(|other| *other == label).count() == 1).collect();
            once.retain(|label| !ELLIPSIS.contains(label));
            once.sort_unstable();
            ELLIPSIS[..most].iter().rev().copied().chain(once).collect()
        }
    };
    let known = |label: &char| operands.iter().any(|operand| operand.contains(label));
    if !result.iter().all(known) || (1..result.len()).any(|i| result[..i].contains(&result[i])) {
        return Err(bad("the result's labels must be those of operands, each once"));
    }
    Ok(Equation { operands, result })
}

fn einsum(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut operands = (0..step.input_count()).map(|i| Factor::of(b, step, i)).collect::<Result<Vec<_>, _>>()?;
    let ranks: Vec<usize> = operands.iter().map(|operand| operand.dims(b).len()).collect();
    let mut equation = parse(step.attributes().string("equation", "")?, &ranks)?;
    for (operand, labels) in operands.iter_mut().zip(&mut equation.operands) {
        if (1..labels.len()).any(|i| labels[..i].contains(&labels[i])) {
            *operand = Factor::Node(diagonal(b, operand.clone(), labels)?);
        }
    }
    let mut extents = BTreeMap::new();
    for (operand, labels) in operands.iter().zip(&equation.operands) {
        for (&label, extent) in labels.iter().zip(operand.dims(b)) {
            let known = extents.entry(label).or_insert(extent);
            if *known == 1 {
                *known = extent;
            } else if extent != 1 && extent != *known {
                return Err(invalid(format!(
                    "Einsum with extents {known} and {extent} under one label; they must agree"
                )));
            }
        }
    }
    let mut terms = operands.into_iter().zip(equation.operands.iter().cloned());
    let Some((mut left, mut labels)) = terms.next() else {
        return Err(invalid("Einsum without an operand; it requires one"));
    };
    let mut rest: Vec<(Factor, Vec<char>)> = terms.collect();
    while !rest.is_empty() {
        let (right, right_labels) = rest.remove(0);
        let wanted =
            |label: char| equation.result.contains(&label) || rest.iter().any(|(_, labels)| labels.contains(&label));
        (left, labels) = join(b, (left, labels), (right, right_labels), &wanted, &extents)?;
    }
    let (x, labels) = summed(b, left, labels, &|label| equation.result.contains(&label))?;
    let perm: Vec<usize> =
        equation.result.iter().filter_map(|label| labels.iter().position(|other| other == label)).collect();
    let x = x.transposed(b, &perm)?;
    one(x.node(b)?)
}

/// The elements of an operand whose positions are equal on axes of one label, which is then there once.
fn diagonal(b: &mut Builder<'_>, operand: Factor, labels: &mut Vec<char>) -> Result<NodeId, Problem> {
    let node = operand.node(b)?;
    let dims = b.dims(node);
    let mut once: Vec<char> = Vec::new();
    let mut extents = Vec::new();
    for (&label, &extent) in labels.iter().zip(&dims) {
        match once.iter().position(|other| *other == label) {
            None => {
                once.push(label);
                extents.push(extent);
            }
            Some(place) if extents[place] == extent => {}
            Some(place) => {
                return Err(invalid(format!(
                    "Einsum with extents {} and {extent} under one label of an operand; they must be equal",
                    extents[place]
                )));
            }
        }
    }
    b.afford(extents.iter().product(), "a diagonal")?;
    let strides = axis::strides(&dims);
    let places: Vec<usize> =
        labels.iter().map(|label| once.iter().position(|other| other == label).unwrap_or(0)).collect();
    let flat = axis::positions(&extents)
        .map(|at| Some(places.iter().zip(&strides).map(|(&place, stride)| at[place] * stride).sum()))
        .collect();
    *labels = once;
    b.gather_flat(node, flat, 0.0, extents)
}

/// Sums over the axes whose labels nobody wants any more.
fn summed(
    b: &mut Builder<'_>,
    operand: Factor,
    labels: Vec<char>,
    wanted: &dyn Fn(char) -> bool,
) -> Result<(Factor, Vec<char>), Problem> {
    let axes: Vec<usize> = (0..labels.len()).filter(|&axis| !wanted(labels[axis])).collect();
    if axes.is_empty() {
        return Ok((operand, labels));
    }
    let node = operand.node(b)?;
    let node = b.reduce(ReduceKind::Sum, node, &axes, false)?;
    Ok((Factor::Node(node), labels.into_iter().filter(|&label| wanted(label)).collect()))
}

/// One product: shared labels that stay are the batch, those that go are summed over.
fn join(
    b: &mut Builder<'_>,
    (left, left_labels): (Factor, Vec<char>),
    (right, right_labels): (Factor, Vec<char>),
    wanted: &dyn Fn(char) -> bool,
    extents: &BTreeMap<char, usize>,
) -> Result<(Factor, Vec<char>), Problem> {
    let (left, left_labels) = summed(b, left, left_labels, &|label| wanted(label) || right_labels.contains(&label))?;
    let (right, right_labels) = summed(b, right, right_labels, &|label| wanted(label) || left_labels.contains(&label))?;
    let shared = |label: &char| left_labels.contains(label) && right_labels.contains(label);
    let batch: Vec<char> = left_labels.iter().copied().filter(|l| shared(l) && wanted(*l)).collect();
    let inner: Vec<char> = left_labels.iter().copied().filter(|l| shared(l) && !wanted(*l)).collect();
    let rows: Vec<char> = left_labels.iter().copied().filter(|l| !shared(l)).collect();
    let columns: Vec<char> = right_labels.iter().copied().filter(|l| !shared(l)).collect();
    let extent = |labels: &[char]| labels.iter().map(|label| extents[label]).collect::<Vec<usize>>();
    let place = |b: &mut Builder<'_>, factor: Factor, labels: &[char], order: &[&[char]], flat: &[usize]| {
        let order: Vec<char> = order.concat();
        let perm: Vec<usize> =
            order.iter().filter_map(|label| labels.iter().position(|other| other == label)).collect();
        let factor = factor.transposed(b, &perm)?;
        // A shared axis of extent 1 beside a longer one is repeated.
        let factor = if factor.dims(b) == extent(&order) {
            factor
        } else {
            let node = factor.node(b)?;
            Factor::Node(super::movement::broadcast(b, node, &extent(&order))?)
        };
        factor.reshaped(b, [extent(&batch), flat.to_vec()].concat())
    };
    let size = |labels: &[char]| extent(labels).iter().product::<usize>();
    let (m, k, n) = (size(&rows), size(&inner), size(&columns));
    let x = place(b, left, &left_labels, &[&batch, &rows, &inner], &[m, k])?;
    let y = place(b, right, &right_labels, &[&batch, &inner, &columns], &[k, n])?;
    let result = product(b, x, y, None)?;
    let labels = [batch, rows, columns].concat();
    let result = b.reshape(result, extent(&labels))?;
    Ok((Factor::Node(result), labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_parsed() {
        let parsed = parse("bij, bjk -> bik", &[3, 3]).unwrap();
        assert_eq!(parsed.operands, [vec!['b', 'i', 'j'], vec!['b', 'j', 'k']]);
        assert_eq!(parsed.result, ['b', 'i', 'k']);
        assert_eq!(parse("ij,jk", &[2, 2]).unwrap().result, ['i', 'k']);
        let dots = parse("...ij,...jk->...ik", &[4, 3]).unwrap();
        assert_eq!(dots.operands[0], [ELLIPSIS[1], ELLIPSIS[0], 'i', 'j']);
        assert_eq!(dots.operands[1], [ELLIPSIS[0], 'j', 'k']);
        assert_eq!(dots.result, [ELLIPSIS[1], ELLIPSIS[0], 'i', 'k']);
        assert!(parse("ij->ijk", &[2]).is_err());
        assert!(parse("ij,jk->ik", &[2]).is_err());
        assert!(parse("i1->i", &[2]).is_err());
    }
}
