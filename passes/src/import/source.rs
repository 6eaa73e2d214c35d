//! A validated ONNX message: what of it reaches an output, in a form later steps can trust.

use super::attributes::Attributes;
use super::error::{Finding, Problem, invalid, unsupported};
use super::operator::{self, Operator};
use super::window::WindowAttributes;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::onnx_protobuf::tensor_shape_proto::dimension;
use crate::onnx::onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};
use crate::onnx::{ReadError, element_type_name, tensor_dims, tensor_f32};
use std::collections::{BTreeMap, BTreeSet};

/// Versions of the default operator set whose meaning is known here.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;
/// Most elements one sample's tensor may have; bounds what a hostile shape can make the compiler allocate.
pub(super) const MAX_ELEMENTS: usize = 1 << 28;

/// One node that contributes to an output.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// ONNX node name, or its first output where it has none; unique.
    pub(super) name: String,
    pub(super) node: NodeProto,
    pub(super) operator: Operator,
}

impl Step {
    pub(super) fn op_type(&self) -> &str {
        self.node.op_type()
    }

    /// Name of an input, where the node has it.
    pub(super) fn input(&self, index: usize) -> Option<&str> {
        self.node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// A model whose structure is sound: names resolve, nodes are in order, attributes are parsed.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) graph_name: String,
    pub(super) opset: i64,
    pub(super) ir_version: i64,
    pub(super) input: String,
    /// With the batch, as 1.
    pub(super) input_dims: Vec<usize>,
    /// Initialisers and the values of Constant nodes.
    pub(super) constants: BTreeMap<String, TensorProto>,
    /// Live nodes in file order, constant-folding ones among them.
    pub(super) steps: Vec<Step>,
    pub(super) outputs: Vec<String>,
    /// Number of axes of the activations, where it is known before shape inference.
    ranks: BTreeMap<String, usize>,
}

impl Source {
    /// Takes the message apart. Where `findings` grew, the source must not be used further.
    pub(super) fn new(model: ModelProto, findings: &mut Vec<Finding>) -> Self {
        let mut source = Source { ir_version: model.ir_version.unwrap_or(3), ..Source::default() };
        let graph = model.graph.unwrap_or_default();
        source.graph_name = graph.name.clone().unwrap_or_default();
        let subject = if source.graph_name.is_empty() { "graph" } else { &source.graph_name }.to_owned();
        let mut note = |problem: Problem| findings.push(problem.about(&subject));
        let default_domain = model.opset_import.iter().find(|set| is_default_domain(set.domain()));
        match default_domain.map(|set| set.version()) {
            Some(version) if OPSETS.contains(&version) => source.opset = version,
            Some(version) => {
                note(unsupported(format!("opset {version}; {} to {} are supported", OPSETS.start(), OPSETS.end())))
            }
            None => note(invalid("no opset of the default domain; the model must import one")),
        }
        if !model.functions.is_empty() {
            note(unsupported(format!("{} model-local functions; none are supported", model.functions.len())));
        }
        if !graph.sparse_initializer.is_empty() {
            note(unsupported(format!("{} sparse initializers; none are supported", graph.sparse_initializer.len())));
        }
        source.take_graph(graph, findings);
        source
    }

    fn take_graph(&mut self, graph: GraphProto, findings: &mut Vec<Finding>) {
        for tensor in graph.initializer {
            let name = tensor.name().to_owned();
            if name.is_empty() {
                findings.push(invalid("an initializer without a name; each must have one").about("graph"));
            } else if self.constants.insert(name.clone(), tensor).is_some() {
                findings.push(invalid("defined by two initializers; names must be unique").about(&name));
            }
        }
        self.take_input(&graph.input, findings);
        self.take_nodes(graph.node, &graph.output, findings);
        for (name, tensor) in &self.constants {
            if let Err(problem) = check_constant(tensor)
                && findings.iter().all(|finding| !finding.problem.ends_with(&problem.text))
            {
                findings.push(problem.about(name));
            }
        }
    }

    fn take_input(&mut self, inputs: &[ValueInfoProto], findings: &mut Vec<Finding>) {
        let inputs: Vec<_> = inputs.iter().filter(|input| !self.constants.contains_key(input.name())).collect();
        let [input] = inputs[..] else {
            let names: Vec<_> = inputs.iter().map(|input| input.name()).collect();
            let text = format!("inputs {names:?}; exactly 1 is supported");
            let problem = if names.is_empty() { invalid(text) } else { unsupported(text) };
            findings.push(problem.about("graph"));
            if let Some(first) = names.first() {
                self.input = (*first).to_owned();
            }
            return;
        };
        self.input = input.name().to_owned();
        match input_dims(input) {
            Ok(dims) => {
                self.ranks.insert(self.input.clone(), dims.len());
                self.input_dims = dims;
            }
            Err(problem) => findings.push(problem.about(input.name())),
        }
    }

    fn take_nodes(&mut self, nodes: Vec<NodeProto>, outputs: &[ValueInfoProto], findings: &mut Vec<Finding>) {
        let mut defined: BTreeSet<String> = self.constants.keys().cloned().chain([self.input.clone()]).collect();
        let later: BTreeSet<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
        let mut names = BTreeSet::new();
        let mut named = Vec::new();
        for (index, mut node) in nodes.into_iter().enumerate() {
            while node.input.last().is_some_and(String::is_empty) {
                node.input.pop();
            }
            while node.output.last().is_some_and(String::is_empty) {
                node.output.pop();
            }
            let name = node_name(&node, index);
            let mut note = |problem: Problem| findings.push(problem.about(&name));
            if !names.insert(name.clone()) {
                note(invalid("the name of two nodes; node names must be unique"));
            }
            if node.output.is_empty() {
                note(invalid("no output; a node requires one"));
            }
            for input in node.input.iter().filter(|input| !input.is_empty()) {
                if !defined.contains(input) {
                    let why = if later.contains(input) { "is defined by a later node" } else { "is defined nowhere" };
                    note(invalid(format!("input {input:?} {why}; nodes must follow what they read")));
                }
            }
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                if !defined.insert(output.clone()) {
                    note(invalid(format!("output {output:?} is defined twice; values must be defined once")));
                }
            }
            named.push((name, node));
        }
        let mut live = self.take_outputs(outputs, &defined, findings);
        let mut steps = Vec::new();
        for (name, node) in named.into_iter().rev() {
            if node.output.iter().any(|output| live.contains(output)) {
                live.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
                steps.push((name, node));
            }
        }
        self.constants.retain(|name, _| live.contains(name));
        let mut constant: BTreeSet<String> = self.constants.keys().cloned().collect();
        for (name, node) in steps.into_iter().rev() {
            match self.parse_node(&name, node, &mut constant, &live) {
                Ok(Some(step)) => self.steps.push(step),
                Ok(None) => {}
                Err(problem) => findings.push(problem.about(&name)),
            }
        }
    }

    fn take_outputs(
        &mut self,
        outputs: &[ValueInfoProto],
        defined: &BTreeSet<String>,
        findings: &mut Vec<Finding>,
    ) -> BTreeSet<String> {
        if outputs.is_empty() {
            findings.push(invalid("no outputs; at least 1 is required").about("graph"));
        }
        for output in outputs {
            if !defined.contains(output.name()) {
                findings.push(invalid("a graph output that no node defines").about(output.name()));
            } else if self.outputs.iter().any(|o| o == output.name()) {
                findings.push(invalid("a graph output twice; outputs must be unique").about(output.name()));
            } else {
                self.outputs.push(output.name().to_owned());
            }
        }
        self.outputs.iter().cloned().collect()
    }

    /// A live node, or `None` where it is a Constant, which joins the constants.
    fn parse_node(
        &mut self,
        name: &str,
        node: NodeProto,
        constant: &mut BTreeSet<String>,
        live: &BTreeSet<String>,
    ) -> Result<Option<Step>, Problem> {
        let mark = |constant: &mut BTreeSet<String>| constant.extend(node.output.iter().cloned());
        if !is_default_domain(node.domain()) {
            mark(constant);
            return Err(unsupported(format!(
                "operator {}::{}; only the default domain is supported",
                node.domain(),
                node.op_type()
            )));
        }
        if node.op_type() == "Constant" {
            mark(constant);
            let output = node.output.first().cloned().unwrap_or_default();
            self.constants.insert(output, constant_value(&node)?);
            return Ok(None);
        }
        let shape_only = matches!(node.op_type(), "Shape" | "Size");
        if shape_only || node.input.iter().all(|input| input.is_empty() || constant.contains(input)) {
            mark(constant);
            if !operator::is_foldable(node.op_type()) {
                return Err(unsupported(format!("operator {} on constants; it is not supported", node.op_type())));
            }
            self.check_fold_size(&node)?;
            return Ok(Some(Step { name: name.to_owned(), node, operator: Operator::Constant }));
        }
        let operator = operator::parse(&node, self.opset)?;
        if let Some(second) = node.output.iter().skip(1).find(|output| live.contains(*output)) {
            return Err(unsupported(format!(
                "output {second:?} of {} is read; only the first output is supported",
                node.op_type()
            )));
        }
        if let Operator::Conv { window, groups } = &operator
            && let Some(weight) = self.constants.get(&node.input[1])
        {
            let dims = tensor_dims(weight)?;
            let kernel = dims.get(2..).unwrap_or_default();
            if !(3..=4).contains(&dims.len()) {
                return Err(unsupported(format!("weight of shape {dims:?}; 3 or 4 axes are supported")));
            }
            if window.kernel.as_ref().is_some_and(|k| k != kernel) || dims.contains(&0) {
                let seen = window.kernel.as_deref().unwrap_or(kernel);
                return Err(invalid(format!("kernel_shape {seen:?} for a weight of shape {dims:?}; they must agree")));
            }
            if dims[0] % groups != 0 {
                return Err(invalid(format!("group {groups} for {} outputs; it must divide them", dims[0])));
            }
            if let Some(bias) = node.input.get(2).and_then(|bias| self.constants.get(bias)) {
                let bias = tensor_dims(bias)?;
                if bias != [dims[0]] {
                    return Err(invalid(format!("bias of shape {bias:?}; [{}] is required", dims[0])));
                }
            }
        }
        self.check_rank(&node, &operator)?;
        // The parameter checks below keep from tract what it would not survive.
        if let Operator::BatchNorm { .. } = operator {
            for input in &node.input[1..] {
                let dims = self.constants.get(input).map(tensor_dims).transpose()?;
                if dims.is_some_and(|dims| dims.len() != 1) {
                    return Err(invalid(format!("parameter {input:?}; it must have one axis")));
                }
            }
        }
        let node = NodeProto { output: vec![node.output[0].clone()], ..node };
        Ok(Some(Step { name: name.to_owned(), node, operator }))
    }

    /// Windows have as many axes as the image they slide over; notes the axes of the result.
    fn check_rank(&mut self, node: &NodeProto, operator: &Operator) -> Result<(), Problem> {
        let known: Option<usize> = node.input.iter().filter_map(|input| self.ranks.get(input).copied()).max();
        let window = match operator {
            Operator::Conv { window, .. } | Operator::MaxPool(window) | Operator::AveragePool { window, .. } => {
                Some(window)
            }
            _ => None,
        };
        if let (Some(rank), Some(axes)) = (known, window.and_then(WindowAttributes::axes))
            && rank != axes + 2
        {
            return Err(invalid(format!(
                "a window over {axes} axes on an activation of {rank}; batch and channels come first"
            )));
        }
        if let Some(rank) = known {
            check_axes(node, operator, rank)?;
        }
        let result = match operator {
            Operator::Flatten { .. } | Operator::Gemm { .. } => Some(2),
            Operator::Reshape if node.op_type() == "Reshape" => {
                self.constants.get(&node.input[1]).and_then(|shape| usize::try_from(*shape.dims.first()?).ok())
            }
            Operator::Reshape | Operator::MatMul | Operator::ReduceMean { .. } | Operator::Constant => None,
            _ => known,
        };
        if let Some(rank) = result {
            self.ranks.insert(node.output[0].clone(), rank);
        }
        Ok(())
    }

    /// Refuses to fold what a few bytes could blow up.
    fn check_fold_size(&self, node: &NodeProto) -> Result<(), Problem> {
        let operand = match node.op_type() {
            "ConstantOfShape" => node.input.first(),
            "Expand" => node.input.get(1),
            "Range" => node.input.get(1),
            _ => None,
        };
        let Some(tensor) = operand.and_then(|name| self.constants.get(name)) else { return Ok(()) };
        let extents = tensor_f32(tensor)?;
        let elements: f64 = extents.data().iter().map(|&v| f64::from(v).abs()).product();
        if elements.is_finite() && elements <= MAX_ELEMENTS as f64 {
            return Ok(());
        }
        Err(unsupported(format!("{} of {elements} elements; at most {MAX_ELEMENTS} are supported", node.op_type())))
    }
}

/// Axes name an axis of the activation, from the front or from the end.
fn check_axes(node: &NodeProto, operator: &Operator, rank: usize) -> Result<(), Problem> {
    let attributes = Attributes::of(node);
    let (axes, extra): (Vec<i64>, i64) = match operator {
        Operator::Concat { axis } | Operator::Softmax { axis, .. } => (vec![*axis], 0),
        // Flatten may name the place behind the last axis.
        Operator::Flatten { axis } => (vec![*axis], 1),
        Operator::Transpose { perm: Some(perm) } => {
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted.iter().enumerate().any(|(i, &axis)| usize::try_from(axis) != Ok(i)) || perm.len() != rank {
                return Err(invalid(format!("perm {perm:?} for {rank} axes; each axis is required once")));
            }
            return Ok(());
        }
        _ => {
            let axes = attributes.ints("axes")?.map(<[i64]>::to_vec).unwrap_or_default();
            let grown = if node.op_type() == "Unsqueeze" { axes.len() } else { 0 };
            (axes, i64::try_from(grown).unwrap_or(0))
        }
    };
    let rank = i64::try_from(rank).unwrap_or(0) + extra;
    match axes.iter().find(|&&axis| !(-rank..rank).contains(&axis)) {
        Some(axis) => Err(invalid(format!("axis {axis} for {rank} axes; it must be in {}..{rank}", -rank))),
        None => Ok(()),
    }
}

fn is_default_domain(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn node_name(node: &NodeProto, index: usize) -> String {
    let first = node.output.iter().find(|output| !output.is_empty()).map(String::as_str);
    match (node.name(), first) {
        ("", Some(output)) => output.to_owned(),
        ("", None) => format!("node {index} ({})", node.op_type()),
        (name, _) => name.to_owned(),
    }
}

/// The input's extents with the batch as 1.
fn input_dims(input: &ValueInfoProto) -> Result<Vec<usize>, Problem> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(unsupported("an input that is no tensor; a tensor is required"));
    };
    let kind = tensor.elem_type.unwrap_or(0);
    if kind != DataType::Float as i32 {
        return Err(unsupported(format!("input of element type {}; FLOAT is required", element_type_name(kind))));
    }
    let Some(shape) = tensor.shape.as_ref() else {
        return Err(unsupported("input without a shape; every extent but the batch must be given"));
    };
    let shown: Vec<String> = shape
        .dim
        .iter()
        .map(|d| match &d.value {
            Some(dimension::Value::DimValue(v)) => v.to_string(),
            Some(dimension::Value::DimParam(p)) => p.clone(),
            None => "?".into(),
        })
        .collect();
    let shown = format!("input of shape [{}]", shown.join(", "));
    if !(2..=4).contains(&shape.dim.len()) {
        return Err(unsupported(format!("{shown}; 2 to 4 axes, the batch first, are supported")));
    }
    let mut dims = vec![1];
    for (axis, dim) in shape.dim.iter().enumerate() {
        match (axis, &dim.value) {
            (0, Some(dimension::Value::DimValue(1)) | Some(dimension::Value::DimParam(_)) | None) => {}
            (0, _) => return Err(unsupported(format!("{shown}; the batch must be symbolic or 1"))),
            (_, Some(dimension::Value::DimValue(v))) if *v >= 1 => dims.push(usize::try_from(*v).unwrap_or(usize::MAX)),
            (_, Some(dimension::Value::DimValue(_))) => return Err(invalid(format!("{shown}; extents must be >= 1"))),
            _ => return Err(unsupported(format!("{shown}; every extent but the batch must be a number"))),
        }
    }
    let elements = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).unwrap_or(usize::MAX);
    if elements > MAX_ELEMENTS {
        return Err(unsupported(format!("{shown}; at most {MAX_ELEMENTS} elements are supported")));
    }
    Ok(dims)
}

/// The data is readable, complete and finite.
fn check_constant(tensor: &TensorProto) -> Result<(), Problem> {
    let values = tensor_f32(tensor).map_err(|error| match error {
        ReadError::NotOnnx(text) | ReadError::Invalid { problem: text, .. } => invalid(text),
        ReadError::Unsupported { problem: text, .. } => unsupported(text),
    })?;
    let float = matches!(
        DataType::try_from(tensor.data_type()),
        Ok(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
    );
    // Infinite bounds of a Clip are meant; weights are checked by the verifier.
    if float && values.data().iter().any(|v| v.is_nan()) {
        return Err(invalid("an initializer with NaN; numbers are required"));
    }
    Ok(())
}

/// The tensor of a Constant node, whichever attribute holds it.
fn constant_value(node: &NodeProto) -> Result<TensorProto, Problem> {
    let [attribute] = &node.attribute[..] else {
        return Err(invalid(format!("Constant with {} attributes; exactly 1 is required", node.attribute.len())));
    };
    let base = TensorProto { name: node.output.first().cloned(), ..TensorProto::default() };
    let floats = |values: Vec<f32>, dims| TensorProto {
        dims,
        data_type: Some(DataType::Float as i32),
        float_data: values,
        ..base.clone()
    };
    let ints = |values: Vec<i64>, dims| TensorProto {
        dims,
        data_type: Some(DataType::Int64 as i32),
        int64_data: values,
        ..base.clone()
    };
    match attribute.name() {
        "value" => {
            let tensor =
                attribute.t.clone().ok_or_else(|| invalid("Constant without a value; a tensor is required"))?;
            Ok(TensorProto { name: base.name, ..tensor })
        }
        "value_float" => Ok(floats(vec![attribute.f.unwrap_or(0.0)], vec![])),
        "value_floats" => {
            Ok(floats(attribute.floats.clone(), vec![i64::try_from(attribute.floats.len()).unwrap_or(0)]))
        }
        "value_int" => Ok(ints(vec![attribute.i.unwrap_or(0)], vec![])),
        "value_ints" => Ok(ints(attribute.ints.clone(), vec![i64::try_from(attribute.ints.len()).unwrap_or(0)])),
        other => Err(unsupported(format!("Constant with {other}; a tensor, floats or ints are supported"))),
    }
}
