//! The ONNX form of operators without weights, where there is one that says the same.

use super::{OPSET, Part, Writer, int, ints};
use crate::ir::{BinaryKind, Node, Op, ReduceKind};
use crate::onnx::functions;

/// The node of an operator that keeps its operands `x`; `None` where ONNX has none that comes back as it was.
pub(super) fn parts(writer: &mut Writer, node: &Node, x: Vec<String>) -> Option<Vec<Part>> {
    let standard = |op_type, x, attributes| Some(vec![Part::new("", op_type, x, attributes)]);
    match &node.op {
        Op::Unary(function) => {
            let (op_type, attributes) = functions::operator(*function, OPSET)?;
            standard(op_type, x, attributes)
        }
        Op::PRelu { slope } => {
            let mut dims = vec![1; node.shape.rank().saturating_sub(1)];
            dims[0] = slope.len();
            let slope = writer.floats(&format!("{}.slope", node.name), &dims, slope);
            standard("PRelu", [x, vec![slope]].concat(), vec![])
        }
        Op::Binary(kind) => standard(standard_binary(*kind)?, x, vec![]),
        Op::Concat { axis } => standard("Concat", x, vec![int("axis", *axis as i64)]),
        Op::Transpose { perm } => standard("Transpose", x, vec![ints("perm", perm)]),
        Op::Reduce { kind, axes } => {
            standard(standard_reduction(*kind)?, x, vec![ints("axes", axes), int("keepdims", 1)])
        }
        Op::MatMul => standard("MatMul", x, vec![]),
        Op::Softmax { axis, log } => {
            standard(if *log { "LogSoftmax" } else { "Softmax" }, x, vec![int("axis", *axis as i64)])
        }
        _ => None,
    }
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
