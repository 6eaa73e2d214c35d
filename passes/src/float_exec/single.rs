//! One node at a time, on operands that the caller holds.

use super::Scratch;
use super::step::{Operands, Step};
use crate::ir::{Graph, Node};
use crate::simd::Isa;
use std::borrow::Cow;

/// The values of one operand.
#[derive(Clone, Debug)]
pub enum Operand<'v> {
    /// Those of all samples, one sample after the other.
    Samples(Cow<'v, [f32]>),
    /// The same for every sample.
    Constant(Cow<'v, [f32]>),
}

/// A node of a folded graph, laid out for execution.
#[derive(Debug)]
pub struct Single {
    node: Node,
    step: Step,
    isa: Isa,
}

/// Buffers that pass from one node to the next.
#[derive(Debug, Default)]
pub struct Buffers {
    unused: Vec<Vec<f32>>,
    scratch: Scratch,
}

impl Buffers {
    /// Takes values that nobody reads any more.
    pub fn give_back(&mut self, values: Vec<f32>) {
        if values.capacity() > 0 {
            self.unused.push(values);
        }
    }

    /// A buffer of `len` values of any content.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        let mut values = self.unused.pop().unwrap_or_default();
        values.resize(len, 0.0);
        values
    }
}

struct Given<'o> {
    operands: &'o [Operand<'o>],
    samples: usize,
}

impl<'o> Operands<'o> for Given<'o> {
    fn sample(&self, operand: usize, sample: usize) -> &'o [f32] {
        match &self.operands[operand] {
            Operand::Constant(values) => values,
            Operand::Samples(values) => {
                let len = values.len() / self.samples;
                &values[sample * len..][..len]
            }
        }
    }

    fn all(&self, operand: usize) -> Cow<'o, [f32]> {
        match &self.operands[operand] {
            Operand::Constant(values) => Cow::Owned(values.repeat(self.samples)),
            Operand::Samples(values) => Cow::Borrowed(values),
        }
    }
}

impl Single {
    /// Prepares a node whose operands have the shapes that `graph` says; the node itself may differ from that of the graph.
    ///
    /// # Panics
    /// When the node is an input or a constant, or a layer that still carries batch normalisation.
    pub fn new(graph: &Graph, node: Node) -> Self {
        let step = Step::new(graph, &node, 0);
        assert!(!matches!(step, Step::Input { .. } | Step::Constant), "{} has no operands", node.name);
        Single { node, step, isa: Isa::detect() }
    }

    /// The results of `samples` samples, one after the other.
    pub fn run(&self, operands: &[Operand<'_>], samples: usize, buffers: &mut Buffers) -> Vec<f32> {
        let mut y = buffers.take(self.node.shape.len() * samples);
        let given = Given { operands, samples };
        self.step.run(self.isa, &self.node, &given, &mut y, samples, &mut buffers.scratch);
        y
    }
}
