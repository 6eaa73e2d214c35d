//! QuantizeLinear and DequantizeLinear.
//!
//! Takes constant scales and zero points, for the whole tensor, an axis, or blocks of one. Constants are dequantized here. Around an
//! activation the two are the identity on what the codes can hold: a clip to that range. Codes that something else reads are
//! computed as ONNX says.

use super::axis;
use super::forms::one;
use crate::import::Rule;
use crate::import::build::{Builder, Constant, Value};
use crate::import::error::{Problem, invalid, unsupported};
use crate::import::source::Step;
use crate::import::types;
use crate::ir::{AxisMap, BinaryKind, Clip, Function, NodeId, Op};
use crate::onnx::onnx_protobuf::tensor_proto::DataType;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("DequantizeLinear", dequantize_linear),
    ("QuantizeLinear", quantize_linear),
    ("com.microsoft.DequantizeLinear", dequantize_linear),
    ("com.microsoft.QuantizeLinear", quantize_linear),
];

/// Scale and zero point: one value, or one a position of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::import) struct Codes {
    /// `None` where one scale holds for all.
    axis: Option<usize>,
    scale: Vec<f32>,
    zero: Vec<f32>,
}

impl Codes {
    /// The scale at input `scale` and the zero point at input `zero` of a node, for a tensor of `dims`.
    pub(super) fn read(
        b: &Builder<'_>,
        step: &Step,
        [scale, zero]: [usize; 2],
        stated_axis: i64,
        dims: &[usize],
    ) -> Result<Self, Problem> {
        let scales = b.required(step, scale)?;
        let zeros = b.constant(step, zero)?;
        let scale = scales.floats();
        if let Some(bad) = scale.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
            return Err(invalid(format!("scale {bad}; it must be finite and > 0")));
        }
        let zero = zeros.map_or_else(|| vec![0.0; scale.len()], |zeros| zeros.floats());
        let axis = match scales.dims() {
            [] => None,
            [1] if scale.len() == 1 => None,
            [_] => Some(axis::axis(stated_axis, dims.len())?),
            other => {
                return Err(invalid(format!("scale of shape {other:?}; one value, or one a position, is required")));
            }
        };
        let wanted = axis.map_or(1, |axis| dims[axis]);
        if scale.len() != wanted || zero.len() != wanted {
            return Err(invalid(format!(
                "{} scales and {} zero points for {dims:?}; {wanted} of each are required",
                scale.len(),
                zero.len()
            )));
        }
        Ok(Codes { axis, scale, zero })
    }
}

impl Builder<'_> {
    /// `x * mul + add`, with one factor and addend for all or one a position of an axis.
    fn scaled(&mut self, x: NodeId, axis: Option<usize>, mul: Vec<f32>, add: Vec<f32>) -> Result<NodeId, Problem> {
        match axis {
            None => self.affine(x, mul[0], add[0]),
            Some(1) => self.push(Op::ChannelAffine { mul, add }, &[x]),
            Some(axis) => {
                let mut dims = vec![1; self.rank(x)];
                dims[axis] = mul.len();
                let mul = self.literal(dims.clone(), mul)?;
                let add = self.literal(dims, add)?;
                let product = self.binary(BinaryKind::Mul, x, mul)?;
                self.binary(BinaryKind::Add, product, add)
            }
        }
    }

    /// Codes of an activation in the range of an integer type.
    pub(super) fn quantized(&mut self, x: NodeId, codes: &Codes, kind: DataType) -> Result<NodeId, Problem> {
        let (least, greatest) = types::code_range(kind).ok_or_else(|| {
            unsupported(format!("codes of type {}; at most 16 bits are supported", kind.as_str_name()))
        })?;
        // What the codes can hold; the same bounds for all where there are several scales.
        let ends = |bound: f32| codes.scale.iter().zip(&codes.zero).map(move |(scale, zero)| (bound - zero) * scale);
        let clip = Clip {
            min: ends(least).fold(f32::INFINITY, f32::min),
            max: ends(greatest).fold(f32::NEG_INFINITY, f32::max),
        };
        let clipped = self.push(Op::Clip(clip), &[x])?;
        let inverse = codes.scale.iter().map(|scale| 1.0 / scale).collect();
        let steps = self.scaled(clipped, codes.axis, inverse, vec![0.0; codes.scale.len()])?;
        let rounded = self.unary(Function::Round, steps)?;
        let moved = self.scaled(rounded, codes.axis, vec![1.0; codes.zero.len()], codes.zero.clone())?;
        let result = self.push(Op::Clip(Clip { min: least, max: greatest }), &[moved])?;
        self.codes.insert(result, (clipped, codes.clone()));
        Ok(result)
    }

    /// The values that codes stand for. Of codes that were made of an activation, moved about or not, it is that activation.
    pub(super) fn dequantized(&mut self, x: NodeId, codes: &Codes) -> Result<NodeId, Problem> {
        if let Some(origin) = self.origin(x, codes)? {
            return Ok(origin);
        }
        let shift = codes.zero.iter().zip(&codes.scale).map(|(zero, scale)| -zero * scale).collect();
        self.scaled(x, codes.axis, codes.scale.clone(), shift)
    }

    fn origin(&mut self, x: NodeId, codes: &Codes) -> Result<Option<NodeId>, Problem> {
        if let Some((source, made)) = self.codes.get(&x) {
            return Ok((made == codes).then_some(*source));
        }
        let op = self.op(x).clone();
        // One scale for all moves along, and a maximum of codes is that of what they stand for.
        if codes.axis.is_some() || !(op.moves() || matches!(op, Op::MaxPool(_))) {
            return Ok(None);
        }
        if let Op::Gather { maps, .. } = &op
            && maps.iter().any(|map| matches!(map, AxisMap::Indices(list) if list.contains(&None)))
        {
            return Ok(None);
        }
        let Some(&before) = self.inputs(x).first() else { return Ok(None) };
        let Some(source) = self.origin(before, codes)? else { return Ok(None) };
        let dims = self.dims(x);
        if matches!(op, Op::Reshape) { self.reshape(source, dims) } else { self.push(op, &[source]) }.map(Some)
    }
}

fn quantize_linear(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let x = b.node(step, 0)?;
    let attributes = step.attributes();
    let stated = match attributes.int("output_dtype", 0)? {
        0 => None,
        code => Some(types::data_type(code)?),
    };
    let kind = stated.or(b.kind(step, 2)).unwrap_or(DataType::Uint8);
    if attributes.int("block_size", 0)? != 0 {
        return Err(unsupported("QuantizeLinear of an activation in blocks; one scale, or one an axis, is supported"));
    }
    let codes = Codes::read(b, step, [1, 2], attributes.int("axis", 1)?, &b.dims(x))?;
    one(b.quantized(x, &codes, kind)?)
}

fn dequantize_linear(b: &mut Builder<'_>, step: &Step) -> Result<Vec<Value>, Problem> {
    let attributes = step.attributes();
    let stated_axis = attributes.int("axis", 1)?;
    if b.folding() {
        let x = b.required(step, 0)?;
        let (scale, zero) = (b.required(step, 1)?, b.constant(step, 2)?);
        b.spend(x.len(), "DequantizeLinear")?;
        let block = axis::count(attributes.int("block_size", 0)?, "block_size")?;
        let values = dequantize(&x, &scale, zero.as_deref(), stated_axis, block)?;
        return Ok(vec![Value::Constant(values.into())]);
    }
    let x = b.node(step, 0)?;
    let codes = Codes::read(b, step, [1, 2], stated_axis, &b.dims(x))?;
    one(b.dequantized(x, &codes)?)
}

/// `(x - zero) * scale` of constants; `block` positions of the axis share a scale where it is not 0.
fn dequantize(
    x: &Constant,
    scale: &Constant,
    zero: Option<&Constant>,
    stated_axis: i64,
    block: usize,
) -> Result<Constant, Problem> {
    let (scales, codes) = (scale.floats(), x.ints());
    let zeros = zero.map_or_else(|| vec![0; scales.len()], Constant::ints);
    let dims = x.dims();
    let error = || {
        invalid(format!(
            "scale of shape {:?}, {} zero points and block_size {block} for {dims:?}; they must fit",
            scale.dims(),
            zeros.len()
        ))
    };
    if zeros.len() != scales.len() || scales.is_empty() {
        return Err(error());
    }
    // Place of the scale of a position: before the axis, on it, behind it.
    let (on, inner, per) = if scales.len() == 1 && block == 0 {
        (1, codes.len().max(1), codes.len().max(1))
    } else {
        let axis = axis::axis(stated_axis, dims.len())?;
        let inner = dims[axis + 1..].iter().product::<usize>().max(1);
        if block == 0 {
            if scale.dims() != [dims[axis]] {
                return Err(error());
            }
            (dims[axis], inner, inner)
        } else {
            let blocked = |(i, &d): (usize, &usize)| if i == axis { d.div_ceil(block) } else { d };
            if !dims.iter().enumerate().map(blocked).eq(scale.dims().iter().copied()) {
                return Err(error());
            }
            (dims[axis], inner, 0)
        }
    };
    let place = |i: usize| {
        let at = i / inner % on;
        if per > 0 {
            return at;
        }
        let (outer, behind) = (i / (inner * on), i % inner);
        (outer * on.div_ceil(block) + at / block) * inner + behind
    };
    let value = |(i, code): (usize, &i64)| (code - zeros[place(i)]) as f32 * scales[place(i)];
    let values = codes.iter().enumerate().map(value).collect();
    Constant::of_floats(dims.to_vec(), values).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_dequantized_as_a_whole_along_an_axis_and_in_blocks() {
        let codes = |dims: &[usize], values: &[f64]| Constant::of_numbers(dims.to_vec(), DataType::Int8, values);
        let floats = |dims: &[usize], values: &[f32]| Constant::of_floats(dims.to_vec(), values.to_vec()).unwrap();
        let x = codes(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let run = |scale: &Constant, axis, block| dequantize(&x, scale, None, axis, block).map(|c| c.floats());
        assert_eq!(run(&floats(&[], &[0.5]), 1, 0).unwrap(), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(run(&floats(&[2], &[1.0, 2.0]), 0, 0).unwrap(), [1.0, 2.0, 3.0, 8.0, 10.0, 12.0]);
        let blocks = floats(&[2, 2], &[1.0, 10.0, 2.0, 20.0]);
        assert_eq!(run(&blocks, 1, 2).unwrap(), [1.0, 2.0, 30.0, 8.0, 10.0, 120.0]);
        assert!(run(&floats(&[3], &[1.0; 3]), 0, 0).is_err());
    }
}
