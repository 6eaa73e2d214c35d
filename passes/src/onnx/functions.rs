//! The table of functions of one value in ONNX: one row says how a function is read and how it is written.
//!
//! What a function computes stands in the table of the runtime (`runtime/src/function/table.rs`); the two tables are joined by its
//! label there. Attributes stand in the order of the function's parameters.

use super::attribute::{float, int, string};
use super::onnx_protobuf::AttributeProto;
use super::onnx_protobuf::tensor_proto::DataType;
use releqc_runtime::function::{FUNCTIONS, Function};

/// How ONNX says a function.
pub(crate) struct Row {
    /// The function's label.
    label: &'static str,
    /// The operator that is this function; empty where there is none.
    pub(crate) operator: &'static str,
    attributes: &'static [Attribute],
    /// The first operator set of the default domain that has the operator; [`NEVER`] where none in use has it.
    since: i64,
    /// Whether a file's operator is read by this row alone.
    pub(crate) is_read: bool,
    /// Whether it may be an activation of a recurrent operator, under the operator's name.
    in_cells: bool,
    /// Writes it by several nodes where the operator is newer than the file.
    nodes: Option<Nodes>,
}

/// One attribute of an operator.
#[derive(Clone, Copy)]
enum Attribute {
    /// A float that is the next parameter, and what it is where it is not given.
    Float(&'static str, f32),
    /// A flag that is the next parameter, 0 or 1; 1 where it is not given.
    Flag(&'static str),
    /// A word that chooses among rows of one operator; the first of them is meant where it is not given.
    Word(&'static str, &'static str),
}

type Nodes = fn(&mut dyn NodeWriter, &str, &[f32]) -> String;

/// Where nodes are written to.
pub(crate) trait NodeWriter {
    /// Adds a node of one result; returns the name of its value.
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String;
    /// The name of a constant of one value.
    fn number(&mut self, value: f32) -> String;
}

/// No operator set in use.
const NEVER: i64 = i64::MAX;

use Attribute::{Flag, Float, Word};

const fn row(label: &'static str, operator: &'static str, since: i64, attributes: &'static [Attribute]) -> Row {
    Row { label, operator, attributes, since, is_read: true, in_cells: false, nodes: None }
}

impl Row {
    /// The operator has a rule of its own in the import.
    const fn written(self) -> Row {
        Row { is_read: false, ..self }
    }

    /// A function of recurrent operators too.
    const fn of_cells(self) -> Row {
        Row { in_cells: true, ..self }
    }

    /// Written by these nodes in older operator sets.
    const fn by(self, nodes: Nodes) -> Row {
        Row { nodes: Some(nodes), ..self }
    }
}

/// One row a function, in the order of the runtime's table.
pub(crate) const ROWS: &[Row] = &[
    row("identity", "Identity", 1, &[]).written(),
    row("sigmoid", "Sigmoid", 1, &[]).of_cells(),
    row("tanh", "Tanh", 1, &[]).of_cells(),
    row("hard_sigmoid", "HardSigmoid", 1, &[Float("alpha", 0.2), Float("beta", 0.5)]).of_cells(),
    row("hard_swish", "HardSwish", 14, &[]),
    row("silu", "", NEVER, &[]).written().by(|to, x, _| gated(to, x, 1.0)),
    row("swish", "Swish", 24, &[Float("alpha", 1.0)]).by(|to, x, p| gated(to, x, p[0])),
    row("leaky_relu", "LeakyRelu", 1, &[Float("alpha", 0.01)]).of_cells(),
    row("elu", "Elu", 1, &[Float("alpha", 1.0)]).of_cells(),
    row("selu", "Selu", 1, &[Float("alpha", 1.673_263_2), Float("gamma", 1.050_701)]),
    row("celu", "Celu", 12, &[Float("alpha", 1.0)]),
    row("gelu", "Gelu", 20, &[Word("approximate", "none")]),
    row("gelu_tanh", "Gelu", 20, &[Word("approximate", "tanh")]),
    row("softplus", "Softplus", 1, &[]).of_cells(),
    row("softsign", "Softsign", 1, &[]).of_cells(),
    row("mish", "Mish", 18, &[]),
    row("thresholded_relu", "ThresholdedRelu", 10, &[Float("alpha", 1.0)]).of_cells(),
    row("shrink", "Shrink", 9, &[Float("lambd", 0.5), Float("bias", 0.0)]),
    row("clip", "", NEVER, &[]).written().by(|to, x, p| {
        let bounds = [to.number(p[0]), to.number(p[1])];
        to.node("Clip", &[x, &bounds[0], &bounds[1]], vec![])
    }),
    row("exp", "Exp", 1, &[]),
    row("log", "Log", 1, &[]),
    row("sqrt", "Sqrt", 1, &[]),
    row("abs", "Abs", 1, &[]),
    row("neg", "Neg", 1, &[]),
    row("reciprocal", "Reciprocal", 1, &[]),
    row("erf", "Erf", 9, &[]),
    row("sign", "Sign", 9, &[]),
    row("round", "Round", 11, &[]),
    row("floor", "Floor", 1, &[]),
    row("ceil", "Ceil", 1, &[]),
    row("trunc", "", NEVER, &[]).written().by(|to, x, _| {
        let sign = to.node("Sign", &[x], vec![]);
        let size = to.node("Abs", &[x], vec![]);
        let size = to.node("Floor", &[&size], vec![]);
        to.node("Mul", &[&sign, &size], vec![])
    }),
    row("sin", "Sin", 7, &[]),
    row("cos", "Cos", 7, &[]),
    row("tan", "Tan", 7, &[]),
    row("asin", "Asin", 7, &[]),
    row("acos", "Acos", 7, &[]),
    row("atan", "Atan", 7, &[]),
    row("sinh", "Sinh", 9, &[]),
    row("cosh", "Cosh", 9, &[]),
    row("asinh", "Asinh", 9, &[]),
    row("acosh", "Acosh", 9, &[]),
    row("atanh", "Atanh", 9, &[]),
    row("not", "Not", NEVER, &[]).by(|to, x, _| {
        let truth = cast(to, x, DataType::Bool);
        let not = to.node("Not", &[&truth], vec![]);
        cast(to, &not, DataType::Float)
    }),
    row("is_nan", "IsNaN", NEVER, &[]).by(|to, x, _| {
        let truth = to.node("IsNaN", &[x], vec![]);
        cast(to, &truth, DataType::Float)
    }),
    row("is_inf", "IsInf", NEVER, &[Flag("detect_negative"), Flag("detect_positive")]).by(|to, x, p| {
        let flags = [("detect_negative", p[0]), ("detect_positive", p[1])];
        let flags = flags.map(|(name, flag)| int(name, i64::from(flag != 0.0)));
        let truth = to.node("IsInf", &[x], flags.to_vec());
        cast(to, &truth, DataType::Float)
    }),
    row("is_nonzero", "", NEVER, &[]).written().by(|to, x, _| {
        let truth = cast(to, x, DataType::Bool);
        cast(to, &truth, DataType::Float)
    }),
    row("pow", "", NEVER, &[]).written().by(|to, x, p| {
        let exponent = to.number(p[0]);
        to.node("Pow", &[x, &exponent], vec![])
    }),
    row("power_of", "", NEVER, &[]).written().by(|to, x, p| {
        let base = to.number(p[0]);
        to.node("Pow", &[&base, x], vec![])
    }),
    row("scale", "Affine", NEVER, &[Float("alpha", 1.0), Float("beta", 0.0)]).of_cells().by(|to, x, p| {
        let (mul, add) = (to.number(p[0]), to.number(p[1]));
        let scaled = to.node("Mul", &[x, &mul], vec![]);
        to.node("Add", &[&scaled, &add], vec![])
    }),
    row("scaled_tanh", "ScaledTanh", NEVER, &[Float("alpha", 1.0), Float("beta", 1.0)]).of_cells().by(|to, x, p| {
        let (alpha, beta) = (to.number(p[0]), to.number(p[1]));
        let inner = to.node("Mul", &[x, &beta], vec![]);
        let tanh = to.node("Tanh", &[&inner], vec![]);
        to.node("Mul", &[&alpha, &tanh], vec![])
    }),
    row("parametric_softplus", "ParametricSoftplus", NEVER, &[Float("alpha", 1.0), Float("beta", 1.0)]).by(
        |to, x, p| {
            let (alpha, beta) = (to.number(p[0]), to.number(p[1]));
            let inner = to.node("Mul", &[x, &beta], vec![]);
            let softplus = to.node("Softplus", &[&inner], vec![]);
            to.node("Mul", &[&alpha, &softplus], vec![])
        },
    ),
];

fn cast(to: &mut dyn NodeWriter, x: &str, kind: DataType) -> String {
    to.node("Cast", &[x], vec![int("to", kind as i64)])
}

/// `x * sigmoid(alpha * x)`.
fn gated(to: &mut dyn NodeWriter, x: &str, alpha: f32) -> String {
    let mut argument = x.to_owned();
    if alpha != 1.0 {
        let alpha = to.number(alpha);
        argument = to.node("Mul", &[x, &alpha], vec![]);
    }
    let gate = to.node("Sigmoid", &[&argument], vec![]);
    to.node("Mul", &[x, &gate], vec![])
}

impl Row {
    fn of(function: Function) -> &'static Row {
        let label = function.label();
        ROWS.iter().find(|row| row.label == label).unwrap_or_else(|| unreachable!("{label} has a row of its own"))
    }

    /// The function with these parameters.
    fn function(&self, parameters: &[f32]) -> Option<Function> {
        let tag = FUNCTIONS.iter().find(|row| row.label == self.label)?.tag;
        Some(match Function::from_parts(tag, parameters)? {
            Function::Swish { alpha: 1.0 } => Function::Silu,
            function => function,
        })
    }

    fn attributes(&self, function: Function) -> Vec<AttributeProto> {
        let mut parameters = function.parameters().into_iter();
        let mut next = || parameters.next().unwrap_or_default();
        let attribute = |attribute: &Attribute| match *attribute {
            Float(name, _) => float(name, next()),
            Flag(name) => int(name, i64::from(next() != 0.0)),
            Word(name, word) => string(name, word),
        };
        self.attributes.iter().map(attribute).collect()
    }
}

/// What a file says of an operator's attributes.
pub(crate) trait Given {
    /// Why an attribute cannot be read.
    type Error;
    /// A float, or what is meant where it is not given.
    fn float(&self, name: &str, missing: f32) -> Result<f32, Self::Error>;
    /// A flag, or what is meant where it is not given.
    fn flag(&self, name: &str, missing: bool) -> Result<bool, Self::Error>;
    /// A word, or what is meant where it is not given.
    fn word(&self, name: &str, missing: &'static str) -> Result<String, Self::Error>;
    /// The error of an operator that is none of the functions: what was seen, what is required.
    fn refused(seen: String) -> Self::Error;
}

/// The function that an operator of the default domain is.
///
/// # Errors
/// Where an attribute is not as ONNX has it.
pub(crate) fn read<G: Given>(operator: &str, given: &G) -> Result<Function, G::Error> {
    let rows = || ROWS.iter().filter(|row| row.is_read && row.operator == operator);
    let word = |row: &Row| {
        row.attributes.iter().find_map(|a| if let Word(name, word) = *a { Some((name, word)) } else { None })
    };
    let mut chosen = rows().next();
    if let Some((name, first)) = chosen.and_then(word) {
        let seen = given.word(name, first)?;
        chosen = rows().find(|row| word(row).is_some_and(|(_, word)| word == seen));
        if chosen.is_none() {
            let words: Vec<&str> = rows().filter_map(word).map(|(_, word)| word).collect();
            return Err(G::refused(format!("{name} {seen:?}; {} is required", words.join(" or "))));
        }
    }
    let Some(row) = chosen else {
        return Err(G::refused(format!("operator {operator}; it is in no row of the table of functions")));
    };
    let mut parameters = Vec::new();
    for attribute in row.attributes {
        match *attribute {
            Float(name, missing) => parameters.push(given.float(name, missing)?),
            Flag(name) => parameters.push(if given.flag(name, true)? { 1.0 } else { 0.0 }),
            Word(..) => {}
        }
    }
    row.function(&parameters).ok_or_else(|| G::refused(format!("parameters {parameters:?}; numbers are required")))
}

/// The activation of a recurrent operator that is called `name` in any case; `parameter` tells the next value of `activation_alpha`
/// (0) or `activation_beta` (1), or what is meant where there is none.
pub(crate) fn read_activation(name: &str, mut parameter: impl FnMut(usize, f32) -> f32) -> Option<Function> {
    if name.eq_ignore_ascii_case("Relu") {
        return Some(RELU);
    }
    let row = ROWS.iter().find(|row| row.in_cells && row.operator.eq_ignore_ascii_case(name))?;
    let mut parameters = Vec::new();
    for (index, attribute) in row.attributes.iter().enumerate() {
        if let Float(_, missing) = *attribute {
            parameters.push(parameter(index, missing));
        }
    }
    row.function(&parameters)
}

const RELU: Function = Function::Clip { min: 0.0, max: f32::INFINITY };

/// A function as an activation of a recurrent operator, with its `activation_alpha` and `activation_beta`; `None` where those
/// operators have none such.
pub(crate) fn activation(function: Function) -> Option<(&'static str, Option<f32>, Option<f32>)> {
    if function == RELU {
        return Some(("Relu", None, None));
    }
    let row = Row::of(function);
    let parameters = function.parameters();
    row.in_cells.then(|| (row.operator, parameters.first().copied(), parameters.get(1).copied()))
}

/// The operator of an operator set that is this function, with its attributes.
pub(crate) fn operator(function: Function, opset: i64) -> Option<(&'static str, Vec<AttributeProto>)> {
    let row = Row::of(function);
    (row.since <= opset).then(|| (row.operator, row.attributes(function)))
}

/// Writes a function of `x` in an operator set, by one node or several; returns the value that holds its results.
pub(crate) fn write(to: &mut dyn NodeWriter, function: Function, x: &str, opset: i64) -> String {
    let row = Row::of(function);
    match (operator(function, opset), row.nodes) {
        (None, Some(nodes)) => nodes(to, x, &function.parameters()),
        _ => to.node(row.operator, &[x], row.attributes(function)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operator set that exports are written in has every function, or nodes say it.
    #[test]
    fn every_function_has_one_row_and_a_way_to_be_written() {
        let labels: Vec<&str> = ROWS.iter().map(|row| row.label).collect();
        let functions: Vec<&str> = FUNCTIONS.iter().map(|row| row.label).collect();
        assert_eq!(labels, functions);
        for (row, function) in ROWS.iter().zip(FUNCTIONS) {
            assert!(row.since <= 21 || row.nodes.is_some(), "{} has an operator or nodes", row.label);
            let words = row.attributes.iter().filter(|a| matches!(a, Word(..))).count();
            if !row.attributes.is_empty() {
                assert_eq!(row.attributes.len() - words, function.parameters.len(), "{}", row.label);
            }
        }
    }

    struct Nothing;

    impl Given for Nothing {
        type Error = String;
        fn float(&self, _: &str, missing: f32) -> Result<f32, String> {
            Ok(missing)
        }
        fn flag(&self, _: &str, missing: bool) -> Result<bool, String> {
            Ok(missing)
        }
        fn word(&self, _: &str, missing: &'static str) -> Result<String, String> {
            Ok(missing.to_owned())
        }
        fn refused(seen: String) -> String {
            seen
        }
    }

    struct Words<'a>(&'a str);

    impl Given for Words<'_> {
        type Error = String;
        fn float(&self, _: &str, missing: f32) -> Result<f32, String> {
            Ok(missing)
        }
        fn flag(&self, _: &str, _: bool) -> Result<bool, String> {
            Ok(false)
        }
        fn word(&self, _: &str, _: &'static str) -> Result<String, String> {
            Ok(self.0.to_owned())
        }
        fn refused(seen: String) -> String {
            seen
        }
    }

    #[test]
    fn defaults_are_those_of_onnx() {
        assert_eq!(read("HardSigmoid", &Nothing), Ok(Function::HardSigmoid { alpha: 0.2, beta: 0.5 }));
        assert_eq!(read("Swish", &Nothing), Ok(Function::Silu));
        assert_eq!(read("Gelu", &Nothing), Ok(Function::Gelu));
        assert_eq!(read("Gelu", &Words("tanh")), Ok(Function::GeluTanh));
        assert_eq!(read("IsInf", &Words("")), Ok(Function::IsInf { negative: 0.0, positive: 0.0 }));
        let refused = read("Gelu", &Words("erf"));
        assert_eq!(refused, Err("approximate \"erf\"; none or tanh is required".to_owned()));
        assert!(read("Clip", &Nothing).is_err(), "its bounds are inputs");
    }

    #[test]
    fn activations_come_back() {
        for row in ROWS.iter().filter(|row| row.in_cells) {
            let function = read_activation(&row.operator.to_uppercase(), |_, missing| missing).expect(row.operator);
            let (name, alpha, beta) = activation(function).expect(row.operator);
            let given = [alpha, beta];
            let again = read_activation(name, |index, _| given[index].expect("a parameter")).expect(name);
            assert_eq!(again, function);
        }
        assert_eq!(read_activation("relu", |_, missing| missing), Some(RELU));
        assert_eq!(activation(RELU), Some(("Relu", None, None)));
        assert_eq!(read_activation("Exp", |_, missing| missing), None);
    }
}
