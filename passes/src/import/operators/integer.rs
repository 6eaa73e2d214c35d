//! Operators on codes: the QOperator form of quantized models, and dynamic quantization.
//!
//! Each stands for DequantizeLinear, the float operator, and QuantizeLinear; what codes can hold stays as a clip. Dynamic
//! quantization, whose scale is the input's, is left out: an activation is its own code of scale 1 and zero point 0.
//! Scales and zero points must be constants.

use super::axis;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::expand::{Expansion, kept};
use crate::import::source::Step;
use crate::onnx::attribute::{float, int};
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ConvInteger", conv_integer),
    ("DynamicQuantizeLinear", dynamic_quantize_linear),
    ("MatMulInteger", mat_mul_integer),
    ("QLinearConv", qlinear_conv),
    ("QLinearMatMul", qlinear_mat_mul),
    ("com.microsoft.DynamicQuantizeLSTM", dynamic_quantize_lstm),
    ("com.microsoft.DynamicQuantizeMatMul", dynamic_quantize_mat_mul),
    ("com.microsoft.MatMulIntegerToFloat", mat_mul_integer_to_float),
    ("com.microsoft.QGemm", qgemm),
    ("com.microsoft.QLinearAdd", qlinear_add),
    ("com.microsoft.QLinearAveragePool", qlinear_average_pool),
    ("com.microsoft.QLinearConcat", qlinear_concat),
    ("com.microsoft.QLinearGlobalAveragePool", qlinear_global_average_pool),
    ("com.microsoft.QLinearLeakyRelu", qlinear_leaky_relu),
    ("com.microsoft.QLinearMul", qlinear_mul),
    ("com.microsoft.QLinearSigmoid", qlinear_sigmoid),
    ("com.microsoft.QLinearSoftmax", qlinear_softmax),
];

/// Attributes of windows.
const WINDOW: &[&str] =
    &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "group", "kernel_shape", "pads", "strides"];

impl Expansion<'_> {
    /// What the codes at input `first` stand for; scale and zero point follow it. `axis` holds where there are several scales.
    fn decoded(&mut self, first: usize, axis: i64) -> String {
        let inputs = [0, 1, 2].map(|offset| self.input(first + offset));
        self.node("DequantizeLinear", &inputs, vec![int("axis", axis)])
    }

    /// Codes without their zero point: that of input `zero`, if any.
    fn centred(&mut self, b: &Builder<'_>, step: &Step, [x, zero]: [usize; 2], axis: i64) -> Result<String, Problem> {
        let zeros = b.constant(step, zero)?;
        let dims = zeros.as_ref().map_or_else(Vec::new, |zeros| zeros.dims().to_vec());
        let ones = vec![1.0; zeros.map_or(1, |zeros| zeros.len())];
        let scale = Constant::of_floats(dims, ones).ok_or_else(|| invalid("zero points"))?;
        let scale = self.constant(scale);
        let inputs = [self.input(x), &scale, self.input(zero)];
        Ok(self.node("DequantizeLinear", &inputs, vec![int("axis", axis)]))
    }

    /// The result as codes whose scale and zero point are at `first` and behind it.
    fn encoded(mut self, b: &mut Builder<'_>, x: &str, first: usize) -> Result<Vec<Value>, Problem> {
        let inputs = [x, self.input(first), self.input(first + 1)];
        let codes = self.node("QuantizeLinear", &inputs, Vec::new());
        Ok(vec![self.value(b, &codes)?])
    }

    fn result(self, b: &mut Builder<'_>, x: &str) -> Result<Vec<Value>, Problem> {
        Ok(vec![self.value(b, x)?])
    }

    /// A bias of i32, whose scale is the product of those at two inputs.
    fn bias(&mut self, b: &Builder<'_>, step: &Step, index: usize, scales: [usize; 2]) -> Result<String, Problem> {
        if step.input(index).is_none() {
            return Ok(String::new());
        }
        let [x, weight] = scales.map(|scale| b.required(step, scale));
        let (x, weight) = (x?.floats(), weight?);
        let [x] = x[..] else { return Err(unsupported(format!("{} scales of the input; one is supported", x.len()))) };
        let scales = weight.floats().iter().map(|scale| scale * x).collect();
        let scale =
            Constant::of_floats(weight.dims().to_vec(), scales).ok_or_else(|| invalid("scales of the weight"))?;
        let scale = self.constant(scale);
        let inputs = [self.input(index), &scale];
        Ok(self.node("DequantizeLinear", &inputs, vec![int("axis", 0)]))
    }
}

/// Values pass as they are, so that what reads the codes is computed in floats; of constants the codes are known.
fn dynamic_quantize_linear(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let Some(x) = b.value(step, 0)? else { return Err(invalid("no input 0; the operator requires it")) };
    if let Value::Constant(constant) = &x {
        return Ok(codes_of_constant(constant));
    }
    let scale = Constant::of_numbers(vec![], DataType::Float, &[1.0]);
    let zero = Constant::of_numbers(vec![], DataType::Uint8, &[0.0]);
    Ok(vec![x, Value::Constant(scale.into()), Value::Constant(zero.into())])
}

/// Whether a value of the graph is one that [`dynamic_quantize_linear`] made up, which only an operator on codes may read.
pub(in crate::import) fn is_assumed(b: &mut Builder<'_>, steps: &[Step], name: &str) -> bool {
    let made = steps.iter().find(|step| step.node.output.iter().any(|output| output == name));
    made.is_some_and(|step| {
        step.operator() == "DynamicQuantizeLinear" && matches!(b.value(step, 0), Ok(Some(Value::Node(_))))
    })
}

/// Codes of 8 bits over the range of the values, scale and zero point.
fn codes_of_constant(constant: &Constant) -> Vec<Value> {
    let values = constant.floats();
    let (low, high) = values.iter().fold((0.0f32, 0.0f32), |(low, high), &v| (low.min(v), high.max(v)));
    let scale = if low < high { (high - low) / 255.0 } else { 1.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let code = |v: &f32| f64::from(((v / scale).round_ties_even() + zero).clamp(0.0, 255.0));
    let codes: Vec<f64> = values.iter().map(code).collect();
    let number = |kind, value: f32| Constant::of_numbers(vec![], kind, &[f64::from(value)]);
    let codes = Constant::of_numbers(constant.dims().to_vec(), DataType::Uint8, &codes);
    [codes, number(DataType::Float, scale), number(DataType::Uint8, zero)]
        .map(|constant| Value::Constant(constant.into()))
        .to_vec()
}

fn mat_mul_integer(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let (x, y) = (nodes.centred(b, step, [0, 2], -2)?, nodes.centred(b, step, [1, 3], -1)?);
    let product = nodes.main("MatMul", &[&x, &y], Vec::new());
    nodes.result(b, &product)
}

fn conv_integer(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let (x, weight) = (nodes.centred(b, step, [0, 2], 1)?, nodes.centred(b, step, [1, 3], 0)?);
    let y = nodes.main("Conv", &[&x, &weight], kept(step, WINDOW));
    nodes.result(b, &y)
}

fn qlinear_conv(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let (x, weight) = (nodes.decoded(0, 1), nodes.decoded(3, 0));
    let bias = nodes.bias(b, step, 8, [1, 4])?;
    let y = nodes.main("Conv", &[&x, &weight, &bias], kept(step, WINDOW));
    nodes.encoded(b, &y, 6)
}

fn qlinear_mat_mul(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let (x, y) = (nodes.decoded(0, -2), nodes.decoded(3, -1));
    let product = nodes.main("MatMul", &[&x, &y], Vec::new());
    nodes.encoded(b, &product, 6)
}

/// `alpha s_a s_b (A B + C)`.
fn qgemm(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let columns = if step.attributes().int("transB", 0)? != 0 { 0 } else { 1 };
    let (x, y) = (nodes.decoded(0, 0), nodes.decoded(3, columns));
    let bias = nodes.bias(b, step, 6, [1, 4])?;
    let mut attributes = kept(step, &["alpha", "transA", "transB"]);
    let alpha = step.attributes().float("alpha", 1.0)?;
    attributes.push(float("beta", alpha));
    let product = nodes.main("Gemm", &[&x, &y, &bias], attributes);
    if step.input(7).is_some() { nodes.encoded(b, &product, 7) } else { nodes.result(b, &product) }
}

fn dynamic_quantize_mat_mul(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let weight = nodes.decoded(1, -1);
    let mut y = nodes.main("MatMul", &[nodes.input(0), &weight], Vec::new());
    if step.input(4).is_some() {
        y = nodes.node("Add", &[&y, nodes.input(4)], Vec::new());
    }
    nodes.result(b, &y)
}

fn mat_mul_integer_to_float(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let of = |x: usize, axis: i64, nodes: &mut Expansion<'_>| {
        let inputs = [x, x + 2, x + 4].map(|index| nodes.input(index));
        nodes.node("DequantizeLinear", &inputs, vec![int("axis", axis)])
    };
    let (x, y) = (of(0, -2, &mut nodes), of(1, -1, &mut nodes));
    let mut product = nodes.main("MatMul", &[&x, &y], Vec::new());
    if step.input(6).is_some() {
        product = nodes.node("Add", &[&product, nodes.input(6)], Vec::new());
    }
    nodes.result(b, &product)
}

fn qlinear_add(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    qlinear_binary(b, step, "Add")
}

fn qlinear_mul(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    qlinear_binary(b, step, "Mul")
}

fn qlinear_binary(b: &mut Builder<'_>, step: &Step, operator: &str) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let (x, y) = (nodes.decoded(0, 1), nodes.decoded(3, 1));
    let z = nodes.main(operator, &[&x, &y], Vec::new());
    nodes.encoded(b, &z, 6)
}

fn qlinear_average_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    qlinear_unary(b, step, "AveragePool", WINDOW)
}

fn qlinear_global_average_pool(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    qlinear_unary(b, step, "GlobalAveragePool", &[])
}

fn qlinear_leaky_relu(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    qlinear_unary(b, step, "LeakyRelu", &["alpha"])
}

fn qlinear_sigmoid(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    qlinear_unary(b, step, "Sigmoid", &[])
}

fn qlinear_softmax(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let rank = match b.value(step, 0)? {
        Some(Value::Node(x)) => b.rank(x),
        Some(Value::Constant(x)) => x.dims().len(),
        _ => 0,
    };
    let attributes = step.attributes();
    let stated = attributes.int("axis", -1)?;
    // Before opset 13 all axes from the stated one on are one.
    if attributes.int("opset", 13)? < 13 && axis::axis(stated, rank)? + 1 != rank {
        return Err(unsupported(format!("axis {stated} of {rank} with opset below 13; the last axis is supported")));
    }
    qlinear_unary(b, step, "Softmax", &["axis"])
}

fn qlinear_unary(b: &mut Builder<'_>, step: &Step, operator: &str, names: &[&str]) -> Result<Vec<Value>, Problem> {
    if step.attributes().int("channels_last", 0)? != 0 {
        return Err(unsupported(format!("{} with channels_last; channels first are supported", step.op_type())));
    }
    let mut nodes = Expansion::of(step);
    let x = nodes.decoded(0, 1);
    let y = nodes.main(operator, &[&x], kept(step, names));
    nodes.encoded(b, &y, 3)
}

/// Scale and zero point of the result come first.
fn qlinear_concat(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let count = step.input_count();
    if count < 5 || count % 3 != 2 {
        return Err(invalid(format!("{count} inputs; 2 and 3 for each part are required")));
    }
    let mut nodes = Expansion::of(step);
    let parts: Vec<String> = (2..count).step_by(3).map(|first| nodes.decoded(first, 1)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let y = nodes.main("Concat", &parts, kept(step, &["axis"]));
    nodes.encoded(b, &y, 0)
}

/// An LSTM whose weights are codes of `[directions, features, gates * hidden]`.
fn dynamic_quantize_lstm(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let mut nodes = Expansion::of(step);
    let weight = weights_of_cells(b, step, [1, 8, 9])?;
    let recurrence = weights_of_cells(b, step, [2, 10, 11])?;
    let (weight, recurrence) = (nodes.constant(weight), nodes.constant(recurrence));
    let given = |index: usize| step.input(index).unwrap_or_default();
    let inputs = [given(0), &weight, &recurrence, given(3), given(4), given(5), given(6), given(7)];
    let attributes = step.node.attribute.clone();
    nodes.several(b, "LSTM", &inputs, attributes, 3)
}

/// Constant codes `[directions, rows, columns]` as floats `[directions, columns, rows]`, with a scale and a zero point a direction or
/// a column of it.
fn weights_of_cells(b: &Builder<'_>, step: &Step, [codes, scale, zero]: [usize; 3]) -> Result<Constant, Problem> {
    let codes = b.required(step, codes)?;
    let (scale, zero) = (b.required(step, scale)?.floats(), b.required(step, zero)?.floats());
    let error = || {
        invalid(format!("{} scales and {} zero points of {:?}; they must fit", scale.len(), zero.len(), codes.dims()))
    };
    let [directions, rows, columns] = codes.dims()[..] else { return Err(error()) };
    let place = |direction: usize, column: usize| match scale.len() {
        len if len == directions => Some(direction),
        len if len == directions * columns => Some(direction * columns + column),
        _ => None,
    };
    if zero.len() != scale.len() || place(0, 0).is_none() {
        return Err(error());
    }
    let values = codes.floats();
    let mut result = Vec::with_capacity(values.len());
    for direction in 0..directions {
        for column in 0..columns {
            let at = place(direction, column).ok_or_else(error)?;
            let value = |row: usize| (values[(direction * rows + row) * columns + column] - zero[at]) * scale[at];
            result.extend((0..rows).map(value));
        }
    }
    Constant::of_floats(vec![directions, columns, rows], result).ok_or_else(error)
}
