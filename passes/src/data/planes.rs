//! Where the channels of an input lie, and how stored samples are brought into its order.

use super::DataError;
use crate::ir::Shape;
use std::path::Path;

/// A sample seen as a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Number of channels; 1 where the input has none.
    pub(crate) channels: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Columns.
    pub(crate) width: usize,
    /// Whether the channels are the last axis.
    pub(crate) last: bool,
}

impl Planes {
    /// `[1, C, H, W]`; `[1, H, W, C]` where only the last axis can be grey, colour or colour with alpha; `[1, H, W]` and `[H, W]` are one channel,
    /// everything else is one row of one channel.
    pub(crate) fn of(shape: &Shape) -> Self {
        const PICTURE: [usize; 3] = [1, 3, 4];
        let dims = match shape.dims() {
            [1, rest @ ..] if !rest.is_empty() => rest,
            dims => dims,
        };
        let (channels, height, width, last) = match *dims {
            [h, w, c] if PICTURE.contains(&c) && !PICTURE.contains(&h) => (c, h, w, true),
            [c, h, w] => (c, h, w, false),
            [h, w] => (1, h, w, false),
            _ => (1, 1, shape.len(), false),
        };
        Planes { channels, height, width, last }
    }

    /// The channel of value `index` of a sample.
    pub(crate) fn channel(self, index: usize) -> usize {
        if self.last { index % self.channels } else { index / (self.height * self.width).max(1) }
    }
}

/// How a stored sample becomes an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// Value by value.
    AsStored,
    /// Stored as (row, column, channel); the network takes (channel, row, column).
    ToChannelFirst,
    /// Stored as (channel, row, column); the network takes (row, column, channel).
    ToChannelLast,
}

/// Checks the extents of a stored sample against those of an input. Extents of 1 do not count; an input in a row takes samples of any extents with as many
/// values, and an input of any extents takes rows of as many.
pub(super) fn fit(path: &Path, stored: &[usize], shape: &Shape) -> Result<Arrangement, DataError> {
    let essential = |dims: &[usize]| dims.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    let (seen, wanted) = (essential(stored), essential(shape.dims()));
    let Planes { channels, height, width, last } = Planes::of(shape);
    let (first_order, last_order) = ([channels, height, width], [height, width, channels]);
    let same = seen == wanted;
    // Where the extents are those of the input, so is the order, whatever else would fit.
    let exact = *stored == *shape.dims() || shape.dims().get(1..) == Some(stored);
    if !exact && !last && *stored == last_order {
        return Ok(Arrangement::ToChannelFirst);
    }
    if !exact && last && *stored == first_order {
        return Ok(Arrangement::ToChannelLast);
    }
    let len = stored.iter().try_fold(1usize, |len, &d| len.checked_mul(d));
    let in_a_row = seen.len() <= 1 || wanted.len() <= 1;
    if same || (in_a_row && len == Some(shape.len())) {
        return Ok(Arrangement::AsStored);
    }
    Err(DataError::Shape { path: path.to_owned(), found: extents(stored), expected: shape.to_string() })
}

/// The values of samples of these stored extents in the network's order.
pub(super) fn arrange<T: Copy>(values: Vec<T>, stored: &[usize], arrangement: Arrangement) -> Vec<T> {
    let (outer, inner) = match (arrangement, stored) {
        (Arrangement::ToChannelFirst, [height, width, channels]) => (height * width, *channels),
        (Arrangement::ToChannelLast, [channels, height, width]) => (*channels, height * width),
        _ => return values,
    };
    let transposed = |sample: &[T]| -> Vec<T> {
        (0..inner).flat_map(|i| (0..outer).map(move |o| (o, i))).map(|(o, i)| sample[o * inner + i]).collect()
    };
    values.chunks_exact((outer * inner).max(1)).flat_map(transposed).collect()
}

pub(super) fn extents(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "single values".into();
    }
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(stored: &[usize], dims: &[usize]) -> Option<Arrangement> {
        fit(Path::new("x"), stored, &Shape::new(dims.to_vec())).ok()
    }

    #[test]
    fn channels_are_where_a_picture_has_them() {
        let planes = |dims: &[usize]| {
            let Planes { channels, height, width, last } = Planes::of(&Shape::new(dims.to_vec()));
            (channels, height, width, last)
        };
        assert_eq!(planes(&[1, 3, 8, 9]), (3, 8, 9, false));
        assert_eq!(planes(&[1, 8, 9, 3]), (3, 8, 9, true));
        assert_eq!(planes(&[1, 1, 49, 1]), (1, 49, 1, false));
        assert_eq!(planes(&[1, 28, 28]), (1, 28, 28, false));
        assert_eq!(planes(&[1, 784]), (1, 1, 784, false));
    }

    #[test]
    fn samples_fit_where_only_one_order_is_possible() {
        assert_eq!(fitted(&[28, 28], &[1, 784]), Some(Arrangement::AsStored));
        assert_eq!(fitted(&[784], &[1, 1, 28, 28]), Some(Arrangement::AsStored));
        assert_eq!(fitted(&[1, 3, 32, 32], &[1, 3, 32, 32]), Some(Arrangement::AsStored));
        assert_eq!(fitted(&[32, 32, 3], &[1, 3, 32, 32]), Some(Arrangement::ToChannelFirst));
        assert_eq!(fitted(&[3, 32, 32], &[1, 32, 32, 3]), Some(Arrangement::ToChannelLast));
        assert_eq!(fitted(&[32, 32, 3], &[1, 32, 32, 3]), Some(Arrangement::AsStored));
        assert_eq!(fitted(&[], &[]), Some(Arrangement::AsStored));
        assert_eq!(fitted(&[4, 6], &[1, 6, 4]), None);
        assert_eq!(fitted(&[usize::MAX, 2], &[1, 8]), None);
    }

    #[test]
    fn both_orders_are_inverse_to_each_other() {
        let stored: Vec<u8> = (0..24).collect();
        let first = arrange(stored.clone(), &[2, 2, 3], Arrangement::ToChannelFirst);
        assert_eq!(first[..6], [0, 3, 6, 9, 1, 4]);
        assert_eq!(arrange(first, &[3, 2, 2], Arrangement::ToChannelLast), stored);
    }
}
