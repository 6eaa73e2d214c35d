//! An ONNX message taken apart: what of it reaches an output, in a form later steps can trust.
//!
//! Takes the decoded message; returns the live nodes in file order, the values they start from and the functions they may call.
//! Names resolve and every value is defined once. Unused functions, inputs, initialisers and nodes are left out.

use super::attributes::Attributes;
use super::error::{Finding, Problem, invalid, unsupported};
use super::inputs::Input;
use crate::onnx::onnx_protobuf::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Oldest version of the default operator set whose meaning is known here; what operators of newer ones mean is a matter of
/// each operator.
const OLDEST_OPSET: i64 = 6;
/// Most elements one sample's tensor may have; bounds what a hostile shape can make the compiler allocate.
pub(super) const MAX_ELEMENTS: usize = 1 << 28;

/// The operator sets that a model or a function imports, by domain; the default domain is "".
#[derive(Debug, Default)]
pub(super) struct Opsets(BTreeMap<String, i64>);

impl Opsets {
    fn of(imports: &[OperatorSetIdProto]) -> Self {
        Opsets(imports.iter().map(|set| (plain_domain(set.domain()).to_owned(), set.version())).collect())
    }

    /// The version of a domain; 1 where it is not imported.
    fn version(&self, domain: &str) -> i64 {
        self.0.get(domain).copied().unwrap_or(1)
    }
}

/// The default domain has two names; here it is "".
pub(super) fn plain_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// One node that contributes to an output.
#[derive(Debug)]
pub(super) struct Step {
    /// ONNX node name, or its first output where it has none; several nodes may have the same.
    pub(super) name: String,
    pub(super) node: NodeProto,
    /// The operator sets its names come from.
    pub(super) opsets: Rc<Opsets>,
    stated_outputs: usize,
}

impl Step {
    /// A node that stands for a part of this one.
    pub(super) fn derived(&self, name: String, node: NodeProto) -> Step {
        Step { name, opsets: Rc::clone(&self.opsets), stated_outputs: node.output.len(), node }
    }

    pub(super) fn op_type(&self) -> &str {
        self.node.op_type()
    }

    /// Domain of its operator; "" is the default one.
    pub(super) fn domain(&self) -> &str {
        plain_domain(self.node.domain())
    }

    /// The operator with its domain, where that is not the default one.
    pub(super) fn operator(&self) -> String {
        match self.domain() {
            "" => self.op_type().to_owned(),
            domain => format!("{domain}.{}", self.op_type()),
        }
    }

    /// Version of its own domain's operator set.
    pub(super) fn opset(&self) -> i64 {
        self.opsets.version(self.domain())
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes::of(&self.node)
    }

    /// Number of inputs, missing ones before the last given one included.
    pub(super) fn input_count(&self) -> usize {
        self.node.input.len()
    }

    /// Number of outputs, unnamed ones before the last named one included.
    pub(super) fn output_count(&self) -> usize {
        self.node.output.len()
    }

    /// Number of outputs in the file, whether they are read or not.
    pub(super) fn stated_outputs(&self) -> usize {
        self.stated_outputs
    }

    /// Name of an input, where the node has it.
    pub(super) fn input(&self, index: usize) -> Option<&str> {
        self.node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Whether an output has a name.
    pub(super) fn has_output(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|name| !name.is_empty())
    }
}

/// The functions of a model, by domain, name and overload.
#[derive(Debug, Default)]
pub(super) struct Functions(BTreeMap<(String, String, String), FunctionProto>);

impl Functions {
    fn of(functions: Vec<FunctionProto>) -> Self {
        let key = |function: &FunctionProto| {
            (plain_domain(function.domain()).to_owned(), function.name().to_owned(), function.overload().to_owned())
        };
        Functions(functions.into_iter().map(|function| (key(&function), function)).collect())
    }

    /// The function that a node calls.
    pub(super) fn called_by(&self, node: &NodeProto) -> Option<&FunctionProto> {
        if self.0.is_empty() {
            return None;
        }
        let key = (plain_domain(node.domain()).to_owned(), node.op_type().to_owned(), node.overload().to_owned());
        self.0.get(&key)
    }
}

/// A model whose structure is sound: names resolve, nodes are in order.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) graph_name: String,
    /// Live inputs, in order.
    pub(super) inputs: Vec<Input>,
    /// Live initialisers.
    pub(super) constants: BTreeMap<String, TensorProto>,
    /// Live nodes in file order.
    pub(super) steps: Vec<Step>,
    pub(super) outputs: Vec<Output>,
    pub(super) functions: Functions,
}

/// An output of the network.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    /// Its first extent, where the file states it as a number.
    pub(super) batch: Option<usize>,
}

impl Source {
    /// Takes the message apart. `cut` names values that become the outputs, if any. Where `findings` grew, the source must
    /// not be used further.
    pub(super) fn new(model: ModelProto, cut: &[String], findings: &mut Vec<Finding>) -> Self {
        let opsets = Rc::new(Opsets::of(&model.opset_import));
        let graph = model.graph.unwrap_or_default();
        let graph_name = if graph.name().is_empty() { "graph" } else { graph.name() }.to_owned();
        match opsets.0.get("") {
            Some(version) if *version < OLDEST_OPSET => findings.push(
                unsupported(format!("opset {version}; {OLDEST_OPSET} and newer ones are supported"))
                    .advise("convert the file with onnx.version_converter")
                    .about(&graph_name),
            ),
            None if opsets.0.is_empty() => {
                findings.push(invalid("no opset of the default domain; the model must import one").about(&graph_name))
            }
            _ => {}
        }
        let mut source = Source { graph_name, functions: Functions::of(model.functions), ..Source::default() };
        source.take_graph(graph, &opsets, cut, findings);
        source
    }

    fn take_graph(&mut self, graph: GraphProto, opsets: &Rc<Opsets>, cut: &[String], findings: &mut Vec<Finding>) {
        for tensor in graph.initializer {
            let name = tensor.name().to_owned();
            if name.is_empty() {
                findings.push(invalid("an initializer without a name; each must have one").about("graph"));
            } else if self.constants.insert(name.clone(), tensor).is_some() {
                findings.push(invalid("defined by two initializers; names must be unique").about(&name));
            }
        }
        let sparse: BTreeSet<String> = graph
            .sparse_initializer
            .iter()
            .filter_map(|tensor| tensor.values.as_ref().map(|values| values.name().to_owned()))
            .collect();
        let inputs: Vec<&ValueInfoProto> =
            graph.input.iter().filter(|input| !self.constants.contains_key(input.name())).collect();
        let mut defined: BTreeSet<&str> = self.constants.keys().map(String::as_str).collect();
        defined.extend(sparse.iter().map(String::as_str));
        defined.extend(inputs.iter().map(|input| input.name()));
        check_nodes(&graph.node, &mut defined, findings);
        self.outputs = outputs(&graph.output, &graph.node, &defined, cut, findings);

        let wanted: Vec<String> = self.outputs.iter().map(|output| output.name.clone()).collect();
        let mut read: BTreeSet<String> = wanted.iter().cloned().collect();
        let steps = live_steps(graph.node, &wanted, opsets, &mut read);
        for name in sparse.iter().filter(|name| read.contains(*name)) {
            findings.push(
                unsupported("a sparse initializer; dense ones are supported")
                    .advise("store the values densely")
                    .about(name),
            );
        }
        for input in inputs {
            if read.contains(input.name()) {
                match Input::of(input) {
                    Ok(input) => self.inputs.push(input),
                    Err(problem) => findings.push(problem.about(input.name())),
                }
            }
        }
        self.constants.retain(|name, _| read.contains(name));
        self.steps = steps;
    }
}

/// The values of `cut`, or the outputs that the file states.
fn outputs(
    stated: &[ValueInfoProto],
    nodes: &[NodeProto],
    defined: &BTreeSet<&str>,
    cut: &[String],
    findings: &mut Vec<Finding>,
) -> Vec<Output> {
    let mut outputs: Vec<Output> = Vec::new();
    for name in cut {
        let by_node = || nodes.iter().find(|node| node.name() == name).and_then(|node| node.output.first());
        match if defined.contains(name.as_str()) { Some(name) } else { by_node() } {
            Some(value) if outputs.iter().all(|output| output.name != *value) => {
                outputs.push(Output { name: value.clone(), batch: None });
            }
            Some(_) => {}
            None => findings.push(invalid("no value or node of this name; --cut requires one").about(name)),
        }
    }
    if !cut.is_empty() {
        return outputs;
    }
    if stated.is_empty() {
        findings.push(invalid("no outputs; at least 1 is required").about("graph"));
    }
    for output in stated {
        if !defined.contains(output.name()) {
            findings.push(invalid("a graph output that no node defines").about(output.name()));
        } else if outputs.iter().any(|other| other.name == output.name()) {
            findings.push(invalid("a graph output twice; outputs must be unique").about(output.name()));
        } else {
            let batch = super::inputs::first_extent(output);
            outputs.push(Output { name: output.name().to_owned(), batch });
        }
    }
    outputs
}

/// Every value is defined before it is read, and once.
fn check_nodes<'a>(nodes: &'a [NodeProto], defined: &mut BTreeSet<&'a str>, findings: &mut Vec<Finding>) {
    let later: BTreeSet<&str> = nodes.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
    for (index, node) in nodes.iter().enumerate() {
        let mut note = |problem: Problem| findings.push(problem.about(&node_name(node, index)));
        if node.op_type().is_empty() {
            note(invalid("no op_type; a node requires one"));
        }
        if node.output.iter().all(String::is_empty) {
            note(invalid("no output; a node requires one"));
        }
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            if !defined.contains(input.as_str()) {
                let later = later.contains(input.as_str());
                let why = if later { "is defined by a later node" } else { "is defined nowhere" };
                note(invalid(format!("input {input:?} {why}; nodes must follow what they read")));
            }
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !defined.insert(output) {
                note(invalid(format!("output {output:?} is defined twice; values must be defined once")));
            }
        }
    }
}

/// The nodes that contribute to `wanted`, in order; `read` gets the names of all values they read.
pub(super) fn live_steps(
    nodes: Vec<NodeProto>,
    wanted: &[String],
    opsets: &Rc<Opsets>,
    read: &mut BTreeSet<String>,
) -> Vec<Step> {
    read.extend(wanted.iter().cloned());
    let mut steps = Vec::new();
    for (index, mut node) in nodes.into_iter().enumerate().rev() {
        if !node.output.iter().any(|output| !output.is_empty() && read.contains(output)) {
            continue;
        }
        let name = node_name(&node, index);
        while node.input.last().is_some_and(String::is_empty) {
            node.input.pop();
        }
        let stated_outputs = node.output.iter().filter(|output| !output.is_empty()).count();
        for output in &mut node.output {
            if !read.contains(output) {
                output.clear();
            }
        }
        while node.output.last().is_some_and(String::is_empty) {
            node.output.pop();
        }
        names_read(&node, read);
        steps.push(Step { name, node, opsets: Rc::clone(opsets), stated_outputs });
    }
    steps.reverse();
    steps
}

/// Adds the values a node reads, those of the graphs inside it included.
fn names_read(node: &NodeProto, read: &mut BTreeSet<String>) {
    read.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        read.extend(graph.output.iter().map(|output| output.name().to_owned()));
        for inner in &graph.node {
            names_read(inner, read);
        }
    }
}

/// The body of a function as the nodes of a call: attributes by reference get the values of the call, or their defaults.
pub(super) fn body(function: &FunctionProto, call: &Step, outputs: &[String]) -> Vec<Step> {
    let mut nodes = function.node.clone();
    for node in &mut nodes {
        bind(node, function, &call.node);
        if !node.name().is_empty() {
            node.name = Some(format!("{}/{}", call.name, node.name()));
        }
    }
    let opsets = Rc::new(Opsets::of(&function.opset_import));
    live_steps(nodes, outputs, &opsets, &mut BTreeSet::new())
}

fn bind(node: &mut NodeProto, function: &FunctionProto, call: &NodeProto) {
    node.attribute.retain_mut(|attribute| {
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            graph.node.iter_mut().for_each(|inner| bind(inner, function, call));
        }
        let Some(reference) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) else { return true };
        let given = call.attribute.iter().find(|given| given.name() == reference);
        let value = given.or_else(|| function.attribute_proto.iter().find(|default| default.name() == reference));
        match value {
            Some(value) => {
                let name = attribute.name.take();
                *attribute = value.clone();
                attribute.name = name;
                true
            }
            None => false,
        }
    });
}

/// The branch of an If as steps.
pub(super) fn branch(graph: &GraphProto, parent: &Step) -> Vec<Step> {
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    live_steps(graph.node.clone(), &outputs, &parent.opsets, &mut BTreeSet::new())
}

fn node_name(node: &NodeProto, index: usize) -> String {
    let first = node.output.iter().find(|output| !output.is_empty()).map(String::as_str);
    match (node.name(), first) {
        ("", Some(output)) => output.to_owned(),
        ("", None) => format!("node {index} ({})", node.op_type()),
        (name, _) => name.to_owned(),
    }
}
