//! Layers of few windows, without the products of their padding.
//!
//! ```text
//! 4 x 4 windows of 3 x 3 taps, a column of windows is a block:   row of taps 0:   - w w w    windows for which it lies inside
//!                                                                row of taps 1:   w w w w
//!                                                                row of taps 2:   w w w -
//! ```
//!
//! Of 2 x 2 windows 4 of 9 products remain, of 4 x 4 25 of 36, of 8 x 8 121 of 144. The other taps meet the zero point, which must be 0.

use super::{Grid, Run};
use std::ops::Range;

/// Most windows in a block, whatever the instruction set.
pub(crate) const MOST_WINDOWS: usize = 6;

/// Where taps lie inside the input.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    /// For each row of taps, the rows of windows.
    pub(crate) rows: Vec<Range<usize>>,
    /// For each column of taps, the columns of windows.
    pub(crate) columns: Vec<Range<usize>>,
}

impl Inside {
    /// The share of all products that they are.
    pub(crate) fn share(&self, [height, width]: [usize; 2]) -> f64 {
        let share = |ranges: &[Range<usize>], windows: usize| {
            ranges.iter().map(ExactSizeIterator::len).sum::<usize>() as f64 / (ranges.len() * windows) as f64
        };
        share(&self.rows, height) * share(&self.columns, width)
    }
}

/// How a layer leaves out what lies outside. It has one group of channels, and a run a tap, row by row.
#[derive(Debug)]
pub(crate) struct Trim {
    pub(crate) blocks: Vec<Block>,
}

/// A rectangle of windows whose sums are computed together.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    pub(crate) pieces: Vec<Piece>,
}

/// Taps that lie inside for the same windows of a block.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) taps: Range<usize>,
    /// How many windows.
    pub(crate) count: usize,
    /// Which windows, row by row.
    pub(crate) windows: [usize; MOST_WINDOWS],
    /// Bytes from the block's first window to each.
    pub(crate) offsets: [usize; MOST_WINDOWS],
}

impl Trim {
    /// Most bytes of it for a grid of windows of `taps` taps.
    pub(crate) fn most_bytes(grid: &Grid, taps: usize) -> usize {
        let blocks = grid.height.saturating_mul(grid.width);
        blocks.saturating_mul(taps.saturating_mul(size_of::<Piece>()).saturating_add(size_of::<Block>()))
    }

    /// Cuts all windows into blocks of at most `most`: columns, of short ones several.
    pub(crate) fn new(inside: &Inside, grid: &Grid, most: usize) -> Self {
        let wide = (most / grid.height).max(1);
        let columns = cut(grid.width, wide);
        let blocks = columns.flat_map(|columns| {
            cut(grid.height, most).map(move |rows| {
                let pieces = pieces(inside, grid, &rows, &columns);
                Block { rows, columns: columns.clone(), pieces }
            })
        });
        Trim { blocks: blocks.collect() }
    }

    /// Bytes from the first window's origin to the end of what the windows read, where `run_end` is that of a run from its window's origin.
    pub(crate) fn reach(&self, grid: &Grid, runs: &[Run], run_end: impl Fn(&Run) -> usize) -> usize {
        let end = |block: &Block, piece: &Piece| {
            let first = block.rows.start * grid.row + block.columns.start * grid.pixel;
            let window = piece.offsets[..piece.count].iter().max().copied().unwrap_or(0);
            let run = runs[piece.taps.clone()].iter().map(&run_end).max().unwrap_or(0);
            first.saturating_add(window).saturating_add(run)
        };
        let blocks = self.blocks.iter();
        blocks.flat_map(|block| block.pieces.iter().map(move |piece| end(block, piece))).max().unwrap_or(0)
    }

    /// Asserts that its blocks have at most `most` windows, its pieces some of them, and that all taps are runs of one length.
    ///
    /// # Panics
    /// When they do not: a planning bug.
    pub(crate) fn assert_fits(&self, most: usize, runs: &[Run]) {
        let one_length = runs.iter().all(|run| run.groups == runs[0].groups);
        let fits = |block: &Block| {
            let windows = block.rows.len() * block.columns.len();
            let is_some_of_them = |piece: &Piece| {
                let taps = piece.taps.start < piece.taps.end && piece.taps.end <= runs.len();
                let known = piece.windows[..piece.count.min(MOST_WINDOWS)].iter().all(|&window| window < windows);
                taps && (1..=windows).contains(&piece.count) && known
            };
            (1..=most.min(MOST_WINDOWS)).contains(&windows) && block.pieces.iter().all(is_some_of_them)
        };
        assert!(one_length && self.blocks.iter().all(fits), "a layer trimmed for another kernel");
    }
}

fn pieces(inside: &Inside, grid: &Grid, rows: &Range<usize>, columns: &Range<usize>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let taps = inside.rows.iter().flat_map(|rows| inside.columns.iter().map(move |columns| (rows, columns)));
    for (tap, (tap_rows, tap_columns)) in taps.enumerate() {
        let mut piece = Piece { taps: tap..tap + 1, count: 0, windows: [0; MOST_WINDOWS], offsets: [0; MOST_WINDOWS] };
        for row in both(rows, tap_rows) {
            for column in both(columns, tap_columns) {
                let [down, right] = [row - rows.start, column - columns.start];
                piece.windows[piece.count] = down * columns.len() + right;
                piece.offsets[piece.count] = down * grid.row + right * grid.pixel;
                piece.count += 1;
            }
        }
        match pieces.last_mut() {
            Some(last) if last.taps.end == tap && (last.count, last.windows) == (piece.count, piece.windows) => {
                last.taps.end += 1;
            }
            _ if piece.count > 0 => pieces.push(piece),
            _ => {}
        }
    }
    pieces
}

/// `len` positions in as few ranges of at most `most` as there can be, of nearly equal size.
fn cut(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = len.div_ceil(most);
    (0..parts).map(move |part| part * len / parts..(part + 1) * len / parts)
}

/// What two ranges share.
fn both(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products of `size x size` windows with 3 x 3 taps and padding 1, by blocks of at most `most` windows.
    fn products(size: usize, most: usize) -> usize {
        let rows = [1..size, 0..size, 0..size - 1].to_vec();
        let inside = Inside { columns: rows.clone(), rows };
        let grid = Grid { origin: 0, row: 100, pixel: 7, height: size, width: size };
        let trim = Trim::new(&inside, &grid, most);
        assert_eq!(trim.blocks.iter().map(|block| block.rows.len() * block.columns.len()).sum::<usize>(), size * size);
        assert!(trim.blocks.iter().all(|block| block.rows.len() * block.columns.len() <= most));
        let pieces = trim.blocks.iter().flat_map(|block| &block.pieces);
        pieces.map(|piece| piece.count * piece.taps.len()).sum()
    }

    #[test]
    fn only_products_inside_remain() {
        for most in [1, 3, 4, 6] {
            assert_eq!([2, 4, 8].map(|size| products(size, most)), [16, 100, 484]);
        }
    }
}
