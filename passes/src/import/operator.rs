//! One ONNX node as a typed operator: which operators are supported, and every attribute checked.

use super::attributes::Attributes;
use super::error::{Problem, invalid, unsupported};
use super::window::WindowAttributes;
use crate::onnx::onnx_protobuf::NodeProto;

/// A supported operator with its attributes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operator {
    Conv {
        window: WindowAttributes,
        groups: usize,
    },
    MaxPool(WindowAttributes),
    AveragePool {
        window: WindowAttributes,
        count_include_pad: bool,
    },
    GlobalPool {
        max: bool,
    },
    /// Axes from the attribute; `None` where they are an input or all axes.
    ReduceMean {
        axes: Option<Vec<i64>>,
        keep: bool,
    },
    Gemm {
        alpha: f32,
        beta: f32,
        trans_b: bool,
    },
    MatMul,
    BatchNorm {
        epsilon: f32,
    },
    Relu,
    /// Bounds from attributes (opset below 11); `None` where they may be inputs.
    Clip {
        bounds: Option<(f32, f32)>,
    },
    Arithmetic(Arithmetic),
    Concat {
        axis: i64,
    },
    /// Reshape, Squeeze, Unsqueeze: the result's shape says it all.
    Reshape,
    Flatten {
        axis: i64,
    },
    /// `coerced`: before opset 13 all axes from `axis` on are one.
    Softmax {
        axis: i64,
        log: bool,
        coerced: bool,
    },
    /// Identity, Dropout at inference, Cast.
    Same,
    Pad {
        pads: Option<Vec<i64>>,
        value: f32,
    },
    Transpose {
        perm: Option<Vec<i64>>,
    },
    /// An operator that tract must have folded to a constant.
    Constant,
}

/// Elementwise arithmetic of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// Operators that may compute on constants and shapes; they vanish from the graph.
const FOLDABLE: &[&str] = &[
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Concat",
    "ConstantOfShape",
    "DequantizeLinear",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Identity",
    "Mul",
    "Neg",
    "Pow",
    "Range",
    "Reciprocal",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Whether a node of this operator on constant inputs is folded.
pub(super) fn is_foldable(op_type: &str) -> bool {
    FOLDABLE.contains(&op_type)
}

/// The operator of a node whose result depends on the network's input.
///
/// `opset` is the version of the default domain. Fewest and most inputs are checked here; shapes are not known yet.
pub(super) fn parse(node: &NodeProto, opset: i64) -> Result<Operator, Problem> {
    let attributes = Attributes::of(node);
    let op_type = node.op_type();
    let (operator, inputs) = match op_type {
        "Conv" => {
            let groups = attributes.int("group", 1)?;
            let groups = usize::try_from(groups).ok().filter(|&g| g >= 1);
            let groups = groups.ok_or_else(|| {
                invalid(format!("group {}; it must be >= 1", attributes.int("group", 1).unwrap_or(0)))
            })?;
            (Operator::Conv { window: WindowAttributes::parse(attributes, false)?, groups }, 2..=3)
        }
        "MaxPool" => (Operator::MaxPool(WindowAttributes::parse(attributes, true)?), 1..=1),
        "AveragePool" => {
            let window = WindowAttributes::parse(attributes, true)?;
            if window.dilations.as_ref().is_some_and(|d| d.iter().any(|&d| d != 1)) {
                return Err(unsupported("dilated AveragePool; dilations must be 1"));
            }
            (Operator::AveragePool { window, count_include_pad: attributes.flag("count_include_pad", false)? }, 1..=1)
        }
        "GlobalAveragePool" => (Operator::GlobalPool { max: false }, 1..=1),
        "GlobalMaxPool" => (Operator::GlobalPool { max: true }, 1..=1),
        "ReduceMean" => {
            let axes = attributes.ints("axes")?.map(<[i64]>::to_vec);
            (Operator::ReduceMean { axes, keep: attributes.flag("keepdims", true)? }, 1..=2)
        }
        "Gemm" => {
            if attributes.flag("transA", false)? {
                return Err(unsupported("transA 1; only 0 is supported, the batch is the first axis"));
            }
            let [alpha, beta] = [attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?];
            if !alpha.is_finite() || !beta.is_finite() {
                return Err(invalid(format!("alpha {alpha}, beta {beta}; both must be finite")));
            }
            (Operator::Gemm { alpha, beta, trans_b: attributes.flag("transB", false)? }, 2..=3)
        }
        "MatMul" => (Operator::MatMul, 2..=2),
        "BatchNormalization" => (batch_norm(node, attributes, opset)?, 5..=5),
        "Relu" => (Operator::Relu, 1..=1),
        "Clip" if opset < 11 => {
            let bounds = (attributes.float("min", f32::NEG_INFINITY)?, attributes.float("max", f32::INFINITY)?);
            (Operator::Clip { bounds: Some(bounds) }, 1..=1)
        }
        "Clip" => {
            if attributes.has("min") || attributes.has("max") {
                return Err(invalid(format!(
                    "Clip with attributes min or max at opset {opset}; from opset 11 on they are inputs"
                )));
            }
            (Operator::Clip { bounds: None }, 1..=3)
        }
        "Add" => (Operator::Arithmetic(Arithmetic::Add), 2..=2),
        "Sum" => (Operator::Arithmetic(Arithmetic::Add), 2..=2),
        "Sub" => (Operator::Arithmetic(Arithmetic::Sub), 2..=2),
        "Mul" => (Operator::Arithmetic(Arithmetic::Mul), 2..=2),
        "Div" => (Operator::Arithmetic(Arithmetic::Div), 2..=2),
        "Concat" => {
            if !attributes.has("axis") {
                return Err(invalid("no axis; Concat requires one"));
            }
            (Operator::Concat { axis: attributes.int("axis", 1)? }, 1..=1024)
        }
        "Reshape" if attributes.flag("allowzero", false)? => {
            return Err(unsupported("allowzero 1; an extent of zero is not supported"));
        }
        "Reshape" => (Operator::Reshape, 2..=2),
        "Squeeze" | "Unsqueeze" => (Operator::Reshape, 1..=2),
        "Flatten" => (Operator::Flatten { axis: attributes.int("axis", 1)? }, 1..=1),
        "Softmax" | "LogSoftmax" => {
            let coerced = opset < 13;
            let axis = attributes.int("axis", if coerced { 1 } else { -1 })?;
            (Operator::Softmax { axis, log: op_type == "LogSoftmax", coerced }, 1..=1)
        }
        "Identity" => (Operator::Same, 1..=1),
        "Dropout" => (Operator::Same, 1..=3),
        "Cast" => match attributes.int("to", 0)? {
            1 => (Operator::Same, 1..=1),
            to => {
                let name = crate::onnx::element_type_name(i32::try_from(to).unwrap_or(-1));
                return Err(unsupported(format!("Cast of an activation to {name}; only FLOAT is supported")));
            }
        },
        "Pad" => (pad(attributes, opset)?, 1..=4),
        "Transpose" => (Operator::Transpose { perm: attributes.ints("perm")?.map(<[i64]>::to_vec) }, 1..=1),
        "" => return Err(invalid("no op_type; a node requires one")),
        other => return Err(unsupported(format!("operator {other} on activations; it is not supported"))),
    };
    if op_type == "Sum" && node.input.len() != 2 {
        return Err(unsupported(format!("Sum of {} inputs; 2 are supported", node.input.len())));
    }
    let given = node.input.iter().rposition(|input| !input.is_empty()).map_or(0, |last| last + 1);
    if !inputs.contains(&given) {
        let required = if inputs.start() == inputs.end() {
            inputs.start().to_string()
        } else {
            format!("{} to {}", inputs.start(), inputs.end())
        };
        return Err(invalid(format!("{op_type} with {given} inputs; {required} are required")));
    }
    if node.input.iter().take(*inputs.start()).any(String::is_empty) {
        return Err(invalid(format!("{op_type} with an empty required input; it must name a value")));
    }
    Ok(operator)
}

fn batch_norm(node: &NodeProto, attributes: Attributes<'_>, opset: i64) -> Result<Operator, Problem> {
    if attributes.flag("training_mode", false)? {
        return Err(unsupported("training_mode 1; only inference is supported"));
    }
    if opset < 9 && !attributes.flag("spatial", true)? {
        return Err(unsupported("spatial 0; one statistic a channel is required"));
    }
    let epsilon = attributes.float("epsilon", 1e-5)?;
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(invalid(format!("epsilon {epsilon}; it must be finite and >= 0")));
    }
    if node.output.iter().skip(1).any(|output| !output.is_empty()) && opset >= 14 {
        return Err(unsupported("BatchNormalization with running statistics as outputs; one output is supported"));
    }
    Ok(Operator::BatchNorm { epsilon })
}

fn pad(attributes: Attributes<'_>, opset: i64) -> Result<Operator, Problem> {
    let mode = attributes.string("mode", "constant")?;
    if mode != "constant" {
        return Err(unsupported(format!("Pad of mode {mode}; only constant is supported")));
    }
    if opset >= 11 {
        return Ok(Operator::Pad { pads: None, value: 0.0 });
    }
    let pads = attributes.ints("pads")?.ok_or_else(|| invalid("no pads; Pad requires them"))?;
    Ok(Operator::Pad { pads: Some(pads.to_vec()), value: attributes.float("value", 0.0)? })
}
