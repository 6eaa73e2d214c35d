//! Strides and tables of a plan as what ONNX has: transposed extents, or indices.

/// An entry of a table that fills.
pub(super) const FILL: u32 = u32::MAX;

/// An operand that a reshape, a transposition and another reshape bring to broadcastable extents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dense {
    /// Extents of the operand as it lies.
    pub(super) source: Vec<usize>,
    /// Transposition of those.
    pub(super) permutation: Vec<usize>,
    /// Extents over the axes of the operation, 1 where the operand is repeated.
    pub(super) shape: Vec<usize>,
}

impl Dense {
    /// The form of strides over extents, where they walk all `len` values once; `None` otherwise.
    pub(super) fn of(extents: &[usize], strides: &[usize], len: usize) -> Option<Self> {
        let mut axes: Vec<usize> = (0..extents.len()).filter(|&k| extents[k] > 1 && strides[k] > 0).collect();
        let shape = (0..extents.len()).map(|k| if axes.contains(&k) { extents[k] } else { 1 }).collect();
        let in_order = axes.clone();
        axes.sort_by_key(|&k| std::cmp::Reverse(strides[k]));
        let mut stride = 1;
        for &k in axes.iter().rev() {
            if strides[k] != stride {
                return None;
            }
            stride *= extents[k];
        }
        let permutation = in_order.iter().filter_map(|k| axes.iter().position(|other| other == k)).collect();
        let source = axes.iter().map(|&k| extents[k]).collect();
        (stride == len).then_some(Dense { source, permutation, shape })
    }

    /// Whether the values stay in their order.
    pub(super) fn is_in_order(&self) -> bool {
        self.permutation.iter().enumerate().all(|(i, &p)| i == p)
    }
}

/// The strides of tables that count up evenly from 0; `None` for others.
pub(super) fn strides_of(tables: &[Vec<u32>]) -> Option<Vec<usize>> {
    let stride = |table: &Vec<u32>| {
        let step = table.get(1).map_or(0, |&second| u64::from(second));
        let even = table.iter().enumerate().all(|(i, &entry)| entry != FILL && u64::from(entry) == step * i as u64);
        even.then_some(step as usize)
    };
    tables.iter().map(stride).collect()
}

/// The sum of one entry an axis for each position, the last axis innermost; `None` fills.
pub(super) fn sources(tables: &[Vec<u32>]) -> Vec<Option<usize>> {
    let mut positions = vec![Some(0)];
    for table in tables {
        let entries = |before: Option<usize>| {
            table.iter().map(move |&entry| before.filter(|_| entry != FILL).map(|before| before + entry as usize))
        };
        positions = positions.into_iter().flat_map(entries).collect();
    }
    positions
}

/// Where strides lead from each position.
pub(super) fn walked(extents: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut positions = vec![0];
    for (&extent, &stride) in extents.iter().zip(strides) {
        positions = positions.into_iter().flat_map(|before| (0..extent).map(move |i| before + i * stride)).collect();
    }
    positions
}

/// What happens to one axis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AxisStep {
    /// Nothing.
    Keep,
    /// `start`, `start + step`, ..: this many.
    Slice { start: usize, step: usize, count: usize },
    /// Positions filled before and behind all of the axis.
    Pad { before: usize, behind: usize },
    /// Any positions; that of the axis' own extent fills.
    Gather(Vec<usize>),
}

/// How positions of an axis of `extent` become others.
pub(super) fn axis_step(positions: &[Option<usize>], extent: usize) -> AxisStep {
    let whole = |part: &[Option<usize>]| part.len() == extent && part.iter().enumerate().all(|(i, p)| *p == Some(i));
    if whole(positions) {
        return AxisStep::Keep;
    }
    let before = positions.iter().take_while(|p| p.is_none()).count();
    let behind = positions.iter().rev().take_while(|p| p.is_none()).count();
    if before + behind < positions.len() && whole(&positions[before..positions.len() - behind]) {
        return AxisStep::Pad { before, behind };
    }
    if let Some(start) = positions.first().copied().flatten() {
        let step = positions.get(1).map_or(Some(1), |&second| second?.checked_sub(start)).unwrap_or(0);
        if step > 0 && positions.iter().enumerate().all(|(i, p)| *p == Some(start + i * step)) {
            return AxisStep::Slice { start, step, count: positions.len() };
        }
    }
    AxisStep::Gather(positions.iter().map(|p| p.unwrap_or(extent)).collect())
}

/// The positions on the axes of `[h, w, c]` to `[h, w, c]`, each from the same axis; `None` where
/// axes mix.
pub(super) fn by_axis(tables: &[Vec<u32>], from: [usize; 3], to: [usize; 3]) -> Option<[Vec<Option<usize>>; 3]> {
    let strides = [from[1] * from[2], from[2], 1];
    let mut tables = tables.iter();
    let mut axes = [const { Vec::new() }; 3];
    for axis in 0..3 {
        if to[axis] == 1 && from[axis] == 1 {
            axes[axis] = vec![Some(0)];
            continue;
        }
        let table = tables.next().filter(|table| table.len() == to[axis])?;
        for &entry in table {
            let position = entry as usize / strides[axis];
            let own = (entry as usize).is_multiple_of(strides[axis]) && position < from[axis];
            axes[axis].push(match entry {
                FILL => None,
                _ if own => Some(position),
                _ => return None,
            });
        }
    }
    let rest_is_one = tables.all(|table| *table == [0]);
    rest_is_one.then_some(axes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_transpositions_where_they_walk_all_values() {
        let dense = Dense::of(&[2, 3], &[1, 2], 6).unwrap();
        assert_eq!(dense, Dense { source: vec![3, 2], permutation: vec![1, 0], shape: vec![2, 3] });
        let repeated = Dense::of(&[4, 2, 3], &[0, 3, 1], 6).unwrap();
        assert_eq!((repeated.is_in_order(), repeated.shape), (true, vec![1, 2, 3]));
        assert_eq!(Dense::of(&[2, 3], &[4, 1], 8), None);
        assert_eq!(Dense::of(&[2, 2], &[1, 1], 3), None);
    }

    #[test]
    fn axes_are_kept_cut_padded_or_gathered() {
        let some = |positions: &[usize]| positions.iter().map(|&p| Some(p)).collect::<Vec<_>>();
        assert_eq!(axis_step(&some(&[0, 1, 2]), 3), AxisStep::Keep);
        assert_eq!(axis_step(&some(&[1, 3]), 4), AxisStep::Slice { start: 1, step: 2, count: 2 });
        assert_eq!(axis_step(&[None, Some(0), Some(1), None], 2), AxisStep::Pad { before: 1, behind: 1 });
        assert_eq!(axis_step(&[Some(0), None, Some(1)], 2), AxisStep::Gather(vec![0, 2, 1]));
        assert_eq!(axis_step(&some(&[2, 1, 0]), 3), AxisStep::Gather(vec![2, 1, 0]));
        assert_eq!(axis_step(&[None, None], 2), AxisStep::Gather(vec![2, 2]));
    }

    #[test]
    fn tables_of_images_are_taken_apart() {
        let tables = [vec![0, 12], vec![0, 6, FILL], vec![0, 1, 2]];
        let axes = by_axis(&tables, [2, 4, 3], [2, 3, 3]).unwrap();
        assert_eq!(axes[0], [Some(0), Some(1)]);
        assert_eq!(axes[1], [Some(0), Some(2), None]);
        assert_eq!(by_axis(&[vec![0, 1, 2], vec![0, 3]], [2, 3, 1], [3, 2, 1]), None);
        assert_eq!(strides_of(&[vec![0, 1, 2], vec![0, 3]]), Some(vec![1, 3]));
        assert_eq!(sources(&[vec![0, FILL], vec![0, 1]]), [Some(0), Some(1), None, None]);
    }
}
