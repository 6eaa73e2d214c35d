//! The ONNX form of operators without weights: one of the default domain where there is one that says the same, else one of
//! [`OWN_DOMAIN`], which this project's importer reads.

use super::{Part, Writer, attribute, float, floats, int, ints, text};
use crate::ir::{AxisMap, BinaryKind, Function, Node, Op, Recurrent, ReduceKind};
use crate::onnx::onnx_protobuf::AttributeProto;

/// Operators that ONNX does not have: `Function`, `Gather`, `Resample`, `Recurrent`, `Reduce`, `Binary`, `Select`, `Lookup`,
/// `FullyConnected`. Their attributes are those of the float graph.
pub const OWN_DOMAIN: &str = "ai.releqc";

/// The one or more nodes of an operator that keeps its operands `x`.
pub(super) fn parts(writer: &mut Writer, node: &Node, x: Vec<String>) -> Option<Vec<Part>> {
    let own = |op_type, x, attributes| Some(vec![Part::own(op_type, x, attributes)]);
    let standard = |op_type, x, attributes| Some(vec![Part::new("", op_type, x, attributes)]);
    match &node.op {
        Op::Unary(function) => match standard_function(*function) {
            Some((op_type, attributes)) => standard(op_type, x, attributes),
            None => own(
                "Function",
                x,
                vec![text("function", function.label()), floats("parameters", &function.parameters())],
            ),
        },
        Op::PRelu { slope } => {
            let mut dims = vec![1; node.shape.rank().saturating_sub(1)];
            dims[0] = slope.len();
            let slope = writer.floats(&format!("{}.slope", node.name), &dims, slope);
            standard("PRelu", [x, vec![slope]].concat(), vec![])
        }
        Op::Binary(kind) => match standard_binary(*kind) {
            Some(op_type) => standard(op_type, x, vec![]),
            None => own("Binary", x, vec![text("kind", kind.label())]),
        },
        Op::Select => own("Select", x, vec![]),
        Op::Concat { axis } => standard("Concat", x, vec![int("axis", *axis as i64)]),
        Op::Transpose { perm } => standard("Transpose", x, vec![ints("perm", perm)]),
        Op::Gather { maps, fill } => own("Gather", x, gather(maps, *fill)),
        Op::Reduce { kind, axes } => match standard_reduction(*kind) {
            Some(op_type) => standard(op_type, x, vec![ints("axes", axes), int("keepdims", 1)]),
            None => own("Reduce", x, vec![text("kind", kind.label()), ints("axes", axes)]),
        },
        Op::MatMul => standard("MatMul", x, vec![]),
        Op::Softmax { axis, log } => {
            standard(if *log { "LogSoftmax" } else { "Softmax" }, x, vec![int("axis", *axis as i64)])
        }
        Op::Resample { axis, taps } => {
            let counts: Vec<usize> = taps.iter().map(Vec::len).collect();
            let indices: Vec<usize> = taps.iter().flatten().map(|tap| tap.0).collect();
            let weights: Vec<f32> = taps.iter().flatten().map(|tap| tap.1).collect();
            let lists = vec![ints("counts", &counts), ints("indices", &indices), floats("weights", &weights)];
            own("Resample", x, [vec![int("axis", *axis as i64)], lists].concat())
        }
        Op::Lookup { table } => {
            let table = writer.floats(&format!("{}.table", node.name), table.dims(), table.data());
            own("Lookup", [x, vec![table]].concat(), vec![])
        }
        Op::Recurrent(cell) => {
            let weights = writer.floats(&format!("{}.weight", node.name), cell.weight.dims(), cell.weight.data());
            own("Recurrent", [x, vec![weights]].concat(), recurrent(cell))
        }
        _ => None,
    }
}

fn gather(maps: &[AxisMap], fill: f32) -> Vec<AttributeProto> {
    let mut attributes = vec![float("fill", fill)];
    for (axis, map) in maps.iter().enumerate() {
        if let AxisMap::Indices(indices) = map {
            // -1 is a position that comes from nowhere.
            let indices: Vec<i64> = indices.iter().map(|index| index.map_or(-1, |index| index as i64)).collect();
            attributes.push(attribute(&format!("axis{axis}"), indices));
        }
    }
    attributes
}

fn recurrent(cell: &Recurrent) -> Vec<AttributeProto> {
    let labels: Vec<&str> = cell.functions.iter().map(|function| function.label()).collect();
    let counts: Vec<usize> = cell.functions.iter().map(|function| function.parameters().len()).collect();
    let parameters: Vec<f32> = cell.functions.iter().flat_map(|function| function.parameters()).collect();
    vec![
        text("kind", cell.label()),
        int("reverse", cell.reverse.into()),
        text("functions", &labels.join(" ")),
        ints("parameter_counts", &counts),
        floats("parameters", &parameters),
        float("clip", cell.clip),
        floats("bias", &cell.bias),
        floats("peepholes", &cell.peepholes),
    ]
}

fn standard_binary(kind: BinaryKind) -> Option<&'static str> {
    Some(match kind {
        BinaryKind::Add => "Add",
        BinaryKind::Sub => "Sub",
        BinaryKind::Mul => "Mul",
        BinaryKind::Div => "Div",
        BinaryKind::Min => "Min",
        BinaryKind::Max => "Max",
        BinaryKind::Pow => "Pow",
        // Comparisons and logic give booleans in ONNX; the others say less there than here.
        _ => return None,
    })
}

/// Reductions whose axes are an attribute.
fn standard_reduction(kind: ReduceKind) -> Option<&'static str> {
    Some(match kind {
        ReduceKind::Mean => "ReduceMean",
        ReduceKind::Max => "ReduceMax",
        ReduceKind::Min => "ReduceMin",
        ReduceKind::Prod => "ReduceProd",
        ReduceKind::L1 => "ReduceL1",
        ReduceKind::L2 => "ReduceL2",
        ReduceKind::SumSquare => "ReduceSumSquare",
        ReduceKind::LogSum => "ReduceLogSum",
        ReduceKind::LogSumExp => "ReduceLogSumExp",
        _ => return None,
    })
}

fn standard_function(function: Function) -> Option<(&'static str, Vec<AttributeProto>)> {
    Some(match function {
        Function::Sigmoid => ("Sigmoid", vec![]),
        Function::Tanh => ("Tanh", vec![]),
        Function::HardSigmoid { alpha, beta } => ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)]),
        Function::HardSwish => ("HardSwish", vec![]),
        Function::LeakyRelu { alpha } => ("LeakyRelu", vec![float("alpha", alpha)]),
        Function::Elu { alpha } => ("Elu", vec![float("alpha", alpha)]),
        Function::Selu { alpha, gamma } => ("Selu", vec![float("alpha", alpha), float("gamma", gamma)]),
        Function::Celu { alpha } => ("Celu", vec![float("alpha", alpha)]),
        Function::Softplus => ("Softplus", vec![]),
        Function::Softsign => ("Softsign", vec![]),
        Function::ThresholdedRelu { alpha } => ("ThresholdedRelu", vec![float("alpha", alpha)]),
        Function::Shrink { lambd, bias } => ("Shrink", vec![float("lambd", lambd), float("bias", bias)]),
        Function::Exp => ("Exp", vec![]),
        Function::Log => ("Log", vec![]),
        Function::Sqrt => ("Sqrt", vec![]),
        Function::Abs => ("Abs", vec![]),
        Function::Neg => ("Neg", vec![]),
        Function::Reciprocal => ("Reciprocal", vec![]),
        Function::Erf => ("Erf", vec![]),
        Function::Sign => ("Sign", vec![]),
        Function::Round => ("Round", vec![]),
        Function::Floor => ("Floor", vec![]),
        Function::Ceil => ("Ceil", vec![]),
        Function::Sin => ("Sin", vec![]),
        Function::Cos => ("Cos", vec![]),
        _ => return None,
    })
}
