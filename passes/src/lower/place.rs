//! Where the elements of a tensor lie: one stride an axis, in elements of dense memory.

use crate::ir::Shape;

/// Strides of the row-major order of ONNX.
pub(super) fn row_major(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Strides with axis 1, the channels, innermost and the other axes in order.
pub(super) fn channels_last(dims: &[usize]) -> Vec<usize> {
    let order: Vec<usize> = (0..dims.len()).filter(|&axis| axis != 1).chain((1..dims.len()).take(1)).collect();
    in_order(dims, &order)
}

/// Dense strides for axes from the outermost to the innermost.
pub(super) fn in_order(dims: &[usize], order: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    let mut stride = 1;
    for &axis in order.iter().rev() {
        strides[axis] = stride;
        stride *= dims[axis];
    }
    strides
}

/// The axes from the outermost to the innermost; of equal strides, which only axes of one position have, the first first.
pub(super) fn order_of(strides: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..strides.len()).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(strides[axis]));
    order
}

/// Whether two strides put every element in the same place: those of axes with one position do not matter.
pub(super) fn agree(dims: &[usize], a: &[usize], b: &[usize]) -> bool {
    (0..dims.len()).all(|axis| dims[axis] == 1 || a[axis] == b[axis])
}

/// Rows, columns and channels of `[N, C, .., W]` with the channels innermost: images one below the other.
pub(super) fn image_extents(shape: &Shape) -> [usize; 3] {
    match *shape.dims() {
        [] => [1, 1, 1],
        [n] => [1, n, 1],
        [n, c] => [1, n, c],
        [n, c, ref rows @ .., w] => [n * rows.iter().product::<usize>(), w, c],
    }
}

/// Rows, columns and channels with the last axis as channels.
pub(super) fn row_extents(shape: &Shape) -> [usize; 3] {
    match *shape.dims() {
        [] => [1, 1, 1],
        [c] => [1, 1, c],
        [ref rows @ .., w, c] => [rows.iter().product(), w, c],
    }
}

/// The strides of other extents over the same elements in row-major order, where the memory allows it: axes can be split, and
/// joined where they lie one inside the other.
pub(super) fn reshape(dims: &[usize], strides: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let from: Vec<(usize, usize)> =
        dims.iter().copied().zip(strides.iter().copied()).filter(|&(d, _)| d != 1).collect();
    let wide: Vec<usize> = (0..to.len()).filter(|&axis| to[axis] != 1).collect();
    let mut result = vec![1; to.len()];
    let (mut i, mut j) = (0, 0);
    while i < from.len() && j < wide.len() {
        let (first_i, first_j) = (i, j);
        let (mut a, mut b) = (from[i].0, to[wide[j]]);
        while a != b {
            if a < b {
                i += 1;
                a *= from.get(i)?.0;
            } else {
                j += 1;
                b *= to[*wide.get(j)?];
            }
        }
        // The joined axes must lie one inside the other.
        if (first_i..i).any(|k| from[k].1 != from[k + 1].0 * from[k + 1].1) {
            return None;
        }
        let mut stride = from[i].1;
        for k in (first_j..=j).rev() {
            result[wide[k]] = stride;
            stride *= to[wide[k]];
        }
        (i, j) = (i + 1, j + 1);
    }
    (i == from.len() && j == wide.len()).then_some(result)
}

/// Axes of an operation over several operands, outermost first: those of one position left out, neighbours joined that lie one
/// inside the other in every operand. At least one axis stays.
pub(super) fn joined<const N: usize>(axes: &[(usize, [usize; N])]) -> (Vec<usize>, [Vec<usize>; N]) {
    let mut kept: Vec<(usize, [usize; N])> = Vec::new();
    for &(extent, strides) in axes.iter().filter(|(extent, _)| *extent != 1) {
        match kept.last_mut() {
            Some((outer, before)) if (0..N).all(|k| before[k] == strides[k] * extent) => {
                *outer *= extent;
                *before = strides;
            }
            _ => kept.push((extent, strides)),
        }
    }
    if kept.is_empty() {
        kept.push((1, [1; N]));
    }
    let strides = std::array::from_fn(|k| kept.iter().map(|(_, strides)| strides[k]).collect());
    (kept.iter().map(|(extent, _)| *extent).collect(), strides)
}

/// Strides of an operand over the axes of what it is broadcast to.
pub(super) fn broadcast(dims: &[usize], strides: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len() - dims.len();
    let stride = |axis: usize| match axis.checked_sub(missing) {
        Some(own) if dims[own] != 1 => strides[own],
        _ => 0,
    };
    (0..to.len()).map(stride).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        assert_eq!(row_major(&[1, 3, 4, 5]), [60, 20, 5, 1]);
        assert_eq!(channels_last(&[1, 3, 4, 5]), [60, 1, 15, 3]);
        assert_eq!(channels_last(&[1, 7]), [7, 1]);
        assert_eq!(order_of(&[60, 1, 15, 3]), [0, 2, 3, 1]);
        assert!(agree(&[1, 1, 4, 5], &row_major(&[1, 1, 4, 5]), &channels_last(&[1, 1, 4, 5])));
        assert!(!agree(&[1, 2, 4, 5], &row_major(&[1, 2, 4, 5]), &channels_last(&[1, 2, 4, 5])));
    }

    #[test]
    fn a_reshape_keeps_the_memory_where_it_can() {
        // One axis in two, two in one, axes of one position.
        assert_eq!(reshape(&[1, 6, 4], &[24, 4, 1], &[2, 3, 4]), Some(vec![12, 4, 1]));
        assert_eq!(reshape(&[1, 6, 4], &[24, 4, 1], &[24]), Some(vec![1]));
        assert_eq!(reshape(&[1, 5, 1, 9], &[45, 1, 45, 5], &[1, 5, 9]), Some(vec![1, 1, 5]));
        // Channels innermost: groups of channels can be split off, channels and cells cannot be joined.
        assert_eq!(reshape(&[1, 6, 4], &[24, 1, 6], &[1, 2, 3, 4]), Some(vec![1, 3, 1, 6]));
        assert_eq!(reshape(&[1, 6, 4], &[24, 1, 6], &[1, 24]), None);
    }

    #[test]
    fn axes_are_joined() {
        assert_eq!(joined(&[(2, [12, 12]), (3, [4, 4]), (4, [1, 1])]), (vec![24], [vec![1], vec![1]]));
        assert_eq!(joined(&[(6, [8, 0]), (8, [1, 1])]), (vec![6, 8], [vec![8, 1], vec![0, 1]]));
        assert_eq!(joined(&[(1, [5, 5])]), (vec![1], [vec![1], vec![1]]));
        assert_eq!(broadcast(&[8, 1, 1], &[1, 1, 1], &[1, 8, 4, 4]), [0, 1, 0, 0]);
    }
}
