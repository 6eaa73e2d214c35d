//! Slots one after the other along an axis.

/// For each of `outer`: the next `len / outer` values of every operand in turn.
pub fn concat<'a>(xs: impl Iterator<Item = &'a [f32]>, y: &mut [f32], outer: usize) {
    let step = y.len() / outer;
    let mut first = 0;
    for x in xs {
        let len = x.len() / outer;
        for (y, x) in y.chunks_exact_mut(step).zip(x.chunks_exact(len)) {
            y[first..first + len].copy_from_slice(x);
        }
        first += len;
    }
}
