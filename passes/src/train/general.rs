//! Operators without a kernel of their own in training: the plain executor runs them, and their gradients are the transposed
//! derivatives of [`adjoint`], both on values in ONNX's order.
//!
//! Constant operands are held here; they are not trained.

mod adjoint;
mod recurrent;
#[cfg(test)]
mod tests;

use self::adjoint::Adjoint;
use super::buffers::Buffers;
use super::layout::Layout;
use super::tape::{Differentiable, Gradient};
use crate::float_exec::{self, Operand, Single};
use crate::ir::{Graph, Node, Op, Shape};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// An operator on the operands that vary.
#[derive(Debug)]
pub(crate) struct General {
    single: Single,
    adjoint: Adjoint,
    operands: Vec<Source>,
    result: Place,
}

/// How the values of a tensor lie.
#[derive(Clone, Debug)]
struct Place {
    len: usize,
    to_plain: Option<Arc<[usize]>>,
    plain_to_own: Option<Arc<[usize]>>,
}

/// An operand in ONNX's order.
#[derive(Debug)]
enum Source {
    /// The next input of the layer.
    Input(Place),
    /// The same for every sample.
    Constant(Vec<f32>),
}

impl Place {
    fn of(shape: &Shape) -> Self {
        let layout = Layout::of(shape);
        Place { len: layout.len(), to_plain: layout.to_plain(), plain_to_own: layout.plain_to_own() }
    }

    fn plain<'v>(&self, values: &'v [f32]) -> Cow<'v, [f32]> {
        moved(&self.to_plain, values)
    }

    fn here<'v>(&self, values: &'v [f32]) -> Cow<'v, [f32]> {
        moved(&self.plain_to_own, values)
    }
}

fn moved<'v>(from: &Option<Arc<[usize]>>, values: &'v [f32]) -> Cow<'v, [f32]> {
    match from {
        None => Cow::Borrowed(values),
        Some(from) => from.iter().map(|&i| values[i]).collect(),
    }
}

/// An operand of a node to be prepared: its shape, and its values in ONNX's order where they are constant.
pub(crate) struct Given<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) constant: Option<&'a [f32]>,
}

impl General {
    /// Prepares a node without its clip.
    pub(crate) fn new(graph: &Graph, node: &Node, operands: &[Given<'_>]) -> Self {
        let bare = Node { activation: None, ..node.clone() };
        let shapes: Vec<&Shape> = operands.iter().map(|operand| operand.shape).collect();
        let source = |given: &Given<'_>| match given.constant {
            Some(values) => Source::Constant(values.to_vec()),
            None => Source::Input(Place::of(given.shape)),
        };
        General {
            adjoint: Adjoint::new(&bare.op, &shapes, &bare.shape),
            operands: operands.iter().map(source).collect(),
            result: Place::of(&bare.shape),
            single: Single::new(graph, bare),
        }
    }

    /// The layers that compute a node from its varying operands: the first takes as many as it can, each other one the result of that
    /// before it and the next.
    pub(crate) fn chain(graph: &Graph, node: &Node, operands: &[Given<'_>]) -> Vec<Arc<General>> {
        let Op::Concat { axis } = node.op else { return vec![Arc::new(General::new(graph, node, operands))] };
        let mut layers = Vec::new();
        let mut before: Option<Shape> = None;
        let mut rest = operands;
        while !rest.is_empty() {
            // As many as varying ones find room; constants need none.
            let mut room = MOST_INPUTS - usize::from(before.is_some());
            let fits = |given: &&Given<'_>| {
                let is_free = given.constant.is_some();
                let fits = is_free || room > 0;
                room -= usize::from(fits && !is_free);
                fits
            };
            let taken = rest.iter().take_while(fits).count();
            let (now, later) = rest.split_at(taken);
            let first = before.iter().map(|shape| Given { shape, constant: None });
            let now: Vec<Given<'_>> =
                first.chain(now.iter().map(|g| Given { shape: g.shape, constant: g.constant })).collect();
            let mut dims = now[0].shape.dims().to_vec();
            dims[axis] = now.iter().map(|given| given.shape.dims()[axis]).sum();
            let shape = Shape::new(dims);
            let part = Node { shape: shape.clone(), inputs: vec![node.inputs[0]; now.len()], ..node.clone() };
            layers.push(Arc::new(General::new(graph, &part, &now)));
            before = Some(shape);
            rest = later;
        }
        layers
    }

    /// How many operands vary.
    pub(crate) fn inputs(&self) -> usize {
        self.operands.iter().filter(|operand| matches!(operand, Source::Input(_))).count()
    }

    /// Values of a sample's result.
    pub(crate) fn len(&self) -> usize {
        self.result.len
    }

    /// The operands of one sample.
    fn sample<'v>(&'v self, inputs: &[&'v [f32]], sample: usize) -> Vec<Cow<'v, [f32]>> {
        let mut inputs = inputs.iter();
        let operand = |source: &'v Source| match source {
            Source::Constant(values) => Cow::Borrowed(&values[..]),
            Source::Input(place) => {
                let values: &'v [f32] = inputs.next().copied().unwrap_or_default();
                place.plain(&values[sample * place.len..][..place.len])
            }
        };
        self.operands.iter().map(operand).collect()
    }

    /// Results of `samples` samples, one after the other.
    pub(crate) fn run(&self, inputs: &[&[f32]], samples: usize, y: &mut [f32]) {
        let len = (y.len() / samples.max(1)).max(1);
        y.par_chunks_exact_mut(len).enumerate().for_each(|(sample, y)| {
            let operands: Vec<Operand<'_>> = self.sample(inputs, sample).into_iter().map(Operand::Samples).collect();
            let plain = self.single.run(&operands, 1, &mut float_exec::Buffers::default());
            y.copy_from_slice(&self.result.here(&plain));
        });
    }
}

/// Inputs that a layer on the tape can have.
const MOST_INPUTS: usize = 4;

impl Differentiable for General {
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32> {
        let first =
            self.operands.iter().find_map(|o| if let Source::Input(place) = o { Some(place.len) } else { None });
        let samples = inputs.first().map_or(1, |x| x.len() / first.unwrap_or(1));
        let mut y = buffers.take(samples * self.result.len);
        self.run(inputs, samples, &mut y);
        y
    }

    fn backward(
        &self,
        inputs: &[&[f32]],
        output: &[f32],
        dy: &[f32],
        wanted: &[bool],
        _: &Buffers,
    ) -> Vec<Option<Gradient>> {
        let len = self.result.len;
        let of_sample = |sample: usize| {
            let operands = self.sample(inputs, sample);
            let [y, dy] = [output, dy].map(|values| self.result.plain(&values[sample * len..][..len]));
            let operands: Vec<&[f32]> = operands.iter().map(|values| &values[..]).collect();
            let gradients = self.adjoint.apply(&operands, &y, &dy);
            let places = self.operands.iter().zip(gradients).filter_map(|(source, gradient)| match source {
                Source::Input(place) => Some(place.here(&gradient).into_owned()),
                Source::Constant(_) => None,
            });
            places.collect::<Vec<Vec<f32>>>()
        };
        let samples = output.len() / len.max(1);
        let made: Vec<Vec<Vec<f32>>> = (0..samples).into_par_iter().map(of_sample).collect();
        let joined = |input: usize| made.iter().flat_map(|sample| &sample[input]).copied().collect();
        wanted.iter().enumerate().map(|(i, &wanted)| wanted.then(|| Gradient::Values(joined(i)))).collect()
    }
}
