//! Values in another order, repeated, left out or filled in.

use super::walk::MAX_EXTENTS;

/// Entry of a table that yields the fill value whatever the other axes say.
pub const FILL: u32 = u32::MAX;

/// `y[i0, i1, ..] = x[tables[0][i0] + tables[1][i1] + ..]`, or `fill` where one of the entries is
/// [`FILL`]. `y` is dense, axis by axis of `tables`, of which there are at most [`MAX_EXTENTS`].
pub fn movement(x: &[f32], y: &mut [f32], tables: &[Vec<u32>], fill: f32) {
    let Some((inner, outer)) = tables.split_last() else {
        y[0] = x[0];
        return;
    };
    let is_run = inner.windows(2).all(|pair| pair[0] != FILL && pair[1] == pair[0].wrapping_add(1));
    let run = inner.first().filter(|&&first| is_run && first != FILL).map(|&first| first as usize);
    let mut index = [0usize; MAX_EXTENTS];
    for y in y.chunks_exact_mut(inner.len()) {
        let mut entries = outer.iter().zip(&index).map(|(table, &i)| table[i]);
        let start = entries.try_fold(0, |sum, entry| (entry != FILL).then(|| sum + entry as usize));
        match (start, run) {
            (None, _) => y.fill(fill),
            (Some(start), Some(first)) => y.copy_from_slice(&x[start + first..][..inner.len()]),
            (Some(start), None) => {
                for (y, &entry) in y.iter_mut().zip(inner) {
                    *y = if entry == FILL { fill } else { x[start + entry as usize] };
                }
            }
        }
        for (axis, table) in outer.iter().enumerate().rev() {
            index[axis] += 1;
            if index[axis] < table.len() {
                break;
            }
            index[axis] = 0;
        }
    }
}
