//! Operators that stand for several others: their nodes run in place of them.

use super::build::{Builder, Constant, Value};
use super::error::{Finding, Problem, unsupported};
use super::source::Step;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::onnx_protobuf::{AttributeProto, NodeProto};

/// The nodes that a node stands for. Inputs are names: those of the node itself, or of what was added before.
pub(super) struct Expansion<'s> {
    step: &'s Step,
    steps: Vec<Step>,
    constants: Vec<(String, Option<(Value, DataType)>)>,
}

impl<'s> Expansion<'s> {
    pub(super) fn of(step: &'s Step) -> Self {
        Expansion { step, steps: Vec::new(), constants: Vec::new() }
    }

    /// Name of an input of the node; "" where it is not given.
    pub(super) fn input(&self, index: usize) -> &'s str {
        self.step.input(index).unwrap_or_default()
    }

    /// A constant under a name.
    pub(super) fn constant(&mut self, constant: Constant) -> String {
        let name = format!("{}:constant {}", self.step.name, self.constants.len());
        let kind = constant.kind();
        self.constants.push((name.clone(), Some((Value::Constant(constant.into()), kind))));
        name
    }

    /// A float constant of no axes under a name.
    pub(super) fn number(&mut self, value: f32) -> String {
        self.constant(Constant::of_numbers(vec![], DataType::Float, &[f64::from(value)]))
    }

    /// A node of the default domain, with the name of its result.
    pub(super) fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = format!("{}:{}", self.step.name, operator.to_ascii_lowercase());
        self.named(name, operator, inputs, attributes)
    }

    /// The node that the expansion is about: it has the name of the whole.
    pub(super) fn main(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.named(self.step.name.clone(), operator, inputs, attributes)
    }

    fn named(&mut self, name: String, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{}:value {}", self.step.name, self.steps.len());
        self.push(name, operator, inputs, vec![output.clone()], attributes);
        output
    }

    fn push(
        &mut self,
        name: String,
        operator: &str,
        inputs: &[&str],
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        let mut input: Vec<String> = inputs.iter().map(|&name| name.to_owned()).collect();
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        let op_type = Some(operator.to_owned());
        self.steps.push(self.step.derived(name, NodeProto { input, output, op_type, attribute, ..Default::default() }));
    }

    /// Runs the nodes; returns what `output` is.
    ///
    /// # Errors
    /// What stands against one of the nodes.
    pub(super) fn value(self, b: &mut Builder<'_>, output: &str) -> Result<Value, Problem> {
        let mut values = self.values(b, &[output.to_owned()])?;
        values.pop().ok_or_else(|| unsupported("a result that is not known"))
    }

    /// Adds the node that the expansion is about, with `count` results, and runs all; returns the results.
    ///
    /// # Errors
    /// What stands against one of the nodes.
    pub(super) fn several(
        mut self,
        b: &mut Builder<'_>,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        count: usize,
    ) -> Result<Vec<Value>, Problem> {
        let outputs: Vec<String> = (0..count).map(|i| format!("{}:result {i}", self.step.name)).collect();
        self.push(self.step.name.clone(), operator, inputs, outputs.clone(), attributes);
        self.values(b, &outputs)
    }

    /// Runs the nodes; returns what `outputs` are.
    ///
    /// # Errors
    /// What stands against one of the nodes.
    pub(super) fn values(self, b: &mut Builder<'_>, outputs: &[String]) -> Result<Vec<Value>, Problem> {
        let mark = b.findings().len();
        let results = b.inside(false, self.constants, &self.steps, outputs)?;
        let values: Option<Vec<Value>> = results.into_iter().map(|result| result.map(|(value, _)| value)).collect();
        values.ok_or_else(|| match b.take_findings(mark).into_iter().next() {
            Some(Finding { kind, problem, advice, .. }) => Problem { kind, text: problem, advice },
            None => unsupported(format!("{} of what is not known", self.step.operator())),
        })
    }
}

/// The attributes of a node with some of these names.
pub(super) fn kept(step: &Step, names: &[&str]) -> Vec<AttributeProto> {
    step.node.attribute.iter().filter(|attribute| names.contains(&attribute.name())).cloned().collect()
}
