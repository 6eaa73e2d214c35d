//! Functions of one value (placeholder of what the branch of the float primitives brings whole).

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x` where it is at least 0, else `alpha * x`.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
}

impl Function {
    /// The word used in text forms and errors.
    pub fn label(self) -> &'static str {
        match self {
            Function::Sigmoid => "sigmoid",
            Function::LeakyRelu { .. } => "leaky_relu",
        }
    }

    /// Its parameters.
    pub fn parameters(self) -> Vec<f32> {
        match self {
            Function::Sigmoid => vec![],
            Function::LeakyRelu { alpha } => vec![alpha],
        }
    }
}
