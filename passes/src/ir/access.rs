//! How operators with broadcast, movement and reduction walk over dense row-major values: extents, strides and tables in the form of
//! [`releqc_runtime::float`].

use super::{AxisMap, Shape};
use releqc_runtime::float::FILL;

/// Elements between neighbours along each axis.
pub fn strides(shape: &Shape) -> Vec<usize> {
    let mut strides = vec![1; shape.rank()];
    for axis in (1..shape.rank()).rev() {
        strides[axis - 1] = strides[axis] * shape.dims()[axis];
    }
    strides
}

/// The extents of a result.
pub fn extents(shape: &Shape) -> Vec<u32> {
    shape.dims().iter().map(|&extent| extent as u32).collect()
}

/// Stride of an operand along each axis of a result it broadcasts to; 0 repeats it.
pub fn broadcast_strides(operand: &Shape, result: &Shape) -> Vec<u32> {
    let missing = result.rank() - operand.rank();
    let mut all = vec![0; result.rank()];
    for (axis, (&extent, stride)) in operand.dims().iter().zip(strides(operand)).enumerate() {
        if extent != 1 {
            all[missing + axis] = stride as u32;
        }
    }
    all
}

/// For each axis of the result, the operand's offset of each position: axis `i` is axis `perm[i]` of the operand.
pub fn transpose_tables(operand: &Shape, perm: &[usize]) -> Vec<Vec<u32>> {
    let strides = strides(operand);
    perm.iter().map(|&axis| (0..operand.dims()[axis]).map(|i| (i * strides[axis]) as u32).collect()).collect()
}

/// For each axis of the result, the operand's offset of each position, [`FILL`] where it comes from nowhere.
pub fn gather_tables(operand: &Shape, maps: &[AxisMap]) -> Vec<Vec<u32>> {
    let axes = maps.iter().zip(operand.dims()).zip(strides(operand));
    axes.map(|((map, &extent), stride)| {
        (0..map.extent(extent)).map(|i| map.at(i).map_or(FILL, |at| (at * stride) as u32)).collect()
    })
    .collect()
}

/// Values as `[outer][len][inner]`, one axis in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Positions of all axes before.
    pub outer: usize,
    /// Positions of the axis, or of several that follow each other.
    pub len: usize,
    /// Positions of all axes behind.
    pub inner: usize,
}

impl Run {
    /// One axis.
    pub fn of_axis(shape: &Shape, axis: usize) -> Run {
        Run::of_axes(shape, axis, axis)
    }

    /// The axes `first..=last`.
    fn of_axes(shape: &Shape, first: usize, last: usize) -> Run {
        let dims = shape.dims();
        Run {
            outer: dims[..first].iter().product(),
            len: dims[first..=last].iter().product(),
            inner: dims[last + 1..].iter().product(),
        }
    }

    /// The axes of a reduction, where none of those between the first and the last stays with more than one position.
    pub fn of_reduction(shape: &Shape, axes: &[usize]) -> Option<Run> {
        let (&first, &last) = (axes.first()?, axes.last()?);
        let whole = (first..=last).all(|axis| axes.contains(&axis) || shape.dims()[axis] == 1);
        whole.then(|| Run::of_axes(shape, first, last))
    }
}

/// The order of axes that brings those of a reduction to the end.
pub fn reduced_last(shape: &Shape, axes: &[usize]) -> Vec<usize> {
    let kept = (0..shape.rank()).filter(|axis| !axes.contains(axis));
    kept.chain(axes.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_repeat_along_axes_they_lack() {
        let result = Shape::new(vec![2, 3, 4]);
        assert_eq!(broadcast_strides(&Shape::new(vec![3, 1]), &result), [0, 1, 0]);
        assert_eq!(broadcast_strides(&Shape::new(vec![]), &result), [0, 0, 0]);
        assert_eq!(broadcast_strides(&result, &result), [12, 4, 1]);
    }

    #[test]
    fn axes_of_a_reduction_join() {
        let shape = Shape::new(vec![2, 3, 1, 5]);
        assert_eq!(Run::of_reduction(&shape, &[1, 3]), Some(Run { outer: 2, len: 15, inner: 1 }));
        assert_eq!(Run::of_reduction(&shape, &[0, 3]), None);
        assert_eq!(reduced_last(&shape, &[0, 3]), [1, 2, 0, 3]);
    }

    #[test]
    fn tables_hold_offsets() {
        let shape = Shape::new(vec![2, 3]);
        assert_eq!(transpose_tables(&shape, &[1, 0]), [vec![0, 1, 2], vec![0, 3]]);
        let maps = [AxisMap::All, AxisMap::Indices(vec![Some(2), None])];
        assert_eq!(gather_tables(&shape, &maps), [vec![0, 3], vec![2, FILL]]);
    }
}
