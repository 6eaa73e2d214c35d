//! The order in which operators with broadcast visit their operands.

/// Most axes of a result with broadcast operands.
pub const MAX_EXTENTS: usize = 8;

/// A dense result of up to [`MAX_EXTENTS`] axes and `N` operands with a stride an axis; a stride of
/// 0 repeats.
///
/// Axes that all operands cross evenly are joined, so that the innermost is as long as can be.
pub(super) struct Walk<const N: usize> {
    rank: usize,
    extents: [usize; MAX_EXTENTS],
    strides: [[usize; N]; MAX_EXTENTS],
}

impl<const N: usize> Walk<N> {
    /// `strides[operand][axis]`, in elements. No axis is a single element.
    pub(super) fn new(extents: &[u32], strides: [&[u32]; N]) -> Self {
        let mut walk = Walk { rank: 0, extents: [1; MAX_EXTENTS], strides: [[0; N]; MAX_EXTENTS] };
        for (axis, &extent) in extents.iter().enumerate().filter(|&(_, &extent)| extent != 1) {
            let (extent, steps) = (extent as usize, strides.map(|operand| operand[axis] as usize));
            let outer = walk.strides[walk.rank.saturating_sub(1)];
            if walk.rank > 0 && (0..N).all(|n| outer[n] == steps[n] * extent) {
                walk.extents[walk.rank - 1] *= extent;
                walk.strides[walk.rank - 1] = steps;
            } else {
                walk.extents[walk.rank] = extent;
                walk.strides[walk.rank] = steps;
                walk.rank += 1;
            }
        }
        walk.rank = walk.rank.max(1);
        walk
    }

    /// Elements of a row: the extent of the innermost axis.
    pub(super) fn row_len(&self) -> usize {
        self.extents[self.rank - 1]
    }

    /// Stride of each operand along a row.
    pub(super) fn row_strides(&self) -> [usize; N] {
        self.strides[self.rank - 1]
    }

    /// Whether there is a single row, from the first element of every operand on.
    pub(super) fn is_row(&self) -> bool {
        self.rank == 1
    }

    /// Calls `row` with the first element of each operand, for every row of the result in order.
    #[inline(always)]
    pub(super) fn rows(&self, mut row: impl FnMut([usize; N])) {
        let outer = self.rank - 1;
        let rows: usize = self.extents[..outer].iter().product();
        let (mut index, mut first) = ([0usize; MAX_EXTENTS], [0usize; N]);
        for _ in 0..rows {
            row(first);
            for axis in (0..outer).rev() {
                index[axis] += 1;
                for n in 0..N {
                    first[n] += self.strides[axis][n];
                }
                if index[axis] < self.extents[axis] {
                    break;
                }
                for n in 0..N {
                    first[n] -= self.strides[axis][n] * self.extents[axis];
                }
                index[axis] = 0;
            }
        }
    }
}
