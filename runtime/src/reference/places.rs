//! Where operators read: taps of a window, axes with strides or tables.

use crate::program::Window;

/// Input row or column under tap `tap` of output position `at`, when it is inside the image.
pub(super) fn tap(window: &Window, axis: usize, at: u32, tap: u32, size: u32) -> Option<u32> {
    let before = window.padding[axis];
    (at * window.stride[axis] + tap * window.dilation[axis]).checked_sub(before).filter(|&i| i < size)
}

/// For each position of the axes, in their order, the sum of its steps.
pub(super) fn strided(extents: &[u32], strides: &[u32]) -> impl Iterator<Item = usize> {
    let axes = extents.iter().zip(strides);
    let tables = axes.map(|(&extent, &stride)| (0..extent as usize).map(|i| Some(i * stride as usize)).collect());
    sums(tables.collect()).flatten()
}

/// For each position of the axes, in their order, the sum of its entries; `None` where one of them is `u32::MAX`.
pub(super) fn of_tables(tables: &[Vec<u32>]) -> impl Iterator<Item = Option<usize>> {
    let entry = |&entry: &u32| (entry != u32::MAX).then_some(entry as usize);
    sums(tables.iter().map(|table| table.iter().map(entry).collect()).collect())
}

fn sums(tables: Vec<Vec<Option<usize>>>) -> impl Iterator<Item = Option<usize>> {
    let count: usize = tables.iter().map(Vec::len).product();
    (0..count).map(move |position| {
        // The last axis is the innermost one.
        let mut rest = position;
        tables.iter().rev().try_fold(0, |sum, table| {
            let entry = table[rest % table.len()];
            rest /= table.len();
            Some(sum + entry?)
        })
    })
}
