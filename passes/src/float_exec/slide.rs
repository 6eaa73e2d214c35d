//! A window that slides over planes: which input cells lie under each tap. Made once a layer.

use crate::ir::{Shape, Window};
use std::ops::Range;

/// Planes of `height` x `width` cells and the window's positions over them.
#[derive(Debug)]
pub(super) struct Slide {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) window: Window,
    /// For each tap of a row, the columns of the result at which it lies inside the plane.
    inside: Vec<Range<usize>>,
}

impl Slide {
    /// For operand and result `[N, C, H, W]`.
    pub(super) fn new(window: Window, operand: &Shape, result: &Shape) -> Self {
        let (operand, result) = (&operand.dims()[2..], &result.dims()[2..]);
        let (width, columns) = (operand[1], result[1]);
        let inside = |tap: usize| {
            let offset = tap * window.dilation[1];
            let first = window.padding.left.saturating_sub(offset).div_ceil(window.stride[1]);
            let end = (width + window.padding.left).saturating_sub(offset).div_ceil(window.stride[1]);
            first.min(columns)..end.min(columns).max(first.min(columns))
        };
        let inside = (0..window.kernel[1]).map(inside).collect();
        Slide { height: operand[0], width, rows: result[0], columns, window, inside }
    }

    /// The same cells as one row, where the window is a single tap that visits each in order.
    pub(super) fn flattened(self) -> Self {
        let Window { kernel, stride, padding, .. } = self.window;
        if kernel != [1, 1] || stride != [1, 1] || padding != Default::default() {
            return self;
        }
        let cells = self.height * self.width;
        let inside = std::iter::once(0..cells).collect();
        Slide { height: 1, width: cells, rows: 1, columns: cells, window: self.window, inside }
    }

    pub(super) fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    /// The plane's row under a row of taps; `None` in the padding.
    pub(super) fn row(&self, row: usize, tap: usize) -> Option<usize> {
        let at = row * self.window.stride[0] + tap * self.window.dilation[0];
        at.checked_sub(self.window.padding.top).filter(|&at| at < self.height)
    }

    /// The columns of the result at which a tap of a row lies inside the plane, and the plane's column under the first of them.
    pub(super) fn columns_inside(&self, tap: usize, among: &Range<usize>) -> Option<(Range<usize>, usize)> {
        let inside = &self.inside[tap];
        let columns = inside.start.max(among.start)..inside.end.min(among.end);
        let first = columns.start * self.window.stride[1] + tap * self.window.dilation[1];
        (columns.start < columns.end).then(|| (columns, first - self.window.padding.left))
    }

    /// Calls `visit(tap, columns of the result, plane's cell under the first of them)` for every tap inside the plane at a row of
    /// the result, in order of taps.
    #[inline(always)]
    pub(super) fn for_each_tap(&self, row: usize, mut visit: impl FnMut(usize, Range<usize>, usize)) {
        for ky in 0..self.window.kernel[0] {
            let Some(plane_row) = self.row(row, ky) else { continue };
            for kx in 0..self.window.kernel[1] {
                if let Some((columns, first)) = self.columns_inside(kx, &(0..self.columns)) {
                    visit(ky * self.window.kernel[1] + kx, columns, plane_row * self.width + first);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Padding;

    #[test]
    fn taps_are_those_inside_the_plane() {
        for (kernel, stride, dilation, left, width) in
            [(3, 1, 1, 1, 5), (3, 2, 1, 0, 6), (3, 2, 2, 2, 7), (5, 3, 1, 4, 2), (2, 1, 3, 0, 4)]
        {
            let padding = Padding { left, right: left, ..Padding::default() };
            let window = Window { kernel: [1, kernel], stride: [1, stride], dilation: [1, dilation], padding };
            let [_, columns] = window.output(1, width).unwrap();
            let slide = Slide::new(window, &Shape::image(1, 1, width), &Shape::image(1, 1, columns));
            let mut expected = Vec::new();
            for tap in 0..kernel {
                for column in 0..columns {
                    let at = (column * stride + tap * dilation) as isize - left as isize;
                    if (0..width as isize).contains(&at) {
                        expected.push((tap, column, at as usize));
                    }
                }
            }
            let mut seen = Vec::new();
            slide.for_each_tap(0, |tap, columns, first| {
                let start = columns.start;
                seen.extend(columns.map(|column| (tap, column, first + (column - start) * stride)));
            });
            assert_eq!(seen, expected);
        }
    }
}
