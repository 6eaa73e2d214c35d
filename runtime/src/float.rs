//! Which two-operand functions and reductions the float primitives know.

/// A function of two values; comparisons and logic give 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ONNX")]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    Pow,
    Mod,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    And,
    Or,
    Xor,
}

impl BinaryKind {
    /// The word used in text forms and errors.
    pub fn label(self) -> &'static str {
        match self {
            BinaryKind::Add => "add",
            BinaryKind::Sub => "sub",
            BinaryKind::Mul => "mul",
            BinaryKind::Div => "div",
            BinaryKind::Min => "min",
            BinaryKind::Max => "max",
            BinaryKind::Pow => "pow",
            BinaryKind::Mod => "mod",
            BinaryKind::Less => "less",
            BinaryKind::LessOrEqual => "less_or_equal",
            BinaryKind::Greater => "greater",
            BinaryKind::GreaterOrEqual => "greater_or_equal",
            BinaryKind::Equal => "equal",
            BinaryKind::And => "and",
            BinaryKind::Or => "or",
            BinaryKind::Xor => "xor",
        }
    }
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ONNX")]
pub enum ReduceKind {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
    ArgMax,
    ArgMin,
    ArgMaxLast,
    ArgMinLast,
}

impl ReduceKind {
    /// The word used in text forms and errors.
    pub fn label(self) -> &'static str {
        match self {
            ReduceKind::Mean => "reduce_mean",
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Max => "reduce_max",
            ReduceKind::Min => "reduce_min",
            ReduceKind::Prod => "reduce_prod",
            ReduceKind::L1 => "reduce_l1",
            ReduceKind::L2 => "reduce_l2",
            ReduceKind::SumSquare => "reduce_sum_square",
            ReduceKind::LogSum => "reduce_log_sum",
            ReduceKind::LogSumExp => "reduce_log_sum_exp",
            ReduceKind::ArgMax => "arg_max",
            ReduceKind::ArgMin => "arg_min",
            ReduceKind::ArgMaxLast => "arg_max_last",
            ReduceKind::ArgMinLast => "arg_min_last",
        }
    }
}
