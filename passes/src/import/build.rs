//! The graph under construction, and the environment of values its rules read.
//!
//! Every ONNX value is an activation (a node), a constant, or a sequence of such; a value whose node was refused is unknown,
//! and nothing is said about what reads it. A rule turns one ONNX node into nodes. A rule whose inputs are all constants is run in
//! the same way; its nodes are then evaluated and taken away again.

pub(super) use super::constant::Constant;

use super::budget::Budget;
use super::constant::element_count;
use super::control;
use super::error::{Finding, Problem, invalid, unsupported};
use super::fold;
use super::operators;
use super::source::{Functions, MAX_ELEMENTS, Source, Step};
use super::types;
use crate::ir::{AxisMap, ElementType, Graph, Node, NodeId, Op, Shape};
use crate::onnx::onnx_protobuf::TensorProto;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Most nodes of a graph; bounds what repeated functions and sequences can grow to.
const MAX_NODES: usize = 1 << 17;

/// Most nodes that functions and branches may unfold to.
const MAX_STEPS: usize = 1 << 20;

/// Most values that an advice names.
const MOST_CUTS: usize = 4;

/// An ONNX value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// It depends on the network's input.
    Node(NodeId),
    /// It is known.
    Constant(Rc<Constant>),
    /// Several values under one name.
    Sequence(Vec<Value>),
}

impl Value {
    fn is_constant(&self) -> bool {
        match self {
            Value::Node(_) => false,
            Value::Constant(_) => true,
            Value::Sequence(values) => values.iter().all(Value::is_constant),
        }
    }
}

/// What the environment holds under a name.
#[derive(Clone, Debug)]
enum Slot<'a> {
    Known(Value, DataType),
    /// An initialiser nobody has read yet.
    Stored(&'a TensorProto),
    /// Its node was refused.
    Unknown,
}

/// The names of a graph, a branch or a function.
#[derive(Debug, Default)]
struct Scope<'a> {
    slots: BTreeMap<String, Slot<'a>>,
    /// Whether the names around it can be seen: those of a function cannot.
    closed: bool,
}

/// The graph under construction.
pub(super) struct Builder<'a> {
    functions: &'a Functions,
    nodes: Vec<Node>,
    /// The innermost last.
    scopes: Vec<Scope<'a>>,
    findings: Vec<Finding>,
    budget: Budget,
    /// Names of nodes.
    names: BTreeSet<String>,
    /// Names of the file's nodes: each goes to a node of that one, if to any.
    reserved: BTreeSet<&'a str>,
    /// Nodes of the file that may still be looked at, each call of a function counted anew.
    steps_left: usize,
    /// Names the nodes of the current step begin with.
    prefix: String,
    /// Constants that are nodes already, by their address.
    operands: BTreeMap<usize, (Rc<Constant>, NodeId)>,
    /// Nodes that are codes of others, and how they were made.
    pub(super) codes: BTreeMap<NodeId, (NodeId, operators::Codes)>,
    /// First node of the constants that are being folded.
    folded_from: Option<usize>,
    /// Functions being inlined.
    pub(super) calls: Vec<String>,
    /// The batch that the file fixes and that is taken as 1.
    batch: Option<usize>,
}

/// The graph, or everything that stands against it. `dims` are the extents of the inputs, `batch` is the fixed batch that
/// they no longer have, `file_len` the size of the file.
pub(super) fn graph(
    source: &Source,
    dims: &[Vec<usize>],
    batch: Option<usize>,
    file_len: usize,
) -> Result<Graph, Vec<Finding>> {
    let mut builder = Builder {
        functions: &source.functions,
        nodes: Vec::new(),
        scopes: vec![Scope::default()],
        findings: Vec::new(),
        budget: Budget::for_file(file_len),
        names: BTreeSet::new(),
        reserved: source.steps.iter().map(|step| step.name.as_str()).collect(),
        steps_left: MAX_STEPS,
        prefix: String::new(),
        operands: BTreeMap::new(),
        codes: BTreeMap::new(),
        folded_from: None,
        calls: Vec::new(),
        batch,
    };
    builder.store(source.constants.iter().map(|(name, tensor)| (name.clone(), tensor)));
    for (input, dims) in source.inputs.iter().zip(dims) {
        if let Err(problem) = builder.input(&input.name, input.kind, dims) {
            builder.findings.push(problem.about(&input.name));
        }
    }
    builder.run(&source.steps);
    builder.finish(source, batch)
}

/// What can be said of a model whose inputs are not known: the operators that have no rule.
pub(super) fn unsupported_operators(source: &Source) -> Vec<Finding> {
    let unknown = source.steps.iter().filter(|step| {
        source.functions.called_by(&step.node).is_none() && !is_known(step) && !step.op_type().is_empty()
    });
    unknown.map(|step| Finding { operator: Some(step.operator()), ..no_rule(step).about(&step.name) }).collect()
}

fn is_known(step: &Step) -> bool {
    operators::find(&step.operator()).is_some() || is_if(step)
}

fn is_if(step: &Step) -> bool {
    step.domain().is_empty() && step.op_type() == "If"
}

fn no_rule(step: &Step) -> Problem {
    let operator = step.operator();
    let why = operators::reason(&operator).unwrap_or("it is not supported");
    unsupported(format!("operator {operator}; {why}"))
}

/// A value with its element type; `None` where it is not known.
type Known = Option<(Value, DataType)>;

impl<'a> Builder<'a> {
    fn input(&mut self, name: &str, kind: DataType, dims: &[usize]) -> Result<(), Problem> {
        let shape = Shape::new(dims.to_vec());
        let op = Op::Input(types::element(kind)?);
        self.names.insert(name.to_owned());
        self.nodes.push(Node { name: name.to_owned(), op, inputs: vec![], shape, activation: None });
        self.define(name, Value::Node(NodeId(self.nodes.len() - 1)), kind);
        Ok(())
    }

    /// Puts initialisers into the innermost scope.
    pub(super) fn store(&mut self, constants: impl Iterator<Item = (String, &'a TensorProto)>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.slots.extend(constants.map(|(name, tensor)| (name, Slot::Stored(tensor))));
        }
    }

    /// Puts a value into the innermost scope.
    pub(super) fn define(&mut self, name: &str, value: Value, kind: DataType) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.slots.insert(name.to_owned(), Slot::Known(value, kind));
        }
    }

    /// The nodes that follow are those of a step: their names begin with its.
    pub(super) fn begin(&mut self, step: &Step) {
        self.prefix.clone_from(&step.name);
    }

    /// The nodes of a graph, a branch or a function, one after the other.
    pub(super) fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    /// What stands against the model so far.
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Takes away what stands against it from a position on.
    pub(super) fn take_findings(&mut self, from: usize) -> Vec<Finding> {
        self.findings.split_off(from)
    }

    /// Puts back what was taken away.
    pub(super) fn add_findings(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// Runs the steps of a branch or a function in a scope of their own and returns the values of its outputs; `None` for
    /// those that are unknown.
    pub(super) fn inside(
        &mut self,
        closed: bool,
        inputs: Vec<(String, Option<(Value, DataType)>)>,
        steps: &[Step],
        outputs: &[String],
    ) -> Result<Vec<Option<(Value, DataType)>>, Problem> {
        let slot = |value| match value {
            Some((value, kind)) => Slot::Known(value, kind),
            None => Slot::Unknown,
        };
        let slots = inputs.into_iter().map(|(name, value)| (name, slot(value))).collect();
        self.scopes.push(Scope { slots, closed });
        self.run(steps);
        let values = outputs.iter().map(|name| self.read(name)).collect();
        self.scopes.pop();
        values
    }

    /// One node. What stands against it becomes a finding, and its results unknown.
    fn step(&mut self, step: &Step) {
        let Some(left) = self.steps_left.checked_sub(1) else { return self.poison(step) };
        self.steps_left = left;
        if left == 0 {
            let text = format!("more than {MAX_STEPS} nodes, functions unfolded; at most so many are supported");
            self.findings.push(unsupported(text).about(&step.name));
            return self.poison(step);
        }
        let mark = self.nodes.len();
        let (prefix, folded_from) = (std::mem::take(&mut self.prefix), self.folded_from.take());
        match self.results(step) {
            Ok(Some(results)) => self.keep(step, results),
            Ok(None) => self.poison(step),
            Err(problem) => {
                self.forget_from(mark);
                self.findings.push(Finding { operator: Some(step.operator()), ..problem.about(&step.name) });
                self.poison(step);
            }
        }
        (self.prefix, self.folded_from) = (prefix, folded_from);
    }

    fn keep(&mut self, step: &Step, results: Vec<Option<(Value, DataType)>>) {
        let mut results = results.into_iter();
        for output in &step.node.output {
            let slot = match results.next().flatten() {
                Some((value, kind)) => Slot::Known(value, kind),
                None => Slot::Unknown,
            };
            if let (false, Some(scope)) = (output.is_empty(), self.scopes.last_mut()) {
                scope.slots.insert(output.clone(), slot);
            }
        }
    }

    fn poison(&mut self, step: &Step) {
        self.keep(step, Vec::new());
    }

    /// The values of a node's outputs; `None` where an input is unknown.
    fn results(&mut self, step: &Step) -> Result<Option<Vec<Known>>, Problem> {
        let function = self.functions.called_by(&step.node);
        let is_if = is_if(step);
        if function.is_none() && !is_known(step) {
            return Err(self.cut_before(step, no_rule(step)));
        }
        let mut inputs = Vec::with_capacity(step.input_count());
        let mut known = true;
        for name in &step.node.input {
            let value = if name.is_empty() { None } else { self.read(name)? };
            known &= name.is_empty() || value.is_some();
            inputs.push(value);
        }
        if let Some(function) = function {
            return control::call(self, step, function, inputs).map(Some);
        }
        if !known {
            return Ok(None);
        }
        if is_if {
            return control::branch(self, step).map(Some);
        }
        let Some(rule) = operators::find(&step.operator()) else { return Ok(None) };
        let constant = inputs.iter().flatten().all(|(value, _)| value.is_constant());
        let mark = self.nodes.len();
        self.begin(step);
        self.folded_from = constant.then_some(mark);
        let values = rule(self, step)?;
        if values.len() < step.output_count() && (values.len()..step.output_count()).any(|i| step.has_output(i)) {
            let missing = &step.node.output[values.len()];
            return Err(unsupported(format!(
                "output {missing:?} of {} is read; only the first {} supported",
                step.op_type(),
                if values.len() == 1 { "is".to_owned() } else { format!("{} are", values.len()) }
            )));
        }
        let kinds: Vec<Option<DataType>> = inputs.iter().map(|input| input.as_ref().map(|(_, kind)| *kind)).collect();
        let mut typed: Vec<(Value, DataType)> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| match value {
                Value::Constant(constant) => {
                    let kind = constant.kind();
                    (Value::Constant(constant), kind)
                }
                value => (value, types::result(step, index, &kinds)),
            })
            .collect();
        if constant {
            self.fold(mark, &mut typed)?;
        }
        self.name_results(step, mark, &typed);
        Ok(Some(typed.into_iter().map(Some).collect()))
    }

    /// The problem with the advice to compile up to what a node reads.
    fn cut_before(&mut self, step: &Step, problem: Problem) -> Problem {
        let mut cuts: Vec<String> = Vec::new();
        for name in step.node.input.iter().filter(|name| !name.is_empty()) {
            if matches!(self.read(name), Ok(Some((Value::Node(_), _)))) && cuts.len() < MOST_CUTS {
                cuts.push(format!("--cut {name}"));
            }
        }
        cuts.dedup();
        if cuts.is_empty() {
            problem
        } else {
            problem.advise(format!("compile up to what it reads: {}", cuts.join(" ")))
        }
    }

    /// Replaces values by constants where the nodes from `mark` on can be evaluated, and takes the nodes away.
    fn fold(&mut self, mark: usize, values: &mut [(Value, DataType)]) -> Result<(), Problem> {
        let exact = self.operands.values().filter(|(_, id)| id.0 >= mark);
        let exact: BTreeMap<usize, Rc<Constant>> =
            exact.map(|(constant, id)| (id.0 - mark, Rc::clone(constant))).collect();
        let Some(folded) = fold::evaluate(&self.nodes[mark..], mark, &exact) else {
            // The nodes stay, and read real operands.
            for (index, constant) in exact {
                self.nodes[mark + index].op = Op::Constant(constant.operand()?);
            }
            return Ok(());
        };
        for (value, kind) in values.iter_mut() {
            replace(value, *kind, mark, &folded);
        }
        self.forget_from(mark);
        Ok(())
    }

    /// Takes away the nodes from `mark` on.
    fn forget_from(&mut self, mark: usize) {
        for node in self.nodes.drain(mark..) {
            self.names.remove(&node.name);
        }
        self.operands.retain(|_, (_, id)| id.0 < mark);
        self.codes.retain(|id, _| id.0 < mark);
    }

    /// The node that yields the first output gets the name of the step, if this step made it.
    fn name_results(&mut self, step: &Step, mark: usize, values: &[(Value, DataType)]) {
        let Some((Value::Node(id), _)) = values.first() else { return };
        if id.0 < mark {
            return;
        }
        let output = &step.node.output[0];
        let free = |name: &str| !name.is_empty() && !self.names.contains(name);
        let name = if free(&step.name) {
            step.name.clone()
        } else if free(output) && !self.reserved.contains(output.as_str()) {
            output.clone()
        } else {
            self.fresh(&step.name)
        };
        let old = std::mem::replace(&mut self.nodes[id.0].name, name.clone());
        self.names.remove(&old);
        self.names.insert(name);
    }

    /// A name no node has.
    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut count = 1;
        while self.reserved.contains(name.as_str()) || !self.names.insert(name.clone()) {
            count += 1;
            name = format!("{wanted}:{count}");
        }
        name
    }

    /// The value of a name; `None` where it is unknown.
    fn read(&mut self, name: &str) -> Result<Option<(Value, DataType)>, Problem> {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(slot) = scope.slots.get_mut(name) {
                return match slot {
                    Slot::Known(value, kind) => Ok(Some((value.clone(), *kind))),
                    Slot::Unknown => Ok(None),
                    Slot::Stored(tensor) => {
                        let constant = Constant::read(tensor)?;
                        let kind = constant.kind();
                        let value = Value::Constant(Rc::new(constant));
                        *slot = Slot::Known(value.clone(), kind);
                        Ok(Some((value, kind)))
                    }
                };
            }
            if scope.closed {
                break;
            }
        }
        Err(invalid(format!("input {name:?} is defined nowhere; nodes must follow what they read")))
    }

    /// A value that was read before its step's rule was run.
    fn known(&self, name: &str) -> Option<(&Value, DataType)> {
        for scope in self.scopes.iter().rev() {
            match scope.slots.get(name) {
                Some(Slot::Known(value, kind)) => return Some((value, *kind)),
                Some(_) => return None,
                None if scope.closed => return None,
                None => {}
            }
        }
        None
    }

    /// The value of an input; `None` where the node has no such input.
    pub(super) fn value(&self, step: &Step, index: usize) -> Result<Option<Value>, Problem> {
        Ok(step.input(index).and_then(|name| self.known(name)).map(|(value, _)| value.clone()))
    }

    /// The node of an input that the operator requires; a constant becomes one.
    pub(super) fn node(&mut self, step: &Step, index: usize) -> Result<NodeId, Problem> {
        match self.value(step, index)? {
            Some(value) => self.node_of(&value),
            None => Err(invalid(format!("no input {index}; {} requires it", step.op_type()))),
        }
    }

    /// The node of a value; a constant becomes one.
    pub(super) fn node_of(&mut self, value: &Value) -> Result<NodeId, Problem> {
        match value {
            Value::Node(id) => Ok(*id),
            Value::Sequence(_) => Err(unsupported("a sequence where a tensor is required")),
            Value::Constant(constant) => {
                let key = Rc::as_ptr(constant).addr();
                // A rule that runs on constants has nodes of its own, which are taken away behind it.
                if let Some((_, id)) = self.operands.get(&key)
                    && id.0 >= self.folded_from.unwrap_or(0)
                {
                    return Ok(*id);
                }
                let tensor = if self.folding() { placeholder(constant) } else { constant.operand()? };
                let id = self.push(Op::Constant(tensor), &[])?;
                self.operands.insert(key, (Rc::clone(constant), id));
                Ok(id)
            }
        }
    }

    /// The constant of an input; `None` where the node has no such input.
    ///
    /// # Errors
    /// Where the value depends on the network's input.
    pub(super) fn constant(&self, step: &Step, index: usize) -> Result<Option<Rc<Constant>>, Problem> {
        match self.value(step, index)? {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(_) => Err(unsupported(format!(
                "input {index} of {} depends on the network's input; a constant is required",
                step.op_type()
            ))),
        }
    }

    /// Whether an input is given and constant.
    pub(super) fn is_constant(&self, step: &Step, index: usize) -> bool {
        matches!(self.value(step, index), Ok(Some(Value::Constant(_))))
    }

    /// Element type of an input.
    pub(super) fn element(&self, step: &Step, index: usize) -> Result<ElementType, Problem> {
        self.kind(step, index).map_or(Ok(ElementType::F32), types::element)
    }

    /// Element type of an input as ONNX has it; `None` where the node has no such input.
    pub(super) fn kind(&self, step: &Step, index: usize) -> Option<DataType> {
        step.input(index).and_then(|name| self.known(name)).map(|(_, kind)| kind)
    }

    /// Shape of a node's result.
    pub(super) fn shape(&self, node: NodeId) -> &Shape {
        &self.nodes[node.0].shape
    }

    /// What a node computes.
    pub(super) fn op(&self, node: NodeId) -> &Op {
        &self.nodes[node.0].op
    }

    /// The nodes whose results a node reads.
    pub(super) fn inputs(&self, node: NodeId) -> &[NodeId] {
        &self.nodes[node.0].inputs
    }

    /// Whether the rule runs on constants: results without elements are allowed then.
    pub(super) fn folding(&self) -> bool {
        self.folded_from.is_some()
    }

    /// Adds a node; its shape follows from the operator.
    pub(super) fn push(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, Problem> {
        self.push_as(op, inputs, Shape::new(vec![]))
    }

    /// The elements of `node` under other extents; the node itself where they are equal.
    pub(super) fn reshape(&mut self, node: NodeId, dims: Vec<usize>) -> Result<NodeId, Problem> {
        if self.shape(node).dims() == dims {
            return Ok(node);
        }
        // A chain of reshapes is one.
        let source = match (self.op(node), &self.nodes[node.0].inputs[..]) {
            (Op::Reshape, &[source]) => source,
            _ => node,
        };
        if self.shape(source).dims() == dims {
            return Ok(source);
        }
        self.push_as(Op::Reshape, &[source], Shape::new(dims))
    }

    fn push_as(&mut self, op: Op, inputs: &[NodeId], stated: Shape) -> Result<NodeId, Problem> {
        if self.nodes.len() >= MAX_NODES {
            return Err(unsupported(format!("more than {MAX_NODES} nodes; at most so many are supported")));
        }
        if let Op::Gather { maps, .. } = &op {
            let listed = maps.iter().map(|map| if let AxisMap::Indices(list) = map { list.len() } else { 0 });
            self.budget.spend(listed.sum(), size_of::<Option<usize>>(), "positions")?;
        }
        let shapes: Vec<&Shape> = inputs.iter().map(|input| &self.nodes[input.0].shape).collect();
        let shape = op.shape(&shapes, &stated).map_err(invalid)?;
        match element_count(shape.dims()) {
            Some(0) if !self.folding() => {
                return Err(unsupported(format!("a result of shape {:?}; every extent must be >= 1", shape.dims())));
            }
            Some(count) if count <= MAX_ELEMENTS => {
                if self.folding() && !matches!(op, Op::Constant(_) | Op::Reshape) {
                    self.budget.spend(count, size_of::<f64>(), "a folded result")?;
                }
            }
            _ => {
                let text =
                    format!("a result of shape {:?}; at most {MAX_ELEMENTS} elements are supported", shape.dims());
                return Err(unsupported(text));
            }
        }
        let wanted = if self.prefix.is_empty() { op.label().to_owned() } else { format!("{}:1", self.prefix) };
        let name = self.fresh(&wanted);
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape, activation: None });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Says what the user should know of a node that was imported.
    pub(super) fn note(&self, step: &Step, text: &str) {
        tracing::info!("{}: {text}", step.name);
    }

    /// Whether a list of `count` entries can be made; to be asked before one is made whose length comes from the file.
    ///
    /// # Errors
    /// Where the list is larger than what is left of the budget.
    pub(super) fn afford(&self, count: usize, what: &str) -> Result<(), Problem> {
        self.budget.check(count, size_of::<Option<usize>>(), what)
    }

    /// Takes from the budget what a constant of `count` elements needs, before it is made.
    pub(super) fn spend(&mut self, count: usize, what: &str) -> Result<(), Problem> {
        self.budget.spend(count, size_of::<f64>(), what)
    }

    /// The shape that a Reshape states, for an operand of `dims`: where the file was made for a batch that is 1 here, a
    /// leading extent that is the batch becomes 1 if only that fits.
    pub(super) fn batch_free(&self, stated: &[i64], dims: &[usize]) -> Vec<i64> {
        let mut stated = stated.to_vec();
        let count = element_count(dims).and_then(|count| i64::try_from(count).ok());
        let Some(batch) = self.batch.and_then(|batch| i64::try_from(batch).ok()) else { return stated };
        if stated.first() != Some(&batch) {
            return stated;
        }
        let known = stated.iter().enumerate().filter(|(_, extent)| **extent != -1).map(|(axis, &extent)| {
            if extent == 0 { dims.get(axis).and_then(|&d| i64::try_from(d).ok()).unwrap_or(0) } else { extent }
        });
        let product = known.fold(1i64, i64::saturating_mul);
        let open = stated.contains(&-1);
        let fits = |product: i64| {
            product > 0 && count.is_some_and(|count| if open { count % product == 0 } else { count == product })
        };
        // With an open extent both may fit; the batch is 1 then.
        if fits(product / batch) && (open || !fits(product)) {
            stated[0] = 1;
        }
        stated
    }

    fn finish(mut self, source: &Source, batch: Option<usize>) -> Result<Graph, Vec<Finding>> {
        let mut outputs = Vec::new();
        for output in &source.outputs {
            let node = match self.read(&output.name) {
                Ok(None) => continue,
                Ok(Some(_)) if operators::is_assumed(&mut self, &source.steps, &output.name) => {
                    Err(unsupported("codes of DynamicQuantizeLinear as an output; an operator must read them"))
                }
                Ok(Some((Value::Sequence(_), _))) => {
                    Err(unsupported("an output that is a sequence; a tensor is required"))
                }
                Ok(Some((value, _))) => self.node_of(&value),
                Err(problem) => Err(problem),
            };
            let kept = |node: NodeId| batch.is_none() || self.shape(node).dims().first() == Some(&1);
            match node {
                Ok(node) if kept(node) => outputs.push((output.name.clone(), node)),
                Ok(node) => {
                    let text = format!("an output of shape {}; its batch must be 1", self.shape(node));
                    self.findings.push(unsupported(text).about(&output.name));
                }
                Err(problem) => self.findings.push(problem.about(&output.name)),
            }
        }
        let is_constant = |(_, node): &(String, NodeId)| matches!(self.op(*node), Op::Constant(_));
        if let (true, Some((name, _))) = (outputs.iter().all(is_constant), outputs.first()) {
            self.findings.push(unsupported("no output depends on the network's input; one must").about(name));
        }
        if self.findings.is_empty() {
            Ok(live(Graph { name: source.graph_name.clone(), nodes: self.nodes, outputs }))
        } else {
            Err(self.findings)
        }
    }
}

/// What stands for a constant that is folded: only its extents matter, its values are looked up.
fn placeholder(constant: &Constant) -> crate::ir::Tensor {
    let values = constant.stored_floats().cloned().unwrap_or_else(|| vec![0.0; constant.len()].into());
    crate::ir::Tensor::new(constant.dims().to_vec(), values)
        .unwrap_or_else(|| unreachable!("a constant has its extents"))
}

/// Replaces the nodes that were folded.
fn replace(value: &mut Value, kind: DataType, mark: usize, folded: &[fold::Array]) {
    match value {
        Value::Node(id) => {
            if let Some(array) = id.0.checked_sub(mark).and_then(|at| folded.get(at)) {
                *value = Value::Constant(Rc::new(array.to_constant(kind)));
            }
        }
        Value::Constant(_) => {}
        Value::Sequence(values) => values.iter_mut().for_each(|value| replace(value, kind, mark, folded)),
    }
}

/// The graph without the nodes and inputs that no output needs; the first input stays if none is needed.
fn live(graph: Graph) -> Graph {
    let mut needed = vec![false; graph.nodes.len()];
    for (_, id) in &graph.outputs {
        needed[id.0] = true;
    }
    for index in (0..graph.nodes.len()).rev() {
        if needed[index] {
            graph.nodes[index].inputs.iter().for_each(|input| needed[input.0] = true);
        }
    }
    let unread = graph.nodes.iter().zip(&needed).filter(|(node, needed)| node.is_input() && !**needed);
    unread.for_each(|(node, _)| tracing::info!("input \"{}\" is left out: no output depends on it", node.name));
    let without_input = graph.nodes.iter().zip(&needed).all(|(node, needed)| !node.is_input() || !needed);
    if let (true, Some(first)) = (without_input, needed.first_mut()) {
        *first = true;
    }
    let mut places = vec![NodeId(0); graph.nodes.len()];
    let mut nodes = Vec::new();
    for (index, mut node) in graph.nodes.into_iter().enumerate() {
        if needed[index] {
            node.inputs.iter_mut().for_each(|input| *input = places[input.0]);
            places[index] = NodeId(nodes.len());
            nodes.push(node);
        }
    }
    let outputs = graph.outputs.into_iter().map(|(name, id)| (name, places[id.0])).collect();
    Graph { name: graph.name, nodes, outputs }
}
