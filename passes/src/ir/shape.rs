//! The one shape rule: what an operator makes of its operands' shapes. Import and verification use it.

use super::{MAX_RANK, Op, Recurrent, Shape, Window};

impl Op {
    /// Shape of the result for operands of these shapes; `stated` where the operator leaves it open (inputs, reshapes).
    ///
    /// # Errors
    /// What was seen and what is required, where the operands do not fit the operator.
    pub fn shape(&self, operands: &[&Shape], stated: &Shape) -> Result<Shape, String> {
        if !self.arity().contains(&operands.len()) {
            return Err(format!("{} operands; {} are required", operands.len(), self.arity().start()));
        }
        let shape = self.unbounded_shape(operands, stated)?;
        if shape.rank() > MAX_RANK {
            return Err(format!("a result of {} axes; at most {MAX_RANK} are supported", shape.rank()));
        }
        Ok(shape)
    }

    fn unbounded_shape(&self, operands: &[&Shape], stated: &Shape) -> Result<Shape, String> {
        let operand = |index: usize| operands[index];
        Ok(match self {
            Op::Input(_) => stated.clone(),
            Op::Constant(tensor) => Shape::new(tensor.dims().to_vec()),
            Op::Conv(conv) => windowed(&conv.window, operand(0), conv.weight.dims().first().copied())?,
            Op::MaxPool(window) | Op::AveragePool { window, .. } => windowed(window, operand(0), None)?,
            Op::FullyConnected(fc) => {
                let mut dims = operand(0).dims().to_vec();
                let (Some(last), [outputs, inputs]) = (dims.last_mut(), fc.weight.dims()) else {
                    return Err(format!(
                        "weight {:?} on {}; [outputs, inputs] over the last axis is required",
                        fc.weight.dims(),
                        operand(0)
                    ));
                };
                if last != inputs {
                    return Err(format!(
                        "weight for {inputs} inputs on {}; the last axis must have as many",
                        operand(0)
                    ));
                }
                *last = *outputs;
                Shape::new(dims)
            }
            Op::BatchNorm(_) | Op::ChannelAffine { .. } | Op::PRelu { .. } | Op::Clip(_) | Op::Unary(_) => {
                operand(0).clone()
            }
            Op::Softmax { axis, .. } => {
                axis_of(*axis, operand(0))?;
                operand(0).clone()
            }
            Op::Binary(_) | Op::Select => broadcast(operands)?,
            Op::Concat { axis } => concat(*axis, operands)?,
            Op::Transpose { perm } => {
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..operand(0).rank()) {
                    return Err(format!("axes {perm:?} of {}; each axis once is required", operand(0)));
                }
                Shape::new(perm.iter().map(|&axis| operand(0).dims()[axis]).collect())
            }
            Op::Gather { maps, .. } => gather(maps, operand(0))?,
            Op::Reshape if operand(0).len() != stated.len() => {
                return Err(format!("reshape of {} to {stated}; the number of elements must stay", operand(0)));
            }
            Op::Reshape => stated.clone(),
            Op::Reduce { axes, .. } => {
                let mut dims = operand(0).dims().to_vec();
                for &axis in axes {
                    dims[axis_of(axis, operand(0))?] = 1;
                }
                if axes.is_empty() || !axes.windows(2).all(|pair| pair[0] < pair[1]) {
                    return Err(format!("reduction over axes {axes:?}; ascending axes are required"));
                }
                Shape::new(dims)
            }
            Op::MatMul => mat_mul(operand(0), operand(1))?,
            Op::Resample { axis, taps } => {
                let mut dims = operand(0).dims().to_vec();
                let extent = dims[axis_of(*axis, operand(0))?];
                if taps.iter().flatten().any(|&(index, _)| index >= extent) {
                    return Err(format!("resampling of axis {axis} of {}; every tap must lie on it", operand(0)));
                }
                dims[*axis] = taps.len();
                Shape::new(dims)
            }
            Op::Lookup { table } => match table.dims() {
                [_, row @ ..] => Shape::new([operand(0).dims(), row].concat()),
                [] => return Err("a table without axes; rows are required".into()),
            },
            Op::Recurrent(recurrent) => recurrent_shape(recurrent, operands)?,
        })
    }
}

/// `axis`, if the shape has it.
fn axis_of(axis: usize, shape: &Shape) -> Result<usize, String> {
    if axis < shape.rank() { Ok(axis) } else { Err(format!("axis {axis} of {shape}; it does not exist")) }
}

fn windowed(window: &Window, operand: &Shape, outputs: Option<usize>) -> Result<Shape, String> {
    let [batch, channels, height, width] = *operand.dims() else {
        return Err(format!("a window over {operand}; [N, C, H, W] is required"));
    };
    if [window.kernel, window.stride, window.dilation].iter().flatten().any(|&v| v == 0) {
        return Err(format!(
            "kernel {:?}, stride {:?}, dilation {:?}; each must be >= 1",
            window.kernel, window.stride, window.dilation
        ));
    }
    let [height, width] = window
        .output(height, width)
        .ok_or_else(|| format!("window {window} on an image of {height}x{width}; it must fit"))?;
    Ok(Shape::new(vec![batch, outputs.unwrap_or(channels), height, width]))
}

/// The common shape of operands that broadcast: aligned at the last axis, extents equal or 1.
pub(crate) fn broadcast(operands: &[&Shape]) -> Result<Shape, String> {
    let rank = operands.iter().map(|shape| shape.rank()).max().unwrap_or(0);
    let mut dims = vec![1; rank];
    for shape in operands {
        let offset = rank - shape.rank();
        for (axis, &extent) in shape.dims().iter().enumerate() {
            let common = &mut dims[offset + axis];
            if *common == 1 {
                *common = extent;
            } else if extent != 1 && extent != *common {
                let all: Vec<String> = operands.iter().map(ToString::to_string).collect();
                return Err(format!("operands {}; they must broadcast", all.join(" and ")));
            }
        }
    }
    Ok(Shape::new(dims))
}

fn concat(axis: usize, operands: &[&Shape]) -> Result<Shape, String> {
    let first = operands[0];
    axis_of(axis, first)?;
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    for other in operands {
        let fits =
            other.rank() == first.rank() && (0..first.rank()).all(|i| i == axis || other.dims()[i] == first.dims()[i]);
        if !fits {
            return Err(format!("concat of {first} and {other} on axis {axis}; the other axes must be equal"));
        }
        dims[axis] += other.dims()[axis];
    }
    Ok(Shape::new(dims))
}

fn gather(maps: &[super::AxisMap], operand: &Shape) -> Result<Shape, String> {
    if maps.len() != operand.rank() {
        return Err(format!("{} axis maps for {operand}; one an axis is required", maps.len()));
    }
    let mut dims = Vec::with_capacity(maps.len());
    for (map, &extent) in maps.iter().zip(operand.dims()) {
        if let super::AxisMap::Indices(indices) = map
            && indices.iter().flatten().any(|&index| index >= extent)
        {
            return Err(format!("a position outside {operand}; every position must lie inside"));
        }
        dims.push(map.extent(extent));
    }
    Ok(Shape::new(dims))
}

fn mat_mul(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let error = || format!("product of {a} and {b}; [.., M, K] and [.., K, N] are required");
    let ([batch_a @ .., m, ka], [batch_b @ .., kb, n]) = (a.dims(), b.dims()) else { return Err(error()) };
    if ka != kb {
        return Err(error());
    }
    let batch = broadcast(&[&Shape::new(batch_a.to_vec()), &Shape::new(batch_b.to_vec())])?;
    Ok(Shape::new([batch.dims(), &[*m, *n]].concat()))
}

fn recurrent_shape(recurrent: &Recurrent, operands: &[&Shape]) -> Result<Shape, String> {
    let kind = recurrent.kind;
    let (&[rows, hidden], &[steps, batch, width]) = (recurrent.weight.dims(), operands[0].dims()) else {
        return Err(format!("{} over {}; [steps, batch, gates * hidden] is required", recurrent.label(), operands[0]));
    };
    let peepholes = recurrent.peepholes.len();
    if rows != kind.gates() * hidden
        || width != rows
        || recurrent.bias.len() != rows
        || (peepholes != 0 && peepholes != 3 * hidden)
        || recurrent.functions.len() != kind.functions()
    {
        return Err(format!(
            "{} of {hidden} cells over {}, weight {:?}, {} biases, {} functions, {peepholes} peepholes; they must agree",
            recurrent.label(),
            operands[0],
            recurrent.weight.dims(),
            recurrent.bias.len(),
            recurrent.functions.len()
        ));
    }
    if let Some(state) = operands[1..].iter().find(|state| state.dims() != [batch, hidden]) {
        return Err(format!("a state of {state}; {batch}x{hidden} is required"));
    }
    Ok(Shape::new(vec![steps + kind.extra_states(), batch, hidden]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{AxisMap, BinaryKind, ReduceKind};

    fn shape(op: &Op, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        let operands: Vec<Shape> = operands.iter().map(|dims| Shape::new(dims.to_vec())).collect();
        let operands: Vec<&Shape> = operands.iter().collect();
        op.shape(&operands, &Shape::new(vec![6])).map(|shape| shape.dims().to_vec())
    }

    #[test]
    fn shapes_follow_the_operands() {
        assert_eq!(shape(&Op::Binary(BinaryKind::Mul), &[&[1, 8, 4, 4], &[8, 1, 1]]), Ok(vec![1, 8, 4, 4]));
        assert_eq!(shape(&Op::Concat { axis: 2 }, &[&[1, 2, 3], &[1, 2, 5]]), Ok(vec![1, 2, 8]));
        assert_eq!(shape(&Op::MatMul, &[&[1, 4, 5, 6], &[6, 7]]), Ok(vec![1, 4, 5, 7]));
        assert_eq!(shape(&Op::Transpose { perm: vec![0, 2, 1] }, &[&[1, 2, 3]]), Ok(vec![1, 3, 2]));
        assert_eq!(shape(&Op::Reshape, &[&[1, 2, 3]]), Ok(vec![6]));
        let maps = vec![AxisMap::All, AxisMap::strided(2, -1, 3)];
        assert_eq!(shape(&Op::Gather { maps, fill: 0.0 }, &[&[4, 3]]), Ok(vec![4, 3]));
        assert_eq!(shape(&Op::Reduce { kind: ReduceKind::Mean, axes: vec![1, 2] }, &[&[1, 5, 6]]), Ok(vec![1, 1, 1]));
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        assert!(shape(&Op::Binary(BinaryKind::Add), &[&[2, 3], &[2]]).is_err());
        assert!(shape(&Op::Concat { axis: 3 }, &[&[1, 2], &[1, 2]]).is_err());
        assert!(shape(&Op::MatMul, &[&[3, 4], &[3, 4]]).is_err());
        assert!(shape(&Op::Transpose { perm: vec![0, 0] }, &[&[3, 4]]).is_err());
        assert!(shape(&Op::Reshape, &[&[1, 2]]).is_err());
        assert!(shape(&Op::Select, &[&[1, 2]]).is_err());
    }
}
