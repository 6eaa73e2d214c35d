//! The operators of a plan: one table.
//!
//! A row gives an operator its tag in the file, its word in text, and its fields; each field has a type ([`field::Field`]: how it is
//! stored and shown) and a role ([`field::Role`]: whether it is read or written, what a value must be). The enumeration, decoder,
//! encoder, text form, and the lists of what an operator reads and writes come from the table. What binds several fields is in
//! [`crate::verify`]; the arithmetic is specified in docs/quantization.md.

pub(crate) mod field;
mod table;

use crate::BitWidth;
use crate::float::{BinaryKind, RecurrentKind, ReduceKind};
use crate::function::Function;
use crate::program::{Destination, FloatId, LayerKind, Order, Tensor, TensorId, Window};
use field::{Field, Place, Role, choice};
use table::{operators, record, show_fields};

pub use field::MAX_AXES;

/// What an operator does with a tensor or a float slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Reads a tensor.
    Reads(TensorId),
    /// Writes a tensor.
    Writes(TensorId),
    /// Reads a float slot.
    ReadsFloats(FloatId),
    /// Writes a float slot.
    WritesFloats(FloatId),
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// First word of the record.
    pub tag: u32,
    /// Word in text.
    pub label: &'static str,
    /// Names of its fields, in the order of the record.
    pub fields: &'static [&'static str],
}

/// The table as it stands in docs/format.md.
pub fn operator_table() -> String {
    let rows = ROWS.iter().map(|row| format!("| {} | {} | {} |\n", row.tag, row.label, row.fields.join(", ")));
    std::iter::once("| tag | operator | fields |\n|---|---|---|\n".to_owned()).chain(rows).collect()
}

choice! {
    /// What [`Op::Arithmetic`] computes of two values.
    pub enum ArithmeticKind {
        /// `a + b`.
        Add = 1 "add",
        /// `a - b`.
        Sub = 2 "sub",
        /// `a * b`.
        Mul = 3 "mul",
        /// The smaller one.
        Min = 4 "min",
        /// The larger one.
        Max = 5 "max",
    }
}

record! {
    /// Convolution or fully connected layer with bit-packed weights.
    pub struct Conv {
        /// ONNX node name.
        name: String, Name;
        /// What it was in ONNX.
        kind: LayerKind, Choice;
        /// Input.
        x: TensorId, Read;
        /// Output.
        destination: Destination, Writes;
        /// Kernel, stride, dilation, padding; padding cells hold the input's zero point.
        window: Window, Sliding;
        /// Groups of channels.
        groups: u32, Count;
        /// Output channels.
        outputs: u32, Count;
        /// Width of the weight codes.
        bits: BitWidth, Choice;
        /// First byte of the packed codes in the weights section, a multiple of 64. Order: [`crate::pack`].
        weights_offset: u64, Offset;
        /// First byte in the constants section, a multiple of 64: `outputs` i32 biases, then `outputs` f32 multipliers.
        constants_offset: u64, Offset;
    }
}

operators! {
    /// Convolution, fully connected.
    2 Conv;

    /// Floats to codes.
    1 "quantize" Quantize {
        /// Floats.
        x: FloatId, Read;
        /// Result.
        y: TensorId, Writes;
        /// `1 / scale` of the result, rounded to f32.
        inv_scale: f32, Multiplier;
        /// Order of the floats.
        order: Order, Choice;
    }
    /// Maximum of codes; padding never wins. Input and result share scale and zero point.
    4 "max_pool" MaxPool {
        /// Input.
        x: TensorId, Read;
        /// Result.
        y: TensorId, Writes;
        /// Window.
        window: Window, Sliding;
        /// Lowest code.
        lo: u8, Code;
        /// Highest code.
        hi: u8, Code;
    }
    /// Mean over a window.
    5 "average_pool" AveragePool {
        /// Input.
        x: TensorId, Read;
        /// Result.
        y: TensorId, Writes;
        /// Window with dilation 1.
        window: Window, Sliding;
        /// Whether padding counts in the divisor.
        count_include_pad: bool, Flag;
        /// Input scale / output scale; divided by the count in f32.
        multiplier: f32, Multiplier;
        /// Lowest code.
        lo: u8, Code;
        /// Highest code.
        hi: u8, Code;
    }
    /// Two operands, value by value, each repeated where its stride is 0.
    6 "arithmetic" Arithmetic {
        /// What is computed.
        kind: ArithmeticKind, Choice;
        /// First operand.
        a: TensorId, Read;
        /// Second operand.
        b: TensorId, Read;
        /// Result, dense in the order of the axes.
        y: TensorId, Writes;
        /// Extents of the axes; their product is the length of the result.
        extents: Vec<u32>, Extents;
        /// Codes of `a` from one position of an axis to the next.
        strides_a: Vec<u32>, Strides;
        /// Codes of `b` from one position of an axis to the next.
        strides_b: Vec<u32>, Strides;
        /// Scale of `a` / scale of `y`; of a product, that of both operands / scale of `y`.
        multiplier_a: f32, Multiplier;
        /// Scale of `b` / scale of `y`; 1 for a product.
        multiplier_b: f32, Multiplier;
        /// Lowest code.
        lo: u8, Code;
        /// Highest code.
        hi: u8, Code;
    }
    /// A part of each input after the other, `outer` times: their concatenation along an axis.
    7 "concat" Concat {
        /// Each input; codes move where there is no multiplier (equal scale and zero point).
        xs: Vec<(TensorId, Option<f32>)>, Read;
        /// Result.
        y: TensorId, Writes;
        /// Parts of each input.
        outer: u32, Count;
        /// Lowest code.
        lo: u8, Code;
        /// Highest code.
        hi: u8, Code;
    }
    /// `(q - z) * multiplier[c] + addend[c]`, then requantized.
    8 "affine" Affine {
        /// Input.
        x: TensorId, Read;
        /// Result.
        y: TensorId, Writes;
        /// First byte in the constants section: `channels` f32 multipliers, then `channels` f32 addends.
        constants_offset: u64, Offset;
        /// Lowest code.
        lo: u8, Code;
        /// Highest code.
        hi: u8, Code;
    }
    /// Codes of the constants section.
    9 "constant" Constant {
        /// Result.
        y: TensorId, Writes;
        /// First byte in the constants section: one a value.
        constants_offset: u64, Offset;
    }
    /// `y = table[x]`.
    10 "table" Table {
        /// Input.
        x: TensorId, Read;
        /// Result.
        y: TensorId, Writes;
        /// First byte in the constants section: 256 codes, or 256 a channel.
        constants_offset: u64, Offset;
        /// Whether each channel has a table of its own.
        per_channel: bool, Flag;
    }
    /// Codes to other places: the source of a code is the sum of one entry an axis.
    11 "move" Move {
        /// Input.
        x: TensorId, Read;
        /// Result, dense in the order of the axes.
        y: TensorId, Writes;
        /// For each axis, an entry a position; `u32::MAX` for a code that is filled.
        tables: Vec<Vec<u32>>, Tables;
        /// The code that fills.
        fill: u8, Code;
    }
    /// Codes to floats.
    12 "dequantize" Dequantize {
        /// Input.
        x: TensorId, Read;
        /// Result.
        y: FloatId, Writes;
        /// Order of the floats.
        order: Order, Choice;
    }
    /// A function of each value.
    20 "float_unary" FloatUnary {
        /// Input.
        x: FloatId, Read;
        /// Result.
        y: FloatId, Writes;
        /// Function.
        function: Function, Choice;
    }
    /// Two operands, value by value, each repeated where its stride is 0.
    21 "float_binary" FloatBinary {
        /// What is computed.
        kind: BinaryKind, Choice;
        /// First operand.
        a: FloatId, Read;
        /// Second operand.
        b: FloatId, Read;
        /// Result, in the order of the axes.
        y: FloatId, Writes;
        /// Extents of the axes; their product is the length of the result.
        extents: Vec<u32>, Extents;
        /// Values of `a` from one position of an axis to the next.
        strides_a: Vec<u32>, Strides;
        /// Values of `b` from one position of an axis to the next.
        strides_b: Vec<u32>, Strides;
    }
    /// `a` where `c` is not 0, else `b`; each repeated where its stride is 0.
    22 "float_select" FloatSelect {
        /// Condition.
        c: FloatId, Read;
        /// Where it holds.
        a: FloatId, Read;
        /// Where it does not.
        b: FloatId, Read;
        /// Result, in the order of the axes.
        y: FloatId, Writes;
        /// Extents of the axes; their product is the length of the result.
        extents: Vec<u32>, Extents;
        /// Values of `c` from one position of an axis to the next.
        strides_c: Vec<u32>, Strides;
        /// Values of `a` from one position of an axis to the next.
        strides_a: Vec<u32>, Strides;
        /// Values of `b` from one position of an axis to the next.
        strides_b: Vec<u32>, Strides;
    }
    /// Values to other places: the source of a value is the sum of one entry an axis.
    23 "float_move" FloatMove {
        /// Input.
        x: FloatId, Read;
        /// Result, in the order of the axes.
        y: FloatId, Writes;
        /// For each axis, an entry a position; `u32::MAX` for a value that is filled.
        tables: Vec<Vec<u32>>, Tables;
        /// The value that fills.
        fill: f32, Value;
    }
    /// A part of each input after the other, `outer` times.
    24 "float_concat" FloatConcat {
        /// Each input.
        xs: Vec<FloatId>, Read;
        /// Result.
        y: FloatId, Writes;
        /// Parts of each input.
        outer: u32, Count;
    }
    /// A run of axes to one value: `[outer, len, inner]` to `[outer, inner]`.
    25 "float_reduce" FloatReduce {
        /// What is computed.
        kind: ReduceKind, Choice;
        /// Input.
        x: FloatId, Read;
        /// Result.
        y: FloatId, Writes;
        /// Extent before the axes.
        outer: u32, Count;
        /// Extent of the axes.
        len: u32, Count;
        /// Extent behind the axes.
        inner: u32, Count;
    }
    /// Softmax over the middle of `[outer, len, inner]`.
    26 "softmax" Softmax {
        /// Input.
        x: FloatId, Read;
        /// Result.
        y: FloatId, Writes;
        /// Natural logarithm of it.
        log: bool, Flag;
        /// Extent before the axis.
        outer: u32, Count;
        /// Extent of the axis.
        len: u32, Count;
        /// Extent behind the axis.
        inner: u32, Count;
    }
    /// Products of matrices: `[m, k]` times `[k, n]`, for each position of the batch.
    27 "float_matmul" FloatMatMul {
        /// Left operand.
        a: FloatId, Read;
        /// Right operand.
        b: FloatId, Read;
        /// Result, `[batch.., m, n]`.
        y: FloatId, Writes;
        /// Extents of the batch.
        batch: Vec<u32>, Extents;
        /// Values of `a` from one position of a batch axis to the next.
        strides_a: Vec<u32>, Strides;
        /// Values of `b` from one position of a batch axis to the next.
        strides_b: Vec<u32>, Strides;
        /// Rows of `a`.
        m: u32, Count;
        /// Columns of `a`, rows of `b`.
        k: u32, Count;
        /// Columns of `b`.
        n: u32, Count;
    }
    /// Floats of the constants section.
    28 "float_constant" FloatConstant {
        /// Result.
        y: FloatId, Writes;
        /// First byte in the constants section: one f32 a value.
        constants_offset: u64, Offset;
    }
    /// Weighted sums along the middle of `[outer, len, inner]`: one a list of taps.
    29 "float_resample" FloatResample {
        /// Input.
        x: FloatId, Read;
        /// Result, `[outer, number of lists, inner]`.
        y: FloatId, Writes;
        /// Extent before the axis.
        outer: u32, Count;
        /// Extent of the axis.
        len: u32, Count;
        /// Extent behind the axis.
        inner: u32, Count;
        /// For each position of the result, positions of the input and their weights.
        taps: Vec<Vec<(u32, f32)>>, Taps;
    }
    /// Rows of a table: an index is rounded, then clamped to the table.
    30 "float_lookup" FloatLookup {
        /// Indices.
        x: FloatId, Read;
        /// Result, a row a value of `x`.
        y: FloatId, Writes;
        /// First byte in the constants section: `rows * width` f32.
        constants_offset: u64, Offset;
        /// Rows of the table.
        rows: u32, Count;
        /// Values of a row.
        width: u32, Count;
    }
    /// A recurrent layer in one direction, all of its steps.
    31 "float_recurrent" FloatRecurrent {
        /// Cell.
        kind: RecurrentKind, Choice;
        /// `[steps, batch, gates * hidden]`, the products of its input; then the states h and c at the beginning, `[batch, hidden]` each,
        /// as far as they are not 0.
        xs: Vec<FloatId>, Read;
        /// Result, `[steps, batch, hidden]`, and behind it the extra states of the cell.
        y: FloatId, Writes;
        /// Whether the last step comes first.
        reverse: bool, Flag;
        /// Steps.
        steps: u32, Count;
        /// Sequences beside each other.
        batch: u32, Count;
        /// Cells.
        hidden: u32, Count;
        /// The cell's functions f, g and h.
        functions: Vec<Function>, Choice;
        /// What goes into f and g is clamped to `-clip..=clip`.
        clip: f32, Value;
        /// Whether there are peepholes.
        peepholes: bool, Flag;
        /// First byte in the constants section, f32: `[gates, hidden before, hidden]` weights, `[gates, hidden]` biases, and `[3, hidden]`
        /// peepholes if there are.
        constants_offset: u64, Offset;
    }
}

impl Conv {
    const FIELDS: &'static [&'static str] = &[
        "name",
        "kind",
        "x",
        "destination",
        "window",
        "groups",
        "outputs",
        "bits",
        "weights_offset",
        "constants_offset",
    ];

    /// Weights an output channel: kernel height x kernel width x input channels of a group.
    pub fn depth(&self, x: &Tensor) -> usize {
        let [kh, kw] = self.window.kernel;
        kh as usize * kw as usize * (x.channels / self.groups) as usize
    }
}

impl Op {
    /// The word used in reports and errors: what is computed, where a row of the table has several kinds.
    pub fn label(&self) -> &'static str {
        match self {
            Op::Arithmetic { kind, .. } => kind.label(),
            Op::FloatBinary { kind, .. } => kind.label(),
            Op::FloatReduce { kind, .. } => kind.label(),
            Op::FloatUnary { function, .. } => function.label(),
            Op::FloatRecurrent { kind, .. } => kind.label(),
            _ => self.row_label(),
        }
    }

    /// Whether it computes floats from floats.
    pub fn is_float(&self) -> bool {
        self.writes_floats().is_some() && self.reads().is_empty()
    }

    /// The tensors it reads.
    pub fn reads(&self) -> Vec<TensorId> {
        let mut found = Vec::new();
        self.operands(&mut |operand| {
            if let Operand::Reads(id) = operand {
                found.push(id);
            }
        });
        found
    }

    /// The tensor it writes, if it writes codes.
    pub fn writes(&self) -> Option<TensorId> {
        let mut found = None;
        self.operands(&mut |operand| {
            if let Operand::Writes(id) = operand {
                found = Some(id);
            }
        });
        found
    }

    /// The float slots it reads.
    pub fn reads_floats(&self) -> Vec<FloatId> {
        let mut found = Vec::new();
        self.operands(&mut |operand| {
            if let Operand::ReadsFloats(id) = operand {
                found.push(id);
            }
        });
        found
    }

    /// The float slot it writes, if it writes floats.
    pub fn writes_floats(&self) -> Option<FloatId> {
        let mut found = None;
        self.operands(&mut |operand| {
            if let Operand::WritesFloats(id) = operand {
                found = Some(id);
            }
        });
        found
    }
}
