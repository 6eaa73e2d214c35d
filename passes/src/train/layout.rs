//! Where training holds the values of a tensor: image after image, in each the rows, in each row the pixels, in each pixel the channels.

use crate::ir::Shape;
use std::sync::Arc;

/// The place of every value of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Extent of axis 0.
    pub(crate) images: usize,
    /// Height, width, channels of each; a vector is 1x1. More than two axes behind the channels are one height and a width.
    pub(crate) image: [usize; 3],
}

impl Layout {
    pub(crate) fn of(shape: &Shape) -> Self {
        let (images, image) = match shape.dims() {
            [] => (1, [1, 1, 1]),
            [f] => (1, [1, 1, *f]),
            [n, f] => (*n, [1, 1, *f]),
            [n, c, rows @ .., w] => (*n, [rows.iter().product(), *w, *c]),
        };
        Layout { images, image }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.images * self.image.iter().product::<usize>()
    }

    /// Whether values lie as in ONNX.
    fn is_plain(&self) -> bool {
        let [h, w, c] = self.image;
        h * w == 1 || c == 1
    }

    /// The place in ONNX of each value.
    fn plain_places(&self) -> impl Iterator<Item = usize> {
        let Layout { images, image: [h, w, c] } = *self;
        (0..images * h * w * c).map(move |i| {
            let (n, pixel, channel) = (i / (h * w * c), i / c % (h * w), i % c);
            (n * c + channel) * h * w + pixel
        })
    }

    /// The place here of each value in ONNX's order; `None` where nothing moves.
    pub(crate) fn to_plain(self) -> Option<Arc<[usize]>> {
        (!self.is_plain()).then(|| self.places().into())
    }

    /// The place in ONNX's order of each value here; `None` where nothing moves.
    pub(crate) fn plain_to_own(self) -> Option<Arc<[usize]>> {
        (!self.is_plain()).then(|| self.plain_places().collect())
    }

    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.len()];
        self.plain_places().enumerate().for_each(|(here, plain)| places[plain] = here);
        places
    }

    /// The place here of each value of a reshaped tensor; `None` where nothing moves.
    pub(crate) fn reshaped(self, to: Layout) -> Option<Arc<[usize]>> {
        let here = self.places();
        let table: Vec<usize> = to.plain_places().map(|plain| here[plain]).collect();
        let moves = table.iter().enumerate().any(|(i, &from)| i != from);
        moves.then(|| table.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_last() {
        let layout = Layout::of(&Shape::new(vec![2, 3, 1, 2]));
        assert_eq!(layout, Layout { images: 2, image: [1, 2, 3] });
        let from = layout.plain_to_own().expect("moves");
        assert_eq!(from[..6], [0, 2, 4, 1, 3, 5]);
        assert_eq!(from[6], 6);
        let to = layout.to_plain().expect("moves");
        assert!((0..12).all(|i| from[to[i]] == i));
        assert_eq!(layout.reshaped(Layout::of(&Shape::new(vec![12]))).expect("moves")[..], to[..]);
        assert_eq!(Layout::of(&Shape::new(vec![4, 5])).to_plain(), None);
        assert_eq!(Layout::of(&Shape::new(vec![1, 2, 3, 4, 5])).image, [12, 5, 2]);
    }
}
