//! Functions of one value as ONNX operators.

use super::message::Message;
use crate::onnx::attribute::{float, int, string};
use crate::onnx::onnx_protobuf::AttributeProto;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use releqc_runtime::function::Function;

/// Writes a function; returns the value that holds its results.
pub(super) fn write(message: &mut Message, function: Function, x: &str, name: &str) -> String {
    if let Some((op, attributes)) = standard(function) {
        return message.node(op, name, &[x], attributes);
    }
    let mut chain = Chain { message, x, name };
    match function {
        Function::Silu => chain.gated(1.0),
        Function::Swish { alpha } => chain.gated(alpha),
        Function::Clip { min, max } => {
            let (low, high) = (chain.value(min), chain.value(max));
            chain.node("Clip", &[x, &low, &high])
        }
        Function::Trunc => {
            let sign = chain.node("Sign", &[x]);
            let size = chain.node("Abs", &[x]);
            let size = chain.node("Floor", &[&size]);
            chain.node("Mul", &[&sign, &size])
        }
        Function::Not => {
            let truth = chain.cast(x, DataType::Bool);
            let not = chain.node("Not", &[&truth]);
            chain.cast(&not, DataType::Float)
        }
        Function::IsNonzero => {
            let truth = chain.cast(x, DataType::Bool);
            chain.cast(&truth, DataType::Float)
        }
        Function::IsNaN => {
            let truth = chain.node("IsNaN", &[x]);
            chain.cast(&truth, DataType::Float)
        }
        Function::IsInf { negative, positive } => {
            let flag = |name, value: f32| int(name, i64::from(value != 0.0));
            let attributes = vec![flag("detect_negative", negative), flag("detect_positive", positive)];
            let truth = chain.message.node("IsInf", &format!("{name}:inf"), &[x], attributes);
            chain.cast(&truth, DataType::Float)
        }
        Function::Pow { exponent } => {
            let exponent = chain.value(exponent);
            chain.node("Pow", &[x, &exponent])
        }
        Function::PowerOf { base } => {
            let base = chain.value(base);
            chain.node("Pow", &[&base, x])
        }
        Function::Scale { mul, add } => {
            let (mul, add) = (chain.value(mul), chain.value(add));
            let scaled = chain.node("Mul", &[x, &mul]);
            chain.node("Add", &[&scaled, &add])
        }
        Function::ScaledTanh { alpha, beta } => {
            let (alpha, beta) = (chain.value(alpha), chain.value(beta));
            let inner = chain.node("Mul", &[x, &beta]);
            let tanh = chain.node("Tanh", &[&inner]);
            chain.node("Mul", &[&alpha, &tanh])
        }
        // Every other function is a standard operator.
        _ => chain.node("Identity", &[x]),
    }
}

/// Several nodes for one function.
struct Chain<'a> {
    message: &'a mut Message,
    x: &'a str,
    name: &'a str,
}

impl Chain<'_> {
    fn value(&mut self, value: f32) -> String {
        self.message.f32(&format!("{}.value", self.name), value)
    }

    fn node(&mut self, op: &str, inputs: &[&str]) -> String {
        self.message.node(op, self.name, inputs, vec![])
    }

    fn cast(&mut self, x: &str, to: DataType) -> String {
        self.message.node("Cast", &format!("{}:cast", self.name), &[x], vec![int("to", to as i64)])
    }

    /// `x * sigmoid(alpha * x)`.
    fn gated(&mut self, alpha: f32) -> String {
        let x = self.x;
        let mut argument = x.to_owned();
        if alpha != 1.0 {
            let alpha = self.value(alpha);
            argument = self.node("Mul", &[x, &alpha]);
        }
        let gate = self.node("Sigmoid", &[&argument]);
        self.node("Mul", &[x, &gate])
    }
}

/// The operator that says the same.
fn standard(function: Function) -> Option<(&'static str, Vec<AttributeProto>)> {
    let alpha = |alpha| vec![float("alpha", alpha)];
    Some(match function {
        Function::Identity => ("Identity", vec![]),
        Function::Sigmoid => ("Sigmoid", vec![]),
        Function::Tanh => ("Tanh", vec![]),
        Function::HardSigmoid { alpha, beta } => ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)]),
        Function::HardSwish => ("HardSwish", vec![]),
        Function::LeakyRelu { alpha: slope } => ("LeakyRelu", alpha(slope)),
        Function::Elu { alpha: slope } => ("Elu", alpha(slope)),
        Function::Selu { alpha, gamma } => ("Selu", vec![float("alpha", alpha), float("gamma", gamma)]),
        Function::Celu { alpha: slope } => ("Celu", alpha(slope)),
        Function::Gelu => ("Gelu", vec![string("approximate", "none")]),
        Function::GeluTanh => ("Gelu", vec![string("approximate", "tanh")]),
        Function::Softplus => ("Softplus", vec![]),
        Function::Softsign => ("Softsign", vec![]),
        Function::Mish => ("Mish", vec![]),
        Function::ThresholdedRelu { alpha: least } => ("ThresholdedRelu", alpha(least)),
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
        Function::Tan => ("Tan", vec![]),
        Function::Asin => ("Asin", vec![]),
        Function::Acos => ("Acos", vec![]),
        Function::Atan => ("Atan", vec![]),
        Function::Sinh => ("Sinh", vec![]),
        Function::Cosh => ("Cosh", vec![]),
        Function::Asinh => ("Asinh", vec![]),
        Function::Acosh => ("Acosh", vec![]),
        Function::Atanh => ("Atanh", vec![]),
        Function::Silu
        | Function::Swish { .. }
        | Function::Clip { .. }
        | Function::Trunc
        | Function::Not
        | Function::IsNaN
        | Function::IsInf { .. }
        | Function::IsNonzero
        | Function::Pow { .. }
        | Function::PowerOf { .. }
        | Function::Scale { .. }
        | Function::ScaledTanh { .. } => return None,
    })
}

/// A function as an activation of a recurrent operator, with its `activation_alpha` and
/// `activation_beta`; `None` where those operators have none such.
pub(super) fn activation(function: Function) -> Option<(&'static str, Option<f32>, Option<f32>)> {
    Some(match function {
        Function::Sigmoid => ("Sigmoid", None, None),
        Function::Tanh => ("Tanh", None, None),
        Function::Softsign => ("Softsign", None, None),
        Function::Softplus => ("Softplus", None, None),
        Function::Clip { min: 0.0, max: f32::INFINITY } => ("Relu", None, None),
        Function::LeakyRelu { alpha } => ("LeakyRelu", Some(alpha), None),
        Function::ThresholdedRelu { alpha } => ("ThresholdedRelu", Some(alpha), None),
        Function::Elu { alpha } => ("Elu", Some(alpha), None),
        Function::HardSigmoid { alpha, beta } => ("HardSigmoid", Some(alpha), Some(beta)),
        Function::ScaledTanh { alpha, beta } => ("ScaledTanh", Some(alpha), Some(beta)),
        Function::Scale { mul, add } => ("Affine", Some(mul), Some(add)),
        _ => return None,
    })
}
